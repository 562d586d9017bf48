"""``pawl up``'s application before the fake engine, in this process or in one of its own."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from feedback.store import Store
from pawl.models import BaseModel
from pawl.schemas import Caller
from pawl.server import api_key_of
from pawl.settings import PageSettings, Settings
from serve.api.app import build_app
from serve.api.auth import CALLER
from serve.engine.child import CommandMaker
from serve.engine.replicas import make_engine
from serve.up import Server, listen
from tests.adapters_for_tests import light_adapter, light_base
from tests.serve.live import REPOSITORY, Operator, eventually, fake_command

T = TypeVar("T")


def request_of(server: Composed, caller: Caller, query: bytes = b"") -> Any:
    """What a handler is given of a browser at 10.1.2.3 whose session is the server's key."""
    import gradio as gr
    from starlette.requests import Request

    url = urlsplit(server.url)
    cookie = f"pawl_session_{url.port}={api_key_of(server.settings)}"
    scope = {
        "type": "http",
        "headers": [(b"host", url.netloc.encode()), (b"cookie", cookie.encode())],
        "server": (url.hostname, url.port),
        "client": ("10.1.2.3", 5),
        "query_string": query,
        CALLER: caller,
    }
    return gr.Request(Request(scope), session_hash="session")


class Composed:
    """What a test holds of a running application."""

    def __init__(
        self, settings: Settings, base: BaseModel, command: CommandMaker, pages: bool | None
    ) -> None:
        self.settings, self.base = settings, base
        self.store = Store.open(settings.database_path)
        self.engine: Any = make_engine(settings, base, command=command)
        self.app = build_app(settings, self.engine, base=base, store=self.store, pages=pages)
        self.url = ""
        self.loop = asyncio.new_event_loop()

    def call(self, work: Coroutine[Any, Any, T], seconds: float = 300) -> T:
        """Run a coroutine in the application's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def seen(self) -> dict[str, Any]:
        """What the fake engine saw."""
        return dict(httpx.get(self.engine.base_url + "/seen").json())

    def promote(self) -> str:
        """Promote an adapter; the version that answers now."""
        folder = light_adapter(self.settings.state_dir / "trained", self.base)
        body = {"adapter_dir": str(folder), "force": True}
        answer = httpx.post(f"{self.url}/admin/promotions", json=body, timeout=60,
                            auth=Operator(self.settings.state_dir))  # fmt: skip
        moved = answer.raise_for_status().json()
        assert moved["outcome"] == "live", moved
        return str(moved["version"])


@contextmanager
def composed(
    settings: Settings,
    *,
    base: BaseModel | None = None,
    command: CommandMaker | None = None,
    wait: bool = True,
    pages: bool | None = None,
) -> Iterator[Composed]:
    """Serve until the block ends, then stop everything. Without ``pages`` no Gradio is built."""
    base = base or light_base(settings.state_dir.parent / "base")
    server = Composed(settings, base, command or fake_command(), pages)
    thread = threading.Thread(target=server.loop.run_forever, daemon=True)
    thread.start()
    with listen("127.0.0.1", 0) as listener:
        server.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        uvicorn_server = Server(server.app, settings)
        serving = asyncio.run_coroutine_threadsafe(
            uvicorn_server.serve(sockets=[listener]), server.loop
        )
        try:
            server.call(uvicorn_server.listening.wait(), 60)
            server.call(server.engine.start())
            if wait:
                server.call(server.engine.wait_ready())
            yield server
        finally:
            uvicorn_server.should_exit = True
            serving.result(60)
            server.call(server.app.promoter.close(), 60)
            server.call(server.engine.stop(), 60)
            server.call(_cancel_the_rest(), 60)
            server.loop.call_soon_threadsafe(server.loop.stop)
            thread.join(60)
            server.loop.close()
            server.app.close()


@contextmanager
def side_by_side(state_dir: Path) -> Iterator[Composed]:
    """Serve ``pawl@1``; each prompt gets an answer of the base beside it."""
    page = PageSettings(side_by_side=1, side_by_side_with="base")
    with composed(Settings(state_dir=state_dir, page=page)) as running:
        assert running.promote() == "pawl@1"
        yield running


async def _cancel_the_rest() -> None:
    """Gradio leaves tasks that sleep."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


@contextmanager
def own_process(
    state_dir: Path, model_dir: Path, port: int, seconds: float = 60
) -> Iterator[subprocess.Popen[bytes]]:
    """``pawl up`` in a process of its own, ready within ``seconds``; killed at the end."""
    command = [sys.executable, "-m", "tests.serve.run_up", str(state_dir), str(model_dir)]
    with subprocess.Popen(
        [*command, str(port)], cwd=REPOSITORY, stdout=subprocess.DEVNULL
    ) as child:
        try:
            eventually(
                lambda: _ready(port) or child.poll() is not None, "the server is ready", seconds
            )
            assert child.poll() is None
            yield child
        finally:
            child.kill()


def _ready(port: int) -> bool:
    try:
        health = httpx.get(f"http://127.0.0.1:{port}/health").json()
    except httpx.TransportError:
        return False
    return bool(health["engine"]["state"] == "ready")


class Cable:
    """Carries bytes between a port of its own and a server, until it is cut.

    Args:
        port, host: the server's.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target = host, port
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.mend()

    def cut(self) -> None:
        """End every connection and take no new one."""

        async def cut() -> None:
            assert self._server is not None
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()

        asyncio.run_coroutine_threadsafe(cut(), self._loop).result(10)

    def mend(self) -> None:
        """Take connections (again)."""

        async def mend() -> None:
            self._server = None
            while self._server is None:  # another test's connection may have the port for a moment
                try:
                    self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
                except OSError as err:
                    if err.errno != errno.EADDRINUSE:
                        raise
                    await asyncio.sleep(0.05)
            self.port = self._server.sockets[0].getsockname()[1]

        asyncio.run_coroutine_threadsafe(mend(), self._loop).result(10)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._target)
        except OSError:  # no server there: the browser's connection ends too
            writer.close()
            return
        both = {writer, there_writer}
        self._writers |= both

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()

        copies = [
            asyncio.ensure_future(copy(reader, there_writer)),
            asyncio.ensure_future(copy(there_reader, writer)),
        ]
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        for task in copies:
            task.cancel()
        await asyncio.gather(*copies, return_exceptions=True)
        for end in both:
            end.close()
        self._writers -= both
