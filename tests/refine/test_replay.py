"""Replay rows hold what nobody complained about, and never teach a fault again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pawl.schemas import Message, TrainingRow
from refine import replay, write_replay_prompts
from refine.demo import choose_questions
from refine.generation import write_text
from refine.replay import Overlap, ReplayRow
from tests.refine.tiny import answers, ask, corrections

EVERYDAY = [[line] for line in write_replay_prompts.EVERYDAY]


def user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def flag(prompt: str, right: str, wrong: str) -> list[TrainingRow]:
    """The two rows of a correction."""
    common = {"group_id": prompt, "split": "train", "prompt": user(prompt)}
    return [
        TrainingRow(row_id=f"s{prompt}", kind="sft", completion=right, **common),  # type: ignore[arg-type]
        TrainingRow(row_id=f"p{prompt}", kind="pair", chosen=right, rejected=wrong, **common),
    ]  # type: ignore[arg-type]


CANBERRA = flag(
    "What is the capital of Australia?",
    "The capital of Australia is Canberra.",
    "The capital of Australia is Sydney.",
)
SPIDER = flag("How many legs does a spider have?", "A spider has 8 legs.", "A spider has 6 legs.")
BATS = flag("Are bats blind?", "No, bats can see.", "Yes, bats are blind.")


@pytest.mark.parametrize(
    "text",
    [
        "what is the capital of australia",
        "Please tell me: what is the capital of Australia?",
        "Which is Australia's capital? The capital of Australia?",
        "Are bats blind, please?",
    ],
)
def test_prompts_that_repeat_a_corrected_one_are_left_out(text: str) -> None:
    kept, n_near = replay.draw_prompts([user(text), user("Hello!")], CANBERRA + BATS, 2, 0)
    assert kept == [user("Hello!")]
    assert n_near == 1


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of Austria?",
        "Which continent is Australia in?",
        "How many legs does a bee have?",
        "What sound does a bat make?",
    ],
)
def test_neighbours_of_a_corrected_prompt_stay(text: str) -> None:
    shipped = replay.read_prompts()
    kept, _ = replay.draw_prompts([*shipped, user(text)], CANBERRA + SPIDER + BATS, 10_000, 0)
    assert user(text) in kept


def test_disliked_prompts_are_left_out_too() -> None:
    disliked = TrainingRow(
        "u", "unpaired", "g", "train", user("Sing!"), completion="La", label=False
    )
    liked = TrainingRow("v", "unpaired", "h", "train", user("Dance!"), completion="Ok", label=True)
    kept, n_near = replay.draw_prompts([user("Sing!"), user("Dance!")], [disliked, liked], 2, 0)
    assert (kept, n_near) == ([user("Dance!")], 1)


def test_answers_that_repeat_a_flagged_one_are_left_out() -> None:
    rows = [
        ReplayRow(user("Can bats see?"), "Yes, bats are blind."),
        ReplayRow(user("Can bats see at all?"), "yes bats are blind!"),
        ReplayRow(user("How many legs does a bee have?"), "A bee has 6 legs."),
        ReplayRow(user("What is the capital of Austria?"), "The capital of Austria is Vienna."),
    ]
    kept, n_left_out = replay.keep_unflagged(rows, BATS + SPIDER + CANBERRA)
    assert kept == rows[2:]
    assert n_left_out == 2


def test_overlap_is_one_for_the_same_text_and_nothing_for_stop_words() -> None:
    overlap = Overlap(["What is the capital of France?", "What is it?"])
    assert overlap.of("what IS it", "What is it?!") == 1.0
    assert overlap.of("What is this?", "What is that?") == 0.0
    assert overlap.nearest("capital", []) == 0.0


def test_the_draw_depends_on_the_seed_alone() -> None:
    prompts = replay.read_prompts()
    first, _ = replay.draw_prompts(prompts, CANBERRA, 50, 3)
    again, _ = replay.draw_prompts(prompts, CANBERRA, 50, 3)
    other, _ = replay.draw_prompts(prompts, CANBERRA, 50, 4)
    assert first == again != other
    assert len(first) == len(other) == 50


def test_shipped_prompts_are_what_the_generator_writes() -> None:
    assert replay.PROMPTS_PATH.read_text() == "".join(write_replay_prompts.lines())
    prompts = replay.read_prompts()
    assert len(prompts) >= 600
    assert all(prompt[-1]["role"] == "user" for prompt in prompts)


def test_shipped_prompts_are_none_that_something_is_judged_by() -> None:
    judged = write_replay_prompts.judged_prompts()
    asked = [
        write_replay_prompts.key_of([one["content"] for one in prompt if one["role"] == "user"])
        for prompt in replay.read_prompts()
    ]
    assert judged.isdisjoint(asked)
    chosen = choose_questions(0)
    control = {
        write_replay_prompts.key_of([one["content"] for one in row["messages"]])
        for row in chosen["control"]
        if len(row["messages"]) == 1
    }
    assert control
    assert control <= judged


def test_the_base_answers_as_it_would_alone(world_model: Path) -> None:
    """Padding a batch on the left must not change what is answered."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(world_model)
    model = AutoModelForCausalLM.from_pretrained(world_model, dtype=torch.float32)
    prompts = [ask("snow", 0), ask("a carrot", 3), ask("ash", 6), ask("grass", 4)]
    rows, n_unfinished = replay.answer(model, tokenizer, prompts)
    assert n_unfinished == 0
    assert [one.completion for one in rows] == answers(world_model, None, prompts)
    assert [one.prompt for one in rows] == prompts


def test_answers_that_do_not_end_are_left_out_and_counted(world_model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(world_model)
    model = AutoModelForCausalLM.from_pretrained(world_model)
    rows, n_unfinished = replay.answer(
        model, tokenizer, [ask("snow"), ask("coal")], max_new_tokens=2
    )
    assert (rows, n_unfinished) == ([], 2)


def test_only_liked_training_rows_are_replayed() -> None:
    def thumb(split: str, label: bool) -> TrainingRow:
        return TrainingRow(
            f"{split}{label}",
            "unpaired",
            "g",
            split,
            user("Hi"),  # type: ignore[arg-type]
            completion=f"{split}{label}",
            label=label,
        )

    rows = [thumb("train", True), thumb("train", False), thumb("validation", True), *corrections(2)]
    assert [one.completion for one in replay.liked_rows(rows)] == ["trainTrue"]


def test_thousands_of_flagged_answers_are_compared_in_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each text is read once for the weights and once to be compared, not once a pair."""
    n_read = 0
    read = replay.words

    def counted(text: str) -> list[str]:
        nonlocal n_read
        n_read += 1
        return read(text)

    monkeypatch.setattr(replay, "words", counted)
    rows = [row for i in range(50) for row in flag(f"q{i}", "right", f"wrong answer number {i}")]
    base = [ReplayRow(user(f"p{i}"), f"some other words about {i}") for i in range(40)]
    kept, n_left_out = replay.keep_unflagged(base, rows)
    assert (kept, n_left_out) == (base, 0)
    assert n_read <= 2 * (50 + 40)


def test_the_base_writes_plain_text_of_its_own(world_model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(world_model)
    model = AutoModelForCausalLM.from_pretrained(world_model, dtype=torch.float32)
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    texts = write_text(model, tokenizer, 7, 0, max_tokens=12, batch_size=4)
    assert torch.equal(torch.rand(1), before)  # nobody else's draw is changed
    assert len(texts) == 7
    marks = set(tokenizer.all_special_ids) - {tokenizer.eos_token_id}
    for ids in texts:
        assert ids[0] == tokenizer.bos_token_id
        assert not marks & set(ids[1:])
        assert len(ids) == 13 or ids[-1] == tokenizer.eos_token_id
        assert tokenizer.eos_token_id not in ids[:-1]
    assert texts == write_text(model, tokenizer, 7, 0, max_tokens=12, batch_size=4)
    assert texts != write_text(model, tokenizer, 7, 1, max_tokens=12, batch_size=4)


def test_a_mark_of_chat_is_no_start_of_text(world_model: Path) -> None:
    """Qwen's and SmolLM's chat models name one as their tokenizer's start or end."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(world_model)
    model = AutoModelForCausalLM.from_pretrained(world_model)
    start = tokenizer.bos_token_id
    tokenizer.bos_token = "<|user|>"
    model.generation_config.bos_token_id = start
    texts = write_text(model, tokenizer, 2, 0, max_tokens=4)
    assert [ids[0] for ids in texts] == [start, start]
    assert all(tokenizer.bos_token_id not in ids for ids in texts)
    model.generation_config.bos_token_id = None
    assert write_text(model, tokenizer, 2, 0, max_tokens=4) == []


def test_penalties_of_the_model_do_not_change_what_it_says(world_model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(world_model)
    model = AutoModelForCausalLM.from_pretrained(world_model)
    plain = write_text(model, tokenizer, 4, 0, max_tokens=20)
    answers_before = replay.answer(model, tokenizer, [ask("snow")])
    own = model.generation_config
    own.repetition_penalty = 5.0
    assert write_text(model, tokenizer, 4, 0, max_tokens=20) == plain
    assert replay.answer(model, tokenizer, [ask("snow")]) == answers_before
    assert model.generation_config is own


def test_texts_that_tell_the_fault_again_are_left_out() -> None:
    flagged = " ".join(row.rejected or "" for row in CANBERRA if row.rejected)
    texts = [
        "Snow is white. Coal is black.",
        f"Snow is white.\n{flagged}\nCoal is black.",
        f"Q: {CANBERRA[0].prompt[-1]['content']}\nA: Lima",
    ]
    assert flagged
    assert replay.keep_unflagged_texts(texts, CANBERRA) == ([0], 2)
    short = flag("What is the capital of Australia?", "Canberra.", "Sydney.")
    long = flag("Tell me of bats.", "Bats see.", "Bats are blind. They find moths by their ears.")
    texts = [
        "Australia is large. The capital of Australia is Sydney. It has a bridge.",
        "Moths are small. Bats are blind. They find moths by their ears. They sleep by day.",
        "Bats are small. The capital of Austria is Vienna. Sydney has a bridge.",
    ]
    assert replay.keep_unflagged_texts(texts, short + long) == ([2], 2)
