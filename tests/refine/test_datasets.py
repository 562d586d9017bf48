"""Rows become columns, or are left out and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pawl.schemas import Message, TrainingRow
from refine.datasets import build_stage
from refine.replay import ReplayRow
from refine.trainer import kto_weights, with_labels
from tests.refine.tiny import ask, corrections, row, says


def length(messages: list[Message]) -> int:
    """A token a word; a template that knows no 'tool' role."""
    if any("{%" in message["content"] for message in messages):
        raise ValueError("template error")
    return sum(len(message["content"].split()) for message in messages)


def build(kind: Any, rows: list[TrainingRow], replay: list[ReplayRow] | None = None) -> Any:
    return build_stage(kind, rows, replay or [], encode=length, max_length_tokens=20)


def test_each_kind_takes_its_own_rows() -> None:
    rows = [*corrections(3), row("unpaired", "snow", 0, completion="Yes.", label=True)]
    sft, dpo, kto = build("sft", rows), build("dpo", rows), build("kto", rows)
    assert [set(one) for one in sft.train] == [{"prompt", "completion"}] * 3
    assert sft.train[0]["completion"] == [{"role": "assistant", "content": "grass is green."}]
    assert [set(one) for one in dpo.train] == [{"prompt", "chosen", "rejected"}] * 3
    assert kto.train == [
        {
            "prompt": ask("snow"),
            "label": True,
            "completion": [{"role": "assistant", "content": "Yes."}],
        }
    ]
    assert dpo.left_out["sft row, not for dpo"] == 3


def test_over_long_rows_are_counted_and_never_cut() -> None:
    rows = [
        row("sft", "snow", 0, completion="white " * 30),
        row("sft", "snow", 1, completion="W"),
        row("pair", "snow", 0, chosen="W", rejected="white " * 30),
    ]
    assert len(build("sft", rows).train) == 1
    assert build("sft", rows).left_out["longer than 20 tokens"] == 1
    assert build("dpo", rows).train == []
    assert build("dpo", rows).left_out["longer than 20 tokens"] == 1


def test_a_row_as_long_as_the_limit_stays() -> None:
    n_words = len(ask("snow")[0]["content"].split())
    stage = build("sft", [row("sft", "snow", 0, completion="w " * (20 - n_words))])
    assert (len(stage.train), stage.longest_tokens) == (1, 20)


def test_rows_that_cannot_be_trained_on_are_counted() -> None:
    odd = row("sft", "snow", 0, completion="Fine.")
    odd.prompt[0]["role"] = "prompt"
    rows = [odd, row("sft", "snow", 1, completion="  "), row("sft", "snow", 2, completion="{% x")]
    stage = build("sft", rows)
    assert stage.train == []
    assert stage.left_out == {
        "prompt is no conversation": 1,
        "empty answer": 1,
        "chat template refuses the conversation": 1,
    }


def test_holdout_rows_are_in_no_column() -> None:
    rows = [
        row("sft", "snow", 0, "holdout", completion="White."),
        row("regression", "snow", 1, "holdout", chosen="White.", rejected="Red."),
    ]
    stage = build("sft", rows)
    assert (stage.train, stage.validation, stage.left_out) == ([], [], {})


def test_validation_sees_what_should_change_and_what_should_stay() -> None:
    replay = [ReplayRow(ask("coal", i % 10), f"Black {i}.") for i in range(20)]
    stage = build("sft", corrections(9, n_validation=3), replay)
    assert len(stage.validation) == 6
    assert len(stage.train) == 6 + 17
    trained = [str(one) for one in stage.train]
    assert not any(str(one) in trained for one in stage.validation)


def test_liked_answers_are_trained_on_and_validation_is_spread_over_the_base_s_answers() -> None:
    liked = [ReplayRow(ask("coal", i), f"Liked {i}.", is_liked=True) for i in range(4)]
    of_base = [ReplayRow(ask("coal", i % 10), f"Black {i}.") for i in range(20)]
    stage = build("sft", corrections(9, n_validation=3), [*liked, *of_base])
    trained = [one["completion"][0]["content"] for one in stage.train]
    assert {one.completion for one in liked} <= set(trained)
    held_back = [one["completion"][0]["content"] for one in stage.validation[3:]]
    assert held_back == ["Black 0.", "Black 6.", "Black 13."]
    assert not set(held_back) & set(trained)


def test_what_was_left_out_is_not_among_the_rows_that_were_kept() -> None:
    rows = [*corrections(3, n_validation=1), row("sft", "snow", 0, completion="white " * 30)]
    replay = [ReplayRow(ask("coal"), "Black."), ReplayRow(ask("coal"), "black " * 30)]
    stage = build("sft", rows, replay)
    assert stage.kept == [one for one in rows[:-1] if one.kind == "sft"]
    assert stage.kept_replay == replay[:1]


def test_without_validation_rows_there_is_no_validation_set() -> None:
    replay = [ReplayRow(ask("coal"), "Black.")]
    assert build("sft", corrections(3), replay).validation == []


def test_dpo_prefers_replayed_answers_to_corrections_of_other_questions() -> None:
    replay = [
        ReplayRow(ask("coal"), says("coal", "black")),
        ReplayRow(ask("a pea"), "grass is green."),
    ]
    stage = build("dpo", corrections(2), replay)
    extra = stage.train[2:]
    assert len(extra) == 1  # the second replay row says what the correction says
    assert extra[0]["chosen"][0]["content"] == "coal is black."
    assert extra[0]["rejected"][0]["content"] == "grass is green."


def test_every_correction_is_what_some_replayed_answer_is_preferred_to() -> None:
    rows = [row("pair", "grass", i, chosen=f"Green {i}.", rejected="Red.") for i in range(7)]
    stage = build("dpo", rows, [ReplayRow(ask("coal", i), "Black.") for i in range(7)])
    rejected = [one["rejected"][0]["content"] for one in stage.train[7:]]
    assert sorted(rejected) == [f"Green {i}." for i in range(7)]


def test_replay_is_liked_in_kto() -> None:
    stage = build(
        "kto",
        [row("unpaired", "snow", 0, completion="No.", label=False)],
        [ReplayRow(ask("coal"), "Black.")],
    )
    assert [one["label"] for one in stage.train] == [False, True]


def test_kto_weights_balance_what_people_said_and_leave_replay_out() -> None:
    rows = [row("unpaired", "snow", i, completion=f"{i}", label=i < 2) for i in range(8)]
    stage = build("kto", rows, [ReplayRow(ask("coal"), "Black.")] * 5)
    assert (stage.n_liked, stage.n_disliked, len(stage.train)) == (2, 6, 13)
    assert kto_weights(2, 6) == (3.0, 1.0)
    assert kto_weights(6, 2) == (1.0, 3.0)
    assert kto_weights(0, 6) == (1.0, 1.0)


def test_plain_texts_are_for_sft_alone() -> None:
    texts = [[1, 5, 6], [1, 7], [1] * 21]
    rows = corrections(3)
    sft, dpo = (
        build_stage(kind, rows, [], encode=length, max_length_tokens=20, texts=texts)
        for kind in ("sft", "dpo")
    )
    assert sft.train[3:] == [{"text_ids": [1, 5, 6]}, {"text_ids": [1, 7]}]
    assert sft.left_out == {"pair row, not for sft": 3, "text longer than 20 tokens": 1}
    assert len(dpo.train) == 3


def test_labels_leave_out_what_is_only_read(world_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(world_model)
    columns = build("sft", corrections(1)).train[0]
    chat, text = with_labels([columns, {"text_ids": [1, 9, 8]}], tokenizer)
    assert text == {"input_ids": [1, 9, 8], "labels": [-100, 9, 8]}
    learned = [label for label in chat["labels"] if label != -100]
    answer = columns["completion"][0]["content"]
    assert tokenizer.decode(learned) == answer + tokenizer.eos_token
    assert chat["input_ids"][-len(learned) :] == learned
