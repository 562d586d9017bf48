"""pawl train, pawl search: the trainer alone, and a search for its settings, without a gate."""

from __future__ import annotations

import json
from typing import Any

import click

from pawl.cli.connect import connect, settings_beside_server
from pawl.cli.output import echo, one_line, say_progress
from pawl.client import Client
from pawl.jobs import Event
from pawl.logs import log_in_state_dir
from pawl.settings import Settings, TrainSettings


@click.command("train")
@click.option("--snapshot", help="A snapshot's id. Default: a new one, of the feedback so far.")
@click.option("--json", "as_json", is_flag=True, help="Print the adapter's manifest as JSON.")
@click.pass_context
def train_command(ctx: click.Context, snapshot: str | None, as_json: bool) -> None:
    """Train an adapter as train.* says, and leave it: nothing is scored, nothing is promoted.

    The trainer for those who want it without the night. Refused while a night runs.
    """
    settings = settings_beside_server(ctx, say=say_progress)
    log_in_state_dir(settings, "nightly.log")
    _train(connect(settings), settings, snapshot, as_json)


@click.command("search")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=60.0,
              show_default=True, help="Time of this call.")  # fmt: skip
@click.option("--folds", "n_folds", type=click.IntRange(2, 20), default=3, show_default=True,
              help="Parts that the training rows are dealt into.")  # fmt: skip
@click.option("--sampler", type=click.Choice(["tpe", "random", "grid"]), default="tpe",
              show_default=True, help="How recipes are proposed.")  # fmt: skip
@click.option("--over", metavar="NAME,NAME", default="",
              help="Settings of train that are searched. Default: all but "
              "label_smoothing, neftune_alpha and last_layers.")  # fmt: skip
@click.option("--trials", "n_trials", type=click.IntRange(min=1),
              help="Most recipes; 1 cross-validates the settings as they are.")  # fmt: skip
@click.option("--at-once", "n_at_once", type=click.IntRange(min=1), default=1, show_default=True,
              help="Recipes tried at once, on the nodes of train.ray_address.")  # fmt: skip
@click.option("--snapshot", help="A snapshot's id. Default: a new one, of the feedback so far.")
@click.option("--train", "then_train", is_flag=True,
              help="Then train on all rows with the best recipe, as 'pawl train'.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def search_command(
    ctx: click.Context,
    /,
    over: str,
    snapshot: str | None,
    then_train: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """Search settings of train.* for these rows, by cross-validation, in a bounded time.

    The same command goes on with a search that was interrupted or whose time was over. Nothing is
    set by it: paste what it finds into pawl.toml. The holdout is never read. Refused while a night
    runs.
    """
    from refine.alone import search_alone
    from refine.search import in_words

    settings = settings_beside_server(ctx, say=say_progress)
    log_in_state_dir(settings, "nightly.log")
    client = connect(settings)
    names = tuple(name.strip() for name in over.split(",") if name.strip())
    folder, result = search_alone(
        client, settings, over=names, snapshot_id=snapshot, say=say_progress, on_event=_show_search,
        **how,
    )  # fmt: skip
    best = result["best"]
    if as_json:
        echo(json.dumps({"dir": str(folder), **result}, indent=2))
    else:
        states = [row["state"] for row in result["trials"]]
        n_whole, n_pruned = states.count("complete"), states.count("pruned")
        echo(f"{n_whole} recipes on all {result['n_folds']} folds of {result['n_rows']} rows, "
             f"{n_pruned} given up before")  # fmt: skip
        for name, row in (("as set", result["default"]), ("best", best)):
            if row and row["loss"] is not None:
                echo(f"{name + ':':<8}held-out loss {in_words(row)}, drift {row['drift']:.3f}, "
                     f"score {row['score']:.3f} (recipe {row['trial']})")  # fmt: skip
        if result["is_default"]:
            echo("None was better than the settings as they are.")
        elif result["difference"]:
            echo(f"best minus as set: {in_words(result['difference'])}")
        echo(f"\n{(folder / 'best.toml').read_text('utf-8')}")
        echo(f"plots:  {folder / 'search.html'}")
    if then_train:
        found = TrainSettings(**settings.train.model_dump() | best["params"])
        chosen = settings.model_copy(update={"train": found})
        _train(client, chosen, result["snapshot_id"], as_json=False, say_less=as_json)


def _train(
    client: Client, settings: Settings, snapshot: str | None, as_json: bool, say_less: bool = False
) -> None:
    from refine.alone import train_alone

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
        client, settings, snapshot_id=snapshot, say=say_progress, on_event=show
    )
    if as_json:
        echo(json.dumps(manifest.recipe, indent=2))
        return
    echo(f"adapter: {run_dir / 'adapter'}", err=say_less)
    echo(f"report:  {run_dir / 'report.html'}", err=say_less)
    echo(f"curves:  tensorboard --logdir {run_dir / 'train' / 'tensorboard'}", err=say_less)
    echo(f"score it with: pawl eval {settings.model} --adapter {run_dir / 'adapter'}", err=say_less)


def _show_search(event: Event) -> None:
    """A line for each fold that begins, and for each recipe that ends."""
    from refine.search import in_words

    if event.get("stage") == "fold":
        say_progress(f"  recipe {event['trial']}, fold {event['fold'] + 1} of {event['n_folds']}; "
                     f"{event['seconds_left'] / 60:.0f} minutes left")  # fmt: skip
    elif event.get("stage") == "trial":
        figures = "no loss" if event["loss"] is None else (
            f"held-out loss {in_words(event)}, drift {event['drift']:.3f}, "
            f"score {event['score']:.3f}"
        )  # fmt: skip
        ended = "" if event["state"] == "complete" else f", given up. {event['problem']}"
        say_progress(one_line(f"recipe {event['trial']}: {figures}{ended} "
                              f"(best: {event['best']}) {event['params']}"))  # fmt: skip
