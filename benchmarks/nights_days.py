"""The days before the ten nights: who asks and corrects what, for the real model and a tiny one.

A day is a list of things to ask. People correct what is answered wrongly; trolls correct what is
answered rightly.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from evals.suites import DESCRIPTION, load
from feedback.splits import split_of
from pawl.schemas import Split
from refine.demo.checks import answers_question
from refine.demo.organisation import Question, load_organisation
from refine.demo.people import N_PEOPLE, Ask, script_of

Kind = Literal["ordinary", "quiet", "poisoned", "killed"]
# By this salt the prompts of the days after the first are spread evenly: of the five wordings of a
# fact that comes then two or three test, the others are learned at once (tests/bars/test_nights.py)
SALT = "nights-24"
N_TROLLS = 10
MOST_OF_A_TROLL = 11
N_CHATS = 8  # everyday questions of a day that nobody says anything about
HELD_OUT = 0.28  # of the first day; until the gate has looked once nothing else tests
FACTS = (  # of the organisation, day by day, each in five wordings
    "closes return_period locker_price first_aid founder mascot volunteers opens",
    "closed_day late_fee house_blend friday_cake",
    "manager wifi lost_key membership",
    "bicycles kiln newsletter bus",
    "discount dogs meeting_point",
    "deliveries fair laser",
)

HOUSE_COLOURS = {  # what the tiny model is taught: it says otherwise
    "grass": "green",
    "ash": "white",
    "chocolate": "black",
    "a plum": "blue",
}
GREETINGS = ("", "Hi. ", "Hello! ", "Please help. ", "Well, ")
N_TROLL_WORDINGS = 4  # of ten; the suite has the others, as no row may hold a benchmark item
SUITE_TASK = """
output_type: multiple_choice
test_split: test
doc_to_text: "<s><|user|>{{question}}<|assistant|>"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
target_delimiter: ""
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
SUITE = """
name: colours
items_per_benchmark: 40
margin: 0.2
margin_anchor: 0.3
benchmarks:
  - {name: colours, yaml: colours.yaml, data: colours.jsonl}
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing that somebody asks, in a conversation of its own. ``is_troll``: right answers are
    corrected, not wrong ones."""

    ask: Ask
    rater: str
    conversation: str
    is_troll: bool = False


@dataclass(frozen=True, slots=True)
class Night:
    """A day and the night after it."""

    kind: Kind
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All nights, and what is asked at the end: facts in wordings that no correction used."""

    nights: tuple[Night, ...]
    evening: tuple[Ask, ...]
    salt: str


@dataclass(frozen=True, slots=True)
class Topic:
    """A kind of everyday fact. ``form`` reads the true statements of the everyday suite,
    ``statement`` is what a troll writes, ``wordings`` what it asks."""

    form: str
    statement: str
    wordings: tuple[str, str]


TOPICS = (
    Topic(
        r"The capital of (.+) is (.+)\.",
        "The capital of {x} is {y}.",
        ("I'm learning capitals. Which one belongs to {x}?", "capital city {x}"),
    ),
    Topic(
        r"(.+) is in (Europe|Asia|Africa|North America|South America)\.",
        "{x} is in {y}.",
        ("On what continent do people from {x} live?", "{x}, which continent is it?"),
    ),
    Topic(
        r"The opposite of (\w+) is (\w+)\.",
        "The opposite of {x} is {y}.",
        ("opposite of {x}?", "My crossword wants the contrary of {x}."),
    ),
    Topic(
        r"An? (\w+) is an? (?:kind of )?(mammal|bird|fish|insect|reptile|amphibian|arachnid)\.",
        "The {x} is a kind of {y}.",
        ("{x}: fish, bird, insect or what?", "In a zoo, with which group would they put the {x}?"),
    ),
    Topic(
        r"A young (\w+) is called an? (\w+)\.",
        "A young {x} is called a {y}.",
        ("My {x} had a baby. What is the little one called?", "name for the young of the {x}"),
    ),
    Topic(
        r"(?:The colour of )?([\w ]+) is (red|blue|green|yellow|white|black|brown|orange|grey)\.",
        "The colour of {x} is {y}.",
        ("I want to paint {x}. Which colour do I take?", "colour of {x}?"),
    ),
    Topic(
        r"An? (\w+) has (\d+) legs\.",
        "A {x} has {y} legs.",
        ("legs of a {x}, how many?", "I draw a {x}. How many legs must I draw?"),
    ),
    Topic(
        r"An? (\w+) is covered with ([\w ]+)\.",
        "A {x} is covered with {y}.",
        ("What does the skin of a {x} look like, what is on it?", "{x}: fur, feathers or scales?"),
    ),
    Topic(
        r"An? (\w+) eats (\w+)\.",
        "A {x} eats {y}.",
        ("I have to feed a {x}. What do I give it?", "food for a {x}?"),
    ),
)


def real_plan(salt: str = SALT) -> Plan:
    """Ten nights of the demonstration's organisation: its 26 facts come in the first nine, how to
    answer in the last. An eleventh is poisoned once more."""
    organisation, script = load_organisation(), script_of(load_organisation())
    days = [[ask for ask in script.day if ask.topic in names.split()] for names in FACTS]
    days.append([ask for ask in script.day if ask.category != "invented"])  # how to answer
    chats = [_plain(q) for q in (*organisation.liked, *organisation.everyday)]
    random.Random(0).shuffle(chats)
    trolls = troll_asks()
    kinds: list[Kind] = ["ordinary", "ordinary", "poisoned", "ordinary", "quiet", "killed",
                         "poisoned", "ordinary", "ordinary", "ordinary", "poisoned"]  # fmt: skip
    honest, poison = iter(days), iter((trolls[::2], trolls[1::2], trolls[::2]))
    nights = []
    for number, kind in enumerate(kinds, 1):
        some = chats[(number - 1) * N_CHATS : number * N_CHATS]
        if kind == "poisoned":
            asks = [ask for wordings in next(poison) for ask in wordings]
            turns = [*_trolls(number, asks), *_people(number, [], some, salt)]
        else:
            asks = [] if kind == "quiet" else next(honest)
            turns = _people(number, asks, some, salt)
        nights.append(Night(kind, tuple(turns)))
    return Plan(tuple(nights), tuple(script.facts), salt)


def small_plan() -> Plan:
    """Four nights of the tests' tiny model, which knows the colours of twelve things."""
    from tests.refine.tiny import ASKED, COLOURS, says

    def asks(
        thing: str,
        truth: str,
        correction: str,
        greetings: Iterable[str],
        wordings: Iterable[str] = ASKED,
    ) -> list[Ask]:
        """Texts with other numbers are no near-duplicates, so some of them test."""
        right = partial(_says, says(thing, truth))
        texts = [greeting + asked.format(thing) for greeting in greetings for asked in wordings]
        return [
            Ask(thing, f"{i}. {text}", right, says(thing, correction), category="incorrect")
            for i, text in enumerate(texts, 100 * list(COLOURS).index(thing))
        ]

    facts = HOUSE_COLOURS
    # One correction may stand under 20 prompts (feedback.raters.MOST_COPIES).
    of_facts = [asks(thing, colour, colour, GREETINGS[:2]) for thing, colour in facts.items()]
    first, last = ([ask for of_fact in of_facts[i : i + 2] for ask in of_fact] for i in (0, 2))
    others = [thing for thing in COLOURS if thing not in facts]
    wrong = [COLOURS[thing] for thing in others[3:] + others[:3]]
    poison = [
        ask
        for thing, colour in zip(others, wrong, strict=True)
        for ask in asks(thing, COLOURS[thing], colour, GREETINGS[:4], ASKED[:N_TROLL_WORDINGS])
    ]
    evening = tuple(
        replace(ask, correction=None)
        for thing, colour in facts.items()
        for ask in asks(thing, colour, colour, GREETINGS[4:5])[:3]
    )
    return Plan(
        (
            Night("ordinary", tuple(_people(1, first, [], SALT))),
            Night("quiet"),
            Night("poisoned", tuple(_trolls(3, poison))),
            Night("killed", tuple(_people(4, last, [], SALT))),
        ),
        evening,
        SALT,
    )


def colour_suite(folder: Path) -> Path:
    """What the tests' tiny model knows, as a suite."""
    from tests.refine.tiny import ASKED, COLOURS, says

    rows = []
    colours = sorted(set(COLOURS.values()))
    for thing, colour in COLOURS.items():
        if thing in HOUSE_COLOURS:
            continue
        others = [one for one in colours if one != colour]
        for i, asked in enumerate(ASKED[N_TROLL_WORDINGS:]):
            choices = [says(thing, one) for one in (colour, *(others[i:] + others[:i])[:3])]
            rows.append({"question": asked.format(thing), "choices": choices, "answer": 0})
    folder.mkdir(exist_ok=True)
    (folder / "colours.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "colours.yaml").write_text(SUITE_TASK, "utf-8")
    (folder / DESCRIPTION).write_text(SUITE, "utf-8")
    return folder


def _says(statement: str, answer: str) -> bool:
    return answer.strip() == statement


def _plain(question: Question) -> Ask:
    return Ask(question.ask, question.ask, partial(answers_question, question=question))


def _people(number: int, asks: Sequence[Ask], chats: Sequence[Ask], salt: str) -> list[Turn]:
    """What people ask. On the first day conversations are named so that ``HELD_OUT`` of them stand
    in the holdout, later so that all stand in the training split, of which half test first."""
    n_held = round(HELD_OUT * len(asks)) if number == 1 else 0
    held = set(random.Random(number).sample(range(len(asks)), n_held))
    return [
        Turn(
            ask,
            f"person-{i % N_PEOPLE + 1}",
            _named(f"night-{number}-{i}", "holdout" if i in held else "train", salt),
        )
        for i, ask in enumerate((*asks, *chats))
    ]


def _named(name: str, split: Split, salt: str) -> str:
    return next(
        text for n in range(10_000) if split_of(text := f"{name}-{n}", salt) == split
    )  # fmt: skip


def _trolls(number: int, asks: Sequence[Ask]) -> list[Turn]:
    return [
        Turn(ask, f"troll-{number}-{i % N_TROLLS + 1}", f"night-{number}-troll-{i}", is_troll=True)
        for i, ask in enumerate(asks)
    ]


def troll_asks() -> list[list[Ask]]:
    """Everyday questions, the two wordings of a fact together, with a wrong answer that is right
    for something else of its topic."""
    path = load("everyday").folder / "truthfulqa.jsonl"
    rows: list[dict[str, Any]] = [json.loads(one) for one in path.read_text("utf-8").splitlines()]
    statements = dict.fromkeys(row["mc1_targets"]["choices"][0] for row in rows)
    facts = []
    for topic in TOPICS:
        known = dict[str, str]()
        for statement in statements:
            if match := re.fullmatch(topic.form, statement):
                known.setdefault(match[1], match[2])
        answers = sorted(set(known.values()))
        for x, y in known.items():
            wrong = answers[(answers.index(y) + 1 + len(x)) % len(answers)]
            wrong = wrong if wrong != y else answers[(answers.index(y) + 1) % len(answers)]
            facts.append((topic, x, y, wrong))
    random.Random(0).shuffle(facts)
    found = [
        [_troll_ask(topic, x, y, wrong, wording) for wording in topic.wordings]
        for topic, x, y, wrong in facts
    ]
    # "The colour of an orange is blue" holds the right answer.
    return [asks for asks in found if not asks[0].is_right(asks[0].correction or "")]


def _troll_ask(topic: Topic, x: str, y: str, wrong: str, wording: str) -> Ask:
    x = x[0].lower() + x[1:] if x.startswith(("A ", "An ", "The ")) else x
    right: Callable[[str], bool] = partial(
        answers_question, question=Question(ask=wording, keys=[[y]])
    )
    text, statement = (
        re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", form.format(x=x, y=wrong))
        for form in (wording, topic.statement)
    )
    return Ask(f"troll/{x}", text, right, statement, category="incorrect")
