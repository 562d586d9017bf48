"""Replay rows hold what nobody complained about, and never teach a fault again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pawl.schemas import Message, TrainingRow
from refine import replay
from refine.planner import Plan, Stage
from refine.replay import Answer, Overlap, ReplayRow, answer_prompts
from tests.refine.tiny import answers, ask, corrections


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


@pytest.mark.slow
def test_the_base_answers_as_it_would_alone(world_model: Path) -> None:
    """Padding a batch on the left must not change what is answered, nor penalties of the model's
    own settings."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(world_model)
    model = AutoModelForCausalLM.from_pretrained(world_model, dtype=torch.float32)
    own = model.generation_config
    own.repetition_penalty = 5.0
    prompts = [ask("snow", 0), ask("a carrot", 3), ask("ash", 6), ask("grass", 4)]
    found = answer_prompts(model, tokenizer, 32)(prompts)
    assert found == [Answer(text, True) for text in answers(world_model, None, prompts)]
    assert model.generation_config is own
    cut = answer_prompts(model, tokenizer, 2)(prompts)
    assert not any(one.is_finished for one in cut)
    assert all(whole.text.startswith(one.text) for whole, one in zip(found, cut, strict=True))


class Base:
    """Answers every prompt with its own text, and counts."""

    def __init__(self) -> None:
        self.n_asked = 0

    def __call__(self, prompts: Sequence[list[Message]]) -> list[Answer]:
        self.n_asked += len(prompts)
        return [Answer(f"You said: {prompt[-1]['content']}", True) for prompt in prompts]


def test_answers_are_kept_and_only_new_prompts_are_generated(tmp_path: Path) -> None:
    base, path = Base(), replay.answers_path(tmp_path, "sha256:x")
    prompts = [user(f"Question {i}") for i in range(150)]
    answers_before, n_new = replay.fill_answers(path, prompts[:100], base)
    assert (n_new, base.n_asked) == (100, 100)
    again, n_new = replay.fill_answers(path, prompts[:100], base)
    assert (again, n_new, base.n_asked) == (answers_before, 0, 100)
    more, n_new = replay.fill_answers(path, prompts[50:], base)
    assert (n_new, base.n_asked) == (50, 150)
    assert [one.text for one in more] == [f"You said: Question {i}" for i in range(50, 150)]
    assert replay.answers_path(tmp_path, "sha256:y") != path


def test_what_was_generated_before_a_failure_is_kept(tmp_path: Path) -> None:
    class Failing(Base):
        def __call__(self, prompts: Sequence[list[Message]]) -> list[Answer]:
            if self.n_asked:
                raise RuntimeError("the engine died")
            return super().__call__(prompts)

    path = replay.answers_path(tmp_path, "sha256:x")
    prompts = [user(f"Question {i}") for i in range(replay.PROMPTS_AT_ONCE + 5)]
    with pytest.raises(RuntimeError):
        replay.fill_answers(path, prompts, Failing())
    assert replay.fill_answers(path, prompts, Base())[1] == 5


def test_a_damaged_line_is_answered_again(tmp_path: Path) -> None:
    path, prompts = replay.answers_path(tmp_path, "sha256:x"), [user("One"), user("Two")]
    before, _ = replay.fill_answers(path, prompts, Base())
    whole, damaged = path.read_bytes().splitlines()
    path.write_bytes(whole + b"\n" + damaged[:20] + b"\xff\n")
    assert replay.fill_answers(path, prompts, Base()) == (before, 1)
    assert replay.fill_answers(path, prompts, Base()) == (before, 0)


def test_replay_counts_what_it_left_out(tmp_path: Path) -> None:
    def base(prompts: Sequence[list[Message]]) -> list[Answer]:
        texts = ["", "Yes, bats are blind."] + [f"Number {i}." for i in range(len(prompts))]
        return [Answer(text, i % 2 == 0) for i, text in enumerate(texts[: len(prompts)])]

    stage = Stage("sft", 1e-3, 1, 8)
    plan = Plan("sft", "", {}, (stage,), n_replay_rows=20)
    rows, counts = replay.make_replay(plan, BATS, tmp_path / "a.jsonl", base)
    assert counts["n_replay"] == len(rows) == 18
    assert (counts["n_left_out_unanswered"], counts["n_left_out_flagged_answer"]) == (1, 1)
    assert not all(row.is_finished for row in rows)
    plan = Plan("dpo", "", {}, (Stage("dpo", 1e-3, 1, 8),), n_replay_rows=20)
    rows, counts = replay.make_replay(plan, BATS, tmp_path / "a.jsonl", base)
    assert counts["n_generated"] == 0
    assert all(row.is_finished for row in rows)  # DPO would teach the cut ones to end


def test_what_is_watched_is_replayed_by_no_training_however_much_it_replays(
    tmp_path: Path,
) -> None:
    asked: list[list[Message]] = []

    def base(prompts: Sequence[list[Message]]) -> list[Answer]:
        asked.extend(prompts)
        return [Answer(f"Number {i}.", True) for i in range(len(prompts))]

    plan = Plan("sft", "", {}, (Stage("sft", 1e-3, 1, 8),), n_replay_rows=10_000)
    for has_system in (True, False):
        asked.clear()
        path = tmp_path / f"{has_system}.jsonl"
        replay.make_replay(plan, BATS, path, base, has_system=has_system)
        watched = replay.to_watch(BATS, 32, plan.seed, has_system=has_system)
        assert len(asked) > 1800
        assert len(watched) == 32
        assert not [one for one in watched if one in asked]


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


def test_thousands_of_answers_are_compared_with_flagged_ones_in_seconds() -> None:
    rows = [row for i in range(300) for row in flag(f"q{i}", "right", f"wrong answer number {i}")]
    base = [ReplayRow(user(f"p{i}"), f"some other words about {i}") for i in range(1500)]
    started = time.monotonic()
    assert replay.keep_unflagged(base, rows) == (base, 0)
    assert time.monotonic() - started < 20
