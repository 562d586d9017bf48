"""Scoring the questions that people corrected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evals.matching import match
from evals.regression import (
    CONTROLS,
    KEPT,
    Answer,
    LeftOut,
    _answers,
    answers_of,
    read_more_rows,
    rows_hash,
    score_rows,
    scored_rows,
    write_more_rows,
)
from pawl.models import BaseModel
from pawl.schemas import ItemScore, TrainingRow
from pawl.text import normalise
from tests.refine.tiny import corrections


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


def logprobs_of(model: Any) -> Any:
    """Scores as the child's scorer gives them for a model that shares prefixes well."""
    from evals.prefix_tree import continuation_logprobs

    return lambda pairs: continuation_logprobs(model, pairs, max_tokens=512)


@pytest.fixture(scope="module")
def loaded(model: BaseModel) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(model.model_dir).eval()
    return {
        "model": loaded,
        "logprobs": logprobs_of(loaded),
        "tokenizer": AutoTokenizer.from_pretrained(model.model_dir),
        "max_length_tokens": 2048,
        "on_progress": lambda *_: None,
    }


def score_one(row: TrainingRow, loaded: dict[str, Any]) -> ItemScore:
    (item,), left_out = score_rows([row], **loaded)
    assert left_out == LeftOut()
    return item


def test_the_score_is_the_mean_of_preferring_and_saying(
    snapshot_dir: Path, loaded: dict[str, Any]
) -> None:
    rows = scored_rows(snapshot_dir)
    assert len(rows) == 6
    items, left_out = score_rows(rows, **loaded)
    assert left_out == LeftOut()
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
        found = match(
            detail["answer"], row.chosen or "", row.rejected or "", row.prompt[-1]["content"]
        )
        assert (detail["matches"], detail["compared"]) == (found.matches, found.kind)
    # What the model says at temperature 0, taken as the correction, is found to be said. (It never
    # ends, so it is as long as an answer may be.)
    longest = score_one(replace(rows[0], chosen="x " * 200), loaded).detail["answer"]
    said = score_one(replace(rows[0], chosen=longest), loaded)
    assert said.detail["answer"] == longest
    assert said.detail["matches"]
    assert longest.startswith(items[0].detail["answer"])


def test_a_preference_pair_has_no_answer_to_match(
    snapshot_dir: Path, loaded: dict[str, Any]
) -> None:
    row = replace(scored_rows(snapshot_dir)[0], kind="pair")
    (item, turned), _ = score_rows(
        [row, replace(row, row_id="turned", chosen=row.rejected, rejected=row.chosen)], **loaded
    )
    assert "answer" not in item.detail
    assert {item.score, turned.score} == {0.0, 1.0}
    assert score_rows([row], **(loaded | {"max_length_tokens": 20})) == ([], LeftOut(1, 0))
    # A base whose template would leave the tools out is not asked another question instead.
    offered = replace(row, tools=[{"type": "function", "function": {"name": "f"}}])
    assert score_rows([offered], **loaded) == ([], LeftOut(0, 1))


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
    (item,), left_out = score_rows([long, row], **loaded)
    assert item.item_id == row.row_id
    assert left_out == LeftOut(n_too_long=1)
    broken = score_one(replace(row, rejected=None), loaded)
    assert broken.score is None
    assert broken.error == "the row has no correction or no flagged answer"


def test_a_row_that_the_chat_template_refuses_is_left_out_and_counted(
    snapshot_dir: Path, loaded: dict[str, Any]
) -> None:
    """As Mistral's and Gemma's templates do with two user turns in a row."""
    from copy import deepcopy

    strict = deepcopy(loaded["tokenizer"])
    strict.chat_template = (
        "{% if messages | length > 1 %}{{ raise_exception('roles must alternate') }}{% endif %}"
        + strict.chat_template
    )
    row = scored_rows(snapshot_dir)[0]
    twice = replace(row, row_id="twice", prompt=[*row.prompt, *row.prompt])
    (item,), left_out = score_rows([twice, row], **(loaded | {"tokenizer": strict}))
    assert item.item_id == row.row_id
    assert left_out == LeftOut(n_refused=1)


def test_the_hash_follows_what_is_scored(snapshot_dir: Path) -> None:
    rows = scored_rows(snapshot_dir)
    assert rows_hash(rows) == rows_hash(scored_rows(snapshot_dir))
    assert rows_hash(rows) != rows_hash([replace(rows[0], chosen="other"), *rows[1:]])


def test_another_models_answers_are_checked_before_they_are_taken(
    snapshot_dir: Path, loaded: dict[str, Any]
) -> None:
    rows = scored_rows(snapshot_dir)
    items, _ = score_rows(rows, **loaded)
    known = answers_of(items)
    assert len(known) == len(rows)
    other = known | {rows[0].row_id: Answer("A goose.", True)}
    for told in (known, other):
        again, _ = score_rows(rows, known=told, **loaded)
        for one, before in zip(again, items, strict=True):
            assert one.score == before.score
            assert one.detail["answer"] == before.detail["answer"]


def test_a_control_counts_while_the_answer_stays_what_it_was(
    snapshot_dir: Path, loaded: dict[str, Any], tmp_path: Path
) -> None:
    row = scored_rows(snapshot_dir)[0]
    answer = score_one(replace(row, chosen="x " * 200), loaded).detail["answer"]
    control = replace(row, kind="unpaired", chosen=None, rejected=None, label=True)
    rows = [replace(control, row_id="same", completion=answer),
            replace(control, row_id="other", completion="A goose.")]  # fmt: skip
    write_more_rows(tmp_path / "rows.jsonl", rows)
    assert read_more_rows(tmp_path / "rows.jsonl") == rows
    found, _ = score_rows(rows, **loaded)
    assert [item.benchmark for item in found] == [CONTROLS] * 2
    assert [item.score for item in found] == [1.0, 0.0]
    kept = [replace(row, row_id=kind, kind=kind, split="train") for kind in ("regression", "pair")]
    correction, preference = score_rows(kept, **loaded)[0]
    assert correction.benchmark == preference.benchmark == KEPT
    assert "matches" in correction.detail
    assert "matches" not in preference.detail


def test_a_prompt_near_the_contexts_end_cuts_no_other_answer_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches: list[tuple[list[int], int]] = []

    def greedy(_model: Any, _tokenizer: Any, prompts: Any, n_new: int) -> list[tuple[str, bool]]:
        batches.append(([len(prompt) for prompt in prompts], n_new))
        return [("", True)] * len(prompts)

    monkeypatch.setattr("evals.regression.greedy_answers", greedy)
    rows = [(corrections(4)[i], [1] * n) for i, n in enumerate((60, 500, 60, 505))]
    room = {row.row_id: 64 for row, _ in rows}
    _answers(rows, room, None, None, 512, lambda done, of: None)
    assert batches == [([505], 7), ([500], 12), ([60, 60], 64)]
