"""``pawl salvage``: keep what can be read of a store that is refused as damaged."""

from __future__ import annotations

import click

from pawl.cli.connect import settings_of
from pawl.cli.output import echo


@click.command("salvage")
@click.pass_context
def salvage_command(ctx: click.Context) -> None:
    """Keep what can be read of a store that is refused as damaged.

    The files are kept as they were in a folder beside it. A store that is whole is left alone.
    """
    from feedback.salvage import salvage

    path = settings_of(ctx).database_path
    result = salvage(path)
    if result.kept is None:
        echo(f"{path} is whole: nothing was changed.")
        return
    if result.wal_left_out:
        echo("Its .wal file belongs to another database or another time and was left out.")
    lost = "some rows" if result.n_lost is None else f"{result.n_lost:,} rows at most"
    echo(
        f"{path} opens again. Of what was acknowledged, {lost} are missing; the files as they "
        f"were are in {result.kept}."
    )
