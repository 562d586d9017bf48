"""``pawl import`` and ``pawl export``: rows of other projects' formats, in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pawl.cli.connect import connect, settings_of


def _format(default: str, about: str) -> Any:
    """The option of both commands."""
    return click.option("--format", "format_", default=default, show_default=True, help=about)


@click.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@_format("auto", "auto, sft, preference, unpaired, sharegpt-dpo, sharegpt-kto, oasst.")
@click.pass_context
def import_command(ctx: click.Context, path: Path, format_: str) -> None:
    """Read rows of other formats into the store. Reading a file twice adds nothing."""
    client = connect(settings_of(ctx))
    _say(client.post("/admin/import", {"path": str(path.absolute()), "format": format_}))


@click.command("export")
@click.argument("path", type=click.Path(path_type=Path))
@_format(
    "preference",
    "sft, preference, unpaired (TRL's conversational formats), sharegpt-dpo, sharegpt-kto, "
    "oasst. A path that ends in .json gets one array, any other JSON lines.",
)
@click.pass_context
def export_command(ctx: click.Context, path: Path, format_: str) -> None:
    """Write curated rows for other programs. What is kept for testing stays here."""
    client = connect(settings_of(ctx), only_reads=True)
    _say(client.post("/admin/export", {"path": str(path.absolute()), "format": format_}))


def _say(counts: dict[str, Any]) -> None:
    for name, value in counts.items():
        if isinstance(value, dict):
            for reason, n in value.items():
                click.echo(f"{name}: {reason}: {n}")
        elif isinstance(value, list):
            for line in value:
                click.echo(f"{name}: {line}")
        else:
            click.echo(f"{name}: {value}")
