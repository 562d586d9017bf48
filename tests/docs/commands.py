"""The commands that the pages show: typed ones in blocks, whole ones in sentences."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click

from tests.conftest import REPOSITORY

PAST = ("CHANGELOG.md", "tree.md")  # tells of the past; is made of the code
PAGES = {
    path.name: path.read_text(encoding="utf-8")
    for path in sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")])
    if path.name not in PAST
} | {"suite": (REPOSITORY / "examples/suite/README.md").read_text(encoding="utf-8")}
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.M | re.S)
LANGUAGES = ("sh", "python", "toml", "json", "text")
# Before a command: a cron job's times, a container, another user, a folder.
BEFORE = r"(?:[\d*]\S*(?: +\S+){4} +|docker compose .* exec pawl |sudo -u pawl )?(?:\S*/)?"
PROGRAM = re.compile(
    r"(?:\S*/)?(?:pawl|make|python3?|pip|curl|docker|kubectl|kustomize|systemctl|systemd-analyze|"
    r"git|ray|sudo|nvidia-smi|vllm|tensorboard) \S|requirements/\w+\.sh"
)


def typed(text: str) -> Iterator[str]:
    """The commands of a page's blocks, without comments; a block of Python is one command."""
    for language, body in FENCE.findall(text):
        if language == "python":
            yield body
        if language != "sh":
            continue
        left = ""
        for line in body.replace("\\\n", " ").splitlines():
            left = f"{left}\n{line}" if left else re.sub(r"(^|\s+)# .*$", "", line).strip()
            try:
                shlex.split(left)
            except ValueError:  # a quotation goes on in the next line
                continue
            whole = "'" in left or '"' in left
            yield from [left] if whole else filter(None, re.split(r" *; +| +&& +", left))
            left = ""
        assert not left, f"a quotation has no end: {left}"


def mentioned(text: str) -> Iterator[str]:
    """What stands as code in the sentences of a page."""
    for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", FENCE.sub("", text)):
        yield re.sub(r"(\w+)(\|\w+)+", r"\1", " ".join(span.split()))  # the first of a|b|c


def words_of(command: str) -> list[str] | None:
    """What follows ``pawl`` in a command of ours, up to a pipe or a file that is written."""
    found = re.match(rf"{BEFORE}pawl (?=[\w-])(.+)", command.strip())
    return shlex.split(re.split(r"[|>]", found[1])[0]) if found else None


def parse(words: list[str]) -> tuple[str, frozenset[str]]:
    """Read a command line as ``pawl`` does, up to where the command would begin to work.

    Returns:
        The command's name, and which of its own options and arguments the line gives.

    Raises:
        click.ClickException: it is no such line.
    """
    from pawl.cli import cli, common_options

    context = cli.make_context("pawl", words)
    names = []
    while isinstance(context.command, click.Group):
        rest = [*context._protected_args, *context.args]
        name, command, rest = context.command.resolve_command(context, rest)
        assert command is not None
        names.append(str(name))
        context = command.make_context(name, rest, parent=context)
    common = {option.name for option in common_options()}
    given = {
        param.name for param in context.command.params
        if param.name and param.name not in common
        and context.get_parameter_source(param.name) is click.core.ParameterSource.COMMANDLINE
    }  # fmt: skip
    return " ".join(names), frozenset(given)


def fault(command: str, *, is_typed: bool) -> str | None:
    """Why a command line can't be typed so; None where it can, or is none of ours. The files that
    it names need not exist; what is only mentioned may lack arguments, and hold ROLE for one."""
    words = words_of(command)
    if words is None:
        return None
    try:
        parse(words)
    except click.exceptions.Exit:  # --help
        return None
    except click.ClickException as err:
        lacks = isinstance(err, click.MissingParameter | click.exceptions.NoArgsIsHelpError)
        lacks = lacks or "requires an argument" in err.message
        placed = isinstance(err, click.BadParameter) and re.search("'[A-Z]+' is not", err.message)
        if "does not exist" in err.message or (not is_typed and (lacks or placed)):
            return None
        return f"{command.strip()}: {err.format_message()}"
    return None


def kind_of(command: str) -> tuple[str, frozenset[str]] | None:
    """What :func:`parse` finds of a whole command of ours; None of what is none, or not whole."""
    words = words_of(command)
    try:
        return None if words is None else parse(words)
    except (click.ClickException, click.exceptions.Exit):
        return None


def tutorial_blocks() -> list[str]:
    """What the tutorial has typed before its demo, but for the start of the server."""
    before = PAGES["tutorial.md"].partition("## 4.")[0]
    blocks = [body for language, body in FENCE.findall(before) if language == "sh"]
    return [block for block in blocks if "make up" not in block]
