"""From the flags to settings and to a client: the running server's, or the app in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from pawl.client import Client, Pawl
from pawl.errors import PawlError
from pawl.logs import configure_logging
from pawl.models import resolve_model
from pawl.server import api_key_of, running_server
from pawl.settings import Settings, load_settings

if TYPE_CHECKING:
    from serve.api.app import PawlApp

TURN_SECONDS = 20.0  # how long a call waits for another verb's call to be over
TURN_POLL_SECONDS = 0.1


def settings_of(ctx: click.Context, more: Mapping[str, Any] | None = None) -> Settings:
    """Settings from the group's flags and a command's own (``more`` wins); logging follows them."""
    flags = dict(ctx.obj["flags"])
    for key, value in (more or {}).items():
        if isinstance(value, Mapping) and isinstance(flags.get(key), dict):
            flags[key] = {**flags[key], **{k: v for k, v in value.items() if v is not None}}
        elif value is not None:
            flags[key] = value
    settings = load_settings(flags, config_path=ctx.obj["config"])
    configure_logging(settings.log)
    return settings


def group_arguments(ctx: click.Context) -> list[str]:
    """``--config`` and ``--set`` as they were typed, for a child that is to have them too."""
    said = ctx.find_root().params
    config = ["--config", str(said["config"])] if said["config"] else []
    return config + [word for one in said["assignments"] for word in ("--set", one)]


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
        settings, key = self.settings, api_key_of(self.settings)
        deadline = time.monotonic() + TURN_SECONDS
        while True:
            server = running_server(settings)
            if server is not None:
                yield Pawl(server.url, key)
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
            yield Pawl(f"http://{IN_PROCESS}", key, app)
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
