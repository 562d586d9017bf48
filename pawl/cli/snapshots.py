"""pawl snapshot: what a snapshot holds, and what two of them differ in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pawl.cli.connect import settings_of
from pawl.cli.output import echo, one_line
from pawl.errors import PawlError
from pawl.files import write_atomic


@click.group("snapshot")
def snapshot_command() -> None:
    """What a snapshot holds, and what two of them differ in."""


@snapshot_command.command("card")
@click.argument("snapshot")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def card_command(ctx: click.Context, snapshot: str, html: Path | None, as_json: bool) -> None:
    """The data card of a snapshot: its rows, raters, categories, lengths, and what was left out.

    SNAPSHOT is an id (as 'pawl show RUN' says) or a folder.
    """
    from feedback.card import build_card, render_card

    card = build_card(_folder(ctx, snapshot), settings_of(ctx).curation.detectors)
    if html is not None:
        try:
            write_atomic(html, render_card(card))
        except OSError as err:
            raise PawlError(
                f"{html} can't be written", err.strerror or str(err), "Name another path"
            ) from None
    if as_json:
        echo(json.dumps(card, indent=2))
        return
    _show(card)


@snapshot_command.command("diff")
@click.argument("before")
@click.argument("after")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the rows' ids.")
@click.pass_context
def diff_command(ctx: click.Context, before: str, after: str, as_json: bool) -> None:
    """Which rows a snapshot has that an earlier one has not, and the reverse, and from whom."""
    from feedback.card import diff_snapshots

    difference = diff_snapshots(_folder(ctx, before), _folder(ctx, after))
    if as_json:
        echo(json.dumps(difference, indent=2))
        return
    _show({name: value for name, value in difference.items() if name != "rows"})


def _folder(ctx: click.Context, snapshot: str) -> Path:
    """The folder of a snapshot's id, or the folder that is named."""
    folders = (settings_of(ctx).snapshots_dir / Path(snapshot).name, Path(snapshot))
    for folder in folders:
        if (folder / "manifest.json").is_file():
            return folder
    raise PawlError(
        f"snapshot {one_line(snapshot)} is not there",
        f"{folders[0]} is no finished snapshot",
        f"Look into {folders[0].parent}",
        code="file_not_found",
    )


def _show(values: dict[str, Any], indent: str = "") -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            if value:
                echo(f"{indent}{one_line(name)}:")
                _show(value, f"{indent}  ")
        else:
            text = f"{value:,}" if isinstance(value, int) else f"{value}"
            echo(f"{indent}{one_line(name)}: {one_line(text)}")
