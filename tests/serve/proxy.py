"""A small reverse proxy on loopback that serves another server below a path of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


@contextmanager
def proxied(url: str, root_path: str, *, keeps_path: bool) -> Iterator[str]:
    """The address below which the server at ``url`` is; one request a connection.

    Args:
        root_path: what requests to the proxy begin with; others answer 404.
        keeps_path: pass the path on as it is, else without ``root_path``.
    """
    target = urlsplit(url)
    loop = asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            line, _, rest = head.partition(b"\r\n")
            method, path, protocol = line.split(b" ")
            if path == b"/favicon.ico":  # browsers ask the site for its own
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                return
            if not path.startswith(root_path.encode()):
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                return
            if not keeps_path:
                path = path[len(root_path) :] or b"/"
            lines = [
                one for one in rest.split(b"\r\n") if not one.lower().startswith(b"connection:")
            ]
            there_reader, there = await asyncio.open_connection(target.hostname, target.port)
            there.write(b" ".join((method, path, protocol)) + b"\r\nConnection: close\r\n"
                        b"X-Forwarded-Proto: http\r\n" + b"\r\n".join(lines))  # fmt: skip
            await asyncio.wait(
                [asyncio.ensure_future(copy(reader, there)),
                 asyncio.ensure_future(copy(there_reader, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )  # fmt: skip
            there.close()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # either end hung up, or the proxy stops: so does this connection, below
        finally:
            writer.close()

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()

    async def stop() -> None:
        server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    starting = asyncio.start_server(serve, "127.0.0.1", 0)
    server = asyncio.run_coroutine_threadsafe(starting, loop).result(10)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{root_path}"
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
