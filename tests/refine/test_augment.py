"""New phrasings: marked, capped, of training rows alone, and they help where they are good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pawl.adapters import read_manifest
from pawl.schemas import TrainingRow
from pawl.settings import Settings, TrainSettings
from refine import train
from refine.augment import augment, phrasings
from refine.cross_validation import make_folds
from refine.planner import choose
from tests.refine.test_train import _logprob, job
from tests.refine.tiny import ASKED, corrections, row, write_snapshot

ROWS = corrections(9, n_validation=1)  # the first 8 phrasings to train on, the next to validate


def settings(**options: object) -> TrainSettings:
    return TrainSettings.model_validate({"augment": ["paraphrase"], **options})


def base_that_says(text: str):  # type: ignore[no-untyped-def]
    def ask(messages: Sequence[str]) -> list[str]:
        assert all(message.startswith("Say the following message") for message in messages)
        return [text] * len(messages)

    return ask


def test_new_rows_are_marked_and_stay_within_their_share() -> None:
    found = phrasings(ROWS, settings(max_synthetic_share=0.2), _new_words)
    n_written = sum(one.kind == "sft" and one.split == "train" for one in ROWS)
    assert 0 < len(found) <= 0.2 * (len(found) + n_written)
    by_id = {one.row_id: one for one in ROWS}
    for one in found:
        source = by_id[one.origin["of"]]
        assert (one.split, one.kind, source.split) == ("train", "sft", "train")
        assert one.is_synthetic
        assert one.origin["synthetic"] == "paraphrase"
        assert (one.completion, one.group_id) == (source.completion, source.group_id)
        assert one.prompt != source.prompt
    assert phrasings(ROWS, settings(max_synthetic_share=0.2), _new_words) == found
    folds = make_folds([*ROWS, *found], "sft", 2, seed=0)
    assert not [one for fold in folds for one in fold.held_out if one.is_synthetic]
    for fold in folds:  # a row's phrasings go with it
        gone = {one.row_id for one in fold.held_out}
        assert {one.row_id for one in found if one.origin["of"] in gone} <= set(fold.leave_out)


def test_a_snapshot_with_new_phrasings_gets_no_more_of_them(tmp_path: Path) -> None:
    """'pawl search --train' trains on the one that it searched; no engine is asked."""
    found = phrasings(ROWS, settings(), _new_words)
    snapshot = write_snapshot(tmp_path / "f00d", [*ROWS, *found])
    assert augment(None, settings(), "base", snapshot) == snapshot  # type: ignore[arg-type]
    # What is chosen for the rows is the same, so what was interrupted is carried on.
    plans = [
        choose(rows, Settings.model_construct(train=settings())) for rows in (ROWS, [*ROWS, *found])
    ]
    assert plans[0] == plans[1]


def test_a_question_without_a_word_gets_no_phrasing() -> None:
    empty = [replace(one, prompt=[{"role": "user", "content": ""}]) for one in ROWS]
    assert phrasings(empty, settings(), base_that_says_anything) == []


def base_that_says_anything(messages: Sequence[str]) -> list[str]:
    return ["What do you want to know?"] * len(messages)


def _new_words(messages: Sequence[str]) -> list[str]:
    return [f"Friend, {message.rpartition(chr(10))[2]}" for message in messages]


@pytest.mark.parametrize(
    "text",
    ["", "Hello!", "What colour is grass??", "What colour has grass in 1999?", "grass " * 40,
     ASKED[8].format("grass") + "!"],
    ids=["nothing", "something else", "the same", "a number more", "long", "nearly a test"],
)  # fmt: skip
def test_a_phrasing_that_is_of_no_use_is_dropped(text: str) -> None:
    rows = [row("sft", "grass", 0, completion="grass is green."),
            row("sft", "grass", 8, "validation", completion="grass is green.")]  # fmt: skip
    assert phrasings(rows * 4, settings(max_synthetic_share=0.5), base_that_says(text)) == []


def test_a_translation_goes_there_and_back() -> None:
    asked: list[str] = []

    def ask(messages: Sequence[str]) -> list[str]:
        asked.extend(message.partition("\n")[0] for message in messages)
        is_first = "German" in messages[0]
        return ["Welche Farbe hat Gras?" if is_first else "Which colour has grass?"] * len(messages)

    way = settings(augment=["back-translation"], max_synthetic_share=0.5)
    [found] = phrasings(ROWS, way, ask)  # the others would be the same
    assert found.prompt[-1]["content"] == "Which colour has grass?"
    assert len(asked) == 16
    assert "German" in asked[0]
    assert "English" in asked[-1]


@pytest.mark.slow
def test_more_phrasings_help_with_one_that_nobody_used(world_model: Path, tmp_path: Path) -> None:
    """Of two corrected phrasings, with seven more or without."""
    two = [one for one in corrections(2) if one.kind == "sft"] * 4
    rows = [replace(one, row_id=f"{i}") for i, one in enumerate(two)]
    others = iter([ASKED[i].format("grass") for i in (2, 3, 4, 5, 6, 7, 9)] * 2)

    def ask(messages: Sequence[str]) -> list[str]:
        return [next(others, "") for _ in messages]

    found = phrasings(rows, settings(max_synthetic_share=0.5), ask)
    assert len(found) >= 5
    said = []
    for name, more in (("without", []), ("with", found)):
        more_rows: list[TrainingRow] = [*rows, *more]
        task = job(
            world_model, tmp_path / name, more_rows, n_replay_rows=0, method="sft",
            n_epochs=2, learning_rate=1e-3, batch_size=4 if not more else 8,
        )  # fmt: skip
        train.run(task)  # the same number of steps
        said.append(_logprob(world_model, task.out_dir, "grass is green."))
    counts = read_manifest(task.out_dir).recipe["rows"]["sft"]
    assert counts["synthetic"] == len(found)
    assert said[1] > said[0]
