"""Days, months, their order and lengths, seasons."""

from refine.mini.facts.time import DAYS, MONTH_DAYS, MONTHS, SEASON_ORDER, SEASONS, WEEKEND
from refine.mini.relations import Fact, Relation, make_fact

TOPIC = "calendar"
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
)
_WORDS = "one two three four five six seven eight nine ten eleven twelve".split()


def _step(names: tuple[str, ...], step: int, kind: str) -> tuple[Fact, ...]:
    facts = []
    for index, name in enumerate(names):
        value = names[(index + step) % len(names)]
        facts.append(make_fact(TOPIC, f"{name.lower()}:{kind}", {"x": name, "v": value}, value))
    return tuple(facts)


def _after(name: str, unit: str, names: tuple[str, ...]) -> Relation:
    more: tuple[str, ...] = ()
    if unit == "day":
        more = (
            "today is {x}. what [day |]is tomorrow?",
            "if today is {x}, what [day |]is tomorrow?",
            "if it is {x} today, what [day |]will it be tomorrow?",
            "it is {x}. what is the next day?",
            "tomorrow is what day if today is {x}?",
            "yesterday was {x}. what day is today?",
            "if yesterday was {x}, what is today?",
            "what day will it be one day after {x}?",
            "{x} is today. tomorrow is",
            "when {x} ends, which day begins?",
            "we meet the day after {x}. [which day|when] is that?",
        )
    if unit == "month":
        more = (
            "it is {x}. what is next month?",
            "if this month is {x}, what is the next[ month|]?",
            "last month was {x}. which month is it now?",
            "when {x} ends, which month begins?",
            "turn the calendar page from {x}. what month is [it|next]?",
            "this month is {x}. next month is",
        )
    if unit == "season":
        more = ("when {x} ends, which season begins?", "it is {x}. which season comes next?")
    return Relation(
        name=name,
        topic=TOPIC,
        facts=_step(names, 1, "after"),
        answer_slot="v",
        weight=1.5 if unit != "season" else 0.5,
        nouns=(
            f"the {unit} after {{x}}",
            f"the {unit} that [comes after|follows|comes next after] {{x}}",
            f"the {unit} [right |just |directly ||immediately ]after {{x}}",
            f"the next {unit} after {{x}}",
            f"the {unit} following {{x}}",
        ),
        clauses=(
            f"[which|what] {unit} comes after {{x}}",
            f"[which|what] {unit} follows {{x}}",
            f"[which|what] {unit} is [right |]after {{x}}",
            "what comes after {x}",
        ),
        directs=(
            f"[which|what] {unit} comes after {{x}}?",
            f"[which|what] {unit} comes [right|just|directly|next] after {{x}}?",
            f"[which|what] {unit} follows {{x}}?",
            f"[which|what] {unit} is after {{x}}?",
            f"what is the {unit} after {{x}}?",
            f"what {unit} [is|comes] next after {{x}}?",
            "what comes after {x}?",
            "after {x} comes",
            "after {x} comes what?",
            "{x} is followed by",
            f"{{x}} is followed by [which|what] {unit}?",
            f"{{x}} comes before which {unit}?",
            f"{{x}} is the {unit} before what?",
            f"next {unit} after {{x}}?",
            *more,
        ),
        replies=(f"the {unit} after {{x}} is {{v}}.",),
        statements=(
            f"the {unit} after {{x}} is {{v}}.",
            "{v} comes after {x}.",
            "after {x} comes {v}.",
            "{x} is followed by {v}.",
            "first comes {x}, then {v}.",
        ),
        wrong=names,
    )


def _before(name: str, unit: str, names: tuple[str, ...]) -> Relation:
    more: tuple[str, ...] = ()
    if unit == "day":
        more = (
            "today is {x}. what [day |]was yesterday?",
            "if today is {x}, what [day |]was yesterday?",
            "it is {x} today. which day was it yesterday?",
            "yesterday was what day if today is {x}?",
            "tomorrow is {x}. what day is [it |]today?",
            "if tomorrow is {x}, what is today?",
            "what day was it one day before {x}?",
            "{x} is today. yesterday was",
            "we meet the day before {x}. [which day|when] is that?",
        )
    if unit == "month":
        more = (
            "it is {x}. what was last month?",
            "if this month is {x}, what was the last[ month|]?",
            "next month is {x}. which month is it now?",
            "which month ends when {x} begins?",
            "this month is {x}. last month was",
        )
    if unit == "season":
        more = ("which season ends when {x} begins?", "it is {x}. which season was before?")
    return Relation(
        name=name,
        topic=TOPIC,
        facts=_step(names, -1, "before"),
        answer_slot="v",
        weight=1.5 if unit != "season" else 0.5,
        nouns=(
            f"the {unit} before {{x}}",
            f"the {unit} that [comes before|precedes|comes just before] {{x}}",
            f"the {unit} [right |just |directly ||immediately ]before {{x}}",
            f"the {unit} [ahead of|preceding] {{x}}",
        ),
        clauses=(
            f"[which|what] {unit} comes before {{x}}",
            f"[which|what] {unit} precedes {{x}}",
            f"[which|what] {unit} is [right |]before {{x}}",
            "what comes before {x}",
        ),
        directs=(
            f"[which|what] {unit} comes before {{x}}?",
            f"[which|what] {unit} comes [right|just|directly] before {{x}}?",
            f"[which|what] {unit} is before {{x}}?",
            f"[which|what] {unit} precedes {{x}}?",
            f"what is the {unit} before {{x}}?",
            "what comes before {x}?",
            "before {x} comes",
            "before {x} comes what?",
            f"{{x}} follows which {unit}?",
            f"{{x}} comes [right |]after [which|what] {unit}?",
            f"{{x}} is the {unit} after what?",
            f"{unit} before {{x}}?",
            *more,
        ),
        replies=(f"the {unit} before {{x}} is {{v}}.",),
        statements=(
            f"the {unit} before {{x}} is {{v}}.",
            "{v} comes before {x}.",
            "before {x} comes {v}.",
            "{x} comes after {v}.",
        ),
        wrong=names,
    )


def _numbered(names: tuple[str, ...]) -> tuple[Fact, ...]:
    facts = []
    for index, name in enumerate(names):
        slots = {"v": name, "nth": ORDINALS[index], "n": str(index + 1), "nw": _WORDS[index]}
        facts.append(make_fact(TOPIC, f"{name.lower()}:nth", slots, name))
    return tuple(facts)


def _order_of(names: tuple[str, ...]) -> tuple[Fact, ...]:
    facts = []
    for index, name in enumerate(names):
        slots = {"x": name, "nth": ORDINALS[index], "n": str(index + 1)}
        facts.append(
            make_fact(TOPIC, f"{name.lower()}:order", slots, ORDINALS[index], str(index + 1))
        )
    return tuple(facts)


def _nth(name: str, unit: str, whole: str, names: tuple[str, ...], last: str) -> Relation:
    return Relation(
        name=name,
        topic=TOPIC,
        facts=_numbered(names),
        answer_slot="v",
        weight=1.2,
        nouns=(
            f"the {{nth}} {unit} of the {whole}",
            f"the {{nth}} {unit} in the {whole}",
            f"{unit} number {{n}}[ of the {whole}|]",
            f"the name of the {{nth}} {unit}",
        ),
        clauses=(
            f"[which|what] {unit} is the {{nth}} of the {whole}",
            f"[which|what] {unit} is number {{n}}",
            f"what the {{nth}} {unit} of the {whole} is[ called|]",
        ),
        directs=(
            f"[which|what] is the {{nth}} {unit} of the {whole}?",
            f"[which|what] {unit} is the {{nth}} [of|in] the {whole}?",
            f"[which|what] {unit} is {{nth}}?",
            f"[which|what] {unit} is number {{n}}?",
            f"[which|what] {unit} comes {{nth}} in the {whole}?",
            f"{{nth}} {unit}?",
            f"{unit} number {{n}}?",
            f"the {{nth}} {unit} of the {whole} is",
            f"name the {{nth}} {unit} of the {whole}.",
            f"count the {unit}s of the {whole}. which is number {{nw}}?",
            f"a {whole} has {last} {unit}s. which is the {{nth}}?",
        ),
        replies=(f"the {{nth}} {unit} of the {whole} is {{v}}.",),
        statements=(
            f"the {{nth}} {unit} of the {whole} is {{v}}.",
            f"{{v}} is the {{nth}} {unit} of the {whole}.",
            f"{{v}} is {unit} number {{n}}.",
        ),
        wrong=names,
    )


def _order(name: str, unit: str, whole: str, names: tuple[str, ...]) -> Relation:
    return Relation(
        name=name,
        topic=TOPIC,
        facts=_order_of(names),
        answer_slot="nth",
        weight=0.8,
        nouns=(f"the [place|position|number] of {{x}} [in|among] the {unit}s of the {whole}",),
        clauses=(
            f"which number {{x}} has among the {unit}s",
            f"which {unit} of the {whole} {{x}} is, by number",
        ),
        directs=(
            f"which number is {{x}} among the {unit}s[ of the {whole}|]?",
            f"what number {unit} is {{x}}?",
            f"what is the number of the {unit} {{x}}?",
            f"{{x}} is which {unit} of the {whole}, by number?",
            f"is {{x}} the first, second, third or which {unit} of the {whole}?",
            f"at what place does {{x}} come in the {whole}?",
        ),
        replies=(f"{{x}} is the {{nth}} {unit} of the {whole}.",),
        statements=(f"{{x}} is the {{nth}} {unit} of the {whole}.",),
        wrong=tuple(ORDINALS[: len(names)]),
    )


_LENGTH = Relation(
    name="month_length",
    topic=TOPIC,
    facts=tuple(
        make_fact(TOPIC, f"{m.lower()}:days", {"x": m, "v": str(n)}, str(n))
        for m, n in MONTH_DAYS.items()
    ),
    answer_slot="v",
    weight=1.5,
    nouns=(
        "the number of days in {x}",
        "the number of days [that |]{x} has",
        "the [length|length in days] of {x}",
        "the length of the month of {x}",
    ),
    clauses=(
        "how many days {x} has",
        "how many days there are in {x}",
        "how long {x} is",
        "how many days the month of {x} has",
    ),
    directs=(
        "how many days does {x} have?",
        "how many days are [there |]in {x}?",
        "how many days has {x}[ got|]?",
        "how many days are there in the month of {x}?",
        "how many days long is {x}?",
        "how long is {x}?",
        "how long is the month of {x}[ in days|]?",
        "days in {x}?",
        "{x} has how many days?",
        "{x}: 28, 30 or 31 days?",
        "does {x} have 28, 30 or 31 days?",
        "the number of days in {x} is",
        "what is the last [day|date] of {x}, by number?",
    ),
    replies=("{x} has {v} days.",),
    statements=(
        "{x} has {v} days.",
        "there are {v} days in {x}.",
        "the month of {x} is {v} days long.",
    ),
    wrong=("28", "30", "31", "29", "27", "32"),
)

_SEASON = Relation(
    name="season",
    topic=TOPIC,
    facts=tuple(
        make_fact(TOPIC, f"{month.lower()}:season", {"x": month, "v": season}, season)
        for season, months in SEASONS.items()
        for month in months
    ),
    answer_slot="v",
    weight=1.2,
    nouns=(
        "the season of {x}",
        "the season {x} [is in|belongs to|falls in]",
        "the season in {x}",
    ),
    clauses=(
        "which season {x} is in",
        "what season it is in {x}",
        "in which season {x} [is|falls|comes]",
        "to which season {x} belongs",
    ),
    directs=(
        "[which|what] season is {x} in?",
        "[which|what] season is it in {x}?",
        "in [which|what] season is {x}?",
        "{x} is in [which|what] season?",
        "{x} belongs to which season?",
        "to which season does {x} belong?",
        "what season do we have in {x}?",
        "{x}: which season?",
        "is {x} in spring, summer, autumn or winter?",
        "what time of the year is {x}: spring, summer, autumn or winter?",
        "{x} is a month of",
    ),
    replies=("{x} is in {v}.",),
    statements=(
        "{x} is in {v}.",
        "{x} is a month of {v}.",
        "in {x} it is {v}.",
        "{x} belongs to {v}.",
    ),
    wrong=SEASON_ORDER,
)

_WEEKEND = Relation(
    name="weekend",
    topic=TOPIC,
    facts=tuple(
        make_fact(
            TOPIC,
            f"{d.lower()}:weekend",
            {"x": d, "v": "weekend day" if d in WEEKEND else "weekday"},
            "weekend" if d in WEEKEND else "weekday",
        )
        for d in DAYS
    ),
    answer_slot="v",
    weight=0.6,
    clauses=("whether {x} is a weekday or a weekend day", "if {x} is on the weekend"),
    directs=(
        "is {x} a weekday or a weekend day?",
        "is {x} on the weekend?",
        "is {x} part of the weekend?",
        "does {x} belong to the weekend?",
        "{x}: weekday or weekend?",
        "{x} is a weekday or a weekend day?",
        "what kind of day is {x}, weekday or weekend?",
    ),
    replies=("{x} is a {v}.",),
    statements=("{x} is a {v}.",),
    wrong=("weekend day", "weekday"),
)

RELATIONS = (
    _after("day_after", "day", DAYS),
    _before("day_before", "day", DAYS),
    _after("month_after", "month", MONTHS),
    _before("month_before", "month", MONTHS),
    _after("season_after", "season", SEASON_ORDER),
    _before("season_before", "season", SEASON_ORDER),
    _nth("nth_day", "day", "week", DAYS, "7"),
    _nth("nth_month", "month", "year", MONTHS, "12"),
    _order("day_order", "day", "week", DAYS),
    _order("month_order", "month", "year", MONTHS),
    _LENGTH,
    _SEASON,
    _WEEKEND,
)
