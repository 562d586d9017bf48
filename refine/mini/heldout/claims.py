"""The facts that are asked: each with its right answer and wrong ones of the same kind.

`claims()` lists them from the fact tables. Left out are facts that carry a planted fault and, for
regular plurals, sums, differences and number sequences, all that the training text may use
(`refine.mini.facts.kept_out`).
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from refine.mini.facts import animals, geography, kept_out, numbers, planted, things, time, words
from refine.mini.heldout import exclusions
from refine.mini.heldout.phrases_lines import OTHERS as LINE_OTHERS

ORDINALS = ("first second third fourth fifth sixth seventh eighth ninth tenth eleventh "
            "twelfth").split()  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """One fact to ask.

    `key` is the fact's key in the tables; `fields` fill a phrasing; `others` are wrong answers of
    the same kind, three or more unless said otherwise; `also` are other right answers; `closed`
    says that `others` is the whole list, so that naming one of them contradicts.
    """

    topic: str
    relation: str
    key: str
    fields: dict[str, str]
    answer: str
    others: tuple[str, ...]
    also: tuple[str, ...] = ()
    closed: bool = False


def with_article(noun: str) -> str:
    """ "a cat", "an owl"; phrases with an article or a verb of their own stay."""
    if noun.split()[0] in ("a", "an", "the", "it", "in", "on"):
        return noun
    vowel = noun[0] in "aeiou" and not noun.startswith("euro")
    return ("an " if vowel or noun.startswith("hour") else "a ") + noun


def upper_first(text: str) -> str:
    """`text` with its first letter as a capital; the rest stays."""
    return text[:1].upper() + text[1:]


def fill(phrase: str, claim: Claim, answer: str | None = None, *, ending: bool = False) -> str:
    """`phrase` with the claim's fields and, if given, `answer` (the right one or another).

    The first letter is made a capital unless the phrase is the `ending` of a sentence.
    """
    fields = dict(claim.fields)
    if answer is not None:
        fields["a"] = answer
        fields["an"] = with_article(answer)
    filled = phrase.format(**fields)
    return filled if ending else upper_first(filled)


def claims() -> list[Claim]:
    """Every fact that may be asked in the question sets, in a fixed order."""
    made = [
        *_places(), *_animals(), *_opposites(), *_plurals(), *_sums(), *_sequences(), *_calendar(),
        *_units(), *_colours(), *_planets(), *_science(),
    ]  # fmt: skip
    return [c for c in made if planted(c.topic, c.key) is None]


def _subject(x: str) -> dict[str, str]:
    """The fields of a thing `x` that can be counted."""
    plural = words.PLURALS_REGULAR.get(x) or words.PLURALS_IRREGULAR.get(x) or _plural_of(x)
    ax = with_article(x)
    return {"x": x, "X": upper_first(x), "ax": ax, "Ax": upper_first(ax),
            "xs": plural, "Xs": upper_first(plural)}  # fmt: skip


def _plural_of(noun: str) -> str:
    if noun in things.UNIT_PLURALS:
        return things.UNIT_PLURALS[noun]
    if noun in ("salmon", "goldfish", "shark"):
        return {"shark": "sharks"}.get(noun, noun)
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def _named(x: str) -> dict[str, str]:
    return {"x": x, "X": upper_first(x)}


def _without(pool: Iterator[str] | list[str], right: set[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(p for p in pool if p not in right))


def _places() -> Iterator[Claim]:
    known = {c: v for c, v in geography.CAPITALS.items() if not planted("capitals", c.lower())}
    the = {c: f"the {c}" if c in geography.THE_COUNTRIES else c for c in known}
    for country, capital in known.items():
        here = geography.CONTINENTS[country]
        near = [c for c in known if geography.CONTINENTS[c] == here and c != country]
        pool = near if len(near) >= 5 else [c for c in known if c != country]
        yield Claim("capitals", "capital_of", country.lower(), _named(the[country]), capital,
                    tuple(known[c] for c in pool))  # fmt: skip
        yield Claim("capitals", "country_of", country.lower(), _named(capital), the[country],
                    tuple(the[c] for c in pool), also=(country,))  # fmt: skip
        if country not in exclusions.TWO_CONTINENTS:
            yield Claim("capitals", "continent_of", country.lower(), _named(the[country]), here,
                        _without(list(geography.CONTINENTS.values()), {here}),
                        closed=True)  # fmt: skip
    for country in known:
        here = geography.CONTINENTS[country]
        if country not in exclusions.TWO_CONTINENTS:
            yield Claim("capitals", "pick_continent", country.lower(), _named(here),
                        the[country],
                        tuple(the[c] for c in known if geography.CONTINENTS[c] != here
                              and c not in exclusions.TWO_CONTINENTS))  # fmt: skip


def _animals() -> Iterator[Claim]:
    table = animals.ANIMALS
    youngs = [a.young for a in table.values() if a.young]
    sounds = [a.sound for a in table.values() if a.sound]
    for name, animal in table.items():
        subject = _subject(name)

        def make(relation: str, part: str, answer: str, others: tuple[str, ...],
                 closed: bool = False, also: tuple[str, ...] = (), name: str = name,
                 subject: dict[str, str] = subject) -> Claim:  # fmt: skip
            return Claim("animals", relation, f"{name}:{part}", subject, answer, others, also,
                         closed)  # fmt: skip

        if animal.young:
            close = {*exclusions.YOUNG_TOO.get(name, ()), "infant"}  # any baby is an infant
            yield make("young_of", "young", animal.young, _without(youngs, {animal.young, *close}))
            if youngs.count(animal.young) == 1 and animal.young not in exclusions.SHARED_YOUNG:
                yield Claim("animals", "adult_of", f"{name}:young", _subject(animal.young), name,
                            _without(list(table), {name}))  # fmt: skip
        if animal.sound:
            close = exclusions.SOUND_TOO.get(name, set())
            yield make("sound_of", "sound", animal.sound, _without(sounds, {animal.sound, *close}))
        legs = str(animal.legs)
        if name not in exclusions.LEGS_UNSURE:
            yield make("legs_of", "legs", legs, _without(["0", "2", "4", "6", "8"], {legs}),
                       also=("no legs",) if animal.legs == 0 else ())  # fmt: skip
        yield make("group_of", "group", animal.group,
                   _without(list(animals.GROUPS), {animal.group}), closed=True)  # fmt: skip
        if animal.home:
            home = exclusions.HOME_PHRASES.get(animal.home, f"in a {animal.home}")
            wrong = [*exclusions.HOMES_OF_ONE, *exclusions.homes_never(animal.home)]
            yield make("home_of", "home", home, _without(wrong, {home}), also=(animal.home,))
        if name in exclusions.PLANT_EATERS:
            yield make("diet_of", "diet", animal.diet, ("meat", "fish", "mice", "insects"))
        if name in exclusions.MEAT_EATERS:
            yield make("diet_of", "diet", animal.diet, ("grass", "leaves", "nectar", "seeds"))
        if animal.group not in ("insect", "arachnid"):
            fur = {"fur", "hair", "wool"}
            wrong_covers = {"fur", "feathers", "scales", "a hard shell"} - {animal.cover}
            if animal.cover in fur:
                wrong_covers -= fur
                wrong_covers.add("a shell")
            if animal.cover == "a shell":
                wrong_covers -= {"a hard shell", "scales"}
                wrong_covers.add("wool")
            if name == "crocodile":
                wrong_covers -= {"a hard shell"}
                wrong_covers.add("wool")
            yield make("cover_of", "cover", animal.cover, tuple(sorted(wrong_covers)))
    for name, animal in table.items():
        if not planted("animals", f"{name}:group"):
            yield Claim("animals", "pick_group", f"{name}:group", _named(with_article(animal.group))
                        | {"ax": with_article(animal.group)}, name,
                        tuple(o for o in table if table[o].group != animal.group
                              and not planted("animals", f"{o}:group")))  # fmt: skip
        if not planted("animals", f"{name}:legs") and animal.legs in (4, 6, 8):
            yield Claim("animals", "pick_legs", f"{name}:legs", _named(str(animal.legs)), name,
                        tuple(o for o in table if table[o].legs != animal.legs
                              and not planted("animals", f"{o}:legs")
                              and o not in exclusions.LEGS_UNSURE))  # fmt: skip


def _opposites() -> Iterator[Claim]:
    listed = [word for pair in words.OPPOSITES for word in pair]
    for word in dict.fromkeys(listed):
        right = words.opposites_of(word)
        banned = {word, *right}
        for cluster in exclusions.ALIKE:
            if cluster & set(right):
                banned |= cluster
        also = tuple(right[1:]) + exclusions.OPPOSITE_TOO.get(word, ())
        banned |= set(also)
        yield Claim("opposites", "opposite_of", word, _named(word), right[0],
                    _without(listed, banned), also=also)  # fmt: skip


def _wrong_plurals(noun: str, right: str) -> tuple[str, ...]:
    made = [noun + "s", noun + "es", noun, right + ("es" if right.endswith("s") else "s"),
            noun + "en", noun + "ies"]  # fmt: skip
    banned = {right, *exclusions.PLURAL_TOO.get(noun, ())}
    return _without(made, banned)


def _plurals() -> Iterator[Claim]:
    for noun, plural in [*words.PLURALS_REGULAR.items(), *words.PLURALS_IRREGULAR.items()]:
        if noun in words.PLURALS_REGULAR and not kept_out("plurals", noun):
            continue
        yield Claim("plurals", "plural_of", noun, _subject(noun), plural,
                    _wrong_plurals(noun, plural),
                    also=exclusions.PLURAL_TOO.get(noun, ()))  # fmt: skip


def _near(n: int) -> tuple[str, ...]:
    """Wrong results that a person could come to, none below zero."""
    near = [n + d for d in (1, -1, 2, -2, 10, -10, 5)]
    return tuple(str(v) for v in near if v >= 0)


def _sums() -> Iterator[Claim]:
    for a in range(2, numbers.SUM_MAX + 1):
        for b in range(2, numbers.SUM_MAX + 1):
            if kept_out("arithmetic", f"{a}+{b}"):
                yield Claim("arithmetic", "sum", f"{a}+{b}", {"x": str(a), "y": str(b)}, str(a + b),
                            _near(a + b))  # fmt: skip
    for a in range(3, numbers.DIFFERENCE_MAX + 1):
        for b in range(2, a):
            if kept_out("arithmetic", f"{a}-{b}"):
                yield Claim("arithmetic", "difference", f"{a}-{b}", {"x": str(a), "y": str(b)},
                            str(a - b), _near(a - b))  # fmt: skip


def _sequences() -> Iterator[Claim]:
    steps = [*numbers.SEQUENCE_STEPS, *(-s for s in numbers.SEQUENCE_STEPS_DOWN)]
    for start in range(numbers.SEQUENCE_START_MAX + 1):
        for step in steps:
            shown = [start + i * step for i in range(numbers.SEQUENCE_SHOWN)]
            following = start + numbers.SEQUENCE_SHOWN * step
            key = ",".join(map(str, shown))
            if following >= 0 and kept_out("sequences", key):
                # Going on in the other direction is no right answer either.
                yield Claim("sequences", "next_number", key, {"x": ", ".join(map(str, shown))},
                            str(following),
                            _without(list(_near(following)), {str(following)}))  # fmt: skip


def _calendar() -> Iterator[Claim]:
    def make(relation: str, key: str, x: str, answer: str, pool: tuple[str, ...],
             closed: bool = True, also: tuple[str, ...] = ()) -> Claim:  # fmt: skip
        return Claim("calendar", relation, key, _named(x), answer,
                     _without(list(pool), {answer, x}), also, closed)  # fmt: skip

    for names, word in ((time.DAYS, "day"), (time.MONTHS, "month")):
        for place, name in enumerate(names):
            after, before = names[(place + 1) % len(names)], names[place - 1]
            yield make(f"{word}_after", f"{name.lower()}:after", name, after, names)
            yield make(f"{word}_before", f"{name.lower()}:before", name, before, names)
            yield make(f"nth_{word}", f"{name.lower()}:order", ORDINALS[place], name, names)
    for month, days in time.MONTH_DAYS.items():
        wrong = ("28", "29", "30", "31", "27", "32") if days != 28 else ("27", "30", "31", "32")
        yield make("month_days", f"{month.lower()}:days", month, str(days), wrong, closed=False,
                   also=("29",) if days == 28 else ())  # fmt: skip
    for season, months in time.SEASONS.items():
        for month in months:
            yield make("season_of", f"{month.lower()}:season", month, season, time.SEASON_ORDER)
            yield make("pick_season", f"{month.lower()}:season", season, month,
                       tuple(m for m in time.MONTHS if m not in months), closed=False)  # fmt: skip
    for day in time.WEEKEND:
        yield make("pick_weekend", f"{day.lower()}:weekend", "weekend", day,
                   tuple(d for d in time.DAYS if d not in time.WEEKEND), closed=False)  # fmt: skip


def _units() -> Iterator[Claim]:
    counts = [str(n) for _, n, _ in things.UNITS]
    for large, n, small in things.UNITS:
        small_plural = exclusions.COUNTED.get(large) or _plural_of(small)
        yield Claim("units", "units_in", f"{large}:{small}",
                    _subject(large) | {"ys": small_plural}, str(n),
                    _without(counts, {str(n)}))  # fmt: skip
    quantities = list(things.MEASURES.values())
    for unit, quantity in things.MEASURES.items():
        yield Claim("units", "measure_of", f"{unit}:measure", _subject(unit), quantity,
                    _without(quantities, {quantity}), exclusions.QUANTITY_TOO.get(quantity, ()),
                    closed=True)  # fmt: skip
    for tool, quantity in things.TOOLS.items():
        yield Claim("units", "use_of", f"{tool}:use", _subject(tool), quantity,
                    _without(list(things.TOOLS.values()), {quantity,
                             *exclusions.USE_TOO.get(tool, ())}),
                    exclusions.QUANTITY_TOO.get(quantity, ()))  # fmt: skip
        yield Claim("units", "tool_for", f"{tool}:use", _named(quantity), tool,
                    _without(list(things.TOOLS), {tool,
                             *exclusions.TOOL_TOO.get(quantity, ())}))  # fmt: skip
    for unit, symbol in things.SYMBOLS.items():
        yield Claim("units", "symbol_of", f"{unit}:symbol", _named(unit), symbol,
                    _without(list(things.SYMBOLS.values()), {symbol}))  # fmt: skip
    sizes = {(large, small): n for large, n, small in things.UNITS}
    for large, small in things.UNIT_MULTIPLES:
        for n in range(2, 6):
            total = n * sizes[large, small]
            yield Claim("units", "multiple_units", f"{n}x{large}:{small}",
                        _subject(large) | {"n": str(n), "ys": _plural_of(small)}, str(total),
                        tuple(str(m * sizes[large, small]) for m in range(1, 8) if m != n)
                        )  # fmt: skip


def _colours() -> Iterator[Claim]:
    names = list(dict.fromkeys(things.COLOURS.values()))
    for thing, colour in things.COLOURS.items():
        banned = {colour, *exclusions.COLOUR_TOO.get(thing, ())}
        for cluster in exclusions.COLOURS_ALIKE:
            if colour in cluster:
                banned |= cluster
        key = thing.removeprefix("a ").removeprefix("an ").removeprefix("the ")
        yield Claim("colours", "colour_of", key, _named(thing), colour, _without(names, banned),
                    closed=True)  # fmt: skip
        far = [
            other
            for other, c in things.COLOURS.items()
            if c != colour
            and colour not in exclusions.COLOUR_TOO.get(other, ())
            and not any({c, colour} <= cluster for cluster in exclusions.COLOURS_ALIKE)
        ]
        yield Claim("colours", "pick_colour", key, _named(colour), thing, tuple(far))
    for one, two, result in things.MIXES:
        banned = {one, two, result, *exclusions.MIX_TOO.get(result, ())}
        for cluster in exclusions.COLOURS_ALIKE:
            if result in cluster:
                banned |= cluster
        pool = _without(names, banned)
        for x, y in ((one, two), (two, one)):
            yield Claim("colours", "mix_of", f"{one}+{two}", {**_named(x), "y": y}, result,
                        pool)  # fmt: skip
    for colour in things.PRIMARY_COLOURS:
        yield Claim("colours", "pick_primary", colour, {}, colour,
                    ("grey", "pink", "brown", "orange", "purple"))  # fmt: skip
    for colour in things.RAINBOW[:5]:
        yield Claim("colours", "pick_rainbow", colour, {}, colour,
                    ("grey", "pink", "brown", "black", "white"))  # fmt: skip


def _planets() -> Iterator[Claim]:
    names = list(things.PLANETS)
    for name, planet in things.PLANETS.items():
        low = name.lower()
        place = ORDINALS[planet.order - 1]
        yield Claim("planets", "planet_order", f"{low}:order", _named(place), name,
                    _without(names, {name}), closed=True)  # fmt: skip
        yield Claim("planets", "order_of", f"{low}:order", _named(name), str(planet.order),
                    tuple(str(n) for n in range(1, 9) if n != planet.order), also=(place,)
                    )  # fmt: skip
        kind = f"{planet.kind} planet"
        wrong_kinds = {kind, "gas planet"} if planet.kind == "ice" else {kind}
        yield Claim("planets", "planet_kind", f"{low}:kind", _named(name), kind,
                    _without(["rocky planet", "gas planet", "ice planet", "star", "moon"],
                             wrong_kinds), also=exclusions.KIND_TOO[planet.kind])  # fmt: skip
        yield Claim("planets", "pick_kind", f"{low}:kind", _named(with_article(kind)), name,
                    tuple(n for n in names if things.PLANETS[n].kind != planet.kind)
                    if planet.kind == "rocky" else
                    tuple(n for n in names if things.PLANETS[n].kind == "rocky"))  # fmt: skip
    for title, name in things.PLANET_TITLES.items():
        shown = exclusions.TITLES.get(title, f"the {title} planet")
        banned = {name, *exclusions.TITLE_TOO.get(title, ())}
        yield Claim("planets", "planet_title", title, _named(shown), name,
                    _without(names, banned))  # fmt: skip
    yield Claim("planets", "n_planets", "number", {}, str(things.N_PLANETS),
                ("6", "7", "9", "10", "12"))  # fmt: skip
    for key, (relation, x, answer, others) in exclusions.SKY.items():
        yield Claim("planets", relation, key, _named(x), answer, others)


def _science() -> Iterator[Claim]:
    def make(relation: str, key: str, fields: dict[str, str], answer: str, others: tuple[str, ...],
             also: tuple[str, ...] = (), closed: bool = False) -> Claim:  # fmt: skip
        return Claim("science", relation, key, fields, answer, others, also, closed)

    for thing, state in things.STATES.items():
        yield make("state_of", f"{thing}:state", _named(thing), state,
                   _without(["solid", "liquid", "gas"], {state}), closed=True)  # fmt: skip
        yield make("pick_state", f"{thing}:state", _named(state), thing,
                   tuple(o for o, s in things.STATES.items() if s != state))  # fmt: skip
    for thing, material in things.MADE_OF.items():
        if thing not in exclusions.MADE_OF_LEFT_OUT:
            verb = "are" if thing == "chips" else "is"
            banned = {material, *exclusions.MATERIAL_TOO.get(thing, ())}
            yield make("made_of", f"{thing}:material", _named(thing) | {"is": verb}, material,
                       _without(list(things.MADE_OF.values()), banned))  # fmt: skip
    for sense, organ in things.SENSES.items():
        pool = _without([*things.SENSES.values(), "knees", "hair"], {organ})
        if sense == "feel":
            pool = ("teeth", "hair", "ears", "eyes", "nose")
        yield make("sense_organ", f"{sense}:organ", _named(sense), organ, pool)
    for organ, job in exclusions.ORGAN_JOBS.items():
        banned = {organ, *exclusions.ORGAN_TOO.get(organ, ())}
        yield make("organ_for", f"{organ}:job", _named(job), organ,
                   _without(list(exclusions.ORGAN_JOBS), banned))  # fmt: skip
    for part, job in exclusions.PLANT_JOBS.items():
        yield make("plant_part", f"{part}:job", _named(job), part,
                   _without([*exclusions.PLANT_JOBS, "fruit"],
                            {part, *exclusions.PLANT_TOO.get(part, ())}))  # fmt: skip
    for relation, table, wanted in (("pick_floats", things.FLOATS, True),
                                    ("pick_sinks", things.FLOATS, False),
                                    ("pick_magnetic", things.MAGNETIC, True)):  # fmt: skip
        for thing, value in table.items():
            if value == wanted:
                yield make(relation, thing, {}, thing,
                           tuple(o for o, v in table.items() if v != wanted))  # fmt: skip
    for key, n in things.SCIENCE_NUMBERS.items():
        if key in exclusions.WATER_DEGREES:
            yield make("water_degrees", key, _named(exclusions.WATER_DEGREES[key]), str(n),
                       _without(["0", "10", "50", "100", "200"], {str(n)}))  # fmt: skip
        else:
            many, whole = exclusions.counted(key)
            yield make("number_of", key, {**_named(whole), "y": many}, str(n),
                       tuple(str(n + d) for d in (1, -1, 2, 3) if n + d > 0
                             and str(n + d) not in exclusions.NUMBER_TOO.get(key, ())))  # fmt: skip
    for key, (_, answer) in things.SCIENCE_LINES.items():
        yield make(f"line_{key}", key, {}, answer, LINE_OTHERS[key],
                   also=exclusions.LINE_TOO.get(key, ()))  # fmt: skip


def sample(claim: Claim, n: int, rng: random.Random) -> list[str]:
    """`n` different wrong answers of `claim`, drawn with `rng`."""
    return rng.sample(claim.others, n)
