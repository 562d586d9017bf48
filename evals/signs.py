"""Signs and zeros that a text's words and values leave out: whether two texts write the same ones.

Three kinds tell: a sign that belongs to a token (*AB+*, *C#*, *Cl-*, *-x*, *√2*), the operator
between two of them (*3x + 2*), and zeros of a code or a version (*0041*, *Python 3.10*). Only where
both texts hold the same tokens: what an answer leaves out of the correction, or writes elsewhere
(*10:30*, *and/or*, an address), is not looked at.

Most people write dates, scores, shortcuts and labels with one sign or another (*03/2024*, *2:1*,
*Ctrl+C*, *Ann - nurse*), and a value with more zeros or fewer. So such signs tell only in a
formula, such zeros only in a version, and both where the flagged answer has the correction's words
with others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise, zip_longest

from evals.words import AGENTS, COPULAS, OPERATORS, Key, Token, has_subversion

Pair = tuple[str, str]

_SUFFIX = re.compile(r"\+\+|[+#](?=[^(=])|-(?=[^-(>=])")
_LONGEST_ION = 3  # letters before a minus: longer words have dashes, as "Paris- the capital"
_PREFIX = re.compile(r"[\s(=,:]-$")
_ROOT = re.compile(r"[√±]\s?$")
_MARKUP = re.compile(r"[\s()\[\]{}\"'`$\\_“”„«»]")
_SAME = {
    "×": "*", "·": "*", "÷": "/", "⁄": "/", "**": "^", "==": "=", ":=": "=", "!=": "≠", "<=": "≤",
    ">=": "≥", "=>": "->", "→": "->", "⇒": "->", "←": "<-", "–": "-", "‐": "-", "-": "-",
}  # fmt: skip
_KNOWN = frozenset("+*/^=<>≤≥≠:-") | {"->", "<-"}
_NEEDED = frozenset("+*/^")  # between numbers and letters; a minus may also be a hyphen
_SEPARATORS = frozenset("/-:")  # between numbers, as in a date or a score
_JOINERS = frozenset("+-/:*>") | {"->"}  # between words


def same_signs(
    given: Sequence[Token],
    wanted: Sequence[Token],
    key: Key,
    flagged: Sequence[Token] = (),
    *,
    of_version: bool = False,
) -> bool:
    """Whether the answer (``given``) writes the correction's signs and zeros where it has its
    tokens. ``of_version``: it was asked for one."""
    return (
        _same_own(given, wanted, key)
        and _same_operators(given, wanted, key, flagged)
        and _same_zeros(given, wanted, flagged, of_version)
    )


def has_other_zeros(found: Sequence[Token], others: Sequence[Token]) -> set[str]:
    """Values of numbers that the others write with other zeros only."""
    ours, theirs = _spellings(found), _spellings(others)
    return {value for value in ours.keys() & theirs.keys() if not ours[value] & theirs[value]}


def _same_zeros(
    given: Sequence[Token], wanted: Sequence[Token], flagged: Sequence[Token], of_version: bool
) -> bool:
    telling = {
        t.folded for t in (*given, *wanted) if t.is_code or (of_version and has_subversion(t.zeros))
    }
    if _is_close(wanted, flagged, lambda t: t.folded):
        telling |= has_other_zeros(wanted, flagged)
    return not telling & has_other_zeros(given, wanted)


def _is_close(wanted: Sequence[Token], flagged: Sequence[Token], key: Key) -> bool:
    """Whether the flagged answer has all numbers of the correction, or all words if it has none: so
    that it may differ in the signs or zeros alone."""
    basis = [t for t in wanted if t.is_number] or wanted
    return {key(t) for t in basis} <= {key(t) for t in flagged}


def _spellings(found: Sequence[Token]) -> dict[str, set[str]]:
    spelled: dict[str, set[str]] = {}
    for token in found:
        if token.is_number and token.unit is None:
            spelled.setdefault(token.folded, set()).add(token.zeros or token.folded)
    return spelled


def signs_of(found: Sequence[Token], *, is_at_stake: bool) -> list[str]:
    """Of each token its own sign, and the operator that follows it, where there is no other way to
    write that: for cells and items, which are compared as a whole."""
    telling = tuple("+/:") if is_at_stake or _has_formula(found) else ()
    operators = [
        sign if _is_operand(left) and _is_operand(right) and sign in telling else ""
        for left, right in pairwise(found)
        for sign in [_operator(left)]
    ]
    own = [sign[0] if (sign := _suffix(token)) else "" for token in found]
    return [a + b for a, b in zip_longest(own, operators, fillvalue="")]


def _same_own(given: Sequence[Token], wanted: Sequence[Token], key: Key) -> bool:
    """The signs that belong to a token: each of the correction's, and no other at its tokens. An
    unsigned one may stand beside it, as the article of *a grade of A+*."""
    told, needed = _own(given, key), _own(wanted, key)
    here, there = {key(t) for t in wanted}, {key(t) for t in given}
    return all(pair in told or pair[0] not in there for pair in needed) and all(
        pair in needed or pair[0] not in here for pair in told
    )


def _own(found: Sequence[Token], key: Key) -> set[Pair]:
    signs = {(key(t), sign[0]) for t in found if (sign := _suffix(t))}
    for i, token in enumerate(found):
        before = token.before if i else f" {token.before}"
        is_minus = i and _is_operand(found[i - 1]) and _MARKUP.sub("", token.before) == "-"
        if _is_letter(token) and _PREFIX.search(before) and not is_minus:
            signs.add((key(token), "-x"))
        if _is_operand(token) and (root := _ROOT.search(token.before)):
            signs.add((key(token), root[0][0]))
    return signs


def _suffix(token: Token) -> re.Match[str] | None:
    found = _SUFFIX.match(token.after)
    is_dash = found is not None and found[0] == "-" and len(token.folded) > _LONGEST_ION
    return None if is_dash else found


def _same_operators(
    given: Sequence[Token], wanted: Sequence[Token], key: Key, flagged: Sequence[Token]
) -> bool:
    told, needed, wrong = (_operators(some, key) for some in (given, wanted, flagged))
    there = {key(t) for t in given}
    operands = {key(t) for t in wanted if _is_operand(t)}
    has_formula = _has_formula(given) or _has_formula(wanted)
    wrong = wrong if _is_close(wanted, flagged, key) else {}
    for (left, right), signs in needed.items():
        found = told.get((left, right), set())
        are_operands = left in operands and right in operands
        if not has_formula and wrong.get((left, right), signs) <= signs:
            alike = _SEPARATORS if are_operands else _JOINERS
            found, signs = ({"" if s in alike else s for s in some} for some in (found, signs))
        if any(_clashes(sign, signs, are_operands) for sign in found):
            return False
        if are_operands and {left, right} <= there:
            for sign in signs & _NEEDED - found:
                if not (sign in "*^" and "" in found):  # 2x, x²
                    return False
    return True


def _clashes(sign: str, signs: set[str], are_operands: bool) -> bool:
    """Whether an operator of the answer stands for another one of the correction."""
    if not sign or sign in signs:
        return False
    if "" in signs:  # of none there only *2x* says something: no sum, no quotient
        return are_operands and len(signs) == 1 and sign in "+/<>"
    return are_operands or not {sign, *signs} <= {"/", "-"}


def _has_formula(found: Sequence[Token]) -> bool:
    """Whether signs between the tokens calculate or compare: there is *=*, a sum, a product, a
    power, a result (*7 / 2 is 3.5*), or a small letter beside an operator or a number (*3x*, *a -
    b*)."""
    for left, right, copula, result in zip(found, found[1:], found[2:], found[3:], strict=False):
        is_result = copula.folded in COPULAS and result.is_number
        if is_result and left.is_number and right.is_number and _operator(left):
            return True
    for left, right in pairwise(found):
        sign = _operator(left)
        if sign in ("=", "≠"):
            return True
        if not (_is_operand(left) and _is_operand(right)):
            continue
        has_letter = any(_is_letter(t) and t.raw.islower() for t in (left, right))
        if sign in tuple("+*^<>≤≥") or (has_letter and (sign in tuple("-/") or not left.after)):
            return True
    return False


def _operators(found: Sequence[Token], key: Key) -> dict[Pair, set[str]]:
    """The operators between neighbours, "" where there is none."""
    signs: dict[Pair, set[str]] = {}
    for i, (left, right) in enumerate(pairwise(found)):
        sign = _operator(left)
        if sign == ":" and left.is_number and right.is_number:
            sign = "/"
        signs.setdefault((key(left), key(right)), set()).add(sign)
        if i and (named := OPERATORS.get(left.folded)):
            if right.folded in AGENTS and i + 2 < len(found):  # "divided by"
                right = found[i + 2]
            signs.setdefault((key(found[i - 1]), key(right)), set()).add(named)
    return signs


def _operator(token: Token) -> str:
    """Between the token and the next one."""
    suffix = _suffix(token)
    gap = token.after[suffix.end() :] if suffix else token.after
    if re.fullmatch(r":\s+", gap.replace("*", "")):  # "Answer: x", "**Answer:** x"
        return ""
    sign = _MARKUP.sub("", gap)
    if sign not in ("*", "**"):
        sign = sign.replace("*", "")
    if len(sign) > 1 and sign not in _SAME and sign not in _KNOWN:
        sign = sign.removesuffix("-")  # of what follows: "x = -y"
    sign = _SAME.get(sign, sign)
    return sign if sign in _KNOWN else ""


def _is_letter(token: Token) -> bool:
    return len(token.folded) == 1 and token.folded.isascii() and token.folded.isalpha()


def _is_operand(token: Token) -> bool:
    """Whether the token stands in a formula: a letter, or a number that counts nothing."""
    return _is_letter(token) or (token.is_number and token.unit is None)
