"""Checkpoints on disk: whole, of this training alone, bounded. Trainings: ``test_resume.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pawl.files import write_json
from refine.checkpoints import (
    MANIFEST,
    OTHERS,
    SAVE_SHARE,
    Clock,
    Progress,
    StageCheckpoints,
    belongs_to,
    cut,
)
from refine.sft import EpochSampler

HEADER: dict[str, Any] = {
    "snapshot": {"content_sha256": "1"}, "plan": {"method": "sft"}, "base": {"fingerprint": "2"},
    "versions": {"torch": "3"}, "python": "3.11", "git_commit": None,
}  # fmt: skip


class Trainer:
    """A trainer that writes a checkpoint as transformers does."""

    def __init__(self, saved: StageCheckpoints, step: int, best: Path | None) -> None:
        self.path = saved.folder / f"checkpoint-{step}"
        self.state = self  # the attributes of transformers' state that are looked at
        self.global_step = step
        self.best_model_checkpoint = str(best) if best else None
        self.best_global_step = int(best.name.split("-")[1]) if best else None

    def write(self) -> None:
        self.path.mkdir(parents=True)
        (self.path / "optimizer.pt").write_bytes(bytes([self.global_step]) * 100)
        state = {"best_model_checkpoint": self.best_model_checkpoint}
        write_json(self.path / "trainer_state.json", state)


def place(folder: Path, notes: list[str] | None = None, rows: object = 1, **header: Any) -> Any:
    whose = belongs_to(HEADER | header, rows, "cpu")
    note = [].append if notes is None else notes.append
    return StageCheckpoints(folder / "sft", whose, Clock(), note=note)


def save(saved: StageCheckpoints, step: int, best: Path | None = None) -> Path:
    trainer = Trainer(saved, step, best)
    saved.save(trainer, trainer.write, lambda: Progress(n_resumed=step))
    return trainer.path


def names(saved: StageCheckpoints) -> list[str]:
    return sorted(path.name for path in saved.folder.glob("checkpoint-*"))


def step_of(saved: StageCheckpoints) -> int | None:
    """The step that a training would go on from; its manifest has the same number."""
    found = saved.newest()
    if found is None:
        return None
    assert found[0].name == f"checkpoint-{found[1].n_resumed}"
    return found[1].n_resumed


def test_a_newer_one_replaces_the_one_before_and_spares_the_best(tmp_path: Path) -> None:
    saved = place(tmp_path)
    assert saved.newest() is None
    best = save(saved, 3)
    save(saved, 8, best)
    save(saved, 10, best)
    assert names(saved) == ["checkpoint-10", "checkpoint-3"]
    assert step_of(saved) == 10
    assert names(saved) == ["checkpoint-10", "checkpoint-3"]


@pytest.mark.parametrize("what", ["unfinished", "changed", "without its manifest"])
def test_one_that_is_not_whole_gives_way_to_the_one_before(tmp_path: Path, what: str) -> None:
    saved = place(tmp_path)
    save(saved, 4)
    torn = Trainer(saved, 6, None)  # killed before the manifest was written
    torn.write()
    if what == "changed":
        saved._seal(torn.path, {"progress": {}})
        (torn.path / "optimizer.pt").write_bytes(b"")
    elif what == "without its manifest":
        (torn.path / MANIFEST).write_text('{"belongs_to"')
    notes: list[str] = []
    assert step_of(place(tmp_path, notes)) == 4
    assert [note.split(" is not used")[0] for note in notes] == ["checkpoint-6"]
    assert names(saved) == ["checkpoint-4"]


def test_one_whose_best_is_gone_is_not_used(tmp_path: Path) -> None:
    saved = place(tmp_path)
    best = save(saved, 3)
    save(saved, 8, best)
    (best / "optimizer.pt").unlink()
    assert step_of(saved) is None
    assert names(saved) == []


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        ("snapshot", {"snapshot": {"content_sha256": "other"}}),
        ("rows", {"rows": 2}),
        ("plan", {"plan": {"method": "sft", "seed": 1}}),
        ("base", {"base": {"fingerprint": "other"}}),
        ("code", {"versions": {"torch": "4"}}),
        ("code", {"git_commit": "abc"}),
        ("code", {"plugins": {"trainer": "frugal (acme 2.0)"}}),
    ],
)
def test_another_trainings_is_never_used_and_named(
    tmp_path: Path, key: str, changed: dict[str, Any]
) -> None:
    save(place(tmp_path), 4)
    notes: list[str] = []
    other = place(tmp_path, notes, **changed)
    assert step_of(other) is None
    assert names(other) == []
    assert [OTHERS[key] in note for note in notes] == [True]


def test_a_disk_that_is_full_ends_only_what_needs_the_checkpoint(tmp_path: Path) -> None:
    from pawl.errors import PawlError

    saved = place(tmp_path)
    save(saved, 4)
    in_the_way = saved.folder / "checkpoint-6"
    in_the_way.write_text("")
    save(saved, 6)
    with pytest.raises(PawlError, match="Make room") as caught:
        save(saved, 6, best=in_the_way)
    assert caught.value.retryable
    in_the_way.unlink()
    assert step_of(saved) == 4


def test_saving_takes_a_bounded_share_of_the_time(tmp_path: Path) -> None:
    saved = place(tmp_path)
    assert saved.is_due()
    saved.min_seconds = 30.0
    for seconds, took, is_due in ((29.0, 0.1, False), (31.0, 0.1, True), (31.0, 1.0, False),
                                  (1.0 / SAVE_SHARE + 1, 1.0, True)):  # fmt: skip
        saved.save_seconds = took
        saved.clock.set(seconds)
        assert saved.is_due() is is_due


def test_a_log_loses_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    log = tmp_path / "steps.jsonl"
    cut(log, 3)
    assert not log.exists()
    log.write_text("one\ntwo\n")
    cut(log, 100)
    assert log.read_text() == "one\ntwo\n"
    cut(log, 4)
    assert log.read_text() == "one\n"


def test_an_epoch_has_the_same_order_whenever_it_is_begun() -> None:
    epochs = list(map(list, [EpochSampler([False, True] * 9, 3, seed=5)] * 4))
    for epoch, rows in enumerate(epochs):
        again = EpochSampler([False, True] * 9, 3, seed=5)
        again.set_epoch(epoch)
        assert list(again) == rows
