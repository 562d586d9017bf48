"""Markdown of answers, and people's plain text, as HTML that holds nothing of the text's own HTML.

Gradio's own renderer draws HTML, forms, classes and styles that stand in an answer. Here it is
parsed by markdown-it-py with HTML off, and every character that comes from the text is escaped. The
result goes through Gradio's Markdown unchanged: each block is one line that begins with a block's
tag, so it is an HTML block, and only blocks that changed are drawn anew while an answer streams.

    answer_html("# a\\n\\n`<b>`", True)
    -> '<h2 dir="auto">a</h2>\\n\\n<p dir="auto"><code>&lt;b&gt;</code></p>'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markupsafe import Markup, escape
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.gfm_autolink import gfm_autolink_plugin

from serve.pages.files import parts_of

if TYPE_CHECKING:
    from pygments.token import _TokenType

# A longer text is shown as it is: parsing is done in the server's loop.
MOST_CHARACTERS = 32_000
MOST_NESTED = 20  # lists and quotes within each other; a list and its item are two
MOST_CELLS = 5_000  # of a table; the parser fills short rows up, so a short text may hold 65,536
MOST_COLOURED = 4_000  # characters of a code block
MOST_COLONS = 400  # where bare addresses become links; the search takes a time that grows with both
MOST_TEX_LINES = 50
MOST_TEX_SEEN = 60  # a longer formula within a line may have to be scrolled
MOST_TEX = 2_000  # characters of a formula; KaTeX runs in the reader's browser
# What Gradio's KaTeX is told to look for: characters of private use, which are taken out of texts.
INLINE, DISPLAY = ("\ue000", "\ue001"), ("\ue002", "\ue003")
LATEX_DELIMITERS: list[dict[str, str | bool]] = [
    {"left": INLINE[0], "right": INLINE[1], "display": False},
    {"left": DISPLAY[0], "right": DISPLAY[1], "display": True},
]
_TAKEN_OUT = dict.fromkeys(map(ord, ("\0", *INLINE, *DISPLAY)), "�")
# Shown by their number: control characters, and what turns the direction of the text after it.
_MARKS = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]")
_MARKS_IN_CODE = re.compile(_MARKS.pattern[:-1] + r"\u200e\u200f\u2066-\u2069]")
_DELIMITER_ROW = frozenset("|-: \t>*+.)0123456789")  # of a table, within lists and quotes, too
_BOX = re.compile(r'<input class="task-list-item-checkbox"[^>]*>')
_OWN = '<div class="pawl-own" dir="auto">', "</div>"  # page.js makes and reads it too
_COPY = (
    '<button title="copy" class="copy_code_button"><span class="copy-text">'
    '<svg viewBox="0 0 15 15" width="15" height="15" aria-hidden="true"><path fill="currentColor" '
    'd="M12.7 4.5v8.2H4.5V4.5zm0-.9H4.5a.9.9 0 0 0-.9.9v8.2a.9.9 0 0 0 .9.9h8.2a.9.9 0 0 0 .9-.9'
    'V4.5a.9.9 0 0 0-.9-.9M1.8 8.2H.9V1.8a.9.9 0 0 1 .9-.9h6.4v.9H1.8Z"/></svg></span>'
    '<span class="check"></span></button>'
)
# A text that is a web address, or a host, and nothing else; its host without "www.".
_ADDRESS = re.compile(
    r"(?:(?P<scheme>https?)://)?(?:www\.)?(?P<host>[^\s/?#@:\\]+)(?::(?P<port>\d+))?(?:[/?#]\S*)?",
    re.IGNORECASE,
)
_PORTS = {"http": "80", "https": "443"}
# Others' lexers may take long for a text that was made for it.
_LANGUAGES = frozenset(
    "bash c c++ cpp c# csharp css diff go html ini java javascript js json jsx kotlin lua "
    "php powershell python py r ruby rb rust sh shell sql swift toml ts tsx typescript xml yaml yml"
    "".split()
)


def text_html(text: str, marks: re.Pattern[str] = _MARKS) -> Markup:
    """A text escaped, on one line of HTML (``&#10;`` for a line break).

    A character of ``marks`` stays in the text, within an element that shows its number and keeps
    its direction to itself.
    """
    html = str(escape(text.replace("\r\n", "\n").translate(_TAKEN_OUT)))
    html = marks.sub(
        lambda mark: f'<span class="pawl-mark" title="U+{ord(mark[0]):04X}">{mark[0]}</span>', html
    )
    # Gradio's renderer puts formulas in the place of %%%LATEX_BLOCK_0%%%.
    return Markup(html.replace("%", "&#37;").replace("\r", "&#10;").replace("\n", "&#10;"))


def plain_line(text: str, most: int) -> str:
    """The beginning of a text on one line, for a place that takes text and no HTML."""
    line = _MARKS_IN_CODE.sub("�", " ".join(text.split()).translate(_TAKEN_OUT))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def own_html(text: str) -> str:
    """What a person wrote, as plain text; attached files are folded."""
    if "\n```" not in text:
        return f"{_OWN[0]}{text_html(text)}{_OWN[1]}"
    parts = [
        text_html(part)
        if name is None
        else f'<details class="pawl-file"><summary>{text_html(name)}</summary>'
        f'<div tabindex="0">{text_html(part)}</div></details>'
        for name, part in parts_of(text)
    ]
    return f"{_OWN[0]}{''.join(parts)}{_OWN[1]}{source_html(text)}"


def own_text(html: str) -> str:
    """The text of what page.js sends of an edited question: ``own_html``'s form, but for marks."""
    if not html.startswith(_OWN[0]):
        return html
    return str(Markup(html.removeprefix(_OWN[0]).removesuffix(_OWN[1])).unescape())


def source_html(text: str) -> str:
    """What is copied of a drawn answer, hidden; page.js finds it."""
    title = str(escape(text.translate(_TAKEN_OUT))).replace("%", "&#37;").replace("\n", "&#10;")
    return f'<div hidden class="pawl-source" title="{title}"></div>'


def answer_html(text: str, complete: bool) -> str:
    """The blocks of an answer, a line of HTML each with an empty line between.

    Args:
        complete: whether the answer is over. The last code block has no colours before.
    """
    return (_whole_html if complete else _partial_html)(text, complete)


def _answer_html(text: str, complete: bool) -> str:
    if len(text) > MOST_CHARACTERS or _n_cells(text) > MOST_CELLS:
        return own_html(text)
    parser = _parser if text.count(":") <= MOST_COLONS else _parser_without_bare_links
    tokens = parser.parse(text.translate(_TAKEN_OUT), {})
    if max((token.level for token in tokens), default=0) >= MOST_NESTED - 1:
        return own_html(text)  # the parser leaves out what stands deeper
    if tokens and tokens[-1].type == "fence" and not complete:
        tokens[-1].info = ""
    html = "\n\n".join(
        parser.renderer.render(block, parser.options, {}).strip().replace("\n", "&#10;")
        for block in _blocks(tokens)
    )
    return _BOX.sub(r'<label>\g<0><span class="pawl-unseen">Task: </span></label>', html)


def _n_cells(text: str) -> int:
    """As many cells as the tables of a text have at most."""
    lines = text.splitlines()
    rows = (line for line in lines if {"|", "-"} <= set(line) <= _DELIMITER_ROW)
    return max((line.count("|") + 1 for line in rows), default=0) * len(lines)


_whole_html = lru_cache(maxsize=1_024)(_answer_html)
_partial_html = lru_cache(maxsize=32)(_answer_html)  # looked at twice, and then it has grown


def _blocks(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    begin = depth = 0
    for at, token in enumerate(tokens):
        depth += token.nesting
        if depth == 0:
            yield tokens[begin : at + 1]
            begin = at + 1


# -- formulas between \( \) and \[ \], as models write them; those between dollars are a plugin's


def _bracketed(state: StateInline, silent: bool) -> bool:
    begin = state.src[state.pos : state.pos + 2]
    if begin not in (r"\(", r"\["):
        return False
    end = state.src.find({"(": r"\)", "[": r"\]"}[begin[1]], state.pos + 2, state.posMax)
    if end == -1:
        return False
    if not silent:
        token = state.push("math_inline" if begin == r"\(" else "math_inline_double", "math", 0)
        token.content = state.src[state.pos + 2 : end]
    state.pos = end + 2
    return True


def _bracketed_block(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """Lines from one that begins with a bracket to one that ends with its other half."""
    begin = state.bMarks[first] + state.tShift[first]
    if not state.src.startswith(r"\[", begin) or state.is_code_block(first):
        return False
    for line in range(first, min(last, first + MOST_TEX_LINES)):
        text = state.src[state.bMarks[line] : state.eMarks[line]]
        if line > first and (not text.strip() or state.sCount[line] < state.blkIndent):
            return False
        if r"\]" in text:
            break
    else:
        return False
    if not text.rstrip().endswith(r"\]"):
        return False
    if not silent:
        state.line = line + 1
        token = state.push("math_block", "math", 0)
        token.block = True
        lines = state.getLines(first, line + 1, state.blkIndent, False).strip()
        token.content = lines.removeprefix(r"\[").removesuffix(r"\]")
        token.map = [first, state.line]
    return True


def _is_whole_tex(tex: str) -> bool:
    """Whether KaTeX finds its end: its search counts braces."""
    depth = 0
    for found in re.finditer(r"\\.|[{}]", tex, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth < 0:
            return False
    return depth == 0 and not tex.endswith("\\")


def _is_drawn(tex: str) -> bool:
    """Bars of any size would hide other text of the message."""
    is_small = 0 < len(tex) <= MOST_TEX and not _MARKS.search(tex)
    return is_small and "\\rule" not in tex and _is_whole_tex(tex)


def _math(token: Token, display: bool) -> str:
    tex = token.content.strip()
    if not _is_drawn(tex):
        return f"<code>{text_html(tex, _MARKS_IN_CODE)}</code>"
    left, right = DISPLAY if display else INLINE
    kind = "pawl-display" if display else "pawl-inline"
    scrolled = ' tabindex="0"' if display or len(tex) > MOST_TEX_SEEN else ""
    return f'<span class="pawl-math {kind}"{scrolled}>{left}{text_html(tex)}{right}</span>'


# -- links


def _is_web(url: str) -> bool:
    """Links lead to other sites, or write to someone: none leads into Pawl itself."""
    return url.lower().startswith(("https://", "http://", "mailto:"))


def _arrange(state: StateCore) -> None:
    """Directions, the levels of headings, and where links lead to."""
    level = 1
    for token in state.tokens:
        if token.level == 0 and token.nesting == 1:
            token.attrSet("dir", "auto")
        if token.type == "heading_open":  # below the page's own, and none left out
            level = min(int(token.tag[1]) + 1, level + 1, 6)
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{level}"
        opened: Token | None = None  # the link that a child stands in
        text = ""
        for child in token.children or ():
            if child.type == "link_open":
                opened, text = child, ""
            elif child.type == "link_close" and opened is not None:
                url = str(opened.attrGet("href") or "")
                opened.attrSet("title", url)
                child.meta["place"] = _unsaid_place(url, text)
                opened = None
            elif child.type == "image":
                child.meta["is_link"] = opened is None
                child.meta["place"] = _unsaid_place(str(child.attrGet("src") or ""), _alt(child))
                text += _alt(child)
            else:
                is_said = child.type in ("text", "code_inline")  # a formula draws something else
                text += child.content if is_said else " " if child.nesting == 0 else ""


def _unsaid_place(url: str, text: str) -> str:
    """Where a link leads to, unless its text is that address, or its host, and nothing else."""
    parts = urlsplit(url) if "[" not in url else None
    if parts is None:
        return "" if text == url else url
    if not parts.hostname:
        to = f"{parts.path}?{parts.query}" if parts.query else parts.path  # it may add receivers
        return "" if text.lower().removeprefix("mailto:") == to.lower() else to
    said = _ADDRESS.fullmatch(text)
    if said is None or said["host"].lower() != parts.hostname.removeprefix("www."):
        return parts.hostname
    place = parts.netloc.rpartition("@")[2]
    port = place.partition(":")[2] or _PORTS.get(parts.scheme, "")
    if said["scheme"] and said["scheme"].lower() != parts.scheme:
        return f"{parts.scheme}://{place}"
    return place if said["port"] and said["port"] != port else ""


def _alt(image: Token) -> str:
    """What is drawn of an image."""
    return image.content or str(image.attrGet("src") or "")


# -- what each token is drawn as


def _code(text: str, language: str) -> str:
    return (
        f'<div class="code_wrap" dir="ltr">{_COPY}<pre tabindex="0"><code>'
        f"{_coloured(text, language)}</code></pre></div>"
    )


@lru_cache(maxsize=512)
def _coloured(text: str, language: str) -> str:
    """Code with a span for each comment, keyword, name, string and number."""
    if language not in _LANGUAGES or len(text) > MOST_COLOURED:
        return text_html(text, _MARKS_IN_CODE)
    from pygments.lexers import get_lexer_by_name

    parts = []
    for kind, piece in get_lexer_by_name(language, stripnl=False).get_tokens(text):
        html = text_html(piece, _MARKS_IN_CODE)
        name = _colour(kind)
        parts.append(f'<span class="pawl-{name}">{html}</span>' if name else html)
    return "".join(parts)


@lru_cache(maxsize=512)
def _colour(kind: _TokenType) -> str:
    from pygments import token

    for name, kinds in (
        ("comment", (token.Comment,)),
        ("keyword", (token.Keyword, token.Operator.Word, token.Name.Tag)),
        ("string", (token.String, token.Generic.Inserted)),
        ("number", (token.Number, token.Generic.Deleted, token.Name.Constant)),
        ("name", (token.Name.Function, token.Name.Class, token.Name.Builtin, token.Name.Decorator,
                  token.Name.Attribute, token.Generic.Heading)),
    ):  # fmt: skip
        if any(kind in one for one in kinds):
            return name
    return ""


def _link_open(token: Token) -> str:
    href, title = escape(token.attrGet("href") or ""), escape(token.attrGet("title") or "")
    return f'<a href="{href}" title="{title}" target="_blank" rel="noopener noreferrer">'


def _link_close(token: Token) -> str:
    place = token.meta.get("place")
    return "</a>" + (f' <span class="pawl-place">({text_html(place)})</span>' if place else "")


def _image(token: Token) -> str:
    """Nothing is loaded: a link with the image's description; within a link that alone."""
    if not token.meta["is_link"]:
        return str(text_html(_alt(token)))
    url = str(token.attrGet("src") or "")
    link = _link_open(Token("", "", 1, attrs={"href": url, "title": url}))
    return f"{link}{text_html(_alt(token))}{_link_close(token)}"


_RENDERERS: dict[str, Callable[[Token], str]] = {
    "text": lambda token: text_html(token.content),
    "code_inline": lambda token: f"<code>{text_html(token.content, _MARKS_IN_CODE)}</code>",
    "fence": lambda token: _code(token.content, (token.info.split() or [""])[0].lower()),
    "code_block": lambda token: _code(token.content, ""),
    "math_inline": lambda token: _math(token, display=False),
    "math_inline_double": lambda token: _math(token, display=True),
    "math_block": lambda token: f'<div class="pawl-wide">{_math(token, display=True)}</div>',
    "link_open": _link_open,
    "link_close": _link_close,
    "image": _image,
    "table_open": lambda token: '<div class="pawl-wide" tabindex="0" dir="auto"><table>',
    "table_close": lambda token: "</table></div>",
}


def _make_parser(bare_links: bool) -> MarkdownIt:
    parser = MarkdownIt("gfm-like2", {"html": False, "linkify": False, "alerts": False,
                                      "breaks": True, "maxNesting": MOST_NESTED})  # fmt: skip
    parser.disable(["linkify", "html_inline", "html_block"])
    if bare_links:
        parser.use(gfm_autolink_plugin)
    parser.use(dollarmath_plugin, allow_labels=False, allow_space=False, allow_digits=False,
               allow_blank_lines=False, double_inline=True)  # fmt: skip
    parser.inline.ruler.before("escape", "math_brackets", _bracketed)
    ends: Any = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    parser.block.ruler.before("fence", "math_brackets_block", _bracketed_block, ends)
    parser.core.ruler.push("pawl", _arrange)
    parser.validateLink = _is_web  # type: ignore[method-assign]
    for name, render in _RENDERERS.items():

        def rule(
            self: Any, tokens: Sequence[Token], at: int, options: Any, env: Any,
            render: Callable[[Token], str] = render,
        ) -> str:  # fmt: skip
            return render(tokens[at])

        parser.add_render_rule(name, rule)
    return parser


_parser, _parser_without_bare_links = _make_parser(True), _make_parser(False)
