"""The demonstration's result for people: one HTML page, and the same figures as lines of text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pawl.files import write_atomic

TEMPLATE = Path(__file__).with_name("page.html")
N_EXAMPLES = 3


def write_page(path: Path, result: dict[str, Any]) -> None:
    """Render ``page.html``: one file without scripts or outside resources.

    ``result``: what ``refine.demo.run.run_demo`` returns.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "points": points, "duration": duration}
    template = environment.from_string(TEMPLATE.read_text("utf-8"))
    write_atomic(path, template.render(result, promoted=is_promoted(result)))


def is_promoted(result: dict[str, Any]) -> bool:
    """Does the night's adapter answer now?"""
    return bool(result["champion_after"] != result["champion_before"])


def describe(result: dict[str, Any], page: Path) -> str:
    """The figures for a terminal.

    Args:
        page: where the HTML page lies.
    """
    facts, everyday = result["facts"], result["everyday"]
    low, high = facts["fixed_interval"]
    lines = [
        "",
        f"FACTS      {facts['n_fixed']} of {facts['n']} fixed (95 % interval {percent(low)} to "
        f"{percent(high)}); {facts['n_phrasings_right']} of {facts['n_phrasings']} unused "
        f"phrasings right, {facts['n_phrasings_right_before']} before",
    ]
    wrong = [name for name, one in facts["topics"].items() if not one["is_right"]]
    if wrong:
        lines.append(f"  still wrong: {', '.join(wrong)}")
    for name, one in result["behaviours"]["topics"].items():
        title = result["behaviour_titles"][name]
        lines.append(f"BEHAVIOUR  {title}: {one['n_before']} of {one['n']} well before, "
                     f"{one['n_after']} now")  # fmt: skip
    n_broken, n_newly_right = len(everyday["broken"]), len(everyday["newly_right"])
    lines.append(
        f"EVERYDAY   {everyday['n_right']} of {everyday['n']} right, {everyday['n_right_before']} "
        f"before: {n_broken} newly broken, {n_newly_right} newly right"
    )
    lines += [
        f"  broken: {one['question']} {one['before']!r} -> {one['after']!r}"
        for one in everyday["broken"][:N_EXAMPLES]
    ]
    verdict = result["night"]["verdict"]
    lines.append(f"GATE       {result['night']['outcome'].replace('_', ' ')}: "
                 f"{result['night']['reason']}")  # fmt: skip
    for one in verdict["benchmarks"] if verdict else ():
        lines.append(
            f"  {one['name']:<20} {percent(one['champion']):>7} -> "
            f"{percent(one['challenger']):>7}  {points(one['difference']):>5} "
            f"({points(one['lower'])} to {points(one['upper'])}), "
            f"margin {points(-one['margin'])}, {one['n']:,} items"
        )
    restarted = "restarted" if result["engine_restarted"] else "not restarted"
    lines += [
        f"ANSWERING  {result['champion_after']} (before: {result['champion_before']}); the engine "
        f"was {restarted}",
        "TIME       "
        + "; ".join(f"{name} {duration(seconds)}" for name, seconds in result["steps"].items()),
        f"Page: {page}",
        f"Chat with it: pawl --state-dir {result['state_dir']} up",
    ]
    if is_promoted(result):
        lines.append(f"Go back: pawl --state-dir {result['state_dir']} rollback")
    return "\n".join(lines)


def percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.1%}"


def points(share: float | None) -> str:
    """A difference of shares in points, with its sign."""
    return "unknown" if share is None else f"{100 * share:+.1f}"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
