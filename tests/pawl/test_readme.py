"""What the pages name exists: commands with their options, settings, routes, scripts; the tree in
docs/tree.md is that of the files.

``python tests/pawl/test_readme.py`` writes the tree.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent
README = REPOSITORY / "README.md"
TREE = REPOSITORY / "docs" / "tree.md"
ROOMS = {
    "pawl": "what everyone shares, and the command line",
    "feedback": "what people said about answers",
    "serve": "answers people",
    "evals": "is the challenger better?",
    "refine": "makes a challenger",
    "benchmarks": "speed and endurance, one command each",
    "examples": "a client, a suite of one's own, seven use cases",
}

DATA = {  # what decides and is no module
    "feedback": {
        "templates/card.html": "The data card of a snapshot",
    },
    "serve": {
        "api/templates/": "The page of /docs",
        "pages/assets/": "Templates, styles and scripts of the pages",
        "pages/texts/*.toml": "Texts of the pages, one file a language",
    },
    "evals": {
        "suites/*/suite.yaml": "Tasks, data, items and margins of a built-in suite",
        "report/templates/": "The report's HTML: tables of benchmarks, held-out prompts, examples",
    },
    "benchmarks": {
        "clients/checks/*": "A client's check, a script in Python or JavaScript each",
        "clients/pins/*": "The packages of the clients' environments",
    },
    "refine": {
        "replay_prompts.jsonl": "The prompts of replay, by task, in the ten most spoken languages",
        "demo/organisation.yaml": "The organisation of make demo: facts, behaviours, questions",
        "demo/page.html": "What the demo shows at its end",
    },
    "examples": {
        "*/use_case.yaml": "A use case: what is asked, how it is scored, settings of its training",
        "*/train.jsonl, test.jsonl": "Its rows",
        "suite/": "A suite of one's own",
        "plugins/": "A package with a plugin of each kind",
    },
}


def first_sentence(path: Path) -> str:
    """The first sentence of a module's docstring, without code marks and final stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.!?])\s|:\s{2,}", paragraph)[0]
    return sentence.replace("``", "").replace("`", "").rstrip(".")


def tree() -> str:
    """Every module of the rooms with one line each, in the order of the files."""
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    lines = []
    for room, what in ROOMS.items():
        lines.append(f"{room + '/':<34}{what}")
        for name in sorted(n for n in tracked if n.startswith(f"{room}/")):
            path = REPOSITORY / name
            if path.name == "__main__.py" or path.parent.name == "checks" or not path.exists():
                continue
            if path.name == "__init__.py" and len(path.read_text().splitlines()) < 10:
                continue
            lines.append(f"  {name.removeprefix(room + '/'):<31} {first_sentence(path)}".rstrip())
        lines += [f"  {name:<32}{what}" for name, what in DATA.get(room, {}).items()]
    lines.append(f"{'deploy/':<34}files for systemd, containers, Kubernetes, proxies, monitoring")
    lines.append(f"{'tests/':<34}mirrors the rooms")
    lines.append(f"{'docs/':<34}see the README, More")
    return "\n".join(lines)


def page() -> str:
    """The whole of docs/tree.md."""
    about = "Every module with the first sentence of its docstring."
    return f"# The tree\n\n{about}\n\n```\n{tree()}\n```\n"


def test_tree_is_true() -> None:
    assert page() == TREE.read_text(), (
        "docs/tree.md is not that of the files: run python tests/pawl/test_readme.py"
    )


def test_every_module_says_what_it_is() -> None:
    bare = [line for line in tree().splitlines() if len(line.split()) < 2]
    assert not bare


# All but what tells of the past.
PAGES = {
    path.name: path.read_text(encoding="utf-8")
    for path in (*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"))
    if path.name not in ("CHANGELOG.md", TREE.name)
} | {"suite": (REPOSITORY / "examples/suite/README.md").read_text(encoding="utf-8")}
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.M | re.S)
# Before a command: a cron job's times, a container, another user, a folder.
BEFORE = r"(?:[\d*]\S*(?: +\S+){4} +|docker compose .* exec pawl |sudo -u pawl )?(?:\S*/)?"


def typed(text: str) -> Iterator[str]:
    """The commands that a page shows to be typed, without comments."""
    shown = "\n".join(body for _, body in FENCE.findall(text))
    shown += "\n".join(re.findall(r"^    (\S.*)$", text, re.M))
    for line in shown.replace("\\\n", " ").splitlines():
        yield from re.split(r"; |&&|\||>", re.sub(r"(^|\s+)# .*$", "", line))


def mentioned(text: str) -> Iterator[str]:
    """What stands as code in the sentences of a page."""
    for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", FENCE.sub("", text)):
        yield re.sub(r"(\w+)(\|\w+)+", r"\1", " ".join(span.split()))  # the first of a|b|c


def parse(words: list[str]) -> None:
    """Read a command line as ``pawl`` does, up to where the command would begin to work.

    Raises:
        click.ClickException: what it is not.
    """
    from pawl.cli import cli

    context = cli.make_context("pawl", words)
    while isinstance(context.command, click.Group):
        rest = [*context._protected_args, *context.args]
        name, command, rest = context.command.resolve_command(context, rest)
        assert command is not None
        context = command.make_context(name, rest, parent=context)


def fault(command: str, *, is_typed: bool) -> str | None:
    """Why a command line can't be typed so; None where it can, or is none of ours. The files that
    it names need not exist; what is only mentioned may lack arguments, and hold ROLE for one."""
    found = re.match(rf"{BEFORE}pawl (?=[\w-])(.+)", command.strip())
    if not found:
        return None
    try:
        parse(shlex.split(found[1]))
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


def test_every_command_of_the_pages_can_be_typed_so() -> None:
    faults = [fault(one, is_typed=True) for text in PAGES.values() for one in typed(text)]
    faults += [fault(one, is_typed=False) for text in PAGES.values() for one in mentioned(text)]
    assert len(faults) > 1000
    assert [one for one in faults if one] == []


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("pawl rollback pawl@2", "unexpected extra argument"),
        ("/opt/pawl/.venv/bin/pawl nightly --often", "No such option"),
        ("docker compose -f deploy/compose.yaml exec pawl pawl key add prometheus", "No such com"),
        ("17 2 * * *  /opt/pawl/.venv/bin/pawl nightli", "No such command"),
        ("pawl keys add bot --role boss", "is not one of"),
        ("pawl show", "Missing argument"),
    ],
)
def test_a_command_that_is_none_is_found(command: str, why: str) -> None:
    assert why in str(fault(command, is_typed=True))


def test_settings_of_the_pages_exist() -> None:
    from pawl.settings import Settings, flat, load_settings

    keys = {key for key, _ in flat(Settings().model_dump())}
    groups = "|".join({key.partition(".")[0] for key in keys if "." in key})
    variables = {f"PAWL_{key.replace('.', '__').upper()}" for key in keys}
    unknown, n_found = [], 0
    for name, text in PAGES.items():
        found = re.findall(rf"`((?:{groups})\.(?!py|json|jsonl|log|lock)[a-z_]+)\b", text)
        found += re.findall(r"pawl[^`\n]* --set ([a-z][\w.]*)=", text)
        n_found += len(found)
        unknown += [f"{name}: {key}" for key in found if key not in keys]
        found = re.findall(r"\bPAWL_[A-Z_]+", text)
        unknown += [f"{name}: {key}" for key in found if key not in variables]
        for language, body in FENCE.findall(text):
            if language == "toml" and not body.startswith("[project"):
                load_settings(tomllib.loads(body), only_flags=True)
    assert n_found > 100
    assert unknown == []


def test_routes_of_the_pages_exist() -> None:
    from serve.api.roles import RULES

    ours = [re.sub(r"\{\w+\}", "[^/]+", route.split()[1]) for route in RULES]
    theirs = ("/v1/load_lora_adapter", "/v1/evaluations/feedbacks/all/export", "/v1/traces")
    unknown, n_found = [], 0
    for name, text in PAGES.items():
        for path in re.findall(r"(?<![\w.])(?:/v1|/admin)(?:/[\w{}@-]+)+", text):
            n_found += 1
            if path not in theirs and not any(re.fullmatch(one, path) for one in ours):
                unknown.append(f"{name}: {path}")
    assert n_found > 100
    assert unknown == []


def test_targets_and_scripts_of_the_pages_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    text = "\n".join(PAGES.values())
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.M)) <= targets
    ours = "pawl|feedback|serve|evals|refine|benchmarks|examples"
    modules = set(re.findall(rf"python -m ((?:{ours})(?:\.[a-z_]+)*)\b(?!\.)", text))
    assert len(modules) > 20
    assert [name for name in modules if find_spec(name) is None] == []
    scripts = set(re.findall(r"python ([\w/]+\.py)", text))
    assert [name for name in scripts if not (REPOSITORY / name).is_file()] == []


if __name__ == "__main__":
    TREE.write_text(page())
