"""pawl accounts: people who sign in to the pages."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import quote

import click

from pawl.cli.connect import client_of
from pawl.cli.keys import ROLES
from pawl.cli.output import echo

_ONE_TIME = click.option(
    "--one-time", is_flag=True,
    help="Make a password that works once, to set another, and print it.",
)  # fmt: skip


@click.group("accounts")
def accounts_command() -> None:
    """Accounts of people: add, list, change, remove.

    Passwords are asked for, or read from standard input where that is no terminal: one line. Once
    an account was added, everybody needs one, or a key.
    """


@accounts_command.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="user", show_default=True,
              help="user: chat and own feedback; reviewer: also read everyone's, and runs; "
              "administrator: all.")  # fmt: skip
@_ONE_TIME
@click.pass_context
def add_command(ctx: click.Context, name: str, role: str, one_time: bool) -> None:
    """Make an account, or bring a removed one back."""
    body = {"name": name, "role": role, "password": None if one_time else _password(name)}
    client = client_of(ctx)
    _tell(client.post("/admin/accounts", body), "was added")
    if len(client.get("/admin/accounts")) == 1 and not client.get("/admin/keys"):
        echo("It is the first: from now on everybody signs in, or sends a key, on this machine "
             "too.", err=True)  # fmt: skip


@accounts_command.command("list")
@click.pass_context
def list_command(ctx: click.Context) -> None:
    """Every account, the removed ones too, oldest first."""
    accounts = client_of(ctx, only_reads=True).get("/admin/accounts")
    for account in accounts:
        notes = ["one-time password"] if account["must_change"] else []
        notes += [f"signs in as {account['subject']}"] if account["subject"] else []
        notes += [f"removed {account['removed_at'][:19]}Z"] if account["removed_at"] else []
        echo(f"{account['name']:<24} {account['role']:<13} {account['created_at'][:19]}Z  "
             f"{', '.join(notes)}".rstrip())  # fmt: skip
    if not accounts:
        echo("No account was added. Add one with: pawl accounts add NAME")


@accounts_command.command("password")
@click.argument("name")
@_ONE_TIME
@click.pass_context
def password_command(ctx: click.Context, name: str, one_time: bool) -> None:
    """Set a password; whoever is signed in under the name is signed out."""
    _change(ctx, name, {"password": "" if one_time else _password(name)}, "has another password")


@accounts_command.command("role")
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
@click.pass_context
def role_command(ctx: click.Context, name: str, role: str) -> None:
    """Give another role."""
    _change(ctx, name, {"role": role}, f"is {role} from now on")


@accounts_command.command("remove")
@click.argument("name")
@click.pass_context
def remove_command(ctx: click.Context, name: str) -> None:
    """Let nobody sign in under this name from now on, and sign out who is. What was asked and said
    under it stays."""
    client_of(ctx).post(f"{_path(name)}/remove", {})
    echo(f"{name!r} was removed and signed out.")


def _change(ctx: click.Context, name: str, body: dict[str, Any], words: str) -> None:
    _tell(client_of(ctx).post(_path(name), body), words)


def _path(name: str) -> str:
    return f"/admin/accounts/{quote(name, safe='')}"


def _tell(account: dict[str, Any], words: str) -> None:
    echo(f"{account['name']!r} {words}.", err=True)
    if account["one_time_password"]:
        echo("The one-time password, shown this once:", err=True)
        echo(account["one_time_password"])


def _password(name: str) -> str:
    """From the terminal, hidden and twice; else a line of standard input."""
    if sys.stdin.isatty():
        return str(click.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")
