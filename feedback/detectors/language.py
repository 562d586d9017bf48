"""Language of an answer: another than the prompt's, and misspelled words of its own."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from feedback.detectors.answer import Answer, prose

MIN_LETTERS = 24  # of an answer; below it a language is a guess
MIN_LETTERS_OF_PROMPT = 12  # an uncertain guess is weighed as such
# Languages that short texts don't tell apart, and those with several standards.
_CLOSE = [
    set(group.split())
    for group in ("da nb nn no", "bs hr sr sl mk", "id ms jv", "cs sk", "gl pt", "ca oc", "sv nb no da",
                  "ru uk be bg", "af nl", "hi mr ne", "ur fa", "it la", "es gl", "zh ja")
]  # fmt: skip
# A prompt that asks for another language or quotes one.
_ASKS = re.compile(
    r"(?i)\b(translat\w+|übersetz\w*|traduc\w*|tradui\w*|tradu\w+|vertaal\w*|przetłumacz\w*|перевед\w*|original"
    r"|correct my|recite|anthem|motto|proverb|mean|means|meaning|bedeutet|significa|signifie|"
    r"how do you say|wie (heißt|sagt man)|cómo se dice|comment dit-on)\b|翻译|訳"
)
_NAMES = re.compile(
    r"(?i)\b(english|german|french|spanish|italian|portuguese|dutch|polish|russian|japanese|chinese|korean|latin|arabic"
    r"|turkish|swedish|greek|hindi|vietnamese|englisch\w*|deutsch\w*|französisch\w*|spanisch\w*|italienisch\w*"
    r"|inglés|alemán|francés|español|anglais\w*|allemand\w*|français\w*|espagnol\w*|inglese|tedesco|francese|spagnolo"
    r"|inglês|alemão|engels|duits|angielsk\w*|niemieck\w*|английск\w*|немецк\w*)\b|英语|英語|法语|德语"
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


def other_language(answer: Answer) -> float:
    """The probability that prompt and answer are in two different languages; 0 where the prompt
    names a language or asks for a translation, where either is short, names or code."""
    if _ASKS.search(answer.prompt) or _NAMES.search(answer.prompt):
        return 0.0
    prompt = _sentences(answer.prompt, MIN_LETTERS_OF_PROMPT, 0.0)
    text = _sentences(answer.text, MIN_LETTERS, 1 / 3)
    if prompt is None or text is None:
        return 0.0
    of_prompt, of_text = _probabilities(prompt), _probabilities(text)
    p_same = sum(
        p * max(of_prompt[other] for other in _close_to(language, of_prompt))
        for language, p in of_text.items()
        if p > 0.001
    )
    return 1 - p_same


def _close_to(language: str, known: dict[str, float]) -> set[str]:
    close = [group for group in _CLOSE if language in group]
    return {language}.union(*close) & known.keys()


def _sentences(text: str, min_letters: int, small_fraction: float) -> str | None:
    """What is language in a text; None where that is too little to tell which: few letters, or
    few words without a capital (names)."""
    text = re.sub(r"\"[^\"\n]{3,}\"|“[^”\n]+”|«[^»\n]+»", " ", prose(text))
    words = _WORD.findall(text)
    n_dense = len(re.findall(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]", text))
    small = [word for word in words if not word[0].isupper()]
    if n_dense >= 8:
        return text
    if sum(map(len, words)) < min_letters or len(words) < 3:
        return None
    if len(small) < max(1, small_fraction * len(words)):
        return None
    return text


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _probabilities(text: str) -> dict[str, float]:
    return {str(name): float(p) for name, p in _identifier().rank(text[:2000])}


SPELLED = ("en", "de", "es", "fr", "it", "pt", "nl")
COMMON = 2e-6  # share of all words from which a word is common enough to be meant


@cache
def _dictionary(language: str) -> Any:
    from spellchecker import SpellChecker

    return SpellChecker(language=language, distance=1)


def misspelling(answer: Answer) -> float:
    """The share of words that their language's dictionary lacks and that are one letter added,
    left out, changed or swapped away from a common word. Names, code and foreign words mostly are
    not. 0 where the language has no dictionary here."""
    text = re.sub(r"\"[^\"\n]*\"|“[^”\n]*”", " ", prose(answer.text))
    if re.search(r"[{};=]|\\w", text) and not re.search(r"[.!?](\s|$)", text):
        return 0.0
    words = _WORD.findall(text)
    if sum(map(len, words)) < MIN_LETTERS:
        return 0.0
    probable = _probabilities(text)
    if max(probable, key=probable.__getitem__) not in SPELLED:
        return 0.0
    # A short text may be taken for one in a neighbour's language: the more words are known.
    near = sorted(SPELLED, key=lambda name: -probable[name])[:2]
    small = [word.lower() for word in words]
    language = max(near, key=lambda name: len(_dictionary(name).known(small)))
    dictionary, may_be_names = _dictionary(language), language != "de"
    checked = n_wrong = 0
    for word in words:
        if word.isupper() or any(letter.isupper() for letter in word[1:]):
            continue
        checked += 1
        is_name = may_be_names and word[0].isupper() and not text.startswith(word)
        if len(word) >= 3 and not is_name and "'" not in word:
            n_wrong += _is_slip(word.lower().replace("’", "'"), dictionary)
    return n_wrong / checked if checked else 0.0


def _is_slip(word: str, dictionary: Any) -> bool:
    """Whether a word is unknown and one letter away from a common one; a word of three or four
    letters is only where two are swapped in a very common one. British spellings are known."""
    variants = {word, *(re.sub(british, american, word) for british, american in _BRITISH)}
    if dictionary.known(variants):
        return False
    if len(word) < 5:
        swapped = (word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1))
        return any(dictionary.word_usage_frequency(one) >= 50 * COMMON for one in swapped)
    near = dictionary.known(dictionary.edit_distance_1(word))
    return any(dictionary.word_usage_frequency(one) >= COMMON for one in near)


_BRITISH = (
    ("our", "or"), ("tre(s?)$", r"ter\1"), ("is(e|ed|es|ing|ation)$", r"iz\1"), ("yse", "yze"),
    ("ll(ed|ing|er)$", r"l\1"), ("ogue(s?)$", r"og\1"), ("mme(s?)$", r"m\1"), ("ence$", "ense"),
    ("tyre", "tire"), ("kerb", "curb"), ("grey", "gray"), ("ae", "e"),
)  # fmt: skip
