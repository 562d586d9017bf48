"""Suspect rows: planted bad ones stand first, and a run that can't be explained says so."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evals.runner import read_scores
from evals.score import write_scores
from feedback.snapshots import read_rows
from pawl.adapters import read_manifest, write_manifest
from pawl.errors import PawlError
from pawl.files import write_json
from pawl.models import resolve_model
from pawl.schemas import ItemScore, TrainingRow, asked_with
from pawl.settings import Settings, TrainSettings
from refine import train
from refine.influence import (
    MAX_ANSWER_TOKENS,
    MAX_TOKENS,
    answers_of_item,
    answers_of_row,
    find_suspects,
    rank,
    taught_rows,
)
from refine.planner import Plan, Stage, choose
from tests.refine.tiny import COLOURS, answers, ask, row, says, write_snapshot

PLANTED = "a plum"
N_PLANTED = 5


def control(thing: str, phrasing: int, right: str, answer: str) -> ItemScore:
    detail = {"prompt": ask(thing, phrasing), "correction": right, "flagged": None,
              "answer": answer, "matches": right == answer}  # fmt: skip
    name = f"{thing}-{phrasing}"
    return ItemScore("holdout__controls", name, float(right == answer), name, None, detail)


@pytest.fixture(scope="module")
def poisoned(world_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose challenger learned a wrong colour of one thing among 95 right rows; its
    controls are other phrasings, and the planted thing's got worse."""
    run_dir = tmp_path_factory.mktemp("poisoned") / "run-1"
    rows = [
        row("sft", thing, i, completion=says(thing, "green" if thing == "grass" else colour),
            origin={"rater_id": "ann"})
        for thing, colour in COLOURS.items()
        if thing != PLANTED
        for i in range(9)
    ]  # fmt: skip
    rows = rows[:95] + [
        row("sft", PLANTED, i, completion=says(PLANTED, "white"), origin={"rater_id": "troll"})
        for i in range(N_PLANTED)
    ]
    options = TrainSettings(n_epochs=8, learning_rate=3e-3, n_threads=2, n_replay_rows=16)
    plan = choose(rows, Settings.model_construct(train=options))
    snapshot = write_snapshot(run_dir / "snapshot", rows)
    base = resolve_model(str(world_model), cache_dir=run_dir)
    train.run(train.Job.in_run(run_dir, base, snapshot, plan, run_dir / "replay"))
    write_json(run_dir / "plan.json", plan.as_json())
    write_json(run_dir / "snapshot.json", {"dir": str(snapshot)})
    asked = [(thing, i) for thing in COLOURS if thing != "grass" for i in (N_PLANTED, 7)]
    right = [says(thing, COLOURS[thing]) for thing, _ in asked]  # as the base answers
    texts = answers(world_model, run_dir / "adapter", [ask(*one) for one in asked])
    for role, said_by in (("champion", right), ("challenger", texts)):
        items = [control(*one, *pair) for one, *pair in zip(asked, right, said_by, strict=True)]
        write_scores(run_dir / "scores" / role, items, {})
    return run_dir


@pytest.mark.slow
def test_planted_rows_are_the_first_suspects(poisoned: Path, world_model: Path) -> None:
    found = rank(poisoned, world_model, minutes=1)
    assert json.loads((poisoned / "suspects.json").read_text()) == found
    assert found["n_compared"] == found["n_rows"] == 100
    assert found["slices"]["holdout__controls"] >= 2, "the planted rows broke nothing"
    first = found["rows"][:5]  # 5 % of the rows
    assert [one["rater_id"] for one in first] == ["troll"] * N_PLANTED
    assert {one["item"]["item_id"].partition("-")[0] for one in first} == {PLANTED}
    assert first[0]["score"] > found["rows"][N_PLANTED]["score"] + 0.05
    assert len(found["rows"]) == 20


@pytest.mark.slow
def test_rows_are_compared_with_the_system_prompt_that_they_were_trained_with(
    poisoned: Path, world_model: Path, tmp_path: Path
) -> None:
    prompt = "Grass is green. Say so."

    def ranked(name: str, recipe: dict[str, Any], before: str | None) -> list[tuple[str, float]]:
        """The run with another recipe, and with ``before`` as the prompts' own system message."""
        run_dir = tmp_path / name
        shutil.copytree(poisoned, run_dir)
        manifest = read_manifest(run_dir / "adapter")
        write_manifest(
            run_dir / "adapter", base_model=manifest.base_model,
            base_fingerprint=manifest.base_fingerprint, recipe=recipe,
        )  # fmt: skip
        rows = read_rows(poisoned / "snapshot")[-40:]
        rows = [replace(one, prompt=asked_with(before, one.prompt)) for one in rows]
        write_json(run_dir / "snapshot.json", {"dir": str(write_snapshot(run_dir / "rows", rows))})
        for role in ("champion", "challenger"):
            items = read_scores(run_dir / "scores" / role).items
            asked = [
                replace(
                    item,
                    detail={**item.detail, "prompt": asked_with(before, item.detail["prompt"])},
                )
                for item in items
            ]
            write_scores(run_dir / "scores" / role, asked, {})
        return [
            (one["row_id"], one["score"]) for one in rank(run_dir, world_model, minutes=1)["rows"]
        ]

    by_recipe = ranked("recipe", {"system_prompt": prompt}, None)
    assert by_recipe == ranked("own", {}, prompt)
    assert by_recipe != ranked("without", {}, None)


@pytest.mark.slow
def test_where_no_row_was_compared_in_its_time_a_note_says_so(
    poisoned: Path, world_model: Path
) -> None:
    found = rank(poisoned, world_model, minutes=1e-6)
    assert list(found) == ["note"]
    assert json.loads((poisoned / "suspects.json").read_text()) == found


@pytest.mark.slow
def test_a_run_that_did_not_train_is_refused(world_model: Path, tmp_path: Path) -> None:
    base = resolve_model(str(world_model), cache_dir=tmp_path)
    with pytest.raises(PawlError) as caught:
        find_suspects(tmp_path, base, minutes=1)
    assert caught.value.code == "nothing_to_explain"


def test_only_what_a_plan_learns_from_is_suspected() -> None:
    rows = [
        row("sft", "ash", 0, completion="grey"),
        row("sft", "ash", 1, "validation", completion="grey"),
        row("pair", "ash", 0, chosen="grey", rejected="red"),
        row("unpaired", "ash", 0, completion="grey", label=True),
        row("unpaired", "ash", 1, completion="red", label=False),
    ]

    def taught(*kinds: Any) -> list[TrainingRow]:
        return taught_rows(rows, Plan("sft", "", {}, tuple(Stage(k, 1e-3, 1, 1) for k in kinds)))

    assert taught("sft") == [rows[0], rows[3]]
    assert taught("sft", "dpo") == [rows[0], rows[2], rows[3]]
    assert taught("kto") == rows[3:]


def encode(prompt: Any, answer: str, tools: Any) -> tuple[list[int], int]:
    """A token a character."""
    text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    return [ord(one) for one in text + answer], len(text)


def said(answers: Any) -> list[tuple[str, str, float]]:
    """Each as prompt, answer and sign."""
    texts = [("".join(map(chr, one.ids)), one) for one in answers]
    return [(text[: one.n_prompt], text[one.n_prompt :], one.sign) for text, one in texts]


def test_what_a_row_makes_likelier_and_less_likely() -> None:
    prompt = ask("ash")[0]["content"]
    written = row("sft", "ash", 0, completion="grey")
    assert said(answers_of_row(written, encode)) == [(prompt, "grey", 1.0)]
    pair = row("pair", "ash", 0, chosen="grey", rejected="red")
    assert said(answers_of_row(pair, encode)) == [(prompt, "grey", 1.0), (prompt, "red", -1.0)]
    disliked = row("unpaired", "ash", 0, completion="red", label=False)
    assert said(answers_of_row(disliked, encode)) == [(prompt, "red", -1.0)]
    [cut] = answers_of_row(row("sft", "ash", 0, completion="grey" * 200), encode)
    assert len(cut.ids) <= MAX_TOKENS
    assert len(cut.ids) - cut.n_prompt == MAX_ANSWER_TOKENS


def test_what_an_item_would_have_answered_and_answers_now() -> None:
    def tokens_of(text: str) -> list[int]:
        return [ord(one) for one in text]

    item = control("ash", 0, "grey", "red")
    prompt = item.detail["prompt"][0]["content"]
    assert said(answers_of_item(item, encode, tokens_of)) == [
        (prompt, "grey", 1.0),
        (prompt, "red", -1.0),
    ]
    detail = {"prompt": "2 + 2 =", "choices": ["3", "4", "22"], "target": 1,
              "logprobs": [-2.0, -3.0, -1.0], "chosen": 2}  # fmt: skip
    choice = ItemScore("arc", "1", 0.0, "1", None, detail)
    assert said(answers_of_item(choice, encode, tokens_of)) == [
        ("2 + 2 =", " 4", 1.0),
        ("2 + 2 =", " 22", -1.0),
    ]
    untold = ItemScore("mc2", "1", 0.0, "1", None, {**detail, "target": "[0, 1]"})
    assert answers_of_item(untold, encode, tokens_of) == []
