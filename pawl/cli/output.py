"""What the command line prints, without characters that do something to a terminal."""

from __future__ import annotations

import sys
import unicodedata

import click

# Joiners of emoji and of Persian, and the soft hyphen, are formats by Unicode but harmless.
_HARMLESS = frozenset("\u200c\u200d\u00ad")


def shown(text: str, keep: str = "\n\t") -> str:
    """A text with its control characters, direction marks and odd line ends as escapes, but those
    in ``keep``: what others wrote (a run's state, a reason) may hold any."""
    if text.isprintable():
        return text
    return "".join(
        char if char in keep or char in _HARMLESS or not _acts(char)
        else char.encode("unicode_escape").decode()
        for char in text
    )  # fmt: skip


def _acts(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def one_line(value: object) -> str:
    """A value for a line of its own: it can't pretend to be several."""
    return shown(" ".join(str(value).splitlines()), keep="")


def echo(text: str = "", *, err: bool = False) -> None:
    """Print a text. What the terminal's encoding lacks is escaped, too."""
    click.echo(shown(text), err=err)


def say_progress(line: str) -> None:
    """Print a line about what goes on, where it doesn't mix with the result."""
    echo(line, err=True)


def escape_what_cannot_be_encoded() -> None:
    """Let standard output print any text, whatever the locale's encoding is."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a test's stand-in has none
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
