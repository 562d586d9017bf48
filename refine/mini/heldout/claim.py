"""One fact to ask, and how a phrasing is filled with it."""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from refine.mini.facts import things, words


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

    @property
    def fact(self) -> str:
        """What an item about this claim hangs on: who does not know it fails all of its items.

        Questions to pick one of a group ("which of these countries is in Europe?") hang on the
        group, a word and its opposite on each other, the rest on the key.
        """
        about = self.key
        if self.relation.startswith("pick_"):
            about = f"{self.relation}/{self.fields.get('x', '')}"
        elif self.relation == "opposite_of":
            about = "/".join(sorted((self.key, self.answer)))
        return f"{self.topic}/{about}"


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


def subject(x: str) -> dict[str, str]:
    """The fields of a thing `x` that can be counted."""
    plural = words.PLURALS_REGULAR.get(x) or words.PLURALS_IRREGULAR.get(x) or plural_of(x)
    ax = with_article(x)
    return {"x": x, "X": upper_first(x), "ax": ax, "Ax": upper_first(ax),
            "xs": plural, "Xs": upper_first(plural)}  # fmt: skip


def plural_of(noun: str) -> str:
    """The plural of a noun of the fact tables."""
    if noun in things.UNIT_PLURALS:
        return things.UNIT_PLURALS[noun]
    if noun in ("salmon", "goldfish", "shark"):
        return {"shark": "sharks"}.get(noun, noun)
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def named(x: str) -> dict[str, str]:
    """The fields of a thing `x` that has a name: as it stands and with a capital."""
    return {"x": x, "X": upper_first(x)}


def without(pool: Iterable[str], right: set[str]) -> tuple[str, ...]:
    """What is in `pool` and not `right`, once each, in order."""
    return tuple(dict.fromkeys(p for p in pool if p not in right))


def sample(claim: Claim, n: int, rng: random.Random) -> list[str]:
    """`n` different wrong answers of `claim`, drawn with `rng`."""
    return rng.sample(claim.others, n)
