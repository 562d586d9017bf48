"""Events come out whole and in order, however the bytes were cut."""

from __future__ import annotations

import pytest

from pawl.sse import DONE, EventParser, event

STREAM = (
    b": a comment\n\n"
    b'data: {"a": "gr\xc3\xbcn"}\n\n'
    b"\n\n"
    b"event: x\r\nid: 7\r\ndata: one\r\ndata:two\r\n\r\n"
    b"data\n\ndata: [DONE]\n\n"
)
EVENTS = [b'{"a": "gr\xc3\xbcn"}', b"one\ntwo", DONE]


@pytest.mark.parametrize("n_bytes", [1, 2, 3, 5, 7, 11, 1000])
def test_the_size_of_the_pieces_makes_no_difference(n_bytes: int) -> None:
    parser = EventParser()
    pieces = [STREAM[at : at + n_bytes] for at in range(0, len(STREAM), n_bytes)]
    assert [data for piece in pieces for data in parser.feed(piece)] == EVENTS


def test_an_event_that_breaks_off_is_none() -> None:
    parser = EventParser()
    assert parser.feed(b"data: a\n\ndata: b\n") == [b"a"]
    assert parser.feed(b"") == []


@pytest.mark.parametrize("data", [b"", b"{}", b"one\ntwo", DONE])
def test_what_is_framed_is_read_again(data: bytes) -> None:
    assert EventParser().feed(event(data)) == [data]
