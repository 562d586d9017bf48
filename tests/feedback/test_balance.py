"""Weights of rows: a conversation of many answers doesn't drown those of one."""

from __future__ import annotations

from feedback.balance import weighted
from pawl.schemas import TrainingRow


def _row(n: int, group_id: str) -> TrainingRow:
    prompt = [{"role": "user", "content": f"Question {n}"}]
    return TrainingRow(str(n), "sft", group_id, "train", prompt, completion="A.", cluster=str(n))


def test_answers_of_a_long_conversation_weigh_less() -> None:
    rows = [_row(n, "long" if n < 50 else f"group {n}") for n in range(100)]
    weights = [row.weight for row in weighted(rows, [None] * 100)]
    assert sum(weights[:50]) < 0.3 * sum(weights)
    assert len(set(weights[50:])) == 1
    alike = weighted([_row(n, f"group {n}") for n in range(9)], [None] * 9)
    assert {row.weight for row in alike} == {1.0}
