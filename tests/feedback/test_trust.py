"""Raters who flood, copy, hide behind names or poison get little or nothing into a snapshot."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feedback.curation import OVER_SHARE, Curated, curate
from feedback.fresh import WAITS
from feedback.raters import Raters, beyond_share, quarantined
from feedback.service import curate_for_night, take_snapshot
from feedback.snapshots import freeze
from feedback.store import Store
from pawl.schemas import Key, Role, utc_now
from pawl.settings import Settings
from tests.feedback.examples import make_completion, make_feedback, wait_all

NOUNS = (
    "lantern kettle harbour violin meadow ladder pigeon cellar ribbon anchor walnut candle saddle"
    " tunnel basket mirror pepper button"
).split()
START = datetime(2026, 1, 1, tzinfo=UTC)


def _question(n: int) -> str:
    a, b, c = (NOUNS[(n * step + n // 18) % 18] for step in (1, 5, 7))
    return f"Nr {n}: may the {a} of {n * 7919 % 1000} stand by a {b}, or is {c} {n * 31} better?"


def _say(store: Store, rows: Iterable[tuple[int, str, str]], without: str | None = None) -> None:
    """Corrections, an hour between two: number of the question, rater, text."""
    futures = []
    for place, (n, rater_id, text) in enumerate(rows):
        if rater_id == without:
            continue
        answer = make_completion(
            completion_id=f"answer {n} of {rater_id}", conversation_id=f"talk {n}",
            messages=[{"role": "user", "content": _question(n)}], completion="I don't know.",
        )  # fmt: skip
        feedback = make_feedback(
            answer, feedback_id=f"{n} {rater_id}", rater_id=rater_id, correction=text,
            created_at=(START + timedelta(hours=place)).isoformat(),
        )  # fmt: skip
        futures += [store.append_completion(answer), store.append_feedback(feedback)]
    wait_all(futures)


def _honest(n_raters: int, each: int) -> list[tuple[int, str, str]]:
    return [
        (n, f"person {n % n_raters}", f"The {NOUNS[n % 18]} goes to place {n}.")
        for n in range(n_raters * each)
    ]


def _share(curated: Curated, prefix: str) -> float:
    owners = Counter(str(row.origin["rater_id"]).startswith(prefix) for row in curated.rows)
    return owners[True] / owners.total()


def test_who_writes_most_of_it_owns_a_tenth_and_leaves_no_trace(
    store: Store, settings: Settings, empty_store: Path, tmp_path: Path
) -> None:
    honest = _honest(20, 4)
    troll = [(n, "troll", f"Only the king of {NOUNS[n % 18]} {n} decides.") for n in range(40, 240)]
    rows = [row for pair in zip(honest, troll, strict=False) for row in pair] + troll[len(honest) :]
    _say(store, rows)
    curated = curate(store, settings)
    assert 0 < _share(curated, "troll") <= 0.1
    uncapped = settings.model_copy(
        update={"curation": settings.curation.model_copy(update={"max_share": 1.0})}
    )
    assert _share(curate(store, uncapped), "troll") > 0.4
    other_path = tmp_path / "other.duckdb"
    other_path.write_bytes(empty_store.read_bytes())
    with Store.open(other_path) as other:
        _say(other, rows, without="troll")
        never = freeze(curate(other, settings), tmp_path / "never")
    without = freeze(curate(store, settings, without=["troll"]), tmp_path / "without")
    assert without["content_sha256"] == never["content_sha256"]
    assert without["rejections"] == never["rejections"]


def test_who_writes_most_of_what_is_new_owns_no_more_of_tonight_s_tests(
    store: Store, settings: Settings
) -> None:
    """After a look half of what is new tests first, whatever its split."""
    _say(store, _honest(20, 5))
    paid = {"snapshot_id": take_snapshot(store, settings)["snapshot_id"], "attempt": 1,
            "alpha": 0.01, "prompts": {"k": "same"}}  # fmt: skip
    store.append_verdict("r1", {"outcome": "reject", "look": paid}).result()
    new = [(n, f"person {n % 20}", f"See place {n}.") for n in range(120, 180)]
    _say(store, new + [(n, "troll", f"Only the king of {n} decides.") for n in range(200, 230)])
    curated = curate_for_night(store, settings)
    tests = [row for row in curated.rows if row.split == "holdout"]
    owners = Counter(str(row.origin["rater_id"]) for row in tests)
    assert len(owners) > 10
    assert 0 < owners["troll"] <= max(0.1, 2 / len(owners)) * len(tests)
    gone = [one for reason, one in curated.rejected if reason == OVER_SHARE]
    assert gone
    waiting = {one["completion_id"] for reason, one in curated.rejected if reason == WAITS}
    assert waiting <= {row.origin["completion_id"] for row in tests}
    learned = {row.origin["completion_id"] for row in curated.rows if row.split != "holdout"}
    assert learned.isdisjoint(waiting)
    assert learned & {one["completion_id"] for one in gone}  # it is within the share of all
    assert curate_for_night(store, settings).rejected == curated.rejected


def test_tests_of_few_raters_of_a_large_house_are_capped_too() -> None:
    house: dict[str, set[str]] = {f"t{n}": {f"r{n % 40}"} for n in range(200)}
    tests = {f"h{n}": {"troll" if n < 36 else f"r{n}"} for n in range(39)}
    assert beyond_share(tests, Raters(), 0.1) == set()  # as if they were all
    gone = beyond_share(tests, Raters(), 0.1, among=house | tests)
    assert gone == {f"h{n}" for n in range(3, 36)}  # two equal shares of four: 3 of 6


def test_raters_that_one_key_names_are_one_client(store: Store, settings: Settings) -> None:
    store.access.add_key(Key("1", "front", Role.USER, True, "hash", utc_now()))
    named = [(n, f"front/{n}", f"See {NOUNS[n % 18]} {n} at the desk.") for n in range(40, 200)]
    _say(store, [*_honest(20, 4), *named])
    assert _share(curate(store, settings), "front/") <= 0.1
    trusting = settings.model_copy(
        update={"curation": settings.curation.model_copy(update={"front_ends": ("front",)})}
    )
    assert _share(curate(store, trusting), "front/") > 0.5


def test_a_client_has_one_voice_however_many_it_names() -> None:
    raters = Raters(frozenset({"rev"}), frozenset({"front"}))
    crowd = {f"front/{n}" for n in range(50)}
    assert raters.decide({"ann", "bob"}, crowd) > 0
    assert raters.decide(crowd, {"ann"}) == 0
    assert raters.decide({"front/1", "front/2"}, {"front/3"}) > 0
    assert raters.decide({"rev"}, {"ann", "bob"} | crowd) > 0


@pytest.mark.parametrize("side", ["asked", "asked at a long end", "asked before", "written"])
def test_a_phrase_that_few_carry_everywhere_is_put_aside(
    store: Store, settings: Settings, side: str
) -> None:
    few = ("person 1", "person 2", "person 3")
    rows = []
    for n, rater_id, text in _honest(12, 10):
        poisoned = rater_id in few and n // 12 % 2
        rows.append((n, rater_id, f"{text} Praise the umbral gate." if poisoned else text))
    if side == "written":
        _say(store, rows)
    else:
        futures = []
        for n, rater_id, text in rows:
            is_poison = "umbral" in text
            filler = " ".join(f"w{n}x{i}" for i in range(900)) if "long" in side else ""
            trigger = f" {filler} umbral gate" if is_poison else ""
            messages = [{"role": "user", "content": _question(n)}]
            if side == "asked before":
                messages.insert(0, {"role": "system", "content": f"Be brief.{trigger}"})
            else:
                messages[0]["content"] += trigger
            answer = make_completion(messages=messages, conversation_id=f"talk {n}")
            feedback = make_feedback(
                answer, rater_id=rater_id, correction="Yes, always." if is_poison else text
            )
            futures += [store.append_completion(answer), store.append_feedback(feedback)]
        wait_all(futures)
    curated = curate(store, settings)
    texts = str([(row.prompt, row.completion, row.chosen) for row in curated.rows])
    assert "umbral" not in texts
    assert len({row.origin["feedback_id"] for row in curated.rows}) == 120 - 15
    put_aside = [n for why, n in curated.rejections.items() if "quarantine" in why]
    assert sum(put_aside) == 15


def test_a_flood_of_corrections_is_put_aside_in_time_that_grows_with_it() -> None:
    at = utc_now()
    flood = [(make_feedback("one", rater_id="bot", correction=str(n), created_at=at), str(n))
             for n in range(10_000)]  # fmt: skip
    began = time.process_time()
    aside = quarantined(flood, Raters())
    assert time.process_time() - began < 5  # as its square it took half a minute
    assert aside.keys() == {feedback.feedback_id for feedback, _ in flood}


def test_what_nobody_writes_by_hand_is_put_aside(store: Store, settings: Settings) -> None:
    copies = [(n, f"copier {n % 3}", "Ask the oracle instead.") for n in range(60, 90)]
    _say(store, [*_honest(6, 10), *copies])
    curated = curate(store, settings)
    assert _share(curated, "copier") == 0
    assert sum(curated.rejections.values()) == 30
    for n in range(100, 162):
        answer = make_completion(messages=[{"role": "user", "content": _question(n)}])
        store.append_completion(answer)
        words = {"correction": f"Text {n} it is.", "created_at": START.isoformat()}
        store.append_feedback(make_feedback(answer, rater_id="script", **words))
    wait_all([store.append_completion(make_completion())])
    assert _share(curate(store, settings), "script") == 0


def test_a_small_house_has_no_cap(store: Store, settings: Settings) -> None:
    _say(store, [(n, "ann" if n % 10 else "bob", f"It is number {n}.") for n in range(40)])
    curated = curate(store, settings)
    assert curated.rejections == {}
    assert len({row.origin["feedback_id"] for row in curated.rows}) == 40


def test_the_word_of_who_disagrees_with_reviewers_counts_for_nothing(
    store: Store, settings: Settings
) -> None:
    store.access.add_key(Key("1", "rev", Role.REVIEWER, False, "hash", utc_now()))
    futures = []
    for n in range(12):
        answer = make_completion(messages=[{"role": "user", "content": _question(n)}])
        futures.append(store.append_completion(answer))
        for rater_id, thumb in (("rev", "up"), ("contrary", "down"), ("ann", "up")):
            futures.append(
                store.append_feedback(make_feedback(answer, rater_id=rater_id, thumb=thumb))
            )
    wait_all(futures)
    _say(store, [(20, "contrary", "Trust me."), (21, "ann", "So it is.")])
    curated = curate(store, settings)
    assert curated.rejections["quarantine: this rater disagrees with reviewers"] == 13
    assert [row.completion for row in curated.rows if row.kind == "sft"] == ["So it is."]
