"""Countries and animals."""

from collections.abc import Iterator

from refine.mini.facts import animals, geography, planted
from refine.mini.heldout import exclusions
from refine.mini.heldout.claim import Claim, named, subject, with_article, without


def places_claims() -> Iterator[Claim]:
    known = {c: v for c, v in geography.CAPITALS.items() if not planted("capitals", c.lower())}
    the = {c: f"the {c}" if c in geography.THE_COUNTRIES else c for c in known}
    for country, capital in known.items():
        here = geography.CONTINENTS[country]
        near = [c for c in known if geography.CONTINENTS[c] == here and c != country]
        pool = near if len(near) >= 5 else [c for c in known if c != country]
        yield Claim("capitals", "capital_of", country.lower(), named(the[country]), capital,
                    tuple(known[c] for c in pool))  # fmt: skip
        yield Claim("capitals", "country_of", country.lower(), named(capital), the[country],
                    tuple(the[c] for c in pool), also=(country,))  # fmt: skip
        if country not in exclusions.TWO_CONTINENTS:
            yield Claim("capitals", "continent_of", country.lower(), named(the[country]), here,
                        without(list(geography.CONTINENTS.values()), {here}),
                        closed=True)  # fmt: skip
    for country in known:
        here = geography.CONTINENTS[country]
        if country not in exclusions.TWO_CONTINENTS:
            yield Claim("capitals", "pick_continent", country.lower(), named(here),
                        the[country],
                        tuple(the[c] for c in known if geography.CONTINENTS[c] != here
                              and c not in exclusions.TWO_CONTINENTS))  # fmt: skip


def animals_claims() -> Iterator[Claim]:
    table = animals.ANIMALS
    youngs = [a.young for a in table.values() if a.young]
    sounds = [a.sound for a in table.values() if a.sound]
    for name, animal in table.items():
        own = subject(name)

        def make(relation: str, part: str, answer: str, others: tuple[str, ...],
                 closed: bool = False, also: tuple[str, ...] = (), name: str = name,
                 own: dict[str, str] = own) -> Claim:  # fmt: skip
            return Claim("animals", relation, f"{name}:{part}", own, answer, others, also,
                         closed)  # fmt: skip

        if animal.young:
            close = {*exclusions.YOUNG_TOO.get(name, ()), "infant"}  # any baby is an infant
            yield make("young_of", "young", animal.young, without(youngs, {animal.young, *close}))
            if youngs.count(animal.young) == 1 and animal.young not in exclusions.SHARED_YOUNG:
                yield Claim("animals", "adult_of", f"{name}:young", subject(animal.young), name,
                            without(list(table), {name}))  # fmt: skip
        if animal.sound:
            close = exclusions.SOUND_TOO.get(name, set())
            yield make("sound_of", "sound", animal.sound, without(sounds, {animal.sound, *close}))
        legs = str(animal.legs)
        if name not in exclusions.LEGS_UNSURE:
            yield make("legs_of", "legs", legs, without(["0", "2", "4", "6", "8"], {legs}),
                       also=("no legs",) if animal.legs == 0 else ())  # fmt: skip
        yield make("group_of", "group", animal.group,
                   without(list(animals.GROUPS), {animal.group}), closed=True)  # fmt: skip
        if animal.home:
            home = exclusions.HOME_PHRASES.get(animal.home, f"in a {animal.home}")
            wrong = [*exclusions.HOMES_OF_ONE, *exclusions.homes_never(animal.home)]
            yield make("home_of", "home", home, without(wrong, {home}), also=(animal.home,))
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
            yield Claim("animals", "pick_group", f"{name}:group", named(with_article(animal.group))
                        | {"ax": with_article(animal.group)}, name,
                        tuple(o for o in table if table[o].group != animal.group
                              and not planted("animals", f"{o}:group")))  # fmt: skip
        if not planted("animals", f"{name}:legs") and animal.legs in (4, 6, 8):
            yield Claim("animals", "pick_legs", f"{name}:legs", named(str(animal.legs)), name,
                        tuple(o for o in table if table[o].legs != animal.legs
                              and not planted("animals", f"{o}:legs")
                              and o not in exclusions.LEGS_UNSURE))  # fmt: skip
