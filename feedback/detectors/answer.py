"""What a detector is given: an answer, what it answers, what is usual, what is allowed."""

from __future__ import annotations

import re
from dataclasses import dataclass

CODE = re.compile(r"(`{3,}|~{3,}).*?(?:\1|\Z)|`[^`\n]*`", re.S)
# From the beginning of a word: tried at each character, a long one would take its square.
ADDRESS = re.compile(r"(?<!\S)\S+://\S+|www\.\S+|(?<!\S)\S+@\S+")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with the prompt's last message of the user.

    ``usual_words``: the median number of words of answers to such prompts, where enough are known.
    ``public``: addresses, domains and numbers that may stand in answers, in small letters.
    ``regions``: countries (ISO 3166) whose phone numbers are found without a country code.
    """

    text: str
    prompt: str = ""
    usual_words: float | None = None
    public: frozenset[str] = frozenset()
    regions: tuple[str, ...] = ("US", "GB", "DE", "FR", "IT")


def prose(text: str) -> str:
    """The text without code and addresses."""
    return ADDRESS.sub(" ", CODE.sub(" ", text))
