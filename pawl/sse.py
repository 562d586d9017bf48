"""Server-sent events: bytes in, events out, as they come.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

DONE = b"[DONE]"  # the data of the event that ends a stream of OpenAI's API


class EventParser:
    """Reads one stream; ``feed`` it the bytes as they come.

    Lines end with LF or CRLF. An event counts once its blank line has come, so what is left when
    the stream breaks off is dropped. Fields other than ``data`` are not read.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The ``data`` of every event that ``chunk`` completes: b'data: {"a": 1}\\n\\n' gives
        b'{"a": 1}'."""
        text = self._rest + chunk if self._rest else chunk
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        *blocks, self._rest = text.split(b"\n\n")
        return [data for block in blocks if (data := _data(block)) is not None]


def event(data: bytes) -> bytes:
    """One event as it goes over the wire."""
    if b"\n" in data:
        data = data.replace(b"\n", b"\ndata: ")
    return b"data: %b\n\n" % data


def _data(block: bytes) -> bytes | None:
    if block.startswith(b"data: ") and b"\n" not in block:  # nearly every event of a model
        return block[6:]
    lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line[:5] == b"data:"]
    return b"\n".join(lines) if lines else None
