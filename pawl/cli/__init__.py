"""The command line: its verbs, errors as one line, exit codes.

Each command imports what it needs when it runs: ``pawl --help`` is instant.

Verbs talk to the running server over HTTP; with none running they call the same app in this
process (``pawl.cli.connect``).
"""

from __future__ import annotations

import importlib
import signal
import sys
from pathlib import Path
from typing import Any

import click

from pawl import __version__
from pawl.cli.output import echo, escape_what_cannot_be_encoded
from pawl.errors import PawlError

FLAGS = "pawl.flags"  # where click's context keeps what every command takes
COMMANDS = {  # module of pawl.cli that holds the click command, and its help in one line
    "up": ("serving", "Serve: the gateway, the pages and the vLLM engine, until Ctrl-C."),
    "gateway": ("serving", "Serve: another gateway before a running server's store and engines."),
    "status": ("serving", "Which version answers; the engine, the last night and the store."),
    "engines": ("serving", "The engine's replicas: list, drain, return."),
    "doctor": ("doctor", "What this machine has, what is missing, what to type."),
    "settings": ("serving", "Every setting with its value from flags, environment and file."),
    "plugins": ("plugins", "Parts that other packages bring, and which of them are used."),
    "nightly": ("loop", "Retrain on the feedback, score, and promote or say why not."),
    "schedule": ("loop", "When nights are due, and what became of those that were."),
    "train": ("training", "Train an adapter and leave it: nothing is scored or promoted."),
    "search": ("training", "Search the training's settings by cross-validation."),
    "eval": ("loop", "Score a model on the benchmarks with lm-eval."),
    "runs": ("loop", "The nightly runs, newest first."),
    "show": ("loop", "One run: its verdict and its report."),
    "why": ("loop", "Training rows ranked by their influence on what a night broke."),
    "curate": ("curation", "The rows that a night would learn from, or without somebody's."),
    "categories": ("curation", "What can be wrong with an answer; change it by a file."),
    "promote": ("promotions", "Promote what a gate let through; make versions of a system prompt."),
    "approve": ("promotions", "Let a challenger in that waits for a person, or end its canary."),
    "reject": ("promotions", "Refuse a challenger that waits for a person, or end its canary."),
    "rollback": ("promotions", "Go back to the version that answered before."),
    "drill": ("promotions", "Rehearse a rollback: how long it takes, and would it work?"),
    "shadow": ("promotions", "Let two versions answer the newest prompts; where they differ."),
    "history": ("promotions", "Every promotion and rollback."),
    "versions": ("promotions", "Every version: how it stands, what it is asked with."),
    "keys": ("keys", "Keys of programs: add, list, revoke."),
    "accounts": ("accounts", "Accounts of people: add, list, change, remove."),
    "audit": ("keys", "Who did what to the server."),
    "demo": ("demo", "The whole loop on a made-up organisation: ask, correct, a night, ask again."),
    "import": ("data", "Read rows of other formats into the store."),
    "snapshot": ("snapshots", "What a snapshot holds, and what two of them differ in."),
    "forget": ("erasing", "Erase what a person asked and said from all that is kept."),
    "backup": ("erasing", "Copy the state folder into one file, also while a server runs."),
    "restore": ("erasing", "Make an empty state folder what a backup holds."),
    "salvage": ("salvage", "Keep what can be read of a store that is refused as damaged."),
    "export": ("data", "Write what was learned from as rows for TRL."),
}


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Collect an option of every command; the one that stands last on the line wins."""
    flags = ctx.meta.setdefault(FLAGS, {"assignments": []})  # one for the line, group and verb
    if param.name == "assignments":
        flags["assignments"] += value
    elif value is not None:
        flags[param.name] = value


def common_options() -> list[click.Parameter]:
    """The options that every command takes, before and after the verb."""
    folder = click.Path(path_type=Path)
    levels = click.Choice(["debug", "info", "warning", "error"])
    common: dict[str, Any] = {"expose_value": False, "callback": _keep}
    return [
        click.Option(["--config"], type=folder, help="Settings file (pawl.toml).", **common),
        click.Option(["--state-dir"], type=folder, help="Where all is kept (.pawl).", **common),
        click.Option(
            ["--set", "assignments"], multiple=True, metavar="KEY=VALUE",
            help="Any setting: --set gate.n_items_per_benchmark=300", **common,
        ),
        click.Option(
            ["--log-level"], type=levels,
            help="Default: info in the file, warning on stderr.", **common,
        ),
        click.Option(
            ["--log-json"], is_flag=True, default=None, help="One JSON object a log line.", **common
        ),
    ]  # fmt: skip


class LazyGroup(click.Group):
    """A group that imports a command's module only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pawl.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        for one in [command, *getattr(command, "commands", {}).values()]:
            known = {param.name for param in one.params}
            one.params += [option for option in common_options() if option.name not in known]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup, params=common_options(), context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="pawl")
def cli() -> None:
    """Serve a chat model that gets better from the people who use it and never gets worse.

    The options below stand before or after the command.
    """


def main() -> None:
    """Run ``pawl``. What a user can mend prints as one line; exit code 1, 2 for a wrong call."""
    # As Ctrl-C: a server or a job that the command started is stopped with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    escape_what_cannot_be_encoded()
    try:
        sys.exit(cli(standalone_mode=False))  # click answers the code given to ctx.exit(), or None
    except PawlError as err:
        echo(f"pawl: {err}", err=True)
        sys.exit(1)
    except OSError as err:
        if err.filename is None:
            raise
        why = err.strerror or type(err).__name__
        echo(f"pawl: {err.filename}: {why}. Check the path, its permissions and the room on "
                   "its disk.", err=True)  # fmt: skip
        sys.exit(1)
    except click.exceptions.Exit as err:
        sys.exit(err.exit_code)
    except click.ClickException as err:
        err.show()
        sys.exit(err.exit_code)
    except (click.Abort, KeyboardInterrupt):
        echo("Stopped.", err=True)
        sys.exit(130)
