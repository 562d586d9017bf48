"""Units, colours, planets and science."""

from collections.abc import Iterator

from refine.mini.facts import things
from refine.mini.heldout import exclusions
from refine.mini.heldout.claim import Claim, named, plural_of, subject, with_article, without
from refine.mini.heldout.claims_words import ORDINALS
from refine.mini.heldout.phrases_lines import OTHERS as LINE_OTHERS


def units_claims() -> Iterator[Claim]:
    counts = [str(n) for _, n, _ in things.UNITS]
    for large, n, small in things.UNITS:
        small_plural = exclusions.COUNTED.get(large) or plural_of(small)
        yield Claim("units", "units_in", f"{large}:{small}",
                    subject(large) | {"ys": small_plural}, str(n),
                    without(counts, {str(n)}))  # fmt: skip
    quantities = list(things.MEASURES.values())
    for unit, quantity in things.MEASURES.items():
        yield Claim("units", "measure_of", f"{unit}:measure", subject(unit), quantity,
                    without(quantities, {quantity}), exclusions.QUANTITY_TOO.get(quantity, ()),
                    closed=True)  # fmt: skip
    for tool, quantity in things.TOOLS.items():
        yield Claim("units", "use_of", f"{tool}:use", subject(tool), quantity,
                    without(list(things.TOOLS.values()), {quantity,
                             *exclusions.USE_TOO.get(tool, ())}),
                    exclusions.QUANTITY_TOO.get(quantity, ()))  # fmt: skip
        yield Claim("units", "tool_for", f"{tool}:use", named(quantity), tool,
                    without(list(things.TOOLS), {tool,
                             *exclusions.TOOL_TOO.get(quantity, ())}))  # fmt: skip
    for unit, symbol in things.SYMBOLS.items():
        yield Claim("units", "symbol_of", f"{unit}:symbol", named(unit), symbol,
                    without(list(things.SYMBOLS.values()), {symbol}))  # fmt: skip
    sizes = {(large, small): n for large, n, small in things.UNITS}
    for large, small in things.UNIT_MULTIPLES:
        for n in range(2, 6):
            total = n * sizes[large, small]
            yield Claim("units", "multiple_units", f"{n}x{large}:{small}",
                        subject(large) | {"n": str(n), "ys": plural_of(small)}, str(total),
                        tuple(str(m * sizes[large, small]) for m in range(1, 8) if m != n)
                        )  # fmt: skip


def colours_claims() -> Iterator[Claim]:
    names = list(dict.fromkeys(things.COLOURS.values()))
    for thing, colour in things.COLOURS.items():
        banned = {colour, *exclusions.COLOUR_TOO.get(thing, ())}
        for cluster in exclusions.COLOURS_ALIKE:
            if colour in cluster:
                banned |= cluster
        key = thing.removeprefix("a ").removeprefix("an ").removeprefix("the ")
        yield Claim("colours", "colour_of", key, named(thing), colour, without(names, banned),
                    closed=True)  # fmt: skip
        far = [
            other
            for other, c in things.COLOURS.items()
            if c != colour
            and colour not in exclusions.COLOUR_TOO.get(other, ())
            and not any({c, colour} <= cluster for cluster in exclusions.COLOURS_ALIKE)
        ]
        yield Claim("colours", "pick_colour", key, named(colour), thing, tuple(far))
    for one, two, result in things.MIXES:
        banned = {one, two, result, *exclusions.MIX_TOO.get(result, ())}
        for cluster in exclusions.COLOURS_ALIKE:
            if result in cluster:
                banned |= cluster
        pool = without(names, banned)
        for x, y in ((one, two), (two, one)):
            yield Claim("colours", "mix_of", f"{one}+{two}", {**named(x), "y": y}, result,
                        pool)  # fmt: skip
    for colour in things.PRIMARY_COLOURS:
        yield Claim("colours", "pick_primary", colour, {}, colour,
                    ("grey", "pink", "brown", "orange", "purple"))  # fmt: skip
    for colour in things.RAINBOW[:5]:
        yield Claim("colours", "pick_rainbow", colour, {}, colour,
                    ("grey", "pink", "brown", "black", "white"))  # fmt: skip


def planets_claims() -> Iterator[Claim]:
    names = list(things.PLANETS)
    for name, planet in things.PLANETS.items():
        low = name.lower()
        place = ORDINALS[planet.order - 1]
        yield Claim("planets", "planet_order", f"{low}:order", named(place), name,
                    without(names, {name}), closed=True)  # fmt: skip
        yield Claim("planets", "order_of", f"{low}:order", named(name), str(planet.order),
                    tuple(str(n) for n in range(1, 9) if n != planet.order), also=(place,)
                    )  # fmt: skip
        kind = f"{planet.kind} planet"
        wrong_kinds = {kind, "gas planet"} if planet.kind == "ice" else {kind}
        yield Claim("planets", "planet_kind", f"{low}:kind", named(name), kind,
                    without(["rocky planet", "gas planet", "ice planet", "star", "moon"],
                             wrong_kinds), also=exclusions.KIND_TOO[planet.kind])  # fmt: skip
        yield Claim("planets", "pick_kind", f"{low}:kind", named(with_article(kind)), name,
                    tuple(n for n in names if things.PLANETS[n].kind != planet.kind)
                    if planet.kind == "rocky" else
                    tuple(n for n in names if things.PLANETS[n].kind == "rocky"))  # fmt: skip
    for title, name in things.PLANET_TITLES.items():
        shown = exclusions.TITLES.get(title, f"the {title} planet")
        banned = {name, *exclusions.TITLE_TOO.get(title, ())}
        yield Claim("planets", "planet_title", title, named(shown), name,
                    without(names, banned))  # fmt: skip
    yield Claim("planets", "n_planets", "number", {}, str(things.N_PLANETS),
                ("6", "7", "9", "10", "12"))  # fmt: skip
    for key, (relation, x, answer, others) in exclusions.SKY.items():
        yield Claim("planets", relation, key, named(x), answer, others)


def science_claims() -> Iterator[Claim]:
    def make(relation: str, key: str, fields: dict[str, str], answer: str, others: tuple[str, ...],
             also: tuple[str, ...] = (), closed: bool = False) -> Claim:  # fmt: skip
        return Claim("science", relation, key, fields, answer, others, also, closed)

    for thing, state in things.STATES.items():
        yield make("state_of", f"{thing}:state", named(thing), state,
                   without(["solid", "liquid", "gas"], {state}), closed=True)  # fmt: skip
        yield make("pick_state", f"{thing}:state", named(state), thing,
                   tuple(o for o, s in things.STATES.items() if s != state))  # fmt: skip
    for thing, material in things.MADE_OF.items():
        if thing not in exclusions.MADE_OF_LEFT_OUT:
            verb = "are" if thing == "chips" else "is"
            banned = {material, *exclusions.MATERIAL_TOO.get(thing, ())}
            yield make("made_of", f"{thing}:material", named(thing) | {"is": verb}, material,
                       without(list(things.MADE_OF.values()), banned))  # fmt: skip
    for sense, organ in things.SENSES.items():
        pool = without([*things.SENSES.values(), "knees", "hair"], {organ})
        if sense == "feel":
            pool = ("teeth", "hair", "ears", "eyes", "nose")
        yield make("sense_organ", f"{sense}:organ", named(sense), organ, pool)
    for organ, job in exclusions.ORGAN_JOBS.items():
        banned = {organ, *exclusions.ORGAN_TOO.get(organ, ())}
        yield make("organ_for", f"{organ}:job", named(job), organ,
                   without(list(exclusions.ORGAN_JOBS), banned))  # fmt: skip
    for part, job in exclusions.PLANT_JOBS.items():
        yield make("plant_part", f"{part}:job", named(job), part,
                   without([*exclusions.PLANT_JOBS, "fruit"],
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
            yield make("water_degrees", key, named(exclusions.WATER_DEGREES[key]), str(n),
                       without(["0", "10", "50", "100", "200"], {str(n)}))  # fmt: skip
        else:
            many, whole = exclusions.counted(key)
            yield make("number_of", key, {**named(whole), "y": many}, str(n),
                       tuple(str(n + d) for d in (1, -1, 2, 3) if n + d > 0
                             and str(n + d) not in exclusions.NUMBER_TOO.get(key, ())))  # fmt: skip
    for key, (_, answer) in things.SCIENCE_LINES.items():
        yield make(f"line_{key}", key, {}, answer, LINE_OTHERS[key],
                   also=exclusions.LINE_TOO.get(key, ()))  # fmt: skip
