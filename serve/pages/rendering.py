"""Turns a conversation into what Gradio's components show; the HTML is in ``assets/chat.html``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from serve.pages.conversation import Turn

ASSETS = Path(__file__).parent / "assets"

UP, DOWN = "Like", "Dislike"  # Gradio's names of its two thumbs; page.css names them too
FORM_CLASS = "pawl-about-"  # and the completion's id: page.js finds the open form by it


def category_name(key: str) -> str:
    """``off_topic`` as people read it."""
    return key.replace("_", " ")


def _flat(text: str) -> Markup:
    """Escaped, on one HTML line: an empty line would end the block and begin Markdown."""
    return Markup(str(escape(text)).replace("\r", "").replace("\n", "<br>"))


def _one_line(text: str) -> str:
    """The beginning of ``text``, 120 characters at most."""
    line = " ".join(text.split())
    return line if len(line) <= 120 else line[:119] + "…"


_environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True)
_environment.filters |= {"flat": _flat, "one_line": _one_line, "category": category_name}
_html: Any = _environment.get_template("chat.html").module


def messages(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """The chat component's messages: two for each turn, one while an answer has not begun."""
    shown: list[dict[str, Any]] = []
    for turn in turns:
        shown.append({"role": "user", "content": turn.question})
        parts = _parts(turn)
        if parts:
            shown.append({"role": "assistant", "content": parts})
    return shown


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
        if parts and parts[0] == turn.answer:
            thumb = (turn.feedback or {}).get("thumb")
            values[0] = {"up": UP, "down": DOWN}.get(thumb or "")
            values[0] = "unset" if turn is unset else values[0]
        lit += values
    return lit


def _parts(turn: Turn) -> list[str]:
    """The answer as far as it came, and the small print under it."""
    if turn.state == "waiting":
        return []
    if turn.state == "failed" and not turn.answer.strip():
        return [str(_html.never_came(turn))]
    return [part for part in (turn.answer, str(_html.under(turn))) if part.strip()]


def has_reasons(turn: Turn) -> bool:
    """Whether something is said against the answer beside the thumb."""
    feedback = turn.feedback or {}
    return bool(feedback.get("categories") or feedback.get("correction"))


def about(turn: Turn) -> str:
    """The heading of the feedback form: what is saved already, and of which answer."""
    return str(_html.about(turn, FORM_CLASS, has_reasons(turn)))


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
    return str(_html.meanings(categories))


def version_choices(models: dict[str, Any]) -> list[tuple[str, str]]:
    """(what is shown, the model's name) for each name of ``GET /v1/models``, in its order."""
    return [
        (name if version == name else f"{name} (now {version})", name)
        for name, version in ((card["id"], card["version"]) for card in models["data"])
    ]
