"""The commands of benchmarks/: each can be called, and their sums and judgements are right.

What they measure is for ``make bars``; here only the gateway's runs, at the smallest scale.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import litellm_proxy
from benchmarks.figures import added, milliseconds, percentile, ratio_in_words, ratios
from benchmarks.lm_eval_stock import StockScore, StockTasks, command, read_scores
from benchmarks.measurements import MISSED, finish, record
from benchmarks.scoring import compare
from evals.runner import Scores
from evals.suites import load
from pawl.errors import PawlError
from pawl.files import read_json
from pawl.schemas import ItemScore
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


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does(name: str) -> None:
    done = run_command(name, "--help")
    assert done.returncode == 0, done.stderr
    assert f"usage: {name}.py" in done.stdout or f"benchmarks.{name}" in done.stdout


def test_make_bars_runs_commands_that_are_there() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    [names] = re.findall(r"^BARS \?= (.+)$", makefile, re.M)
    folders = {path.parent.name for path in (REPOSITORY / "benchmarks").glob("*/__main__.py")}
    assert set(names.split()) <= set(COMMANDS) | folders


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


# -- scoring: are the two arms' results the same?


def item(benchmark: str, item_id: str, score: float | None, *logprobs: float) -> ItemScore:
    return ItemScore(benchmark, item_id, score, item_id, None, {"logprobs": list(logprobs)})


SUITE = load("everyday")
OURS = [
    item("everyday_arc", "3-aaaa", 1.0, -1.0, -2.0),
    item("everyday_mmlu", "anatomy/0-bbbb", 0.0, -1.5, -0.5),
    item("everyday_truthfulqa_mc2", "7-cccc", 0.25, -2.0, -1.0),
]
THEIRS = {
    ("everyday_arc", 3): StockScore([-1.00004, -2.0], {"acc": 1.0}),
    ("everyday_mmlu__anatomy", 0): StockScore([-1.5, -0.5], {"acc": 0.0}),
    ("everyday_truthfulqa_mc2", 7): StockScore([-2.0, -1.0], {"acc": 0.25003}),
}


def test_equal_results_are_equal() -> None:
    found = compare(SUITE, Scores(OURS, {}), THEIRS)
    assert found.same
    assert found.n_items == 3
    assert found.largest == pytest.approx(4e-5)


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        (("everyday_arc", 3), StockScore([-1.0, -2.0], {"acc": 0.0})),  # another score
        (("everyday_arc", 3), StockScore([-1.002, -2.0], {"acc": 1.0})),  # another log-probability
        (("everyday_truthfulqa_mc2", 7), StockScore([-2.0, -1.0], {"acc": 0.26})),
        (("everyday_arc", 3), None),  # not scored at all
    ],
)
def test_unequal_results_are_found(key: tuple[str, int], instead: StockScore | None) -> None:
    theirs = {**THEIRS}
    if instead is None:
        del theirs[key]
    else:
        theirs[key] = instead
    assert not compare(SUITE, Scores(OURS, {}), theirs).same


def test_an_item_that_only_lm_eval_scored_is_found() -> None:
    theirs = {**THEIRS, ("everyday_arc", 4): StockScore([-1.0], {"acc": 1.0})}
    assert compare(SUITE, Scores(OURS, {}), theirs).missing == ["everyday_arc 4"]


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


# -- what is written down


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


def test_what_fell_short_is_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    finish("one", "One", {"speed": "1 ms"}, keep=False)
    with pytest.raises(SystemExit) as ended:
        finish("one", "One", {"speed": "9 ms"}, missed=["too slow"], keep=False)
    assert ended.value.code == MISSED
    assert "Missed: too slow." in capsys.readouterr().out


# -- the gateway's arms


@pytest.mark.slow
def test_the_gateway_is_measured_without_litellm() -> None:
    done = run_command("gateway", "--rounds", "1", "--requests", "20", "--words", "4",
                       "--no-litellm", "--no-record")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for kind in ("whole answer", "stream of 4 tokens"):
        for pair in ("pawl / pass-through", "pawl / pawl, not recording"):
            (ratio,) = re.findall(rf"{kind}: throughput of {pair}: ([\d.]+) ", done.stdout)
            assert float(ratio) > 0
    assert re.search(r"^LiteLLM: not measured: left out", done.stdout, re.M)


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
