"""A search on a landscape that is known: what is tried, kept, given up, and taken up again."""

from __future__ import annotations

import math
import random
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest

from evals.report.search import render
from pawl.errors import PawlError
from pawl.files import read_json
from pawl.settings import Settings, TrainSettings
from refine.alone import Work, _search_name
from refine.cross_validation import FoldResult
from refine.planner import Plan, choose
from refine.search import BEST, FOLDS, RESULT, STUDY, Sampler, Search, SearchJob
from refine.search_space import applied, space
from refine.train import Job
from tests.adapters_for_tests import light_base
from tests.refine.tiny import corrections

N_FOLDS, N_ROWS = 3, 60
FOLD_SECONDS = 100.0


def plan_of(**settings: Any) -> Plan:
    train = TrainSettings(**{"learning_rate": 1e-3, **settings})
    return choose(corrections(9), Settings.model_construct(train=train))


class Landscape:
    """Held-out losses are lowest at a rate of 3e-3 and rank 8; each row has a level of its own. A
    fold takes ``FOLD_SECONDS`` of a clock that stands still otherwise."""

    def __init__(self, interrupt_at: int | None = None, diverges_above: float = math.inf) -> None:
        of_fold = N_ROWS // N_FOLDS
        self.groups = [[of_fold * fold + i for i in range(of_fold)] for fold in range(N_FOLDS)]
        self.now = 0.0
        self.asked: list[tuple[float, int, int]] = []
        self._interrupt_at, self._diverges_above = interrupt_at, diverges_above

    def clock(self) -> float:
        return self.now

    def __call__(self, plan: Plan, fold: int, seconds: float) -> FoldResult:
        if len(self.asked) == self._interrupt_at:
            raise KeyboardInterrupt
        [stage] = plan.stages
        if stage.learning_rate > self._diverges_above:
            raise PawlError("loss became nan", code="diverged")
        self.asked.append((stage.learning_rate, plan.lora_rank, fold))
        self.now += min(seconds, FOLD_SECONDS)
        level = random.Random(fold)
        away = abs(math.log(stage.learning_rate / 3e-3)) + abs(math.log(plan.lora_rank / 8))
        losses = [1 + away * (1 + 0.1 * level.random()) + level.random() for _ in self.groups[fold]]
        return FoldResult(losses, 0.01, 0, min(seconds, FOLD_SECONDS), seconds >= FOLD_SECONDS)


def search(
    folder: Path, landscape: Landscape, over: str = "learning_rate lora_rank", **how: Any
) -> dict[str, Any]:
    return begun(folder, landscape, over, **how).run()


def begun(
    folder: Path, landscape: Landscape, over: str = "learning_rate lora_rank", **how: Any
) -> Search:
    """A search that has tried nothing in this call yet."""
    plan = how.pop("plan", None) or plan_of()
    known = space(plan, max_rank=16)
    how = {"sampler": "tpe", "seconds": 1e6, "n_trials": 12} | how
    train = Job(folder / "snapshot", plan, folder, folder, folder, "tiny", "f00d", folder)
    dimensions = tuple(known[name] for name in over.split())
    job = SearchJob(folder, train, dimensions, N_FOLDS, **how)
    return Search(job, landscape, clock=landscape.clock)


def tried(result: dict[str, Any]) -> list[tuple[Any, str]]:
    return [(row["params"], row["state"]) for row in result["trials"]]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_best_recipe_is_found_and_kept_as_settings(tmp_path: Path, sampler: str) -> None:
    result = search(tmp_path, Landscape(), sampler=sampler)
    assert result["trials"][0]["params"] == {"learning_rate": 1e-3, "lora_rank": 16}
    assert result["best"]["score"] < result["default"]["score"]
    assert result["best"]["score"] == pytest.approx(result["best"]["loss"] + 4 * 0.01)
    assert result["difference"]["loss"] == pytest.approx(
        result["best"]["loss"] - result["default"]["loss"]
    )
    assert 0 < result["difference"]["standard_error"] < -result["difference"]["loss"]
    assert read_json(tmp_path / RESULT) == result
    pasted = tomllib.loads((tmp_path / BEST).read_text("utf-8"))
    assert pasted == {"train": result["best"]["params"]}
    settings = TrainSettings(**{"learning_rate": 1e-3} | pasted["train"])
    plan = choose(corrections(9), Settings.model_construct(train=settings))
    assert plan == applied(result["best"]["params"], plan_of())
    page = render(result)
    assert page.count("<svg") == 1
    assert f"learning_rate = {result['best']['params']['learning_rate']}" in page


def test_every_setting_can_be_pasted_and_stays_within_what_the_engine_serves() -> None:
    for method in ("sft", "dpo"):
        plan = plan_of(method=method, lora_rank=8)
        known = space(plan, max_rank=16)
        assert ("beta" in known) == (method == "dpo")
        assert max(known["lora_rank"].values) == 16
        for one in known.values():
            assert one.default in one.values
            train = TrainSettings(
                **{"learning_rate": 1e-3, "method": method, "lora_rank": 8}
                | {one.name: one.values[-1]}
            )
            assert applied({one.name: one.values[-1]}, plan) == choose(
                corrections(9), Settings.model_construct(train=train)
            )


def test_settings_without_an_effect_are_not_searched() -> None:
    known = space(plan_of(tuning="full"), max_rank=16)
    assert not {"lora_rank", "lora_dropout"} & known.keys()
    assert {"learning_rate", "weight_decay"} <= known.keys()


def test_the_largest_seed_can_be_searched_with(tmp_path: Path) -> None:
    assert len(tried(search(tmp_path, Landscape(), plan=plan_of(seed=2**32 - 1)))) == 12


def test_the_same_seed_tries_the_same_recipes(tmp_path: Path) -> None:
    first, again = (search(tmp_path / name, Landscape()) for name in "ab")
    assert tried(first) == tried(again)
    other = search(tmp_path / "c", Landscape(), plan=plan_of(seed=1))
    assert tried(other) != tried(first)


def test_what_is_worse_on_the_same_rows_is_given_up_after_a_fold(tmp_path: Path) -> None:
    landscape = Landscape()
    result = search(tmp_path, landscape)
    pruned = [row for row in result["trials"] if row["state"] == "pruned"]
    assert pruned
    assert all(row["n_folds"] < N_FOLDS and row["score"] is not None for row in pruned)
    assert result["best"]["state"] == "complete"
    assert len(landscape.asked) == sum(row["n_folds"] for row in result["trials"])
    assert min(row["score"] for row in result["trials"]) == result["best"]["score"]


def test_an_interrupted_search_goes_on_as_if_it_was_not(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", Landscape())
    folder = tmp_path / "killed"
    asked = []
    while True:
        landscape = Landscape(interrupt_at=4)
        try:
            resumed = search(folder, landscape)
        except KeyboardInterrupt:
            study = folder / STUDY
            study.write_bytes(study.read_bytes() + b'{"op_code": 4, "wor')  # half a record,
            Path(f"{study}.lock").touch()  # and its lock
        else:
            break
        finally:
            asked += landscape.asked
    assert tried(resumed) == tried(whole)
    assert resumed["best"]["params"] == whole["best"]["params"]
    assert resumed["difference"] == whole["difference"]
    assert len(asked) == len(set(asked)) > 8  # no fold was worked twice
    third = Landscape()
    assert tried(search(folder, third)) == tried(whole)
    assert third.asked == []


def test_recipes_are_tried_at_once(tmp_path: Path) -> None:
    class AtOnce(Landscape):
        """The first folds end once three are under way; a kill comes with the fifth."""

        meeting = threading.Barrier(3, timeout=60)
        working = threading.Lock()

        def __call__(self, plan: Plan, fold: int, seconds: float) -> FoldResult:
            if len(self.asked) < 3 and self._interrupt_at:
                self.meeting.wait()
            with self.working:
                return super().__call__(plan, fold, seconds)

    killed = AtOnce(interrupt_at=5)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, killed, n_at_once=3)
    rest = AtOnce()
    result = search(tmp_path, rest, n_at_once=3)
    assert len(result["trials"]) == 12
    points = [tuple(row["params"].values()) for row in result["trials"]]
    assert points[0] == (1e-3, 16)
    assert len(set(points)) > 10
    assert {row["state"] for row in result["trials"]} == {"complete", "pruned"}
    assert result["best"]["score"] < result["default"]["score"]
    folds = [*killed.asked, *rest.asked]
    assert len(folds) == len(set(folds))
    grid = search(tmp_path / "grid", AtOnce(), sampler="grid", n_trials=None, n_at_once=3)
    alone = search(tmp_path / "alone", Landscape(), sampler="grid", n_trials=None)
    assert sorted(map(str, (row["params"] for row in grid["trials"]))) == sorted(
        map(str, (row["params"] for row in alone["trials"]))
    )
    assert grid["best"]["params"] == alone["best"]["params"]
    with pytest.raises(PawlError, match="--minutes"):
        search(tmp_path / "short", AtOnce(), seconds=2.5 * FOLD_SECONDS, n_at_once=3)


def test_a_default_that_was_interrupted_is_not_cut_short_when_it_is_tried_again(
    tmp_path: Path,
) -> None:
    class Behind(Landscape):
        """The default's second fold is interrupted when another recipe has all of its own."""

        is_other_done = threading.Event()

        def __call__(self, plan: Plan, fold: int, seconds: float) -> FoldResult:
            if (plan.stages[0].learning_rate, plan.lora_rank) == (1e-3, 16):
                if fold:
                    assert self.is_other_done.wait(60)
                    raise KeyboardInterrupt
                return super().__call__(plan, fold, seconds)
            result = super().__call__(plan, fold, seconds)
            if fold + 1 == N_FOLDS:
                self.is_other_done.set()
            return result

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, Behind(), n_at_once=2)
    result = search(tmp_path, Landscape(), n_at_once=2)
    assert result["default"]["state"] == "complete"
    assert result["difference"] is not None


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_a_default_that_was_taken_and_not_drawn_before_a_kill_is_tried(
    tmp_path: Path, sampler: str
) -> None:
    killed = begun(tmp_path, Landscape(), sampler=sampler)
    killed._study.ask()  # the moment before its settings are drawn
    n_trials = {"tpe": 12, "grid": None}[sampler]  # a grid's other points were queued before
    result = search(tmp_path, Landscape(), sampler=sampler, n_trials=n_trials)
    assert result["default"]["state"] == "complete"
    assert result["difference"] is not None


def test_each_sampler_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """What a grid left waiting would be all that TPE tries."""
    plan = plan_of()
    work = Work(light_base(tmp_path / "base"), tmp_path / "snapshot", plan, "base", None)
    known = space(plan, max_rank=16)
    dimensions = [known["learning_rate"], known["n_epochs"]]
    samplers: list[Sampler] = ["tpe", "random", "grid"]
    names = [_search_name(work, dimensions, N_FOLDS, sampler) for sampler in samplers]
    assert len(set(names)) == 3
    assert names == [_search_name(work, dimensions, N_FOLDS, sampler) for sampler in samplers]


def test_the_time_is_kept_and_more_time_goes_on(tmp_path: Path) -> None:
    landscape = Landscape()
    with pytest.raises(PawlError, match="--minutes") as caught:
        search(tmp_path, landscape, seconds=2.5 * FOLD_SECONDS, n_trials=None)
    assert (caught.value.code, caught.value.retryable) == ("out_of_time", True)
    assert landscape.now == 2.5 * FOLD_SECONDS
    landscape = Landscape()
    result = search(tmp_path, landscape, seconds=7.5 * FOLD_SECONDS, n_trials=None)
    assert landscape.now <= 7.5 * FOLD_SECONDS
    # The rest of the first recipe, and others while a whole one fits.
    assert landscape.asked[0] == (1e-3, 16, 2)
    assert landscape.now > 4.5 * FOLD_SECONDS
    assert all(row["n_folds"] == N_FOLDS or row["state"] == "pruned" for row in result["trials"])


def test_a_grid_tries_each_point_once(tmp_path: Path) -> None:
    result = search(tmp_path, Landscape(), sampler="grid", n_trials=None)
    points = [tuple(row["params"].values()) for row in result["trials"]]
    known = space(plan_of(), max_rank=16)
    assert len(points) == len(set(points))
    assert set(points) == {
        (rate, rank) for rate in known["learning_rate"].values for rank in known["lora_rank"].values
    }
    with pytest.raises(PawlError, match="points"):
        search(tmp_path / "large", Landscape(), over=" ".join(known), sampler="grid")


def test_a_recipe_that_diverges_is_given_up_and_says_why(tmp_path: Path) -> None:
    result = search(tmp_path, Landscape(diverges_above=1.5e-3))
    broken = [row for row in result["trials"] if row["problem"]]
    assert broken
    assert {row["state"] for row in broken} == {"pruned"}
    assert all(row["params"]["learning_rate"] > 1.5e-3 for row in broken)
    with pytest.raises(PawlError, match="diverged"):
        search(tmp_path / "all", Landscape(diverges_above=0), n_trials=2)
    assert list((tmp_path / "all" / FOLDS).iterdir()) == []
