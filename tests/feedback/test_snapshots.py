"""Frozen rows: found again by content, refused when changed, never half there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from feedback.curation import Curated
from feedback.rows import Lesson
from feedback.snapshots import freeze, read_manifest, read_rows
from pawl.errors import PawlError
from pawl.files import sha256_file
from pawl.schemas import TrainingRow
from tests.conftest import REPOSITORY


def _rows(n: int) -> list[TrainingRow]:
    lessons = [
        Lesson(
            "sft",
            f"g{i}",
            [{"role": "user", "content": f"q{i}\u2028 \x85 🙂"}],
            completion=f"a{i}\r\n",
            origin={"source": "test"},
        )
        for i in range(n)
    ]
    return [one.in_split("holdout" if i == 0 else "train") for i, one in enumerate(lessons)]


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = _rows(5)
    manifest = freeze(Curated(rows, [("retracted", {})]), tmp_path / "s")
    folder = Path(manifest["dir"])
    assert folder == tmp_path / "s" / manifest["snapshot_id"]
    assert sorted(one.name for one in folder.iterdir()) == ["manifest.json", "rows.jsonl"]
    assert sorted(read_rows(folder), key=lambda r: r.row_id) == sorted(rows, key=lambda r: r.row_id)
    assert manifest["content_sha256"] == sha256_file(folder / "rows.jsonl")
    assert manifest["snapshot_id"] == manifest["content_sha256"][:16]
    assert manifest["counts"] == {"train": {"sft": 4}, "validation": {}, "holdout": {"sft": 1}}
    assert manifest["rejections"] == {"retracted": 1}
    assert json.loads((folder / "manifest.json").read_text())["n_rows"] == 5


def test_the_same_rows_in_another_order_are_the_same_snapshot(tmp_path: Path) -> None:
    first = freeze(Curated(_rows(5), []), tmp_path)
    stamp = (Path(first["dir"]) / "rows.jsonl").stat().st_mtime_ns
    again = freeze(Curated(_rows(5)[::-1], []), tmp_path)
    assert again == first
    assert (Path(first["dir"]) / "rows.jsonl").stat().st_mtime_ns == stamp
    assert freeze(Curated(_rows(4), []), tmp_path)["snapshot_id"] != first["snapshot_id"]
    assert len(list(tmp_path.iterdir())) == 2  # nothing left behind


@pytest.mark.parametrize("change", ["edited", "cut", "gone"])
def test_changed_rows_are_refused(tmp_path: Path, change: str) -> None:
    curated = Curated(_rows(3), [])
    folder = Path(freeze(curated, tmp_path)["dir"])
    rows = folder / "rows.jsonl"
    if change == "edited":
        rows.write_text(rows.read_text().replace("a1", "b1"))
    elif change == "cut":
        os.truncate(rows, rows.stat().st_size - 1)
    else:
        rows.unlink()
    for read in (
        lambda: read_rows(folder),
        lambda: read_manifest(folder),
        lambda: freeze(curated, tmp_path),
    ):
        with pytest.raises(PawlError, match="was changed") as err:
            read()
        assert err.value.code == "snapshot_changed"


def test_a_folder_without_manifest_is_no_snapshot(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("")
    with pytest.raises(PawlError, match="never finished"):
        read_rows(tmp_path)


def test_a_folder_without_manifest_stops_no_night(tmp_path: Path) -> None:
    curated = Curated(_rows(3), [])
    folder = Path(freeze(curated, tmp_path)["dir"])
    (folder / "manifest.json").unlink()
    (folder / "rows.jsonl").write_text("half")
    assert Path(freeze(curated, tmp_path)["dir"]) == folder
    assert {one.row_id for one in read_rows(folder)} == {one.row_id for one in curated.rows}
    assert list(tmp_path.iterdir()) == [folder]


def test_a_killed_freeze_leaves_no_snapshot(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
import feedback.snapshots as snapshots
from feedback.curation import Curated
snapshots.write_json = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
snapshots.freeze(Curated([], []), Path(sys.argv[1]))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=REPOSITORY, check=False)
    assert done.returncode == -9
    assert [one.name[:6] for one in tmp_path.iterdir()] == [".part-"]
    manifest = freeze(Curated([], []), tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == [manifest["snapshot_id"]]
    assert read_rows(Path(manifest["dir"])) == []
