"""A suite's benchmarks as lm-eval's tasks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from evals.suites import Suite, load
from evals.tasks import _members, load_tasks, member_of
from pawl.errors import PawlError


def changed(suite: Suite, folder: Path, before: str, after: str) -> Suite:
    """A copy of the suite whose description says ``after`` in the place of ``before``."""
    shutil.copytree(suite.folder, folder)
    text = (folder / "suite.yaml").read_text()
    assert before in text
    (folder / "suite.yaml").write_text(text.replace(before, after))
    return load(folder)


def test_a_group_is_its_tasks_by_lm_evals_own_files() -> None:
    members = _members("mmlu")
    assert len(members) == 57
    assert {"mmlu_anatomy", "mmlu_world_religions"} <= members.keys()
    for name, config in members.items():
        assert f"task: {name}" in Path(config["include"]).read_text(encoding="utf-8").replace(
            '"', ""
        )
    assert _members("arc_easy").keys() == {"arc_easy"}
    assert _members("mmlu_continuation").keys() == {f"{name}_continuation" for name in members}


def test_a_members_name_can_be_told_from_its_task() -> None:
    assert member_of("mmlu__mmlu_anatomy") == "mmlu_anatomy"
    assert member_of("arc_easy") is None


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("yaml: subjects.yaml, data: subjects", "task: mmlu, data: subjects", "group of 57 tasks"),
        ("data: subjects, cluster", "data: subjects, metric: acc_norm, cluster", "gives acc"),
        ("cluster: subject}", "cluster: topic}", "have the columns answer, choices"),
    ],
)
def test_what_a_task_can_not_do_is_said_before_anything_is_scored(
    suite: Suite, tmp_path: Path, before: str, after: str, said: str
) -> None:
    wrong = changed(suite, tmp_path / "suite", before, after)
    with pytest.raises(PawlError, match=said):
        load_tasks(wrong, work_dir=tmp_path / "work")


def test_a_task_that_generates_is_refused(suite: Suite, tmp_path: Path) -> None:
    wrong = changed(suite, tmp_path / "suite", "metric: acc_norm", "metric: acc")
    task = wrong.folder / "subjects.yaml"
    text = task.read_text().replace("multiple_choice", "generate_until")
    task.write_text(text.replace("metric: acc,", "metric: exact_match,"))
    with pytest.raises(PawlError, match="output_type is generate_until"):
        load_tasks(wrong, work_dir=tmp_path / "work")


def test_examples_in_the_prompt_come_from_the_same_data(suite: Suite, tmp_path: Path) -> None:
    two = changed(suite, tmp_path / "suite", "data: arc.jsonl", "data: arc.jsonl, num_fewshot: 2")
    plain = load_tasks(suite, work_dir=tmp_path / "plain").tasks["arc"]
    loaded = load_tasks(two, work_dir=tmp_path / "work").tasks["arc"]
    assert n_questions(plain) == 1
    assert n_questions(loaded) == 3


def n_questions(task: Any) -> int:
    doc = task.eval_docs[0]
    prompt = task.fewshot_context(doc, num_fewshot=task.get_config("num_fewshot"))
    return str(prompt).count("Question: ")
