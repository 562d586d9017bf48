"""Text as the tokens that two answers are compared by: words, numbers with their units, any script.

What words do in a sentence and how units are spelled is in ``words.yaml``. Number words are read by
text2num (eight languages), Chinese numerals here. Characters of scripts without blanks between
words (Han, kana, Thai) are tokens of their own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import yaml

_DATA = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text("utf-8"))
_LITTLE, _FILLER = (
    {language: frozenset(words.split()) for language, words in _DATA[name].items()}
    for name in ("little", "filler")
)
_ROLES = {name: frozenset(words.split()) for name, words in _DATA["roles"].items()}
DENIALS, EITHER, YES, NO = (_ROLES[name] for name in ("denial", "either", "yes", "no"))
REFUTING, EXCEPTING = _ROLES["refuting"], _ROLES["excepting"]  # an option that isn't the answer
FAULTY = REFUTING | _ROLES["faulty"]  # where the wrong option is asked for
VERSIONS = _ROLES["version"]
COPULAS, DEFINITE = _ROLES["copula"], _ROLES["definite"]
AGENTS = _ROLES["agent"]  # before who did it, in the passive
PASSIVES = _ROLES["passive"]
SOURCES, GOALS = _ROLES["source"], _ROLES["goal"]
ARTICLES = DEFINITE | _ROLES["indefinite"]
OPERATORS = {name: sign for sign, names in _DATA["operators"].items() for name in names.split()}
ADVERBIALS = _ROLES["adverbial"]  # before when or where, at the beginning
_MAGNITUDES = {
    name: power for power, names in _DATA["magnitudes"].items() for name in names.split()
}
_ALIASES = {
    alias: unit
    for unit, *others in (line.split("|") for line in _DATA["units"])
    for alias in (unit, *others)
}
_LONGEST_ALIAS = max(map(len, _ALIASES))
_DECIMAL_POINT = frozenset(("en", "zh", "ja"))  # the others write a comma
_SPOKEN = frozenset(("en", "de", "fr", "es", "pt", "it"))  # whose number words text2num reads
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f"
_TOKEN = re.compile(
    r"(?P<number>(?:(?<![\w)])[-+])?"
    r"(?:\d{1,2}(?::\d{2})+|\d{1,3}(?:[ ,.']\d{3})+(?:[.,]\d+)?(?!\d)|\d+(?:[.,]\d+)*))"
    rf"|(?P<han>[{_UNSPACED}])"
    rf"|(?P<word>[^\W\d_{_UNSPACED}]+)"
)
_MAGNIFIED = re.compile(
    rf"(?<![\w.,])(\d+(?:[.,]\d+)*)\s?({'|'.join(sorted(_MAGNITUDES, key=len, reverse=True))})"
    rf"(?:\b|(?=[{_UNSPACED}]))",
    re.IGNORECASE,
)
_COMPARISONS = {"<": "under", ">": "over", "≤": "at most", "≥": "at least"}
_COMPARED = re.compile(r"(?<![-=<>])([<>≤≥])\s?(?=[$€£₹¥]?[-+]?\d)")
_POWER = re.compile("(?<=[0-9])([⁺⁻]?[⁰¹²³⁴-⁹]+)")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_BY = re.compile(r"(?<=\d) x (?=\d)|(?<=\d\d)x(?=\d\d)")  # 6 x 7, 1920x1080, not 3x2
_ORDINAL = re.compile(r"(?:st|nd|rd|th|er|ère|ème|eme|e|º|ª)\b")
# Zeros that a number's value leaves out: in front, or at the end after a point.
_ZEROS = re.compile(r"0\d[\d ']*|\d+\.(?!\d{3}$)\d*0")
_ZEROS_WITH_POINT = re.compile(r"\d+\.\d*0")  # where a point groups no thousands
_CODE = re.compile(r"0\d\d+")  # 0041 is not 41; of two digits a day, a month or an hour mostly is
_VERSION = re.compile(r"\d+\.\d*[1-9]0+")  # 3.10 is not 3.1, but 3.0 is 3
_VERSIONED = VERSIONS | _ROLES["versioned"]  # before a version
_POINTED = re.compile(r"[-+]?\d+(?:\.\d+){2,}")
_GROUPED = re.compile(r"[-+]?\d{1,3}(?:\.\d{3})+")
_HAN_NUMERAL = re.compile("[零〇一二两三四五六七八九十百千万亿]+")
_IS_HAN_NUMBER = re.compile("[零〇二两三四五六七八九十]|一[百千万亿]")  # a lone 一 is mostly a word
_HAN_DIGITS = {sign: n for n, sign in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_HAN_POWERS = {"十": 10, "百": 100, "千": 1000}


@dataclass(frozen=True, slots=True)
class Token:
    """A word, or a number with what it counts."""

    raw: str  # as written, NFKC
    folded: str  # without case; a number's canonical digits
    stem: str  # also without accents and endings
    is_number: bool = False
    unit: str | None = None
    zeros: str = ""  # a number without a unit, as written, where ``folded`` leaves out zeros
    is_code: bool = False  # whether these zeros always tell
    before: str = ""  # between it and its neighbours, as written
    after: str = ""


WORD_BYTES = 10  # of UTF-8: a word where words are not spaced
# Lao, Burmese and Khmer are not read letter by letter, but have no blanks either.
_UNSPACED_RUN = re.compile(f"[{_UNSPACED}\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff]+")
Key = Callable[[Token], str]
KEYS: tuple[Key, ...] = (  # from loose to strict
    lambda token: token.stem,
    lambda token: token.folded,
    lambda token: token.raw if not token.is_number else token.folded,
)


def language_of(text: str) -> str:
    """A language's code by script and little words: enough to read numbers and little words."""
    if re.search("[\u3040-\u30ff]", text):
        return "ja"
    if re.search("[\u3400-\u9fff]", text):
        return "zh"
    if re.search("[\u0400-\u04ff]", text):
        return "ru"
    words = re.findall(r"[^\W\d_]+", text.casefold())
    counts = {
        language: sum(word in little for word in words)
        for language, little in _LITTLE.items()
        if language not in ("zh", "ja", "ru")
    }
    return max(counts, key=lambda language: (counts[language], language == "en"))


def n_words(text: str) -> int:
    """How long a text is in words; of scripts without blanks between words (Chinese, Thai, Khmer)
    three letters and a third are one."""
    unspaced = "".join(_UNSPACED_RUN.findall(text))
    return max(len(text.split()), len(unspaced.encode()) // WORD_BYTES)


def is_little(token: Token, language: str) -> bool:
    """Whether the token carries no fact. Denials do."""
    return token.folded in _LITTLE[language] and token.folded not in DENIALS


def is_filler(token: Token, language: str) -> bool:
    return token.folded in _FILLER[language]


def is_denial(token: Token) -> bool:
    return token.folded in DENIALS


def tokens(text: str, language: str) -> list[Token]:
    """Words and numbers in their order, without punctuation. ``3,50 €`` is one token of the value
    3.5 and the unit eur; ``can't`` is ``can not``; ``l'eau`` is ``l eau``."""
    text = _spelled_alike(text, language)
    lower = text.casefold() if len(text.casefold()) == len(text) else text.lower()
    if len(lower) != len(text):  # a letter whose small form is two
        text = lower
    found: list[Token] = []
    places: list[tuple[int, int]] = []
    end = 0
    for match in _TOKEN.finditer(text):
        if match.start() < end:  # was read as a unit
            continue
        end = match.end()
        if match["number"] is None:
            raw, folded = match[0], lower[match.start() : end]
            found.append(Token(raw, folded, _stem(folded, language)))
            places.append((match.start(), end))
            continue
        digits, zeros = _canonical(match[0], language), ""
        if ordinal := _ORDINAL.match(lower, end):
            end = ordinal.end()
        unit, end = _unit_after(lower, end)
        unit = unit or _unit_before(lower, match.start())
        if unit is None:
            zeros = _with_zeros(match[0], language)
        is_version = bool(found) and found[-1].folded in _VERSIONED and has_subversion(zeros)
        found.append(
            Token(
                match[0], digits, digits, is_number=True, unit=unit, zeros=zeros,
                is_code=is_version or _CODE.fullmatch(zeros) is not None,
            )
        )  # fmt: skip
        places.append((match.start() + match[0].startswith("+"), end))
    return _with_gaps(found, places, text)


def _with_gaps(found: list[Token], places: list[tuple[int, int]], text: str) -> list[Token]:
    text += "\n"  # so that a sign at the end is known from one before the next word
    starts, ends = [*(start for start, _ in places), len(text)], [0, *(end for _, end in places)]
    gaps = [text[end:start] for start, end in zip(starts, ends, strict=True)]
    return [
        replace(token, before=before, after=after)
        for token, (before, after) in zip(found, pairwise(gaps), strict=True)
    ]


def units_of(text: str, language: str) -> set[str]:
    """Units that are named anywhere, also without a number: ``How many kilometres``."""
    lower = unicodedata.normalize("NFKC", text).casefold()
    return {
        unit
        for alias, unit in _ALIASES.items()
        if len(alias) > 1 or not alias.isascii()
        if alias in lower and _stands_alone(lower, lower.index(alias), alias)
    }


def _spelled_alike(text: str, language: str) -> str:
    text = _POWER.sub(r"^\1", _FRACTION.sub(r"(\1)/(\2)", text))
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").replace("\u2212", "-")
    text = _BY.sub("×", text.replace("+/-", "±"))
    text = "".join(
        str(unicodedata.digit(c)) if c.isdigit() and not c.isascii() else c for c in text
    )
    text = re.sub(r"(?<![\w.])-([$€£₹¥])(?=[\d.])", r"\1-", text)  # a sign before the currency's
    text = re.sub(r"(?<![\w.,])\.(?=\d)", "0.", text)
    text = _COMPARED.sub(lambda found: f" {_COMPARISONS[found[1]]} ", text)
    if language == "en":
        text = re.sub(r"\bcan't\b|\bcannot\b", "can not", text, flags=re.IGNORECASE)
        text = re.sub(r"\bwon't\b", "will not", text, flags=re.IGNORECASE)
        text = re.sub(r"n't\b", " not", text, flags=re.IGNORECASE)
    if language in _SPOKEN:
        from text_to_num import alpha2digit

        text = _MAGNIFIED.sub(lambda found: _magnified(found, language), text)
        # Above 1.5: "one", "ein", "un", "first" are mostly no numbers.
        text = "\n".join(alpha2digit(line, language, 1.5) for line in text.split("\n"))
    if language in ("zh", "ja"):
        text = _MAGNIFIED.sub(lambda found: _magnified(found, language), text)
        text = _HAN_NUMERAL.sub(lambda found: _han_value(found[0]), text)
    return text


def _han_value(numeral: str) -> str:
    """``三百五十`` is 350; a row of digits is read as written: ``二〇二四`` is 2024."""
    if not _IS_HAN_NUMBER.search(numeral):
        return numeral
    if not set(numeral) & {*_HAN_POWERS, "万", "亿"}:
        return "".join(str(_HAN_DIGITS[sign]) for sign in numeral)
    total = section = digit = 0
    for sign in numeral:
        if sign in _HAN_DIGITS:
            digit = _HAN_DIGITS[sign]
        elif sign in _HAN_POWERS:
            section += (digit or 1) * _HAN_POWERS[sign]
            digit = 0
        else:
            total = (total + section + digit) * (10_000 if sign == "万" else 100_000_000)
            section = digit = 0
    return str(total + section + digit)


def _with_zeros(number: str, language: str) -> str:
    """The number with its zeros; empty if its value has them all."""
    plain = number.lstrip("+-")
    has_any = _ZEROS.fullmatch(plain) or (
        language in _DECIMAL_POINT and _ZEROS_WITH_POINT.fullmatch(plain)
    )
    return re.sub("[ ']", "", number).removeprefix("+") if has_any else ""


def has_subversion(zeros: str) -> bool:
    """Whether the zeros tell if the number is a version's."""
    return _VERSION.fullmatch(zeros) is not None


def _canonical(number: str, language: str) -> str:
    """Digits with a decimal point, without groups and without zeros that say nothing."""
    if ":" in number or (_POINTED.fullmatch(number) and not _GROUPED.fullmatch(number)):
        return number  # a time; a version, an address
    number = number.replace(" ", "").replace("'", "").removeprefix("+")
    marks = [sign for sign in number if sign in ".,"]
    if len(marks) > 1:  # groups; another last one is the decimal mark
        number = number.replace(marks[0], "")
    elif marks:
        whole, part = number.lstrip("-").split(marks[0])
        groups = "," if language in _DECIMAL_POINT else "."
        if marks[0] == groups and len(part) == 3 and len(whole) <= 3 and whole != "0":
            number = number.replace(groups, "")
    value = Decimal(number.replace(",", "."))
    return f"{value.normalize() + 0:f}"


def _magnified(found: re.Match[str], language: str) -> str:
    """``1.2 million`` is 1200000."""
    digits = _canonical(found[1], language)
    if digits.count(".") > 1:
        return found[0]
    value = Decimal(digits) * 10 ** _MAGNITUDES[found[2].casefold()]
    return f"{value.normalize() + 0:f}"


def _unit_after(lower: str, end: int) -> tuple[str | None, int]:
    start = end
    while start < len(lower) and lower[start] in " -\u00a0\u202f":
        start += 1
    for n in range(min(_LONGEST_ALIAS, len(lower) - start), 0, -1):
        alias = lower[start : start + n]
        if alias in _ALIASES and _stands_alone(lower, start, alias):
            return _ALIASES[alias], start + n
    return None, end


def _unit_before(lower: str, start: int) -> str | None:
    """A currency's sign or code: ``US$ 15``, ``EUR 3``."""
    before = re.search(r"(?:us\$|[^\W\d_]{3}|[$€£₹¥])\s?$", lower[max(0, start - 5) : start])
    unit = _ALIASES.get(before[0].strip()) if before else None
    return unit if unit in ("usd", "eur", "gbp", "jpy", "cny", "inr", "chf") else None


def _stands_alone(lower: str, start: int, alias: str) -> bool:
    if not (alias[0].isascii() and alias[-1].isascii()) and not alias[-1].isalpha():
        return True
    if re.match(f"[{_UNSPACED}]", alias):
        return True
    before, after = lower[start - 1 : start], lower[start + len(alias) :][:1]
    return not (before.isalpha() and alias[0].isalpha()) and not (
        (after.isalnum() or after == "'") and alias[-1].isalpha()
    )


def _stem(word: str, language: str) -> str:
    """Without accents of Latin letters and without endings: what is left is only compared."""
    if not ("a" <= word[0] <= "z" or "\u00c0" <= word[0] <= "\u024f"):
        return word
    bare = "".join(c for c in unicodedata.normalize("NFD", word) if unicodedata.category(c) != "Mn")
    if len(bare) <= 4:
        return bare[:-1] if re.search("...(?<!s)s$", bare) else bare
    ending = {"en": "ing|e?d|e?s|e", "de": "e[nsr]|[sne]"}.get(language, "e?s|e")
    return re.sub(rf"(?<=...)(?:{ending})$", "", bare)


def same(left: Sequence[Token], right: Sequence[Token], key: Key) -> bool:
    """Whether both are the same tokens in the same order, units included."""
    return [(key(t), t.unit) for t in left] == [(key(t), t.unit) for t in right]
