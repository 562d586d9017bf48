"""pawl up, pawl gateway, pawl status, pawl engines, pawl settings."""

from __future__ import annotations

import json
import time
from typing import Any

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pawl.cli import FLAGS
from pawl.cli.connect import client_of, flags_of, group_arguments, settings_of
from pawl.cli.output import echo, one_line
from pawl.client import Client
from pawl.errors import PawlError
from pawl.runs import standing
from pawl.server import ADMIN_KEY_FILE, api_key_of, running_server
from pawl.settings import origins

COMPLAINT_DAYS, MOST_COMPLAINTS = 30, 3
DRAIN_LOOK_SECONDS = 0.5
GATEWAY_PORT = 8001  # beside a server at its own


@click.command("up")
@click.option("--model", help="smollm2-135m, a GGUF file, a folder, or a hub id.")
@click.option("--model-revision", help="Branch, tag or commit of a hub model.")
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=int, help="Port for API and pages (8000); 0 takes a free one.")
@click.pass_context
def up_command(
    ctx: click.Context,
    model: str | None,
    model_revision: str | None,
    host: str | None,
    port: int | None,
) -> None:
    """Serve: the gateway, the pages and the vLLM engine, until Ctrl-C."""
    settings = settings_of(
        ctx, {"model": model, "model_revision": model_revision, "host": host, "port": port}
    )
    from serve.up import run_server

    run_server(settings, echo, arguments=group_arguments(ctx))


@click.command("gateway")
@click.argument("server_url", required=False)
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=int, help=f"Port ({GATEWAY_PORT}); 0 takes a free one.")
@click.pass_context
def gateway_command(
    ctx: click.Context, server_url: str | None, host: str | None, port: int | None
) -> None:
    """Serve: another gateway before the store and the engines of the server at SERVER_URL, until
    Ctrl-C. Without SERVER_URL it is the one that runs on the state folder.

    It brings what it recorded with the key of the state folder, or with api_key (PAWL_API_KEY),
    which is then a key of that server with the role gateway.
    """
    where = {"host": host, "port": GATEWAY_PORT if port is None else port}
    settings = settings_of(ctx, where)
    server = running_server(settings) if server_url is None else None
    if server_url is None and server is None:
        raise PawlError(
            f"no server runs on {settings.state_dir}",
            "a gateway needs one that has the store",
            "Start it with 'pawl up', or name another: pawl gateway http://HOST:PORT",
        )
    key = api_key_of(settings)
    if key is None:
        raise PawlError(
            "there is no key for the server",
            f"neither api_key is set, nor can {settings.state_dir / ADMIN_KEY_FILE} be read",
            "Set PAWL_API_KEY to a key of the server ('pawl keys add NAME --role gateway' there)",
        )
    from serve.gateway import run_gateway

    run_gateway(settings, server_url or (server.url if server else ""), key, echo)


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="The server's answer as it came.")
@click.pass_context
def status_command(ctx: click.Context, as_json: bool) -> None:
    """Which version answers; the engine, the last night and the store."""
    client = client_of(ctx, only_reads=True)
    status = client.get("/admin/status")
    if as_json:
        echo(json.dumps(status, indent=2))
        return
    engine = status["engine"]
    echo(f"champion  {status['champion']}  (answers to the model name 'pawl')")
    for row in status.get("waiting", []):
        line = f"{row['version']}  passed against {row['previous_version']}; {row['reason']}"
        echo(f"waiting   {one_line(line)}")
    if canary := status.get("canary"):
        counts = {"answered": canary["n_conversations"], **canary["wrong"]}
        told = ", ".join(
            f"{name} {n['challenger']} (champion {n['champion']})" for name, n in counts.items()
        )
        echo(
            f"canary    {canary['version']}  {canary['share'] * 100:g} % of conversations since "
            f"{canary['began_at'][:19]}Z: {told}; {canary['reason']}"
        )
    for night in client.get("/admin/runs", {"limit": 1})[:1]:
        echo(one_line(f"night     {night['run_id']}  {standing(night)}"))
    echo(f"base      {status['base']['name']}")
    more = engine.get("detail") or ""
    more = one_line(more) if more != engine["state"] else ""
    echo(f"engine    {engine['state']}  {more}".rstrip())
    echo(f"address   {status.get('url') or 'no server is running; start it with: pawl up'}")
    for one in _gateways(client):
        where = one_line(one["url"] or one["gateway_id"])
        echo(f"gateway   {where}  {one['n_answers']} answers under way, "
             f"heard {one['heard_seconds']:.0f} s ago")  # fmt: skip
    for name, n in status["counts"].items():
        echo(f"{name:<22}{n:>9,}")
    _tell_complaints(client)


@click.group("engines")
def engines_command() -> None:
    """The engine's replicas: list them, take one out, bring it back."""


@engines_command.command("list")
@click.pass_context
def engines_list_command(ctx: click.Context) -> None:
    """How each is, and how many answers it writes."""
    for one in _replicas(client_of(ctx, only_reads=True)):
        _tell_replica(one)


@engines_command.command("drain")
@click.argument("number", type=click.IntRange(1))
@click.option("--no-wait", is_flag=True, help="Don't wait until it has stopped.")
@click.pass_context
def engines_drain_command(ctx: click.Context, number: int, no_wait: bool) -> None:
    """Take replica NUMBER out: new answers go to others, those under way end, then it stops."""
    client = client_of(ctx)
    replica = client.post(f"/admin/replicas/{number}/drain", {})
    while not no_wait and replica["is_out"] and replica["state"] != "off":
        time.sleep(DRAIN_LOOK_SECONDS)
        replica = _replicas(client)[number - 1]
    _tell_replica(replica)


@engines_command.command("return")
@click.argument("number", type=click.IntRange(1))
@click.pass_context
def engines_return_command(ctx: click.Context, number: int) -> None:
    """Bring replica NUMBER back; it loads what the others serve before it answers."""
    _tell_replica(client_of(ctx).post(f"/admin/replicas/{number}/return", {}))


def _replicas(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/admin/status")["engine"]["replicas"]
    if not found:
        raise PawlError("there is no engine", "no server runs", "Start one with 'pawl up'")
    return found


def _tell_replica(one: dict[str, Any]) -> None:
    state = one["state"]
    if one["is_out"]:
        state = "out" if state == "off" else "draining"
    echo(f"{one['number']:>3}  {state:<11}{one['n_answers']:>4} answers  {one_line(one['detail'])}")


def _gateways(client: Client) -> list[dict[str, Any]]:
    try:
        return list(client.get("/admin/gateways"))
    except PawlError as err:
        if err.code != "not_found":  # a server of an earlier version
            raise
        return []


def _tell_complaints(client: Client) -> None:
    """What people found fault with in the last days, and what waits because of it."""
    try:
        found = client.get("/admin/dashboard", {"days": COMPLAINT_DAYS})
    except PawlError as err:
        if err.code != "not_found":  # a server of an earlier version
            raise
        return
    total, rate = found["total"], found["total"]["rate"]
    if total["n_flagged"]:
        echo(
            f"complaints in {COMPLAINT_DAYS} days: {total['n_flagged']:,} of "
            f"{total['n_answers']:,} answers flagged, {rate['per_1000']:g} per 1,000 "
            f"({rate['lower']:g} to {rate['upper']:g})"
        )
        for one in found["by_category"][:MOST_COMPLAINTS]:
            echo(f"  {one['name']:<20}{one['n_flagged']:>9,}")
        for one in found["complaints"][:MOST_COMPLAINTS]:
            question = one_line(one["question"])[:60]
            echo(f"  {one['n_answers']} times by {one['n_people']}: {question}")
    if n := found["backlog"]["n_waiting"]:
        echo(f"{n:,} flagged answers wait for a reviewer")


@click.command("settings")
@click.pass_context
def settings_command(ctx: click.Context) -> None:
    """Every setting as flags, environment and file give it, where from, and what it means.

    ``pawl status --json`` has those of a running server.
    """
    settings = settings_of(ctx)
    found = origins(flags_of(ctx), config_path=ctx.meta[FLAGS].get("config"))

    def tell(key: str, value: Any, about: FieldInfo) -> None:
        origin = f"from {found[key]}" if key in found else "default"
        echo(f"{key} = {one_line(value)}  # {origin}: {about.description}")

    for name, about in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            for key, part in type(value).model_fields.items():
                tell(f"{name}.{key}", repr(getattr(value, key)), part)
        else:
            tell(name, repr(str(value)) if name == "state_dir" else repr(value), about)
