"""Number sequences and letters."""

from refine.mini.facts.numbers import (
    DOUBLING_STARTS,
    LETTERS,
    SEQUENCE_SHOWN,
    SEQUENCE_START_MAX,
    SEQUENCE_STEPS,
    SEQUENCE_STEPS_DOWN,
)
from refine.mini.relations import Fact, Relation, make_fact

TOPIC = "sequences"


def _fact(terms: list[str]) -> Fact:
    *shown, following = terms
    slots = {"s": ", ".join(shown), "sp": " ".join(shown), "last": shown[-1], "v": following}
    slots["sq"] = ",".join(shown)
    return make_fact(TOPIC, slots["sq"], slots, following)


def _number_facts() -> tuple[Fact, ...]:
    facts = {}
    for step in (*SEQUENCE_STEPS, *(-s for s in SEQUENCE_STEPS_DOWN)):
        for start in range(SEQUENCE_START_MAX + 1):
            numbers = [start + step * i for i in range(SEQUENCE_SHOWN + 1)]
            if min(numbers) >= 0:
                fact = _fact([str(n) for n in numbers])
                facts[fact.key] = fact
    for start in DOUBLING_STARTS:
        fact = _fact([str(start * 2**i) for i in range(SEQUENCE_SHOWN + 1)])
        facts.setdefault(fact.key, fact)
    return tuple(facts.values())


def _letter_facts() -> tuple[Fact, ...]:
    facts = []
    for length in (3, 4):
        for start in range(len(LETTERS) - length):
            facts.append(_fact(list(LETTERS[start : start + length + 1])))
    return tuple(facts)


_NOUNS = (
    "the next {thing} in {s}",
    "the next {thing} [of|in] the [sequence|series|row|list] {s}",
    "the {thing} [that comes |]after {s}",
    "the {thing} that [continues|comes next in] {s}",
    "the [missing|next|following] {thing}: {s}",
    "the next [one|term|item|member] [in|of] {s}",
)
_CLAUSES = (
    "[what|which] {thing} comes [next|after] in {s}",
    "what comes [next|after] {s}",
    "how {s} [goes on|continues]",
    "[what|which] {thing} [follows|is next after] {s}",
    "how to [go on|continue] after {s}",
)
_DIRECTS = (
    "what comes next: {s}?",
    "what comes next? {s}",
    "what comes next in {s}?",
    "{s}, what comes next?",
    "{s}, ...?",
    "{s}, ?",
    "{s}, ___",
    "{s} and then?",
    "{s} ... next?",
    "{sp} ?",
    "next {thing}: {s}",
    "[what|which] {thing} comes [next|after|after that]: {s}?",
    "[what|which] {thing} comes next in the [sequence|series|row|list] {s}?",
    "[what|which] {thing} comes after {s}?",
    "[what|which] {thing} follows {s}?",
    "[what|which] {thing} [continues|completes|goes on with] {s}?",
    "what is the next {thing} in {s}?",
    "what is the next {thing} [in|of] this [sequence|series|row|list]: {s}?",
    "what is the next {thing}? {s}",
    "what is next: {s}?",
    "how does {s} [continue|go on]?",
    "how does [this|the] [sequence|series|row] [continue|go on]: {s}?",
    "[continue|complete|extend|go on with] [the |this ][sequence|series|row|list|pattern]: {s}",
    "[continue|go on]: {s}",
    "[complete|finish]: {s}",
    "fill in the [next|missing|last] {thing}: {s}, _",
    "I count {s}. [what comes next|what do I say next|what is next]?",
    "{name} [says|writes|counts] {s}. what [comes next|will {name} [say|write] next]?",
    "after {s} comes",
    "the next {thing} after {s} is",
    "the [sequence|series|row] {s} goes on with",
    "guess the next {thing}: {s}",
    "look at {s}. what is the next {thing}?",
    "[here is|I have] a [sequence|series|row]: {s}. what comes next?",
    "find the next [one|term|{thing}]: {s}",
)


def _with(patterns: tuple[str, ...], thing: str) -> tuple[str, ...]:
    return tuple(pattern.replace("{thing}", thing) for pattern in patterns)


_NUMBER = Relation(
    name="next_number",
    topic=TOPIC,
    facts=_number_facts(),
    answer_slot="v",
    weight=6.5,
    nouns=_with(_NOUNS, "number"),
    clauses=_with(_CLAUSES, "number"),
    directs=_with(_DIRECTS, "number"),
    replies=("the next number is {v}.",),
    statements=(
        "{s}, {v}.",
        "after {s} comes {v}.",
        "the sequence {s} goes on with {v}.",
        "in {s} the next number is {v}.",
    ),
    wrong=tuple(str(n) for n in range(101)),
)

_LETTER = Relation(
    name="next_letter",
    topic=TOPIC,
    facts=_letter_facts(),
    answer_slot="v",
    weight=1.2,
    nouns=_with(_NOUNS, "letter"),
    clauses=_with(_CLAUSES, "letter"),
    directs=_with(_DIRECTS, "letter"),
    replies=("the next letter is {v}.",),
    statements=("{s}, {v}.", "after {s} comes {v}.", "in {s} the next letter is {v}."),
    wrong=tuple(LETTERS),
)


def _neighbour(step: int, kind: str) -> tuple[Fact, ...]:
    facts = []
    for index, letter in enumerate(LETTERS):
        if 0 <= index + step < len(LETTERS):
            value = LETTERS[index + step]
            facts.append(make_fact(TOPIC, f"{letter}:{kind}", {"x": letter, "v": value}, value))
    return tuple(facts)


_LETTER_AFTER = Relation(
    name="letter_after",
    topic=TOPIC,
    facts=_neighbour(1, "after"),
    answer_slot="v",
    weight=1.0,
    nouns=(
        "the letter after {x}",
        "the letter that [comes after|follows] {x}",
        "the next letter after {x}",
    ),
    clauses=("[which|what] letter comes after {x}", "[which|what] letter follows {x}"),
    directs=(
        "[which|what] letter comes after {x}?",
        "[which|what] letter follows {x}[ in the alphabet|]?",
        "[which|what] letter is after {x}?",
        "what comes after {x} in the alphabet?",
        "in the alphabet, what comes after {x}?",
        "what is the letter after {x}?",
        "letter after {x}?",
        "after {x} comes the letter",
        "{x} is followed by [which|what] letter?",
    ),
    replies=("the letter after {x} is {v}.",),
    statements=("the letter after {x} is {v}.", "after the letter {x} comes {v}."),
    wrong=tuple(LETTERS),
)

_LETTER_BEFORE = Relation(
    name="letter_before",
    topic=TOPIC,
    facts=_neighbour(-1, "before"),
    answer_slot="v",
    weight=1.3,
    nouns=("the letter before {x}", "the letter that comes [just |]before {x}"),
    clauses=("[which|what] letter comes before {x}",),
    directs=(
        "[which|what] letter comes before {x}?",
        "[which|what] letter is before {x}?",
        "what comes before {x} in the alphabet?",
        "in the alphabet, what comes before {x}?",
        "what is the letter before {x}?",
        "letter before {x}?",
        "before {x} comes the letter",
        "{x} comes after [which|what] letter?",
    ),
    replies=("the letter before {x} is {v}.",),
    statements=("the letter before {x} is {v}.", "before the letter {x} comes {v}."),
    wrong=tuple(LETTERS),
)


def _number_neighbour(step: int, kind: str) -> tuple[Fact, ...]:
    return tuple(
        make_fact(TOPIC, f"{n}:{kind}", {"x": str(n), "v": str(n + step)}, str(n + step))
        for n in range(1, 101)
    )


_NUMBER_AFTER = Relation(
    name="number_after",
    topic=TOPIC,
    facts=_number_neighbour(1, "after"),
    answer_slot="v",
    weight=1.4,
    nouns=("the number after {x}", "the number that [comes after|follows] {x}"),
    clauses=("[which|what] number comes after {x}", "[which|what] number follows {x}"),
    directs=(
        "[which|what] number comes after {x}?",
        "[which|what] number comes [right|just|directly] after {x}?",
        "[which|what] number follows {x}?",
        "[which|what] number is after {x}?",
        "what is the number after {x}?",
        "what comes after {x} when you count?",
        "I count to {x}. what is next?",
        "number after {x}?",
    ),
    replies=("the number after {x} is {v}.",),
    statements=("the number after {x} is {v}.", "{v} comes after {x}."),
    wrong=tuple(str(n) for n in range(102)),
)

_NUMBER_BEFORE = Relation(
    name="number_before",
    topic=TOPIC,
    facts=_number_neighbour(-1, "before"),
    answer_slot="v",
    weight=1.4,
    nouns=("the number before {x}", "the number that comes [just |]before {x}"),
    clauses=("[which|what] number comes before {x}",),
    directs=(
        "[which|what] number comes before {x}?",
        "[which|what] number comes [right|just|directly] before {x}?",
        "[which|what] number is before {x}?",
        "what is the number before {x}?",
        "what comes before {x} when you count?",
        "number before {x}?",
    ),
    replies=("the number before {x} is {v}.",),
    statements=("the number before {x} is {v}.", "{v} comes before {x}."),
    wrong=tuple(str(n) for n in range(102)),
)

RELATIONS = (_NUMBER, _LETTER, _LETTER_AFTER, _LETTER_BEFORE, _NUMBER_AFTER, _NUMBER_BEFORE)
