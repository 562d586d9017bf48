"""Stores, journals and settings that earlier versions wrote open, with equal rows.

``earlier/schema-NN.tar.xz`` was written by the code of its time (``earlier/write.py``), and not
closed: rows stand in DuckDB's log, or in the journal from schema 14 on.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest

from feedback.migrations import MIGRATIONS, applied_migrations
from feedback.store import Store
from pawl.errors import PawlError
from pawl.settings import RENAMED, flat, load_settings

EARLIER = Path(__file__).with_name("earlier")
ARCHIVES = sorted(EARLIER.glob("schema-*.tar.xz"))
FIRST_JOURNAL = 14


def number_of(archive: Path) -> int:
    return int(archive.name[7:9])


def unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")


def fields(rows: list[Any], like: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of rows as they are read now, those fields that they had then."""
    assert len(rows) == len(like)
    now = [json.loads(json.dumps(dataclasses.asdict(row))) for row in rows]
    return [{name: row[name] for name in then} for row, then in zip(now, like, strict=True)]


def test_there_is_a_store_of_each_earlier_schema() -> None:
    """A new migration needs one of the schema before it: see earlier/write.py."""
    numbers = [one.number for one in MIGRATIONS]
    assert set(numbers[:-1]) <= set(map(number_of, ARCHIVES))


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda one: one.name[:9])
def test_a_store_of_an_earlier_schema_has_its_rows(archive: Path, tmp_path: Path) -> None:
    import duckdb

    unpack(archive, tmp_path)
    number, path = number_of(archive), tmp_path / "pawl.duckdb"
    assert (tmp_path / "pawl.duckdb.journal").exists() == (number >= FIRST_JOURNAL)
    copy = shutil.copy(path, tmp_path / "copy.duckdb")  # opening one folds its log in
    with duckdb.connect(str(copy)) as connection:
        assert max(applied_migrations(connection)) == number
    then = json.loads((tmp_path / "expected.json").read_text("utf-8"))
    assert len(then["completions"]) == len(then["feedback"]) == 4
    for _ in range(2):  # as it was left, and once it was migrated and closed
        with Store.open(path) as store:
            assert fields(store.completions(), then["completions"]) == then["completions"]
            assert fields(store.current_feedback(), then["feedback"]) == then["feedback"]
            assert fields(store.promotions(), then["promotions"]) == then["promotions"]
            assert store.champion() == then["champion"] == "pawl@1"
            categories = {one.key: one for one in store.categories()}
            for one in then["categories"]:
                assert fields([categories[one["key"]]], [one]) == [one]
            counts = store.counts()
            assert {name: counts[name] for name in then["counts"]} == then["counts"]
            store.verify()
    with Store.open(path) as store:
        assert store.next_version() == 2


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda one: one.name[:9])
def test_settings_of_an_earlier_version_are_taken_or_their_new_names_said(
    archive: Path, tmp_path: Path
) -> None:
    unpack(archive, tmp_path)
    path = tmp_path / "pawl.toml"
    values = dict(flat(tomllib.loads(path.read_text("utf-8"))))
    gone = RENAMED.keys() & values.keys()
    if gone:
        with pytest.raises(PawlError) as caught:
            load_settings(config_path=path)
        for old in gone:
            assert f"{old}: it is called {RENAMED[old]} now" in str(caught.value)
        assert "no such setting" not in str(caught.value)
        for old in sorted(gone):
            values[RENAMED[old]] = values.pop(old)
        groups: dict[str, Any] = {}
        for key, value in values.items():
            group, _, name = key.rpartition(".")
            (groups.setdefault(group, {}) if group else groups)[name] = value
        loaded = load_settings(groups, only_flags=True)
    else:
        loaded = load_settings(config_path=path)
    now = dict(flat(loaded.model_dump(mode="json")))
    assert len(values) > 15
    del values["state_dir"]  # which is of the folder that one is in
    assert {key: now[key] for key in values} == values
