"""Where the frozen question sets are, and their readers.

Only the standard library is loaded. The files are package data, read where the package lies.
"""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pawl.errors import PawlError

# Questions for a chat, judged by `evals.mini.checker`.
QUESTION_SETS = ("unseen_families", "unseen_combinations", "faults")
MMLU_SUBJECTS = (
    "animals",
    "arithmetic",
    "calendar_and_units",
    "capitals",
    "colours",
    "opposites",
    "plurals_and_sequences",
    "science_and_planets",
)
# benchmark -> its files below this folder; lm-eval's task code scores them.
BENCHMARK_FILES: dict[str, tuple[str, ...]] = {
    "arc": ("arc.jsonl",),
    "hellaswag": ("hellaswag.jsonl",),
    "mmlu": tuple(f"mmlu/{subject}.jsonl" for subject in MMLU_SUBJECTS),
    "truthfulqa": ("truthfulqa.jsonl",),
}


def load_questions(name: str) -> list[dict[str, Any]]:
    """The rows of one of `QUESTION_SETS`, in the file's order.

    Raises PawlError if there is no such set or its file is missing or damaged.
    """
    if name not in QUESTION_SETS:
        raise PawlError(
            f"no question set {name!r}", "", f"Choose one of {', '.join(QUESTION_SETS)}"
        )
    return rows_of(_file(f"{name}.jsonl"))


def load_benchmark(name: str) -> list[dict[str, Any]]:
    """The rows of one of the benchmark sets, MMLU's subjects one after another.

    Raises PawlError if there is no such set or a file is missing or damaged.
    """
    if name not in BENCHMARK_FILES:
        raise PawlError(
            f"no benchmark set {name!r}", "", f"Choose one of {', '.join(BENCHMARK_FILES)}"
        )
    return [row for part in BENCHMARK_FILES[name] for row in rows_of(_file(part))]


def load_mmlu_dev(subject: str) -> list[dict[str, Any]]:
    """The five rows of an MMLU subject that may stand in a prompt as examples."""
    if subject not in MMLU_SUBJECTS:
        raise PawlError(f"no subject {subject!r}", "", f"Choose one of {', '.join(MMLU_SUBJECTS)}")
    return rows_of(_file(f"mmlu/dev/{subject}.jsonl"))


def folder() -> Path:
    """The folder that holds the files (the package is always installed unzipped)."""
    with as_file(files("evals.mini")) as path:
        return path


def chance(name: str) -> float:
    """The share of a benchmark set's items that guessing gets right: the mean of 1/k.

    For TruthfulQA it is that of its first target, one true claim among k choices.
    """
    rows = load_benchmark(name)
    return sum(1 / n_choices(row) for row in rows) / len(rows)


def n_choices(row: dict[str, Any]) -> int:
    """How many choices a benchmark row has, in any of the four schemas."""
    if "mc1_targets" in row:
        return len(row["mc1_targets"]["choices"])
    choices = row["endings"] if "endings" in row else row["choices"]
    return len(choices["text"] if isinstance(choices, dict) else choices)


def _file(name: str) -> Traversable:
    return files("evals.mini").joinpath(*name.split("/"))


def rows_of(file: Traversable | Path) -> list[dict[str, Any]]:
    """The rows of one file of JSON lines; PawlError if it is missing or damaged."""
    try:
        text = file.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]
    except FileNotFoundError as error:
        raise PawlError(
            f"question file {file} is missing",
            "the questions are part of the package",
            "Install the package again or take the file from the repository",
        ) from error
    except ValueError as error:
        raise PawlError(
            f"question file {file} is damaged",
            f"a line is not JSON ({error})",
            "Take the file from the repository again",
        ) from error
