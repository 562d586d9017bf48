"""From the flags to settings and to a client: the running server's, or the app in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from pawl.client import HttpClient
from pawl.server import api_key_of, running_server
from pawl.settings import Settings, load_settings


def settings_of(ctx: click.Context, more: Mapping[str, Any] | None = None) -> Settings:
    """Settings from the group's flags and a command's own (``more`` wins)."""
    flags = dict(ctx.obj["flags"])
    for key, value in (more or {}).items():
        if isinstance(value, Mapping) and isinstance(flags.get(key), dict):
            flags[key] = {**flags[key], **{k: v for k, v in value.items() if v is not None}}
        elif value is not None:
            flags[key] = value
    return load_settings(flags, config_path=ctx.obj["config"])


@contextmanager
def connect(settings: Settings) -> Iterator[HttpClient]:
    """A client of the running server; with none running, of the same app in this process."""
    key = api_key_of(settings)
    server = running_server(settings)
    if server is not None:
        yield HttpClient(server.url, key)
        return
    from serve.app import build_app

    app = build_app(settings, engine=None)
    try:
        yield HttpClient("http://pawl.invalid", key, app)
    finally:
        app.close()
