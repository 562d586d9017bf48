"""Whoever is known from an import alone is forgotten too, and a later export doesn't bring them
back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from feedback.erased_files import Theirs, erase_exports, search_files
from feedback.erasing import forget, preview, recall
from feedback.formats import Exchange, import_file
from feedback.redaction import Search
from feedback.service import take_snapshot
from feedback.store import Store
from pawl.settings import Settings
from tests.feedback.formats.test_chats import open_webui

ANN, BOB = "7d0a2c5e-ann", "bob-5e-77aa"
PERSON = f"import:open-webui/{ANN}"


def rated(user_id: str, asked: str, rating: int = -1, **more: Any) -> dict[str, Any]:
    """A record as Open WebUI exports it."""
    messages = {
        "a": {"parentId": None, "role": "user", "content": asked},
        "b": {"parentId": "a", "role": "assistant", "content": "An answer of another model."},
    }
    record = open_webui(rating, "b", **messages)
    record["data"]["comment"] = f"a comment that {user_id} wrote alone"
    return {**record, "id": f"{user_id}: {asked}", "user_id": user_id, **more}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state")


def put(settings: Settings, *records: dict[str, Any]) -> dict[str, Any]:
    """Import an export, under whose name it lies in the exchange folder."""
    exchange = Exchange.of(settings)
    exchange.folder.mkdir(parents=True, exist_ok=True)
    (exchange.folder / "ratings.json").write_text(json.dumps(records))
    with Store.open(settings.database_path) as store:
        recall(store, settings.state_dir)  # as a start does
        return import_file(store, exchange, "ratings.json")


def left(settings: Settings) -> list[tuple[str, str]]:
    """Whose records the file has, and what they asked."""
    records = json.loads((settings.exchange_dir / "ratings.json").read_text())
    return [
        (one["user_id"], one["snapshot"]["chat"]["chat"]["history"]["messages"]["a"]["content"])
        for one in records
    ]


SHARED = "What do both of them ask about the mill?"


@pytest.mark.parametrize("is_curated", [False, True])
def test_records_of_an_imported_rater_leave_the_file_they_came_in(
    settings: Settings, is_curated: bool
) -> None:
    """Also those whose every text is another's too."""
    own, bobs = "What is it that only ann ever asks?", "What is it that only bob ever asks?"
    put(settings, *(rated(ANN, one) for one in (own, SHARED)),
        *(rated(BOB, one) for one in (bobs, SHARED)))  # fmt: skip
    copy = settings.exchange_dir / "notes.txt"
    copy.write_text(f"asked by {ANN}")
    with Store.open(settings.database_path) as store:
        if is_curated:
            take_snapshot(store, settings)
        assert preview(store, settings, PERSON)["counts"]["imported rows"] == 2
        done = forget(store, settings, PERSON, "the operator")
        assert done["files"]["exports"] == {"ratings.json": 2}
        assert done["searched"]["found"] == ["exchange/notes.txt"]
        assert {rater for _, rater in store.imported_keys()} == {f"import:open-webui/{BOB}"}
    assert left(settings) == [(BOB, bobs), (BOB, SHARED)]
    content = (settings.exchange_dir / "ratings.json").read_text()
    assert ANN not in content
    assert own not in content


def test_a_number_that_names_a_rater_is_no_number_of_others(settings: Settings) -> None:
    put(settings, rated("117", SHARED), rated(BOB, SHARED, page=117, version=117))
    with Store.open(settings.database_path) as store:
        forget(store, settings, "import:open-webui/117", "the operator")
    assert left(settings) == [(BOB, SHARED)]


def test_a_later_export_brings_nobody_back(settings: Settings) -> None:
    first, second = "What is asked before they go?", "What is asked after they have gone?"
    put(settings, rated(ANN, first), rated(BOB, first))
    with Store.open(settings.database_path) as store:
        forget(store, settings, PERSON, "the operator")
    done = put(settings, *(rated(who, one) for who in (ANN, BOB) for one in (first, second)))
    assert (done["n_added"], done["n_already_there"]) == (1, 1)
    assert done["skipped"] == {"its person was forgotten": 2}
    assert done["problems"][0] == "record 1 (line 1): its person was forgotten"
    with Store.open(settings.database_path) as store:
        assert {rater for _, rater in store.imported_keys()} == {f"import:open-webui/{BOB}"}


CORRECTION = "My grandmother Agathe always says that the mill stands at the river."


@pytest.mark.parametrize("corrected", [CORRECTION, "Agathe knows."])
def test_a_score_on_a_line_of_its_own_goes_with_whoever_it_is_from(
    settings: Settings, corrected: str
) -> None:
    """It does not name them: the trace does. A copy that is no export is named."""

    def about(n: int, user: str, asked: str, says: str) -> list[dict[str, Any]]:
        trace = {
            "id": f"trace-{n}f3a", "timestamp": "2026-01-01", "projectId": "p", "scores": [],
            "userId": user, "input": asked, "output": "It stands.",
        }  # fmt: skip
        score = {
            "id": f"score-{n}b7d", "traceId": trace["id"], "name": "output", "source": "API",
            "dataType": "CORRECTION", "longStringValue": says,
        }  # fmt: skip
        return [trace, score]

    exchange = Exchange.of(settings)
    exchange.folder.mkdir(parents=True)
    bobs = about(
        2, BOB, "Where does bob's own mill stand?", "On the hill behind the church, he says."
    )
    records = [*about(1, "user-8f31c2", "Where does the mill stand?", corrected), *bobs]
    lines = exchange.folder / "lf.jsonl"
    lines.write_text("".join(json.dumps(one) + "\n" for one in records))
    (exchange.folder / "copy.txt").write_text(CORRECTION)
    with Store.open(settings.database_path) as store:
        assert import_file(store, exchange, "lf.jsonl")["n_added"] == 4
        done = forget(store, settings, "import:langfuse/user-8f31c2", "the operator")
    assert done["files"]["exports"] == {"lf.jsonl": 2}
    assert [json.loads(line) for line in lines.read_text().splitlines()] == bobs
    assert done["searched"]["found"] == (["exchange/copy.txt"] if corrected == CORRECTION else [])


def test_what_can_t_be_read_ends_no_erasing_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    question, user = "What is it that only ann ever asks?", os.geteuid()
    for name in ("a.json", "b.txt", "closed/c.json"):
        path = Path("exchange", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([question]), "utf-8")
    search = Search((), (), [question])
    try:
        for name in ("a.json", "closed"):
            Path("exchange", name).chmod(0)
        if user == 0:
            os.seteuid(65534)
        assert erase_exports(Path("exchange"), Theirs(), search) == {}
        searched = search_files(Path("state"), [Path("exchange")], search, search)
    finally:
        os.seteuid(user)
        Path("exchange", "closed").chmod(0o700)
    assert searched.found == [
        "exchange/a.json (not searched: Permission denied)",
        "exchange/b.txt",
        "exchange/closed (not searched: Permission denied)",
    ]


def test_odd_files_in_the_exchange_folder_end_no_erasing(tmp_path: Path) -> None:
    """Half a surrogate pair beside the person's record, and what is nested too deeply."""
    search = Search((), (ANN,), ())
    lines = [json.dumps({"user": ANN}), json.dumps({"text": "\ud800 é"})]
    (tmp_path / "lines.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "list.json").write_text(f"[{', '.join(lines)}]")
    (tmp_path / "deep.json").write_text("[" * 100_000 + f'"{ANN}"')
    assert erase_exports(tmp_path, Theirs(), search) == {"lines.jsonl": 1, "list.json": 1}
    assert json.loads((tmp_path / "lines.jsonl").read_text()) == json.loads(lines[1])
    assert json.loads((tmp_path / "list.json").read_text()) == [json.loads(lines[1])]
    assert search_files(tmp_path, [tmp_path], search, search).found == ["deep.json"]
