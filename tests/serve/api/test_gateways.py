"""What comes from another gateway's journal is kept once, and feedback waits for it."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import aiohttp
import httpx
import pytest

from feedback import store as store_module
from feedback.journal import Journal, journal_path, read_frames
from feedback.store import Store
from feedback.tables import row_of
from pawl import __version__
from pawl.errors import PawlError
from pawl.schemas import AnswerEnd, Completion, Shipment, ShippedFrame
from pawl.server import api_key_of
from pawl.settings import Settings
from serve import shipping
from serve.api import gateways as module
from serve.api.gateways import COLUMNS, Gateways, network_here
from serve.gateway import GatewayApp
from serve.granted import Recorded
from serve.shipping import Outbox, Shipper
from tests.feedback.examples import make_completion
from tests.serve.live import Live, live

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


def test_numbers_are_forgotten_and_a_repeat_that_comes_later_brings_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FORGET_EVERY", 3)
    monkeypatch.setattr(store_module, "MOST_GATEWAYS", 2)
    first = answers(3)
    over = Shipment(version=__version__, is_over=True)

    async def send(store: Store, gateways: Gateways) -> None:
        await gateways.take(store, ONE, shipment((2, first[:2])))
        await gateways.take(store, ONE, over)
        for n in range(20):
            await gateways.take(store, f"{n:032x}", shipment((1, answers(1, f"g{n}-"))))
        assert store.read("SELECT count(*) FROM gateway_frames")[0][0] <= 2 + 3

    async def repeat(store: Store) -> None:
        assert store.shipped_until(ONE) == 0  # it is forgotten
        await Gateways().take(store, ONE, shipment((2, first[:2]), (3, first[2:])))

    with Store.open(tmp_path / "pawl.duckdb") as store:
        asyncio.run(send(store, Gateways()))
        assert len(kept(store)) == 22
    with Store.open(tmp_path / "pawl.duckdb") as store:
        asyncio.run(repeat(store))
        assert kept(store).count("c1") == kept(store).count("c2") == 1
        assert kept(store)[-1] == "c3"
    files = set(tmp_path.iterdir())
    with pytest.raises(PawlError, match="closed"):  # as one that a stop overtook
        store.forget_shipments()
    assert set(tmp_path.iterdir()) == files


def test_a_gateway_replaces_no_answer_and_brings_none_of_anothers(tmp_path: Path) -> None:
    mine, theirs, new = answers(3)

    def forged(one: Completion) -> Completion:
        return replace(one, completion="what nobody said")

    async def send(store: Store) -> None:
        store.append_completion(mine).result()
        gateways = Gateways()
        ticket, _ = await gateways.take(
            store, ONE, Shipment(version=__version__, network=network_here())
        )
        gateway = gateways.holder(ticket, ["http://127.0.0.1:1"])
        assert gateway is not None
        with gateway.answering(theirs.completion_id):
            lie = AnswerEnd(completion_id=theirs.completion_id, status="error", is_recorded=False)
            sent = shipment((3, [forged(mine), forged(theirs), new]), (4, [new]))
            await gateways.take(store, OTHER, sent.model_copy(update={"ended": [lie]}))
            waiting = asyncio.create_task(gateways.arrived(theirs.completion_id))
            await gateways.take(store, OTHER, shipment())
            assert not waiting.done()
            both = [theirs, replace(theirs, choice_index=1)]
            await gateways.take(store, ONE, shipment((1, both[:1]), (2, both[1:])))
            await waiting
        assert kept(store) == ["c1", "c3", "c2", "c2"]
        assert store.completions() == [mine, new, *both]

    with Store.open(tmp_path / "pawl.duckdb") as store:
        asyncio.run(send(store))


def test_living_gateways_make_no_room_for_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_KNOWN", 2)

    async def test(store: Store) -> None:
        gateways = Gateways()
        first, _ = await gateways.take(store, ONE, shipment())
        second, _ = await gateways.take(store, OTHER, shipment())
        with pytest.raises(PawlError) as caught:
            await gateways.take(store, "3" * 32, shipment())
        assert (caught.value.code, caught.value.retryable) == ("overloaded", True)
        one = gateways.holder(first, ["http://10.0.0.1:1"])
        assert one is not None
        assert gateways.holder(second, ["http://10.0.0.1:1"]) is not None
        one.check_heard()
        one.heard_at -= module.SILENT_SECONDS + 1  # as after a cut
        with pytest.raises(PawlError, match="hears nothing"):
            one.check_heard()
        await gateways.take(store, "3" * 32, shipment())
        assert gateways.holder(first, ["http://10.0.0.1:1"]) is None
        assert [info.gateway_id for info in gateways.listed()] == [OTHER, "3" * 32]
        twice = shipment((2, [*answers(1), *answers(1)]))
        await gateways.take(store, OTHER, twice)
        assert kept(store) == ["c1"]

    with Store.open(tmp_path / "pawl.duckdb") as store:
        asyncio.run(test(store))


def test_what_was_recorded_for_another_store_is_refused(tmp_path: Path) -> None:
    [one] = answers(1)

    def of(identity: str) -> Shipment:
        return shipment((1, [one])).model_copy(update={"store": identity})

    with Store.open(tmp_path / "pawl.duckdb") as store, Store.open(tmp_path / "b.duckdb") as other:
        assert len({store.identity, other.identity}) == 2
        with pytest.raises(PawlError, match="another store") as refused:
            asyncio.run(Gateways().take(store, ONE, of(other.identity)))
        assert refused.value.code == "other_store"
        assert kept(store) == []
        asyncio.run(Gateways().take(store, ONE, of(store.identity)))
        assert kept(store) == ["c1"]
    shutil.copyfile(tmp_path / "pawl.duckdb", tmp_path / "restored.duckdb")
    with Store.open(tmp_path / "restored.duckdb") as restored:
        assert restored.identity == store.identity


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
        ticket, _ = await gateways.take(
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
        unknown = PawlError("not known", code="completion_not_found")
        assert gateways.explained(unknown, "c2", None) is unknown
        monkeypatch.setattr(module, "LOST_SECONDS", -1.0)
        await gateways.arrived("c2")  # nobody waits for it any more
        told = gateways.explained(unknown, None, "c2")
        assert "'c2' never came from the gateway" in str(told)
        assert (told.code, told.retryable) == ("completion_not_found", False)
        assert gateways.explained(raised.value, "c2") is raised.value
        refused = AnswerEnd(completion_id="c2", status="error", is_recorded=False)
        await gateways.take(store, ONE, Shipment(version=__version__, ended=[refused]))
        await gateways.arrived("c2")
        await gateways.take(store, ONE, Shipment(version=__version__, is_over=True))
        await gateways.arrived("c3")
        assert gateways.holder(ticket, []) is None

    with Store.open(tmp_path / "pawl.duckdb") as store:
        asyncio.run(ask(store))


@pytest.mark.slow
def test_journals_that_were_left_are_sent_whatever_version_or_kill_left_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(shipping, "BEAT_SECONDS", 0.05)
    folder = tmp_path / "gateway"

    def leave(gateway_id: str, store: str, *, columns: list[str], broken: bool) -> Path:
        """Three frames, of which a torn one may stand before the second."""
        journal = Journal(folder / gateway_id, store, 0)
        for row in ((n, *row_of(one)) for n, one in enumerate(answers(3, gateway_id[:1]), 1)):
            written = {"completions": [row[: 1 + len(columns)]]}
            journal.append({"completions": ["seq", *columns]}, written)
        path = journal_path(folder / gateway_id)
        if broken:
            with path.open("r+b") as file:
                file.write(b"PWJ1" + bytes(60))
        return path

    async def send(server: Live, settings: Settings) -> None:
        outbox = Outbox(folder)
        async with aiohttp.ClientSession() as session:
            shipper = Shipper(server.url, api_key_of(settings) or "", outbox, session, server.url)
            another = leave("3" * 32, "a" * 64, columns=COLUMNS, broken=False)
            running = asyncio.create_task(shipper.run())
            for gateway_id, columns, broken, n_kept in (
                (ONE, COLUMNS[:-1], False, 3),  # of a version that had no system_prompt_sha256
                (ONE, COLUMNS, True, 3),  # all of it had been sent, but for what a kill cut short
                (OTHER, COLUMNS, True, 5),  # the server lost what it had: all that is whole comes
            ):
                path = leave(gateway_id, gateway_id, columns=columns, broken=broken)
                async with asyncio.timeout(60):
                    while path.exists():  # noqa: ASYNC110 - nobody tells when it goes
                        await asyncio.sleep(0.05)
                assert len(kept(server.store)) == n_kept
            assert path.with_suffix(".damaged").exists()
            assert shipper.of_other_stores == {another}
            running.cancel()
            await asyncio.wait({running})
            await asyncio.wrap_future(outbox.append_completion(answers(1)[0]))
            [frame] = read_frames(journal_path(folder / outbox.gateway_id).read_bytes())
            assert frame.store == server.store.identity
            await shipper.leave()
        outbox.close()
        assert another.exists()

    folder.mkdir()
    settings = Settings(state_dir=tmp_path / "server")
    with live(settings, wait=False) as server:
        asyncio.run(send(server, settings))


def test_what_the_journal_could_not_take_is_not_said_to_be_recorded(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    recorded = Recorded(outbox)
    one, other = answers(2)
    recorded.append_completion(one).result(timeout=60)
    journal_path(tmp_path / outbox.gateway_id).unlink()
    with pytest.raises(PawlError, match="was taken away"):
        recorded.append_completion(other).result(timeout=60)
    assert recorded.has_taken("c1")
    assert not recorded.has_taken("c2")
    assert not recorded.has_taken("c1")  # it is asked once
    outbox.close()


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
                shipper.problem = "Cannot connect to host 127.0.0.1:1"
                for path in ("/v1/models", "/health"):
                    down = await http.get(path)
                    assert down.status_code == 503
                    assert "127.0.0.1" not in down.text
                    assert outbox.gateway_id not in down.text
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
    async def ask(store: Store) -> None:
        gateways, here = Gateways(), Shipment(version=__version__)
        ticket, _ = await gateways.take(store, ONE, here)
        assert gateways.holder(ticket, ["http://127.0.0.1:1"]) is None  # not its own loopback
        gateway = gateways.holder(ticket, ["http://10.0.0.7:8000"])
        assert gateway is not None
        monkeypatch.setattr(module, "SILENT_SECONDS", 0.1)
        await gateways.take(store, ONE, here)
        with gateway.answering("c1") as ending:
            assert (await asyncio.wait_for(ending, 5)).status == "cancelled"
        assert gateways.holder(ticket, ["http://10.0.0.7:8000"]) is None  # it may be nobody's now
        monkeypatch.setattr(module, "SILENT_SECONDS", 10.0)
        await gateways.take(store, ONE, here)
        assert gateways.holder(ticket, ["http://10.0.0.7:8000"]) is gateway

    with Store.open(tmp_path / "pawl.duckdb") as store:
        asyncio.run(ask(store))
