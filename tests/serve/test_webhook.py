"""The webhook before a real receiver that fails first: signed, in order, once each, never lost."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from feedback.changes import changes_since
from feedback.store import Store
from pawl.errors import PawlError
from pawl.plugins import Plugin
from pawl.settings import WebhookSettings, load_settings
from serve.api.metrics import Metrics
from serve.webhook import MOST_REFUSALS, Notifier, Teller, Webhook
from tests.feedback.examples import answered, make_promotion, said
from tests.serve.live import eventually, serving

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


class Receiver:
    """Takes what is posted to it. It answers the statuses in ``plan`` first, then 204."""

    def __init__(self) -> None:
        self.plan: list[int] = []
        self.taken: list[dict[str, Any]] = []
        self.ids: list[str] = []  # of every request
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.ids.append(self.headers["webhook-id"])
                status = receiver.plan.pop(0) if receiver.plan else 204
                if status == 204:
                    receiver.check(self.headers, body)
                    receiver.taken.append(json.loads(body))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
                self.end_headers()

            do_GET = do_POST  # what a redirect would make of it

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port

    @staticmethod
    def check(headers: Any, body: bytes) -> None:
        """As standardwebhooks.com has it."""
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 30
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{digest}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    with serving(one.server):
        yield one


@contextmanager
def telling(store: Store, folder: Path, port: int) -> Iterator[Webhook]:
    """A webhook that runs for the time of the block."""
    settings = WebhookSettings(url=f"http://127.0.0.1:{port}/hook", secret=SECRET)
    webhook = Webhook(settings, store, folder, Metrics(), pause=lambda n: 0.01)
    with running(webhook):
        yield webhook


@contextmanager
def running(teller: Teller) -> Iterator[None]:
    async def run() -> None:
        task = asyncio.create_task(teller.run())
        await asyncio.to_thread(over.wait)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    over = threading.Event()
    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "pawl.duckdb") as one:
        yield one


def test_a_receiver_that_fails_first_is_told_all_in_order(
    store: Store, receiver: Receiver, tmp_path: Path
) -> None:
    said(store, answered(store), thumb="down")  # before anybody was to be told
    receiver.plan = [500, 429, 302, 503]
    with telling(store, tmp_path, receiver.port):
        flagged = said(store, answered(store, version="pawl@2"), thumb="down", correction="It is.")
        said(store, answered(store), thumb="up")
        for step in ("waiting", "pending", "canary", "live"):
            store.append_promotion(make_promotion("pawl@3", step, promotion_id="p")).result()
        store.append_promotion(make_promotion("pawl@4", "refused")).result()
        store.append_promotion(make_promotion("base", "live", kind="rollback")).result()
        store.append_verdict("run-9", {"outcome": "reject", "reasons": ["a"]}).result()
        store.append_verdict("run-10", {"outcome": "not_enough_evidence"}).result()
        eventually(lambda: len(receiver.taken) == 7, "all are told")
    assert [one["type"] for one in receiver.taken] == [
        "feedback.flagged", "challenger.waiting", "challenger.canary", "version.promoted",
        "challenger.rejected", "version.rolled_back", "challenger.rejected",
    ]  # fmt: skip
    first = receiver.taken[0]["data"]
    assert (first["feedback_id"], first["version"]) == (flagged.feedback_id, "pawl@2")
    assert (first["correction"], first["thumb"]) == ("It is.", "down")
    assert receiver.taken[6]["data"]["verdict"]["reasons"] == ["a"]
    assert receiver.ids[:5] == [flagged.feedback_id] * 5  # four failures; the redirect not followed
    assert len(set(receiver.ids)) == 7  # each step of a promotion is told for itself


def test_what_came_while_nobody_told_is_told_by_the_next_start(
    store: Store, receiver: Receiver, tmp_path: Path
) -> None:
    with telling(store, tmp_path, receiver.port):
        said(store, answered(store), thumb="down", comment="one")
        eventually(lambda: receiver.taken, "the first is told")
    said(store, answered(store), thumb="down", comment="two")
    with telling(store, tmp_path, receiver.port):
        said(store, answered(store), thumb="down", comment="three")
        eventually(lambda: len(receiver.taken) == 3, "the rest is told")
    assert [one["data"]["comment"] for one in receiver.taken] == ["one", "two", "three"]


def test_one_that_is_refused_for_good_does_not_stop_the_others(
    store: Store, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.plan = [400] * MOST_REFUSALS
    with telling(store, tmp_path, receiver.port):
        said(store, answered(store), thumb="down", comment="one")
        said(store, answered(store), thumb="down", comment="two")
        eventually(lambda: receiver.taken, "the second is told")
    assert [one["data"]["comment"] for one in receiver.taken] == ["two"]


def test_one_that_fails_as_nobody_foresaw_does_not_stop_the_others(
    store: Store, receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with telling(store, tmp_path, receiver.port):
        said(store, answered(store), thumb="down", comment="one", created_at="never")
        said(store, answered(store), thumb="down", comment="two")
        eventually(lambda: receiver.taken, "the second is told")
    assert [one["data"]["comment"] for one in receiver.taken] == ["two"]
    assert any(record.exc_info for record in caplog.records if record.name == "pawl.webhook")


class Notes:
    """A notifier that fails by plan: an error to raise, or an event to wait for."""

    def __init__(self) -> None:
        self.plan: list[Exception | threading.Event] = []
        self.taken: list[str] = []
        self.n_calls = 0

    def notify(self, message: Mapping[str, Any]) -> None:
        self.n_calls += 1
        if self.plan:
            one = self.plan.pop(0)
            if isinstance(one, Exception):
                raise one
            one.wait(30)
            return
        assert set(message) == {"id", "type", "timestamp", "data"}
        self.taken.append(message["data"]["comment"])


@pytest.mark.slow
def test_a_notifier_that_fails_and_hangs_is_told_the_rest(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.webhook.ANSWER_SECONDS", 0.2)
    notes, metrics = Notes(), Metrics()
    plugin = Plugin("notes", "acme 1.2", notes)

    def outcomes(outcome: str) -> float:
        labels = {"notifier": "notes", "outcome": outcome}
        return metrics.registry.get_sample_value("pawl_notifier_calls_total", labels) or 0.0

    with running(Notifier(plugin, store, tmp_path, metrics, pause=lambda n: 0.01)):
        notes.plan = [OSError("down")] * (MOST_REFUSALS + 2)
        said(store, answered(store), thumb="down", comment="one")
        eventually(lambda: notes.taken == ["one"], "it comes once the network is back")
        notes.plan = [ValueError("a secret word")] * MOST_REFUSALS
        said(store, answered(store), thumb="down", comment="two")
        said(store, answered(store), thumb="down", comment="three")
        eventually(lambda: notes.taken == ["one", "three"], "the third comes, the second not")
        n_calls, hangs = notes.n_calls, threading.Event()
        notes.plan = [hangs]
        said(store, answered(store), thumb="down", comment="four")
        eventually(lambda: outcomes("given_up") == 2, "what hangs is given up")
        assert notes.n_calls == n_calls + 1  # no second call beside the one that hangs
        n_failed = outcomes("failed")
        said(store, answered(store), thumb="down", comment="five")
        eventually(lambda: outcomes("failed") > n_failed + MOST_REFUSALS, "it waits for that call")
        hangs.set()
        eventually(lambda: notes.taken[-1] == "five", "the next comes")
        eventually(lambda: outcomes("delivered") == 3, "the first, the third and the last")
    assert "ValueError at test_webhook.py" in caplog.text
    assert "secret word" not in caplog.text
    # Another run goes on where this one ended.
    with running(Notifier(plugin, store, tmp_path, metrics, pause=lambda n: 0.01)):
        said(store, answered(store), thumb="down", comment="six")
        eventually(lambda: notes.taken[-2:] == ["five", "six"], "nothing is told again")
        eventually(lambda: outcomes("delivered") == 4, "the sixth is counted")
        # One that takes long is waited for, and not told again.
        n_calls, n_delivered = notes.n_calls, outcomes("delivered")
        notes.plan = [slow := threading.Event()]
        threading.Timer(0.7, slow.set).start()
        said(store, answered(store), thumb="down", comment="seven")
        eventually(lambda: outcomes("delivered") == n_delivered + 1, "the slow one has ended")
        assert (notes.n_calls, outcomes("given_up")) == (n_calls + 1, 2)


def test_what_comes_while_the_tables_are_read_is_told_the_next_time(store: Store) -> None:
    """A promotion that is read must not hide feedback that came before it."""
    first = said(store, answered(store), thumb="down")
    more: list[str] = []

    def read(sql: str, values: Sequence[Any]) -> list[Any]:
        rows = store.read(sql, values)
        if " FROM feedback WHERE" in sql and not more:
            more.append(said(store, answered(store), thumb="down").feedback_id)
            store.append_promotion(make_promotion("pawl@1", "live", promotion_id="p")).result()
        return rows

    told = changes_since(read, 0, store.newest_seq(), 100)
    assert [one.change_id for one in told] == [first.feedback_id]
    told = changes_since(read, told[-1].seq, store.newest_seq(), 100)
    assert [one.kind for one in told] == ["feedback.flagged", "version.promoted"]
    assert told[0].change_id == more[0]


@pytest.mark.parametrize(
    "webhook",
    [{"url": "ftp://a.example", "secret": SECRET}, {"url": "nowhere", "secret": SECRET},
     {"url": "http://[::1", "secret": SECRET},
     {"url": "http://a.example", "secret": "short"}, {"secret": "whsec_" + "A" * 8}],
)  # fmt: skip
def test_what_can_not_be_told_or_signed_is_refused(webhook: dict[str, str]) -> None:
    with pytest.raises(PawlError, match="webhook") as caught:
        load_settings({"webhook": webhook}, only_flags=True)
    assert SECRET not in str(caught.value)
    assert "a.example" not in str(caught.value)
