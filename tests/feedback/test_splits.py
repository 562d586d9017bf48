from __future__ import annotations

from collections import Counter

import pytest

from feedback.splits import prompt_key, split_of


def test_the_split_never_changes() -> None:
    """Frozen answers: a change of the hash would train on what stores keep for testing."""
    assert [split_of(f"conversation-{n}", "pawl") for n in range(len(FROZEN))] == FROZEN
    assert split_of("", "pawl") in ("train", "validation", "holdout")
    assert split_of("a", "b\0c") == split_of("a", "b\0c")


def test_eight_of_ten_are_learned_from() -> None:
    counts = Counter(split_of(f"group {n}", "pawl") for n in range(20_000))
    assert counts["train"] / 20_000 == pytest.approx(0.8, abs=0.015)
    assert counts["validation"] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert counts["holdout"] / 20_000 == pytest.approx(0.1, abs=0.01)


def test_the_salt_matters() -> None:
    names = [f"group {n}" for n in range(500)]
    assert [split_of(n, "a") for n in names] != [split_of(n, "b") for n in names]


FROZEN = [
    "train",
    "train",
    "train",
    "train",
    "train",
    "train",
    "train",
    "train",
    "train",
    "train",
    "train",
    "holdout",
    "train",
    "train",
    "train",
    "holdout",
    "train",
    "train",
    "train",
    "train",
    "train",
    "train",
    "train",
    "train",
    "train",
    "train",
    "validation",
    "validation",
    "holdout",
    "train",
]


def test_the_key_of_a_prompt_never_changes() -> None:
    """A row of an old night carries its split under this key: with another one a question that
    was kept to test on would be trained on."""
    asked = [{"role": "user", "content": "What is the capital of Australia?"}]
    assert prompt_key(asked) == "a7c431330f02e3780b00bc47a29293309bdd2de33a52cea60dcaadcdb6c5e510"
    asked = [{"role": "user", "content": "“Straße”  2+2, don't!"}]
    assert prompt_key(asked) == "4221078481368432a48488527df83b1bc234ce73b168317c520f5e439c281a95"


@pytest.mark.parametrize(
    ("messages", "key"),
    [
        ([("user", "What is 2+2?")], "da28f036a7ea28c4"),
        ([("user", "what   is \u201c2+2\u201d")], "da28f036a7ea28c4"),
        ([("system", "Be brief."), ("user", "\u00bfD\u00f3nde est\u00e1 Stra\u00dfe?")],
         "fe5b3a4ad64cf50f"),
        ([("user", "-2 .5 5!")], "4e6cda25553d81f6"),
        ([("user", "Ma\u0301s, e\u0301l\uff01 \ufb01ne")], "4d4327f27b832ed0"),
        ([("user", "\u2026")], "81cf7c7188138d49"),
    ],
)  # fmt: skip
def test_prompt_keys_are_frozen(messages: list[tuple[str, str]], key: str) -> None:
    """Stores rest on them: with other keys, prompts of the holdout would be trained on."""
    prompt = [{"role": role, "content": content} for role, content in messages]
    assert prompt_key(prompt)[:16] == key
