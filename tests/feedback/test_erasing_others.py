"""What somebody deletes takes nothing from others, nor from the gate's books: whoever chats knows
pieces of what others have."""

from __future__ import annotations

import html
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from feedback.erased_files import Theirs, redact_probe
from feedback.erased_rows import Selection, owner_of, read_theirs
from feedback.erasing import erase_deleted, forget, recall
from feedback.forgotten import Forgotten
from feedback.fresh import next_attempt, prompts_of_looks
from feedback.retention import erase_by_age
from feedback.reviews import decide, undo
from feedback.service import take_snapshot
from feedback.splits import prompt_key
from feedback.store import Store
from pawl.adapters import PROBE
from pawl.errors import PawlError
from pawl.files import read_json, write_json
from pawl.schemas import AuditEntry, ConversationNote, ReviewRequest, utc_now
from pawl.settings import RetentionSettings, Settings
from tests.feedback.examples import SALT, answered, conversation_in, make_promotion, said

FINGERPRINT = "sha256:" + "ab" * 32
ASKED = "What is the capital of Australia, please?"
TOOL = "no rows were found in the table"
RESULT = {"role": "tool", "content": TOOL}
ANSWER = "Canberra is the capital of Australia."
WORDS = ("lantern", "kettle", "harbour", "violin")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state", split_salt=SALT)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def deleted(store: Store, settings: Settings, *texts: str) -> dict[str, Any]:
    """Mallory chats these, and deletes the conversation; the certificate."""
    for text in texts:
        answered(store, rater_id="mallory", conversation_id="c-m", messages=[user(text)])
    store.conversations.delete(["c-m"], "mallory")
    done = erase_deleted(store, settings)
    assert done is not None
    return done


def export(settings: Settings, *records: Any) -> Path:
    path = settings.exchange_dir / "house.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


def test_a_piece_of_an_export_takes_no_record_of_it(store: Store, settings: Settings) -> None:
    own = "A question that only mallory ever asks."
    records = [{"messages": [user(f"q{n}"), RESULT]} for n in range(9)]
    house = export(settings, *records, {"messages": [user(own)]}, {"text": f"{own} And more."})
    done = deleted(store, settings, '"role": "user", "content":', own)
    assert done["files"]["exports"] == {"house.jsonl": 1}
    assert [json.loads(one) for one in house.read_text().splitlines()] == [
        *records, {"text": f"{own} And more."},
    ]  # fmt: skip
    assert done["searched"]["found"] == ["exchange/house.jsonl"]


def test_a_line_of_the_logs_stays_and_is_named(store: Store, settings: Settings) -> None:
    log = settings.logs_dir / "server.log"
    log.parent.mkdir(parents=True)
    line = '"POST /v1/chat/completions" 200\n'
    log.write_text(f"INFO bob {line}")
    done = deleted(store, settings, "POST /v1/chat/completions")
    assert log.read_text() == f"INFO bob {line}"
    assert (done["searched"]["found"], done["searched"]["overwritten"]) == (["logs/server.log"], {})


def test_the_gate_s_books_and_the_audit_log_stay(store: Store, settings: Settings) -> None:
    model = "Qwen/Qwen2.5-0.5B-Instruct"
    for n in range(4):
        paid = {"snapshot_id": "s", "attempt": n + 1, "alpha": 0.05, "prompts": {f"k{n}": "same"}}
        verdict = {"outcome": "reject", "base_fingerprint": FINGERPRINT, "look": paid}
        verdict["name"] = model
        store.append_verdict(f"run-{n}", verdict).result()
    target = json.dumps({"name": "bob", "role": "administrator"})
    entry = AuditEntry("a1", utc_now(), "carl", "10.1.2.3", "add account", target, "200", "r")
    store.access.record(entry).result()
    write_json(settings.runs_dir / "run-0" / "run.json", {"detail": {"base": model}})
    deleted(store, settings, FINGERPRINT, model, target)
    assert next_attempt(store, FINGERPRINT) == 5
    assert (store.verdict("run-0") or {})["name"] == model
    assert [one.target for one in store.access.audit(10)] == [target]
    assert read_json(settings.runs_dir / "run-0" / "run.json") == {"detail": {"base": model}}


def test_ids_that_a_client_took_from_others_take_nothing_of_theirs(
    store: Store, settings: Settings
) -> None:
    """They may be another's conversation, or a word that the gate's books have."""
    conversation, asked = f"chat-{'ab' * 16}", [user("How do I reset the router, please?")]
    answer = answered(store, rater_id="bob", conversation_id=conversation, messages=asked)
    said(store, answer, rater_id="bob", correction="Hold the button for ten seconds.")
    record = {"conversation_id": conversation, "messages": asked}
    house = export(settings, record)
    cluster = prompt_key(asked)[:16]
    items = [
        {"benchmark": "holdout", "item_id": "row9", "cluster": conversation, "detail": asked[0]},
        {"benchmark": "holdout", "item_id": "row8", "cluster": cluster, "detail": asked[0]},
        {"benchmark": "mmlu", "item_id": "m1", "cluster": "abstract_algebra", "detail": asked[0]},
    ]
    kept = settings.runs_dir / "run-1" / "scores" / "champion" / "items.jsonl"
    kept.parent.mkdir(parents=True)
    kept.write_text("".join(json.dumps(one) + "\n" for one in items))
    for n, word in enumerate(("abstract_algebra", cluster)):
        own = answered(store, rater_id="mallory", conversation_id=word, messages=[user("hi")],
                       request_id=conversation)  # fmt: skip
        said(store, own, rater_id="mallory", thumb="up", idempotency_key=(conversation, "k")[n])
    store.conversations.delete(["abstract_algebra", cluster], "mallory")
    assert erase_deleted(store, settings) is not None
    assert json.loads(house.read_text()) == record
    after = [json.loads(one) for one in kept.read_text().splitlines()]
    assert after[1].pop("cluster").startswith("erased-")
    items[1].pop("cluster")
    assert after == items


def test_a_verdict_s_reasons_lose_the_quotations_and_no_word_of_pawl_s(
    store: Store, settings: Settings
) -> None:
    """Earlier versions quoted prompts there, the first 80 characters of each."""
    short, long = 'Why, "my PIN is 4711"?', f"My card ends in 0815. {'What does that mean? ' * 5}"
    short += " So do tell me."
    plain = "People's prompts did not improve: 0 got better and 0 worse."
    quoting = f'2 of 9 prompts are worse. Worse: "{short}"; "{long[:80]}"; "of bob"; and 2 more.'
    left = '2 of 9 prompts are worse. Worse: [erased]; [erased]; "of bob"; and 2 more.'
    for text in (short, long):
        answered(store, rater_id="ann", messages=[user(text)])
    verdict = {"outcome": "reject", "reasons": [plain, quoting], "kept": [{"broken": [long]}]}
    store.append_verdict("run-1", verdict).result()
    store.append_promotion(
        make_promotion("pawl@1", "rejected", reason=f"{plain} {quoting}")
    ).result()
    run = settings.runs_dir / "run-1"
    write_json(run / "verdict.json", verdict)
    write_json(run / "run.json", {"detail": {"reason": f"{plain} {quoting}"}})
    page = "".join(f"<li>{escape(one)}</li>" for one in (plain, quoting, long))
    (run / "report.html").write_text(page)
    deleted(store, settings, plain, quoting)
    assert read_json(run / "verdict.json") == store.verdict("run-1") == verdict
    assert (run / "report.html").read_text() == page
    done = forget(store, settings, "ann", "the operator")
    after = {"outcome": "reject", "reasons": [plain, left], "kept": [{"broken": ["[erased]"]}]}
    assert read_json(run / "verdict.json") == store.verdict("run-1") == after
    assert read_json(run / "run.json") == {"detail": {"reason": f"{plain} {left}"}}
    assert store.promotions()[0].reason == f"{plain} {left}"
    lines = "".join(f"<li>{html.escape(one)}</li>" for one in (plain, left, "[erased]"))
    assert (run / "report.html").read_text().replace("&#39;", "&#x27;") == lines
    assert done["searched"]["found"] == []


def test_what_two_people_asked_stays_the_other_s(store: Store, settings: Settings) -> None:
    for rater in ("ann", "bob"):
        answer = answered(store, rater_id=rater, messages=[user(ASKED), RESULT], completion=ANSWER)
    said(store, answer, rater_id="bob", correction="Canberra it is, says bob.")
    system = {"role": "system", "content": "Canberra it is, says bob."}
    own = answered(store, rater_id="ann", messages=[system, user(f"Only ann asks: {ASKED}")])
    said(store, own, rater_id="ann", comment=ANSWER)  # a model's, to bob
    records = [{"messages": [user(ASKED), RESULT, {"role": "assistant", "content": ANSWER}]}]
    house = export(settings, *records)
    more = settings.runs_dir / "run-1" / "more_rows.jsonl"
    more.parent.mkdir(parents=True)
    row = {"row_id": "control-1", "prompt": [user(ASKED)], "origin": {"rater_id": "bob"}}
    more.write_text(json.dumps(row) + "\n")
    with store.rewriter.database.reading() as cursor:
        theirs, _ = read_theirs(cursor, Selection(("ann",)))
    assert theirs.words == {f"Only ann asks: {ASKED}"}
    done = forget(store, settings, "ann", "the operator")
    assert done["files"]["exports"] == {}
    assert [json.loads(one) for one in house.read_text().splitlines()] == records
    assert json.loads(more.read_text()) == row


def test_a_row_that_goes_for_one_reason_is_not_written_for_another(
    store: Store, settings: Settings
) -> None:
    """A reviewer preferred a better answer to ann's, and took over a correction of ann's."""
    better, worse = (
        answered(store, rater_id=rater, messages=[user("same?")]) for rater in ("bob", "ann")
    )
    said(store, better, rater_id="ann", correction=f"{ANSWER} So ann says.", thumb="down")
    said(store, better, rater_id="rev", preferred_over=worse.completion_id)
    answers = [{"completion_id": better.completion_id, "choice_index": 0}]
    decide(store, ReviewRequest(answers=answers, decision="accept"), "rev")
    undo(store, "rev")
    done = forget(store, settings, "ann", "the operator")
    left = [(one.source, one.correction) for one in store.feedback_history()]
    assert left == [("api", None)]
    assert done["store"]["tables"]["feedback"]["n_after"] == len(left)


def test_a_stranger_s_post_under_the_id_hides_nothing_of_a_conversation(store: Store) -> None:
    """Programs get ids made of how a conversation began, which others can work out."""
    title = "A title that only ann gave to it."
    own = answered(store, rater_id="ann", conversation_id="shared")
    note = ConversationNote("shared", "ann", utc_now(), title=title)
    store.conversations.keep(note).result()
    assert owner_of(store, "shared") == "ann"
    store.conversations.delete(["shared"], "ann")
    assert owner_of(store, "shared") == "ann"  # it waits for its erasing
    answered(store, rater_id="mallory", conversation_id="shared")
    with pytest.raises(PawlError, match="2 owners"):
        owner_of(store, "shared")
    with store.rewriter.database.reading() as cursor:
        theirs, n = read_theirs(cursor, Selection(completion_ids=(own.completion_id,)))
    assert title in theirs.words
    assert "shared" not in theirs.ids  # it is mallory's as well
    assert n["conversations that others wrote in too"] == 1


def test_an_erasing_that_fails_leaves_an_earlier_one_s_people_forgotten() -> None:
    forgotten = Forgotten()
    forgotten.end({"ann"}, "2026-02-01T00:00:00Z")
    with pytest.raises(RuntimeError), forgotten.erasing({"ann", "bob"}):
        raise RuntimeError("the disk is gone")
    assert forgotten.holds("2026-01-31T00:00:00Z", "ann")
    assert not forgotten.holds("2026-02-01T00:00:00Z", "ann")
    assert not forgotten.holds("2026-01-31T00:00:00Z", "bob")


def test_a_certificate_that_can_t_be_read_hides_no_other(store: Store, settings: Settings) -> None:
    answered(store, rater_id="ann")
    done = forget(store, settings, "ann", "the operator")
    for name, text in (("0-broken", "{"), ("1-empty", "{}"), ("2-list", "[]")):
        (settings.state_dir / "erasures" / f"{name}.json").write_text(text)
    store.close()
    with Store.open(settings.database_path) as again:
        recall(again, settings.state_dir)
        assert again.forgotten.holds(done["begun_at"], "ann")


def test_a_file_of_the_exchange_folder_is_open_to_whom_it_was(
    store: Store, settings: Settings
) -> None:
    own = "A question that only mallory ever asks."
    house = export(settings, {"text": own}, {"text": "another"})
    house.chmod(0o600)
    assert deleted(store, settings, own)["files"]["exports"] == {"house.jsonl": 1}
    assert house.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("is_by_age", [False, True])
def test_a_prompt_of_two_that_decided_stays_one_that_decided(
    store: Store, settings: Settings, is_by_age: bool
) -> None:
    """What the ledger and the verdicts call it is the other's, too: it is no fresh evidence. Nor is
    one that training saw, though the rows that say so go."""
    prompts = [[user(f"{word} is asked about, and {word} alone?")] for word in WORDS]
    old = f"{datetime.now(UTC) - timedelta(days=31):%Y-%m-%dT%H:%M:%S.%fZ}"
    for n, prompt in enumerate(prompts):
        for rater, at in (("ann", old), ("bob", utc_now())):
            if (rater, n) == ("bob", 0):
                continue
            answer = answered(store, rater_id=rater, messages=prompt, completion="wrong",
                              conversation_id=conversation_in("train"), created_at=at)  # fmt: skip
            said(store, answer, rater_id=rater, correction=f"right {n}", created_at=at)
    keys = [prompt_key(one) for one in prompts]
    paid = {"snapshot_id": take_snapshot(store, settings)["snapshot_id"], "attempt": 1,
            "alpha": 0.05, "prompts": dict.fromkeys([*keys[:2], "another"], "fixed")}  # fmt: skip
    store.append_verdict("r1", {"outcome": "promote", "look": paid}).result()
    if is_by_age:
        by_age = settings.model_copy(update={"retention": RetentionSettings(all_days=30)})
        assert erase_by_age(store, by_age, lambda base: None)["n_answers"] == len(keys)
    else:
        forget(store, settings, "ann", "the operator")
    known, _ = prompts_of_looks(store)
    assert [one in known for one in keys] == [False, True, True, True]
    [look], verdict = store.looks(), store.verdict("r1") or {}
    for prompts_of in (look.prompts, verdict["look"]["prompts"]):
        assert [one in prompts_of for one in keys] == [False, True, False, False]
    rows = store.snapshot_rows(take_snapshot(store, settings)["snapshot_id"])
    assert {row.split for row in rows} == {"train"}
    assert store.learned_prompts() == set(keys[1:])
    forget(store, settings, "bob", "the operator")
    assert prompts_of_looks(store)[0].isdisjoint(keys)
    assert store.learned_prompts() == set()


def test_a_prompt_of_two_goes_with_the_last(store: Store, settings: Settings) -> None:
    """The row that both said stands under the first one's name."""
    prompt = [user("The lantern is asked about, and the lantern alone?")]
    for rater in ("ann", "bob"):
        answer = answered(store, rater_id=rater, messages=prompt, completion="wrong",
                          conversation_id=conversation_in("train"))  # fmt: skip
        said(store, answer, rater_id=rater, correction="right")
    key = prompt_key(prompt)
    paid = {"snapshot_id": take_snapshot(store, settings)["snapshot_id"], "attempt": 1,
            "alpha": 0.05, "prompts": {key: "fixed"}}  # fmt: skip
    store.append_verdict("r1", {"outcome": "promote", "look": paid}).result()
    for rater, is_left in (("ann", True), ("bob", False)):
        forget(store, settings, rater, "the operator")
        assert (key in store.looks()[0].prompts) is is_left
        assert (key in json.dumps(store.verdict("r1"))) is is_left


def test_a_system_prompt_of_the_template_empties_no_probe_record(tmp_path: Path) -> None:
    text = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    write_json(tmp_path / PROBE, [{"prefix_ids": [n]} for n in range(4)])
    write_json(tmp_path / "manifest.json", {"files_sha256": {PROBE: ""}})
    theirs = Theirs(words={text}, rows={"r": {"prompt": [user("question 2 of bob")]}})
    by_id = theirs.searches()[3]
    decode = lambda ids: f"<|im_start|>system\n{text}<|im_end|>\nquestion {ids[0]} of bob\n"  # noqa: E731
    assert redact_probe(tmp_path, theirs, by_id, decode) == 3


@pytest.mark.slow
def test_what_others_wrote_is_looked_through_in_seconds(store: Store) -> None:
    text = "word " * 400
    rows = [(f"c{n}", json.dumps([user(f"{n} {text}")])) for n in range(20_000)]
    one = answered(store, rater_id="ann", messages=[user(ASKED)])
    with store.rewriter.database.reading() as cursor:
        cursor.execute(
            "INSERT INTO main.completions SELECT c.* REPLACE (r.id AS completion_id, 'bob' AS"
            " rater_id, r.messages AS messages_json) FROM main.completions c, (SELECT unnest("
            "?::VARCHAR[]) AS id, unnest(?::VARCHAR[]) AS messages) r",
            [list(column) for column in zip(*rows, strict=True)],
        )
        began = time.process_time()
        theirs, _ = read_theirs(cursor, Selection(("ann",)))
    assert time.process_time() - began < 5
    assert theirs.completion_ids == {one.completion_id}
    assert theirs.words == {ASKED}
