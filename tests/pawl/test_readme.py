"""What the pages name exists: settings, routes, scripts (commands: ``tests/docs``); the tree in
docs/tree.md is that of the files.

``python tests/pawl/test_readme.py`` writes the tree.
"""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from importlib.util import find_spec
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.docs.commands import FENCE, PAGES

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
    return f"# The tree\n\n{about}\n\n```text\n{tree()}\n```\n"


def test_a_file_over_400_lines_says_why() -> None:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=REPOSITORY, capture_output=True,
                            text=True, check=True).stdout.split()  # fmt: skip
    silent = [
        name for name in listed
        if (text := (REPOSITORY / name).read_text("utf-8")).count("\n") > 400
        and "400 lines" not in (ast.get_docstring(ast.parse(text)) or "")
    ]  # fmt: skip
    assert not silent, f"over 400 lines, and their docstrings do not say why: {silent}"


def test_tree_is_true() -> None:
    assert page() == TREE.read_text(), (
        "docs/tree.md is not that of the files: run python tests/pawl/test_readme.py"
    )


def test_every_module_says_what_it_is() -> None:
    bare = [line for line in tree().splitlines() if len(line.split()) < 2]
    assert not bare


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
