"""The dashboard's figures: counted by hand here, by the store there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from feedback.categories import DEFAULT_CATEGORIES
from feedback.dashboard import complaints, dashboard, waiting_for_training, wilson
from feedback.review_queue import Queue
from feedback.reviews import decide
from feedback.store import Store
from pawl.schemas import Completion, ReviewedAnswer, ReviewRequest, written
from pawl.settings import Settings
from tests.feedback.examples import make_completion, make_feedback, wait_all

NOW = datetime(2026, 5, 20, 15, 30, tzinfo=UTC)


def ago(days: float) -> str:
    return written(NOW - timedelta(days=days))


def answer(question: str, days: float, **changed: Any) -> Completion:
    return make_completion(
        messages=[{"role": "user", "content": question}], created_at=ago(days), **changed
    )


def keep(store: Store, *rows: Completion) -> None:
    wait_all(store.append_completion(row) for row in rows)


def say(store: Store, to: Completion, **said: Any) -> None:
    fields = {"thumb": "down", "rater_id": to.rater_id, "created_at": to.created_at, **said}
    wait_all([store.append_feedback(make_feedback(to, **fields))])


@pytest.mark.parametrize(("n", "n_all"), [(0, 5), (3, 10), (10, 10), (7, 100_000)])
def test_intervals_are_scipys(n: int, n_all: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(n, n_all).proportion_ci(method="wilson")
    assert wilson(n, n_all) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_lines_by_day_version_and_category(store: Store) -> None:
    plain = [answer(f"Question {n}", 1, rater_id=f"r{n % 2}") for n in range(6)]
    other = [answer(f"Other {n}", 0, version="pawl@1", total_seconds=float(n)) for n in range(3)]
    old, broken = answer("Old", 9), answer("Broken", 0, status="error", version="pawl@1")
    gone = answer("Gone", 0, rater_id="zoe")
    keep(store, *plain, *other, old, broken, gone)
    say(store, plain[0], categories=["incorrect", "verbose"])
    say(store, plain[1], thumb="up")
    say(store, plain[2], thumb=None, correction="Better.")
    say(store, plain[3])
    say(store, plain[3], thumb=None, retracted=True)  # taken back
    say(store, other[0])
    say(store, other[0], rater_id="bob", thumb="up")
    say(store, other[1], source="review", rater_id="rita")  # a reviewer's decision
    say(store, old)
    store.conversations.delete([gone.conversation_id], "zoe")
    found = dashboard(store, 7, NOW)
    assert (found.total.n_answers, found.total.n_flagged) == (10, 3)
    assert (found.total.n_up, found.total.n_down, found.total.n_errors) == (2, 2, 1)
    assert found.total.rate.per_1000 == 300
    assert [line.name for line in found.by_time] == [f"2026-05-{day}" for day in range(14, 21)]
    assert [line.n_answers for line in found.by_time] == [0, 0, 0, 0, 0, 6, 4]
    assert found.by_time[5].n_people == 2
    assert found.by_time[0].rate.per_1000 is None
    assert [(one.name, one.n_answers, one.n_flagged) for one in found.by_version] == [
        ("base", 6, 2), ("pawl@1", 4, 1),
    ]  # fmt: skip
    assert found.by_version[1].total_seconds == [1.0, 1.9]
    assert [(one.name, one.n_flagged, one.rate.per_1000) for one in found.by_category] == [
        ("(none named)", 2, 200), ("incorrect", 1, 100), ("verbose", 1, 100),
    ]  # fmt: skip
    by_hour = dashboard(store, 1, NOW)
    assert [line.name for line in by_hour.by_time][-1] == "2026-05-20T15"
    assert len(by_hour.by_time) == 24
    assert by_hour.total.n_answers == 4


def test_an_empty_store_has_an_empty_dashboard(store: Store) -> None:
    found = dashboard(store, 30, NOW)
    assert (found.total.n_answers, found.total.rate.per_1000) == (0, None)
    assert len(found.by_time) == 30
    assert found.by_version == found.by_category == found.by_word == found.complaints == []


def test_words_that_several_people_flag_stand_first(store: Store) -> None:
    for n in range(8):
        pizza = answer(f"Is the pizza number {n} hot?", 1, rater_id=f"r{n % 3}")
        tea = answer(f"Is the tea number {n} hot?", 1)
        keep(store, pizza, tea)
        if n < 5:
            say(store, pizza)
    secret = [answer(f"My own word {n}: xyzzy", 1, rater_id="ann") for n in range(4)]
    keep(store, *secret)
    for one in secret:
        say(store, one)
    [first, *rest] = dashboard(store, 7, NOW).by_word
    assert (first.name, first.n_answers, first.n_flagged, first.n_people) == ("pizza", 8, 5, 3)
    assert "xyzzy" not in {line.name for line in rest}  # one person's
    assert {line.name: line.n_answers for line in rest}["hot"] == 16


def test_nearly_the_same_complaint_is_one(store: Store) -> None:
    same = [
        answer(f"Which colour has the roof of the old town hall{end}", 2 - n, rater_id=f"r{n}")
        for n, end in enumerate(("?", ", please?"))
    ]
    hidden = answer("Which colour has the roof of the old town hall?", 0, rater_id="zoe")
    keep(store, *same, answer("Something else", 1), hidden)
    for one in (*same, hidden):
        say(store, one, categories=["incorrect"])
    note = store.conversations.note(hidden.conversation_id, "zoe")
    store.conversations.keep(replace(note, learn=False)).result(60)
    [found] = complaints(store, ago(7))
    assert found.question.endswith("please?")
    assert (found.n_answers, found.n_people, found.categories) == (2, 2, ["incorrect"])


def test_what_waits_for_training_is_what_came_after_the_last_verdict(store: Store) -> None:
    assert any(one.key == "unsafe" and one.treatment == "review" for one in DEFAULT_CATEGORIES)
    rows = [answer(f"Question {n}", 5) for n in range(4)]
    keep(store, *rows)
    say(store, rows[0], correction="Before.")
    assert waiting_for_training(store).n_corrections == 1
    manifest = {"snapshot_id": "s1", "created_at": ago(3), "content_sha256": "x"}
    store.append_snapshot(manifest).result(60)
    store.append_run({"run_id": "r1", "status": "finished", "at": ago(3),
                      "detail": {"snapshot_id": "s1"}}).result(60)  # fmt: skip
    assert waiting_for_training(store).since is None  # it has no verdict
    store.append_verdict("r1", {"outcome": "reject"}).result(60)
    say(store, rows[1], created_at=ago(2), categories=["unsafe"])
    say(store, rows[2], created_at=ago(2), thumb="up")
    found = waiting_for_training(store)
    assert found.since == ago(3)
    assert (found.n_corrections, found.n_thumbs_down, found.n_thumbs_up) == (0, 1, 1)
    assert found.n_uncorrected == 1


def test_the_backlog_counts_what_no_reviewer_decided(store: Store, settings: Settings) -> None:
    rows = [answer(f"Question {n}", 3 - n) for n in range(3)]
    keep(store, *rows)
    for one in rows[:2]:
        say(store, one)
    queue = Queue(store, settings)
    before = queue.backlog()
    assert (before.n_waiting, before.oldest_at, before.n_decided) == (2, ago(3), 0)
    decide(store, ReviewRequest(
        answers=[ReviewedAnswer(completion_id=rows[0].completion_id)], decision="accept"
    ), "rita")  # fmt: skip
    after = queue.backlog()
    assert (after.n_waiting, after.oldest_at, after.n_decided) == (1, ago(2), 1)
