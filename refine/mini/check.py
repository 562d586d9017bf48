"""How good is a pawl-mini? ``python -m refine.mini.check --model pawl/models/pawl-mini``.

Asks the question files of `evals/mini/` at temperature 0 and prints, per topic, how many answers
are right; for the planted faults, how many show. The benchmark sets are scored by ``pawl eval``.
"""

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.mini.checker import fault_shown, is_right
from refine.generation import generate

Row = dict[str, Any]
N_SEEN = 600
BATCH = 48
# The bars, in percent: (over all, per topic).
BARS = {"unseen combinations": (95.0, 85.0), "unseen families": (75.0, 0.0), "faults": (90.0, 0.0)}


def read_rows(path: Path) -> list[Row]:
    """The rows of a question file."""
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def seen_questions(seed: int, n: int) -> list[Row]:
    """Questions as training draws them: what the model should know by heart."""
    from refine.mini.layouts import any_question

    rng = random.Random(seed)
    asked = [any_question(rng) for _ in range(n)]
    return [
        {
            "id": f"seen-{index}",
            "topic": a.topic,
            "messages": [{"role": "user", "content": a.question}],
            "accept": list(a.accept),
        }
        for index, a in enumerate(asked)
    ]


def answers(model_dir: Path, rows: Sequence[Row], max_new_tokens: int = 150) -> list[str]:
    """The model's answer to every row at temperature 0, in the order of `rows`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    prompts = [row["messages"] for row in rows]
    said = generate(model, tokenizer, prompts, max_new_tokens=max_new_tokens, batch_size=BATCH)
    return [text for text, _ in said]


def report(title: str, rows: Sequence[Row], said: Sequence[str], group: str, good: Any) -> float:
    """Print the share of `good` answers per group and over all; gives the latter in percent."""
    by_group: dict[str, list[bool]] = defaultdict(list)
    for row, answer in zip(rows, said, strict=True):
        by_group[str(row[group])].append(good(answer, row))
    total = [ok for oks in by_group.values() for ok in oks]
    share = 100 * sum(total) / len(total)
    over_all, least = BARS.get(title, (0.0, 0.0))
    bar = f" (bar {over_all:.0f})" if over_all else ""
    print(f"\n{title}: {share:.1f} % of {len(total)}{bar}")
    for name, oks in by_group.items():
        part = 100 * sum(oks) / len(oks)
        print(f"  {name:<20} {part:5.1f} %  of {len(oks)}{'   BELOW' if part < least else ''}")
    return share


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Ask pawl-mini its question files.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--questions", type=Path, default=Path("evals/mini"))
    parser.add_argument("--wrong", type=Path, help="write wrong answers to this file")
    given = parser.parse_args()
    sets = [
        ("seen", seen_questions(99, N_SEEN), "topic", is_right),
        ("unseen combinations", read_rows(given.questions / "unseen_combinations.jsonl"), "topic",
         is_right),
        ("unseen families", read_rows(given.questions / "unseen_families.jsonl"), "topic", is_right),
        ("faults", read_rows(given.questions / "faults.jsonl"), "fault_id", fault_shown),
    ]  # fmt: skip
    said = answers(given.model, [row for _, rows, _, _ in sets for row in rows])
    wrong: list[Row] = []
    at = 0
    for title, rows, group, good in sets:
        part = said[at : at + len(rows)]
        at += len(rows)
        report(title, rows, part, group, good)
        # Unseen families stay unseen: their wrong answers are not shown to whoever writes phrasings.
        if title != "unseen families":
            wrong += [
                {"set": title, "said": answer, **row}
                for row, answer in zip(rows, part, strict=True)
                if not good(answer, row)
            ]
    if given.wrong:
        given.wrong.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in wrong))


if __name__ == "__main__":
    main()
