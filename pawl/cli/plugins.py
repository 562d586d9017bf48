"""pawl plugins: the parts that other packages bring, and which of them the settings name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from pawl.cli.connect import settings_of
from pawl.cli.output import echo, one_line
from pawl.errors import PawlError
from pawl.plugins import KINDS, installed, load, named, package_of
from pawl.settings import Settings


@click.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def plugins_command(ctx: click.Context, as_json: bool) -> None:
    """Parts of Pawl that other packages bring, and which of them the settings name.

    What is named is loaded and checked, as when a server or a night begins; exit code 1 where that
    fails. What is not named is listed by its package's metadata alone: none of its code runs.
    """
    rows = list(_rows(settings_of(ctx)))
    if as_json:
        echo(json.dumps(rows, indent=2))
    elif not rows:
        echo("No installed package brings a plugin (docs/plugins.md says how one does).")
    else:
        for row in rows:
            use = f"used ({row['setting']})" if row["used"] else f"not used ({row['setting']})"
            echo(one_line(f"{row['kind']:<9} {row['name']:<24} {row['package'] or '-':<28} {use}"))
            if row["problem"]:
                echo(f"  {one_line(row['problem'])}")
    if any(row["problem"] for row in rows):
        ctx.exit(1)


def _rows(settings: Settings) -> Iterator[dict[str, Any]]:
    """Each plugin that is installed or named."""
    for kind, about in KINDS.items():
        entries = {entry.name: package_of(entry) for entry in installed(kind)}
        used: tuple[str, ...] = ()
        problem_of_all = ""
        try:
            used = named(kind, settings)
        except PawlError as err:  # the suite's name is that of a folder too
            problem_of_all = str(err)
        for name in sorted({*entries, *used}):
            problem = problem_of_all
            if name in used:
                try:
                    load(kind, name)
                except PawlError as err:
                    problem = str(err)
            yield {
                "kind": kind, "name": name, "package": entries.get(name), "setting": about.setting,
                "used": name in used, "problem": problem or None,
            }  # fmt: skip
