"""Words, numbers and the calendar."""

from collections.abc import Iterator

from refine.mini.facts import kept_out, numbers, time, words
from refine.mini.heldout import exclusions
from refine.mini.heldout.claim import Claim, named, subject, without

ORDINALS = ("first second third fourth fifth sixth seventh eighth ninth tenth eleventh "
            "twelfth").split()  # fmt: skip


def opposites_claims() -> Iterator[Claim]:
    listed = [word for pair in words.OPPOSITES for word in pair]
    for word in dict.fromkeys(listed):
        right = words.opposites_of(word)
        banned = {word, *right}
        for cluster in exclusions.ALIKE:
            if cluster & set(right):
                banned |= cluster
        also = tuple(right[1:]) + exclusions.OPPOSITE_TOO.get(word, ())
        banned |= set(also)
        yield Claim("opposites", "opposite_of", word, named(word), right[0],
                    without(listed, banned), also=also)  # fmt: skip


def _wrong_plurals(noun: str, right: str) -> tuple[str, ...]:
    made = [noun + "s", noun + "es", noun, right + ("es" if right.endswith("s") else "s"),
            noun + "en", noun + "ies"]  # fmt: skip
    banned = {right, *exclusions.PLURAL_TOO.get(noun, ())}
    return without(made, banned)


def plurals_claims() -> Iterator[Claim]:
    for noun, plural in [*words.PLURALS_REGULAR.items(), *words.PLURALS_IRREGULAR.items()]:
        if noun in words.PLURALS_REGULAR and not kept_out("plurals", noun):
            continue
        yield Claim("plurals", "plural_of", noun, subject(noun), plural,
                    _wrong_plurals(noun, plural),
                    also=exclusions.PLURAL_TOO.get(noun, ()))  # fmt: skip


def _near(n: int) -> tuple[str, ...]:
    """Wrong results that a person could come to, none below zero."""
    near = [n + d for d in (1, -1, 2, -2, 10, -10, 5)]
    return tuple(str(v) for v in near if v >= 0)


def sums_claims() -> Iterator[Claim]:
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


def sequences_claims() -> Iterator[Claim]:
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
                            without(list(_near(following)), {str(following)}))  # fmt: skip


def calendar_claims() -> Iterator[Claim]:
    def make(relation: str, key: str, x: str, answer: str, pool: tuple[str, ...],
             closed: bool = True, also: tuple[str, ...] = ()) -> Claim:  # fmt: skip
        return Claim("calendar", relation, key, named(x), answer,
                     without(list(pool), {answer, x}), also, closed)  # fmt: skip

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
