"""``pawl promote``, ``approve``, ``reject``, ``rollback``, ``history``, ``versions``: what moves
the champion, and what looks before one moves it: ``pawl drill``, ``pawl shadow``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from pawl.cli.connect import client_of, settings_of
from pawl.cli.output import echo, one_line
from pawl.errors import PawlError
from pawl.files import read_regular
from pawl.runs import move_line, moved, rehearsed

MOST_SHOWN = 300  # characters of a text
MOST_PROMPT_BYTES = 1_000_000


@click.command("promote")
@click.argument("run", required=False)
@click.option("--force", is_flag=True, help="Promote although the gate did not say so.")
@click.option("--system-prompt", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Make a version with this system prompt.")  # fmt: skip
@click.option("--temperature", type=float, help="Of that version, where a request has none.")
@click.option("--top-p", type=float, help="Of that version, where a request has none.")
@click.option("--max-tokens", type=int, help="Of its answers, where a request has no bound.")
@click.option("--on", metavar="VERSION", help="Whose weights it has: base (the default), pawl@3.")
@click.pass_context
def promote_command(
    ctx: click.Context, /, run: str | None, force: bool, system_prompt: Path | None, **asked: Any
) -> None:
    """Make the adapter of RUN (a run id or a run folder) the champion, if its gate said so.

    Without RUN: make a version of a system prompt and sampling, on the base or on a version's
    weights. It can be asked for by name and compared; 'pawl promote pawl@4 --force' promotes it,
    or --force at once, for no gate has scored it.
    """
    settings = settings_of(ctx)
    body: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if system_prompt is not None:
        body["system_prompt"] = _text_of(system_prompt)
    if (run is None) == (not body):
        raise PawlError(
            "'pawl promote' takes a run, or a system prompt or sampling",
            "it got both" if body else "it got neither",
            "See 'pawl promote --help'",
        )
    if run is not None and re.fullmatch(r"pawl@\d+", run):
        body["version"] = run
    elif run is not None:
        if not (settings.runs_dir / run).is_dir() and Path(run).is_dir():
            run = str(Path(run).absolute())  # the server runs in a folder of its own
        body["run_dir"] = run
    _end(ctx, client_of(ctx).post("/admin/promotions", {**body, "force": force}))


def _text_of(path: Path) -> str:
    try:
        return read_regular(path, MOST_PROMPT_BYTES).decode()
    except UnicodeDecodeError as err:
        raise PawlError(f"{path} is no UTF-8 text", str(err), "Save it as UTF-8") from None


@click.command("approve")
@click.argument("run")
@click.pass_context
def approve_command(ctx: click.Context, run: str) -> None:
    """Let the challenger of RUN in, which waits for a person, or is on its canary."""
    _end(ctx, client_of(ctx).post(f"/admin/runs/{path_of(run)}/approve", {}))


@click.command("reject")
@click.argument("run")
@click.pass_context
def reject_command(ctx: click.Context, run: str) -> None:
    """Refuse the challenger of RUN, which waits for a person, or end its canary."""
    promotion = client_of(ctx).post(f"/admin/runs/{path_of(run)}/reject", {})
    echo(one_line(moved(promotion)))


@click.command("rollback")
@click.option("--to", help="A version (pawl@2, base) instead of the one before.")
@click.pass_context
def rollback_command(ctx: click.Context, to: str | None) -> None:
    """Go back to the version that answered before."""
    promotion = client_of(ctx).post("/admin/rollback", {"to": to} if to is not None else {})
    _end(ctx, promotion)


@click.command("drill")
@click.pass_context
def drill_command(ctx: click.Context) -> None:
    """Rehearse a rollback in the running server: the champion stays.

    The version before the champion, and the champion again, are checked on disk, brought into the
    engine and asked for answers. Exit code 1 when one of them could not be.
    """
    drill = client_of(ctx).post("/admin/drill", {})
    for line in rehearsed(drill):
        echo(one_line(line))
    ctx.exit(0 if drill["back"]["answers"] and drill["forth"]["answers"] else 1)


@click.command("shadow")
@click.option("--last", type=click.IntRange(1, 200), default=50, show_default=True,
              help="How many of the newest prompts.")  # fmt: skip
@click.option("--max-tokens", type=click.IntRange(1, 1024), default=128, show_default=True,
              help="Of each answer.")  # fmt: skip
@click.option("--show", type=click.IntRange(1, 200), default=10, show_default=True,
              help="How many of the largest differences.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The server's answer as it came.")
@click.argument("a")
@click.argument("b")
@click.pass_context
def shadow_command(
    ctx: click.Context, last: int, max_tokens: int, show: int, as_json: bool, a: str, b: str
) -> None:
    """Let versions A and B (base, pawl@3) answer the newest recorded prompts in the running server,
    and list where they differ most. Nobody gets these answers."""
    body = {"a": a, "b": b, "last": last, "max_tokens": max_tokens, "show": show}
    found = client_of(ctx).post("/admin/shadow", body)
    if as_json:
        echo(json.dumps(found, indent=2))
        return
    for one in found["differences"]:
        echo(f"\n{one['difference']:.2f}  {one['completion_id']}")
        for who, text in (("prompt", one["prompt"]), (a, one["a"]), (b, one["b"])):
            echo(f"  {who:<8} {shortened(text)}")
    echo(f"\n{found['n_prompts']} prompts, {found['n_same']} answered alike, {found['n_left_out']} "
         "left out (with tools, or refused).")  # fmt: skip


@click.command("history")
@click.pass_context
def history_command(ctx: click.Context) -> None:
    """Every promotion and rollback, oldest first."""
    promotions = client_of(ctx, only_reads=True).get("/admin/history")
    if not promotions:
        echo("Nothing was promoted yet: the base answers.")
    for row in promotions:
        line = (
            f"{row['created_at'][:19]}Z  {row['kind']:<9} {row['previous_version']} -> "
            f"{row['version']}  {row['outcome']}  {row['reason']}"
        )
        echo(one_line(line).rstrip())


@click.command("versions")
@click.option("--json", "as_json", is_flag=True, help="The server's answer as it came.")
@click.pass_context
def versions_command(ctx: click.Context, as_json: bool) -> None:
    """Every version, the newest first: how it stands, what made it, what it is asked with; below
    it what moved it, when and by whom."""
    versions = client_of(ctx, only_reads=True).get("/admin/versions")
    if as_json:
        echo(json.dumps(versions, indent=2))
        return
    for row in versions:
        words = [f"{row['version']:<9} {row['state'].replace('_', ' '):<12}", row["run_id"] or ""]
        if row["fingerprint"]:
            words.append(f"on {row['on']}" if row["on"] else "")
            words += [f"{name} {value:g}" for name, value in row["sampling"].items()]
            words.append(f"by {row['made_by']} {row['fingerprint'][:19]}")
            if row["system_prompt"]:
                words.append(f"system prompt: {shortened(row['system_prompt'])}")
        echo(one_line("  ".join(filter(None, words))).rstrip())
        for move in row["moves"]:
            echo(f"          {one_line(move_line(move))}")


def shortened(text: str) -> str:
    """A text in one line of ``MOST_SHOWN`` characters."""
    line = one_line(text)
    return line if len(line) <= MOST_SHOWN else line[: MOST_SHOWN - 4] + " ..."


def path_of(run: str) -> str:
    """A run's id, or that of its folder, as a part of a route's path."""
    return quote(Path(run).name, safe="").replace(".", "%2E") or "%2E"


def _end(ctx: click.Context, promotion: dict[str, Any]) -> None:
    """Say what became of a move, and end: 0 where the version answers, or will."""
    echo(one_line(moved(promotion)))
    ctx.exit(0 if promotion["outcome"] in ("live", "made", "pending", "waiting", "canary") else 1)
