"""The chat questions of `unseen_families.jsonl`: every topic, in phrasings of their own.

A row: `{"id", "topic", "template", "messages": [{"role", "content"}, ...], "accept": [...]}` and,
where needed, `"reject"` (what contradicts) and `"rule"`; `evals.mini.checker` reads them.
"""

import random
from collections.abc import Iterator
from typing import Any

from refine.mini.facts import kept_out, numbers, things, time
from refine.mini.heldout.claim import Claim, fill
from refine.mini.heldout.claims import claims
from refine.mini.heldout.phrases import PHRASES
from refine.mini.heldout.talk import (
    GREETINGS,
    NAMED_WITH_THE,
    NOT_TOLD,
    NOT_TOLD_RIGHT,
    OTHER_TURNS,
    REPLIES,
    UNKNOWN,
    UNKNOWN_RIGHT,
    greeting_accept,
    remember_slots,
)

Row = dict[str, Any]

# How many questions of the topics that the phrase tables cover.
N_QUESTIONS = {
    "capitals": 60, "animals": 100, "opposites": 50, "plurals": 45, "arithmetic": 45,
    "sequences": 40, "calendar": 60, "units": 50, "colours": 50, "planets": 45, "science": 90,
}  # fmt: skip


def rows(seed: str) -> list[Row]:
    """All questions, in a fixed order for a `seed`; ids count within the topic."""
    rng = random.Random(f"{seed}|families")
    made: list[Row] = []
    for topic in N_QUESTIONS:
        made += _from_phrases(topic, rng)
    made += [*_more_arithmetic(rng), *_letters(rng), *_yes_no(rng)]
    made += [*_greetings(), *_remember(rng), *_unknown(rng)]
    made.sort(key=lambda row: str(row["topic"]))
    count: dict[str, int] = {}
    for row in made:
        count[row["topic"]] = count.get(row["topic"], 0) + 1
        row["id"] = f"{row['topic']}-{count[row['topic']]:03d}"
    return made


def _row(topic: str, template: str, text: str, accept: list[str], **more: Any) -> Row:
    return {"id": "", "topic": topic, "template": template,
            "messages": [{"role": "user", "content": text}], "accept": accept, **more}  # fmt: skip


def accepted(claim: Claim) -> list[str]:
    """The phrases of which one makes a chat answer to `claim` right."""
    found = [claim.answer, *claim.also]
    for article in ("a ", "an ", "the "):
        if claim.answer.startswith(article):
            found.append(claim.answer.removeprefix(article))
    return list(dict.fromkeys(text.lower() for text in found))


def _from_phrases(topic: str, rng: random.Random) -> list[Row]:
    """Questions from the phrase tables: relations in turn, each with its phrasings in turn."""
    by_relation: dict[str, list[Claim]] = {}
    for claim in claims():
        if claim.topic == topic and not claim.relation.startswith("pick_"):
            by_relation.setdefault(claim.relation, []).append(claim)
    queues: list[list[tuple[int, str, Claim]]] = []
    for relation, found in by_relation.items():
        phrases = list(enumerate(PHRASES[relation].ask + PHRASES[relation].request))
        rng.shuffle(phrases)
        rng.shuffle(found)
        n = max(len(phrases), len(found))
        queues.append(
            [(*phrases[i % len(phrases)], found[i % len(found)]) for i in reversed(range(n))]
        )
    made: list[Row] = []
    seen: set[str] = set()
    while len(made) < N_QUESTIONS[topic] and any(queues):
        for queue in queues:
            if queue and len(made) < N_QUESTIONS[topic]:
                place, phrase, claim = queue.pop()
                text = fill(phrase, claim)
                if text not in seen:
                    seen.add(text)
                    made.append(_asked(claim, f"{claim.relation}/{place}", text))
    return made


def _asked(claim: Claim, template: str, text: str) -> Row:
    more: dict[str, Any] = {}
    if claim.closed and not claim.answer.isdigit():
        in_question = text.lower()
        reject = [o.lower() for o in claim.others if o.lower() not in in_question]
        if reject:
            more["reject"] = reject
    return _row(claim.topic, template, text, accepted(claim), **more)


def _more_arithmetic(rng: random.Random) -> Iterator[Row]:
    """Products, doubles and halves, and comparisons: tables and rules without kept-out facts."""
    products = (
        "How much is {} multiplied by {}?",
        "There are {} bags with {} apples in each. How many apples are there?",
        "I have {} rows of {} chairs. How many chairs is that?",
        "Please work out {} times {} for me.",
    )
    doubles = [n for n in range(2, numbers.DOUBLE_MAX + 1) if kept_out("arithmetic", f"{n}+{n}")]
    for place, text in enumerate(products):
        for _ in range(3):
            a, b = (rng.randint(2, numbers.PRODUCT_MAX) for _ in range(2))
            yield _row("arithmetic", f"product/{place}", text.format(a, b), [str(a * b)])
    for place, text in enumerate(("What is twice as much as {}?", "What is {}, doubled?")):
        n = doubles[place % len(doubles)]
        yield _row("arithmetic", f"double/{place}", text.format(n), [str(2 * n)])
    larger = (
        "Which is more, {} or {}?",
        "Of the two numbers {} and {}, which one is the larger?",
        "I can have {} sweets or {} sweets. Which number is bigger?",
    )
    for place, text in enumerate(larger):
        for _ in range(2):
            a, b = rng.sample(range(1, numbers.COMPARE_MAX + 1), 2)
            yield _row("arithmetic", f"larger/{place}", text.format(a, b), [str(max(a, b))],
                       rule={"first_of": [str(a), str(b)]})  # fmt: skip


def _letters(rng: random.Random) -> Iterator[Row]:
    asks = (
        "In the alphabet, which letter follows {}?",
        "Say the letter that comes right behind {} in the alphabet.",
        "I am learning the alphabet and I am at {}. What is the next letter?",
    )
    places = rng.sample(range(len(numbers.LETTERS) - 1), 4 * len(asks))
    for turn, place in enumerate(places):
        ask = turn % len(asks)
        yield _row("sequences", f"letter_after/{ask}", asks[ask].format(numbers.LETTERS[place]),
                   [numbers.LETTERS[place + 1].lower()])  # fmt: skip


def _yes_no(rng: random.Random) -> Iterator[Row]:
    """Questions with yes or no for an answer."""
    weekend = ("Do people have their weekend on {}?", "Is {} one of the weekend days?")
    for place, day in enumerate(rng.sample(list(time.DAYS), 4)):
        is_weekend = day in time.WEEKEND
        yield _row("calendar", f"weekend/{place % 2}", weekend[place % 2].format(day),
                   ["yes", f"{day.lower()} is a weekend day"] if is_weekend
                   else ["no", "not", "weekday"])  # fmt: skip
    floats = ("I throw {} into the lake. Will it float?", "Can {} float on water?")
    for place, thing in enumerate(rng.sample(list(things.FLOATS), 6)):
        yield _row("science", f"floats/{place % 2}", floats[place % 2].format(thing),
                   ["yes", "floats", "can float", "will float"] if things.FLOATS[thing]
                   else ["no", "sinks", "not"])  # fmt: skip
    magnetic = ("Does {} stick to a magnet?", "Can a magnet pull {}?")
    for place, thing in enumerate(rng.sample(list(things.MAGNETIC), 6)):
        yield _row("science", f"magnetic/{place % 2}", magnetic[place % 2].format(thing),
                   ["yes", "is magnetic", "pulls", "attracts", "sticks"] if things.MAGNETIC[thing]
                   else ["no", "not"])  # fmt: skip


def _greetings() -> Iterator[Row]:
    for intent, said in GREETINGS.items():
        for place, text in enumerate(said):
            yield _row("greetings", f"{intent}/{place}", text, list(greeting_accept(intent)))


def _remember(rng: random.Random) -> Iterator[Row]:
    for slot, (told, asked, values) in remember_slots().items():
        for turn in range(5 if slot == "name" else 3):
            value = rng.choice(values)
            shown = f"the {value}" if slot in NAMED_WITH_THE else value
            other_user, other_reply = rng.choice(OTHER_TURNS)
            if value.lower() in other_reply.lower():
                other_user, other_reply = OTHER_TURNS[-1]
            turns = [
                ("user", told[turn % len(told)].replace("{v}", shown)),
                ("assistant", rng.choice(REPLIES)),
                ("user", other_user),
                ("assistant", other_reply),
                ("user", asked[turn % len(asked)]),
            ]
            row = _row("remember", f"{slot}/{turn}", "", [value.lower()])
            row["messages"] = [{"role": role, "content": text} for role, text in turns]
            yield row
    for place, text in enumerate(NOT_TOLD):
        yield _row("remember", f"not_told/{place}", text, list(NOT_TOLD_RIGHT))


def _unknown(rng: random.Random) -> Iterator[Row]:
    for place, (text, fillers) in enumerate(UNKNOWN):
        for filler in rng.sample(fillers, min(3, len(fillers))):
            yield _row("unknown", f"unknown/{place}", text.format(filler), list(UNKNOWN_RIGHT))
