"""The search for a recipe: ``pawl search`` tries settings of ``train.*`` by cross-validation.

    python -m refine.search FOLDER/job.json

``refine.alone.search_alone`` starts it. Optuna proposes recipes, ``refine/cross_validation.py``
scores them on rows of the training split; the holdout is never read. The first recipe is the
settings as they are. One is given up after a fold when its losses are higher than the best one's
on the same rows (Wilcoxon's signed-rank test). All lies in ``runs/search-<hash of all that decides
the result>/``, so the same command goes on where it was:

    job.json         what is searched
    study.log        Optuna's study (JournalStorage, the study's name is "search")
    folds/*.json     the losses of each fold of each recipe: what was worked is not worked again
    result.json      recipes, the best, its difference from the settings as they are
    best.toml        the best recipe, to be pasted into pawl.toml
    search.html      the same as a page with plots

Events (``pawl/jobs.py``):

    {"stage": "fold", "trial": 3, "fold": 1, "n_folds": 3, "seconds_left": 1200, "fraction": 0.4}
    {"stage": "trial", "trial": 3, "state": "pruned", "loss": 1.3, "standard_error": 0.1,
     "drift": 0.02, "score": 1.38, "best": 1, "params": {...}}

Over 400 lines because a study is read in one place, from its first recipe to its result.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import TypeAdapter

from pawl.errors import PawlError
from pawl.files import hold_lock, sha256_json, write_atomic, write_json
from pawl.jobs import OnEvent, run_child
from refine.cross_validation import (
    FoldResult,
    Folds,
    OutOfTime,
    Score,
    read_result,
    score_of,
    standard_error,
)
from refine.planner import Plan
from refine.search_space import Dimension, Params, applied, as_toml, most_replay, rounded
from refine.train import Job, prepare_process

Sampler = Literal["tpe", "random", "grid"]
MOST_GRID_POINTS = 1000
N_STARTUP_TRIALS = 5  # drawn at random before TPE proposes
# A recipe is given up when its held-out rows are worse than the best's with less than this p,
# looked at after every fold; rows are taken in so many blocks a fold.
PRUNE_P = 0.05
BLOCKS = 20
STUDY, RESULT, BEST, FOLDS, PAGE = "study.log", "result.json", "best.toml", "folds", "search.html"


@dataclass(frozen=True, slots=True)
class SearchJob:
    """``train``: the training of the settings as they are, on the whole snapshot. ``seconds`` and
    ``n_trials`` bound this call; what earlier ones tried counts towards ``n_trials``. Folds are
    worked on the nodes of ``ray_address``, of ``n_at_once`` recipes at once; None: here."""

    folder: Path
    train: Job
    dimensions: tuple[Dimension, ...]
    n_folds: int
    sampler: Sampler
    seconds: float
    n_trials: int | None = None
    ray_address: str | None = None
    n_at_once: int = 1


class Evaluate(Protocol):
    """Trains a plan on all folds but one, for ``seconds`` at most, and scores that one.
    ``groups``: of each fold's rows, in the order of ``FoldResult.losses``."""

    groups: list[list[int]]

    def __call__(self, plan: Plan, fold: int, seconds: float) -> FoldResult: ...


class Search:
    """A study with its files, for as long as ``job.seconds`` by ``clock``, from ``started`` on."""

    def __init__(
        self,
        job: SearchJob,
        evaluate: Evaluate,
        report: OnEvent = lambda event: None,
        *,
        clock: Callable[[], float] = time.monotonic,
        started: float | None = None,
    ) -> None:
        self._job, self._evaluate, self._report, self._clock = job, evaluate, report, clock
        self._started = clock() if started is None else started
        self._reporting = threading.Lock()
        self._is_given_up = False
        self._default: Params = {one.name: one.default for one in job.dimensions}
        self._folds_dir = job.folder / FOLDS
        self._folds_dir.mkdir(parents=True, exist_ok=True)
        kept = (read_result(path) for path in sorted(self._folds_dir.glob("*.json")))
        self._fold_seconds = [result.seconds for result in kept]
        self._study = self._open()

    def run(self) -> dict[str, Any]:
        """Try recipes until the time, their number or the grid ends; writes and answers
        ``result.json``.

        Raises:
            PawlError: the time was over before one recipe was tried on all folds.
        """
        with suppress(OutOfTime):
            if self._job.n_at_once == 1:
                while self._begins():
                    self._study.sampler = self._sampler(self._n_tried())
                    self._study.optimize(
                        self._objective, n_trials=1, callbacks=[self._report_trial]
                    )
            else:
                self._try_at_once()
        return self._write_result()

    def _begins(self, n_running: int = 0) -> bool:
        """Whether another recipe is to be tried, beside those that are."""
        from optuna.trial import TrialState

        n_tried = self._n_tried()
        is_grid_done = self._job.sampler == "grid" and not self._trials(TrialState.WAITING)
        if n_tried + n_running >= (self._job.n_trials or math.inf) or is_grid_done:
            return False
        return not n_tried or self._has_time()

    def _n_tried(self) -> int:
        from optuna.trial import TrialState

        return len(self._trials(TrialState.COMPLETE, TrialState.PRUNED))

    def _try_at_once(self) -> None:
        """Recipes are drawn one after the other, and each is tried in a thread of its own."""
        n_drawn = self._n_tried()
        running: set[Future[None]] = set()
        with ThreadPoolExecutor(self._job.n_at_once) as pool:
            try:
                while True:
                    while len(running) < self._job.n_at_once and self._begins(len(running)):
                        self._study.sampler = self._sampler(n_drawn)
                        trial = self._study.ask()
                        self._suggest(trial)
                        running.add(pool.submit(self._try, trial))
                        n_drawn += 1
                    if not running:
                        return
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for one in done:
                        one.result()
            except BaseException:
                self._is_given_up = True  # the others end before their next fold
                raise

    def _try(self, trial: Any) -> None:
        """As ``Study.optimize``."""
        from optuna import TrialPruned
        from optuna.trial import TrialState

        try:
            score = self._objective(trial)
        except TrialPruned:
            ended = self._study.tell(trial, state=TrialState.PRUNED)
        except BaseException:
            self._study.tell(trial, state=TrialState.FAIL)
            raise
        else:
            ended = self._study.tell(trial, score)
        self._report_trial(self._study, ended)

    def _open(self) -> Any:
        """The study, with what an interrupted call left queued again."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
        from optuna.trial import TrialState

        optuna.logging.set_verbosity(optuna.logging.ERROR)  # failures are ours to say
        path = self._job.folder / STUDY
        _drop_torn_line(path)
        Path(f"{path}.lock").unlink(missing_ok=True)  # a killed process may leave it
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            pruner = optuna.pruners.WilcoxonPruner(p_threshold=PRUNE_P)
        backend = JournalFileBackend(str(path), JournalFileOpenLock(str(path)))
        study = optuna.create_study(
            storage=JournalStorage(backend),
            study_name="search",
            pruner=pruner,
            sampler=self._sampler(0),
            load_if_exists=True,
        )
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
        trials = study.get_trials(deepcopy=False)
        # A trial has what it was queued with before it has drawn that.
        drawn = [one.system_attrs.get("fixed_params", {}) | one.params for one in trials]
        is_lost = [one.state == TrialState.FAIL for one in trials]
        both = list(zip(drawn, is_lost, strict=True))
        known = [self._as_trained(one) for one, lost in both if not lost]
        # Those that were interrupted, as they were drawn.
        wanted: list[Params] = [one for one, lost in both if lost]
        wanted.append(self._default)
        wanted += self._grid() if self._job.sampler == "grid" else []
        for one in wanted:
            params = self._as_trained(one)
            if params not in known and params.keys() == self._default.keys():
                study.enqueue_trial(one)
                known.append(params)
        return study

    def _trials(self, *states: Any) -> list[Any]:
        found: list[Any] = self._study.get_trials(deepcopy=False, states=states or None)
        return found

    def _grid(self) -> list[Params]:
        """All points, in an order drawn by the seed: the time may end before they do."""
        dimensions = self._job.dimensions
        names = [one.name for one in dimensions]
        n_points = math.prod(len(one.values) for one in dimensions)
        if n_points > MOST_GRID_POINTS:
            raise PawlError(
                f"a grid over {', '.join(names)} has {n_points:,} points",
                f"{MOST_GRID_POINTS:,} are the most",
                "Name fewer settings (--over learning_rate,n_epochs), or take --sampler tpe",
            )
        values = itertools.product(*(one.values for one in dimensions))
        points: list[Params] = [dict(zip(names, point, strict=True)) for point in values]
        random.Random(self._job.train.plan.seed).shuffle(points)
        return points

    def _sampler(self, n_tried: int) -> Any:
        """Made anew for each recipe: what it proposes depends on the seed and the recipes before,
        not on where a search was interrupted."""
        from optuna.samplers import RandomSampler, TPESampler

        seed = (1000 * self._job.train.plan.seed + n_tried) % 2**32
        if self._job.sampler == "tpe":
            return TPESampler(n_startup_trials=N_STARTUP_TRIALS, seed=seed)
        return RandomSampler(seed=seed)

    def _suggest(self, trial: Any) -> Params:
        drawn: Params = {}
        for one in self._job.dimensions:
            if one.is_range:
                drawn[one.name] = trial.suggest_float(one.name, *one.bounds, log=True)
            else:
                drawn[one.name] = trial.suggest_categorical(one.name, one.values)
        return self._as_trained(drawn)

    def _as_trained(self, drawn: Params) -> Params:
        """What was drawn, rounded."""
        known = {one.name: one for one in self._job.dimensions}
        return {
            name: rounded(value) if known[name].is_range and value != known[name].default else value
            for name, value in drawn.items()
        }

    def _objective(self, trial: Any) -> float:
        """The score of a trial's recipe."""
        from optuna import TrialPruned

        params = self._suggest(trial)
        trial.set_user_attr("params", params)
        plan = applied(params, self._job.train.plan)
        results: list[FoldResult] = []
        n_folds = self._job.n_folds
        for fold in range(n_folds):
            if self._is_given_up:
                raise OutOfTime
            left = self._seconds_left()
            self._say(
                {"stage": "fold", "trial": trial.number, "fold": fold, "n_folds": n_folds,
                 "seconds_left": round(left), "fraction": round(1 - left / self._job.seconds, 4)}
            )  # fmt: skip
            try:
                results.append(self._fold(plan, fold))
            except PawlError as err:
                if err.code != "diverged":
                    raise
                trial.set_user_attr("problem", str(err))
                raise TrialPruned from err
            score = score_of(results, self._evaluate.groups, n_folds)
            trial.set_user_attr("score", asdict(score))
            trial.set_user_attr("n_folds", fold + 1)
            for number, loss in enumerate(_blocks(results[-1].losses)):
                trial.report(loss + score.value - score.loss, BLOCKS * fold + number)
            # The best is compared with the default, so that is never cut short. (It need not be the
            # first trial: one that was interrupted is drawn again.)
            if params != self._default and fold + 1 < n_folds and trial.should_prune():
                raise TrialPruned
        return score.value

    def _fold(self, plan: Plan, fold: int) -> FoldResult:
        """A fold's result, kept or worked.

        Raises:
            OutOfTime: its training was cut by the end of the time.
            PawlError: it failed; code ``diverged``: the recipe is at fault.
        """
        path = self._path(plan, fold)
        if path.exists():
            return read_result(path)
        left = self._seconds_left()
        if left <= 0:
            raise OutOfTime
        result = self._evaluate(plan, fold, left)
        if not result.is_whole:
            raise OutOfTime
        if not all(map(math.isfinite, (*result.losses, result.drift))):
            raise PawlError("a held-out loss is no number", code="diverged")
        self._fold_seconds.append(result.seconds)
        write_json(path, result.as_json())
        return result

    def _path(self, plan: Plan, fold: int) -> Path:
        """Where a fold's result is kept: by all of the plan that decides it."""
        decides = plan.as_json() | dict.fromkeys(("reason", "counts", "n_threads"))
        return self._folds_dir / f"{sha256_json(decides)[:16]}-{fold}.json"

    def _seconds_left(self) -> float:
        return self._job.seconds - (self._clock() - self._started)

    def _has_time(self) -> bool:
        """Whether a whole recipe fits, by what folds took so far."""
        taken = self._fold_seconds
        a_fold = sum(taken) / len(taken) if taken else 0.0
        return self._seconds_left() > a_fold * self._job.n_folds

    def _report_trial(self, study: Any, trial: Any) -> None:
        best = self._best()
        number = None if best is None else best.number
        self._say({"stage": "trial", **_row(trial), "best": number})

    def _say(self, event: dict[str, Any]) -> None:
        with self._reporting:
            self._report(event)

    def _best(self) -> Any:
        """The complete trial with the lowest score, or None."""
        from optuna.trial import TrialState

        complete = self._trials(TrialState.COMPLETE)
        return min(complete, key=lambda one: one.value, default=None)

    def _results(self, params: Params) -> list[FoldResult]:
        plan = applied(params, self._job.train.plan)
        return [read_result(self._path(plan, fold)) for fold in range(self._job.n_folds)]

    def _write_result(self) -> dict[str, Any]:
        best, train = self._best(), self._job.train
        if best is None:
            raise PawlError(
                "no recipe was tried on all folds",
                f"{self._job.seconds / 60:.3g} minutes were too few, or all recipes diverged",
                "The same command goes on where this one was; give it more --minutes",
                code="out_of_time",
                retryable=True,
            )
        rows = [_row(trial) for trial in self._trials()]
        rows = [row for row in rows if row["state"] in ("complete", "pruned")]
        default = next((row for row in rows if row["params"] == self._default), None)
        results = self._results(_params_of(best))
        value: dict[str, Any] = {
            "method": train.plan.method,
            "snapshot_id": train.snapshot_dir.name,
            "base": {"name": train.base_name, "fingerprint": train.base_fingerprint},
            "n_rows": sum(len(result.losses) for result in results),
            "n_groups": len({group for fold in self._evaluate.groups for group in fold}),
            "n_left_out": sum(result.n_left_out for result in results),
            "n_folds": self._job.n_folds,
            "sampler": self._job.sampler,
            "seed": train.plan.seed,
            "minutes": round((self._clock() - self._started) / 60, 2),  # of this call
            "fold_seconds": [round(seconds, 1) for seconds in self._fold_seconds],  # of all
            "default": default,
            "best": _row(best),
            "is_default": _params_of(best) == self._default,
            "difference": self._difference(results)
            if default and default["state"] == "complete"
            else None,
            "trials": rows,
        }
        write_json(self._job.folder / RESULT, value)
        lines = [
            f"Found by 'pawl search': {train.plan.method} on snapshot {train.snapshot_dir.name}, "
            f"base {train.base_name}.",
            f"Held-out loss {in_words(value['best'])}, {self._job.n_folds} folds of "
            f"{value['n_rows']} rows.",
        ]
        write_atomic(self._job.folder / BEST, as_toml(lines, value["best"]["params"]))
        return value

    def _difference(self, results: Sequence[FoldResult]) -> dict[str, float | None]:
        """Of the held-out losses: the best recipe's minus those of the settings as they are."""
        pairs = [
            (ours, theirs)
            for result, default in zip(results, self._results(self._default), strict=True)
            for ours, theirs in zip(result.losses, default.losses, strict=True)
        ]
        values = [ours - theirs for ours, theirs in pairs]
        groups = [group for fold in self._evaluate.groups for group in fold]
        error = standard_error(values, groups, self._job.n_folds)
        return {"loss": sum(values) / len(values), "standard_error": error}


def in_words(row: dict[str, Any]) -> str:
    """``1.234 ± 0.056`` of a trial's or a difference's loss."""
    error = "" if row["standard_error"] is None else f" ± {row['standard_error']:.3f}"
    return f"{row['loss']:.3f}{error}"


def _row(trial: Any) -> dict[str, Any]:
    """A trial as ``result.json`` has it; figures are of the folds that were worked."""
    found = trial.user_attrs.get("score")
    figures = found or {"loss": None, "standard_error": None, "drift": None}
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        "params": _params_of(trial),
        "n_folds": trial.user_attrs.get("n_folds", 0),
        **figures,
        "score": Score(**found).value if found else None,
        "problem": trial.user_attrs.get("problem", ""),
    }


def _params_of(trial: Any) -> Params:
    """What is trained; nothing yet of a trial that waits."""
    return dict(trial.user_attrs.get("params", {}))


def _blocks(losses: Sequence[float]) -> list[float]:
    """Means of up to ``BLOCKS`` runs of rows, which stand by group."""
    import numpy as np

    parts = np.array_split(np.asarray(losses), min(len(losses), BLOCKS))
    return [float(part.mean()) for part in parts]


def _drop_torn_line(path: Path) -> None:
    """Cut off half a record that a kill left at the end; Optuna would refuse the file."""
    text = path.read_bytes() if path.exists() else b""
    if not text.endswith(b"\n") and text:
        write_atomic(path, text[: text.rfind(b"\n") + 1])


def main(arguments: list[str] | None = None) -> int:
    """Search; 1 after an error that a user can mend."""
    parser = argparse.ArgumentParser(prog="python -m refine.search", description=__doc__)
    parser.add_argument("job", type=Path)
    return run_child(parser, _run_arguments, arguments)


def _run_arguments(args: argparse.Namespace, report: OnEvent) -> None:
    from evals.report.search import render

    started = time.monotonic()
    prepare_process()
    job = TypeAdapter(SearchJob).validate_json(args.job.read_bytes())
    with hold_lock(job.folder / "search.lock", f"{job.folder} is in use", "Wait for it to end"):
        n_replay = most_replay(job.train.plan, job.dimensions)
        folds: Evaluate = Folds(job.train, job.n_folds, n_replay)
        if job.ray_address is not None:
            from refine.cluster import FoldsOnNodes

            folds = FoldsOnNodes(job.ray_address, job.train, job.n_folds, n_replay, folds.groups)
        result = Search(job, folds, report, started=started).run()
        write_atomic(job.folder / PAGE, render(result))


if __name__ == "__main__":
    sys.exit(main())
