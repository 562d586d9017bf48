"""What the command line prints, without characters that do something to a terminal."""

from __future__ import annotations

import sys

import click

from pawl.text import shown


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
