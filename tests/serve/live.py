"""A gateway with an engine behind it, on a real port, its event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import HTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx

from feedback.store import Store
from pawl.base_checks import BaseCheck
from pawl.models import BaseModel
from pawl.schemas import Completion, Promotion, utc_now
from pawl.server import api_key_of
from pawl.settings import Settings
from pawl.tool_support import ToolSupport
from serve.api.admission import Admission
from serve.api.app import make_app
from serve.api.completions import Gateway
from serve.api.in_flight import InFlight
from serve.api.metrics import Metrics
from serve.engine.child import CommandMaker
from serve.engine.supervisor import Engine
from serve.up import Server, listen

T = TypeVar("T")
REPOSITORY = Path(__file__).resolve().parents[2]
FAKE_BASE = BaseModel("fake", Path("/nowhere"), None, "sha256:fake", "FakeForCausalLM", 512)
FAKE_TOOL_BASE = replace(FAKE_BASE, check=BaseCheck(tools=ToolSupport("hermes", forces=True)))


def fake_command(*more: str) -> CommandMaker:
    """Starts ``fake_vllm`` in vLLM's place."""

    def command(settings: Settings, model: BaseModel, port: int) -> list[str]:
        return [sys.executable, str(REPOSITORY / "tests/serve/fake_vllm.py"), str(port),
                "--host", "127.0.0.1", *more]  # fmt: skip

    return command


def eventually(holds: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Wait until ``holds()`` is true; its value. Fails, saying ``what``, when the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = holds()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def promotion(version: str, previous: str = "base") -> Promotion:
    return Promotion(promotion_id=f"p-{version}-{utc_now()}", created_at=utc_now(),
                     version=version, previous_version=previous, outcome="live",
                     kind="promote")  # fmt: skip


class Operator(httpx.Auth):
    """Sends the key of the state folder to the admin routes, as the command line does."""

    def __init__(self, state_dir: Path) -> None:
        self._settings = Settings(state_dir=state_dir)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if request.url.path.startswith("/admin") and "Authorization" not in request.headers:
            request.headers["Authorization"] = f"Bearer {api_key_of(self._settings)}"
        yield request


class Live:
    """What a test holds of a running gateway."""

    def __init__(self, settings: Settings, base: BaseModel, command: CommandMaker, store: Any):
        self.store = store
        self.engine = Engine(settings, base, command=command)
        self.in_flight = InFlight()
        self.gateway = Gateway(
            store, self.engine, base, self.in_flight, Metrics(), lambda: self.engine.loaded,
            settings.engine.max_request_bytes, Admission(settings.engine, settings.limits),
            settings.limits.keep_alive_seconds,
            settings.limits.start_wait_seconds,
            answer_tokens=settings.limits.answer_tokens,
            refuse_unknown=settings.api.unknown_fields == "refuse",
        )  # fmt: skip
        self.app = make_app(settings, self.gateway)
        self.url = ""
        self.loop = asyncio.new_event_loop()

    def call(self, work: Coroutine[Any, Any, T], seconds: float = 300) -> T:
        """Run a coroutine in the gateway's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def rows(self, completion_id: str, n: int = 1) -> list[Completion]:
        """The rows of a completion, once ``n`` of them are there."""

        def found() -> list[Completion]:
            rows = [self.store.get_completion(completion_id, i) for i in range(n)]
            there = [row for row in rows if row is not None]
            return there if len(there) == n else []

        found_rows: list[Completion] = eventually(found, f"{n} rows of {completion_id}")
        return found_rows

    def seen(self) -> dict[str, Any]:
        """What the fake engine saw."""
        return dict(httpx.get(self.engine.base_url + "/seen").json())


@contextmanager
def live(
    settings: Settings,
    *,
    base: BaseModel = FAKE_BASE,
    command: CommandMaker | None = None,
    store: Any = None,
    wait: bool = True,
) -> Iterator[Live]:
    """Serve until the block ends, then stop everything and check that nothing is left."""
    own = store is None
    store = store or Store.open(settings.database_path)
    one = Live(settings, base, command or fake_command(), store)
    thread = threading.Thread(target=one.loop.run_forever, daemon=True)
    thread.start()
    with listen("127.0.0.1", 0) as listener:
        one.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = Server(one.app, settings)
        serving = asyncio.run_coroutine_threadsafe(server.serve(sockets=[listener]), one.loop)
        try:
            one.call(server.listening.wait(), 60)
            one.call(one.engine.start())
            if wait:
                one.call(one.engine.wait_ready())
            yield one
        finally:
            server.should_exit = True
            serving.result(60)
            one.call(one.engine.stop(), 60)
            one.loop.call_soon_threadsafe(one.loop.stop)
            thread.join(60)
            one.loop.close()
            if own:
                store.close()


@contextmanager
def serving(server: HTTPServer) -> Iterator[None]:
    """A receiver of the tests' own, in a thread until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
