"""``pawl up``: gateway, pages and engine; makes an administrator where others can ask first.

One process with the gateway and the pages on one port, and the engine as its child.

In this order: the lock, the port, the model, the store, the address is printed and ``server.json``
written, and only then the engine starts, which takes most of the time; until it is ready the page
and the API say how far it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import gc
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import uvicorn

from pawl import __version__, plugins
from pawl.errors import PawlError
from pawl.files import PRIVATE, hold_lock, make_private, write_json
from pawl.jobs import IMPORTING
from pawl.logs import configure_logging, cut_log
from pawl.models import BaseModel, resolve_model
from pawl.schemas import utc_now
from pawl.settings import Settings
from pawl.tool_support import with_tool_parser
from serve.api.auth import is_loopback
from serve.canary import Canary
from serve.connections import (
    ACCEPTED_AT_ONCE,
    BACKLOG,
    Connections,
    bounded,
    prepare,
    raise_file_limit,
)
from serve.engine.child import CommandMaker
from serve.engine.launch import vllm_command
from serve.engine.replicas import AnyEngine, Replicas, make_engine
from serve.nights import Nights
from serve.scaling import Scaling
from serve.webhook import Notifier, Webhook

if TYPE_CHECKING:
    from feedback.store import Store
    from serve.api.app import PawlApp

DRAIN_SECONDS = 5  # for answers under way when the server is told to stop
# A night, an import or an export without a server holds the store for moments; a start that comes
# in one of them waits.
STORE_SECONDS = 10.0
N_ARENAS = 2
LOG_SECONDS = 5.0  # between two looks at the size of the logs
_log = logging.getLogger("pawl.up")
_THRESHOLDS = gc.get_threshold()  # Python's own


def run_server(
    settings: Settings,
    say: Callable[[str], None] = print,
    command: CommandMaker = vllm_command,
    arguments: Sequence[str] = (),
) -> None:
    """Serve until Ctrl-C or SIGTERM, then stop everything.

    Args:
        settings: one Pawl's settings; ``port`` 0 takes a free one.
        say: takes the lines that a person reads.
        command: makes the engine's command line.
        arguments: options of the ``pawl`` group, for the nights that the server begins.

    Raises:
        PawlError: another server runs on the state folder, the port is taken, the base
            model, a plugin or the store can't be used, the webhook lacks its secret, the champion
            needs other settings. Nothing was started then.
    """
    from feedback.store import Store

    plugins.check(settings)
    settings.webhook.check()
    gc.set_threshold(*IMPORTING)
    _share_arenas()
    tightened = make_private(settings.state_dir)
    lock = hold_lock(
        settings.state_dir / "server.lock",
        f"a server already runs on {settings.state_dir}",
        "Use that one ('pawl status'), stop it, or give another --state-dir",
    )
    with lock, listen(settings.host, settings.port) as listener:
        configure_logging(settings.log, file=settings.logs_dir / "gateway.log")
        _log.info("server starts on %s, version %s", settings.state_dir, __version__)
        if tightened:
            _log.warning("%s", tightened)
        settings.exchange_dir.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        base = resolve_model(
            settings.model, settings.model_revision, cache_dir=settings.state_dir, tell=say
        )
        base = with_tool_parser(base, settings.engine.tool_call_parser)
        base.check.refuse("serve", base.name)
        for line in base.check.lines(base.name):
            say(line)
        try:
            store = Store.open(settings.database_path)
        except PawlError as error:
            if error.code != "locked":
                raise
            say(f"Waiting up to {STORE_SECONDS:.0f} s: {error.what}")
            store = Store.open(settings.database_path, wait_seconds=STORE_SECONDS)
        has_way_in = settings.api_key is not None or settings.oidc.issuer is not None
        if not has_way_in and not is_loopback(settings.host):
            let_in(settings, store, say)
        asyncio.run(_serve(settings, base, store, listener, say, command, arguments))


def addresses(listener: socket.socket) -> tuple[str, str]:
    """A server's address, and the one for commands on this machine: they ask a server that listens
    on all addresses at the loopback one, to which it answers whatever ``api.allowed_hosts`` are."""
    host, port = listener.getsockname()[:2]
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    url, local_url = (f"http://{f'[{one}]' if ':' in one else one}:{port}" for one in (host, local))
    return url, local_url


def _share_arenas() -> None:
    """Let glibc keep two arenas of memory instead of eight for each core.

    Threads take and free large bodies; what each arena keeps of them made the gateway grow by 30 %
    in 100,000 odd requests. Elsewhere than on glibc nothing happens.
    """
    m_arena_max = -8  # malloc.h
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(m_arena_max, N_ARENAS)


def freeze_heap() -> None:
    """What is there now stays: the collector's rounds through all of it, now and then, stopped
    every answer for 0.1 s."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def let_in(settings: Settings, store: Store, say: Callable[[str], None]) -> None:
    """Others than this machine can ask: see to it that somebody has a way in."""
    from serve.api.accounts import FIRST_NAME, first_administrator

    password_file = first_administrator(store.access, settings)
    if password_file is not None:
        say(f"Sign in as {FIRST_NAME!r}. The password works once, to set another; it is in "
            f"{password_file}")  # fmt: skip
        if sys.stdout.isatty():  # no log gets it
            say(f"It is: {password_file.read_text('ascii').strip()}")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises PawlError: the port is taken, or the address is not ours."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        is_ipv6 = family == socket.AF_INET6
        listener = socket.create_server(
            (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=is_ipv6
        )
    except OSError as error:
        what, why = f"cannot listen on {host}:{port}", str(error)
        if error.errno == errno.EADDRINUSE:
            what, why = f"port {port} is in use", "another program listens on it"
        do = "Give another --host or --port (0 takes a free one)"
        raise PawlError(what, why, do) from error
    prepare(listener)
    return listener


async def _settle(engine: AnyEngine) -> None:
    with contextlib.suppress(PawlError):
        await engine.wait_ready()  # the pages are built by then, too
    freeze_heap()


async def _serve(
    settings: Settings,
    base: BaseModel,
    store: Store,
    listener: socket.socket,
    say: Callable[[str], None],
    command: CommandMaker,
    arguments: Sequence[str],
) -> None:
    from serve.api.app import build_app

    engine = make_engine(settings, base, command=command)
    app = build_app(settings, engine, base=base, store=store)
    try:
        app.promoter.check_champion()
    except PawlError:
        app.close()
        raise
    url, local_url = addresses(listener)
    server = Server(app, settings)
    stop_on_signals(server, say)
    try:
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="server")
        listening = asyncio.create_task(server.listening.wait())
        await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if not serving.done():
            write_json(
                settings.server_file,
                {"url": local_url, "pid": os.getpid(), "started_at": utc_now()},
            )
            _log.info("listening on %s, process %d", url, os.getpid())
            say(f"Pawl is at {url}  (Ctrl-C stops it)")
            say("The engine is starting; the page shows how far it is.")
            await engine.start()
            canary = Canary(settings, store, app.promoter)
            beside = [_tell(engine, url, say), _bound_logs(settings), canary.run(), _settle(engine)]
            if isinstance(engine, Replicas) and settings.engine.max_replicas is not None:
                beside.append(Scaling(settings.engine, engine, app.gateway.admission).run())
            if settings.webhook.url is not None:
                webhook = Webhook(settings.webhook, store, settings.state_dir, app.state.metrics)
                beside.append(webhook.run())
            for plugin in plugins.load_all("notifier", settings.webhook.notifiers):
                notifier = Notifier(plugin, store, settings.state_dir, app.state.metrics)
                beside.append(notifier.run())
            tasks = [asyncio.create_task(work) for work in beside]
            nights = asyncio.create_task(Nights(settings, arguments).run())
            stopping = asyncio.create_task(server.stopping.wait())
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            nights.cancel()  # before the drain, in which a night would fail for good
            await serving
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.wait({*tasks, stopping, nights})  # a night ends what it started
        await serving
    finally:
        settings.server_file.unlink(missing_ok=True)
        try:
            await app.promoter.close()
            await engine.stop()
        finally:
            await asyncio.to_thread(app.close)
        _log.info("server stopped")
    if app.state.pages.is_building:  # for seconds; Python would wait for its thread
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


class Server(uvicorn.Server):
    """uvicorn that says when it listens, bounds its connections, and leaves the signals to us: its
    own handlers end the process by the same signal again, ours with exit code 0."""

    def __init__(self, app: PawlApp, settings: Settings) -> None:
        self._connections = Connections(settings, app.state.metrics, raise_file_limit())
        # No route takes WebSockets: whoever asks for one gets a plain answer.
        super().__init__(uvicorn.Config(
            app, http=bounded(self._connections), ws="none", backlog=ACCEPTED_AT_ONCE,
            log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            timeout_keep_alive=math.ceil(settings.limits.idle_seconds),
        ))  # fmt: skip
        self.listening, self.stopping = asyncio.Event(), asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        asyncio.get_running_loop().set_exception_handler(self._connections.report)
        for listener in sockets or []:
            listener.listen(BACKLOG)  # uvicorn took the number accepted at once for it
        self.listening.set()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        if counter % 10 == 0:
            self._connections.sweep()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Pages left open hold a stream each; told first, the drain need not wait for them."""
        pages = getattr(getattr(self.config.app, "state", None), "pages", None)
        if pages is not None:
            pages.hang_up()
        logging.getLogger("uvicorn.error").addFilter(_is_no_cut)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _is_no_cut(record: logging.LogRecord) -> bool:
    """Leaves out uvicorn's traceback of each request that a stop cuts, after a line that says how
    many there are."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def stop_on_signals(server: Server, say: Callable[[str], None] = lambda line: None) -> None:
    """Let Ctrl-C and SIGTERM stop the server; the second one doesn't wait for running answers."""

    def stop() -> None:
        if server.should_exit:
            server.force_exit = True
        else:
            say("Stopping ...")
        server.should_exit = True
        server.stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


async def _bound_logs(settings: Settings) -> None:
    """Keep the logs small that others write: the engine, and who redirects our output."""
    while True:
        for file in [*settings.logs_dir.glob("engine*.log"), settings.logs_dir / "server.log"]:
            try:
                await asyncio.to_thread(cut_log, file)
            except OSError as err:
                _log.warning("%s can't be put aside: %s", file.name, err)
            except Exception:  # a fault of ours must show, and the logs stay small
                _log.exception("%s can't be put aside", file.name)
        await asyncio.sleep(LOG_SECONDS)


async def _tell(engine: AnyEngine, url: str, say: Callable[[str], None]) -> None:
    """Say once that the engine is ready, or why it is not."""
    try:
        await engine.wait_ready()
        say(f"Ready after {engine.start_seconds:.0f} s: chat at {url}")
    except PawlError as error:
        say(str(error))
