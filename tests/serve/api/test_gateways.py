"""What comes from another gateway's journal is kept once, and feedback waits for it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import aiohttp
import httpx
import pytest

from feedback.store import Store
from feedback.tables import row_of
from pawl import __version__
from pawl.errors import PawlError
from pawl.schemas import AnswerEnd, Completion, Shipment, ShippedFrame
from pawl.settings import Settings
from serve.api import gateways as module
from serve.api.gateways import COLUMNS, Gateways, network_here
from serve.gateway import GatewayApp
from serve.shipping import Outbox, Shipper
from tests.feedback.examples import make_completion

ONE, OTHER = "1" * 32, "2" * 32


def shipment(*frames: tuple[int, list[Completion]]) -> Shipment:
    """``frames``: each with the number of its newest row."""
    return Shipment(
        version=__version__,
        columns=COLUMNS,
        frames=[
            ShippedFrame(last=last, rows=[list(row_of(one)) for one in rows])
            for last, rows in frames
        ],
    )


def answers(n: int, prefix: str = "c") -> list[Completion]:
    return [make_completion(completion_id=f"{prefix}{i}") for i in range(1, n + 1)]


def kept(store: Store) -> list[str]:
    return [one.completion_id for one in store.completions()]


def test_frames_that_come_again_bring_nothing_twice(tmp_path: Path) -> None:
    c1, c2, c3, c4 = answers(4)

    async def send(store: Store, gateways: Gateways) -> None:
        both = shipment((1, [c1]), (3, [c2, c3]))
        await asyncio.gather(*(gateways.take(store, ONE, both) for _ in range(3)))
        assert kept(store) == ["c1", "c2", "c3"]
        await gateways.take(store, OTHER, shipment((1, [replace(c1, completion_id="d1")])))

    async def send_again(store: Store, gateways: Gateways) -> None:
        await gateways.take(store, ONE, shipment((1, [c1]), (3, [c2, c3]), (4, [c4])))
        await gateways.take(store, OTHER, shipment((1, [replace(c1, completion_id="d1")])))
        await gateways.take(store, ONE, shipment((4, [c4])))

    with Store.open(tmp_path / "pawl.duckdb") as store:
        asyncio.run(send(store, Gateways()))
    with Store.open(tmp_path / "pawl.duckdb") as store:  # which has forgotten all in memory
        asyncio.run(send_again(store, Gateways()))
        assert kept(store) == ["c1", "c2", "c3", "d1", "c4"]
        assert store.get_completion("c2") == c2


def test_what_is_refused_keeps_nothing_and_may_come_again(tmp_path: Path) -> None:
    good, odd = answers(2)

    async def send(store: Store) -> None:
        gateways = Gateways()
        for older in (
            Shipment(version="0.0.1"),
            Shipment(version=__version__, columns=COLUMNS[1:], frames=shipment((1, [good])).frames),
        ):
            with pytest.raises(PawlError, match="Install the same on both"):
                await gateways.take(store, ONE, older)
        broken = shipment((2, [good, replace(odd, total_seconds="soon")]))  # type: ignore[arg-type]
        with pytest.raises(PawlError):
            await gateways.take(store, ONE, broken)
        assert kept(store) == []
        await gateways.take(store, ONE, shipment((2, [good, odd])))
        assert kept(store) == ["c1", "c2"]

    with Store.open(tmp_path / "pawl.duckdb") as store:
        asyncio.run(send(store))


def test_an_answer_of_somebody_who_was_forgotten_meanwhile_is_not_kept(tmp_path: Path) -> None:
    theirs, others = answers(2)
    theirs = replace(theirs, rater_id="gone")

    async def send(store: Store) -> None:
        with store.forgotten.erasing({"gone"}):
            await Gateways().take(store, ONE, shipment((2, [theirs, others])))
        assert kept(store) == ["c2"]

    with Store.open(tmp_path / "pawl.duckdb") as store:
        asyncio.run(send(store))


def test_feedback_waits_for_an_answer_that_is_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(store: Store) -> None:
        gateways = Gateways()
        ticket = await gateways.take(
            store, ONE, Shipment(version=__version__, network=network_here())
        )
        gateway = gateways.holder(ticket, ["http://127.0.0.1:1"])
        assert gateway is not None
        with gateway.answering("c1") as ending:
            waiting = asyncio.create_task(gateways.arrived("c1", None, "never asked for"))
            end = AnswerEnd(completion_id="c1", status="complete", is_recorded=True)
            await gateways.take(store, ONE, Shipment(version=__version__, ended=[end]))
            assert (await ending).status == "complete"
        assert not waiting.done()  # it is recorded there, but not here yet
        await gateways.take(store, ONE, shipment((1, answers(1))))
        await waiting
        with gateway.answering("c2"), gateway.answering("c3"):
            pass
        monkeypatch.setattr(module, "ARRIVAL_SECONDS", 0.05)
        with pytest.raises(PawlError, match="has not come from its gateway") as raised:
            await gateways.arrived("c2")
        assert raised.value.retryable
        refused = AnswerEnd(completion_id="c2", status="error", is_recorded=False)
        await gateways.take(store, ONE, Shipment(version=__version__, ended=[refused]))
        await gateways.arrived("c2")
        await gateways.take(store, ONE, Shipment(version=__version__, is_over=True))
        await gateways.arrived("c3")
        assert gateways.holder(ticket, []) is None

    with Store.open(tmp_path / "pawl.duckdb") as store:
        asyncio.run(ask(store))


def test_a_gateway_for_others_serves_nobody_while_its_server_asks_for_no_key(
    tmp_path: Path,
) -> None:
    async def ask() -> None:
        outbox = Outbox(tmp_path / "gateways")
        async with aiohttp.ClientSession() as session:
            shipper = Shipper("http://127.0.0.1:1", "key", outbox, session, "")
            app = GatewayApp(Settings(host="0.0.0.0"), "http://127.0.0.1:1", shipper, session)
            transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://g") as http:
                assert (await http.get("/v1/models")).status_code == 503
                shipper.down.clear()
                shipper.is_open = True
                refused = await http.get("/v1/models")
                assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        outbox.close()
        assert list((tmp_path / "gateways").iterdir()) == []

    asyncio.run(ask())


def test_a_gateway_that_is_silent_holds_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.1)

    async def ask(store: Store) -> None:
        gateways = Gateways()
        ticket = await gateways.take(store, ONE, Shipment(version=__version__))
        assert gateways.holder(ticket, ["http://127.0.0.1:1"]) is None  # not its own loopback
        gateway = gateways.holder(ticket, ["http://10.0.0.7:8000"])
        assert gateway is not None
        with gateway.answering("c1") as ending:
            assert (await asyncio.wait_for(ending, 5)).status == "cancelled"

    with Store.open(tmp_path / "pawl.duckdb") as store:
        asyncio.run(ask(store))
