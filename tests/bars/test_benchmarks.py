"""The commands of benchmarks/: each can be called, and their sums and judgements are right.

What they measure is for ``make bars``; here only the gateway's runs, at the smallest scale.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bars, demo, litellm_proxy, mini
from benchmarks.figures import added, milliseconds, percentile, ratio_in_words, ratios
from benchmarks.lm_eval_stock import StockScore, StockTasks, command, read_scores
from benchmarks.measurements import MISSED, record
from benchmarks.night import figures_of
from benchmarks.scoring import compare
from evals.scoring import Scores
from pawl.errors import PawlError
from pawl.files import read_json
from pawl.records import ItemScore
from tests.conftest import REPOSITORY

COMMANDS = sorted(
    path.stem
    for path in (REPOSITORY / "benchmarks").glob("*.py")
    if '__name__ == "__main__"' in path.read_text()
)


def run_command(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments],
        cwd=REPOSITORY, text=True, capture_output=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does(name: str) -> None:
    done = run_command(name, "--help")
    assert done.returncode == 0, done.stderr
    assert f"usage: {name}.py" in done.stdout or f"benchmarks.{name}" in done.stdout


def test_every_bar_is_a_command() -> None:
    assert {bar.name for bar in bars.BARS} <= set(COMMANDS)


# -- sums


def test_percentile_is_the_nearest_rank() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert percentile(values, 0.99) == 99
    assert percentile(values, 0.5) == 50
    assert percentile(values, 1.0) == 100
    assert percentile([7.0], 0.01) == 7
    for wrong in (0.0, 1.1):
        with pytest.raises(ValueError, match="no percentile"):
            percentile(values, wrong)
    with pytest.raises(ValueError, match="of 0 values"):
        percentile([], 0.5)


def test_ratios_are_of_each_round() -> None:
    # The machine was four times as slow in the last round: the ratio does not see it.
    assert ratios([2.0, 3.0, 8.0], [1.0, 1.0, 4.0]) == [2.0, 3.0, 2.0]
    assert ratio_in_words([2.0, 3.0, 8.0], [1.0, 1.0, 4.0]) == "2.00 (2.00 to 3.00 over 3 rounds)"
    assert ratio_in_words([3.0], [2.0]) == "1.50 (one round)"
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0, 2.0], [1.0])


def test_latencies_in_words() -> None:
    direct, proxied = [0.001] * 99 + [0.002], [0.0015] * 90 + [0.005] * 10
    assert milliseconds(proxied) == "median 1.50 ms, p99 5.00 ms"
    assert added(proxied, direct) == "adds median 0.50 ms, p99 4.00 ms"


def test_a_nights_steps_are_compared_round_by_round() -> None:
    ours = {"train": 2.0, "score champion": 0.0, "score challenger": 3.0, "deploy": 1.0,
            "in all": 10.0}  # fmt: skip
    usual = dict.fromkeys(ours, 40.0)
    figures = figures_of([ours, {**ours, "in all": 20.0}], [usual, usual])
    assert figures["in all"] == (
        "Pawl 15.0 s, usual 40.0 s; usual / Pawl 3.00 (2.00 to 4.00 over 2 rounds)"
    )
    assert "usual / Pawl" not in figures["score champion"]  # nothing was scored: no ratio


# -- scoring: are the two arms' results the same?


def item(benchmark: str, item_id: str, score: float | None, *logprobs: float) -> ItemScore:
    return ItemScore(benchmark, item_id, score, item_id, None, {"logprobs": list(logprobs)})


OURS = [
    item("mini_arc", "3-aaaa", 1.0, -1.0, -2.0),
    item("mini_mmlu", "plurals/0-bbbb", 0.0, -1.5, -0.5),
    item("mini_truthfulqa_mc2", "7-cccc", 0.25, -2.0, -1.0),
]
THEIRS = {
    ("mini_arc", 3): StockScore([-1.00004, -2.0], {"acc": 1.0}),
    ("mini_mmlu__plurals", 0): StockScore([-1.5, -0.5], {"acc": 0.0}),
    ("mini_truthfulqa_mc2", 7): StockScore([-2.0, -1.0], {"acc": 0.25003}),
}


def test_equal_results_are_equal() -> None:
    found = compare(Scores(OURS, {}), THEIRS)
    assert found.same
    assert found.n_items == 3
    assert found.largest == pytest.approx(4e-5)


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        (("mini_arc", 3), StockScore([-1.0, -2.0], {"acc": 0.0})),  # another score
        (("mini_arc", 3), StockScore([-1.0002, -2.0], {"acc": 1.0})),  # another log-probability
        (("mini_truthfulqa_mc2", 7), StockScore([-2.0, -1.0], {"acc": 0.26})),
        (("mini_arc", 3), None),  # not scored at all
    ],
)
def test_unequal_results_are_found(key: tuple[str, int], instead: StockScore | None) -> None:
    theirs = {**THEIRS}
    if instead is None:
        del theirs[key]
    else:
        theirs[key] = instead
    assert not compare(Scores(OURS, {}), theirs).same


def test_an_item_that_only_lm_eval_scored_is_found() -> None:
    theirs = {**THEIRS, ("mini_arc", 4): StockScore([-1.0], {"acc": 1.0})}
    assert compare(Scores(OURS, {}), theirs).missing == ["mini_arc 4"]


def test_lm_evals_log_is_read_by_item(tmp_path: Path) -> None:
    tasks = StockTasks({"mmlu_law": [5]}, {"mmlu_law": "mmlu__law"}, None, None)
    folder = tmp_path / "out" / "model"
    folder.mkdir(parents=True)
    (folder / "samples_mmlu_law_2026-01-01T00-00-00.jsonl").write_text(
        '{"doc_id": 5, "filtered_resps": [["-1.25", "False"], ["-0.5", "True"]], '
        '"metrics": ["acc"], "acc": 1.0}\n'
    )
    assert read_scores(tmp_path / "out", tasks) == {
        ("mmlu__law", 5): StockScore([-1.25, -0.5], {"acc": 1.0})
    }
    typed = command(tasks, Path("base"), Path("adapter"), tmp_path / "out")
    assert "pretrained=base,dtype=float32,peft=adapter" in typed
    assert read_json(tmp_path / "out.samples.json") == {"mmlu_law": [5]}


# -- judgements


def demo_result(**changes: Any) -> dict[str, Any]:
    bench = {"name": "mini_arc", "passed": True, "champion": 0.5, "challenger": 0.49,
             "difference": -0.01, "lower": -0.02, "upper": 0.0, "margin": 0.03,
             "n": 200}  # fmt: skip
    return {
        "n_faults_met": 10, "n_faults_fixed": 8, "faults_fixed_interval": (0.49, 0.94),
        "n_phrasings": 90, "n_phrasings_fixed": 80, "phrasings_fixed_interval": (0.8, 0.94),
        "n_control": 160, "newly_broken": [], "newly_right": [], "champion_before": "base",
        "champion_after": "pawl@1", "engine_restarted": False, "night_seconds": 300.0,
        "total_seconds": 500.0, "verdict": {"outcome": "promote", "benchmarks": [bench]},
    } | changes  # fmt: skip


def test_a_demo_at_its_bars_misses_none() -> None:
    assert demo.missed_bars(demo_result()) == []
    assert demo.figures_of(demo_result())["faults fixed"].startswith("8 of 10 met")


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({"n_faults_fixed": 7}, "7 of 10 faults fixed"),
        ({"n_faults_met": 0, "n_faults_fixed": 0}, "0 of 0 faults fixed"),
        ({"total_seconds": 901.0}, "901 s"),
        ({"champion_after": "base"}, "the champion is still base"),
        ({"engine_restarted": True}, "restarted"),
        ({"verdict": None}, "no verdict"),
        ({"verdict": {"outcome": "reject", "benchmarks": [{"name": "mini_arc", "passed": False}]}},
         "mini_arc"),
    ],
)  # fmt: skip
def test_a_demo_that_falls_short_says_where(changes: dict[str, Any], missed: str) -> None:
    (only,) = demo.missed_bars(demo_result(**changes))
    assert missed in only


def test_the_minis_questions_are_judged_over_all_and_by_topic() -> None:
    good = {"capitals": [True] * 19 + [False], "plurals": [True] * 8 + [False] * 2}
    figure, missed = mini.judge_questions("unseen combinations", good, (95.0, 85.0))
    assert figure == "90.0 % of 30 (bar 95); least: plurals 80 %"
    assert missed == ["unseen combinations 90.0 %, under 95",
                      "unseen combinations: plurals 80 %, under 85"]  # fmt: skip
    assert mini.judge_questions("unseen families", good, (75.0, 0.0))[1] == []


@pytest.mark.parametrize(
    ("score", "chance", "n_missed"),
    [(0.46, 0.25, 0), (0.44, 0.25, 1), (0.95, 0.25, 1), (0.10, None, 0)],
)
def test_the_minis_benchmarks_are_judged(score: float, chance: float | None, n_missed: int) -> None:
    row = {"name": "mini_arc", "score": score, "lower": 0.4, "upper": 0.5, "n": 1200,
           "chance": chance}  # fmt: skip
    assert len(mini.judge_benchmark(row)[1]) == n_missed


# -- make bars


def test_a_bar_that_breaks_is_failed_and_its_log_says_why(tmp_path: Path) -> None:
    log_path = tmp_path / "bar.log"
    outcome, seconds = bars.run_bar(bars.Bar("help_seconds", "", "--runs many"), log_path)
    assert outcome == "failed"
    assert "invalid int value: 'many'" in log_path.read_text()
    assert seconds > 0


def test_missed_is_neither_passed_nor_failed() -> None:
    codes = (0, MISSED, 1, 2, -9, None)
    assert [bars.outcome_of(code) for code in codes] == [
        "passed", "missed", "failed", "failed", "failed", "failed"]  # fmt: skip


def test_outcomes_of_earlier_calls_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.json"
    bars.remember({"demo": "missed"}, path)
    table = bars.remember({"night": "passed"}, path)
    assert len(table) == len(bars.BARS)
    ended = {name.partition(":")[0]: outcome for name, outcome in table.items()}
    assert (ended["demo"], ended["night"], ended["kills"]) == ("missed", "passed", "not run")


def test_a_section_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "measurements.md"
    record("one", "One", "type one", {"speed": "1 ms"}, path=path)
    record("two", "Two", "type two", {"speed": "2 ms"}, path=path)
    record("one", "One", "type one", {"speed": r"3 ms \1"}, note="Missed.", path=path)
    text = path.read_text()
    assert re.findall(r"^## (.+)$", text, re.M) == ["One", "Two"]
    assert r"| speed | 3 ms \1 |" in text
    assert "| speed | 1 ms |" not in text
    assert "| speed | 2 ms |" in text


# -- the gateway's arms


def test_the_gateway_is_measured_without_litellm() -> None:
    done = run_command("gateway", "--rounds", "1", "--requests", "20", "--words", "4",
                       "--no-litellm", "--no-record")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for kind in ("whole answer", "stream of 4 tokens"):
        for pair in ("pawl / pass-through", "pawl / pawl, not recording"):
            (ratio,) = re.findall(rf"{kind}: throughput of {pair} +([\d.]+) ", done.stdout)
            assert float(ratio) > 0
    assert re.search(r"^LiteLLM +not measured: left out", done.stdout, re.M)


def test_litellm_that_cannot_be_installed_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "venv"  # has no pip, so that nothing can be installed into it
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    with pytest.raises(PawlError, match=r"could not be installed.*No module named pip") as raised:
        litellm_proxy.install(folder)
    assert "--no-litellm" in str(raised.value)
    assert not (folder / ".installed").exists()


def test_litellm_is_pinned_whole() -> None:
    lines = litellm_proxy.PINS.read_text().splitlines()
    assert all(re.match(r"[\w.-]+==\S+( ; .+)?$", line) for line in lines)
    assert f"litellm=={litellm_proxy.version()}" in lines
