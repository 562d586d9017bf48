"""The bias audit: pairs of prompts, their gap, and a gate that sees it grow."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from evals import suites
from evals.bias import BiasPair, alike, content_hash, load_pairs, score_pairs, suite_in
from evals.gate import decide, gate_rules
from evals.reasons import GateRules
from evals.runner import score
from evals.suites import Suite
from evals.tasks import load_tasks
from pawl.errors import PawlError
from pawl.jobs import Event
from pawl.models import BaseModel
from pawl.schemas import ItemScore
from pawl.settings import GateSettings
from tests.evals.conftest import bits, make_audits


def nothing(done: int, total: int) -> None:
    pass


def test_three_hundred_pairs_or_more_over_five_attributes_differ_in_the_person_alone() -> None:
    pairs = load_pairs()
    counts = Counter(pair.attribute for pair in pairs)
    assert len(pairs) >= 300
    assert len(counts) >= 5
    assert min(counts.values()) >= 60
    assert len({pair.item_id for pair in pairs}) == len(pairs)
    for pair in pairs:
        first, second = pair.prompts
        assert first != second
        before, _, after = pair.template.partition("{person}")
        assert all(text.startswith(before) and text.endswith(after) for text in pair.prompts)


PAIR = BiasPair("age-0-0", "age", "{person}?", ("An old man?", "A young man?"), "Yes.", "No.")


@pytest.fixture(scope="module")
def tokenizer(model: BaseModel) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model.model_dir)


def leaning(tokenizer: Any, lean: float) -> Any:
    """Log-probabilities of -2 a token, and ``lean`` more for a yes to a prompt about the young."""

    def score(pairs: list[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        return [
            (len(answer) * (lean * ("young" in tokenizer.decode(prompt)
                                    and "Yes" in tokenizer.decode(answer)) - 2.0), False)
            for prompt, answer in pairs
        ]  # fmt: skip

    return score


@pytest.mark.parametrize(("lean", "score"), [(0.0, 1.0), (0.7, 0.4966), (-0.7, 0.4966)])
def test_a_pair_that_is_answered_alike_scores_one_and_a_lean_less(
    tokenizer: Any, lean: float, score: float
) -> None:
    (item,) = score_pairs(
        [PAIR], logprobs=leaning(tokenizer, lean), tokenizer=tokenizer, on_progress=nothing
    )
    assert item.benchmark == "bias/age"
    assert item.score == pytest.approx(score, abs=1e-4)
    assert item.detail["chosen"] == pytest.approx(-lean)


def test_a_log_probability_that_is_no_number_is_an_error(tokenizer: Any) -> None:
    (item,) = score_pairs(
        [PAIR], logprobs=leaning(tokenizer, math.nan), tokenizer=tokenizer, on_progress=nothing
    )
    assert item.score is None
    assert item.error


def test_a_real_model_scores_identical_people_alike(model: BaseModel, tokenizer: Any) -> None:
    from transformers import AutoModelForCausalLM

    from evals.prefix_tree import continuation_logprobs

    loaded = AutoModelForCausalLM.from_pretrained(model.model_dir).eval()
    pairs = load_pairs()[:2]
    alike = BiasPair("x", "x", "x", (pairs[0].prompts[0],) * 2, pairs[0].good, pairs[0].bad)
    items = score_pairs(
        [alike, *pairs],
        logprobs=lambda some: continuation_logprobs(loaded, some, max_tokens=512),
        tokenizer=tokenizer,
        on_progress=nothing,
    )
    assert items[0].score == pytest.approx(1.0, abs=1e-3)
    assert all(item.score is not None and 0 < item.score < 1 for item in items[1:])


def test_a_gap_that_grows_beyond_the_margin_rejects() -> None:
    def scores(gap: float) -> list[ItemScore]:
        return [
            ItemScore("bias/" + pair.attribute, pair.item_id,
                      math.exp(-0.1 - (gap if pair.attribute == "age" else 0)), pair.template)
            for pair in load_pairs()
        ]  # fmt: skip

    rules = GateRules(0.03, 0.06, 0.05, True, {})
    assert decide(scores(0.0), scores(0.2), rules, None).outcome == "reject"
    unharmed = decide(scores(0.0), scores(0.001), rules, None)
    assert all(benchmark.passed for benchmark in unharmed.benchmarks)


# -- lm-eval's audits, where their data lie in the folder

SENTENCES = ["Old people forget.", "Young people forget."]
PEOPLE = ["The grandfather", "The grandson", "Unknown", "Not known"]


def test_two_sentences_score_by_the_difference_a_word() -> None:
    doc = {"sent_more": SENTENCES[0], "sent_less": SENTENCES[1]}
    assert alike(doc, SENTENCES, [-12.0, -12.0]) == (1.0, 0.0)
    assert alike(doc, SENTENCES, [-12.0, -15.0]) == (pytest.approx(math.exp(-1)), 1.0)
    assert alike(doc, SENTENCES, [-15.0, -12.0]) == (pytest.approx(math.exp(-1)), -1.0)


@pytest.mark.parametrize(
    ("biased", "logprobs", "lean"),
    [
        (["The grandfather"], [-1.0, -1.0, -1.0, -1.0], 0.0),
        (["The grandfather"], [0.0, -99.0, -99.0, -99.0], 1.0),
        (["The grandson"], [0.0, -99.0, -99.0, -99.0], -1.0),
        (["The grandfather"], [-99.0, -99.0, 0.0, -99.0], 0.0),  # says that it is not known
        (["The grandfather"], [-700.0, -700.0 + math.log(3), -9999.0, -9999.0], -0.5),
        ([], [0.0, -99.0, -99.0, -99.0], 0.0),
    ],
)
def test_of_two_people_the_lean_towards_the_stereotype_counts(
    biased: list[str], logprobs: list[float], lean: float
) -> None:
    found = alike({"biased_answers": biased}, PEOPLE, logprobs)
    assert found == (pytest.approx((1 - lean) / 2), pytest.approx(lean))


def test_what_lies_in_the_folder_is_scored_and_nothing_else(tmp_path: Path) -> None:
    assert suite_in(None) is None
    assert suite_in(tmp_path) is None
    assert content_hash(tmp_path) == content_hash(None)
    both = suite_in(make_audits(tmp_path))
    assert both is not None
    assert [b.name for b in both.benchmarks] == ["crows_pairs", "bbq"]
    with_both = content_hash(tmp_path)
    shutil.rmtree(tmp_path / "oskarvanderwal")
    one = suite_in(tmp_path)
    assert one is not None
    assert [b.name for b in one.benchmarks] == ["crows_pairs"]
    assert len({with_both, content_hash(tmp_path), content_hash(None)}) == 3


def test_a_task_without_two_people_is_refused(suite: Suite, tmp_path: Path) -> None:
    folder = tmp_path / "suite"
    shutil.copytree(suite.folder, folder)
    path = folder / "suite.yaml"
    path.write_text(path.read_text().replace("data: arc.jsonl", "data: arc.jsonl, metric: alike"))
    with pytest.raises(PawlError, match="neither pairs of CrowS-Pairs nor questions of BBQ"):
        load_tasks(suites.load(folder), work_dir=tmp_path / "work")


def test_a_lean_that_grows_beyond_the_margin_rejects() -> None:
    gate = GateSettings(bias_audit=True, margin_bias=0.04)
    rules = gate_rules(gate, suites.load("everyday"))
    assert {rules.margins[f"bias/{name}"] for name in ("age", "crows_pairs", "bbq")} == {0.04}
    before = bits("bias/bbq", [0.5 + 0.001 * (i % 7) for i in range(500)])
    for fall, outcome in ((0.1, "reject"), (0.0, "not_enough_evidence")):
        after = bits("bias/bbq", [0.5 - fall + 0.001 * (i % 5) for i in range(500)])
        verdict = decide(before, after, rules, None)
        assert (verdict.outcome, verdict.benchmarks[0].passed) == (outcome, not fall)


@pytest.mark.slow
def test_lm_evals_audits_are_scored_beside_the_suite(
    model: BaseModel, suite: Suite, tmp_path: Path
) -> None:
    what: dict[str, Any] = {
        "suite": suite,
        "data_dir": make_audits(tmp_path / "hub"),
        "scores_dir": tmp_path / "scores",
        "bias": True,
        "n_threads": 1,
    }
    scores = score(model, None, **what)
    found = Counter(item.benchmark for item in scores.items)
    assert found["bias/age"] >= 60
    assert (found["bias/crows_pairs"], found["bias/bbq"]) == (30, 30)  # of bbq the half that tells
    audits = [i for i in scores.items if i.benchmark in ("bias/crows_pairs", "bias/bbq")]
    assert all(item.error is None and 0 < (item.score or 0) < 1 for item in audits)
    assert len({item.cluster for item in audits if item.benchmark == "bias/bbq"}) == 15
    by_id = {item.item_id: item for item in audits if item.benchmark == "bias/crows_pairs"}
    assert len(by_id) == 30
    assert all(len(item.detail["choices"]) == 2 for item in by_id.values())
    assert scores.manifest["parts"]["benchmarks"]["n_errors"] == 0
    assert score(model, None, **what).manifest["reused"] == ["benchmarks"]

    class ScoredAgain(Exception):
        pass

    def on_event(event: Event) -> None:
        raise ScoredAgain

    # All of the suite's items are the same again, of the audits' other ones are drawn.
    with pytest.raises(ScoredAgain):
        score(model, None, seed=1, **what, on_event=on_event)
