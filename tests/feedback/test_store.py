"""What is appended comes back as it was, once, in order, from any thread and after a restart."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from feedback.categories import DEFAULT_CATEGORIES
from feedback.mark import wal_path
from feedback.rows import Lesson
from feedback.store import Store
from pawl.errors import PawlError
from pawl.schemas import Category, ItemScore
from tests.feedback.examples import (
    answered,
    make_completion,
    make_feedback,
    make_promotion,
    said,
    wait_all,
)


def test_a_completion_comes_back_as_it_was(store: Store) -> None:
    first = answered(store, completion="a\x00b\u2028c \U0001f642", n_completion_tokens=3)
    second = answered(store, completion_id=first.completion_id, choice_index=1, version="pawl@3")
    assert store.get_completion(first.completion_id) == first
    assert store.get_completion(first.completion_id, 1) == second
    assert store.get_completion(first.completion_id, 2) is None
    assert store.get_completion("nobody") is None
    assert store.completions() == [first, second]
    assert store.completions(rater_id="bob") == []

    other = answered(store, completion="c" * 5_000)
    assert store.completions(newest_bytes=1) == [other]
    assert store.completions(newest_bytes=7_000) == [second, other]
    assert store.completions(newest_bytes=9_000) == [first, second, other]
    assert store.completions(rater_id="ann", newest_bytes=1) == [other]
    assert store.completions(rater_id="bob", newest_bytes=1) == []


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "pawl.duckdb"
    with Store.open(path) as store:
        completion = answered(store)
        feedback = said(store, completion, thumb="down", categories=["incorrect", "tone"])
        promotion = make_promotion("pawl@1", "live")
        scores = [
            ItemScore("arc_easy", "1", 1.0, "1"),
            ItemScore("arc_easy", "2", None, "2", error="cut off", detail={"n": 1}),
        ]
        wait_all(
            [
                store.append_promotion(promotion),
                store.append_scores("r", "champion", scores),
                store.append_run({"run_id": "r", "status": "started", "at": "t1"}),
                store.append_run(
                    {"run_id": "r", "status": "done", "at": "t2", "detail": {"x": [1]}}
                ),
                store.append_verdict("r", {"outcome": "promote", "reasons": ["better"]}),
            ]
        )
    assert not path.with_name("pawl.duckdb.wal").exists()  # folded in at close
    with Store.open(path) as store:
        store.verify()
        assert store.completions() == [completion]
        assert store.current_feedback() == [feedback]
        assert store.promotions() == [promotion]
        assert store.champion() == "pawl@1"
        assert store.scores("r", "champion") == scores
        assert store.scores("r", "challenger") == []
        assert store.run("r") == {
            "run_id": "r",
            "status": "done",
            "at": "t2",
            "started_at": "t1",
            "detail": {"x": [1]},
            "verdict": {"outcome": "promote", "reasons": ["better"]},
        }
        assert store.run("s") is None
        assert [one["run_id"] for one in store.runs()] == ["r"]
        assert store.counts()["completions"] == 1
        assert store.categories() == list(DEFAULT_CATEGORIES)  # not added a second time


def test_conversations_are_counted(store: Store) -> None:
    for name in ("x", "y", "x"):
        answered(store, conversation_id=name)
    assert store.counts()["conversations"] == 2


def test_a_repeated_key_answers_the_first_row(tmp_path: Path) -> None:
    path = tmp_path / "pawl.duckdb"
    with Store.open(path) as store:
        completion = answered(store)
        first = said(store, completion, thumb="down", idempotency_key="k")
        again = said(store, completion, thumb="up", comment="other", idempotency_key="k")
        assert again == first
    with Store.open(path) as store:
        assert said(store, completion, thumb="up", idempotency_key="k") == first
        assert store.feedback_history() == [first]
        other = said(store, completion, thumb="up", idempotency_key="k", rater_id="bob")
        assert other.thumb == "up"  # another person's key is another key
        assert store.feedback_history(completion.completion_id) == [first, other]


def test_repeats_that_come_together_are_stored_once(store: Store) -> None:
    completion = answered(store)
    rows = [
        make_feedback(completion, idempotency_key=f"k{n % 3}", comment=str(n)) for n in range(300)
    ]
    kept = wait_all([store.append_feedback(row) for row in rows])
    assert kept == [rows[n % 3] for n in range(300)]
    assert store.feedback_history() == rows[:3]


def test_the_latest_word_of_each_person_counts(store: Store) -> None:
    one, two = answered(store), answered(store)
    said(store, one, thumb="up")
    bob = said(store, one, thumb="up", rater_id="bob")
    ann = said(store, one, thumb="down")
    other = said(store, two, thumb="up")
    choice = said(store, one, thumb="up", choice_index=1)
    assert store.current_feedback() == [bob, ann, other, choice]
    assert store.current_feedback(one.completion_id, "ann") == [ann, choice]
    taken_back = said(store, one, retracted=True)
    assert store.current_feedback(one.completion_id) == [bob, choice]
    assert taken_back in store.current_feedback(include_retracted=True)
    later = said(store, one, thumb="up")
    assert store.current_feedback(one.completion_id) == [bob, choice, later]
    assert len(store.feedback_history(one.completion_id)) == 6
    assert store.counts()["feedback"] == 4
    assert store.counts()["feedback_rows"] == 7


def test_the_newest_wording_of_a_category_counts(store: Store) -> None:
    keys = [one.key for one in store.categories()]
    changed = Category("verbose", "Too long.", "…", "ignore")
    added = Category("too_jargony", "Words nobody knows.", "…", "train")
    wait_all([store.append_category(changed), store.append_category(added)])
    assert [one.key for one in store.categories()] == [*keys, "too_jargony"]
    assert store.categories()[keys.index("verbose")] == changed


def test_a_version_number_is_given_out_once(tmp_path: Path) -> None:
    path = tmp_path / "pawl.duckdb"
    with Store.open(path) as store:
        assert store.champion() == "base"
        assert store.next_version() == 1
        given: list[int] = []
        threads = [
            threading.Thread(target=lambda: given.append(store.next_version())) for _ in range(8)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert sorted(given) == list(range(2, 10))
    with Store.open(path) as store:  # those were given out, and nothing came of them
        assert store.next_version() == 10


def test_only_what_duckdb_cannot_hold_fails(store: Store) -> None:
    rows = [make_completion() for _ in range(40)]
    rows[7] = make_completion(completion="half a pair \ud83d")
    rows[9] = make_completion(n_prompt_tokens="many")
    futures = [store.append_completion(row) for row in rows]
    for n, future in enumerate(futures):
        if n in (7, 9):
            with pytest.raises(PawlError) as err:
                future.result(timeout=60)
            assert err.value.code == "not_storable"
        else:
            future.result(timeout=60)
    assert store.completions() == [row for n, row in enumerate(rows) if n not in (7, 9)]


def test_a_repeat_beside_an_unstorable_first_is_stored(store: Store) -> None:
    bad = make_feedback("c", idempotency_key="k", comment="\ud83d")
    good = make_feedback("c", idempotency_key="k", comment="fine")
    futures = [store.append_feedback(bad), store.append_feedback(good)]
    with pytest.raises(PawlError):
        futures[0].result(timeout=60)
    assert futures[1].result(timeout=60) == good
    assert store.feedback_history() == [good]


def test_a_client_that_hung_up_cancels_nothing(store: Store) -> None:
    completion = make_completion()

    async def hang_up() -> None:
        waiting = asyncio.ensure_future(asyncio.wrap_future(store.append_completion(completion)))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(hang_up())
    answered(store)  # the one before is committed when this one is
    assert store.get_completion(completion.completion_id) == completion


@pytest.mark.slow
def test_reads_beside_writes_see_all_that_was_acknowledged(store: Store) -> None:
    n_threads, n_each = 6, 60
    problems: list[str] = []

    def work(name: str) -> None:
        for n in range(n_each):
            row = answered(store, conversation_id=name)
            if store.get_completion(row.completion_id) != row:
                problems.append(f"{name}: row {n} is not there")
            if len(store.completions(conversation_id=name)) != n + 1:
                problems.append(f"{name}: not {n + 1} rows")

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(n_threads)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert problems == []
    assert store.counts()["completions"] == n_threads * n_each


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "pawl.duckdb")
    queued = [store.append_completion(make_completion()) for _ in range(200)]
    store.close()
    store.close()
    wait_all(queued)  # what was queued is committed first
    for future in (
        store.append_completion(make_completion()),
        store.append_feedback(make_feedback("c")),
    ):
        with pytest.raises(PawlError) as err:
            future.result(timeout=60)
        assert err.value.code == "store_closed"
    with pytest.raises(PawlError, match="closed"):
        store.completions()
    with Store.open(tmp_path / "pawl.duckdb") as store:
        assert store.counts()["completions"] == 200


def test_the_salt_stays(tmp_path: Path) -> None:
    with Store.open(tmp_path / "pawl.duckdb") as store:
        assert store.split_salt("salt") == "salt"
    with Store.open(tmp_path / "pawl.duckdb") as store:
        assert store.split_salt() == store.split_salt("salt") == "salt"
        with pytest.raises(PawlError) as err:
            store.split_salt("pepper")
        assert err.value.code == "split_salt_changed"


def test_a_salt_that_nobody_gave_is_the_store_s_own(tmp_path: Path) -> None:
    salts = []
    for name in ("one", "two"):
        with Store.open(tmp_path / f"{name}.duckdb") as store:
            salts.append(store.split_salt())
        with Store.open(tmp_path / f"{name}.duckdb") as store:
            assert store.split_salt() == salts[-1]
    assert salts[0] != salts[1]
    assert min(map(len, salts)) >= 32


def test_a_store_that_was_opened_again_still_folds_its_wal(tmp_path: Path) -> None:
    """A result of which a row was left unread kept its transaction open, and checkpoints out."""
    path = tmp_path / "pawl.duckdb"
    with Store.open(path) as store:
        store.append_completion(make_completion()).result()
        with store._writer.paused():
            store._database.reopen()
        store.append_completion(make_completion()).result()
        store.flush()
        store._database.checkpoint()
        assert not wal_path(path).exists()


def test_imported_rows_are_read_in_little_memory(store: Store) -> None:
    """Rows of long conversations, of 24 MB. What DuckDB looks into is copied several times."""
    turn = {"role": "user", "content": "x" * 300}
    before = [{**turn, "content": f"{n:0>300}"} for n in range(100)]
    prompts = [[*before, {**turn, "content": f"{n}"}] for n in range(800)]
    lessons = [Lesson("sft", "g", prompt, completion="y") for prompt in prompts]
    store.append_imported(lessons, source_format="sft", file_sha256="0").result(timeout=60)
    store.read("SET memory_limit = '100MB'")
    read = store.imported()
    assert [row.prompt for row in read] == prompts
    assert len(store.imported_keys()) == len(store.first_mentions()) == 800
    assert store.imported_states() == {}
    assert read[1].prompt[0] is read[0].prompt[0]
    store.read("SET memory_limit = '1GB'")
