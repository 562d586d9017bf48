"""Signs at and between words and numbers: whether two texts that say the same write the same ones.

Two kinds tell: a sign that belongs to a token (*AB+*, *C#*, *Cl-*, *-x*), and the operator between
two of them (*4/3*, *3x + 2*). Only where both texts hold the same tokens: what an answer leaves out
of the correction, or writes elsewhere (*10:30*, *and/or*, an address), is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise, zip_longest

from evals.words import OPERATORS, Key, Token

Pair = tuple[str, str]

_SUFFIX = re.compile(r"\+\+|[+#](?=[^(=])|-(?=[^-(>=])")
_LONGEST_ION = 3  # letters before a minus: longer words have dashes, as "Paris- the capital"
_PREFIX = re.compile(r"(?:^|[\s(=,:])-$")
_MARKUP = re.compile(r"[\s()\[\]{}\"'`$\\_“”„«»]")
_SAME = {
    "×": "*", "·": "*", "÷": "/", "⁄": "/", "**": "^", "==": "=", ":=": "=", "!=": "≠", "<=": "≤",
    ">=": "≥", "=>": "->", "→": "->", "⇒": "->", "←": "<-", "–": "-", "‐": "-", "-": "-",
}  # fmt: skip
_KNOWN = frozenset("+*/^=<>≤≥≠:-") | {"->", "<-"}
_NEEDED = frozenset("+*/^:")  # between numbers and letters; a minus may also be a hyphen


def same_signs(given: Sequence[Token], wanted: Sequence[Token], key: Key) -> bool:
    """Whether the answer (``given``) writes the correction's signs where it has its tokens."""
    return _same_own(given, wanted, key) and _same_operators(given, wanted, key)


def signs_of(found: Sequence[Token]) -> list[str]:
    """Of each token its own sign, and the operator that follows it, where there is no other way to
    write that: for cells and items, which are compared as a whole."""
    operators = [
        sign if _is_operand(left) and _is_operand(right) and sign in tuple("+/:") else ""
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
        is_minus = i and _is_operand(found[i - 1]) and _MARKUP.sub("", token.before) == "-"
        if _is_letter(token) and _PREFIX.search(token.before) and not is_minus:
            signs.add((key(token), "-x"))
    return signs


def _suffix(token: Token) -> re.Match[str] | None:
    found = _SUFFIX.match(token.after)
    is_dash = found is not None and found[0] == "-" and len(token.folded) > _LONGEST_ION
    return None if is_dash else found


def _same_operators(given: Sequence[Token], wanted: Sequence[Token], key: Key) -> bool:
    told, needed = _operators(given, key), _operators(wanted, key)
    there = {key(t) for t in given}
    operands = {key(t) for t in wanted if _is_operand(t)}
    for (left, right), signs in needed.items():
        found = told.get((left, right), set())
        is_formula = left in operands and right in operands
        if any(_clashes(sign, signs, is_formula) for sign in found):
            return False
        if is_formula and {left, right} <= there:
            for sign in signs & _NEEDED - found:
                if not (sign in "*^" and "" in found):  # 2x, x²
                    return False
    return True


def _clashes(sign: str, signs: set[str], is_formula: bool) -> bool:
    """Whether an operator of the answer stands for another one of the correction."""
    if not sign or sign in signs:
        return False
    if "" in signs:  # of none there only *2x* says something: no sum, no quotient
        return is_formula and len(signs) == 1 and sign in "+/=<>"
    return is_formula or not {sign, *signs} <= {"/", "-"}


def _operators(found: Sequence[Token], key: Key) -> dict[Pair, set[str]]:
    """The operators between neighbours, "" where there is none."""
    signs: dict[Pair, set[str]] = {}
    for i, (left, right) in enumerate(pairwise(found)):
        signs.setdefault((key(left), key(right)), set()).add(_operator(left))
        if i and (sign := OPERATORS.get(left.folded)):
            signs.setdefault((key(found[i - 1]), key(right)), set()).add(sign)
    return signs


def _operator(token: Token) -> str:
    """Between the token and the next one."""
    suffix = _suffix(token)
    gap = token.after[suffix.end() :] if suffix else token.after
    if re.fullmatch(r":\s+", gap):  # "Answer: x"
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
