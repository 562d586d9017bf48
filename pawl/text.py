"""The normalisers of text that every comparison starts from, and text made fit for a terminal.

Prompts are one by ``bare_words`` (``feedback/splits.py``), nearly one by ``fold``
(``refine/replay.py``), answers by ``normalise``; what else a comparison needs (negations,
numbers, weights) stands where it is made.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

_OPENING_MARKS = "\"'“”‘’«»([{¿¡"  # no point or minus: ".5" and "-2" are not "5" and "2"
_CLOSING_MARKS = ".,;:!?…\"'“”‘’«»)]}。，、；：！？"
# Joiners of emoji and of Persian, and the soft hyphen, are formats by Unicode but do nothing.
_HARMLESS = frozenset("\u200c\u200d\u00ad")
_ARTICLES = frozenset(("a", "an", "the"))


def bare_words(text: str) -> list[str]:
    """Words without case and without the punctuation around them: ``Is "A" 2+2?`` gives
    ``["is", "a", "2+2"]``.

    Which prompts are one rests on it, for the life of a store: it never changes.
    """
    words = unicodedata.normalize("NFC", text).casefold().split()
    bare = (word.rstrip(_CLOSING_MARKS).lstrip(_OPENING_MARKS) for word in words)
    return [word for word in bare if word]


def fold(text: str) -> str:
    """NFKC, without case, and with ``'`` for the typographic apostrophe."""
    return unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")


def shown(text: str, keep: str = "\n\t") -> str:
    """A text with its control characters, direction marks and odd line ends as escapes, but those
    in ``keep``: what others wrote may hold any, and a terminal or a log would obey them."""
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if _acts(char) and char not in keep else char
        for char in text
    )


def _acts(char: str) -> bool:
    acts = unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return acts and char not in _HARMLESS


def normalise(text: str) -> str:
    """Text for comparing answers: folded, no punctuation or articles, single blanks.

    As SQuAD's exact match (Rajpurkar et al. 2016), which also drops articles. Signs inside
    numbers stay: ``-3.5`` is not ``35``.
    """
    text = fold(text)
    text = re.sub(r"(?<!\d)[.,](?=\d)|(?<=\d)[.,](?!\d)|(?<!\d)[.,](?!\d)", " ", text)
    text = re.sub(r"-(?!\d)|[^\w\s.,-]", " ", text)
    return " ".join(word for word in text.split() if word not in _ARTICLES)


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys apart, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from texts_of(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from texts_of(part)
