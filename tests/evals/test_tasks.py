"""A suite's benchmarks as lm-eval's tasks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from evals.score import score_benchmarks
from evals.sequential import Reference, Watch
from evals.suites import Suite, load
from evals.tasks import _members, load_tasks, member_of
from pawl.errors import PawlError
from tests.evals.conftest import make_suite


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


def test_in_rounds_an_item_has_the_examples_of_one_pass(tmp_path: Path) -> None:
    """The champion is asked all items at once, the challenger in rounds: both the same prompts."""
    (tmp_path / "made").mkdir()
    made = load(make_suite(tmp_path / "made", n_items=170))
    two = changed(made, tmp_path / "two", "data: arc.jsonl", "data: arc.jsonl, num_fewshot: 2")

    def prompts(watch: Watch | None) -> dict[str, str]:
        items = score_benchmarks(no_model(), two, 160, 3, watch)
        return {i.item_id: i.detail["prompt"] for i in items if i.benchmark == "arc"}

    whole, in_rounds = prompts(None), prompts(Watch((Reference({}, 0.05),), 0.05, 5))
    assert len(whole) == 160  # the first round has 100
    assert all(text.count("Question: ") == 3 for text in whole.values())
    assert in_rounds == whole


def no_model() -> Any:
    """Answers each request of lm-eval's with the same log-probability."""
    from lm_eval.api.model import TemplateLM

    class NoModel(TemplateLM):
        @property
        def eot_token_id(self) -> int:
            return 0

        def tok_encode(self, string: str, **_: Any) -> list[int]:
            return list(string.encode())

        def _loglikelihood_tokens(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
            return [(-1.0, False) for _ in requests]

        def loglikelihood_rolling(self, requests: list[Any], **_: Any) -> list[float]:
            raise NotImplementedError

        def generate_until(self, requests: list[Any], **_: Any) -> list[str]:
            raise NotImplementedError

    return NoModel()


def n_questions(task: Any) -> int:
    doc = task.eval_docs[0]
    prompt = task.fewshot_context(doc, num_fewshot=task.get_config("num_fewshot"))
    return str(prompt).count("Question: ")
