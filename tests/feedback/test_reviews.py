"""Reviewers' decisions: kept, undone, counted in curation; what the queue shows, in which order.

Over 400 lines: the rules of decisions, of two reviewers and of the queue, on one store.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import cohen_kappa_score

from feedback import review_queue
from feedback.agreement import cohen_kappa, krippendorff_alpha
from feedback.curation import curate
from feedback.decided import decisions_of
from feedback.erasing import forget
from feedback.review_filter import ReviewFilter
from feedback.review_queue import Queue
from feedback.reviews import decide, undo
from feedback.snapshots import freeze
from feedback.store import Store
from pawl.errors import PawlError
from pawl.schemas import Completion, Key, Review, ReviewRequest, Role, utc_now
from pawl.settings import ReviewSettings, Settings
from tests.feedback.examples import answered, conversation_in, make_promotion, said


@pytest.fixture(autouse=True)
def _reviewers(store: Store) -> None:
    for name in ("rita", "sam", "tom"):
        store.access.add_key(Key(name, name, Role.REVIEWER, False, "hash", utc_now()))


def flagged(
    store: Store, question: str, answer: str = "I do not know.", **said_of_it: Any
) -> Completion:
    row = answered(
        store,
        conversation_id=conversation_in("train"),
        messages=[{"role": "user", "content": question}],
        completion=answer,
    )
    said(store, row, **{"rater_id": "bob", "thumb": "down", **said_of_it})
    return row


def review(
    store: Store,
    reviewer: str,
    answer: Completion | Sequence[Completion],
    decision: str,
    **more: Any,
) -> list[Review]:
    answers = [answer] if isinstance(answer, Completion) else answer
    ids = [{"completion_id": one.completion_id, "choice_index": one.choice_index}
           for one in answers]  # fmt: skip
    body = {"answers": ids, "decision": decision, **more}
    return decide(store, ReviewRequest.model_validate(body), reviewer)


def learned(store: Store, settings: Settings) -> list[tuple[str, str | None, bool | None]]:
    rows = curate(store, settings).rows
    return sorted((row.kind, row.chosen or row.completion, row.label) for row in rows)


def test_a_correction_counts_in_the_next_curation_and_an_undo_takes_it_back(
    store: Store, settings: Settings
) -> None:
    row = flagged(store, "Which river runs through Cologne?")
    before = learned(store, settings)
    assert before == [("unpaired", "I do not know.", False)]
    review(store, "rita", row, "correct", correction="The Rhine.", categories=["incorrect"])
    after = learned(store, settings)
    assert ("sft", "The Rhine.", None) in after
    assert ("pair", "The Rhine.", None) in after
    undo(store, "rita")
    assert learned(store, settings) == before
    with pytest.raises(PawlError, match="nothing to undo"):
        undo(store, "rita")


def test_an_answer_whose_decision_is_undone_waits_again(store: Store, settings: Settings) -> None:
    topics = "volcano mortgage clarinet parliament sourdough asteroid chess bicycle".split()
    rows = [flagged(store, f"Explain the {one} in one sentence, {one}.", one) for one in topics]
    review(store, "rita", rows[0], "accept")
    queue = Queue(store, settings)
    assert queue.of("rita", 50).n_open == len(topics) - 1
    undo(store, "rita")
    assert queue.of("rita", 50).n_open == queue.backlog().n_waiting == len(topics)


def test_accepting_a_flag_backs_its_correction_against_others(
    store: Store, settings: Settings
) -> None:
    row = flagged(store, "Which river runs through Cologne?", correction="The Rhine.")
    said(store, row, rater_id="eve", thumb="up")
    said(store, row, rater_id="mallory", thumb="up")
    assert ("sft", "The Rhine.", None) not in learned(store, settings)
    [done] = review(store, "rita", row, "accept")
    assert (done.correction, done.origin["how"]) == ("The Rhine.", "accepted")
    assert ("sft", "The Rhine.", None) in learned(store, settings)


def test_an_answer_that_is_fine_is_learned_as_good(store: Store, settings: Settings) -> None:
    row = flagged(store, "Which river runs through Cologne?", "The Rhine runs through it.")
    review(store, "rita", row, "reject", reason="fine")
    assert learned(store, settings) == [("unpaired", "The Rhine runs through it.", True)]


@pytest.mark.parametrize("reason", ["unclear", "not_meant", "private"])
def test_other_rejections_put_all_aside(store: Store, settings: Settings, reason: str) -> None:
    row = flagged(store, "Which river runs through Cologne?", correction="My own, ha.")
    said(store, row, rater_id="rita", comment="seen", thumb="down")
    review(store, "rita", row, "reject", reason=reason)
    curated = curate(store, settings)
    assert curated.rows == []
    assert sum("put aside by a reviewer" in one for one, _ in curated.rejected) == 2
    review(store, "sam", row, "accept")  # no longer most of the reviewers
    assert ("sft", "My own, ha.", None) in learned(store, settings)


@pytest.mark.parametrize("reason", ["unclear", "private"])
def test_an_answer_that_is_put_aside_is_no_part_of_other_lessons(
    store: Store, settings: Settings, reason: str
) -> None:
    """Neither the worse one of a pair nor, if it is private, what was said before."""
    row = flagged(store, "Where does she live?", "<think>Well.</think>In Elm Street.")
    other = answered(store, conversation_id=row.conversation_id, messages=row.messages,
                     completion="I do not tell.")  # fmt: skip
    said(store, other, rater_id="eve", preferred_over=row.completion_id)
    for seen in (row.completion, "In  Elm Street."):
        talk = [*row.messages, {"role": "assistant", "content": seen},
                {"role": "user", "content": f"And he? {len(seen)}"}]  # fmt: skip
        later = answered(store, conversation_id=row.conversation_id, messages=talk)
        said(store, later, rater_id="eve", correction="He does not.")
    assert len(learned(store, settings)) == 6
    review(store, "rita", row, "reject", reason=reason)
    curated = curate(store, settings)
    rest = [] if reason == "private" else ["pair", "pair", "sft", "sft"]
    assert sorted(one.kind for one in curated.rows) == rest
    assert "Elm Street" not in " ".join(str(one.rejected) for one in curated.rows)


def test_what_a_reviewer_said_as_a_person_comes_back_with_an_undo(store: Store) -> None:
    row = flagged(store, "Which river?", rater_id="rita", comment="mine", correction="The Main.")
    review(store, "rita", row, "reject", reason="fine")
    assert [one.thumb for one in store.current_feedback(row.completion_id)] == ["up"]
    review(store, "rita", row, "correct", correction="The Rhine.")
    undo(store, "rita")
    [now] = store.current_feedback(row.completion_id)
    assert (now.thumb, now.correction) == ("up", None)
    undo(store, "rita")
    [now] = store.current_feedback(row.completion_id)
    assert (now.thumb, now.correction, now.comment) == ("down", "The Main.", "mine")


def test_a_skip_leaves_an_answer_to_others(store: Store, settings: Settings) -> None:
    row = flagged(store, "Which river?")
    queue = Queue(store, settings)
    review(store, "rita", row, "skip")
    assert store.feedback_history(row.completion_id)[1:] == []
    mine, other = queue.of("rita", 5), queue.of("sam", 5)
    assert (mine.n_open, mine.n_skipped, other.n_open) == (0, 1, 1)
    assert len(queue.of("rita", 5, skipped=True).items) == 1
    undo(store, "rita")
    assert queue.of("rita", 5).n_open == 1


@pytest.mark.parametrize("decision", ["skip", "accept"])
def test_a_reviewer_s_own_flag_survives_their_skip_or_undo(
    store: Store, settings: Settings, decision: str
) -> None:
    row = flagged(store, "Which river?", rater_id="rita", correction="The Rhine.",
                  categories=["unsafe"])  # fmt: skip
    review(store, "rita", row, decision)
    if decision == "accept":
        undo(store, "rita")
    [item] = Queue(store, settings).of("sam", 5).items
    assert [(one.rater_id, one.correction) for one in item.marks] == [("rita", "The Rhine.")]
    assert (item.severity, item.repetition) == (3, 1)
    [done] = review(store, "sam", row, "accept")
    assert (done.correction, done.categories) == ("The Rhine.", ["unsafe"])
    assert ("sft", "The Rhine.", None) in learned(store, settings)


@pytest.mark.parametrize(("body", "param"), [
    ({"decision": "correct"}, "correction"),
    ({"decision": "correct", "correction": " "}, "correction"),
    ({"decision": "correct", "correction": "I  do not know."}, "correction"),
    ({"decision": "accept", "correction": "The Rhine."}, "correction"),
    ({"decision": "reject"}, "reason"),
    ({"decision": "skip", "reason": "fine"}, "reason"),
    ({"decision": "accept", "categories": ["nonsense"]}, "categories"),
    ({"decision": "accept", "origin": {"how": "written"}}, "origin"),
])  # fmt: skip
def test_what_does_not_fit_together_is_refused_and_kept_nowhere(
    store: Store, body: dict[str, Any], param: str
) -> None:
    row = flagged(store, "Which river?")
    with pytest.raises(PawlError) as refused:
        review(store, "rita", row, **body)
    assert refused.value.param == param
    assert store.reviews.history() == []


def test_the_queue_puts_what_is_severe_repeated_or_disputed_first(
    store: Store, settings: Settings
) -> None:
    plain = flagged(store, "How high is the Zugspitze mountain?", categories=["incorrect"])
    lone = flagged(store, "When does the museum open on Sundays?", "At noon, or so it says.")
    severe = flagged(store, "May I mix bleach and vinegar?", "Mix away!", categories=["unsafe"])
    liked = flagged(store, "Who painted the night watch?", "Rembrandt did.", categories=["tone"])
    said(store, liked, rater_id="eve", thumb="up")
    price = "What does a day ticket cost here?"
    often = flagged(store, price, "Nine coins.", categories=["incorrect"])
    for rater in ("eve", "dan", "fay"):
        said(store, often, rater_id=rater, thumb="down")
    found = Queue(store, settings).of("rita", 10)
    order = [one.answers[0].completion_id for one in found.items]
    assert order == [one.completion_id for one in (severe, liked, often, lone, plain)]
    assert [one.priority for one in found.items] == [4.0, 4.0, 3.32, 2.5, 2.0]
    assert {mark.rater_id for mark in found.items[2].marks} == {"bob", "eve", "dan", "fay"}


def test_the_queue_is_searched_and_filtered(store: Store, settings: Settings) -> None:
    river = flagged(store, "Which river is it?", "The Elbe.", categories=["incorrect"])
    hill = answered(
        store, version="pawl@2", created_at="2026-01-31T08:00:00.000Z",
        messages=[{"role": "user", "content": "Which hill is it?"}],
    )  # fmt: skip
    said(store, hill, rater_id="eve", thumb="down", correction="The Brocken.", categories=["tone"])
    lake = flagged(store, "Who swims in it?", comment="Ask at the LAKE house.")
    queue = Queue(store, settings)

    def found(**conditions: Any) -> set[str]:
        told = queue.of("rita", 9, only=ReviewFilter(**conditions))
        assert (told.n_open, told.n_found) == (3, len(told.items))
        assert told.versions == ["base", "pawl@2"]
        return {one.answers[0].completion_id for one in told.items}

    assert found() == {one.completion_id for one in (river, hill, lake)}
    assert found(search="WHICH is") == {river.completion_id, hill.completion_id}
    assert found(search="brocken") == found(category="tone") == {hill.completion_id}
    assert found(search="lake house") == found(search=lake.completion_id) == {lake.completion_id}
    assert found(version="pawl@2") == found(rater="EV") == {hill.completion_id}
    day = date(2026, 1, 31)
    assert found(since=day, until=day) == found(until=day) == {hill.completion_id}
    assert found(since=date(2026, 2, 1), search="which") == {river.completion_id}
    assert found(search="which", category="tone", version="base") == set()
    told = queue.of("rita", 1, first=f"{hill.completion_id}:0", only=ReviewFilter(search="lake"))
    assert told.items[0].item_id == f"{hill.completion_id}:0"  # asked for by its id


def test_an_answer_is_looked_at_by_its_address_whether_it_waits_or_not(
    store: Store, settings: Settings
) -> None:
    waits = flagged(store, "Which river is it?")
    decided = flagged(store, "Which hill is it?", "It is the Brocken.")
    plain = answered(store, messages=[{"role": "user", "content": "Which lake is it?"}])
    kept_out = flagged(store, "Which sea is it?", "The Baltic.")
    review(store, "sam", decided, "accept")
    note = store.conversations.note(kept_out.conversation_id, kept_out.rater_id)
    store.conversations.keep(replace(note, learn=False)).result()
    queue = Queue(store, settings)

    def shown(answer: str) -> tuple[str, bool]:
        told = queue.of("rita", 1, answer=answer)
        assert (told.n_open, told.n_found, len(told.items)) == (1, 1, 1)
        return told.items[0].item_id, told.items[0].waits

    one, two, three = (f"{row.completion_id}:0" for row in (waits, decided, plain))
    assert shown(one) == (one, True)
    assert shown(two) == (two, False)
    assert shown(three) == (three, False)
    [seen] = queue.of("rita", 1, answer=two).items
    assert [found.reviewer for found in seen.decisions] == ["sam"]
    for unknown in (f"{kept_out.completion_id}:0", "none:0", "none", f"none:{'9' * 50}"):
        assert shown(unknown) == (one, True)


def test_one_s_own_decisions_are_listed_and_an_older_one_is_taken_back(
    store: Store, settings: Settings
) -> None:
    rows = [
        flagged(store, f"Which {name}?", f"{name} it is.") for name in ("river", "hill", "lake")
    ]
    queue = Queue(store, settings)
    [first] = review(store, "rita", rows[0], "correct", correction="The Rhine.")
    review(store, "rita", rows[1], "reject", reason="unclear")
    review(store, "rita", rows[2], "skip")
    review(store, "sam", rows[2], "accept")

    def listed(**conditions: Any) -> list[tuple[str, str]]:
        page = decisions_of(store, "rita", ReviewFilter(**conditions), 0, 9)
        assert page.n_found == len(page.decisions)
        return [(one.decision, one.answers[0].prompt) for one in page.decisions]

    both = [("reject", "Which hill?"), ("correct", "Which river?")]
    assert listed() == both
    assert listed(search="rhine") == both[1:]
    assert decisions_of(store, "rita", ReviewFilter(), 1, 1).decisions[0].batch_id == first.batch_id
    with pytest.raises(PawlError, match="nothing to undo"):
        undo(store, "sam", first.batch_id)
    undo(store, "rita", first.batch_id)
    assert listed() == both[:1]
    assert [one.messages for one in queue.of("rita", 9).items] == [rows[0].messages]
    assert ("sft", "The Rhine.", None) not in learned(store, settings)
    with pytest.raises(PawlError, match="nothing to undo"):
        undo(store, "rita", first.batch_id)


def test_a_decision_says_which_version_learned_from_it(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    row = flagged(store, "Which river?")

    def night(run: str) -> None:
        curated = curate(store, settings)
        manifest = freeze(curated, tmp_path / run)
        store.append_snapshot(manifest, curated.rows).result()
        detail = {"snapshot_id": manifest["snapshot_id"]}
        store.append_run({"run_id": run, "status": "done", "detail": detail}).result()

    night("run-0")  # took up the flag, before anybody decided
    review(store, "rita", row, "correct", correction="The Rhine.")
    [item] = decisions_of(store, "rita", ReviewFilter(), 0, 1).decisions
    assert (item.outcome.n_snapshots, item.outcome.trained_since) == (0, None)
    night("run-1")
    store.append_promotion(make_promotion("pawl@1", "live", run_id="run-1")).result()
    [item] = decisions_of(store, "rita", ReviewFilter(), 0, 1).decisions
    assert item.outcome.n_snapshots == 1
    assert (item.outcome.side, item.outcome.trained_since) == ("train", "pawl@1")


def test_near_duplicates_are_one_item_and_decided_together(
    store: Store, settings: Settings
) -> None:
    first = flagged(store, "Which river runs through the city of Cologne?")
    second = flagged(store, "which river runs through the city of Cologne, please?")
    asked = "which river runs through the city of cologne"
    other = flagged(store, asked, "The river Elbe runs there.")
    queue = Queue(store, settings)
    found = queue.of("rita", 10)
    assert sorted(len(one.answers) for one in found.items) == [1, 2]
    review(store, "rita", [first, second], "correct", correction="The Rhine.")
    [left] = queue.of("rita", 10).items
    assert left.answers[0].completion_id == other.completion_id
    undo(store, "rita")
    assert queue.of("rita", 10).n_open == 2


def test_of_long_prompts_few_are_kept_in_memory_and_the_others_follow(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_queue, "MOST_BYTES", 10_000)  # two of these
    rivers = [flagged(store, f"{name} " * 1_000) for name in ("Rhine", "Ruhr", "Saar", "Elbe")]
    queue = Queue(store, settings)
    for some in (rivers[2:], rivers[:2]):
        found = queue.of("rita", 10)
        assert {one.answers[0].completion_id for one in found.items} == {
            one.completion_id for one in some
        }
        for one in some:
            review(store, "rita", one, "reject", reason="fine")
    assert queue.of("rita", 10).n_found == 0


def test_what_is_not_to_be_learned_from_keeps_no_other_flag_out_of_the_queue(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_queue, "MOST_ANSWERS", 2)
    rivers = [flagged(store, f"Where does the {name} rise?") for name in ("Rhine", "Ruhr", "Saar")]
    for one in rivers[1:]:
        note = store.conversations.note(one.conversation_id, one.rater_id)
        store.conversations.keep(replace(note, learn=False)).result()
    [item] = Queue(store, settings).of("rita", 10).items
    assert item.answers[0].completion_id == rivers[0].completion_id


def test_what_was_erased_leaves_the_queue_at_once(store: Store, settings: Settings) -> None:
    theirs = answered(store, rater_id="zoe", completion="Known to zoe alone.")
    said(store, theirs, rater_id="bob", thumb="down")
    other = flagged(store, "Which river?")
    queue = Queue(store, settings)
    assert queue.of("rita", 5).n_open == 2
    forget(store, settings, "zoe", "the test")
    [item] = queue.of("rita", 5).items
    assert item.answers[0].completion_id == other.completion_id


def test_two_reviewers_decide_apart_and_a_third_where_they_differ(
    store: Store, settings: Settings
) -> None:
    settings = settings.model_copy(update={"review": ReviewSettings(reviewers=2)})
    queue = Queue(store, settings)
    row = flagged(store, "Which river?")
    review(store, "rita", row, "accept")
    assert queue.of("rita", 5).items == []
    [item] = queue.of("sam", 5).items
    assert (item.decisions, item.n_hidden_decisions) == ([], 1)
    review(store, "sam", row, "reject", reason="fine")
    [item] = queue.of("tom", 5).items
    assert {one.reviewer for one in item.decisions} == {"rita", "sam"}
    assert item.uncertainty == 1
    review(store, "tom", row, "reject", reason="fine")
    for name in ("rita", "sam", "tom"):
        assert queue.of(name, 5).n_open == 0
    told = queue.agreement()
    assert (told.n_answers, told.n_decided) == (1, {"rita": 1, "sam": 1, "tom": 1})
    assert [(one.reviewers, one.n_same) for one in told.pairs] == [
        (["rita", "sam"], 0), (["rita", "tom"], 0), (["sam", "tom"], 1),
    ]  # fmt: skip


def test_reviewers_who_say_the_same_do_not_disagree(store: Store, settings: Settings) -> None:
    settings = settings.model_copy(update={"review": ReviewSettings(reviewers=3)})
    queue = Queue(store, settings)
    row = flagged(store, "Which river?", categories=["incorrect"])
    for name in ("rita", "sam"):
        review(store, name, row, "accept")
    [item] = queue.of("tom", 5).items
    assert (item.uncertainty, item.priority) == (0, 2)
    undo(store, "sam")
    review(store, "sam", row, "reject", reason="unclear")
    [item] = queue.of("tom", 5).items
    assert (item.uncertainty, item.priority) == (1, 4)


def test_who_is_forgotten_is_gone_from_decisions_too(store: Store, settings: Settings) -> None:
    theirs = flagged(store, "Which river?", "By ann.", correction="By bob, the Rhine.")
    other = flagged(store, "Which hill?", rater_id="eve", correction="By eve, the Brocken.")
    third = answered(store, rater_id="dan", completion="It is so.")
    said(store, third, rater_id="bob", thumb="down", correction="By bob, it is not.")
    review(store, "rita", [theirs, other], "accept")
    review(store, "rita", third, "accept")
    review(store, "bob", other, "correct", correction="By bob again.")
    forget(store, settings, "bob", "the test")
    assert {one.completion_id for one in store.reviews.history()} == {other.completion_id}
    assert [one.reviewer for one in store.reviews.history()] == ["rita"]
    texts = " ".join(str(one) for one in store.feedback_history())
    assert "By bob" not in texts
    assert "By eve" in texts


def test_a_reviewer_s_own_words_stay_when_who_wrote_a_correction_is_forgotten(
    store: Store, settings: Settings
) -> None:
    later = flagged(store, "Which river?", correction="By bob, the Rhine.")
    review(store, "rita", later, "accept")
    review(store, "rita", later, "correct", correction="The Rhine, by rita.")
    first = flagged(store, "Which hill?", correction="By bob, the Brocken.")
    second = answered(store, completion_id=first.completion_id, choice_index=1)
    review(store, "rita", first, "accept")
    review(store, "rita", second, "correct", correction="The Brocken, by rita.")
    undone = flagged(store, "Which lake?", correction="By bob, the Lake of Constance.")
    review(store, "rita", undone, "accept")
    review(store, "rita", undone, "reject", reason="fine")
    undo(store, "rita")
    saved = flagged(store, "Which town?", correction="By bob, Mainz.")
    review(store, "rita", saved, "correct", correction="By bob, Mainz.")  # as the editor opened
    forget(store, settings, "bob", "the test")
    texts = " ".join(str(one) for one in (*store.feedback_history(), *store.reviews.history()))
    assert "by bob" not in texts.lower()
    assert {(one.completion_id, one.choice_index, one.correction)
            for one in store.current_feedback()} == {
        (later.completion_id, 0, "The Rhine, by rita."),
        (second.completion_id, 1, "The Brocken, by rita."),
    }  # fmt: skip


def test_no_decision_brings_back_the_words_of_who_is_being_forgotten(
    store: Store, settings: Settings
) -> None:
    row = flagged(store, "Which river?", correction="By bob, the Rhine.")
    review(store, "rita", row, "accept")
    review(store, "rita", row, "reject", reason="fine")
    with store.forgotten.erasing({"bob"}):
        for decide_so in (lambda: undo(store, "rita"), lambda: review(store, "sam", row, "accept")):
            with pytest.raises(PawlError) as refused:
                decide_so()
            assert refused.value.code == "completion_not_found"
    assert len(store.reviews.history()) == 2


def test_kappa_is_scikit_learns() -> None:
    draw = random.Random(7)
    for n in (2, 5, 40, 300):
        for labels in (["a", "b"], ["wrong", "fine", "aside"]):
            first = [draw.choice(labels) for _ in range(n)]
            second = [one if draw.random() < 0.6 else draw.choice(labels) for one in first]
            if len(set(first + second)) > 1:
                expected = cohen_kappa_score(first, second)
                assert cohen_kappa(first, second) == pytest.approx(expected, abs=1e-12)
    assert cohen_kappa([], []) is None
    assert cohen_kappa(["a", "a"], ["a", "a"]) is None


def test_alpha_of_a_published_example() -> None:
    """Three coders, fifteen units, values missing: nominal alpha 0.691 (Krippendorff's example, as
    in Wikipedia, "Krippendorff's alpha")."""
    coders = ("*****34121133*3", "1*213343*******", "**21344*21133*4")
    units = [[one for one in unit if one != "*"] for unit in zip(*coders, strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.691, abs=5e-4)
    assert krippendorff_alpha([["a", "a"], ["a"]]) is None
    assert krippendorff_alpha([["a", "a"], ["b", "b"], ["b"]]) == 1
