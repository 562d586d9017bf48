"""Is an answer of the model right, and does it show a planted fault?

Both functions are pure: text and a row in, a truth value out. Rows are those of
`unseen_families.jsonl` (`accept`, `reject`, `rule`) and of `faults.jsonl` (`right_accept`,
`right_rule`, `faulty_accept`, `faulty_rule`).

How an answer is read:

- Lower case; punctuation goes, but the ends of clauses are remembered; possessive and short
  `'s` go; American and British spellings are made one; numbers written as words become digits
  ("twenty-one" and "21", "a thousand" and "1,000" are the same).
- A phrase is *stated* when its words occur side by side, as whole words, and the place is not
  denied: no "not", "never", "no" ... shortly before it in the same clause, and no "is not"
  straight after it. So "No, bats are not blind" does not state "blind".
- "yes" and "no" as phrases look at the answer's first word only.

An answer is right when a phrase of `accept` is stated, none of `reject` is, the first word is
not the opposite "yes" or "no", the answer doesn't also say that it doesn't know, no other
number is claimed where the accepted ones are numbers, and every rule holds:

- `{"min_words": N}`, `{"max_words": N}`: length in words;
- `{"min_repeats": N}`, `{"max_repeats": N}`: how often the same sentence, the same four words or
  the same run of words comes back (see `n_repeats`);
- `{"first_of": [..]}`: of these phrases, the first to be stated is an accepted one (for "which
  is bigger, a cat or an elephant?").
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pawl.errors import PawlError

Item = Mapping[str, Any]

_SPELLINGS = {
    "gray": "grey", "color": "colour", "colors": "colours", "colored": "coloured",
    "meter": "metre", "meters": "metres", "liter": "litre", "liters": "litres",
    "kilometer": "kilometre", "kilometers": "kilometres", "centimeter": "centimetre",
    "centimeters": "centimetres", "millimeter": "millimetre", "millimeters": "millimetres",
    "favorite": "favourite", "milliliters": "millilitres", "milliliter": "millilitre",
    "yeah": "yes", "yep": "yes", "nope": "no", "cannot": "cant", "im": "i", "ok": "okay",
}  # fmt: skip
_UNITS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen".split()
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate(
        "twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2
    )
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_ORDINALS = {
    word: f"{value}{'st' if value == 1 else 'nd' if value == 2 else 'rd' if value == 3 else 'th'}"
    for value, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split(),
        start=1,
    )
}
_NEGATIONS = frozenset(
    "not never no nor neither cant isnt arent wasnt werent dont doesnt didnt wont hasnt havent "
    "nothing nobody without".split()
)
_OPENERS = frozenset("well oh hmm ah sorry actually so hi hello".split())
# How many words before a phrase can deny it: "is not really the big one" is four.
_NEGATION_REACH = 4
_REFUSALS = ("dont know", "do not know", "not sure", "cant answer", "have no idea")
_WORD = re.compile(
    r"\d+(?:st|nd|rd|th)\b|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
    r"|(?<!\S)-(?=\d)|[^\W\d_]+(?:'[^\W\d_]+)*|[.!?;:,\n]"
)
_SENTENCE_END = re.compile(r"[.!?\n]+(?=\s|$)")
_CLAUSE = "|"  # stands between clauses in a list of tokens


def tokens_of(text: str) -> list[str]:
    """The normalised words of `text`, with `"|"` where a clause ends.

    >>> tokens_of("It's not twenty-one, it is 1,000!")
    ['it', 'not', '21', '|', 'it', 'is', '1000', '|']
    """
    raw = text.lower().replace("\u2019", "'").replace("\u2018", "'")
    words: list[str] = []
    for match in _WORD.finditer(raw):
        token = match.group()
        if token in ".!?;:,\n":
            if words and words[-1] != _CLAUSE:
                words.append(_CLAUSE)
            continue
        if token[0].isdigit():
            words.append(token.replace(",", ""))
            continue
        if token == "-":
            words.append("minus")
            continue
        token = re.sub(r"'s$", "", token).replace("'", "")
        words.append(_SPELLINGS.get(token, _ORDINALS.get(token, token)))
        if words == ["no"] or words == ["yes"] or token == "but":
            words.append(_CLAUSE)
    return _join_minus(_join_numbers(words))


def n_words(text: str) -> int:
    """How many words `text` has, a number counting as one."""
    return sum(token != _CLAUSE for token in tokens_of(text))


def n_repeats(text: str) -> int:
    """How often the most repeated part of `text` occurs: 1 when nothing comes twice.

    A part is a whole sentence, any four words side by side in one sentence, or any run of one to
    eight words said again straight away ("red, red, red" has 3).
    """
    sentences = [
        tuple(token for token in tokens_of(part) if token != _CLAUSE)
        for part in _SENTENCE_END.split(text)
    ]
    whole = Counter(sentence for sentence in sentences if sentence)
    fours = Counter(
        sentence[start : start + 4] for sentence in sentences for start in range(len(sentence) - 3)
    )
    most = max([1, *whole.values(), *fours.values()])
    flat = [word for sentence in sentences for word in sentence]
    for size in range(1, 9):
        for start in range(len(flat) - size):
            end = start + size
            while flat[end : end + size] == flat[start : start + size]:
                end += size
            most = max(most, (end - start) // size)
    return most


def is_right(answer: str, item: Item) -> bool:
    """Whether `answer` is a right answer to `item` (see the top of this file).

    `item` is a row of `unseen_families.jsonl` or of `faults.jsonl`. In the latter, what the fault
    would say contradicts a right answer. Raises PawlError for a row with nothing to check.
    """
    faulty_row = "right_accept" in item or "right_rule" in item
    accept = list(item.get("right_accept" if faulty_row else "accept") or [])
    rule = dict(item.get("right_rule" if faulty_row else "rule") or {})
    reject = list(item.get("reject") or [])
    if faulty_row:
        reject += [p for p in item.get("faulty_accept") or [] if p not in accept]
    _must_check_something(accept, rule, item)
    said = tokens_of(answer)
    if not _rule_holds(answer, said, rule, accept):
        return False
    if not accept:
        return True
    if not _stated_any(said, accept) or _wrong_polarity(said, accept):
        return False
    accepted_places = _places_of_any(said, accept)
    if _stated_any(said, reject, outside=accepted_places):
        return False
    if not _says_it_does_not_know(" ".join(accept)) and _says_it_does_not_know(answer):
        return False
    return not _other_number_claimed(said, accept, item)


def fault_shown(answer: str, item: Item) -> bool:
    """Whether `answer` shows the planted fault of `item`, a row of `faults.jsonl`.

    A faulty phrase inside of a longer right one ("red" in "red and white") does not count.
    Raises PawlError for a row with nothing to check.
    """
    accept = list(item.get("faulty_accept") or [])
    rule = dict(item.get("faulty_rule") or {})
    _must_check_something(accept, rule, item)
    said = tokens_of(answer)
    if not _rule_holds(answer, said, rule, accept):
        return False
    if not accept:
        return True
    longer = [
        (start, end)
        for phrase in item.get("right_accept") or []
        for start, end in _stated(said, phrase)
        if phrase not in accept
    ]
    return _stated_any(said, accept, outside=longer) and not _wrong_polarity(said, accept)


def _must_check_something(accept: Sequence[str], rule: Mapping[str, Any], item: Item) -> None:
    if not accept and not rule:
        raise PawlError(
            f"row {item.get('id') or item.get('fault_id')!r} can't be checked",
            "it has neither accepted answers nor a rule",
            "Give it one of the two",
        )


def _rule_holds(
    answer: str, said: Sequence[str], rule: Mapping[str, Any], accept: Sequence[str]
) -> bool:
    for name, value in rule.items():
        if name == "min_words":
            holds = n_words(answer) >= int(value)
        elif name == "max_words":
            holds = n_words(answer) <= int(value)
        elif name == "min_repeats":
            holds = n_repeats(answer) >= int(value)
        elif name == "max_repeats":
            holds = n_repeats(answer) <= int(value)
        elif name == "first_of":
            firsts = [(place, p) for p in value for place, _ in list(_stated(said, p))[:1]]
            holds = bool(firsts) and min(firsts)[1] in accept
        else:
            raise PawlError(
                f"unknown rule {name!r}",
                "an answer can't be judged by it",
                "Use min_words, max_words, min_repeats, max_repeats or first_of",
            )
        if not holds:
            return False
    return True


def _says_it_does_not_know(text: str) -> bool:
    said = tokens_of(text)
    return any(True for phrase in _REFUSALS for _ in _find(said, phrase.split()))


def _find(said: Sequence[str], phrase: Sequence[str]) -> Iterator[tuple[int, int]]:
    size = len(phrase)
    for start in range(len(said) - size + 1):
        if list(said[start : start + size]) == list(phrase):
            yield start, start + size


def _stated(said: Sequence[str], phrase: str) -> Iterator[tuple[int, int]]:
    """The places (start, end) where `phrase` is said and not denied."""
    wanted = [token for token in tokens_of(phrase) if token != _CLAUSE]
    if wanted in (["yes"], ["no"]):
        if _polarity(said) == wanted[0]:
            yield said.index(wanted[0]), said.index(wanted[0]) + 1
        return
    plain = [place for place, token in enumerate(said) if token != _CLAUSE]
    words = [said[place] for place in plain]
    for first, last in _find(words, wanted):
        start, end = plain[first], plain[last - 1] + 1
        if not wanted or _denied(said, start, end):
            continue
        yield start, end


def _denied(said: Sequence[str], start: int, end: int) -> bool:
    for token in reversed(said[max(0, start - _NEGATION_REACH) : start]):
        if token == _CLAUSE:
            break
        if token in _NEGATIONS:
            return True
    after = list(said[end : end + 2])
    return after[:1] in (["isnt"], ["arent"], ["wasnt"], ["werent"]) or (
        after in (["is", "not"], ["are", "not"], ["was", "not"], ["were", "not"])
    )


def _places_of_any(said: Sequence[str], phrases: Sequence[str]) -> list[tuple[int, int]]:
    return [place for phrase in phrases for place in _stated(said, phrase)]


def _stated_any(
    said: Sequence[str], phrases: Sequence[str], outside: Sequence[tuple[int, int]] = ()
) -> bool:
    return any(
        not any(left <= start and end <= right for left, right in outside)
        for start, end in _places_of_any(said, phrases)
    )


def _polarity(said: Sequence[str]) -> str | None:
    for token in said:
        if token in _OPENERS or token == _CLAUSE:
            continue
        return token if token in ("yes", "no") else None
    return None


def _wrong_polarity(said: Sequence[str], accept: Sequence[str]) -> bool:
    wanted = {phrase.lower() for phrase in accept} & {"yes", "no"}
    return len(wanted) == 1 and _polarity(said) in {"yes", "no"} - wanted


def _other_number_claimed(said: Sequence[str], accept: Sequence[str], item: Item) -> bool:
    right = {" ".join(tokens_of(phrase)).removesuffix(" |") for phrase in accept}
    if not all(_is_number(phrase) for phrase in right):
        return False
    asked = {
        token
        for message in item.get("messages") or []
        if message["role"] == "user"
        for token in tokens_of(message["content"])
    }
    # "one" is as often a pronoun or an article as a claim.
    allowed = right | asked | {"1"}
    return any(
        _is_number(token) and token not in allowed and not _denied(said, place, place + 1)
        for place, token in enumerate(said)
    )


def _is_number(token: str) -> bool:
    return re.fullmatch(r"-?\d+(?:\.\d+)?", token) is not None


def _join_numbers(words: Sequence[str]) -> list[str]:
    """Number words, and digits before a scale ("5 million"), as one token of digits each."""
    joined: list[str] = []
    at = 0
    while at < len(words):
        value, after = _number_at(words, at)
        joined.append(words[at] if value is None else str(value))
        at = after
    return joined


def _number_at(words: Sequence[str], at: int) -> tuple[int | None, int]:
    """The number that starts at `at` and the place after it, or (None, at + 1)."""

    def word(place: int) -> str:
        return words[place] if place < len(words) else ""

    def below_hundred(place: int) -> tuple[int | None, int]:
        if word(place) in _TENS:
            unit = _UNITS.get(word(place + 1), 0)
            if 1 <= unit <= 9:
                return _TENS[word(place)] + unit, place + 2
            return _TENS[word(place)], place + 1
        if word(place) in _UNITS:
            return _UNITS[word(place)], place + 1
        return None, place

    def scaled(place: int) -> tuple[int | None, int]:
        """A count and the scales that follow it: "three hundred thousand"."""
        if word(place) == "a" and word(place + 1) in _SCALES:
            count, after = 1, place + 1
        elif word(place).isdigit() and word(place + 1) in _SCALES:
            count, after = int(word(place)), place + 1
        else:
            found, after = below_hundred(place)
            if found is None:
                return None, place
            count = found
        if word(after) == "hundred":
            count, after = 100 * count, after + 1
            skip = after + (word(after) == "and")
            rest, rest_after = below_hundred(skip)
            if rest is not None:
                count, after = count + rest, rest_after
        while _SCALES.get(word(after), 0) >= 1000:
            count, after = count * _SCALES[word(after)], after + 1
        return count, after

    total, after = scaled(at)
    if total is None:
        return None, at + 1
    while total % 1000 == 0 and total and words[after - 1] in _SCALES:
        rest, rest_after = scaled(after + (word(after) == "and"))
        if rest is None or rest >= 1000:
            break
        total, after = total + rest, rest_after
    return total, after


def _join_minus(words: Sequence[str]) -> list[str]:
    """ "minus" before a number is its sign, unless a number stands before it ("7 minus 5")."""
    joined: list[str] = []
    for place, word in enumerate(words):
        sign = place >= 1 and words[place - 1] == "minus" and _is_number(word)
        if sign and not (place >= 2 and _is_number(words[place - 2])):
            joined[-1] = f"-{word}"
        else:
            joined.append(word)
    return joined
