"""Planets: order, kind, titles, and the sky around them."""

from refine.mini.facts import planted
from refine.mini.facts.things import PLANET_TITLES, PLANETS, SKY_FACTS
from refine.mini.relations import Fact, Relation, make_fact

TOPIC = "planets"
_NAMES = tuple(PLANETS)
ORDINALS = "first second third fourth fifth sixth seventh eighth".split()


def _title(title: str, planet: str) -> Fact:
    shown = "Mercury" if planted(TOPIC, title) else planet
    noun = title if "planet" in title else f"{title.split(' ')[0]} planet"
    if " to " in title or " from " in title:
        noun = "planet " + title
    adjective = title if "planet" not in title else title.replace(" planet", "")
    slots = {"t": noun, "v": shown, "adj": adjective}
    return make_fact(TOPIC, title, slots, shown)


_TITLE = Relation(
    name="title",
    topic=TOPIC,
    facts=tuple(_title(t, p) for t, p in PLANET_TITLES.items()),
    answer_slot="v",
    weight=2.2,
    nouns=(
        "the {t}",
        "the name of the {t}",
        "the {t} in our solar system",
        "the {t} [of them all|of the eight|that goes around the sun]",
    ),
    clauses=(
        "[which|what] planet is the {t}",
        "what the {t} is [called|]",
        "which of the planets is the {t}",
        "which planet [people|we|they] call the {t}",
    ),
    directs=(
        "[which|what] is the {t}?",
        "[which|what] planet is the {t}?",
        "which of the planets is the {t}?",
        "which of the eight planets is the {t}?",
        "what is the name of the {t}?",
        "what is the {t} called?",
        "[which|what] planet is [called|known as|said to be] the {t}?",
        "[which|what] planet do [people|we|they] call the {t}?",
        "in our solar system, [which|what] is the {t}?",
        "the {t} is",
        "the {t} is called",
        "the {t} is [which|what]?",
        "the {t}?",
        "name the {t}.",
        "who or what is the {t}?",
        "I am looking for the {t}. which one is it?",
        "if I fly to the {t}, where am I?",
    ),
    replies=("the {t} is {v}.",),
    statements=(
        "the {t} is {v}.",
        "{v} is the {t}.",
        "{v} is known as the {t}.",
        "of all planets, {v} is the {t}.",
    ),
    wrong=_NAMES,
)


def _nth(planet: str) -> Fact:
    n = PLANETS[planet].order
    slots = {"nth": ORDINALS[n - 1], "n": str(n), "v": planet}
    return make_fact(TOPIC, f"{planet.lower()}:nth", slots, planet)


_NTH = Relation(
    name="nth_planet",
    topic=TOPIC,
    facts=tuple(_nth(p) for p in PLANETS),
    answer_slot="v",
    weight=1.4,
    nouns=(
        "the {nth} planet [from the sun|]",
        "the {nth} planet of [our|the] solar system",
        "planet number {n}[ from the sun|]",
    ),
    clauses=(
        "[which|what] planet is the {nth} from the sun",
        "[which|what] planet is number {n}",
        "what the {nth} planet [from the sun |]is called",
    ),
    directs=(
        "[which|what] is the {nth} planet from the sun?",
        "[which|what] planet is the {nth} from the sun?",
        "[which|what] planet is {nth} from the sun?",
        "[which|what] planet is number {n}?",
        "[which|what] planet comes {nth}[, counted from the sun|]?",
        "{nth} planet?",
        "{nth} planet from the sun?",
        "planet number {n}?",
        "the {nth} planet is",
        "count the planets from the sun. [which|what] is number {n}?",
        "name the {nth} planet.",
    ),
    replies=("the {nth} planet from the sun is {v}.",),
    statements=(
        "the {nth} planet from the sun is {v}.",
        "{v} is the {nth} planet from the sun.",
        "{v} is planet number {n}.",
    ),
    wrong=_NAMES,
)


def _order(planet: str) -> Fact:
    n = PLANETS[planet].order
    slots = {"nth": ORDINALS[n - 1], "n": str(n), "x": planet}
    return make_fact(TOPIC, f"{planet.lower()}:order", slots, ORDINALS[n - 1], str(n))


_ORDER = Relation(
    name="planet_order",
    topic=TOPIC,
    facts=tuple(_order(p) for p in PLANETS),
    answer_slot="nth",
    weight=1.0,
    nouns=(
        "the [place|position|number] of {x} [counted |]from the sun",
        "the position of {x} among the planets",
    ),
    clauses=(
        "which number {x} has [among the planets|counted from the sun]",
        "at what place {x} is, counted from the sun",
        "where {x} stands in the order of the planets",
    ),
    directs=(
        "which planet from the sun is {x}[, by number|]?",
        "what number planet is {x}?",
        "what number is {x} from the sun?",
        "what is the position of {x} from the sun?",
        "{x} is which planet from the sun, by number?",
        "where does {x} come in the order of the planets?",
        "is {x} the first, second, third or which planet from the sun?",
        "{x} is the",
        "how far out is {x}, counted in planets from the sun?",
        "{x}: which place from the sun?",
    ),
    replies=("{x} is the {nth} planet from the sun.",),
    statements=("{x} is the {nth} planet from the sun.", "{x} is planet number {n}."),
    wrong=tuple(ORDINALS),
)


def _step(step: int, kind: str) -> tuple[Fact, ...]:
    facts = []
    for index, planet in enumerate(_NAMES):
        if 0 <= index + step < len(_NAMES):
            value = _NAMES[index + step]
            facts.append(
                make_fact(TOPIC, f"{planet.lower()}:{kind}", {"x": planet, "v": value}, value)
            )
    return tuple(facts)


_AFTER = Relation(
    name="planet_after",
    topic=TOPIC,
    facts=_step(1, "after"),
    answer_slot="v",
    weight=0.9,
    nouns=("the [next |]planet after {x}", "the planet that [follows|comes after] {x}"),
    clauses=("[which|what] planet comes after {x}", "[which|what] planet is next after {x}"),
    directs=(
        "[which|what] planet comes after {x}?",
        "[which|what] planet is [next |]after {x}?",
        "[which|what] planet follows {x}?",
        "what comes after {x}, going out from the sun?",
        "going out from the sun, which planet comes after {x}?",
        "after {x} comes",
    ),
    replies=("the planet after {x} is {v}.",),
    statements=("the planet after {x} is {v}.", "after {x} comes {v}."),
    wrong=_NAMES,
)

_BEFORE = Relation(
    name="planet_before",
    topic=TOPIC,
    facts=_step(-1, "before"),
    answer_slot="v",
    weight=0.9,
    nouns=("the planet [just |right |]before {x}", "the planet that comes before {x}"),
    clauses=("[which|what] planet comes before {x}", "[which|what] planet is just before {x}"),
    directs=(
        "[which|what] planet comes before {x}?",
        "[which|what] planet is [just |right |]before {x}?",
        "what comes before {x}, counted from the sun?",
        "{x} comes after [which|what] planet?",
        "before {x} comes",
    ),
    replies=("the planet before {x} is {v}.",),
    statements=("the planet before {x} is {v}.", "before {x} comes {v}."),
    wrong=_NAMES,
)

_KIND = Relation(
    name="planet_kind",
    topic=TOPIC,
    facts=tuple(
        make_fact(TOPIC, f"{p.lower()}:kind", {"x": p, "v": d.kind}, d.kind)
        for p, d in PLANETS.items()
    ),
    answer_slot="v",
    weight=1.0,
    nouns=("the kind of planet [that |]{x} is", "the type of the planet {x}"),
    clauses=(
        "what kind of planet {x} is",
        "whether {x} is a rocky planet, a gas planet or an ice planet",
        "what {x} is made of: rock, gas or ice",
    ),
    directs=(
        "what kind of planet is {x}?",
        "what [type|sort] of planet is {x}?",
        "which kind of planet is {x}?",
        "is {x} a rocky planet, a gas planet or an ice planet?",
        "is {x} rocky, gas or ice?",
        "{x}: rocky, gas or ice?",
        "{x} is what kind of planet?",
        "{x} is a planet of which kind?",
        "to which kind of planets does {x} belong?",
    ),
    replies=("{x} is a planet of the {v} kind.",),
    statements=("{x} is a planet of the {v} kind.", "{x} is one of the {v} planets."),
    wrong=("rocky", "gas", "ice"),
)

_KNOWN = Relation(
    name="planet_known_for",
    topic=TOPIC,
    facts=tuple(
        make_fact(TOPIC, f"{p.lower()}:known", {"x": p, "v": d.known_for}, d.known_for)
        for p, d in PLANETS.items()
    ),
    answer_slot="v",
    weight=1.0,
    nouns=("the thing {x} is known for", "the special thing about {x}"),
    clauses=("what {x} is [known|famous] for", "what is special about {x}"),
    directs=(
        "what is {x} [known|famous|well known] for?",
        "for what is {x} [known|famous]?",
        "what is special about {x}?",
        "why is {x} [known|famous|special]?",
        "what makes {x} special?",
        "tell me something about {x}.",
        "tell me about [the planet |]{x}.",
        "what do you know about {x}?",
        "{x} is known for",
    ),
    replies=("{x} is known for {v}.",),
    statements=("{x} is known for {v}.", "people know {x} for {v}."),
    wrong=tuple(d.known_for for d in PLANETS.values()),
)

_SKY_QUESTIONS = {
    "the sun": ("what is the sun?", "what kind of thing is the sun?", "is the sun a star?"),
    "the moon": ("what is the moon?", "what kind of thing is the moon?", "is the moon a planet?"),
    "the earth": ("what is the earth?", "what kind of thing is the earth?"),
    "what the earth goes around": (
        "what does the earth go around?",
        "around what does the earth [move|travel|turn|go]?",
        "what is in the middle of the solar system?",
    ),
    "what the moon goes around": (
        "what does the moon go around?",
        "around what does the moon [move|travel|turn|go]?",
    ),
}
_SKY_REPLIES = {
    "the sun": "the sun is a star.",
    "the moon": "the moon is a moon of the earth.",
    "the earth": "the earth is a planet.",
    "what the earth goes around": "the earth goes around the sun.",
    "what the moon goes around": "the moon goes around the earth.",
}
_SKY = tuple(
    Relation(
        name=f"sky {key}",
        topic=TOPIC,
        facts=(make_fact(TOPIC, f"sky:{key}", {"v": answer}, answer),),
        answer_slot="v",
        weight=0.15,
        directs=_SKY_QUESTIONS[key],
        replies=(_SKY_REPLIES[key].replace(answer, "{v}", 1),),
        wrong=tuple(SKY_FACTS.values()),
    )
    for key, answer in SKY_FACTS.items()
)

_COUNT = Relation(
    name="planet_count",
    topic=TOPIC,
    facts=(make_fact(TOPIC, "count", {"v": "8"}, "8", "eight"),),
    answer_slot="v",
    weight=0.3,
    nouns=("the number of planets", "the number of planets in [our|the] solar system"),
    clauses=("how many planets there are", "how many planets our solar system has"),
    directs=(
        "how many planets are there[ in our solar system|]?",
        "how many planets does [our|the] solar system have?",
        "how many planets go around the sun?",
        "count the planets.",
        "the number of planets is",
    ),
    replies=("there are {v} planets.",),
    statements=("there are {v} planets.", "our solar system has {v} planets."),
    wrong=("7", "8", "9", "10", "6"),
)

RELATIONS = (_TITLE, _NTH, _ORDER, _AFTER, _BEFORE, _KIND, _KNOWN, *_SKY, _COUNT)
