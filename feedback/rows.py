"""What a row teaches, from feedback or imported: its id, the checks that every row passes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pawl.files import sha256_json
from pawl.schemas import Message, RowKind, Split, TrainingRow

ROLES = ("system", "user", "assistant")
Key = tuple[str, str | None]  # of an imported row: ``row_id``, and the rater


@dataclass(frozen=True, slots=True)
class Lesson:
    """The content of a training row before it has a split. Fields by ``kind`` as TrainingRow's.

    ``group_id``: rows of one group stand on one side of the split.
    """

    kind: RowKind
    group_id: str
    prompt: list[Message]
    completion: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    label: bool | None = None
    categories: list[str] = field(default_factory=list)
    origin: dict[str, Any] = field(default_factory=dict)
    tools: list[dict[str, Any]] = field(default_factory=list)

    @property
    def row_id(self) -> str:
        """16 hex digits of the content's hash; group, categories and origin don't count."""
        content = [self.kind, self.prompt, self.completion, self.chosen, self.rejected, self.label]
        return sha256_json([*content, self.tools] if self.tools else content)[:16]

    @property
    def key(self) -> Key:
        """By what an imported row is one: its content and its rater."""
        return self.row_id, self.origin.get("rater_id")

    @property
    def record(self) -> str | None:
        """The record that an imported row was read from, where it has an id of its own."""
        name = self.origin.get("record_id")
        return f"{self.origin.get('source')} {name}" if name is not None else None

    def in_split(self, split: Split) -> TrainingRow:
        """The training row of this lesson."""
        content = {one.name: getattr(self, one.name) for one in fields(self)}
        return TrainingRow(row_id=self.row_id, split=split, **content)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def same_text(one: str, other: str) -> bool:
    """Whether two texts differ in white space at most."""
    return one.split() == other.split()


def problem_of_prompt(prompt: Any) -> str | None:
    """Why these messages can't be trained on, in a few words to count by; None when they can."""
    if not isinstance(prompt, list) or not prompt:
        return "no prompt"
    was_called = False
    for one in prompt:
        if not isinstance(one, dict) or not isinstance(one.get("content"), str):
            return "a message is not text"
        if one.get("role") not in ROLES and not (one.get("role") == "tool" and was_called):
            return "a message has another role than system, user, assistant"
        if one["role"] != "tool":
            was_called = bool(one.get("tool_calls"))
            if was_called and not calls_can_be_rendered(one["tool_calls"]):
                return "the arguments of a call are no JSON object"
    if prompt[-1]["role"] == "tool":
        return None
    if prompt[-1]["role"] != "user":
        return "the prompt does not end with the user"
    return None if prompt[-1]["content"].strip() else "the question is empty"


def calls_can_be_rendered(calls: list[dict[str, Any]]) -> bool:
    """Whether a chat template gets what the model wrote: one that can't be read is left out of
    the prompt by the engine."""
    try:
        return all(isinstance(json.loads(call["function"]["arguments"]), dict) for call in calls)
    except ValueError:
        return False


def problem_of(lesson: Lesson) -> str | None:
    """Why a lesson can't be trained on, in a few words to count by; None when it can."""
    problem = problem_of_prompt(lesson.prompt)
    if problem:
        return problem
    if lesson.kind in ("sft", "unpaired"):
        if not isinstance(lesson.completion, str) or not lesson.completion.strip():
            return "the answer is empty"
        if lesson.kind == "unpaired" and not isinstance(lesson.label, bool):
            return "the label is not true or false"
        return None
    if not isinstance(lesson.chosen, str) or not isinstance(lesson.rejected, str):
        return "an answer is not text"
    if not lesson.chosen.strip():
        return "the better answer is empty"
    if not lesson.rejected.strip():
        return "the worse answer is empty"
    return "both answers are the same" if same_text(lesson.chosen, lesson.rejected) else None
