"""Checkpoints: what an interrupted training goes on from. Each is whole or not there, and is used
by the training that wrote it alone.

    WORK/checkpoints/sft/checkpoint-40/    transformers' checkpoint of step 40, and pawl.json
    WORK/checkpoints/sft/done/             the weights that a stage left, and pawl.json

transformers writes and reads them (``resume_from_checkpoint``): weights, optimizer, schedule, the
states of the random numbers, step, best loss and early stopping's count; rows are in an order of
their epoch's seed, and those that were trained are skipped. What it lacks is here:

- **Whole**: ``pawl.json`` is written last, with the hash of every file; then the one before goes.
- **Whose**: snapshot, rows with replay, plan, base, device and versions of the code stand in it.
- **What else a training counts** (``Progress``): SFT's learned corrections, tokens, the sum of the
  losses, and the time that the kept work took, so that a budget ends it where it would have.
- **No step that ends an epoch or the training**: transformers would go on after the epoch's
  evaluation, or after the decision to stop, as if neither had been due.
- **One adapter**: of DPO's and KTO's two, transformers would load the reference ("ref") alone. It
  is the model as the stage began, so it is made again, and its log-probabilities with it.

Saved when ``min_seconds`` have passed and saving takes ``SAVE_SHARE`` of the time at most.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pawl.adapters import CHECKPOINTS
from pawl.errors import PawlError
from pawl.files import read_json, sha256_file, sha256_json, sync_dir, write_json

log = logging.getLogger("pawl.training")

MANIFEST = "pawl.json"
DONE = "done"
SAVE_SHARE = 0.02
# What the trainers count beside transformers' state: TRL's tokens, the losses so far.
COUNTERS = ("_total_train_tokens", "_total_loss_scalar")
OTHERS = {  # a key of ``belongs_to``, and what it means that it differs
    "snapshot": "another snapshot",
    "rows": "other rows or replay",
    "plan": "another plan",
    "base": "another base",
    "device": "another device",
    "code": "another version of the code",
}

Note = Callable[[str], None]


class Clock:
    """Seconds that the kept work of a training took."""

    def __init__(self) -> None:
        self.set(0.0)

    def set(self, seconds: float) -> None:
        """Go on from ``seconds``."""
        self._began = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began


@dataclass(slots=True)
class Progress:
    """How far a stage came, beside what transformers keeps.

    ``seconds`` is the training's clock and ``began`` what it showed as the stage's first step
    began; ``n_log_bytes`` is the size of its ``steps.jsonl``; ``counters`` are attributes of the
    trainer; ``n_resumed`` counts how often it went on.
    """

    seconds: float = 0.0
    began: float = 0.0
    n_log_bytes: int = 0
    n_resumed: int = 0
    stopped_because: str = ""
    first_validation: dict[str, float] = field(default_factory=dict)
    counters: dict[str, Any] = field(default_factory=dict)


def belongs_to(header: Mapping[str, Any], rows: Any, device: str) -> dict[str, str]:
    """What a checkpoint is of.

    Args:
        header: the recipe's (``refine.recipe.header``).
        rows: of the stage, as its trainer gets them.
        device: that trains, with its precision.
    """
    code = {key: header.get(key) for key in ("versions", "python", "git_commit", "plugins")}
    return {
        "snapshot": sha256_json(header["snapshot"]),
        "rows": sha256_json(rows),
        "plan": sha256_json(header["plan"]),
        "base": sha256_json(header["base"]),
        "device": device,
        "code": sha256_json(code),
    }


@dataclass(slots=True)
class StageCheckpoints:
    """The checkpoints of one stage, in ``folder``.

    Args:
        belongs_to: see ``belongs_to``.
        clock: the training's.
        min_seconds: between two; 0: one after every step.
        note: takes a sentence for people.
    """

    folder: Path
    belongs_to: dict[str, str]
    clock: Clock
    min_seconds: float = 0.0
    note: Note = log.info
    saved_at: float = 0.0  # on the clock
    save_seconds: float = 0.0  # that the last one took

    def done(self) -> dict[str, Any] | None:
        """What :meth:`finish` was given, where the stage is done."""
        path = self.folder / DONE
        if not path.exists():
            return None
        if problem := self._problem(path):
            self.note(f"what it left is not used: {problem}")
            return None
        return dict(read_json(path / MANIFEST)["result"])

    def finish(self, model: Any, result: Mapping[str, Any]) -> Path:
        """Keep the weights and the result of a stage that ended, and no checkpoint; where."""
        unfinished, path = self.folder / f".{DONE}", self.folder / DONE
        for folder in (unfinished, path):
            shutil.rmtree(folder, ignore_errors=True)
        save_weights(model, unfinished)
        self._seal(unfinished, {"result": dict(result)})
        unfinished.rename(path)
        sync_dir(self.folder)
        for folder in self.folder.glob("checkpoint-*"):
            shutil.rmtree(folder)
        return path

    def newest(self) -> tuple[Path, Progress] | None:
        """The newest checkpoint that is whole and this training's; all others but the best one that
        it counts on are removed."""
        found, kept = None, []
        paths = list(self.folder.glob("checkpoint-*"))
        for path in sorted(paths, key=lambda path: int(path.name.split("-")[1]), reverse=True):
            problem = self._problem(path)
            best = None if problem else _best_of(path)
            if best and best != path and self._problem(best):
                problem = f"{best.name}, the best before it, is gone"
            if not problem:
                progress = Progress(**read_json(path / MANIFEST)["progress"])
                found, kept = (path, progress), [path, best]
                break
            self.note(f"{path.name} is not used: {problem}")
        for path in paths:
            if path not in kept:
                shutil.rmtree(path)
        return found

    def is_due(self) -> bool:
        if not self.min_seconds:
            return True
        wait = max(self.min_seconds, self.save_seconds / SAVE_SHARE)
        return self.clock.seconds - self.saved_at >= wait

    def save(
        self, trainer: Any, write: Callable[[], None], progress: Callable[[], Progress]
    ) -> int:
        """Let the trainer write its checkpoint, seal it, and remove the ones before; its bytes.

        A full disk does not end a training that needs no checkpoint for its own end.

        Raises:
            PawlError: the best one so far can't be written.
        """
        from safetensors import SafetensorError

        state = trainer.state
        path = self.folder / f"checkpoint-{state.global_step}"
        began = self.clock.seconds
        try:
            write()
            n_bytes = self._seal(path, {"progress": asdict(progress())})
        except (OSError, RuntimeError, SafetensorError) as err:  # RuntimeError: torch's
            shutil.rmtree(path, ignore_errors=True)
            if state.best_global_step == state.global_step:
                raise PawlError(
                    f"the best {self.folder.name} so far can't be kept",
                    str(err),
                    f"Make room in {self.folder}",
                    retryable=True,
                ) from err
            log.warning("%s can't be written: %s", path, err)
            n_bytes = 0
        else:
            kept = (path, Path(state.best_model_checkpoint or path))
            for other in self.folder.glob("checkpoint-*"):
                if other not in kept:
                    shutil.rmtree(other)
        self.saved_at = self.clock.seconds
        self.save_seconds = self.saved_at - began
        return n_bytes

    def _seal(self, path: Path, more: dict[str, Any]) -> int:
        """Write the manifest; the bytes of all files."""
        files = [file for file in sorted(path.rglob("*")) if file.is_file()]
        hashes = {str(file.relative_to(path)): sha256_file(file) for file in files}
        write_json(path / MANIFEST, {"belongs_to": self.belongs_to, "files_sha256": hashes, **more})
        return sum(file.stat().st_size for file in files)

    def _problem(self, path: Path) -> str:
        """Why a folder can't be used; empty when it can."""
        try:
            manifest = read_json(path / MANIFEST)
            whose = manifest["belongs_to"]
            changed = [
                name
                for name, digest in manifest["files_sha256"].items()
                if sha256_file(path / name) != digest
            ]
        except (PawlError, OSError, KeyError, TypeError):
            return "it was not written whole"
        if changed:
            return f"its {', '.join(changed)} changed"
        differ = [what for key, what in OTHERS.items() if whose.get(key) != self.belongs_to[key]]
        return f"it is of {', '.join(differ)}" if differ else ""


def _best_of(path: Path) -> Path | None:
    """The checkpoint of the best loss so far, on which a whole one counts."""
    best = read_json(path / "trainer_state.json")["best_model_checkpoint"]
    return path.with_name(Path(best).name) if best else None


def discard(work_dir: Path) -> bool:
    """Remove the checkpoints of a training that ended or is given up; whether there were any."""
    there = (work_dir / CHECKPOINTS).exists()
    shutil.rmtree(work_dir / CHECKPOINTS, ignore_errors=True)
    return there


def cut(path: Path, n_bytes: int) -> None:
    """Take what a lost attempt appended off the end of a log."""
    if path.exists() and path.stat().st_size > n_bytes:
        os.truncate(path, n_bytes)


def save_weights(model: Any, folder: Path) -> None:
    """What is trained of a model: of a PeftModel the adapter alone that learns."""
    from peft import PeftModel

    only = {"selected_adapters": ["default"]} if isinstance(model, PeftModel) else {}
    model.save_pretrained(str(folder), **only)


def resumable(trainer_class: Any) -> Any:
    """A subclass of a trainer whose checkpoints are :class:`StageCheckpoints`; ``saved`` and
    ``progress`` are set once it is made."""
    from transformers import Trainer

    class Resumable(trainer_class):
        saved: StageCheckpoints
        progress: Callable[[], Progress]
        on_saved: Callable[[int], None]

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            save_weights(self.model, Path(output_dir or self.args.output_dir))

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            is_best = self.state.best_global_step == self.state.global_step
            if self.control.should_training_stop and not is_best:
                return

            def write() -> None:
                Trainer._save_checkpoint(self, model, trial)  # not TRL's, which adds a model card

            self.on_saved(self.saved.save(self, write, self.progress))

    return Resumable


def saving(saved: StageCheckpoints) -> Any:
    """The callback that asks for a checkpoint when one is due."""
    from transformers import TrainerCallback

    class Saving(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            saved.saved_at = saved.clock.seconds
            if state.best_model_checkpoint:  # written in another folder, maybe on another machine
                name = Path(state.best_model_checkpoint).name
                state.best_model_checkpoint = str(saved.folder / name)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.epoch % 1 and saved.is_due():  # the epoch's last: below, evaluated
                control.should_save = True

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if saved.is_due():
                control.should_save = True

    return Saving()
