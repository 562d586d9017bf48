"""``pawl demo``: people meet what the model invents, a night learns from them, they ask again.

The people are scripted. Everything else is what anybody runs: a server, its public HTTP API, and
``pawl nightly`` in a process of its own beside it.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pawl.client import Pawl
from pawl.errors import PawlError
from pawl.files import write_json
from pawl.jobs import child_environment, module_command
from pawl.server import api_key_of, running_server, serving
from pawl.settings import Settings
from refine.demo.organisation import load_organisation
from refine.demo.page import write_page
from refine.demo.people import Answer, People, Script, script_of
from refine.demo.results import compare_everyday, compare_topics

RESULT = "demo.json"
PAGE = "demo.html"
# A store's own salt is a secret drawn at random; the demonstration must repeat by its seed.
SPLIT = ("--set", "split_salt=pawl")
Say = Callable[[str], None]


def run_demo(
    settings: Settings, *, seed: int = 0, arguments: Sequence[str] = (), say: Say = print
) -> dict[str, Any]:
    """Run the whole demonstration in ``settings.state_dir``, which it begins anew.

    Args:
        seed: who asks what, and who is careless.
        arguments: options of the ``pawl`` group (``("--set", "train.seed=2")``) for the
            server, whose settings the night takes.
        say: takes one line of progress at a time.

    Returns:
        What ``demo.json`` holds too: the keys of ``refine/demo/page.html``.

    Raises:
        PawlError: a server runs in the folder, the folder is not a demonstration's, or a step
            failed.
    """
    old = begin_anew(settings)
    if old is not None:
        say(f"The demonstration before this one was moved to {old}")
    organisation = load_organisation()
    script = script_of(organisation)
    steps: dict[str, float] = {}
    with ExitStack() as stack:
        with step(steps, "the server's start"):
            server = stack.enter_context(serving(settings, (*SPLIT, *arguments), say=say))
        pawl = Pawl(server.url, api_key_of(settings))
        people = People(pawl, seed=seed)
        before = pawl.status()
        n_unused = len(script.facts) + len(script.behaviours) + len(script.everyday)
        say(
            f"{organisation.name} is {organisation.about}. It does not exist, so the model can "
            "only invent what it is asked about it.\n"
            f"Before the night: {n_unused} questions, asked again at the end ..."
        )
        with step(steps, "questions before the night"):
            asked_before = ask_unused(people, script, "before")
        say(f"The day: {len(script.day) + len(script.liked)} questions, with feedback ...")
        with step(steps, "the day"):
            feedback = spend_day(people, script)
        say(", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in feedback.items()))
        say("The night: 'pawl nightly' beside the running server ...")
        with step(steps, "the night"):
            run_night(settings)
        say("The next day: what was asked before the night, again ...")
        with step(steps, "questions after the night"):
            asked_after = ask_unused(people, script, "after")
        after = pawl.status()
        night = night_of(pawl, settings)
    result = {
        "organisation": {"name": organisation.name, "about": organisation.about},
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "base": after.base.name,
        "state_dir": str(settings.state_dir),
        "feedback": dict(feedback),
        "facts": compare_topics(asked_before["facts"], asked_after["facts"]),
        "behaviours": compare_topics(asked_before["behaviours"], asked_after["behaviours"]),
        "behaviour_titles": {one.id: one.title for one in organisation.behaviours},
        "everyday": compare_everyday(asked_before["everyday"], asked_after["everyday"]),
        "champion_before": before.champion,
        "champion_after": after.champion,
        "engine_restarted": before.engine.pid != after.engine.pid,
        "night": night,
        "steps": {name: round(seconds, 1) for name, seconds in steps.items()},
    }
    write_json(settings.state_dir / RESULT, result)
    write_page(settings.state_dir / PAGE, result)
    return result


def begin_anew(settings: Settings) -> Path | None:
    """Mark the state folder as a demonstration's; an earlier one is moved aside.

    Returns:
        Where the earlier one lies now.
    """
    folder = settings.state_dir
    if running_server(settings) is not None:
        raise PawlError(
            f"a server is running on {folder}",
            "the demonstration begins with an empty store and starts a server of its own",
            "Stop that server, or name another folder with --state-dir",
        )
    old = None
    if folder.exists() and any(folder.iterdir()):
        marker = folder / RESULT
        if not marker.exists():
            raise PawlError(
                f"{folder} holds something else than a demonstration",
                "the demonstration begins with an empty store",
                "Name another folder with --state-dir",
            )
        began = datetime.fromtimestamp(marker.stat().st_mtime, UTC)
        old = folder.with_name(f"{folder.name}-{began:%Y%m%d-%H%M%S}")
        folder.rename(old)
    write_json(folder / RESULT, {"unfinished": True})
    return old


@contextmanager
def step(steps: dict[str, float], name: str) -> Iterator[None]:
    """Note the seconds that the block takes."""
    started = time.monotonic()
    yield
    steps[name] = time.monotonic() - started


def ask_unused(people: People, script: Script, label: str) -> dict[str, list[Answer]]:
    """Ask what no feedback is about: ``{"facts", "behaviours", "everyday"}``."""
    return {
        name: people.ask_all(getattr(script, name), f"{label}-{name}")
        for name in ("facts", "behaviours", "everyday")
    }


def spend_day(people: People, script: Script) -> Counter[str]:
    """Ask what is asked in the day, and say what is wrong; the counts of what was said."""
    return people.give_feedback(people.ask_all([*script.day, *script.liked], "day"))


def run_night(settings: Settings) -> None:
    """``pawl nightly`` in its own process, its progress passed through; its settings are the
    server's."""
    command = [*module_command("pawl.cli"), "nightly", "--state-dir", str(settings.state_dir)]
    if subprocess.run(command, check=False, env=child_environment()).returncode != 0:
        raise PawlError(
            "the night failed", "its messages are above", "Look in the demonstration's logs folder"
        )


def night_of(pawl: Pawl, settings: Settings) -> dict[str, Any]:
    """How the newest night ended: ``{"run_id", "outcome", "reason", "seconds", "report",
    "verdict"}``; ``verdict`` is None where the night did not come so far."""
    run = pawl.run(pawl.runs()[0].run_id)
    return {
        "run_id": run.run_id,
        "outcome": run.detail.get("outcome", run.status),
        "reason": run.detail.get("reason", ""),
        "seconds": {name: step["seconds"] for name, step in run.detail.get("steps", {}).items()},
        "report": str(settings.runs_dir / run.run_id / "report.html"),
        "verdict": run.verdict,
    }
