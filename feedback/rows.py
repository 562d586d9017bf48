"""What a row teaches, from feedback or imported: its id, the checks that every row passes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pawl.files import sha256_json
from pawl.schemas import Message, RowKind, Split, TrainingRow

ROLES = ("system", "user", "assistant")
Key = tuple[str, str | None]  # of an imported row: ``row_id``, and the rater
# What a record of an imported file says: when it was said, where the file tells, and the ``said``
# of each of its rows; none where it says nothing any more.
State = tuple[str | None, set[str]]
_PLACES = ("file", "place")  # of an origin: where a row stood


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

    @property
    def said_at(self) -> str | None:
        """When its record was changed last, ISO 8601 in UTC, where the file tells."""
        at: str | None = self.origin.get("said_at")
        return at

    @property
    def said(self) -> str:
        """All that its record says with it, hashed: what, by whom and in which words."""
        return said_of(self.row_id, self.categories, self.origin)

    @property
    def is_silent(self) -> bool:
        """Whether it only says that its record has no opinion, or none any more (``silence``)."""
        return not self.group_id

    def in_split(self, split: Split) -> TrainingRow:
        """The training row of this lesson."""
        content = {one.name: getattr(self, one.name) for one in fields(self)}
        return TrainingRow(row_id=self.row_id, split=split, **content)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def silence(origin: dict[str, Any]) -> Lesson:
    """Stands for a record that says nothing, which teaches nothing and ends what it said before.

    Args:
        origin: of its opinion, if it had one; what is said in words is left out.
    """
    named = ("rater_id", "record_id", "said_at")
    kept = {name: value for name, value in origin.items() if name in named}
    return Lesson("sft", "", [], origin=kept)


SILENT = silence({}).row_id


def said_of(row_id: str, categories: list[str], origin: dict[str, Any]) -> str:
    """``Lesson.said`` of a row's parts."""
    words = {name: value for name, value in origin.items() if name not in _PLACES}
    return sha256_json([row_id, categories, words])


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
    except (ValueError, RecursionError):
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
