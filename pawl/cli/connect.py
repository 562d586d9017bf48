"""From the flags to settings and to a client: the running server's, or the app in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from pawl.cli import FLAGS
from pawl.cli.output import say_progress
from pawl.client import Client, Pawl
from pawl.errors import PawlError
from pawl.logs import configure_logging
from pawl.models import resolve_model
from pawl.server import api_key_of, running_server
from pawl.settings import Settings, flat, load_settings, shared_settings

if TYPE_CHECKING:
    from serve.api.app import PawlApp

# What a running server does by its own settings, for a night too.
_SERVERS_WORK = ("curation.", "promotion.")
TURN_SECONDS = 20.0  # how long a call waits for another verb's call to be over
TURN_POLL_SECONDS = 0.1


def settings_of(ctx: click.Context, more: Mapping[str, Any] | None = None) -> Settings:
    """Settings from the line's flags and a command's own (``more`` wins); logging follows them."""
    settings = load_settings(flags_of(ctx, more), config_path=ctx.meta[FLAGS].get("config"))
    configure_logging(settings.log)
    return settings


def flags_of(ctx: click.Context, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the line said, as a nested mapping of settings; ``more`` wins."""
    line = ctx.meta[FLAGS]
    log_format = "json" if line.get("log_json") else None
    flags: dict[str, Any] = {
        "state_dir": line.get("state_dir"),
        "log": {"level": line.get("log_level"), "format": log_format},
    }
    for assignment in line["assignments"]:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise PawlError(f"--set {assignment}", "it is not of the form KEY=VALUE")
        target = flags
        *parents, last = key.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise PawlError(f"--set {assignment}", f"{parent} holds no settings")
        target[last] = value
    return merged(flags, more or {})


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both nested mappings in one; ``second`` wins, but for what is None in it."""
    both = dict(first)
    for key, value in second.items():
        if isinstance(value, Mapping) and isinstance(both.get(key), Mapping):
            both[key] = merged(both[key], value)
        elif value is not None:
            both[key] = value
    return both


def settings_beside_server(
    ctx: click.Context,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> Settings:
    """The settings of the server that runs on the state folder, so that nobody repeats them; what
    the line says itself wins and is named. Without a server: as :func:`settings_of`."""
    own = settings_of(ctx)
    server = running_server(own)
    if server is None:
        return own
    theirs = Pawl(server.url, api_key_of(own)).status().settings
    rest = own.model_dump(exclude=set(theirs))  # where it listens, its key, its log
    values = rest | theirs
    if "judge" in theirs:  # its key is no server's to tell
        theirs["judge"].pop("has_api_key", None)
        values["judge"] = {**theirs["judge"], "api_key": own.judge.api_key}
    settings = load_settings(merged(values, flags_of(ctx)), only_flags=True)
    for key, value, there in _differences(settings, theirs):
        if key.startswith(_SERVERS_WORK):
            say(_is_ignored(key, value, there))
        else:
            say(f"{key} = {value}, as this command says; the server has {there}")
    return settings


def client_of(ctx: click.Context, *, only_reads: bool = False) -> Client:
    """As :func:`connect`, with the line's settings. Those for what a running server does with its
    own are named."""
    settings = settings_of(ctx)
    said = {key for key, _ in flat(flags_of(ctx)) if key.startswith(_SERVERS_WORK)}
    if said and (server := running_server(settings)) is not None:
        theirs = Pawl(server.url, api_key_of(settings)).status().settings
        for key, value, there in _differences(settings, theirs):
            if key in said:
                say_progress(_is_ignored(key, value, there))
    return connect(settings, only_reads=only_reads)


def _differences(
    settings: Settings, theirs: Mapping[str, Any]
) -> Iterator[tuple[str, object, object]]:
    """Keys that a server has otherwise than ``settings``: the value here, and there."""
    there = dict(flat(theirs))
    for key, value in flat(shared_settings(settings)):
        if key != "judge.has_api_key" and value != there.get(key):
            yield key, value, there.get(key)


def _is_ignored(key: str, value: object, there: object) -> str:
    return (
        f"{key} = {value} is ignored: the server does this, and has {there}. Set it where the "
        "server is started, or stop the server before this command"
    )


def group_arguments(ctx: click.Context) -> list[str]:
    """The options of every command as they were typed, but for ``--state-dir``, for a child that is
    to have them too."""
    line = ctx.meta[FLAGS]
    words = ["--config", str(line["config"])] if "config" in line else []
    words += ["--log-level", line["log_level"]] if "log_level" in line else []
    words += ["--log-json"] if line.get("log_json") else []
    return words + [word for text in line["assignments"] for word in ("--set", text)]


def connect(settings: Settings, *, only_reads: bool = False) -> Client:
    """A client of the server that runs, or of the same app in this process while none does.

    Args:
        only_reads: for verbs that only look: nothing is made or fetched for them.

    Raises:
        PawlError: with ``only_reads``, there is nothing to look at.
    """
    if only_reads and running_server(settings) is None and not settings.state_dir.exists():
        raise PawlError(
            f"there is nothing in {settings.state_dir}",
            "no Pawl has served or imported here yet",
            "Start one with 'pawl up', or name another folder with --state-dir",
            code="no_state",
        )
    return _CallByCall(settings, only_reads)


@dataclass(frozen=True, slots=True)
class _CallByCall:
    """Looks for the server anew at every call, and opens the store for that call only: a night
    makes few calls in hours, in between anybody may look, and a server may come or go."""

    settings: Settings
    only_reads: bool

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        with self._client() as client:
            return client.get(path, query)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        with self._client() as client:
            return client.post(path, body)

    @contextmanager
    def _client(self) -> Iterator[Pawl]:
        settings = self.settings
        deadline = time.monotonic() + TURN_SECONDS
        while True:
            server = running_server(settings)
            if server is not None:
                yield Pawl(server.url, api_key_of(settings))
                return
            try:
                app = self._app()
                break
            except PawlError as err:  # another verb's call, or a server that only just starts
                if err.code != "locked" or time.monotonic() > deadline:
                    raise
                time.sleep(TURN_POLL_SECONDS)
        from serve.api.auth import IN_PROCESS

        try:
            yield Pawl(f"http://{IN_PROCESS}", api_key_of(settings), app)
        finally:
            app.close()

    def _app(self) -> PawlApp:
        from serve.api.app import build_app

        settings = self.settings
        base = resolve_model(
            settings.model, settings.model_revision,
            cache_dir=settings.state_dir,
            download=not self.only_reads, convert=not self.only_reads,
        )  # fmt: skip
        return build_app(settings, engine=None, base=base)
