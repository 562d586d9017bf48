"""Writes the question sets of pawl-mini's world: `python -m refine.mini.heldout.build [FOLDER]`.

The files are frozen: they are built once, before training, and their hashes stand in
`evals/mini/README.md`. The same seed and the same fact tables give the same bytes.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from refine.mini.heldout import benchmarks, families

SEED = "pawl-mini held out 1"
FOLDER = Path(__file__).resolve().parents[3] / "evals" / "mini"


def lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """`rows` as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def files() -> dict[str, str]:
    """Every file's path below `evals/mini` and its text."""
    made = {
        "unseen_families.jsonl": lines(families.rows(SEED)),
        "arc.jsonl": lines(benchmarks.arc(SEED)),
        "hellaswag.jsonl": lines(benchmarks.hellaswag(SEED)),
        "truthfulqa.jsonl": lines(benchmarks.truthfulqa(SEED)),
    }
    for subject, (test, dev) in benchmarks.mmlu(SEED).items():
        made[f"mmlu/{subject}.jsonl"] = lines(test)
        made[f"mmlu/dev/{subject}.jsonl"] = lines(dev)
    return made


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0]) if arguments else FOLDER
    for name, text in files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"{name}: {text.count(chr(10))} rows, {len(text.encode())} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
