"""``pawl promote``, ``approve``, ``reject``, ``rollback``, ``history``: what moves the champion."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from pawl.cli.connect import connect, settings_of
from pawl.cli.output import echo, one_line


@click.command("promote")
@click.argument("run")
@click.option("--force", is_flag=True, help="Promote although the gate did not say so.")
@click.pass_context
def promote_command(ctx: click.Context, run: str, force: bool) -> None:
    """Make the adapter of RUN (a run id or a run folder) the champion, if its gate said so."""
    settings = settings_of(ctx)
    if not (settings.runs_dir / run).is_dir() and Path(run).is_dir():
        run = str(Path(run).absolute())  # the server runs in a folder of its own
    promotion = connect(settings).post("/admin/promotions", {"run_dir": run, "force": force})
    _end(ctx, promotion)


@click.command("approve")
@click.argument("run")
@click.pass_context
def approve_command(ctx: click.Context, run: str) -> None:
    """Let the challenger of RUN in, which passed the gate and waits for a person."""
    _end(ctx, connect(settings_of(ctx)).post(f"/admin/runs/{path_of(run)}/approve", {}))


@click.command("reject")
@click.argument("run")
@click.pass_context
def reject_command(ctx: click.Context, run: str) -> None:
    """Refuse the challenger of RUN, which waits for a person."""
    _say(connect(settings_of(ctx)).post(f"/admin/runs/{path_of(run)}/reject", {}))


@click.command("rollback")
@click.option("--to", help="A version (pawl@2, base) instead of the one before.")
@click.pass_context
def rollback_command(ctx: click.Context, to: str | None) -> None:
    """Go back to the version that answered before."""
    promotion = connect(settings_of(ctx)).post(
        "/admin/rollback", {"to": to} if to is not None else {}
    )
    _end(ctx, promotion)


@click.command("history")
@click.pass_context
def history_command(ctx: click.Context) -> None:
    """Every promotion and rollback, oldest first."""
    promotions = connect(settings_of(ctx), only_reads=True).get("/admin/history")
    if not promotions:
        echo("Nothing was promoted yet: the base answers.")
    for row in promotions:
        line = (
            f"{row['created_at'][:19]}Z  {row['kind']:<9} {row['previous_version']} -> "
            f"{row['version']}  {row['outcome']}  {row['reason']}"
        )
        echo(one_line(line).rstrip())


def path_of(run: str) -> str:
    """A run's id, or that of its folder, as a part of a route's path."""
    return quote(Path(run).name, safe="").replace(".", "%2E") or "%2E"


def _end(ctx: click.Context, promotion: dict[str, Any]) -> None:
    """Say what became of a move, and end: 0 where the version answers, or will."""
    _say(promotion)
    ctx.exit(0 if promotion["outcome"] in ("live", "pending", "waiting") else 1)


def _say(promotion: dict[str, Any]) -> None:
    version, before = promotion["version"], promotion["previous_version"]
    line = {
        "live": f"{version} answers now (before: {before}).",
        "waiting": f"{version} waits for approval, {before} still answers.",
        "pending": f"{version} is next: no engine is running, it is probed when one starts.",
        "indistinguishable": f"{version} answers like {before}: nothing was changed.",
        "refused": f"{version} was refused, {before} still answers.",
    }[promotion["outcome"]]
    echo(one_line(f"{line} {promotion['reason']}").strip())
