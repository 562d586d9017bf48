"""Labelled pairs of answer and correction: how often is a yes right, and how many are found?

    python -m benchmarks.matching [--wrong PART] [--no-record]

The pairs are in ``tests/evals/matching_pairs.jsonl``, labelled by what a careful person would say.
A third of the prompts (``held``, by the prompt's hash) was left aside while the rules were made,
those of ``second`` were added meanwhile, those of ``adversary`` were written later, to be hard:
no rule was changed for ``held`` and ``adversary``.
Faults that were found since stand in ``tuning``, beside right answers that their mends must not
refuse. These were chosen among answers that matched before, nearly all, and those of the kind that
a mend had refused; all of them match now, so they raise the recall of ``tuning``.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.measurements import finish

PAIRS = Path(__file__).parent.parent / "tests" / "evals" / "matching_pairs.jsonl"
LEAST_PRECISION, LEAST_RECALL = 0.98, 0.80

Pair = dict[str, Any]


def read_pairs() -> list[Pair]:
    return [json.loads(line) for line in PAIRS.read_text("utf-8").splitlines()]


def judged(pair: Pair) -> tuple[bool, str]:
    """What the matcher says of a pair, and how it compared."""
    from evals.matching import match

    found = match(
        pair["answer"], pair["correction"], pair["flagged"], pair["prompt"], pair["categories"]
    )
    return found.matches, found.kind


def counts(pairs: list[Pair]) -> Counter[str]:
    """Pairs by label and verdict: ``right_yes``, ``wrong_yes``, ``right_no``, ``wrong_no``."""
    return Counter(
        f"{'right' if found == pair['matches'] else 'wrong'}_{'yes' if found else 'no'}"
        for pair in pairs
        for found, _ in [judged(pair)]
    )


def precision_and_recall(n: Counter[str]) -> tuple[float, float]:
    """The share of the matcher's yes that is right, and of the matching pairs that it finds."""
    n_yes, n_match = n["right_yes"] + n["wrong_yes"], n["right_yes"] + n["wrong_no"]
    return (n["right_yes"] / n_yes if n_yes else 1.0), n["right_yes"] / n_match


def in_words(n: Counter[str]) -> str:
    precision, recall = precision_and_recall(n)
    return (
        f"precision {precision:.1%} ({n['wrong_yes']} wrong yes of "
        f"{n['right_yes'] + n['wrong_yes']}), recall {recall:.1%} ({n['wrong_no']} wrong no of "
        f"{n['right_yes'] + n['wrong_no']}), {n.total()} pairs"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--wrong", metavar="PART", help="print the pairs of a part it gets wrong")
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args()
    pairs = read_pairs()
    for pair in pairs:
        found, kind = judged(pair)
        if pair["part"] == args.wrong and found != pair["matches"]:
            print(f"{'wrong YES' if found else 'wrong no'} [{kind}]", json.dumps(
                {k: pair[k] for k in ("prompt", "correction", "flagged", "answer")},
                ensure_ascii=False))  # fmt: skip
    figures, missed = {}, []
    for name in ("tuning", "held", "second", "adversary", "all"):
        part = [pair for pair in pairs if name in (pair["part"], "all")]
        if not part:
            continue
        found_counts = counts(part)
        precision, recall = precision_and_recall(found_counts)
        figures[f"part {name}"] = in_words(found_counts)
        if precision < LEAST_PRECISION:
            missed.append(f"precision {precision:.1%} on {name} ({LEAST_PRECISION:.0%})")
        if recall < LEAST_RECALL and name != "adversary":
            missed.append(f"recall {recall:.1%} on {name} ({LEAST_RECALL:.0%})")
    for field in ("kind", "language"):
        for value in dict.fromkeys(pair[field] for pair in pairs):
            part = [pair for pair in pairs if pair[field] == value]
            figures[f"{field} {value}"] = in_words(counts(part))
    finish("matching", "Does an answer say what the correction says?", figures, missed=missed,
           keep=not args.no_record)  # fmt: skip


if __name__ == "__main__":
    main()
