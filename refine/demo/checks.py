"""Is an answer of the demonstration right? By its key strings, or by its form."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from refine.demo.organisation import Behaviour, Fact, Question

MOST_WORDS_IN_A_SENTENCE = 30
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_SENTENCE_END = re.compile(r"[.!?]+(?=\s+\S)")
_WORD = re.compile(r"[^\W\d_]+")
_ENGLISH = frozenset("the of is are and a an it that this to as which you i".split())
_GERMAN = frozenset("der die das ist ein eine und von hat heißt des den im in sind es".split())


def states_fact(answer: str, fact: Fact) -> bool:
    """Every key is there, no forbidden word is, and no number but those of the right answer."""
    numbers = set(_NUMBER.findall(fact.answer)) | {key for keys in fact.keys for key in keys}
    return (
        _has_keys(answer, fact.keys)
        and not any(_occurs(word, answer) for word in fact.never)
        and all(number in numbers for number in _NUMBER.findall(answer))
    )


def answers_question(answer: str, question: Question) -> bool:
    """Every key is there."""
    return _has_keys(answer, question.keys)


def keeps_form(answer: str, behaviour: Behaviour) -> bool:
    """Is the answer of the form that was asked for?"""
    return BEHAVIOURS[behaviour.check](answer.strip())


def _has_keys(answer: str, keys: Sequence[Sequence[str]]) -> bool:
    return all(any(_occurs(spelling, answer) for spelling in spellings) for spellings in keys)


def _occurs(text: str, answer: str) -> bool:
    """Case does not count; the text begins at the beginning of a word, and a number ends where
    the answer's number ends ("11" is not in "110", "badge" is in "badges")."""
    end = r"(?![\d]|[.,:]\d)" if text[-1].isdigit() else ""
    return bool(re.search(rf"(?<!\w)(?<!\d[.,:]){re.escape(text)}{end}", answer, re.IGNORECASE))


def _one_sentence(answer: str) -> bool:
    n_words = len(answer.split())
    return (
        0 < n_words <= MOST_WORDS_IN_A_SENTENCE
        and "\n" not in answer
        and not _SENTENCE_END.search(answer)
    )


def _yes_or_no(answer: str) -> bool:
    return answer.rstrip(".!").lower() in ("yes", "no")


def _dash_list(answer: str) -> bool:
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    return len(lines) == 3 and all(re.fullmatch(r"- \S.*", line) for line in lines)


def _one_word(answer: str) -> bool:
    return bool(re.fullmatch(r"[\w'-]+[.!]?", answer))


def _german(answer: str) -> bool:
    """One sentence with more German than English function words."""
    words = [word.lower() for word in _WORD.findall(answer)]
    n_german = sum(word in _GERMAN for word in words)
    return _one_sentence(answer) and n_german > sum(word in _ENGLISH for word in words)


BEHAVIOURS: dict[str, Callable[[str], bool]] = {
    "one_sentence": _one_sentence,
    "yes_or_no": _yes_or_no,
    "dash_list": _dash_list,
    "one_word": _one_word,
    "german": _german,
}
