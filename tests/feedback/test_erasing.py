"""A person is gone from every file of a state folder, also when the erasing is killed midway.

Over 400 lines: a state folder with something of everything is made for all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feedback.erased_files import Theirs, redact_probe
from feedback.erasing import (
    certificates,
    forget,
    preview,
    subject_hash,
    while_erasing,
    while_reading,
)
from feedback.formats import Exchange, export_file
from feedback.mark import begin_swap, finish_swap, mark_path, new_path, read_mark, swap_path
from feedback.service import take_snapshot
from feedback.snapshots import read_manifest, read_rows
from feedback.store import Store
from pawl.adapters import CHECKPOINTS, PROBE
from pawl.errors import PawlError
from pawl.files import hold_lock, read_json, sha256_file, write_atomic, write_json
from pawl.schemas import (
    Account,
    AuditEntry,
    ConversationNote,
    ItemScore,
    Key,
    Preset,
    Role,
    Split,
    utc_now,
)
from pawl.settings import Settings
from serve.api.erasing import carry_on
from tests.conftest import REPOSITORY
from tests.feedback.examples import (
    SALT,
    answered,
    conversation_in,
    make_completion,
    make_feedback,
    make_promotion,
    said,
)
from tests.serve.live import FAKE_BASE

MARK = "zq7Marker"  # in everything that is the person's
ANN = f"ann-{MARK}"
TOKENS = {"ann": 7, "other": 9}  # a token id that the tests' tokenizer takes for a prompt
STEPS = ("plan", "adapters", "runs", "exports", "snapshots", "search", "store", "certificate")


def decode(fingerprint: str) -> Any:
    """A base whose one token is one prompt."""
    texts = {7: f"user: question {MARK} of ann, long enough train", 9: "user: another question"}
    return lambda ids: " ".join(texts.get(one, "?") for one in ids)


def settings_in(folder: Path) -> Settings:
    return Settings(state_dir=folder, split_salt=SALT)


def fill(settings: Settings) -> None:
    """A state folder with two people's rows in everything that keeps some."""
    with Store.open(settings.database_path) as store:
        for split in ("train", "holdout"):
            for rater in (ANN, "bob"):
                mark = MARK if rater == ANN else "plain"
                asked = {"train": "question {} of ann, long enough train",
                         "holdout": "how would {} put this elsewhere: holdout"}[split]  # fmt: skip
                answer = answered(
                    store,
                    rater_id=rater,
                    completion_id=f"chatcmpl-{mark}-{split}",
                    conversation_id=conversation_in(split),  # type: ignore[arg-type]
                    messages=[
                        {"role": "system", "content": "You are a helpful assistant of the house."},
                        {"role": "user", "content": asked.format(mark)},
                    ],
                    completion=f"answer {mark}",
                )
                said(
                    store, answer, rater_id=rater, correction=f"right {mark} {split}", thumb="down"
                )
                said(store, answer, rater_id="reviewer", comment=f"a comment {mark} {split}")
                for n in range(40):  # so that blocks of the file are freed and used again
                    answered(store, rater_id=rater, completion=f"{mark} {n} " + "x" * 2000)
                prompt = {"system_prompt": f"Answer as {mark} would, in one sentence."}
                for at in ("before", "after"):
                    preset = Preset(rater, f"{mark} {at}", utc_now(), prompt)
                    store.conversations.keep_preset(preset).result()
                noted = ConversationNote(f"chat-{split}", rater, utc_now(), settings=prompt)
                store.conversations.keep(noted).result()
        store.conversations.keep_preset(
            Preset("bob", "plain before", utc_now(), deleted_at=utc_now())
        ).result()
        same = [{"role": "user", "content": "same?"}]
        where = conversation_in("train")
        better = answered(store, rater_id="bob", messages=same, conversation_id=where)
        worse = answered(store, rater_id=ANN, messages=same, conversation_id=where)
        said(store, better, rater_id="bob", preferred_over=worse.completion_id)
        now = utc_now()
        account = Account(ANN, Role.REVIEWER, f"hash {MARK}", False, f"subject {MARK}", now, now)
        store.access.accounts.add(account)
        store.access.add_key(Key("k1", "front", Role.USER, False, "hash", now))
        entry = AuditEntry(
            "a1", now, ANN, "10.1.2.3", "add key", json.dumps({"name": ANN}), "200", "r"
        )
        store.access.record(entry).result()
        manifest = take_snapshot(store, settings)
        held_out = [
            ItemScore("holdout", row.row_id, 0.5, row.group_id, None,
                      {"prompt": row.prompt, "correction": row.chosen, "flagged": row.rejected,
                       "correction_logprob": -1.5, "answer": f"says {row.rejected}"})
            for row in read_rows(settings.snapshots_dir / manifest["snapshot_id"])
            if row.split == "holdout"
        ]  # fmt: skip
        [theirs] = [one for one in held_out if MARK in str(one.detail)]
        items = [*held_out, ItemScore("arc", "1-abc", 1.0, "1-abc", None, {"choices": ["train"]})]
        store.append_scores("run-1", "champion", items).result()
        store.append_verdict("run-1", {"outcome": "reject", "suspects": [
            {"row_id": theirs.item_id, "why": "text"}, {"row_id": "other", "why": "stays"},
        ]}).result()  # fmt: skip
        store.append_promotion(make_promotion("pawl@1", "live")).result()
    run = settings.runs_dir / "run-1"
    lines = [json.dumps(item.as_json(), ensure_ascii=False) for item in items]
    for folder in (run / "scores" / "champion", settings.scores_dir / "holdout-1"):
        folder.mkdir(parents=True)
        (folder / "items.jsonl").write_text("".join(line + "\n" for line in lines))
        write_json(folder / "manifest.json", {"items_sha256": sha256_file(folder / "items.jsonl")})
    # Whose prompts these are it doesn't say, and they are too short to be searched for.
    control = {"row_id": "control-1", "origin": {"rater_id": ANN}}  # beside the snapshot's
    (run / "more_rows.jsonl").write_text(json.dumps(control) + "\n")
    (run / "traffic.jsonl").write_text(json.dumps({"prompt": [
        {"role": "user", "content": f"Is {MARK} ill?"}, {"role": "assistant", "content": "Yes."},
    ]}) + "\n")  # fmt: skip
    write_json(run / "run.json", {"status": "train", "detail": {"method": "sft"}})
    examples = [{"item_id": one.item_id, **one.detail} for one in held_out]
    write_json(run / "report.json", {"complaints": {"mended": examples}})
    page = "".join(f"<dd>{one.detail['answer']}</dd><dd>user: {one.detail['prompt'][-1]['content']}"
                   "</dd>" for one in held_out)  # fmt: skip
    (run / "report.html").write_text(f"<p>Title</p>{page}")
    settings.logs_dir.mkdir()
    (settings.logs_dir / "gateway.log").write_text(
        f"INFO GET /v1/conversations/{theirs.cluster} 200\nINFO add key by {ANN}: 200\nok\n"
    )
    export = settings.exchange_dir
    export.mkdir()
    rows = read_rows(settings.snapshots_dir / manifest["snapshot_id"])
    records = [{"prompt": row.prompt, "chosen": row.chosen, "rejected": row.rejected}
               for row in rows if row.kind == "pair"]  # fmt: skip
    (export / "out.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    for place, snapshot_id in ((settings.adapters_dir / "pawl@1", manifest["snapshot_id"]),
                               (run / "adapter", manifest["snapshot_id"]),
                               (settings.adapters_dir / "pawl@2", "earlier")):  # fmt: skip
        place.mkdir(parents=True)
        write_json(
            place / PROBE, [{"prefix_ids": [one], "logprobs": {}} for one in TOKENS.values()]
        )
        write_json(place / "manifest.json", {
            "base_fingerprint": "sha256:0", "recipe": {"snapshot": {"snapshot_id": snapshot_id}},
            "files_sha256": {PROBE: sha256_file(place / PROBE)},
        })  # fmt: skip
    (settings.state_dir / "salvage-1").mkdir()
    (settings.state_dir / "salvage-1" / "pawl.duckdb").write_text(MARK)
    for name, snapshot_id in (("run-2", manifest["snapshot_id"]), ("run-3", "earlier")):
        work_dir = settings.runs_dir / name / "train"  # interrupted
        write_json(
            work_dir / "job.json", {"snapshot_dir": str(settings.snapshots_dir / snapshot_id)}
        )
        write_atomic(work_dir / CHECKPOINTS / "sft" / "checkpoint-4" / "optimizer.pt", "weights")


def traces(folder: Path) -> list[str]:
    """The files that hold the marker, in whatever form that Pawl writes."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and MARK.encode() in path.read_bytes()
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled") / "state"
    fill(settings_in(folder))
    return folder


@pytest.fixture
def settings(filled: Path, tmp_path: Path) -> Settings:
    subprocess.run(["cp", "-r", str(filled), str(tmp_path / "state")], check=True)
    return settings_in(tmp_path / "state")


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with Store.open(settings.database_path) as one:
        yield one


def check_gone(settings: Settings) -> None:
    """Nothing of the person's is left, and what is others' is there."""
    assert traces(settings.state_dir) == []
    assert len(certificates(settings.state_dir)) == 1
    with Store.open(settings.database_path) as store:
        store.verify()
        rows = store.completions()
        assert {row.rater_id for row in rows} == {"bob"}
        assert len(rows) == 2 * 41 + 1
        assert {one.rater_id for one in store.feedback_history()} == {"bob", "reviewer"}
        assert len([one for one in store.feedback_history() if one.rater_id == "reviewer"]) == 2
        assert all(one.preferred_over is None for one in store.feedback_history())
        assert [one.name for one in store.conversations.presets("bob")] == ["plain after"]
        assert store.read("SELECT DISTINCT rater_id FROM presets") == [("bob",)]
        assert (
            store.read("SELECT name FROM presets WHERE deleted_at IS NULL")
            == [("plain after",)] * 2
        )  # what was deleted is gone from the file too
        assert "plain" in store.conversations.note("chat-train", "bob").settings["system_prompt"]
        [entry] = store.access.audit(10)
        assert (entry.action, entry.address) == ("add key", "")
        [account] = store.access.accounts.all_accounts()
        assert account.removed_at is not None
        assert store.access.asks  # the server did not open itself
        bobs = [one for one in store.scores("run-1", "champion") if one.benchmark == "holdout"]
        assert sorted(one.score or 0 for one in bobs) == [0.5, 0.5]
        manifest = take_snapshot(store, settings)  # a new one, of what is left
        assert {row.origin["rater_id"] for row in read_rows(Path(manifest["dir"]))} == {"bob"}
    run = settings.runs_dir / "run-1"
    scores = run / "scores" / "champion"
    items = [json.loads(line) for line in (scores / "items.jsonl").read_text().splitlines()]
    assert [item["detail"].get("correction_logprob") for item in items] == [-1.5, -1.5, None]
    assert items[-1]["detail"]["choices"] == ["train"]
    assert read_json(scores / "manifest.json")["items_sha256"] == sha256_file(
        scores / "items.jsonl"
    )
    assert "plain" in (run / "report.html").read_text()
    assert read_json(run / "run.json") == {"status": "train", "detail": {"method": "sft"}}
    assert "ok\n" in (settings.logs_dir / "gateway.log").read_text()
    assert "plain" in (settings.exchange_dir / "out.jsonl").read_text()
    assert not (settings.runs_dir / "run-2" / "train" / CHECKPOINTS).exists()
    assert (settings.runs_dir / "run-3" / "train" / CHECKPOINTS).exists()
    for place, left in ((settings.adapters_dir / "pawl@1", [9]), (run / "adapter", [9]),
                        (settings.adapters_dir / "pawl@2", [7, 9])):  # fmt: skip
        assert [one["prefix_ids"] for one in read_json(place / PROBE)] == [[one] for one in left]
        hashes = read_json(place / "manifest.json")["files_sha256"]
        assert hashes[PROBE] == sha256_file(place / PROBE)


def test_a_person_is_gone_from_every_byte(settings: Settings, store: Store) -> None:
    assert len(traces(settings.state_dir)) > 8
    told = preview(store, settings, ANN)
    assert told["adapters"] == ["pawl@1", "run-1"]
    assert told["copies"] == [f"runs/run-2/train/{CHECKPOINTS}", "salvage-1"]
    snapshot = settings.snapshots_dir / told["snapshots"][0]
    content = read_manifest(snapshot)["content_sha256"]
    done = forget(store, settings, ANN, "the operator", decode=decode)
    assert sorted(done["files"]["copies"]) == told["copies"]
    assert done["counts"] == told["counts"]
    assert done["counts"]["answers"] == 83
    assert done["counts"]["feedback of others on their answers"] == 2
    assert done["counts"]["preferences of others over their answers"] == 1
    assert done["store"]["tables"]["completions"]["n_before"] == 166
    assert (done["searched"]["found"], done["store"]["found"]) == ([], 0)
    assert {one["adapter"]: one["n_probe_positions_left"] for one in done["adapters"]} == {
        "pawl@1": 1, "run-1": 1,
    }  # fmt: skip
    assert done["choices"][-1].startswith("pawl rollback --to base ")
    assert done["subject_sha256"] == subject_hash(done["subject_salt"], ANN)
    tombstone = read_json(snapshot / "erased.json")
    assert (tombstone["content_sha256"], tombstone["asked_by"]) == (content, "the operator")
    with pytest.raises(PawlError) as err:
        read_rows(snapshot)
    assert err.value.code == "snapshot_erased"
    late = answered(store)  # the same store goes on
    store.close()
    text = settings.state_dir / "erasures" / f"{done['erasure_id']}.txt"
    assert text.stat().st_mode & 0o77 == 0
    with Store.open(settings.database_path) as again:
        assert again.get_completion(late.completion_id) == late
    with Store.open(settings.database_path) as again, pytest.raises(PawlError) as err:
        forget(again, settings, ANN, "the operator")
    assert err.value.code == "unknown_user"


def test_an_adapter_that_began_from_one_that_learned_from_a_person_is_told_too(
    settings: Settings, store: Store
) -> None:
    [snapshot_id] = preview(store, settings, ANN)["snapshots"]
    path = settings.adapters_dir / "pawl@2" / "manifest.json"
    recipe = {"snapshot": {"snapshot_id": "later"}, "start": {"snapshots": [snapshot_id]}}
    write_json(path, read_json(path) | {"recipe": recipe})
    told = preview(store, settings, ANN)
    assert told["adapters"] == ["pawl@1", "pawl@2", "run-1"]
    done = forget(store, settings, ANN, "the operator", decode=decode)
    assert [one["snapshot_id"] for one in done["adapters"]] == [snapshot_id] * 3


def test_who_is_forgotten_second_is_told_of_the_adapter_that_learned_from_both(
    settings: Settings, store: Store
) -> None:
    """The first takes the snapshot with them; its rows of the second are known to the store."""
    told = preview(store, settings, "bob")["adapters"]
    forget(store, settings, ANN, "the operator", decode=decode)
    texts = {9: "user: question plain of ann, long enough train"}
    again = preview(store, settings, "bob")
    assert (again["adapters"], again["snapshots"]) == (told, [])
    done = forget(store, settings, "bob", "the operator",
                  decode=lambda base: lambda ids: texts[ids[0]])  # fmt: skip
    assert [one["adapter"] for one in done["adapters"]] == ["pawl@1", "run-1"]
    assert {one["n_rows"] for one in done["adapters"]} == {2}
    assert done["choices"][-1].startswith("pawl rollback --to base ")
    assert done["snapshots"] == []
    for place in (settings.adapters_dir / "pawl@1", settings.runs_dir / "run-1" / "adapter"):
        assert read_json(place / PROBE) == []


@pytest.mark.slow
@pytest.mark.parametrize("step", ["plan", "search", "store", "certificate"])
def test_a_killed_erasing_is_carried_on(settings: Settings, step: str) -> None:
    """The process dies as a step begins; whoever opens the folder next finishes it."""
    code = (
        "import os, sys; from pathlib import Path; from feedback.erasing import forget\n"
        "from feedback.store import Store; from tests.feedback.test_erasing import *\n"
        "settings = settings_in(Path(sys.argv[1])); store = Store.open(settings.database_path)\n"
        "forget(store, settings, ANN, 'the operator', decode=decode,"
        " say=lambda step: os._exit(9) if step == sys.argv[2] else None)"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, str(settings.state_dir), step], cwd=REPOSITORY, check=False
    )
    assert child.returncode == 9
    with Store.open(settings.database_path) as store:
        again = forget(store, settings, ANN, "somebody else", decode=decode)
    assert again["asked_by"] == "the operator"
    assert again["counts"]["answers"] == 83
    check_gone(settings)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["new file alone", "decided", "moved"])
def test_a_killed_swap_leaves_one_store_or_the_other(tmp_path: Path, moment: str) -> None:
    path, other = tmp_path / "pawl.duckdb", tmp_path / "other" / "pawl.duckdb"
    with Store.open(path) as store:
        for _ in range(5):
            answered(store)
    with Store.open(other) as store:
        answered(store, completion_id="the new one's")
        newest = store.newest_seq()
    other.replace(new_path(path))
    if moment != "new file alone":
        begin_swap(path, newest)
    if moment == "moved":
        new_path(path).replace(path)
    with Store.open(path) as store:
        store.verify()
        ids = [one.completion_id for one in store.completions()]
    assert (ids == ["the new one's"]) == (moment != "new file alone")
    assert len(ids) == (5 if moment == "new file alone" else 1)
    assert not new_path(path).exists()
    assert not swap_path(path).exists()
    mark = read_mark(path)
    assert mark is not None
    assert mark_path(path).stat().st_mode & 0o77 == 0
    finish_swap(path)  # as often as one likes
    Store.open(path).close()


def test_rows_that_come_while_the_file_is_written_anew_are_there(
    settings: Settings, store: Store
) -> None:
    late: list[str] = []

    def write_more(step: str) -> None:
        late.append(answered(store, rater_id="bob").completion_id)
        late.append(answered(store, rater_id="bob", completion="y" * 3000).completion_id)

    forget(store, settings, ANN, "the operator", decode=decode, say=write_more)
    assert len(late) == 2 * len(STEPS)
    assert {one.completion_id for one in store.completions()} >= set(late)
    store.verify()


@pytest.mark.slow
def test_what_is_under_way_while_its_person_is_forgotten_is_not_kept(
    settings: Settings, store: Store
) -> None:
    """An answer is recorded when it ends, and feedback when it was checked: maybe too late."""
    begun = make_completion(rater_id=ANN)
    [theirs] = [one for one in store.completions() if one.completion_id.endswith(f"{MARK}-train")]
    [bobs] = [one for one in store.completions() if one.completion_id.endswith("plain-train")]
    on_theirs = make_feedback(theirs, rater_id="bob", comment=f"about {MARK}")
    by_them = make_feedback(bobs, rater_id=ANN, comment=f"by {MARK}")
    over_theirs = make_feedback(bobs, rater_id="bob", preferred_over=theirs.completion_id)
    arrived: list[bool] = []

    def arrive() -> None:
        store.append_completion(begun).result(timeout=60)
        arrived.append(store.get_completion(begun.completion_id) is not None)
        for late in (on_theirs, by_them):
            with pytest.raises(PawlError) as err:
                store.append_feedback(late).result(timeout=60)
            assert err.value.code == "completion_not_found"

    forget(store, settings, ANN, "the operator", decode=decode,
           say=lambda step: arrive() if step in ("search", "certificate") else None)  # fmt: skip
    arrive()
    assert arrived == [False] * 3
    stored = store.append_feedback(over_theirs).result(timeout=60)
    assert (stored.preferred_over, stored.completion_id) == (None, bobs.completion_id)
    assert traces(settings.state_dir) == []
    later = answered(store, rater_id=ANN)  # the person came back
    assert store.get_completion(later.completion_id) == later
    store.close()
    with Store.open(settings.database_path) as after_a_start:  # for another gateway's journal
        carry_on(settings, FAKE_BASE, after_a_start)
        bobs = make_completion(rater_id="bob", created_at=begun.created_at)
        after_a_start.append_shipped("1" * 32, 2, [begun, bobs]).result(timeout=60)
        assert after_a_start.get_completion(begun.completion_id) is None
        assert after_a_start.get_completion(bobs.completion_id) == bobs


def test_an_erasing_that_fails_forgets_nobody(settings: Settings, store: Store) -> None:
    def fail(step: str) -> None:
        if step == "search":
            raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError):
        forget(store, settings, ANN, "the operator", decode=decode, say=fail)
    begun = answered(store, rater_id=ANN)
    assert store.get_completion(begun.completion_id) == begun


@pytest.mark.slow
def test_who_asks_the_same_stays_on_the_side_of_who_asked_first(tmp_path: Path) -> None:
    """Also when the first is forgotten: what tested is not trained on, nor the reverse."""
    settings = settings_in(tmp_path)
    asked = "Can I get a refund for a ticket of last week?", "When does the mill open on Sundays?"
    others: list[tuple[Split, Split]] = [("holdout", "train"), ("train", "holdout")]

    def splits() -> list[tuple[str | None, str]]:
        rows = read_rows(Path(take_snapshot(store, settings)["dir"]))
        found = {(row.chosen, row.split) for row in rows if row.origin["rater_id"] == "bob"}
        return sorted((text, split) for text, split in found if text is not None)

    with Store.open(settings.database_path) as store:
        for n, sides in enumerate(others):
            for rater, side, last in zip((ANN, "bob"), sides, ("", " Thanks!"), strict=True):
                answer = answered(
                    store,
                    rater_id=rater,
                    conversation_id=conversation_in(side),
                    messages=[{"role": "user", "content": asked[n] + last}],
                )
                said(store, answer, rater_id=rater, correction=f"of {rater} {n}")
        before = splits()
        assert [split for _, split in before] == ["holdout", "train"]
        forget(store, settings, ANN, "the operator", decode=decode)
        assert splits() == before
        assert len(store.places()) == 2


@pytest.mark.slow
def test_a_prompt_of_two_letters_empties_no_probe_record(tmp_path: Path) -> None:
    """It stands in the midst of what others wrote; as a whole turn it goes."""
    texts = {
        1: "<|im_start|>user\nIs it open on Sundays, and what is it?<|im_end|>\n<|im_start|>as",
        2: "<|im_start|>user\nis<|im_end|>\n<|im_start|>assistant\nWhat",
        3: "<s>[INST] is [/INST] What",
        4: "<|user|>Who is it?</s><|assistant|>It is",
    }
    write_json(tmp_path / PROBE, [{"prefix_ids": [one], "logprobs": {}} for one in texts])
    write_json(tmp_path / "manifest.json", {"files_sha256": {PROBE: "as it was"}})
    theirs = Theirs(rows={"r": {"prompt": [{"role": "user", "content": "is"}]}, "empty": {}})
    search, *_ = theirs.searches()
    assert redact_probe(tmp_path, theirs, search, lambda ids: texts[ids[0]]) == 2
    assert [one["prefix_ids"] for one in read_json(tmp_path / PROBE)] == [[1], [4]]


def test_a_night_keeps_an_erasing_out(settings: Settings, store: Store) -> None:
    with hold_lock(settings.state_dir / "nightly.lock", "", ""), pytest.raises(PawlError) as err:
        forget(store, settings, ANN, "the operator")
    assert err.value.code == "night_runs"
    assert err.value.retryable
    assert store.completions(rater_id=ANN)


def test_nobody_is_erased_while_an_export_is_written(settings: Settings, store: Store) -> None:
    """Else it would bring back what it read before. Who only reads waits for no other reader."""
    refused: list[str | None] = []

    class Folder(Exchange):
        def write(self, name: str, data: bytes) -> None:
            with pytest.raises(PawlError) as err, while_erasing(settings, 0.0):
                pass
            refused.append(err.value.code)

    with while_reading(settings):  # as beside a backup
        export_file(store, Folder(settings.exchange_dir, 10**9), "out.json", "sft", settings)
        take_snapshot(store, settings)
    assert refused == ["locked"]
    assert forget(store, settings, ANN, "the operator", decode=decode)["counts"]["answers"]


def test_a_front_end_s_key_stands_for_all_behind_it(settings: Settings, store: Store) -> None:
    key = "front"
    mine = answered(store, rater_id=f"{key}/eve")
    other = answered(store, rater_id=f"{key}x/eve")
    assert preview(store, settings, f"{key}/eve")["names"] == [f"{key}/eve"]
    done = forget(store, settings, key, "the operator", decode=decode)
    assert done["counts"]["answers"] == 1
    assert store.get_completion(mine.completion_id) is None
    assert store.get_completion(other.completion_id) == other
    assert store.access.key("k1") is None
    assert [one.name.startswith("erased-") for one in store.access.all_keys()] == [True]
    with pytest.raises(PawlError, match="nothing is kept"):
        preview(store, settings, "nobody")


def test_a_name_that_is_a_common_word_spoils_nothing(settings: Settings, store: Store) -> None:
    for name in ("train", "user"):
        answered(store, rater_id=name)
        forget(store, settings, name, "the operator", decode=decode)
    assert read_json(settings.runs_dir / "run-1" / "run.json")["status"] == "train"
    items = (settings.runs_dir / "run-1" / "scores/champion/items.jsonl").read_text()
    assert '"role": "user"' in items
    assert '"train"' in items
    assert not store.completions(rater_id="train")
    assert store.promotions()[0].version == "pawl@1"


@pytest.mark.slow
def test_ids_that_a_client_chose_spoil_nothing(tmp_path: Path) -> None:
    """They may be any word: a row of the store's own, a key of a manifest, another's account."""
    settings = Settings(state_dir=tmp_path / "state", split_salt=SALT)
    with Store.open(settings.database_path) as store:
        now = utc_now()
        store.access.accounts.add(Account("alice.smith", Role.USER, "h", False, None, now, now))
        for n, word in enumerate(("split_salt", "alice.smith", "base_fingerprint", "prompt")):
            answer = answered(
                store,
                rater_id="mallory",
                conversation_id=word,
                messages=[{"role": "user", "content": f"question {n} of theirs"}],
            )
            said(store, answer, rater_id="mallory", correction=f"right {n}", idempotency_key=word)
        kept = answered(store, rater_id="bob", messages=[{"role": "user", "content": "of bob"}])
        said(store, kept, rater_id="bob", correction="right of bob")
        take_snapshot(store, settings)
        salt = store.split_salt(None)
        manifest = settings.adapters_dir / "pawl@1" / "manifest.json"
        manifest.parent.mkdir(parents=True)
        write_json(manifest, {"base_fingerprint": "sha256:0"})
        settings.exchange_dir.mkdir()
        export = settings.exchange_dir / "out.jsonl"
        export.write_text(json.dumps({"prompt": "of bob", "completion": "right of bob"}) + "\n")
        before = export.read_bytes()
        forget(store, settings, user="mallory", asked_by="operator")
        assert store.split_salt(None) == salt
        [account] = store.access.accounts.all_accounts()
        assert (account.name, account.removed_at) == ("alice.smith", None)
        assert {row.rater_id for row in store.completions()} == {"bob"}
    assert read_json(manifest) == {"base_fingerprint": "sha256:0"}
    assert export.read_bytes() == before


def test_ids_that_clients_chose_blank_no_other_words_of_logs() -> None:
    in_logs = Theirs(chosen={"203.0.113.7", "pawl.auth"}).searches()[2]
    assert in_logs.spans(b"WARNING pawl.auth wrong key from 203.0.113.7, 8 so far") == []
    for line in (
        b"INFO pawl.api [203.0.113.7] POST /v1/feedback 200",
        b'{"logger": "pawl.api", "request_id": "pawl.auth"}',
        b"INFO pawl.api GET /v1/conversations/203.0.113.7 200",
    ):
        assert len(in_logs.spans(line)) == 1
