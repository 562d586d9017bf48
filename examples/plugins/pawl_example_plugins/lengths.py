"""A matcher: two lengths are the same in whatever unit, 1.5 km and 1,500 m."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

_METRES = {"mm": "0.001", "cm": "0.01", "m": "1", "km": "1000", "metre": "1", "metres": "1",
           "meter": "1", "meters": "1", "kilometre": "1000", "kilometres": "1000",
           "kilometer": "1000", "kilometers": "1000"}  # fmt: skip
_LENGTH = re.compile(r"(?<![\w.,])(\d[\d,]*(?:\.\d+)?) ?([a-z]+)\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d[\d.,]*")


def applies(prompt: str, correction: str, flagged: str, categories: Sequence[str]) -> bool:
    """A correction that is a length and nothing else, of another than was flagged."""
    right = _only_length(correction)
    is_bare = len(correction.split()) <= 2
    return right is not None and is_bare and _only_length(flagged) not in (None, right)


def matches(answer: str, prompt: str, correction: str, flagged: str) -> bool:
    """The answer names one number, which is the same length; what denies it is not looked for, so
    an answer of more than a few words is not taken."""
    return len(answer.split()) <= 8 and _only_length(answer) == _only_length(correction)


def _only_length(text: str) -> Decimal | None:
    """In metres; None where the text has another number too, or no length."""
    found = [
        Decimal(number.replace(",", "")) * Decimal(_METRES[unit.lower()])
        for number, unit in _LENGTH.findall(text)
        if unit.lower() in _METRES
    ]
    return found[0] if len(found) == 1 == len(_NUMBER.findall(text)) else None
