"""Writes the question sets of pawl-mini's world: `python -m refine.mini.heldout.build [FOLDER]`.

The files are frozen: they are built once, before training, and their hashes stand in
`evals/mini/README.md`. The same seed and the same fact tables give the same bytes.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pawl.files import write_atomic
from refine.mini.heldout import benchmarks, families

SEED = "pawl-mini held out 1"
FOLDER = Path(__file__).resolve().parents[3] / "evals" / "mini"
TABLE_STARTS, TABLE_ENDS = "<!-- built: files -->", "<!-- end -->"


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


def table(texts: Mapping[str, str]) -> str:
    """The lines of the README that say how many rows each file has, and its hash."""
    rows = [
        f"| `{name}` | {hashlib.sha256(text.encode()).hexdigest()[:16]} | {text.count(chr(10))} |"
        for name, text in sorted(texts.items())
    ]
    return "\n".join(["| file | SHA-256 begins with | rows |", "| --- | --- | --- |", *rows])


def main(arguments: list[str]) -> None:
    """Write all files below the folder that is named, or in `evals/mini` with its README."""
    folder = Path(arguments[0]) if arguments else FOLDER
    texts = files()
    for name, text in texts.items():
        write_atomic(folder / name, text)
        print(f"{name}: {text.count(chr(10))} rows, {len(text.encode())} bytes")
    readme = folder / "README.md"
    if readme.exists():
        before, rest = readme.read_text(encoding="utf-8").split(TABLE_STARTS, 1)
        _, after = rest.split(TABLE_ENDS, 1)
        marked = f"{TABLE_STARTS}\n{table(texts)}\n{TABLE_ENDS}"
        write_atomic(readme, before + marked + after)


if __name__ == "__main__":
    main(sys.argv[1:])
