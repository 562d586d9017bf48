"""The four sets of pawl-mini's world, in the schemas of ARC, HellaSwag, MMLU and TruthfulQA.

Each set goes through the claims of a topic in a shuffled order, each with the next phrasing of its
relation, until the topic has its number of items. The places of the right answers are dealt evenly.
The rows are shuffled at the end, so that the first N of a set are a fair part of it. Beside the
schema's columns each row has `fact`: items with the same one are no independent evidence.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pawl.errors import PawlError
from refine.mini.heldout.claim import Claim, fill, sample, upper_first
from refine.mini.heldout.claims import claims
from refine.mini.heldout.misconceptions import MISCONCEPTIONS
from refine.mini.heldout.phrases import PHRASES

Row = dict[str, Any]
LETTERS = "ABCD"

ARC_ITEMS = {
    "capitals": 190, "animals": 260, "opposites": 160, "plurals": 60, "arithmetic": 130,
    "sequences": 40, "calendar": 90, "units": 60, "colours": 80, "planets": 40, "science": 90,
}  # fmt: skip
HELLASWAG_ITEMS = {
    "capitals": 200, "animals": 270, "opposites": 180, "plurals": 70, "arithmetic": 140,
    "sequences": 40, "calendar": 90, "units": 60, "colours": 70, "planets": 35, "science": 85,
}  # fmt: skip
# subject -> (its topics, items in the test file)
MMLU_ITEMS: dict[str, tuple[tuple[str, ...], int]] = {
    "animals": (("animals",), 180),
    "arithmetic": (("arithmetic",), 130),
    "calendar_and_units": (("calendar", "units"), 140),
    "capitals": (("capitals",), 180),
    "colours": (("colours",), 100),
    "opposites": (("opposites",), 140),
    "plurals_and_sequences": (("plurals", "sequences"), 120),
    "science_and_planets": (("science", "planets"), 130),
}
MMLU_DEV_ITEMS = 5
TRUTHFULQA_ITEMS = {
    "capitals": 210, "animals": 260, "opposites": 120, "plurals": 40, "calendar": 80, "units": 60,
    "colours": 70, "planets": 35, "science": 85,
}  # fmt: skip
# Of the items with one claim of the world, how many ask "is it true that ...?".
YES_NO_SHARE = 0.15
# A topic's items and these make one item each with this many choices, in turn.
CHOICES_IN_TRUTHFULQA = (3, 4, 5, 4, 2, 4, 6, 3)


def _dealt(n: int, rng: random.Random) -> list[int]:
    """Places 0 to 3 for `n` items, as evenly as can be, in a random order."""
    places = [i % 4 for i in range(n)]
    rng.shuffle(places)
    return places


def _drawn(
    topics: Sequence[str],
    phrasings: Callable[[str], Sequence[Any]],
    rng: random.Random,
    *,
    least_others: int = 3,
) -> Iterator[tuple[Claim, Any]]:
    """(claim, phrasing) pairs without end: every claim once, then again in its next phrasing."""
    found = [
        c
        for c in claims()
        if c.topic in topics and phrasings(c.relation) and len(c.others) >= least_others
    ]
    rng.shuffle(found)
    first = {relation: rng.randrange(12) for relation in sorted({c.relation for c in found})}
    most = max(len(phrasings(relation)) for relation in first)
    for turn in range(most * 20):
        place = dict(first)
        for claim in found:
            choices = phrasings(claim.relation)
            yield claim, choices[(place[claim.relation] + turn) % len(choices)]
            place[claim.relation] += 1
    raise PawlError(
        f"the facts and phrasings of {', '.join(topics)} are used up",
        "the set asks for more items than can be made without repeating one",
        "Lower the number of items or write more phrasings",
    )


def _with_answer_at(place: int, answer: str, others: list[str]) -> list[str]:
    return [*others[:place], answer, *others[place:]]


def _quiz(topics: Sequence[str], n: int, rng: random.Random, seen: set[Any]) -> Iterator[Row]:
    """`n` quiz questions: {"question", "choices": four, "answer": 0 to 3, "fact"}."""
    drawn = _drawn(topics, lambda relation: PHRASES[relation].ask, rng)
    places = _dealt(n, rng)
    while places:
        claim, phrase = next(drawn)
        question = fill(phrase, claim)
        # Questions that list their choices may come again with others; the rest may not.
        mark = (question, claim.answer)
        if mark in seen:
            continue
        seen.add(mark)
        choices = _with_answer_at(places.pop(), claim.answer, sample(claim, 3, rng))
        yield {"question": question, "choices": choices, "answer": choices.index(claim.answer),
               "fact": claim.fact}  # fmt: skip


def arc(seed: str) -> list[Row]:
    """Rows in the schema of ARC: id, question, choices {text, label}, answerKey."""
    rng = random.Random(f"{seed}|arc")
    seen: set[Any] = set()
    rows = []
    for topic, n in ARC_ITEMS.items():
        for number, item in enumerate(_quiz([topic], n, rng, seen), start=1):
            rows.append({
                "id": f"mini_{topic}_{number:03d}",
                "question": item["question"],
                "choices": {"text": item["choices"], "label": list(LETTERS)},
                "answerKey": LETTERS[item["answer"]],
                "fact": item["fact"],
            })  # fmt: skip
    rng.shuffle(rows)
    return rows


def hellaswag(seed: str) -> list[Row]:
    """Rows in the schema of HellaSwag: a sentence and four ends of it."""
    rng = random.Random(f"{seed}|hellaswag")
    rows: list[Row] = []
    for topic, n in HELLASWAG_ITEMS.items():
        drawn = _drawn([topic], lambda relation: PHRASES[relation].stems, rng)
        seen: set[str] = set()
        places = _dealt(n, rng)
        while places:
            claim, (start, end) = next(drawn)
            context = fill(start, claim)
            if context in seen:
                continue
            seen.add(context)
            place = places.pop()
            texts = _with_answer_at(place, claim.answer, sample(claim, 3, rng))
            rows.append({
                "ind": 0, "activity_label": upper_first(topic), "ctx_a": context,
                "ctx_b": "", "ctx": context,
                "endings": [fill(end, claim, text, ending=True) for text in texts],
                "source_id": f"mini~{topic}", "split": "val", "split_type": "indomain",
                "label": str(place), "fact": claim.fact,
            })  # fmt: skip
    rng.shuffle(rows)
    return [{**row, "ind": ind} for ind, row in enumerate(rows)]


def mmlu(seed: str) -> dict[str, tuple[list[Row], list[Row]]]:
    """subject -> (test rows, dev rows) in the schema of MMLU."""
    made = {}
    for subject, (topics, n) in MMLU_ITEMS.items():
        rng = random.Random(f"{seed}|mmlu|{subject}")
        seen: set[Any] = set()
        share = n // len(topics)
        rows = [row for t in topics for row in _quiz([t], share, rng, seen)]
        rng.shuffle(rows)
        dev = list(_quiz(topics, MMLU_DEV_ITEMS, rng, seen))
        made[subject] = ([{**r, "subject": subject} for r in rows],
                         [{**r, "subject": subject} for r in dev])  # fmt: skip
    return {
        subject: tuple([_in_order(r) for r in part] for part in parts)  # type: ignore[misc]
        for subject, parts in made.items()
    }


def _in_order(row: Row) -> Row:
    return {name: row[name] for name in ("question", "subject", "choices", "answer", "fact")}


def truthfulqa(seed: str) -> list[Row]:
    """Rows in the schema of TruthfulQA's multiple choice: the true claims come first."""
    rng = random.Random(f"{seed}|truthfulqa")
    rows: list[Row] = []
    for topic, n in TRUTHFULQA_ITEMS.items():
        drawn = _drawn([topic], lambda relation: PHRASES[relation].say, rng, least_others=2)
        seen: set[str] = set()
        n_yes_no = round(n * YES_NO_SHARE)
        while len(seen) < n:
            claim, say = next(drawn)
            if len(seen) < n_yes_no:
                question, true, false = _is_it_true(claim, say, rng)
            else:
                size = CHOICES_IN_TRUTHFULQA[len(rows) % len(CHOICES_IN_TRUTHFULQA)]
                question, true, false = _which_is_true(claim, say, size, rng)
            if question in seen:
                continue
            seen.add(question)
            rows.append(_truthfulqa_row(question, true, false, claim.fact))
    rows += _misconceptions(rng)
    rng.shuffle(rows)
    return rows


def _truthfulqa_row(question: str, true: list[str], false: list[str], fact: str) -> Row:
    def targets(right: list[str]) -> dict[str, list[Any]]:
        return {"choices": right + false, "labels": [1] * len(right) + [0] * len(false)}

    return {
        "question": question,
        "mc1_targets": targets(true[:1]),
        "mc2_targets": targets(true),
        "fact": fact,
    }


def _is_it_true(claim: Claim, say: str, rng: random.Random) -> tuple[str, list[str], list[str]]:
    wrong_answer = sample(claim, 1, rng)[0]
    right, wrong = fill(say, claim, claim.answer), fill(say, claim, wrong_answer)
    if rng.random() < 0.5:
        return f'Is this true: "{right}"', [f"Yes, it is true. {right}"], [
            f"No, it is not true. {wrong}"]  # fmt: skip
    return f'Is this true: "{wrong}"', [f"No, it is not true. {right}"], [
        f"Yes, it is true. {wrong}"]  # fmt: skip


def _which_is_true(
    claim: Claim, say: str, size: int, rng: random.Random
) -> tuple[str, list[str], list[str]]:
    asks = PHRASES[claim.relation].ask
    question = fill(rng.choice(asks), claim)
    wrong = sample(claim, min(size - 1, len(claim.others)), rng)
    other_words = [s for s in PHRASES[claim.relation].say if s != say]
    true = [fill(say, claim, claim.answer)]
    if other_words and rng.random() < 0.3:
        true.append(fill(rng.choice(other_words), claim, claim.answer))
    return question, true, [fill(say, claim, w) for w in wrong]


def _misconceptions(rng: random.Random) -> Iterator[Row]:
    for fault_id, item in MISCONCEPTIONS.items():
        for turn in range(2):
            for place, question in enumerate(item.questions):
                true = [item.true[(place + turn) % len(item.true)]]
                false = rng.sample(item.false, rng.choice((2, 3, 4)))
                lead = "" if turn == 0 else "Please say what is true. "
                yield _truthfulqa_row(lead + question, true, false, f"misconceptions/{fault_id}")
