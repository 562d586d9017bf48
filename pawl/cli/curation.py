"""pawl curate: the snapshot that a night would take, and that of a store without some raters."""

from __future__ import annotations

import click

from pawl.cli.connect import connect, settings_of
from pawl.cli.output import echo


@click.command("curate")
@click.option(
    "--without", multiple=True, metavar="RATER",
    help="As if this rater had never said anything. May be given several times.",
)  # fmt: skip
@click.pass_context
def curate_command(ctx: click.Context, without: tuple[str, ...]) -> None:
    """Freeze the rows that a night would learn from, and say what was left out, and why.

    With --without the snapshot is another store's: no night learns from it. Its name says whether
    the rater had any influence: it is the same where they had none.
    """
    manifest = connect(settings_of(ctx)).post("/admin/snapshots", {"without": list(without)})
    echo(f"{manifest['snapshot_id']} {manifest['dir']}")
    for split, kinds in manifest["counts"].items():
        rows = ", ".join(f"{n:,} {kind}" for kind, n in kinds.items())
        echo(f"{split}: {rows or 'no rows'}")
    for reason, n in manifest["rejections"].items():
        echo(f"left out: {n:,} {reason}")
