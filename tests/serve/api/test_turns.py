"""What one caller asks of the store takes few of the threads, whichever routes it comes by."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from feedback.store import Store
from pawl.errors import PawlError
from pawl.schemas import Category, Feedback
from pawl.settings import Settings
from serve.api.quotas import CallerQuotas
from serve.api.turns import AT_ONCE
from tests.serve.live import eventually, live

SLOW = ("/v1/feedback/categories", "/v1/answered-differently")


class SlowStore(Store):
    """What the slow routes read of it comes while it is released."""

    reading: ClassVar[list[str]] = []
    released = threading.Event()
    released.set()  # a store reads its categories as it is opened

    def categories(self) -> list[Category]:
        self._wait("categories")
        return super().categories()

    def current_feedback(self, *args: Any, **kwargs: Any) -> list[Feedback]:
        self._wait("feedback")
        return super().current_feedback(*args, **kwargs)

    def _wait(self, what: str) -> None:
        self.reading.append(what)
        assert self.released.wait(60)


def test_one_callers_requests_wait_for_each_other_whichever_routes_they_come_by(
    tmp_path: Path,
) -> None:
    settings = Settings(state_dir=tmp_path)
    with (
        SlowStore.open(settings.database_path) as store,
        live(settings, store=store) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
        ThreadPoolExecutor(20) as threads,
    ):
        reading = SlowStore.reading
        reading.clear()
        SlowStore.released.clear()

        def ask(path: str, rater: str) -> int:
            return client.get(path, headers={"X-Pawl-Rater": rater}).status_code

        anns = [threads.submit(ask, path, "ann") for path in SLOW for _ in range(AT_ONCE)]
        eventually(lambda: len(reading) == AT_ONCE, "the first have their turn")
        bobs = threads.submit(ask, SLOW[0], "bob")
        eventually(lambda: len(reading) > AT_ONCE, "another has a turn")
        assert ask("/v1/models", "ann") == 200
        assert len(reading) == AT_ONCE + 1
        SlowStore.released.set()
        assert {one.result() for one in (*anns, bobs)} == {200}
        assert len(reading) == 2 * AT_ONCE + 1


def test_a_burst_of_what_costs_more_is_charged_for_all_but_one() -> None:
    """Each is let in for one row, and the rest is charged once it is recorded."""
    quotas = CallerQuotas("rows an hour", 1_000, 3600.0, clock=lambda: 0.0)
    for _ in range(5):
        quotas.charge("ann")
    quotas.charge("ann", 499, is_let_in=True)
    quotas.charge("ann", 499, is_let_in=True)
    with pytest.raises(PawlError) as caught:
        quotas.charge("ann", 499, is_let_in=True)
    assert caught.value.code == "rate_limit_exceeded"
    quotas.charge("bob")
    last = CallerQuotas("rows an hour", 1, 3600.0, clock=lambda: 0.0)
    last.charge("ann")
    last.charge("ann", 499, is_let_in=True)  # who is alone is let in with the last one
