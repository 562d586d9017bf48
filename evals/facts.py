"""Whether an answer states the correction's facts and no others: words, numbers, their order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass

from evals.signs import has_other_zeros, same_signs
from evals.words import (
    ADVERBIALS,
    AGENTS,
    ARTICLES,
    COPULAS,
    DEFINITE,
    EITHER,
    GOALS,
    KEYS,
    NO,
    PASSIVES,
    SOURCES,
    VERSIONS,
    YES,
    Key,
    Token,
    is_denial,
    is_filler,
    is_little,
    language_of,
    same,
    tokens,
    units_of,
)

OPTION = re.compile(r"^\s*\(?([A-Ha-h])[).:]\s+(.+?)\s*$", re.MULTILINE)
_ORDER_ASKED = re.compile(
    r"\b((?:order|sort|rank)(?:ed)?|steps?|first|alphabetical(?:ly)?|chronological(?:ly)?|"
    r"reihenfolge|schritte|sortier(?:e|en|t)?|geordnet|ordre|étapes|triez?|orden|ordena(?:d[ao]s)?|"
    r"pasos)\b|顺序|步骤|排序|排列",
    re.IGNORECASE,
)
_A_IS_TO = frozenset(("es", "it"))  # languages in which "a" is a preposition only
_OPENING = {
    "zh": r"\s*(不是|不对|不|否|是的|是|对)(?:的)?\s*(?:[，。,.!！]|$)",
    "": r"\s*([^\W\d_]+)\b\s*(?:[,.:;!–—-]|$)",
}


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt with its correction and flagged answer, as tokens."""

    prompt_text: str
    correction_text: str
    flagged_text: str
    language: str
    prompt: list[Token]
    correction: list[Token]  # without an opening yes or no
    flagged: list[Token]
    opening: bool | None  # of the correction: yes or no
    flagged_opening: bool | None
    options: dict[str, str]  # lettered ones of the prompt
    key: Key | None  # None: they differ in order, little words or signs only
    level: int  # index of the key in KEYS

    @classmethod
    def of(cls, prompt: str, correction: str, flagged: str) -> Item:
        language = language_of(f"{prompt} {correction}")
        opening, rest = opened(correction, language)
        flagged_opening, flagged_rest = opened(flagged, language)
        right, wrong = tokens(rest, language), tokens(flagged_rest, language)
        level = next(
            (
                level
                for level, key in enumerate(KEYS)
                if _facts(right, key, language) != _facts(wrong, key, language)
            ),
            None,
        )
        if level is None and (opening is not None or has_other_zeros(right, wrong)):
            level = 0
        options = {a.upper(): b for a, b in OPTION.findall(prompt)}
        return cls(
            prompt, correction, flagged, language, tokens(prompt, language), right, wrong, opening,
            flagged_opening,
            options if len(options) > 1 else {}, None if level is None else KEYS[level], level or 0,
        )  # fmt: skip

    def telling(self, found: Sequence[Token]) -> list[Token]:
        """The tokens that can make two texts say different things, denials apart."""
        return [t for t in found if not is_little(t, self.language) and not is_denial(t)]

    def turns_on_opening(self) -> bool:
        """Whether yes or no alone tells the correction from the flagged answer: nothing follows it,
        or that one opens with the other. If that one opens with neither, it must repeat the
        question (*The Earth is flat*) or differ from the correction in a denial only."""
        if self.opening is None:
            return False
        if self.flagged_opening is not None and self.flagged_opening != self.opening:
            return True
        right, wrong, asked = (
            Counter(t.stem for t in self.telling(some))
            for some in (self.correction, self.flagged, self.prompt)
        )
        n_right, n_wrong = (sum(map(is_denial, some)) for some in (self.correction, self.flagged))
        if not right and not n_right:
            return True
        if self.flagged_opening is not None:
            return False
        if right == wrong and (n_right + n_wrong) % 2 == 1:
            return True
        is_repeated = bool(asked) and asked.keys() <= wrong.keys()
        is_plain = not any(is_denial(t) or t.folded in EITHER for t in self.prompt)
        return is_repeated and is_plain and self.opening == (n_wrong % 2 == 1)

    def added(self) -> list[Token]:
        """What the correction says beyond the prompt."""
        asked = {KEYS[0](t) for t in self.prompt}
        key = self.key or KEYS[0]
        if (
            self.level
        ):  # case or accents are at stake, so the prompt's spelling is none of the answer
            wrong = {key(t) for t in self.flagged}
            return [t for t in self.telling(self.correction) if key(t) not in wrong]
        return [t for t in self.telling(self.correction) if key(t) not in asked]


def _facts(found: Sequence[Token], key: Key, language: str) -> Counter[tuple[str, str | None]]:
    return Counter((key(t), t.unit) for t in found if is_denial(t) or not is_little(t, language))


def says(answer: str, item: Item, wanted: Sequence[Token] | None = None) -> bool:
    """Whether the answer states the correction's facts and no others.

    - Every telling token of the correction is there, but for those of the prompt; numbers with the
      same unit, or without one that the prompt names.
    - Nothing else is there but tokens of the prompt, little words and words that introduce an
      answer: above all nothing of the flagged answer, unless denied (*Canberra, not Sydney*).
    - Both deny equally often; no *or* that the correction lacks.
    - The shared tokens stand in the same order, or their order can't matter (:func:`_order_fits`),
      none goes the other way (:func:`_same_directions`), and signs and zeros that tell are the
      same (:func:`evals.signs.same_signs`).
    """
    key, language = item.key or KEYS[0], item.language
    wanted = item.correction if wanted is None else wanted
    right, asked = {key(t) for t in wanted}, {key(t) for t in item.prompt}
    wrong = {key(t) for t in item.telling(item.flagged)} - right
    opening, rest = opened(answer, language)
    given = _without_contrast(tokens(rest, language), wrong, key, language)
    denies = sum(map(is_denial, wanted)) % 2 == 1
    if opening is not None and opening != (not denies if item.opening is None else item.opening):
        return False
    if sum(map(is_denial, given)) != sum(map(is_denial, wanted)):
        return False
    if any(t.folded in EITHER for t in given) and not any(t.folded in EITHER for t in wanted):
        return False
    told, needed = item.telling(given), item.telling(wanted)
    core = {key(t) for t in needed} - asked
    turned = sum(map(is_denial, wanted)) != sum(map(is_denial, item.flagged))
    if core:
        wrong -= asked
    else:  # the prompt names the right answer, and the wrong one if it asks for a choice
        core = {key(t) for t in needed} - {key(t) for t in item.flagged}
    there = {key(t) for t in told}
    if not (core & there or (turned and not core)) or not there or there & wrong:
        return False
    if not all(_is_allowed(t, key, right, asked, item) for t in told):
        return False
    if not _same_numbers(told, needed, item):
        return False
    missing = [t for t in needed if key(t) not in there]
    lacking = [t for t in missing if key(t) in core]
    if lacking and not _may_lack(lacking, given, wanted, key, item):
        return False
    if not core and missing != list(needed[: len(missing)]):
        return False  # "They are not blind" says "Bats are not blind", "They are not bats" doesn't
    of_version = any(t.folded in VERSIONS for t in item.prompt)
    if not _same_directions(given, wanted, key, item) or not same_signs(
        given, wanted, key, item.flagged, of_version=of_version
    ):
        return False
    return _order_fits(given, list(wanted), core, key, item)


def _same_directions(given: Sequence[Token], wanted: Sequence[Token], key: Key, item: Item) -> bool:
    """Whether nothing that the correction comes from (*from Bern*) is where the answer goes to, or
    the other way round."""
    told, needed = _directions(given, key, item), _directions(wanted, key, item)
    return all(ways <= needed.get(token, ways) for token, ways in told.items())


def _directions(found: Sequence[Token], key: Key, item: Item) -> dict[str, set[bool]]:
    """Of each telling token with *from* or *to* before it, articles between: whether it is *to*."""
    goals = GOALS | {"a"} if item.language in _A_IS_TO else GOALS
    ways: dict[str, set[bool]] = {}
    way: bool | None = None
    for token in found:
        if token.folded in SOURCES | goals:
            way = token.folded in goals
        elif token.folded not in ARTICLES:
            if way is not None and item.telling([token]):
                ways.setdefault(key(token), set()).add(way)
            way = None
    return ways


def _is_allowed(token: Token, key: Key, right: set[str], asked: set[str], item: Item) -> bool:
    if key(token) in right or key(token) in asked:
        return True
    if token.is_number:
        return False
    if item.level and token.stem in {t.stem for t in item.correction}:
        return False  # another spelling of what is at stake
    return is_filler(token, item.language) or token.stem in {t.stem for t in item.prompt}


def _same_numbers(told: Sequence[Token], needed: Sequence[Token], item: Item) -> bool:
    """Every number of the correction is there, with its unit unless the prompt names it, and the
    numbers that are there stand in the same order."""
    asked = {t.folded for t in item.prompt if t.is_number}
    named = units_of(item.prompt_text, item.language)
    numbers, right = ([t for t in some if t.is_number] for some in (told, needed))
    shared = {t.folded for t in right}
    if not _is_within([t.folded for t in numbers if t.folded in shared], [t.folded for t in right]):
        return False
    for wanted in right:
        found = [t for t in numbers if t.folded == wanted.folded]
        if not found and wanted.folded not in asked:
            return False
        for token in found:
            if token.unit != wanted.unit and not {token.unit, wanted.unit} - {None} <= named:
                return False
    return True


def _may_lack(
    lacking: Sequence[Token],
    given: Sequence[Token],
    wanted: Sequence[Token],
    key: Key,
    item: Item,
) -> bool:
    """Whether the answer may do without this word of the correction: one word, no number and no
    name, that the flagged answer shares or that precedes what the answer repeats (*Behind the door*
    for *It hangs behind the door*)."""
    if len(lacking) != 1 or lacking[0].is_number or not lacking[0].raw[:1].islower():
        return False
    if key(lacking[0]) in {key(t) for t in item.flagged}:
        return True
    return len(given) > 1 and same(wanted[-len(given) :], given, key)


def _without_contrast(given: list[Token], wrong: set[str], key: Key, language: str) -> list[Token]:
    """Without *not Sydney*: a denial, and then only words of the flagged answer to the end."""
    for i, token in enumerate(given):
        rest = given[i + 1 :]
        is_contrast = all(key(t) in wrong or is_little(t, language) for t in rest)
        if i and is_denial(token) and is_contrast and any(key(t) in wrong for t in rest):
            return given[:i]
    return given


def _order_fits(
    given: list[Token], wanted: list[Token], core: set[str], key: Key, item: Item
) -> bool:
    """Whether the shared tokens stand in an order that says the same.

    The same order does. So does another one of items joined by *and* or commas, unless the prompt
    asks for an order; of a number; the two sides of *is*, where one side is what was asked for and
    definite (*the capital of France is Paris*); the doer after *by*; and an adverbial that goes
    first (*On Mondays the canteen is closed*).
    """
    told, needed = item.telling(given), item.telling(wanted)
    shared = {key(t) for t in told} & {key(t) for t in needed}

    def order(found: Sequence[Token]) -> list[str]:
        return list(dict.fromkeys(key(t) for t in found if key(t) in shared))

    doer = [k for k in order(needed) if k in core]
    is_passive = _is_after(wanted, doer, key, AGENTS)
    if shared - core and is_passive and not _is_after(given, doer, key, AGENTS):
        return False  # "The dog bit the man" isn't "The dog was bitten by the man"
    if _is_within(order(needed), [key(t) for t in told]):
        return True
    words, numbers = (
        [_is_within([key(t) for t in needed if key(t) in shared and t.is_number == kind],
                    [key(t) for t in told if t.is_number == kind]) for kind in (False, True)]
    )  # fmt: skip
    if words and numbers:  # "4 July 1776"
        return True
    if _is_enumeration(item, shared & core) and core >= shared:
        return True
    if given[0].folded in ADVERBIALS:  # it goes first as a whole
        end = next((i for i, t in enumerate(given[1:], 1) if key(t) not in core), len(given))
        moved = [key(t) for t in given[1:end]]
        if moved and _is_after(wanted, moved, key, {given[0].folded}):
            left = [k for k in order(needed) if k not in moved]
            return order(item.telling(given[end:])) == left
    places = [i for i, t in enumerate(given) if key(t) in core and key(t) in shared]
    if not places or places[-1] - places[0] >= 2 * len(places):
        return False
    first, last = places[0], places[-1]
    inside = order(given[first : last + 1])
    if inside != [k for k in order(needed) if k in core]:
        return False
    before, after = given[:first], given[last + 1 :]
    around = [key(t) for t in item.telling([*before, *after]) if key(t) in shared]
    rest_needed = [k for k in order(needed) if k not in core]
    while before and before[-1].folded in DEFINITE:
        before = before[:-1]
    is_agent = bool(before) and before[-1].folded in AGENTS
    if is_agent and any(t.folded in PASSIVES for t in before):
        return set(around) == set(rest_needed) and not _is_after(wanted, inside, key, AGENTS)
    if around != rest_needed:
        return False
    rest = [*before, *after]
    is_side = (after and after[0].folded in COPULAS and not item.telling(before)) or (
        before and before[-1].folded in COPULAS and not item.telling(after)
    )
    return bool(is_side) and any(t.folded in DEFINITE for t in rest)


def _is_after(found: Sequence[Token], run: Sequence[str], key: Key, words: Container[str]) -> bool:
    """Whether one of the words stands before the run, with an article between at most."""
    n = len(run)
    for i in range(1, len(found) - n + 1):
        if [key(t) for t in found[i : i + n]] == list(run):
            before = [t.folded for t in found[:i]]
            while before and before[-1] not in words and before[-1] in DEFINITE:
                before.pop()
            if before and before[-1] in words:
                return True
    return False


def _is_within(part: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether all of the part stands in the whole, in this order."""
    rest = iter(whole)
    return all(any(other == wanted for other in rest) for wanted in part)


def _is_enumeration(item: Item, keys: set[str]) -> bool:
    """Whether the correction joins just these by *and* or commas, and no order was asked for."""
    if asks_order(item.prompt_text):
        return False
    parts = re.split(
        r",\s*|\s+(?:and|und|et|y|e|и)\s+|[、和与]", item.correction_text.strip(" .。")
    )
    heads = [tokens(part, item.language) for part in parts]
    key = item.key or KEYS[0]
    return len(parts) > 1 and all(len([t for t in head if key(t) in keys]) == 1 for head in heads)


def asks_order(prompt: str) -> bool:
    return _ORDER_ASKED.search(prompt) is not None


def opened(text: str, language: str) -> tuple[bool | None, str]:
    """An opening yes or no that stands apart, None if there is none, and what comes after it."""
    found = re.match(_OPENING.get(language, _OPENING[""]), text)
    word = found[1].casefold() if found else ""
    word = word[:1] if language == "zh" else word
    if found is None or word not in YES | NO:
        return None, text
    return word in YES, text[found.end() :]


def is_inside(part: list[str], whole: list[str]) -> bool:
    n = len(part)
    return n > 0 and any(whole[i : i + n] == part for i in range(len(whole) - n + 1))
