"""Units: how many of the small one make the large one, what they measure, signs, tools."""

from refine.mini.facts.things import (
    MEASURES,
    SYMBOLS,
    TOOLS,
    UNIT_MULTIPLES,
    UNIT_PLURALS,
    UNITS,
)
from refine.mini.relations import Fact, Relation, an, make_fact

TOPIC = "units"


def plural(unit: str) -> str:
    """More than one of a unit."""
    return UNIT_PLURALS.get(unit, unit + "s")


def _one(unit: str) -> str:
    return "an hour" if unit == "hour" else an(unit)


def _fact(large: str, n: int, small: str) -> Fact:
    slots = {"l": large, "al": _one(large), "s": small, "ss": plural(small), "v": str(n)}
    slots |= {"as": _one(small), "ls": plural(large)}
    return make_fact(TOPIC, f"{large}:{small}", slots, str(n), f"{n:,}")


_CONVERT = Relation(
    name="convert",
    topic=TOPIC,
    facts=tuple(_fact(*row) for row in UNITS),
    answer_slot="v",
    weight=3.0,
    nouns=(
        "the number of {ss} in {al}",
        "the number of {ss} in one {l}",
        "the number of {ss} that make [up |]{al}",
        "{al} in {ss}",
        "one {l} in {ss}",
        "1 {l} in {ss}",
        "{al} [expressed|written|measured] in {ss}",
    ),
    clauses=(
        "how many {ss} are in {al}",
        "how many {ss} there are in {al}",
        "how many {ss} {al} has",
        "how many {ss} make [up |]{al}",
        "how many {ss} {al} [is|contains|holds]",
        "how much {al} is in {ss}",
    ),
    directs=(
        "how many {ss} are in {al}?",
        "how many {ss} are [there |]in {al}?",
        "how many {ss} are [there |]in one {l}?",
        "how many {ss} are [there |]in 1 {l}?",
        "how many {ss} in {al}?",
        "how many {ss} does {al} have?",
        "how many {ss} does {al} [contain|hold|make|consist of]?",
        "how many {ss} has {al}[ got|]?",
        "how many {ss} make [up |]{al}?",
        "how many {ss} make one {l}?",
        "how many {ss} do you need for {al}?",
        "how many {ss} is {al}?",
        "how many {ss} is one {l}?",
        "how many {ss} fit into {al}?",
        "{al} is how many {ss}?",
        "{al} has how many {ss}?",
        "one {l} is how many {ss}?",
        "one {l} equals how many {ss}?",
        "1 {l} = ? {ss}",
        "1 {l} in {ss}?",
        "{al} equals how many {ss}?",
        "what is {al} in {ss}?",
        "convert {al} [to|into] {ss}.",
        "convert 1 {l} [to|into] {ss}.",
        "change one {l} into {ss}.",
        "express {al} in {ss}.",
        "I have one {l}. how many {ss} is that?",
        "how long, heavy or large is {al} in {ss}?",
        "{ss} in {al}?",
        "{ss} per {l}?",
        "the number of {ss} in {al} is",
    ),
    replies=("there are {v} {ss} in {al}.",),
    statements=(
        "there are {v} {ss} in {al}.",
        "{al} has {v} {ss}.",
        "{al} is {v} {ss}.",
        "one {l} is {v} {ss}.",
        "1 {l} = {v} {ss}.",
        "{v} {ss} make {al}.",
    ),
    wrong=("2", "3", "7", "10", "12", "14", "16", "24", "52", "60", "100", "365", "1000", "30"),
)


def _multiple(large: str, n: int, small: str, times: int) -> Fact:
    slots = {"k": str(times), "ls": plural(large), "ss": plural(small), "v": str(n * times)}
    return make_fact(TOPIC, f"{times} {large}:{small}", slots, str(n * times))


_MULTIPLES = Relation(
    name="convert_several",
    topic=TOPIC,
    facts=tuple(
        _multiple(large, n, small, times)
        for large, n, small in UNITS
        if (large, small) in UNIT_MULTIPLES
        for times in (2, 3, 4, 5)
    ),
    answer_slot="v",
    weight=0.7,
    nouns=("the number of {ss} in {k} {ls}", "{k} {ls} in {ss}"),
    clauses=("how many {ss} {k} {ls} are", "how many {ss} are in {k} {ls}"),
    directs=(
        "how many {ss} are in {k} {ls}?",
        "how many {ss} are {k} {ls}?",
        "how many {ss} do {k} {ls} have?",
        "how many {ss} make {k} {ls}?",
        "{k} {ls} are how many {ss}?",
        "{k} {ls} = ? {ss}",
        "convert {k} {ls} to {ss}.",
        "I wait for {k} {ls}. how many {ss} is that?",
    ),
    replies=("there are {v} {ss} in {k} {ls}.",),
    statements=("{k} {ls} are {v} {ss}.", "there are {v} {ss} in {k} {ls}."),
    wrong=("14", "21", "28", "35", "120", "180", "240", "300"),
)


def _measures(unit: str, quantity: str) -> Fact:
    slots = {"u": unit, "au": _one(unit), "us": plural(unit), "v": quantity}
    return make_fact(TOPIC, f"{unit}:measures", slots, quantity)


_MEASURES = Relation(
    name="measures",
    topic=TOPIC,
    facts=tuple(_measures(u, q) for u, q in MEASURES.items()),
    answer_slot="v",
    weight=1.2,
    nouns=("the quantity [measured|given] in {us}", "what {us} measure", "the use of the unit {u}"),
    clauses=(
        "what {us} measure",
        "what {au} measures",
        "what is measured in {us}",
        "what we measure [in|with] {us}",
        "what {us} are for",
    ),
    directs=(
        "what do {us} measure?",
        "what does {au} measure?",
        "what is measured in {us}?",
        "what do [we|you|people] measure in {us}?",
        "what can you measure in {us}?",
        "what is {au} a unit of?",
        "{au} is a unit of what?",
        "{au} is a unit of",
        "{us} measure what?",
        "what are {us} used [for|to measure]?",
        "is {au} a unit of length, weight, time, volume or temperature?",
        "which quantity is given in {us}?",
        "the unit {u} is used for what?",
    ),
    replies=("{au} measures {v}.",),
    statements=(
        "{au} measures {v}.",
        "{us} measure {v}.",
        "{v} is measured in {us}.",
        "the {u} is a unit of {v}.",
    ),
    wrong=tuple(sorted(set(MEASURES.values()))),
)

_SYMBOL = Relation(
    name="symbol",
    topic=TOPIC,
    facts=tuple(
        make_fact(TOPIC, f"{u}:symbol", {"u": u, "us": plural(u), "v": s}, s)
        for u, s in SYMBOLS.items()
    ),
    answer_slot="v",
    weight=0.8,
    nouns=(
        "the symbol [for|of] {us}",
        "the symbol [for|of] the {u}",
        "the [short form|abbreviation|sign] [for|of] {u}",
    ),
    clauses=(
        "what the symbol for {us} is",
        "how {u} is [shortened|abbreviated]",
        "how to write {u} in short",
    ),
    directs=(
        "what is the symbol for {us}?",
        "what is the symbol for {u}?",
        "what is the [short form|abbreviation|sign] of {u}?",
        "how do you [abbreviate|shorten] {u}?",
        "how is {u} [written in short|abbreviated|shortened]?",
        "symbol of {u}?",
        "which letters stand for {u}?",
        "the symbol for {us} is",
    ),
    replies=("the symbol for {u} is {v}.",),
    statements=("the symbol for {u} is {v}.", "{v} stands for {u}.", "{u} is written {v}."),
    wrong=tuple(SYMBOLS.values()),
)

_TOOL = Relation(
    name="tool",
    topic=TOPIC,
    facts=tuple(
        make_fact(TOPIC, f"{t}:tool", {"t": t, "at": an(t), "v": q}, q) for t, q in TOOLS.items()
    ),
    answer_slot="v",
    weight=0.9,
    nouns=("the use of {at}", "what {at} [shows|measures]"),
    clauses=(
        "what {at} measures",
        "what {at} [shows|tells us|is for]",
        "what you can [measure|find out] with {at}",
        "what {at} is used for",
    ),
    directs=(
        "what does {at} measure?",
        "what does {at} [show|tell us|tell you]?",
        "what is {at} [used for|for|good for]?",
        "what do you use {at} for?",
        "what can you [measure|find out|read] with {at}?",
        "what is measured [with|by] {at}?",
        "why do people use {at}?",
        "{at} measures what?",
        "{at} measures",
        "{at} shows",
        "I look at {at}. what does it tell me?",
    ),
    replies=("{at} shows {v}.",),
    statements=("{at} shows {v}.", "{at} measures {v}.", "with {at} you find out {v}."),
    wrong=tuple(TOOLS.values()),
)

_WITH = Relation(
    name="tool_for",
    topic=TOPIC,
    facts=tuple(
        make_fact(TOPIC, f"{t}:for", {"at": an(t), "v": q, "t": t}, t) for t, q in TOOLS.items()
    ),
    answer_slot="at",
    weight=0.8,
    nouns=("the [tool|instrument|thing] that [measures|shows|is used for] {v}",),
    clauses=(
        "what [tool|instrument|thing] [measures|shows] {v}",
        "what to use to [measure|find out] {v}",
    ),
    directs=(
        "[what|which] [tool|instrument|thing] [measures|shows] {v}?",
        "what do you use to [measure|find out|check] {v}?",
        "how [do|can] you [measure|find out|check] {v}?",
        "with what do people measure {v}?",
        "I want to [know|measure|check] {v}. what do I [need|use]?",
        "what tool is used for {v}?",
        "what shows {v}?",
        "{v} is [measured|shown] [by|with]",
    ),
    replies=("{at} shows {v}.",),
    statements=("{at} shows {v}.", "to find out {v}, people use {at}."),
    wrong=tuple(an(t) for t in TOOLS),
)

RELATIONS = (_CONVERT, _MULTIPLES, _MEASURES, _SYMBOL, _TOOL, _WITH)
