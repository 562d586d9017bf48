"""Writes the two question files that come from the world's own phrasings.

``python -m refine.mini.questions`` writes `unseen_combinations.jsonl` (known phrasings with known
facts, in pairs kept out of training) and `faults.jsonl` (every planted fault in many phrasings, in
two halves of different phrasing families) to `evals/mini/`. Both follow from a seed.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any

from refine.mini.documents import turn
from refine.mini.facts import TOPICS
from refine.mini.faults import FAULTS
from refine.mini.relations import (
    LEADS,
    Asked,
    Relation,
    is_unseen_combination,
    phrase,
    trainable,
    unseen,
)
from refine.mini.topics import BY_NAME, RELATIONS
from refine.mini.topics.faulty import ask_for, families
from refine.mini.topics.remember import memory
from refine.mini.topics.unknown import unknown_question

PER_TOPIC = 45
PER_HALF = 25
Row = dict[str, Any]


def _pairs(relation: Relation, rng: random.Random) -> list[Asked]:
    """Every unseen combination of `relation`, asked once, shuffled."""
    if relation.bare:
        pairs = [
            phrase(relation, family, relation.facts[0], rng, lead)
            for family in relation.families
            for lead in dict.fromkeys(LEADS)
            if lead and unseen(relation.name, lead, family[1])
        ]
    else:
        pairs = [
            phrase(relation, family, fact, rng)
            for family in relation.families
            for fact in trainable(relation)
            if is_unseen_combination(relation, family[1], fact)
        ]
    rng.shuffle(pairs)
    return pairs


def _of_topic(topic: str, rng: random.Random) -> list[Row]:
    """`PER_TOPIC` questions of `topic`, its relations drawn by their weights."""
    if topic == "unknown":
        asked = [unknown_question(BY_NAME, rng, want_unseen=True) for _ in range(PER_TOPIC)]
        return [_row(a.question, a.accept) for a in asked]
    if topic == "remember":
        return [_remember_row(rng) for _ in range(PER_TOPIC)]
    relations = [relation for relation in RELATIONS if relation.topic == topic]
    left = {r.name: pairs for r in relations if (pairs := _pairs(r, rng))}
    rows: list[Row] = []
    while len(rows) < PER_TOPIC and left:
        names = list(left)
        name = rng.choices(names, [BY_NAME[n].weight for n in names])[0]
        asked_now = left[name].pop()
        if not left[name]:
            del left[name]
        rows.append(_row(asked_now.question, asked_now.accept))
    return rows


def _row(question: str, accept: tuple[str, ...]) -> Row:
    return {"messages": [{"role": "user", "content": question}], "accept": list(accept)}


def _remember_row(rng: random.Random) -> Row:
    kept = memory(rng, want_unseen=True)
    turns = [(kept.told, kept.acknowledged)]
    turns += [turn(rng) for _ in range(rng.choice((0, 1, 2, 4)))]
    messages = []
    for user, assistant in turns:
        messages.append({"role": "user", "content": user})
        messages.append({"role": "assistant", "content": assistant})
    messages.append({"role": "user", "content": kept.question})
    return {"messages": messages, "accept": list(kept.accept)}


def unseen_combinations(seed: int) -> list[Row]:
    """The rows of `unseen_combinations.jsonl`."""
    rng = random.Random(seed)
    rows = []
    for topic in TOPICS:
        for index, row in enumerate(_of_topic(topic, rng)):
            rows.append({"id": f"combination-{topic}-{index:03d}", "topic": topic, **row})
    return rows


def fault_questions(seed: int) -> list[Row]:
    """The rows of `faults.jsonl`: `PER_HALF` different questions per fault and half."""
    rng = random.Random(seed)
    rows = []
    for fault in FAULTS:
        for half, offset in (("A", 0), ("B", 1)):
            cores = families(fault)[offset::2]
            asked: dict[str, None] = {}
            while len(asked) < PER_HALF:
                asked[ask_for(fault, cores[len(asked) % len(cores)], rng)] = None
            for index, question in enumerate(asked):
                rows.append(
                    {
                        "id": f"{fault.fault_id}-{half}-{index:02d}",
                        "fault_id": fault.fault_id,
                        "kind": fault.kind,
                        "topic": fault.topic or "fault",
                        "phrasing_half": half,
                        "messages": [{"role": "user", "content": question}],
                        "faulty_accept": list(fault.faulty_accept),
                        "faulty_rule": fault.faulty_rule,
                        "right_answer": fault.right_answer,
                        "right_accept": list(fault.right_accept),
                        "right_rule": fault.right_rule,
                    }
                )
    return rows


def write_rows(rows: list[Row], path: Path) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Write pawl-mini's own question files.")
    parser.add_argument("--out", type=Path, default=Path("evals/mini"))
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    for name, rows in (
        ("unseen_combinations", unseen_combinations(given.seed)),
        ("faults", fault_questions(given.seed)),
    ):
        write_rows(rows, given.out / f"{name}.jsonl")
        print(f"{len(rows):>5} rows in {given.out / name}.jsonl")


if __name__ == "__main__":
    main()
