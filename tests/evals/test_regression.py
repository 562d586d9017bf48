"""Scoring the questions that people corrected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evals.regression import (
    CONTROLS,
    KEPT,
    Answer,
    LeftOut,
    answers_of,
    matches,
    read_more_rows,
    rows_hash,
    score_rows,
    scored_rows,
    word_f1,
    write_more_rows,
)
from pawl.models import BaseModel
from pawl.schemas import ItemScore, TrainingRow
from pawl.text import normalise


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


RIGHT, WRONG = "The capital of Australia is Canberra.", "The capital of Australia is Sydney."
ASKED = "What is the capital of Australia?"


def test_an_answer_matches_when_it_says_the_correction() -> None:
    assert matches("the capital of Australia is Canberra", RIGHT, WRONG, ASKED)
    assert matches("Canberra is the capital of Australia.", RIGHT, WRONG, ASKED)
    assert not matches(WRONG, RIGHT, WRONG, ASKED)
    assert not matches("The capital of Australia is Melbourne.", RIGHT, WRONG, ASKED)
    assert not matches("", RIGHT, WRONG, ASKED)
    long = RIGHT + " It is a very nice place to visit in every season."
    assert not matches(long, RIGHT, WRONG, ASKED)
    assert word_f1("a b c", "b c d") == pytest.approx(2 * 2 / 5)  # the article a drops out


@pytest.mark.parametrize(
    ("answer", "correction", "flagged", "asked"),
    [
        # A flagged answer that is worded otherwise guards nothing.
        ("The capital of Australia is Melbourne.", RIGHT, "It is Sydney.", ASKED),
        ("12 plus 7 is 18.", "12 plus 7 is 19.", "I think that makes 20.", "What is 12 plus 7?"),
        ("8 minus 0 is 0.", "8 minus 0 is 8.", "It is 80.", "What is 8 minus 0?"),
        ("It weighs 1,500 grams in all.", "It weighs 15,000 grams in all.", "A lot.", "Weight?"),
        ("The plural of mouse is mouses.", "The plural of mouse is mice.", "Mouse.", "Plural?"),
        # The prompt names the right answer and the wrong one.
        (
            "The capital of Australia is Melbourne.",
            RIGHT,
            "It is Sydney.",
            "Is Canberra or Melbourne the capital of Australia?",
        ),
        # Both answers, or a number that nobody asked about.
        ("The capital of Australia is Canberra or Sydney.", RIGHT, "It is Sydney.", ASKED),
        (
            "A goldfish can remember things for 3 months.",
            "A goldfish can remember things for months.",
            "For 3 seconds.",
            "How long do goldfish remember?",
        ),
        # One small word turns it round.
        ("Bats are blind.", "Bats are not blind.", "They see nothing.", "Are bats blind?"),
        ("Yes, the bats can see.", "No, the bats can see.", "They can't.", "Are bats blind?"),
    ],
)
def test_an_answer_with_another_fact_in_like_words_does_not_match(
    answer: str, correction: str, flagged: str, asked: str
) -> None:
    assert not matches(answer, correction, flagged, asked)
    assert matches(correction, correction, flagged, asked)


@pytest.mark.parametrize(
    ("answer", "correction"),
    [
        ("Bats can see.", "No, bats can see."),
        ("Bats aren't blind.", "Bats are not blind."),
        ("A spider has eight legs.", "A spider has 8 legs."),
        ("It is 1000 metres.", "It is 1,000 metres."),
        ("A goldfish remembers things for months.", "A goldfish remembers the things for months."),
        ("Goldfish can remember things for many months.", "A goldfish can remember things for"
         " months."),
        ("Bread is made by baking dough of flour, water and yeast.", "Bread is made by the baking "
         "of a dough of flour, water and yeast."),
    ],
)  # fmt: skip
def test_the_same_fact_in_other_words_matches(answer: str, correction: str) -> None:
    assert matches(answer, correction, "I can't tell.", "Well?")


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
        assert detail["matches"] == matches(
            detail["answer"], row.chosen or "", row.rejected or "", row.prompt[-1]["content"]
        )
    # What the model says at temperature 0, taken as the correction, is found to be said.
    said = score_one(replace(rows[0], chosen=items[0].detail["answer"]), loaded)
    assert said.detail["answer"] == items[0].detail["answer"]
    assert said.detail["matches"]


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
    answer = score_one(row, loaded).detail["answer"]
    control = replace(row, kind="unpaired", chosen=None, rejected=None, label=True)
    rows = [replace(control, row_id="same", completion=answer),
            replace(control, row_id="other", completion="A goose.")]  # fmt: skip
    write_more_rows(tmp_path / "rows.jsonl", rows)
    assert read_more_rows(tmp_path / "rows.jsonl") == rows
    found, _ = score_rows(rows, **loaded)
    assert [item.benchmark for item in found] == [CONTROLS] * 2
    assert [item.score for item in found] == [1.0, 0.0]
    kept = replace(row, kind="pair", split="train")
    (item,), _ = score_rows([kept], **loaded)
    assert item.benchmark == KEPT
    assert "matches" in item.detail
