"""A use case: a folder with a description, rows to train on and rows to test on.

    use_case.yaml   what is asked of the model and how its answers are scored
    train.jsonl     {"text": "...", "answer": "..."} a line; the first ones are also the few shots
    test.jsonl      the same; no training sees it

A prompt is the instruction with the row's text in it, as one message of a user.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from feedback.curation import Curated
from feedback.near_duplicates import comparable, neighbours
from pawl.errors import PawlError
from pawl.files import sha256_json
from pawl.schemas import Message, TrainingRow

HERE = Path(__file__).parent
DESCRIPTION = "use_case.yaml"
Metric = Literal["labels", "keywords", "facts", "rouge", "fields", "tone", "chrf"]


class Row(BaseModel):
    """One line of ``train.jsonl`` or ``test.jsonl``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(min_length=1)
    answer: str = Field(min_length=1)


class Description(BaseModel):
    """``use_case.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    about: str = Field(description="what the data are, for docs/use-cases.md")
    metric: Metric = Field(description="how answers are scored: examples/scoring.py")
    instruction: str = Field(description="the prompt; {text} stands for a row's text")
    labels: tuple[str, ...] = Field((), description="of metric labels")
    signs: dict[str, str] = Field(
        {}, description="of metric tone: regular expressions that an answer in it matches, by name"
    )
    n_few_shot: int = Field(4, ge=1, description="rows of train.jsonl in the few-shot prompt")
    max_new_tokens: int = Field(64, ge=1)
    train: dict[str, Any] = Field({}, description="settings of train, as in pawl.toml")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.instruction.count("{text}") != 1:
            raise ValueError("instruction must hold {text} once")
        if bool(self.labels) != (self.metric == "labels"):
            raise ValueError("labels belong to metric labels, which needs them")
        if bool(self.signs) != (self.metric == "tone"):
            raise ValueError("signs belong to metric tone, which needs them")
        for name, sign in self.signs.items():
            try:
                re.compile(sign)
            except re.error as err:
                raise ValueError(f"signs: {name!r} is no regular expression: {err}") from None
        return self


@dataclass(frozen=True, slots=True)
class UseCase:
    """A use case as it was read."""

    name: str
    description: Description
    train: tuple[Row, ...]
    test: tuple[Row, ...]

    def prompt(self, row: Row) -> list[Message]:
        """The instruction and the text, nothing else."""
        content = self.description.instruction.replace("{text}", row.text).strip()
        return [{"role": "user", "content": content}]

    def few_shot_prompt(self, row: Row) -> list[Message]:
        """The same after the first training rows as turns that were answered."""
        turns: list[Message] = []
        for shot in self.train[: self.description.n_few_shot]:
            turns += [*self.prompt(shot), {"role": "assistant", "content": shot.answer}]
        return [*turns, *self.prompt(row)]

    def curated(self) -> Curated:
        """The training rows, as a snapshot takes them."""
        rows = [
            TrainingRow(f"{self.name}-{i:04}", "sft", f"{self.name}-{i:04}", "train",
                        self.prompt(row), completion=row.answer)
            for i, row in enumerate(self.train)
        ]  # fmt: skip
        return Curated(rows, [])

    def fingerprint(self) -> str:
        """A hash of all that decides what is asked and scored."""
        rows = [[[row.text, row.answer] for row in part] for part in (self.train, self.test)]
        return sha256_json([self.description.model_dump(mode="json", exclude={"about"}), rows])


def names() -> list[str]:
    """The use cases that lie in this folder."""
    return sorted(path.parent.name for path in HERE.glob(f"*/{DESCRIPTION}"))


def load(name: str) -> UseCase:
    """Read a use case by its name, or the folder of one's own.

    Raises:
        PawlError: there is none, a file is not as it must be, or a test row is nearly a training
            row.
    """
    folder = HERE / name if (HERE / name / DESCRIPTION).exists() else Path(name)
    if not (folder / DESCRIPTION).exists():
        raise PawlError(
            f"{name!r} is no use case",
            f"{folder} has no {DESCRIPTION}",
            f"Give one of {', '.join(names())}, or a folder of your own with {DESCRIPTION}, "
            "train.jsonl and test.jsonl",
        )
    try:
        values = yaml.safe_load((folder / DESCRIPTION).read_text("utf-8"))
        description = Description.model_validate(values)
    except (ValidationError, yaml.YAMLError) as err:
        raise PawlError(
            f"{folder / DESCRIPTION} can't be read", _in_words(err), "Mend what is named"
        ) from err
    train, test = (_rows(folder / f"{part}.jsonl") for part in ("train", "test"))
    if leaks := near(train, test):
        raise PawlError(
            f"{folder / 'test.jsonl'} has {len(leaks)} texts that training would have seen",
            f"they are nearly those of training rows, the first: {leaks[0]!r}",
            "Take them out of one of the two files",
        )
    return UseCase(folder.resolve().name, description, train, test)


def near(train: tuple[Row, ...], test: tuple[Row, ...]) -> list[str]:
    """Texts of test rows that are, or nearly are, a training row's."""
    known = list(dict.fromkeys(comparable(row.text) for row in train))
    asked = {comparable(row.text): row.text for row in test}
    equal = [text for key, text in asked.items() if key in known]
    others = [key for key in asked if key not in known]
    found = neighbours([*known, *others], len(known))[len(known) :]
    return equal + [
        asked[key]
        for key, earlier in zip(others, found, strict=True)
        if any(i < len(known) for i in earlier)
    ]


def _in_words(err: Exception) -> str:
    """A fault of YAML, JSON or of a field, on one line."""
    if not isinstance(err, ValidationError):
        return " ".join(str(err).split())
    return "; ".join(
        ": ".join([".".join(map(str, fault["loc"])), fault["msg"]]).removeprefix(": ")
        for fault in err.errors()
    )


def _rows(path: Path) -> tuple[Row, ...]:
    rows: list[Row] = []
    try:
        lines = path.read_text("utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as err:
        raise PawlError(f"{path} can't be read", str(err), "Write it") from err
    if lines == [""]:
        raise PawlError(f"{path} is empty", "there is nothing to train or test on", "Write rows")
    for number, line in enumerate(lines, start=1):  # JSON may hold what splitlines() parts lines at
        try:
            rows.append(Row.model_validate(json.loads(line)))
        except ValueError as err:  # no JSON, or another shape
            raise PawlError(
                f"{path} line {number} is no row",
                _in_words(err),
                'A line is {"text": "...", "answer": "..."}',
            ) from err
    return tuple(rows)
