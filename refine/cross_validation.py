"""Cross-validation: how well a recipe does on rows that it was not trained on.

The training rows of a snapshot are dealt into folds, near-duplicates and conversations whole. A
fold is held out, the rest is trained on by ``refine.train.run``, exactly as a night would, and the
fold's rows are scored. The snapshot's holdout is never read; its validation rows keep their part
in training (when DPO and KTO stop).

The loss of a row is that of ``refine/held_out.py``. ``drift`` is what a recipe costs elsewhere:
KL(base || model) in nats a token on ``N_DRIFT_PROMPTS`` everyday prompts, with the base's own
answers, that no training replays. A recipe's score is its
loss plus ``DRIFT_WEIGHT`` times its drift, the trade that SFT's own loss makes with replay.

    python -m refine.cross_validation FOLDER/fold.json

works one fold and leaves ``FOLDER/result.json``, on a node of a cluster (``refine/cluster.py``).
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from feedback.near_duplicates import UnionFind
from pawl.chat_template import load_tokenizer
from pawl.errors import PawlError
from pawl.files import read_json, write_json
from pawl.jobs import OnEvent, run_child
from pawl.schemas import Message, TrainingRow, asked_with
from refine import replay
from refine.datasets import encoder_of
from refine.held_out import Answers, encode_answers, loss_of
from refine.mixture import task_of
from refine.planner import ROW_KINDS, Plan
from refine.sft import REPLAY_WEIGHT, on_general_text
from refine.train import MAX_LENGTH_TOKENS, Job, prepare_process, run, trained_rows
from refine.weights import load, load_base

DRIFT_WEIGHT = REPLAY_WEIGHT
N_DRIFT_PROMPTS = 32
RESULT = "result.json"


class OutOfTime(Exception):
    """The time ended in the midst of a recipe."""


@dataclass(frozen=True, slots=True)
class FoldResult:
    """One fold. ``losses``: of the held-out rows that could be scored, in the order of the fold;
    ``drift``: nats a token. ``is_whole``: the training was not cut by the time that was left."""

    losses: list[float]
    drift: float
    n_left_out: int
    seconds: float
    is_whole: bool = True

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Score:
    """A recipe over some folds. ``standard_error``: of ``loss``; None for fewer than two
    groups of rows."""

    loss: float
    standard_error: float | None
    drift: float

    @property
    def value(self) -> float:
        """What a search makes small."""
        return self.loss + DRIFT_WEIGHT * self.drift


def held_out_kind(plan: Plan) -> str:
    """The kind of rows that a plan is scored on.

    Raises:
        PawlError: the plan trains nothing, or in two stages, whose rates are not one setting.
    """
    if plan.method == "none":
        raise PawlError("there is nothing to train", plan.reason, code="nothing_to_train")
    if len(plan.stages) != 1:
        raise PawlError(
            f"training method {plan.method!r} can't be searched",
            "each of its stages has a loss and a rate of its own",
            "Search one after the other: --set train.method=sft, then dpo",
        )
    return ROW_KINDS[plan.stages[0].kind]


def groups_of(rows: Sequence[TrainingRow]) -> dict[str, int]:
    """By row_id the number of a row's group: rows that share a cluster of near-duplicates or a
    conversation, directly or through others."""
    numbers: dict[str, int] = {}
    pairs: list[list[int]] = []
    for row in rows:
        names = [f"group {row.group_id}", f"cluster {row.cluster or row.group_id}"]
        pairs.append([numbers.setdefault(name, len(numbers)) for name in names])
    sets = UnionFind(len(numbers))
    for group, cluster in pairs:
        sets.join(group, cluster)
    return {row.row_id: sets.first(group) for row, (group, _) in zip(rows, pairs, strict=True)}


@dataclass(frozen=True, slots=True)
class Fold:
    """``held_out``: the rows that are scored, by group. ``leave_out``: row_ids that training does
    not see: those, and all others of their groups."""

    held_out: list[TrainingRow]
    leave_out: tuple[str, ...]


def make_folds(
    rows: Sequence[TrainingRow],
    kind: str,
    n_folds: int,
    seed: int,
    shares: Mapping[str, float] | None = None,
) -> list[Fold]:
    """Deal the training rows of ``kind`` into folds of like size, liked and disliked alike.

    Args:
        rows: of a snapshot; only its training split is looked at.
        kind: of the rows that are scored.
        shares: of a mixture, whose tasks are dealt alike, too.

    Raises:
        PawlError: there are fewer groups than folds, or a fold would hold all rows of a task.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    rows = sorted((row for row in rows if row.split == "train"), key=lambda row: row.row_id)
    groups = groups_of(rows)
    scored = [row for row in rows if row.kind == kind and (kind == "sft" or not row.has_tools)
              and not row.is_synthetic]  # fmt: skip
    of_scored = [groups[row.row_id] for row in scored]
    n_groups = len(set(of_scored))
    if n_groups < n_folds:
        raise PawlError(
            f"{n_folds} folds can't be made",
            f"the snapshot has {n_groups} groups of training rows that are no near-duplicates of "
            "each other",
            "Take fewer folds (--folds), 2 or more, or gather more feedback",
            code="too_few_rows",
        )
    labels = [f"{row.label} {task_of(row, shares or {})}" for row in scored]
    if min(labels.count(label) for label in set(labels)) < n_folds:
        labels = [""] * len(labels)  # too few of one to have them in each fold
    dealer = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    folds = []
    for _, places in dealer.split(scored, labels, of_scored):
        held_out = sorted((scored[i] for i in places), key=lambda row: groups[row.row_id])
        theirs = {groups[row.row_id] for row in held_out}
        leave_out = tuple(row.row_id for row in rows if groups[row.row_id] in theirs)
        folds.append(Fold(held_out, leave_out))
        trained = (row for row in rows if row.kind == kind and groups[row.row_id] not in theirs)
        lacking = set(shares or {}) - {task_of(row, shares or {}) for row in trained}
        if lacking:
            raise PawlError(
                f"{n_folds} folds can't be made of a mixture",
                f"one would hold all rows of {min(lacking)!r}, so the training without it could "
                "not give them their share",
                "Gather more of them, or take them out of train.mixture",
                code="too_few_rows",
            )
    return folds


def score_of(results: Sequence[FoldResult], groups: Sequence[Sequence[int]], n_folds: int) -> Score:
    """Over the folds that were worked.

    Args:
        groups: of each fold's rows, as ``losses`` has them.
        n_folds: of the whole.
    """
    losses = [loss for result in results for loss in result.losses]
    flat = [group for fold in groups[: len(results)] for group in fold]
    drift = sum(result.drift for result in results) / len(results)
    return Score(sum(losses) / len(losses), standard_error(losses, flat, n_folds), drift)


def standard_error(values: Sequence[float], groups: Sequence[int], n_folds: int) -> float | None:
    """Of the mean of values that were cross-validated; None for fewer than two groups.

    The cluster-robust error, not below that of independent rows, times sqrt(1 + k / (k - 1)): the
    folds' trainings share most of their rows, so their losses vary together, which no fold shows
    (Nadeau and Bengio 2003, *Inference for the generalization error*: a variance of
    (1 / k + n_test / n_train) s^2 over the folds).
    """
    import numpy as np

    array = np.asarray(values, dtype=np.float64)
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = int(index.max()) + 1 if len(array) else 0
    if n_groups < 2:
        return None
    rest = array - array.mean()
    sums = np.bincount(index, weights=rest)
    squares = max(float((sums**2).sum()), float((rest**2).sum())) * n_groups / (n_groups - 1)
    return math.sqrt(squares * (1 + n_folds / (n_folds - 1))) / len(array)


class Folds:
    """The folds of a snapshot, trained and scored in this process.

    A process for each training would import torch and TRL again, 10 s or more; within one, the
    base is read again from the page cache (TRL patches a model that it trained), 1 s for 135
    million parameters.
    """

    def __init__(self, job: Job, n_folds: int, most_replay: int) -> None:
        """``job``: of the snapshot; its folders are used for one training after the other.
        ``most_replay``: rows that any plan replays."""
        self.job = job
        self.kind = held_out_kind(job.plan)
        rows = trained_rows(job.snapshot_dir)
        self.folds = make_folds(rows, self.kind, n_folds, job.plan.seed, job.plan.mixture)
        groups = groups_of([row for row in rows if row.split == "train"])
        self._tokenizer = load_tokenizer(job.model_dir, job.today)
        self._encode = encoder_of(self._tokenizer)
        limit = job.plan.max_length_tokens or MAX_LENGTH_TOKENS
        config = read_json(job.model_dir / "config.json")
        positions = (config.get("text_config") or config).get("max_position_embeddings", limit)
        self._limit = min(limit, int(positions))
        self.encoded = [[self._answers(row) for row in fold.held_out] for fold in self.folds]
        self.groups = [
            [groups[row.row_id] for row, answers in zip(fold.held_out, encoded, strict=True)
             if answers]
            for fold, encoded in zip(self.folds, self.encoded, strict=True)
        ]  # fmt: skip
        if not all(self.groups):
            raise PawlError(
                "a fold has no row that can be scored",
                f"all are longer than {self._limit} tokens, or the base refuses them",
                "Take fewer folds (--folds), or raise train.max_length_tokens",
                code="too_few_rows",
            )
        has_system, seed = replay.has_system_role(self._tokenizer), job.plan.seed
        usable = replay.to_replay(has_system=has_system)
        self._replay_prompts, _ = replay.draw_prompts(usable, rows, most_replay, seed)
        self._drift_prompts = replay.to_watch(rows, N_DRIFT_PROMPTS, seed, has_system=has_system)
        self._of_base: dict[tuple[int, ...], float] = {}  # of held-out rows, by refine.held_out

    def __call__(self, plan: Plan, fold: int, seconds: float) -> FoldResult:
        """Train on all folds but one, for ``seconds`` at most, and score that one."""
        return self._score(plan, self.folds[fold].leave_out, self.encoded[fold], seconds)

    def fresh(self, plan: Plan, rows: Sequence[TrainingRow]) -> FoldResult:
        """Train on all rows of the snapshot and score others."""
        return self._score(plan, (), [self._answers(row) for row in rows], math.inf)

    def _answers(self, row: TrainingRow) -> Answers | None:
        """A held-out row as training would see it, with the job's system prompt."""
        asked = replace(row, prompt=asked_with(self.job.system_prompt, row.prompt))
        return encode_answers(asked, self._encode, self._limit)

    def _score(
        self,
        plan: Plan,
        leave_out: tuple[str, ...],
        held_out: Sequence[Answers | None],
        seconds: float,
    ) -> FoldResult:
        import torch

        started = time.monotonic()
        self._clean()
        answers = self._answer_prompts(plan.n_replay_rows, started + seconds)
        seconds -= time.monotonic() - started
        has_time = seconds >= 60 * plan.max_minutes
        minutes = plan.max_minutes if has_time else max(1.0, seconds) / 60
        job = replace(
            self.job,
            plan=replace(plan, max_minutes=minutes),
            checkpoint_seconds=math.inf,
            leave_out=leave_out,
            is_trial=True,
        )
        manifest = run(job)
        was_cut = any(
            stage["stopped_because"] == "out of time" for stage in manifest.recipe["stages"]
        )
        model = load(_base(job, torch.float32), job.out_dir).eval()  # as its probe record is made
        encoded = [row for row in held_out if row]
        losses = [loss_of(model, row, plan.beta, self._of_base) for row in encoded]
        general = replay.encode_answers(self._encode, self._drift_prompts, answers)
        drift = on_general_text(model, general).get("drift", 0.0)
        self._clean()
        return FoldResult(
            losses,
            drift,
            len(held_out) - len(encoded),
            round(time.monotonic() - started, 2),
            is_whole=not was_cut or has_time,
        )

    def _clean(self) -> None:
        """Remove the last training; where a kill left it, it lies as a run's."""
        for folder in (self.job.out_dir, self.job.work_dir):
            shutil.rmtree(folder, ignore_errors=True)

    def _answer_prompts(self, n_replay: int, deadline: float) -> list[replay.Answer]:
        """What the base answers to the drift's prompts. Answers that replay lacks are made as well:
        a training that makes them has less time for the rest.

        Raises:
            OutOfTime: it is not done by the deadline; answers so far are kept.
        """
        bases: list[Any] = []

        def by_base(prompts: Sequence[list[Message]]) -> Sequence[replay.Answer]:
            if time.monotonic() > deadline:
                raise OutOfTime
            if not bases:
                bases.append(_base(self.job))
            answer = replay.answer_prompts(bases[0], self._tokenizer, replay.MAX_ANSWER_TOKENS)
            return answer(prompts)

        path = replay.answers_path(self.job.replay_dir, self.job.base_fingerprint)
        prompts = [*self._drift_prompts, *self._replay_prompts[:n_replay]]
        answers, _ = replay.fill_answers(path, prompts, by_base)
        return answers[: len(self._drift_prompts)]


def _base(job: Job, dtype: Any = None) -> Any:
    from refine.trainer import release_memory

    release_memory()
    return load_base(job.model_dir, dtype)


def read_result(path: Path) -> FoldResult:
    """The result that ``as_json`` wrote."""
    return FoldResult(**read_json(path))


# ---- one fold in a process of its own ----


@dataclass(frozen=True, slots=True)
class FoldJob:
    """One fold of a plan: see ``Folds`` and its call."""

    train: Job
    n_folds: int
    most_replay: int
    plan: Plan
    fold: int
    seconds: float


def main(arguments: list[str] | None = None) -> int:
    """Work the fold of the command line; 1 after an error that a user can mend."""
    parser = argparse.ArgumentParser(prog="python -m refine.cross_validation", description=__doc__)
    parser.add_argument("job", type=Path)
    return run_child(parser, _run_arguments, arguments)


def _run_arguments(args: argparse.Namespace, report: OnEvent) -> None:
    started = time.monotonic()
    prepare_process()
    job = TypeAdapter(FoldJob).validate_json(args.job.read_bytes())
    folds = Folds(job.train, job.n_folds, job.most_replay)
    try:
        result = folds(job.plan, job.fold, job.seconds - (time.monotonic() - started))
    except OutOfTime:
        result = FoldResult([], 0.0, 0, job.seconds, is_whole=False)
    write_json(args.job.with_name(RESULT), result.as_json())


if __name__ == "__main__":
    sys.exit(main())
