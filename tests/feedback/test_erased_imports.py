"""Whoever is known from an import alone is forgotten too, and a later export doesn't bring them
back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from feedback.erasing import forget, preview, recall
from feedback.formats import Exchange, import_file
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
        assert {rater for _, rater in store.imported_keys()[None]} == {f"import:open-webui/{BOB}"}
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
        assert {rater for _, rater in store.imported_keys()[None]} == {f"import:open-webui/{BOB}"}
