"""``pawl up``, ``pawl status``, ``pawl settings``."""

from __future__ import annotations

import json

import click

from pawl.cli.connect import connect, group_arguments, settings_of
from pawl.cli.output import echo, one_line


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


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="The server's answer as it came.")
@click.pass_context
def status_command(ctx: click.Context, as_json: bool) -> None:
    """Which version answers, how the engine is, what is in the store."""
    status = connect(settings_of(ctx), only_reads=True).get("/admin/status")
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
    echo(f"base      {status['base']['name']}")
    echo(f"engine    {engine['state']}  {one_line(engine.get('detail') or '')}".rstrip())
    echo(f"address   {status.get('url') or 'no server is running; start it with: pawl up'}")
    for name, n in status["counts"].items():
        echo(f"{name:<22}{n:>9,}")


@click.command("settings")
@click.pass_context
def settings_command(ctx: click.Context) -> None:
    """Every setting with its value now."""
    settings = settings_of(ctx)
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if hasattr(type(value), "model_fields"):
            for key in type(value).model_fields:
                echo(f"{name}.{key} = {getattr(value, key)!r}")
        else:
            echo(f"{name} = {str(value)!r}" if name == "state_dir" else f"{name} = {value!r}")
