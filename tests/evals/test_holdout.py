"""Scoring the questions that people corrected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evals.holdout import matches, normalise, rows_hash, score_rows, scored_rows, word_f1
from pawl.models import BaseModel
from pawl.records import ItemScore, TrainingRow


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The capital is  PARIS!", "capital is paris"),
        ("It's 3.5, not -2.", "it s 3.5 not -2"),
        ("1,000 cups", "1,000 cups"),
        ("well-known", "well known"),
        ("ﬁve", "five"),
        ("", ""),
    ],
)
def test_normalise(text: str, normal: str) -> None:
    assert normalise(text) == normal


def test_an_answer_matches_when_it_says_the_correction() -> None:
    right, wrong = "The capital of Australia is Canberra.", "The capital of Australia is Sydney."
    assert matches("the capital of Australia is Canberra", right, wrong)
    assert matches("Canberra is the capital of Australia.", right, wrong)
    assert not matches(wrong, right, wrong)
    assert not matches("The capital of Australia is Melbourne.", right, wrong)
    assert not matches("", right, wrong)
    assert not matches(right + " It is a very nice place to visit in every season.", right, wrong)
    assert word_f1("a b c", "b c d") == pytest.approx(2 * 2 / 5)  # the article a drops out


@pytest.fixture(scope="module")
def loaded(model: BaseModel) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return {
        "model": AutoModelForCausalLM.from_pretrained(model.model_dir).eval(),
        "tokenizer": AutoTokenizer.from_pretrained(model.model_dir),
        "max_length_tokens": 2048,
        "row_tokens": 512,
        "on_progress": lambda *_: None,
    }


def score_one(row: TrainingRow, loaded: dict[str, Any]) -> ItemScore:
    (item,) = score_rows([row], **loaded)
    return item


def test_the_score_is_the_mean_of_preferring_and_saying(
    snapshot_dir: Path, loaded: dict[str, Any]
) -> None:
    rows = scored_rows(snapshot_dir)
    assert len(rows) == 6
    items = score_rows(rows, **loaded)
    assert [item.item_id for item in items] == [row.row_id for row in rows]
    assert [item.cluster for item in items] == [row.group_id for row in rows]
    for item, row in zip(items, rows, strict=True):
        detail = item.detail
        per_token = (
            detail["correction_logprob"] / detail["correction_tokens"],
            detail["flagged_logprob"] / detail["flagged_tokens"],
        )
        assert detail["prefers"] == (per_token[0] > per_token[1])
        assert item.score == (detail["prefers"] + detail["matches"]) / 2
        assert detail["correction"] == row.chosen
        assert detail["matches"] == matches(detail["answer"], row.chosen or "", row.rejected or "")
    # What the model says at temperature 0, taken as the correction, is found to be said.
    said = score_one(replace(rows[0], chosen=items[0].detail["answer"]), loaded)
    assert said.detail["answer"] == items[0].detail["answer"]
    assert said.detail["matches"]


def test_a_preference_pair_has_no_answer_to_match(
    snapshot_dir: Path, loaded: dict[str, Any]
) -> None:
    row = replace(scored_rows(snapshot_dir)[0], kind="pair")
    item, turned = score_rows(
        [row, replace(row, row_id="turned", chosen=row.rejected, rejected=row.chosen)], **loaded
    )
    assert "answer" not in item.detail
    assert {item.score, turned.score} == {0.0, 1.0}
    assert score_rows([row], **(loaded | {"max_length_tokens": 20})) == []


def test_log_probabilities_are_those_of_the_chat_template(
    snapshot_dir: Path, loaded: dict[str, Any]
) -> None:
    import torch

    row = scored_rows(snapshot_dir)[0]
    item = score_one(row, loaded)
    tokenizer, model = loaded["tokenizer"], loaded["model"]
    prompt = f"<|user|>{row.prompt[0]['content']}<|end|><|assistant|>"
    prefix = tokenizer.encode(prompt)
    answer = tokenizer.encode(f"{row.chosen}<|end|>")
    with torch.no_grad():
        logprobs = model(torch.tensor([prefix + answer])).logits[0].log_softmax(-1)
    expected = sum(float(logprobs[len(prefix) - 1 + i, t]) for i, t in enumerate(answer))
    assert item.detail["correction_logprob"] == pytest.approx(expected, abs=1e-2)
    assert item.detail["correction_tokens"] == len(answer)


def test_a_row_that_does_not_fit_is_left_out_and_one_without_two_answers_is_an_error(
    snapshot_dir: Path, loaded: dict[str, Any]
) -> None:
    row = scored_rows(snapshot_dir)[0]
    long = replace(row, row_id="long", prompt=[{"role": "user", "content": "why? " * 500}])
    (item,) = score_rows([long, row], **loaded)
    assert item.item_id == row.row_id
    broken = score_one(replace(row, rejected=None), loaded)
    assert broken.score is None
    assert broken.error == "the row has no correction or no flagged answer"


def test_the_hash_follows_what_is_scored(snapshot_dir: Path) -> None:
    rows = scored_rows(snapshot_dir)
    assert rows_hash(rows) == rows_hash(scored_rows(snapshot_dir))
    assert rows_hash(rows) != rows_hash([replace(rows[0], chosen="other"), *rows[1:]])
