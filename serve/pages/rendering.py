"""Turns a conversation into what Gradio's components show. What people wrote is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from serve.pages.conversation import Turn
from serve.pages.script import FORM_CLASS


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
            values[0] = {"up": "Like", "down": "Dislike"}.get(thumb or "")
            values[0] = "unset" if turn is unset else values[0]
        lit += values
    return lit


def _parts(turn: Turn) -> list[str]:
    """The answer as far as it came, and the small print under it."""
    if turn.state == "waiting":
        return []
    if turn.state == "failed" and not turn.answer.strip():
        return [f'<div class="pawl-never">{_error(turn)}</div>']
    return [part for part in (turn.answer, _under(turn)) if part.strip()]


def _under(turn: Turn) -> str:
    """The small print under an answer: who said it, how it ended, what was said about it."""
    parts = [_error(turn)] if turn.state == "failed" else []
    facts = [turn.version] if turn.version else []
    if turn.state == "stopped":
        facts.append("stopped")
    if facts and turn.state != "streaming":
        parts.append(f'<div class="pawl-facts">{escape(" · ".join(facts))}</div>')
    if turn.feedback is not None:
        parts.append(_saved(turn.feedback))
    elif turn.taken_back:
        parts.append('<div class="pawl-saved">Your feedback was taken back.</div>')
    return f'<div class="pawl-under">{"".join(parts)}</div>' if parts else ""


def _error(turn: Turn) -> str:
    return f'<div class="pawl-error" role="alert">{_flat(turn.error)}</div>'


def _saved(feedback: dict[str, Any]) -> str:
    verdict = {"up": "You marked this good", "down": "You marked this bad"}.get(
        feedback["thumb"] or "", "Your feedback is saved"
    )
    names = ", ".join(category_name(key) for key in feedback["categories"])
    lines = [f"{verdict}."]
    if names:
        lines[0] += f" What is wrong with it: <b>{escape(names)}</b>."
    if feedback["comment"]:
        lines.append(f"Comment: {_flat(feedback['comment'])}")
    if feedback["correction"]:
        lines.append(f"It should have said: {_flat(feedback['correction'])}")
    if feedback["thumb"]:
        lines.append("<i>Press the lit thumb to take it back.</i>")
    return f'<div class="pawl-saved">{"<br>".join(lines)}</div>'


def category_name(key: str) -> str:
    """``off_topic`` as people read it."""
    return key.replace("_", " ")


def _flat(text: str) -> str:
    """Escaped, on one HTML line: an empty line would end the block and begin Markdown."""
    return escape(text).replace("\r", "").replace("\n", "<br>")


def about(turn: Turn) -> str:
    """The heading of the feedback form: what is saved already, and of which answer."""
    answer = " ".join(turn.answer.split())
    short = answer if len(answer) <= 120 else answer[:119] + "…"
    if turn.marked_bad:
        saved = "Saved as bad; say why, if you like"
    elif has_reasons(turn):
        saved = "Saved as good, though these still stand: nothing is learned until they are emptied"
    else:
        saved = "Saved as good"
    named = escape(FORM_CLASS + str(turn.completion_id))
    return f'<div class="pawl-quote {named}"><b>{saved}:</b> <q>{escape(short)}</q></div>'


def has_reasons(turn: Turn) -> bool:
    """Whether something is said against the answer beside the thumb."""
    feedback = turn.feedback or {}
    return bool(feedback.get("categories") or feedback.get("correction"))


def banner(engine: dict[str, Any]) -> str:
    """What stands above the chat while the engine can't answer; empty when it can.

    Args:
        engine: of ``GET /health``: state, detail, progress_fraction (0 to 1 or None).
    """
    state = engine["state"]
    if state == "ready":
        return ""
    words = {
        "starting": "The model is loading.",
        "restarting": "The engine stopped and is being started again.",
        "failed": "The engine could not be started.",
        "off": "No engine runs behind this page.",
        "unreachable": "The server does not answer.",
    }.get(state, f"The engine is {state}.")
    fraction, bar = engine.get("progress_fraction"), ""
    if fraction is not None and state in ("starting", "restarting"):
        bar = f'<progress max="1" value="{float(fraction):.3f}">{float(fraction):.0%}</progress>'
    detail = f'<span class="pawl-detail">{_flat(str(engine.get("detail") or ""))}</span>'
    return (
        f'<div class="pawl-notice pawl-{escape(state)}" role="status">'
        f"<strong>{escape(words)}</strong> {detail}{bar}</div>"
    )


def meanings(categories: list[dict[str, Any]]) -> str:
    """What each category means, folded away until asked for."""
    rows = "".join(
        f"<dt>{escape(category_name(category['key']))}</dt>"
        f"<dd>{escape(category['definition'])} <i>{escape(category['example'])}</i></dd>"
        for category in categories
    )
    return f"<details><summary>What do these mean?</summary><dl>{rows}</dl></details>"


def version_choices(models: dict[str, Any]) -> list[tuple[str, str]]:
    """(what is shown, the model's name) for each name of ``GET /v1/models``, in its order."""
    return [
        (name if version == name else f"{name} (now {version})", name)
        for name, version in ((card["id"], card["version"]) for card in models["data"])
    ]
