"""Turns a conversation into what Gradio's components show; the HTML is in ``assets/chat.html``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from feedback.categories import DEFAULT_CATEGORIES
from pawl.runs import move_line
from pawl.schemas import MOST_CORRECTION_CHARACTERS
from pawl.settings import PageSettings
from serve.pages import ASSETS
from serve.pages.conversation import Turn
from serve.pages.files import MOST_BYTES, SUFFIXES
from serve.pages.markdown import answer_html, own_html, source_html, text_html
from serve.pages.texts import (
    LANGUAGES,
    engine_says,
    html_line,
    language,
    mark,
    of_the_server,
    say,
)

UP, DOWN = "Like", "Dislike"  # Gradio's names of its two thumbs; page.css names them too
MOST_COMPARED = 1_000_000  # words of an answer times words of its correction: 0.2 s
MOST_KEPT_CHARACTERS = 10_000  # of an answer and its correction, whose difference is kept
_SUGGESTIONS = ("first", "second", "third", "fourth")  # those of the settings' default
FORM_CLASS = "pawl-about-"  # and the completion's id: page.js finds the open form by it


def category_name(key: str) -> str:
    """``off_topic`` as people read it."""
    return of_the_server("categories", f"{key}.name", key.replace("_", " "))


def _flat(text: str) -> Markup:
    """Escaped, on one HTML line: an empty line would end the block and begin Markdown."""
    return Markup(str(text_html(text)).replace("&#10;", "<br>"))


def _one_line(text: str) -> Markup:
    """The beginning of ``text``, 120 characters at most."""
    line = " ".join(text.split())
    return text_html(line if len(line) <= 120 else line[:119] + "…")


def _on_one_line(value: Any) -> Any:
    """What a template's ``{{ }}`` becomes, with or without a filter: a text escaped, without line
    breaks, as it may stand in an attribute too."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return Markup(html_line(value))


def _changes(answer: str, correction: str) -> Markup:
    return Markup(difference(answer, correction))


def html_parts(template: str) -> Any:
    """The macros of a template, each one block of HTML whatever texts it is given: none can end
    the block and begin Markdown."""
    return _environment.get_template(template).module


_environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True, finalize=_on_one_line)
_environment.filters |= {
    "flat": _flat,
    "one_line": _one_line,
    "category": category_name,
    "move": move_line,
    "own": lambda text: Markup(own_html(text)),
    "drawn": lambda text: drawn(text),
    "changes": _changes,
}
_environment.globals |= {"say": say, "engine_says": engine_says}
_html: Any = html_parts("chat.html")


def messages(turns: Sequence[Turn], is_busy: bool = False) -> list[dict[str, Any]]:
    """The chat component's messages: a question and its answer for each turn.

    Args:
        is_busy: an answer comes, and no other variant can be shown.
    """
    shown: list[dict[str, Any]] = []
    for at, turn in enumerate(turns):
        shown.append({"role": "user", "content": [_part(own_html(turn.question))]})
        parts = [_part(part) for part in _parts(turn, at, is_busy)]
        shown.append({"role": "assistant", "content": parts})
    return shown


def _part(html: str) -> dict[str, str]:
    """As Gradio keeps it; of a bare string it would expand the tabs."""
    return {"type": "text", "text": html}


def thumbs(turns: Sequence[Turn], unset: Turn | None = None) -> list[str | None]:
    """Which thumb is lit, for each part of an answer: Gradio counts every part as a message of
    its own, the small print too, and takes the n-th value for the n-th of them.

    Args:
        unset: light neither thumb of this turn. A pressed thumb changes in the browser at once,
            and is drawn anew only when its value here changes.
    """
    lit: list[str | None] = []
    for turn in turns:
        parts = _parts(turn)
        values: list[str | None] = [None] * len(parts)
        if turn.answer.strip():
            thumb = (turn.feedback or {}).get("thumb")
            values[0] = {"up": UP, "down": DOWN}.get(thumb or "")
            values[0] = "unset" if turn is unset else values[0]
        lit += values
    return lit


def _parts(turn: Turn, at: int = 0, is_busy: bool = False) -> list[str]:
    """The answer as far as it came, and the small print under it."""
    if turn.other is not None and not turn.held:
        sides = [(_side(one), one.error) for one in turn.sides]
        return [str(_html.sides(sides, turn.is_comparable, turn.completion_id))]
    place = turn.variants.index(turn) if len(turn.variants) > 1 else None
    under = str(_html.under(turn, at, place, is_busy))
    answer, is_over = turn.answer, turn.state not in ("waiting", "streaming")
    if not answer.strip():
        if not is_over:
            return [str(_html.held(turn) if turn.held else _html.waiting())]
        if turn.state == "failed":
            under = str(_html.never_came(turn, at, place, is_busy))
        return [under]
    thought, rest = _thought(answer)
    drawn = answer_html(rest, is_over)
    if thought:
        inner = answer_html(thought, is_over or bool(rest)).replace("\n\n", "")
        drawn = f"{_html.thought(Markup(inner), not rest and not is_over)}\n\n{drawn}"
    if is_over:
        drawn += "\n\n" + source_html(answer)
    return [drawn, *filter(None, [under])]


def _side(turn: Turn) -> Markup:
    """One of two answers as far as it came, on one line."""
    if not turn.answer.strip():
        return Markup(_html.waiting() if turn.state in ("waiting", "streaming") else "")
    is_over = turn.state not in ("waiting", "streaming")
    return Markup(answer_html(_thought(turn.answer)[1], is_over).replace("\n\n", ""))


def _thought(answer: str) -> tuple[str, str]:
    """What a model thought before it answered, and the answer. A template may open the thought in
    the prompt; then the answer holds its end alone."""
    begun = answer.lstrip().startswith("<think>")
    thought, end, rest = answer.partition("</think>")
    is_named = "<think>" in thought or thought.count("`") % 2  # an answer about such marks
    if not begun and (not end or is_named):
        return "", answer
    return thought.strip().removeprefix("<think>").strip(), rest.strip() if end else ""


def has_reasons(turn: Turn) -> bool:
    """Whether something is said against the answer beside the thumb."""
    feedback = turn.feedback or {}
    return bool(feedback.get("categories") or feedback.get("correction"))


def is_more_than_a_thumb(turn: Turn) -> bool:
    """Whether there is something to say, or said already, beside the thumb."""
    return turn.marked_bad or has_reasons(turn) or bool((turn.feedback or {}).get("comment"))


def about(turn: Turn) -> str:
    """The heading of the feedback form: what is saved already, and of which answer."""
    return str(_html.about(turn, FORM_CLASS, has_reasons(turn)))


def without_thought(answer: str) -> str:
    """What a person would correct."""
    return _thought(answer)[1]


def drawn(answer: str) -> Markup:
    """An answer that is over as the chat draws it, on one line of HTML."""
    thought, rest = _thought(answer)
    html = answer_html(rest, True)
    if thought:
        html = f"{_html.thought(Markup(answer_html(thought, True)), False)}{html}"
    return Markup(html.replace("\n\n", ""))


def difference(answer: str, correction: str) -> str:
    """What a correction changes in the answer, word by word; empty where there is none, or where
    finding it would take long."""
    if not correction.strip() or len(correction) > MOST_CORRECTION_CHARACTERS:
        return ""
    is_kept = len(answer) + len(correction) <= MOST_KEPT_CHARACTERS
    found = _difference if is_kept else _difference.__wrapped__
    return found(answer, correction, language())


@lru_cache(maxsize=256)
def _difference(answer: str, correction: str, language: str) -> str:
    before, after = (
        re.findall(r"\s+|\w+|[^\w\s]", text) for text in (without_thought(answer), correction)
    )
    if len(before) * len(after) > MOST_COMPARED:
        return ""
    parts: list[tuple[str, str, str]] = []
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for kind, i, j, k, m in matcher.get_opcodes():
        gone, come = "".join(before[i:j]), "".join(after[k:m])
        # Blanks and points that stay between two changes are no reason to read in pieces.
        if len(parts) > 1 and kind != "equal" and not re.search(r"\w", parts[-1][1]):
            same = parts.pop()[1]
            _, gone_before, come_before = parts.pop()
            gone, come = f"{gone_before}{same}{gone}", f"{come_before}{same}{come}"
        parts.append((kind, gone, come))
    return str(_html.difference(parts))


def banner(engine: dict[str, Any]) -> str:
    """What stands above the chat while the engine can't answer; empty when it can.

    Args:
        engine: of ``GET /health``: state, detail, progress_fraction (0 to 1 or None).
    """
    return "" if engine["state"] == "ready" else str(_html.banner(engine))


def signed_in(name: str) -> str:
    """Who is signed in, and the way out."""
    return str(_html.signed_in(name))


def meanings(categories: list[dict[str, Any]]) -> str:
    """What each category means, folded away until asked for."""
    return str(_html.meanings([_worded(row) for row in categories]))


def _worded(row: dict[str, Any]) -> dict[str, Any]:
    """A category whose wording nobody has changed, in the language of this request."""
    known = next((one for one in DEFAULT_CATEGORIES if one.key == row["key"]), None)
    said = {
        name: of_the_server("categories", f"{row['key']}.{name}", row[name])
        for name in ("definition", "example")
        if known is not None and row[name] == getattr(known, name)
    }
    return {**row, **said}


def suggested(texts: Sequence[str]) -> str:
    """Suggestions of a first message, as buttons."""
    known = dict(zip(PageSettings().suggestions, _SUGGESTIONS, strict=True))
    shown = [
        mark(f"suggestions.{known[text]}", in_html=True) if text in known else text
        for text in texts
    ]
    return str(_html.suggested(shown, mark("page.suggestions", in_html=True)))


def languages() -> str:
    """Links that choose the page's language; none where there is one."""
    label = mark("page.language", in_html=True)
    return str(_html.languages(LANGUAGES, label)) if len(LANGUAGES) > 1 else ""


def attach() -> str:
    """The button that attaches files to a message."""
    return str(_html.attach(SUFFIXES, MOST_BYTES, mark("page.attach", in_html=True)))


def version_choices(models: dict[str, Any], chosen: str) -> list[tuple[str, str]]:
    """(what is shown, the model's name) for each name of ``GET /v1/models``, in its order, and for
    the one that is chosen."""
    cards = models.get("data") or [{"id": "pawl", "version": "pawl"}]
    choices = [
        (name if version == name else say("versions.now", name=name, version=version), name)
        for name, version in ((card["id"], card["version"]) for card in cards)
    ]
    if chosen not in [name for _, name in choices]:
        choices.append((say("versions.not_loaded", name=chosen) if models else chosen, chosen))
    return choices
