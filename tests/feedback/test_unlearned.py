"""Conversations that nothing is to be learned from, and deleted ones: no row, no evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feedback.curation import UNLEARNED, curate
from feedback.erasing import carry_on, certificates, erase_deleted, forget, forget_own
from feedback.formats import Exchange, export_file
from feedback.retention import erase_by_age
from feedback.reviews import decide
from feedback.service import take_snapshot, traffic_of
from feedback.store import Store
from pawl.adapters import ProbePosition, write_probe
from pawl.errors import PawlError
from pawl.files import hold_lock
from pawl.schemas import (
    Account,
    Completion,
    Key,
    Preset,
    ReviewRequest,
    Role,
    Session,
    Split,
    utc_now,
    written,
)
from pawl.settings import RetentionSettings, Settings
from tests.feedback.examples import answered, conversation_in, make_completion, said
from tests.feedback.test_retention import note_training

MARK = "xyzzy-plugh that nobody else wrote"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state", split_salt="pawl")


def corrected(store: Store, conversation_id: str, **changed: object) -> Completion:
    question = [{"role": "user", "content": f"What is {MARK} in {conversation_id}?"}]
    answer = answered(store, conversation_id=conversation_id, messages=question, **changed)
    said(store, answer, thumb="down", correction=f"It is {MARK}.")
    return answer


def learn(store: Store, answer: Completion, is_learned: bool) -> None:
    note = store.conversations.note(answer.conversation_id, answer.rater_id)
    store.conversations.keep(replace(note, learn=is_learned)).result()


@pytest.mark.parametrize("split", ["train", "holdout"])
def test_nothing_is_learned_from_it_and_it_tests_nothing(
    store: Store, settings: Settings, split: Split
) -> None:
    answer = corrected(store, conversation_in(split))
    said(store, answer, rater_id="reviewer", correction=f"It is {MARK}.")
    assert curate(store, settings).rows
    learn(store, answer, False)
    curated = curate(store, settings)
    assert curated.rows == []
    assert curated.rejections == {UNLEARNED: 2}
    assert curated.stories.keys() == set()  # no vote either
    Path(settings.state_dir / "exchange").mkdir(parents=True)
    exported = export_file(store, Exchange.of(settings), "out.jsonl", "sft", settings)
    assert exported["n_written"] == 0
    learn(store, answer, True)
    assert curate(store, settings).rows


def test_an_answer_that_was_preferred_to_one_of_it_teaches_nothing(
    store: Store, settings: Settings
) -> None:
    worse = answered(store, completion="Worse.")
    better = answered(store, messages=worse.messages, completion="Better.")
    said(store, better, preferred_over=worse.completion_id)
    assert curate(store, settings).rows
    learn(store, worse, False)
    assert curate(store, settings).rejections == {UNLEARNED: 1}


def test_it_is_no_control_and_counts_in_no_rate(store: Store) -> None:
    flagged, liked, other = corrected(store, "c-1"), answered(store), answered(store)
    shared = answered(store, conversation_id=liked.conversation_id, rater_id="bob")
    before = traffic_of(store, "seed", 9, "sha256:0")
    assert (before.n_flagged, before.n_unflagged, len(before.controls)) == (1, 2, 2)
    learn(store, flagged, False)
    learn(store, liked, False)
    found = traffic_of(store, "seed", 9, "sha256:0")
    assert (found.n_flagged, found.n_unflagged) == (0, 2)
    ids = {row.origin["completion_id"] for row in found.controls}
    assert ids == {other.completion_id, shared.completion_id}  # another's part of it stays
    assert {one.completion_id for one in store.newest_prompts(9)} == ids


def test_a_deleted_one_is_nowhere_and_its_files_follow(store: Store, settings: Settings) -> None:
    state_dir = settings.database_path.parent
    store.close()
    with Store.open(settings.database_path) as own:
        gone, kept = corrected(own, "c-1"), answered(own)
        title = "A title of it, long enough to be looked for"
        note = own.conversations.note("c-1", "ann")
        own.conversations.keep(replace(note, title=title, pinned=True)).result()
        snapshot = Path(take_snapshot(own, settings)["dir"])
        own.conversations.delete(["c-1"], "ann")
        assert own.completions() == [kept]
        assert own.get_completion(gone.completion_id) is None
        assert curate(own, settings).rows == []
        with hold_lock(settings.state_dir / "nightly.lock", "a night runs", ""):
            with pytest.raises(PawlError) as err:
                erase_deleted(own, settings, wait_seconds=0)
            assert err.value.code == "night_runs"
            rules = settings.model_copy(update={"retention": RetentionSettings(all_days=1)})
            with pytest.raises(PawlError) as err:  # somebody's cron
                erase_by_age(own, rules, lambda base: None)
            assert err.value.code == "night_runs"
            of_night = erase_by_age(own, settings, lambda base: None, of_night=True)
            assert of_night["n_answers"] == 0
        assert erase_deleted(own, settings) is None
        [done] = certificates(settings.state_dir)
        assert done["counts"]["answers"] == 1
        assert (done["searched"]["found"], done["store"]["found"]) == ([], 0)
        assert not (snapshot / "rows.jsonl").exists()
        late = replace(gone, completion_id="late")  # began before, ended after
        own.append_completion(late).result()
        assert own.completions() == [kept]
        anew = answered(own, conversation_id="c-1")
        assert own.completions() == [kept, anew]
        found, _ = own.conversations.of("ann")
        assert [(one.pinned, one.title) for one in found] == [
            (False, anew.messages[0]["content"]), (False, kept.messages[0]["content"]),
        ]  # fmt: skip
        assert erase_deleted(own, settings) is not None
    files = [path for path in state_dir.rglob("*") if path.is_file()]
    for text in (MARK, title):
        assert [path for path in files if text.encode() in path.read_bytes()] == []


def test_who_erases_all_of_their_own_keeps_the_account(settings: Settings) -> None:
    now = utc_now()
    with Store.open(settings.database_path) as store:
        store.access.accounts.add(Account("ann", Role.USER, "hash", False, None, now, now))
        account = store.access.accounts.account("ann")
        assert account is not None
        store.access.accounts.begin_session(Session("s", "ann", now, now), account)
        store.access.add_key(Key("k", "front", Role.USER, True, "hash", now))
        theirs = corrected(store, "c-1")
        behind = answered(store, rater_id="front/ann")
        note = store.conversations.note("c-1", "ann")
        store.conversations.keep(replace(note, title="A title that goes with it all")).result()
        forget_own(store, settings, "ann")
        assert erase_deleted(store, settings) is None  # nothing else was deleted
        [done] = certificates(settings.state_dir)
        assert (done["asked_by"], done["store"]["found"]) == ("the person", 0)
        assert store.access.accounts.account("ann") == account
        assert store.access.accounts.sessions("ann")
        assert store.completions() == [behind]
        assert store.conversations.ids_of("ann") == []
        forget(store, settings, "front", "front")
        assert store.completions() == []
        again = answered(store)  # who stays may go on
        assert store.completions() == [again]
    content = settings.database_path.read_bytes()
    assert MARK.encode() not in content
    assert b"A title that goes" not in content
    assert theirs.completion_id.encode() not in content


def test_notes_go_with_the_answers_that_are_too_old(settings: Settings) -> None:
    with Store.open(settings.database_path) as store:
        old = answered(store, created_at="2020-01-01T00:00:00.000000Z", conversation_id="old")
        for name in ("old", "soon"):
            note = store.conversations.note(name, "ann")
            store.conversations.keep(replace(note, learn=False)).result()
        rules = settings.model_copy(update={"retention": RetentionSettings(all_days=30)})
        assert erase_by_age(store, rules, lambda base: None)["n_answers"] == 1
        assert store.get_completion(old.completion_id) is None
        assert store.conversations.unlearned() == {("old", "ann"), ("soon", "ann")}  # just noted


def own_words(store: Store, mark: str) -> None:
    """What a person has beside conversations: a preset, feedback on another's answer, a decision as
    a reviewer."""
    prompt = {"system_prompt": f"Answer as {mark}, in one sentence."}
    store.conversations.keep_preset(Preset("ann", f"of {mark}", utc_now(), prompt)).result()
    of_bob, flagged = answered(store, rater_id="bob"), answered(store, rater_id="bob")
    said(store, of_bob, rater_id="ann", comment=f"says {mark}")
    said(store, flagged, rater_id="bob", thumb="down")
    review = ReviewRequest(
        answers=[{"completion_id": flagged.completion_id}], decision="correct",
        correction=f"decided by {mark}",
    )  # fmt: skip
    decide(store, review, "ann")


@pytest.mark.parametrize("goes_on", [erase_deleted, erase_by_age])
def test_all_of_their_own_goes_later_where_a_night_runs(
    settings: Settings, goes_on: Callable[..., object]
) -> None:
    """What they ask and say meanwhile stays."""
    with Store.open(settings.database_path) as store:
        store.access.accounts.add(Account("ann", Role.USER, "h", False, None, utc_now(), utc_now()))
        own_words(store, MARK)
        with hold_lock(settings.state_dir / "nightly.lock", "a night runs", ""):
            for _ in range(2):  # as often as they like
                forget_own(store, settings, "ann")
                with pytest.raises(PawlError) as err:
                    erase_deleted(store, settings, wait_seconds=0)
                assert err.value.code == "night_runs"
            assert store.conversations.presets("ann") == []
            assert store.current_feedback(rater_id="ann") == []
            own_words(store, "what came later")
            later = answered(store)
        goes_on(store, settings, decode=lambda base: None)
        [done] = certificates(settings.state_dir)
        assert (done["asked_by"], done["store"]["found"]) == ("the person", 0)
        assert [one.name for one in store.conversations.presets("ann")] == ["of what came later"]
        assert store.completions(rater_id="ann") == [later]
        assert {one.comment for one in store.current_feedback() if one.comment} == {
            "says what came later"
        }
        decided = [one.correction for one in store.reviews.history()]
        assert decided == ["decided by what came later"]
        assert store.access.accounts.account("ann") is not None
        assert MARK.encode() not in settings.database_path.read_bytes()


def test_who_asked_for_their_own_is_forgotten_whole_where_an_operator_asks(
    settings: Settings,
) -> None:
    with Store.open(settings.database_path) as store:
        for name in ("ann", "eve"):
            corrected(store, f"c-{name}", rater_id=name)
        store.access.accounts.add(Account("ann", Role.USER, "h", False, None, utc_now(), utc_now()))
        for name in ("ann", "eve"):
            forget_own(store, settings, name)
            forget(store, settings, name, "the operator")  # eve has nothing else
        assert store.access.accounts.account("ann") is None
        assert store.completions() == []


def test_who_erases_all_of_their_own_may_go_on_while_it_is_done(settings: Settings) -> None:
    with Store.open(settings.database_path) as store:
        begun = make_completion()
        corrected(store, "c-1")
        later: list[Completion] = []
        forget_own(store, settings, "ann")
        carry_on(store, settings, say=lambda step: later.append(answered(store)))
        store.append_completion(begun).result()  # began before, ended after
        assert store.completions() == later
        [done] = certificates(settings.state_dir)
        assert done["store"]["found"] == 0


def test_a_reviewer_s_words_that_took_over_an_erased_correction_go(settings: Settings) -> None:
    with Store.open(settings.database_path) as store:
        answer = answered(store, rater_id="bob")
        said(store, answer, rater_id="ann", correction=f"It is {MARK}.", thumb="down")
        accepted = ReviewRequest(
            answers=[{"completion_id": answer.completion_id}], decision="accept"
        )
        decide(store, accepted, "reviewer")
        assert curate(store, settings).rows
        forget_own(store, settings, "ann")
        erase_deleted(store, settings)
        assert store.current_feedback() == []
        assert store.reviews.history() == []
        assert curate(store, settings).rows == []
    assert MARK.encode() not in settings.database_path.read_bytes()


def test_what_was_noted_before_a_first_message_goes(settings: Settings) -> None:
    prompt = {"system_prompt": f"Answer as {MARK}, in one sentence."}
    with Store.open(settings.database_path) as store:
        note = store.conversations.note("c-1", "ann")
        store.conversations.keep(replace(note, settings=prompt)).result()
        store.conversations.delete(["c-1"], "ann")
        assert erase_deleted(store, settings) is not None
        assert erase_deleted(store, settings) is None
        gone = Preset("ann", "brief", utc_now(), prompt)
        store.conversations.keep_preset(gone).result()
        store.conversations.delete_presets("ann")
        assert erase_deleted(store, settings) is not None
        assert erase_deleted(store, settings) is None
    assert MARK.encode() not in settings.database_path.read_bytes()


def test_what_is_newer_than_a_clock_that_stepped_back_is_deleted_too(settings: Settings) -> None:
    ahead = written(datetime.now(UTC) + timedelta(hours=1))
    with Store.open(settings.database_path) as store:
        corrected(store, "c-1", created_at=ahead)
        store.conversations.delete(["c-1"], "ann")
        assert store.completions() == []
        assert erase_deleted(store, settings) is not None
        corrected(store, "c-2", created_at=ahead)
        forget_own(store, settings, "ann")
        erase_deleted(store, settings)
        assert store.completions() == []
        again = answered(store)
        assert store.completions() == [again]
    assert MARK.encode() not in settings.database_path.read_bytes()


@pytest.mark.parametrize("wants_all", [True, False])
def test_an_erasing_that_can_t_be_finished_stops_no_other(
    settings: Settings, wants_all: bool
) -> None:
    """Neither the night, nor what others deleted; it is tried again, and done once it can be."""

    def fail(fingerprint: str) -> None:
        raise RuntimeError("the tokenizer is broken")

    with Store.open(settings.database_path) as store:
        anns = corrected(store, conversation_in("train"), rater_id="ann")
        adapter = settings.adapters_dir / "pawl@1"
        adapter.mkdir(parents=True)
        write_probe(adapter, [ProbePosition([1], {0: -1.0}, {0: -2.0})])
        note_training(adapter, take_snapshot(store, settings)["snapshot_id"])
        if wants_all:
            forget_own(store, settings, "ann")
        else:
            store.conversations.delete([anns.conversation_id], "ann")
        with pytest.raises(RuntimeError):  # who asks for it is told
            erase_deleted(store, settings, decode=fail)
        for name, erase in (("bob", erase_deleted), ("eve", erase_by_age)):
            others = corrected(store, f"c-{name}", rater_id=name)
            store.conversations.delete([f"c-{name}"], name)
            if erase is erase_by_age:
                erase_by_age(store, settings, fail, of_night=True)
            else:
                with pytest.raises(RuntimeError):
                    erase_deleted(store, settings, decode=fail)
            left = {one for (one,) in store.read("SELECT completion_id FROM main.completions")}
            assert left == {anns.completion_id}
            assert others.completion_id not in left
        corrected(store, "c-tom", rater_id="tom")
        forget(store, settings, "tom", "the operator", decode=fail)
        if wants_all:
            with pytest.raises(RuntimeError):
                forget(store, settings, "ann", "the operator", decode=fail)
        assert len(list(settings.state_dir.glob("erasures/*.unfinished.json"))) == 1
        erase_by_age(store, settings, lambda base: None)
        assert store.read("SELECT completion_id FROM main.completions") == []
    assert list(settings.state_dir.glob("erasures/*.unfinished.json")) == []
    assert len(certificates(settings.state_dir)) == 4
