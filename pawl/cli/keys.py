"""pawl keys and pawl audit: who may ask the server what, and what was done to it."""

from __future__ import annotations

import json
from urllib.parse import quote

import click

from pawl.cli.connect import client_of

ROLES = ("user", "reviewer", "administrator")  # of people; keys have one more


@click.group("keys")
def keys_command() -> None:
    """Keys of programs: add, list, revoke.

    Once a key was added, everybody needs one, or an account: for the API as a bearer token; on the
    page a key signs in as a password does.
    """


@keys_command.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice((*ROLES, "gateway")), default="user", show_default=True,
              help="user: chat and own feedback; reviewer: also read everyone's, and runs; "
              "administrator: all; gateway: what 'pawl gateway' needs, nothing else.")  # fmt: skip
@click.option("--may-name-raters", is_flag=True,
              help="A trusted front end: its X-Pawl-Rater names the people behind it.")  # fmt: skip
@click.pass_context
def add_command(ctx: click.Context, name: str, role: str, may_name_raters: bool) -> None:
    """Make a key and print its secret, this once."""
    body = {"name": name, "role": role, "may_name_raters": may_name_raters}
    client = client_of(ctx)
    key = client.post("/admin/keys", body)["key"]
    click.echo(f"The key of {name!r}, {role}. It is not kept: this is the only time it is seen.",
               err=True)  # fmt: skip
    click.echo(key)
    if len(client.get("/admin/keys")) == 1:
        click.echo("It is the first: from now on everybody needs a key, on this machine and for "
                   "the page (as its password) too, or an account.", err=True)  # fmt: skip


@keys_command.command("list")
@click.pass_context
def list_command(ctx: click.Context) -> None:
    """Every key, the revoked ones too, oldest first."""
    keys = client_of(ctx, only_reads=True).get("/admin/keys")
    for key in keys:
        names = "names raters" if key["may_name_raters"] else ""
        revoked = f"revoked {key['revoked_at'][:19]}Z" if key["revoked_at"] else ""
        click.echo(f"{key['name']:<24} {key['role']:<13} {key['created_at'][:19]}Z  pawl_"
                   f"{key['key_id']}_...  {names}  {revoked}".rstrip())  # fmt: skip
    if not keys:
        click.echo("No key was added. Add one with: pawl keys add NAME --role user")


@keys_command.command("revoke")
@click.argument("name")
@click.pass_context
def revoke_command(ctx: click.Context, name: str) -> None:
    """Refuse the key of this name from now on."""
    client_of(ctx).post(f"/admin/keys/{quote(name, safe='')}/revoke", {})
    click.echo(f"The key {name!r} is refused from now on.")


@click.command("audit")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True,
              help="How many of the newest.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def audit_command(ctx: click.Context, limit: int, as_json: bool) -> None:
    """Who did what, when, to what, and how it ended; oldest first."""
    client = client_of(ctx, only_reads=True)
    for entry in client.get("/admin/audit", {"limit": limit}):
        if as_json:
            click.echo(json.dumps(entry))
        else:
            click.echo(f"{entry['created_at'][:19]}Z  {entry['caller']} ({entry['address']})  "
                       f"{entry['action']}  {entry['target']}  {entry['outcome']}")  # fmt: skip
