"""A sample of lm-eval's as an item's score."""

from __future__ import annotations

import math
from typing import Any

import pytest

from evals.score import item_score
from evals.suites import Benchmark


def test_items_with_the_same_cluster_value_are_one_cluster() -> None:
    sample: dict[str, Any] = {
        "doc_id": 3,
        "doc_hash": "0123456789abcdef",
        "doc": {"question": "Can bats see?", "fact": "bats"},
        "filtered_resps": [(-1.0, False), (-2.0, False)],
        "arguments": [("Can bats see?", " yes"), ("Can bats see?", " no")],
        "target": 0,
        "acc": 1.0,
    }
    by_fact = Benchmark(name="truth", task="truthfulqa_mc1", cluster="fact")
    assert item_score(by_fact, "truth", sample).cluster == "bats"
    alone = Benchmark(name="truth", task="truthfulqa_mc1")
    assert item_score(alone, "truth", sample).cluster == "3-01234567"
    member = item_score(alone, "truth__part", sample)
    assert member.item_id == member.cluster == "part/3-01234567"


def test_choices_too_improbable_for_a_float_have_shares_as_lm_eval_computes_them() -> None:
    from lm_eval.tasks.truthfulqa.utils import process_results_mc2

    doc = {"mc2_targets": {"choices": ["a", "b", "c"], "labels": [1, 1, 0]}}
    logprobs = (-3.0, -1.0, -2.0)
    sample = {
        "doc_id": 3, "doc_hash": "0123456789abcdef", "doc": doc, "target": 0, "acc": math.nan,
        "filtered_resps": [(value - 2000, False) for value in logprobs],
        "arguments": [("Which?", f" {choice}") for choice in "abc"],
    }  # fmt: skip
    item = item_score(Benchmark(name="mc2", task="truthfulqa_mc2"), "mc2", sample)
    right = process_results_mc2(doc, [(value, False) for value in logprobs])["acc"]
    assert item.error is None
    assert item.score == item.detail["acc"] == pytest.approx(right)
