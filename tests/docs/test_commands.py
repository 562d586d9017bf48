"""Every command of the pages is run by a test, or stands in a list with the reason why not.

``python -m tests.docs.test_commands`` counts them.
"""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.conftest import REPOSITORY
from tests.docs.commands import (
    FENCE,
    LANGUAGES,
    PAGES,
    PROGRAM,
    fault,
    kind_of,
    mentioned,
    tutorial_blocks,
    typed,
    words_of,
)
from tests.docs.not_typed import ELSEWHERE, NOT_RUN
from tests.docs.steps import ALONE, BESIDE_A_SERVER, BY_ROOT, UP

STEPS = {step.command for step in (*BESIDE_A_SERVER, *ALONE, *BY_ROOT, *UP)}
TUTORIAL = {one for block in tutorial_blocks() for one in typed(f"```sh\n{block}```")}
# (tests/serve/test_up.py types the tutorial.) What was typed for a figure is no instruction.
SHOWN = {name: text for name, text in PAGES.items() if name != "measurements.md"}


@cache
def shown() -> tuple[str, ...]:
    """Each command once: the typed ones, and those of the sentences that give a command other
    options than these."""
    found = dict.fromkeys(one for text in SHOWN.values() for one in typed(text))
    kinds = {kind for one in [*found, *STEPS] if (kind := kind_of(one))}
    kinds |= {(name, frozenset()) for name, _ in kinds}  # 'pawl forget' is a name there
    for text in SHOWN.values():
        for one in filter(PROGRAM.match, mentioned(text)):
            kind = kind_of(one)
            ours = words_of(one) is not None
            if one in STEPS or (kind not in kinds if kind else not ours):
                found.setdefault(one)
    return tuple(found)


def where(command: str) -> str:
    """Which of the lists a command stands in; nothing where it stands in none."""
    if command in STEPS | TUTORIAL:
        return "typed"
    for name, table in (("elsewhere", ELSEWHERE), ("not run", NOT_RUN)):
        if any(re.fullmatch(pattern, command) for pattern in table):
            return name
    return ""


def test_every_command_is_run_or_says_why_not() -> None:
    assert [one for one in shown() if not where(one)] == [], "add it to tests/docs/steps.py"


def test_the_lists_name_what_the_pages_show() -> None:
    commands = shown()
    assert sorted(STEPS - set(commands)) == []
    unused = [pattern for pattern in ELSEWHERE | NOT_RUN
              if not any(re.fullmatch(pattern, one) for one in commands)]  # fmt: skip
    assert unused == []


@pytest.mark.parametrize("place", sorted(set(ELSEWHERE.values())))
def test_what_runs_elsewhere_is_there(place: str) -> None:
    file, _, name = place.partition("::")
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    assert re.search(rf"^(?:def )?{name}[(:]", text, re.M)


def test_every_block_says_what_it_is() -> None:
    found = [(name, one) for name, text in PAGES.items() for one, _ in FENCE.findall(text)]
    assert [one for one in found if one[1] not in LANGUAGES] == []
    assert not any(re.match(r" {4}(?:pawl|make) ", line)
                   for text in PAGES.values() for line in text.splitlines())  # fmt: skip


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


@pytest.mark.parametrize("command", ["pawl runs --all", "pawl status --json", "npx pawl"])
def test_a_new_command_is_in_no_list(command: str) -> None:
    assert where(command) == ""


if __name__ == "__main__":
    places = [where(one) for one in shown()]
    print({name: places.count(name) for name in sorted(set(places))}, len(places))
