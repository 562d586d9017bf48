"""Rows become columns, or are left out and counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pawl.chat_template import end_of_turn_id, load_tokenizer, renders_tools
from pawl.schemas import Message, TrainingRow
from refine.datasets import Tools, ToolsNotRendered, build_stage, encode_answer, kto_weights
from refine.planner import Stage
from refine.replay import ReplayRow, liked_rows
from refine.trainer import (
    MIN_VALIDATION_ROWS,
    cut_to_passes,
    keeps_best_checkpoint,
    n_over_a_pass,
)
from tests import tiny_bases
from tests.refine.tiny import ask, corrections, row, says

WORDS: dict[str, int] = {}


def encode(prompt: list[Message], answer: str, tools: Tools) -> tuple[list[int], int]:
    """A token a word, and one for the end; a template that refuses "{%" and knows no tools."""
    if tools:
        raise ToolsNotRendered
    asked = [word for message in prompt for word in message["content"].split()]
    if "{%" in answer:
        raise ValueError("template error")
    words = [*asked, *answer.split(), "<end>"]
    return [WORDS.setdefault(word, len(WORDS)) for word in words], len(asked)


SFT_COLUMNS = {"input_ids", "labels", "is_taught", "is_replay", "weight"}


def said(columns: dict[str, Any]) -> str:
    """What is trained of an SFT row: the answer; of replay the prompt too."""
    texts = list(WORDS)
    return " ".join(texts[label] for label in columns["labels"] if label != -100)


def build(kind: Any, rows: list[TrainingRow], replay: list[ReplayRow] | None = None) -> Any:
    return build_stage(kind, rows, replay or [], encode=encode, max_length_tokens=20)


def test_each_kind_takes_its_own_rows() -> None:
    rows = [*corrections(3), row("unpaired", "snow", 0, completion="Yes.", label=True)]
    sft, dpo, kto = build("sft", rows), build("dpo", rows), build("kto", rows)
    assert [set(one) for one in sft.train] == [SFT_COLUMNS] * 3
    assert said(sft.train[0]) == "grass is green. <end>"
    assert len(sft.train[0]["input_ids"]) == len(sft.train[0]["labels"])
    assert [set(one) for one in dpo.train] == [{"prompt", "chosen", "rejected", "weight"}] * 3
    assert kto.train == [
        {
            "prompt": ask("snow"),
            "label": True,
            "completion": [{"role": "assistant", "content": "Yes."}],
            "weight": 1.0,
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
    stage = build("sft", [row("sft", "snow", 0, completion="w " * (19 - n_words))])
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
    trained = [said(columns) for columns in stage.train]
    assert {f"{answer.completion} <end>" for answer in liked} <= set(trained)
    held_back = [said(columns) for columns in stage.validation[3:]]
    assert [text.split(".")[-2].split()[-1] for text in held_back] == ["0", "6", "13"]
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
    # KTOTrainer counts what is liked three times, replay too: its rows undo that.
    assert [round(3 * one["weight"], 6) for one in stage.train[8:]] == [1.0] * 5
    assert kto_weights(2, 6) == (3.0, 1.0)
    assert kto_weights(6, 2) == (1.0, 3.0)
    assert kto_weights(0, 6) == (1.0, 1.0)


def test_ktos_last_pass_is_none_or_holds_rows_enough_to_compare() -> None:
    rows = [row("unpaired", "snow", i, completion=f"{i}", label=i < 2) for i in range(8)]
    replay = [ReplayRow(ask("coal"), "Black.")]
    over = {n: n_over_a_pass(build("kto", rows, replay * n), 8) for n in (1, 2, 3, 4, 8, 9)}
    assert over == {1: 1, 2: 2, 3: 3, 4: 0, 8: 0, 9: 1}
    assert n_over_a_pass(build("kto", rows[:-1], replay * 2), 8) == 1
    assert n_over_a_pass(build("kto", rows, []), 7) == 0  # what people said is never left out


def test_what_kto_leaves_out_is_in_no_count() -> None:
    """The recipe says how many were trained on, and the probe record is drawn from them."""
    rows = [row("unpaired", "snow", i, completion=f"{i}", label=i < 2) for i in range(8)]
    held = [row("unpaired", "coal", i, "validation", completion="No.", label=False) for i in (0, 1)]
    liked = ReplayRow(ask("grass"), "Green.", is_liked=True)
    replay = [liked, *(ReplayRow(ask("coal", i), f"Black {i}.") for i in range(11))]
    config = SimpleNamespace(hidden_size=8, num_hidden_layers=1, vocab_size=100)
    whole, stage = (build("kto", [*rows, *held], replay) for _ in range(2))
    cut_to_passes(Stage("kto", 1e-4, 1.0, 8), stage, config)
    assert (len(whole.train), len(whole.validation)) == (18, 4)
    assert stage.counts()["train"] == len(stage.train) == 16
    assert stage.counts()["replay"] == len(stage.kept_replay) == 10
    assert stage.validation == whole.validation
    trained = [one["completion"][0]["content"] for one in (*stage.train, *stage.validation)]
    assert {one.completion for one in stage.kept_replay} <= set(trained)


def test_a_liked_answer_keeps_its_weight() -> None:
    rows = [*corrections(2), row("unpaired", "snow", 0, completion="Yes.", label=True, weight=0.5)]
    for kind in ("sft", "dpo"):
        assert [one["weight"] for one in build(kind, rows, liked_rows(rows)).train] == [1, 1, 0.5]


def test_corrections_are_told_apart_from_replay_and_a_cut_answer_has_no_end() -> None:
    replay = [ReplayRow(ask("coal"), "Black."), ReplayRow(ask("ash"), "Grey and", False)]
    stage = build("sft", corrections(2), replay)
    assert [columns["is_taught"] for columns in stage.train] == [True, True, False, False]
    assert [columns["is_replay"] for columns in stage.train] == [False, False, True, True]
    whole, cut = (said(columns) for columns in stage.train[2:])
    assert whole.endswith("Black. <end>")
    assert cut.endswith("Grey and")


def test_an_answer_is_trained_up_to_the_end_of_its_turn(untrained_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(untrained_model)
    end = tokenizer.eos_token_id
    ids, n_prompt = encode_answer(tokenizer, ask("snow"), "snow is white.", end)
    assert tokenizer.decode(ids[n_prompt:]) == "snow is white." + tokenizer.eos_token
    start = tokenizer.apply_chat_template(
        ask("snow"), add_generation_prompt=True, return_dict=False
    )
    assert ids[:n_prompt] == start
    # A line break after the end, as ChatML's templates write it, is not learned.
    template = tokenizer.chat_template
    tokenizer.chat_template = template.replace("+ eos_token }}", "+ eos_token + ' ' }}")
    assert encode_answer(tokenizer, ask("snow"), "snow is white.", end) == (ids, n_prompt)


CALLED: list[Message] = [
    {"role": "user", "content": "How warm?"},
    {"role": "assistant", "content": "", "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": "Köln"}'}}]},
    {"role": "tool", "content": "17 degrees", "tool_call_id": "c"},
]  # fmt: skip
TOOLS: Tools = [{"type": "function", "function": {"name": "f", "description": "Weather",
                                                  "parameters": {"type": "object"}}}]  # fmt: skip


def test_rows_with_tools_are_trained_whole_or_left_out_and_counted() -> None:
    offered = row("sft", "snow", 0, completion="White.", tools=TOOLS)
    called = replace(row("pair", "snow", 0, chosen="17.", rejected="18."), prompt=CALLED)
    liked = row("unpaired", "snow", 0, completion="Yes.", label=True, tools=TOOLS)
    replay = liked_rows([liked])
    assert replay[0].tools == TOOLS
    sft = build("sft", [offered, *corrections(2)], replay)
    assert len(sft.train) == 2
    assert sft.left_out["tools, which the base does not know"] == 1
    assert sft.left_out["replay tools, which the base does not know"] == 1
    assert build("dpo", [called]).left_out == {"tools, not for dpo": 1}
    assert build("kto", [liked], replay).left_out["tools, not for kto"] == 1
    plain = replace(row("sft", "snow", 1, completion="It has 17."), prompt=CALLED)
    stage = build("sft", [plain])
    assert said(stage.train[0]) == "It has 17. <end>"


def test_tools_calls_and_their_answers_are_all_in_the_tokens(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_bases.calls_tools(tmp_path))
    assert renders_tools(tokenizer)
    end = end_of_turn_id(tokenizer)
    ids, n_prompt = encode_answer(tokenizer, CALLED, "It has 17.", end, TOOLS)
    prompt = tokenizer.decode(ids[:n_prompt])
    assert '{"type": "function", "function": {"name": "f", "description": "Weather"' in prompt
    assert '<tool_call>\n{"name": "f", "arguments": {"a": "Köln"}}\n</tool_call>' in prompt
    assert "<tool_response>\n17 degrees\n</tool_response>" in prompt
    assert tokenizer.decode(ids[n_prompt:]) == "It has 17.</s>"
    tokenizer.chat_template = tiny_bases.PLAIN
    assert not renders_tools(tokenizer)


def test_dpo_validates_on_some_rows_of_many_spread_evenly() -> None:
    pairs = [replace(one, split="validation") for one in corrections(9) for _ in range(8)]
    stage = build("dpo", [*corrections(1), *pairs])
    assert len(stage.validation) == 24  # every third of 72
    assert len(build("sft", [*corrections(1), *pairs]).validation) == 72


def test_few_validation_rows_do_not_decide_when_a_stage_stops() -> None:
    assert keeps_best_checkpoint("dpo", MIN_VALIDATION_ROWS)
    assert not keeps_best_checkpoint("kto", 2)
    assert not keeps_best_checkpoint("sft", 1_000)  # it ends when its rows are learned
