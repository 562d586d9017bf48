"""Whether two answers are the same code, or the same in one format (JSON, table, list)."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from textwrap import dedent
from typing import Any

from evals.facts import asks_order
from evals.signs import signs_of
from evals.words import KEYS, language_of, same, tokens

FENCE = re.compile(r"```[\w+#-]*\n?(.*?)```", re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_SQL = re.compile(
    r"(select|insert|update|delete|create|alter|with)\b(?!\s*:|.*:\s*$)",  # not YAML, not Python
    re.IGNORECASE | re.MULTILINE,
)
_FREE_LAYOUT = re.compile(r"\A[<(]|[{;]\s*$|^\s*\}", re.MULTILINE)
_ITEM = re.compile(r"^\s*(?:([-*•–])|(\d+|[a-z])([.)]))\s+(.*\S)\s*$")


def same_format(answer: str, correction: str, flagged: str, prompt: str) -> bool:
    language = language_of(f"{prompt} {correction}")

    right_tokens, wrong_tokens = tokens(correction, language), tokens(flagged, language)
    is_at_stake = same(right_tokens, wrong_tokens, KEYS[1])  # they differ in signs or zeros

    def cell(text: str) -> list[tuple[str, str | None, str]]:
        found = tokens(text, language)
        signs = signs_of(found, is_at_stake=is_at_stake)
        return [
            (t.zeros if t.is_code or (is_at_stake and t.zeros) else t.folded, t.unit, sign)
            for t, sign in zip(found, signs, strict=True)
        ]

    def is_reordered(wrong: str) -> bool:
        """Whether it has the items of the correction in another order, as a list or in a line."""
        right = [word for _, text in list_items(correction) for word in cell(text)]
        items = "\n".join(text for _, text in list_items(wrong))
        told = [word for word in cell(items or wrong) if word in right]
        return told != right and sorted(map(str, told)) == sorted(map(str, right))

    right = json_value(correction)
    if right is not None:
        bare = json_value(flagged) or json_value(_unfenced(flagged))
        given = json_value(answer)
        if given is None and not (bare is not None and _equal(bare, right)):
            given = json_value(_unfenced(answer))
        return given is not None and _equal(given, right)
    if table := table_cells(correction):
        given_table = table_cells(answer)
        return [[cell(c) for c in row] for row in given_table] == [
            [cell(c) for c in row] for row in table
        ]
    items, given_items = list_items(correction), list_items(answer)
    if len(items) != len(given_items) or len(given_items) != len(
        [line for line in answer.splitlines() if line.strip()]
    ):
        return False
    if [mark for mark, _ in items] != [mark for mark, _ in given_items]:
        return False
    ours, theirs = ([cell(text) for _, text in some] for some in (items, given_items))
    is_ordered = items[0][0] != "-" or asks_order(prompt) or is_reordered(flagged)
    return ours == theirs if is_ordered else sorted(map(str, ours)) == sorted(map(str, theirs))


def _unfenced(text: str) -> str:
    found = FENCE.findall(text)
    return found[0].strip() if len(found) == 1 else text


def json_value(text: str) -> Any:
    """The object or list that the whole text is, else None."""
    text = text.strip()
    if not text.startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _equal(left: Any, right: Any) -> bool:
    """JSON values, with 1 and true told apart."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def table_cells(text: str) -> list[list[str]]:
    """The cells of a Markdown table without its rule; empty if the text is none."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if len(lines) < 3 or not all(line.startswith("|") for line in lines):
        return []
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]


def list_items(text: str) -> list[tuple[str, str]]:
    """The items of a list: the mark of each (``-`` for any dash or dot, else its number or letter)
    and its text."""
    found = [_ITEM.match(line) for line in text.splitlines()]
    return [("-" if item[1] else item[2], item[4]) for item in found if item]


def same_code(answer: str, correction: str, flagged: str) -> bool:
    right, wrong = _code_of(correction), _code_of(flagged)
    right_shape = [_shape(code) for code in right]
    given = _code_of(answer)
    if len(given) == 1 and given[0] == answer.strip() and "\n" not in given[0]:
        # Prose around a short command: it must be the end of one sentence.
        given = [
            given[0],
            given[0].rstrip("."),
            re.sub(r"^(?:Use|Run|Type)\s+", "", given[0]).rstrip("."),
        ]
        shapes = [_shape(code) for code in given]
        return right_shape[0] in shapes and _shape(wrong[0]) not in shapes if wrong else False
    if [_shape(code) for code in given] == [_shape(code) for code in wrong]:
        return False
    return [_shape(code) for code in given] == right_shape


def _code_of(text: str) -> list[str]:
    """The fenced blocks, else the spans, else the whole text."""
    blocks = [block.strip("\n") for block in FENCE.findall(text)]
    return blocks or [span.strip() for span in SPAN.findall(text)] or [dedent(text).strip()]


def _shape(code: str) -> str:
    """What two pieces of the same code share: Python's syntax tree, with arguments and local names
    numbered; else the tokens, with a closing semicolon and blanks left out. Lines and how deep they
    are indented count (YAML), but where signs end statements or blocks (C, HTML, Lisp) and in SQL.
    """
    code = dedent(code).strip()
    try:
        tree = ast.parse(code)
        if not all(
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Name) for node in tree.body
        ):
            return ast.dump(_Renamed().visit(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two: of deep ones
        pass
    code = code.rstrip("; \n")
    if _SQL.match(code):
        text = _tokens(code)
        return re.sub(r"'[^']*'|[^']+", lambda m: m[0] if m[0][0] == "'" else m[0].lower(), text)
    return _tokens(code) if _FREE_LAYOUT.search(code) else "\n".join(_lines(code))


def _tokens(code: str) -> str:
    found = re.findall(r"\w+|\s+|[^\w\s]", code)
    parts = [part for i, part in enumerate(found) if not part.isspace() or _parts_words(found, i)]
    return "".join(" " if part.isspace() else part for part in parts)


def _lines(code: str) -> Iterable[str]:
    """The tokens of each line, indented by as many blanks as it is deep."""
    open_widths: list[int] = []
    for line in code.expandtabs().splitlines():
        if not (bare := line.lstrip()):
            continue
        width = len(line) - len(bare)
        while open_widths and open_widths[-1] >= width:
            open_widths.pop()
        yield " " * len(open_widths) + _tokens(bare.rstrip())
        open_widths.append(width)


def _parts_words(found: list[str], i: int) -> bool:
    """Whether the blank stands between two words or two signs, which it keeps apart, or before an
    option of a command."""
    before, after = found[i - 1 : i], found[i + 1 : i + 2]
    if not before or not after:
        return False
    word = [part[0][0].isalnum() or part[0] == "_" for part in (before, after)]
    is_option = after[0] == "-" and not "".join(found[i + 2 : i + 3]).isspace()
    return word[0] == word[1] or is_option


class _Renamed(ast.NodeTransformer):
    """Arguments, targets of loops and local names by number, in the order in which they come."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Module):
            for inner in ast.walk(node):
                if isinstance(inner, ast.FunctionDef | ast.Lambda):
                    self._number(a.arg for a in inner.args.args)
                elif isinstance(inner, ast.comprehension | ast.For):
                    self._number(n.id for n in ast.walk(inner.target) if isinstance(n, ast.Name))
        elif isinstance(node, ast.arg):
            node.arg = self.names.get(node.arg, node.arg)
        elif isinstance(node, ast.Name):
            node.id = self.names.get(node.id, node.id)
        return super().visit(node)

    def _number(self, names: Iterable[str]) -> None:
        for name in names:
            self.names.setdefault(name, f"_{len(self.names)}")
