"""pawl train: the trainer alone, without a night's gate."""

from __future__ import annotations

import json

import click

from pawl.cli.connect import connect, settings_beside_server
from pawl.cli.output import echo, one_line, say_progress
from pawl.jobs import Event
from pawl.logs import configure_logging


@click.command("train")
@click.option("--snapshot", help="A snapshot's id. Default: a new one, of the feedback so far.")
@click.option("--json", "as_json", is_flag=True, help="Print the adapter's manifest as JSON.")
@click.pass_context
def train_command(ctx: click.Context, snapshot: str | None, as_json: bool) -> None:
    """Train an adapter as train.* says, and leave it: nothing is scored, nothing is promoted.

    The trainer for those who want it without the night. Refused while a night runs.
    """
    from refine.alone import train_alone

    settings = settings_beside_server(ctx, say=say_progress)
    configure_logging(settings.log, file=settings.logs_dir / "nightly.log")
    seen = -1

    def show(event: Event) -> None:
        nonlocal seen
        if "note" in event:
            say_progress(one_line(f"  {event['stage']} {event['note']}"))
        tenths = int(float(event.get("fraction", 0.0)) * 10)
        if "fraction" in event and tenths != seen:
            seen = tenths
            say_progress(one_line(f"  {event.get('stage', '')}: {tenths * 10} %"))

    run_dir, manifest = train_alone(
        connect(settings), settings, snapshot_id=snapshot, say=say_progress, on_event=show
    )
    if as_json:
        echo(json.dumps(manifest.recipe, indent=2))
        return
    echo(f"adapter: {run_dir / 'adapter'}")
    echo(f"report:  {run_dir / 'report.html'}")
    echo(f"curves:  tensorboard --logdir {run_dir / 'train' / 'tensorboard'}")
    echo(f"score it with: pawl eval {settings.model} --adapter {run_dir / 'adapter'}")
