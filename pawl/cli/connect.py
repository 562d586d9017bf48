"""From the flags to settings and to a client: the running server's, or the app in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from pawl.client import HttpClient
from pawl.files import read_json
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


def running_server(settings: Settings) -> str | None:
    """Address of the server that runs on this state folder, or None."""
    import psutil

    if not settings.server_file.exists():
        return None
    server = read_json(settings.server_file)
    return str(server["url"]) if psutil.pid_exists(int(server["pid"])) else None


@contextmanager
def connect(settings: Settings) -> Iterator[HttpClient]:
    """A client of the running server; with none running, of the same app in this process."""
    key = settings.api_key.get_secret_value() if settings.api_key else None
    url = running_server(settings)
    if url is not None:
        yield HttpClient(url, key)
        return
    from serve.app import build_app

    app = build_app(settings, engine=None)
    try:
        yield HttpClient("http://pawl.invalid", key, app)
    finally:
        app.close()
