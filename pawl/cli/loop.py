"""``pawl nightly``, ``pawl schedule``, ``pawl eval``, ``pawl runs``, ``pawl show``, and
``pawl why``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click

from pawl.cli.connect import client_of, connect, settings_beside_server, settings_of
from pawl.cli.output import echo, one_line, say_progress
from pawl.cli.promotions import path_of
from pawl.errors import PawlError
from pawl.files import read_json
from pawl.jobs import end_with_parent
from pawl.logs import log_in_state_dir
from pawl.models import resolve_model
from pawl.runs import apart_from_verdict, move_line, seconds_since, standing
from pawl.schedule import SCHEDULE_LOG, Event, Schedule, ScheduleLog
from pawl.server import running_server

DEFAULT_MINUTES = 5.0  # of 'pawl why' where gate.suspects_minutes is 0


@click.command("nightly")
@click.option("--fresh", is_flag=True, help="Give up a night that was interrupted; begin anew.")
@click.option("--dry-run", is_flag=True, help="Say what a night would do and could show.")
@click.option(
    "--scheduled",
    is_flag=True,
    help="Keep schedule.quiet_hours, min_new_rows and max_hours; leave a line in schedule.jsonl.",
)
@click.option("--challenger", metavar="VERSION",
              help="Test this version of a system prompt; train nothing.")  # fmt: skip
@click.option("--due", hidden=True, type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]))
@click.pass_context
def nightly_command(
    ctx: click.Context,
    fresh: bool,
    dry_run: bool,
    scheduled: bool,
    due: datetime | None,
    challenger: str | None,
) -> None:
    """Retrain on the feedback, score, and promote or say why not.

    Beside a running server, its model and settings are taken. A night that was killed is carried on
    by the next call. Exit code 0 when the night came to an end, whatever its outcome.
    """
    from refine.night.nightly import run_night

    if challenger is not None and (dry_run or scheduled or due is not None):
        raise PawlError(
            "--challenger came with --dry-run or --scheduled",
            "a version is tested when somebody asks for it, by what a dry run counts",
            "Leave one of them out",
        )
    settings = settings_beside_server(ctx, say=say_progress)
    log_in_state_dir(settings, "nightly.log")
    if dry_run:
        from refine.night.dry_run import dry_run as describe_night

        lines = describe_night(connect(settings), settings, say=say_progress)
        echo("\n".join(one_line(line) for line in lines))
        return
    if scheduled or due is not None:
        from refine.night.scheduled import run_scheduled

        if due is not None:  # the server began it, and it ends with the server
            end_with_parent(os.getppid())
        echo(run_scheduled(connect(settings), settings, due=due, say=say_progress))
        return
    result = run_night(
        connect(settings), settings, fresh=fresh, challenger=challenger, say=say_progress
    )
    echo(result.describe())


@click.command("schedule")
@click.option(
    "--last",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="How many lines of the past.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def schedule_command(ctx: click.Context, last: int, as_json: bool) -> None:
    """When nights are due, and what became of those that were."""
    settings = settings_beside_server(ctx, say=say_progress)
    schedule = Schedule(settings.schedule)
    events = ScheduleLog(settings.state_dir / SCHEDULE_LOG).read()
    events = events[max(0, len(events) - last) :]
    coming = [schedule.local(due) for due in islice(schedule.due_after(datetime.now(UTC)), 3)]
    if as_json:
        past = [asdict(event) for event in events]
        echo(json.dumps({"schedule": settings.schedule.model_dump(mode="json"), "past": past,
                         "next": coming}, indent=2))  # fmt: skip
        return
    lines = [_event_line(event) for event in events] + [f"{due}  is due" for due in coming]
    if not coming:
        lines.append("schedule.cron is not set: nights begin by 'pawl nightly' alone")
    echo("\n".join(lines))


def _event_line(event: Event) -> str:
    run = f"  {event.run_id}" if event.run_id else ""
    return one_line(f"{event.due or event.at[:19] + 'Z'}  {event.outcome:<8}{run}  {event.reason}")


@click.command("eval")
@click.argument("model", default="smollm2-135m")
@click.option("--adapter", type=click.Path(path_type=Path), help="Adapter folder to score.")
@click.option(
    "--suite",
    help="official, everyday, a package's, or a suite's folder. Default: as gate.suite says.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), help="Random items per benchmark; all when left out."
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Benchmark data laid out as the hub, instead of the hub.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Which random items.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def eval_command(
    ctx: click.Context,
    model: str,
    adapter: Path | None,
    suite: str | None,
    limit: int | None,
    data_dir: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Score a model (smollm2-135m, a folder, a GGUF file or a hub id) on a suite with lm-eval."""
    from evals.evaluate import describe, evaluate

    settings = settings_of(ctx, {"model": model})
    result = evaluate(
        settings, adapter_dir=adapter, suite=suite, n_items=limit, data_dir=data_dir, seed=seed,
        say=say_progress,
    )  # fmt: skip
    echo(json.dumps(result, indent=2) if as_json else describe(result))


@click.command("runs")
@click.pass_context
def runs_command(ctx: click.Context) -> None:
    """The nightly runs, newest first."""
    runs = client_of(ctx, only_reads=True).get("/admin/runs")
    lines = [_line(run) for run in runs]
    echo("\n".join(lines) or "No night has run yet. Start one with: pawl nightly")


@click.command("show")
@click.argument("run")
@click.pass_context
def show_command(ctx: click.Context, run: str) -> None:
    """One run: who moved its version when, its steps, its verdict, and where its report lies."""
    from refine.night.nightly import describe_step

    settings = settings_of(ctx)
    client = connect(settings, only_reads=True)
    found = client.get(f"/admin/runs/{path_of(run)}")
    run_dir = settings.runs_dir / found["run_id"]
    has_verdict = (run_dir / "verdict.json").exists()  # which is told below, once
    echo(_line(apart_from_verdict(found) if has_verdict else found))
    for move in found["moves"]:
        echo(f"  {one_line(move_line(move))}")
    for step, figures in ((found.get("detail") or {}).get("steps") or {}).items():
        echo(f"  {one_line(describe_step(step, figures))}")
    if progress := found.get("progress"):
        took = {"seconds": seconds_since(progress["began_at"])}
        echo(f"  {one_line(describe_step(progress['step'], took))}  so far")
    if has_verdict:
        verdict = read_json(run_dir / "verdict.json")
        echo(f"verdict: {one_line(verdict['outcome'].replace('_', ' '))}")
        for reason in verdict["reasons"]:
            echo(f"  {one_line(reason)}")
        for bench in verdict["benchmarks"]:
            echo(
                f"  {bench['name']:<22} {bench['champion']:.3f} -> {bench['challenger']:.3f}  "
                f"{bench['difference']:+.3f} [{bench['lower']:+.3f}, {bench['upper']:+.3f}]"
                + ("  at chance" if bench.get("challenger_at_chance") else "")
            )
    if (run_dir / "report.html").exists():
        echo(f"report: {run_dir / 'report.html'}")


@click.command("why")
@click.argument("run")
@click.option("--again", is_flag=True, help="Compare anew, also where it was done before.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Time for it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def why_command(
    ctx: click.Context, run: str, again: bool, minutes: float | None, as_json: bool
) -> None:
    """Rank the rows that RUN was trained on by their influence on what it broke.

    The report gets the list, too. A night that was rejected has it already. Refused while a night
    runs.
    """
    from evals.report.report import write_report
    from feedback.erasing import while_reading
    from refine.influence import SUSPECTS, find_suspects

    settings = settings_beside_server(ctx, say=say_progress)
    run_dir = settings.runs_dir / Path(run).name
    if not (run_dir / "run.json").exists():
        raise PawlError(
            f"run {one_line(run)} is not there",
            f"{settings.runs_dir} has no such run",
            "'pawl runs' lists them",
            code="run_not_found",
        )
    path = run_dir / SUSPECTS
    if again or not path.exists() or "note" in read_json(path):
        with while_reading(settings):  # else who is forgotten meanwhile would come back
            find_suspects(
                run_dir,
                resolve_model(
                    settings.model, settings.model_revision, cache_dir=settings.state_dir,
                    tell=say_progress,
                ),
                minutes=minutes or settings.gate.suspects_minutes or DEFAULT_MINUTES,
                n_threads=settings.train.n_threads,
                beside_engine=running_server(settings) is not None,
            )  # fmt: skip
            write_report(run_dir)
    found = read_json(path)
    echo(json.dumps(found, indent=2) if as_json else "\n".join(_suspects(found)))
    if not as_json:
        echo(f"report: {run_dir / 'report.html'}")


def _suspects(found: dict[str, Any]) -> list[str]:
    if "note" in found:
        return [one_line(found["note"])]
    slices = ", ".join(f"{name} {n}" for name, n in found["slices"].items())
    lines = [
        f"{found['n_compared']:,} of {found['n_rows']:,} rows compared with {found['n_items']} "
        f"items that got worse than with the {found['than']} ({slices})"
    ]
    if n := found.get("n_not_learned"):
        lines.append(
            f"left out: {n:,} that the champion answers better and the base no better: no row "
            "broke them, this training has not learned them (too short, or their rows are gone)"
        )
    for row in found["rows"]:
        who = row["rater_id"] or "nobody named"
        lines.append(
            one_line(
                f"{row['rank']:>3} {row['score']:+.3f} {row['row_id']} {who}: "
                f"{row['prompt'][-70:]!r} -> {row['answer'][:70]!r}"
            )
        )
    return lines


def _line(run: dict[str, Any]) -> str:
    line = f"{run['run_id']}  {str(run.get('at', ''))[:19]}Z  {standing(run)}"
    promotion = run.get("promotion") or {}
    if promotion.get("outcome") in ("waiting", "canary"):
        line += f"  {promotion['version']}: {promotion['reason']}"
    return one_line(line).rstrip()
