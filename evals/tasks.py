"""lm-eval's own tasks, loaded quickly and with the data in our hands.

For each task a small YAML is written that includes lm-eval's official file and changes nothing but
the name and, in the mini suite, the data. Imported by the scoring child only: lm-eval and datasets
are loaded here.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.suites import MINI_DATA_DIR, SUITES, Benchmark, SuiteName
from pawl.errors import PawlError
from pawl.files import sha256_file

SUBJECT_MARK = "__"  # mini_mmlu__plurals: benchmark, mark, subject


@dataclass(frozen=True, slots=True)
class LoadedSuite:
    """lm-eval's task objects by name, the benchmark of each, and its items' count."""

    tasks: dict[str, Any]
    benchmarks: dict[str, Benchmark]
    counts: dict[str, int]

    def of(self, benchmark: Benchmark) -> dict[str, int]:
        """Items of each of a benchmark's tasks."""
        return {
            name: self.counts[name] for name, one in self.benchmarks.items() if one is benchmark
        }


def subject_of(task: str) -> str | None:
    """The MMLU subject in a task's name, None for the other benchmarks."""
    _, mark, subject = task.partition(SUBJECT_MARK)
    return subject if mark else None


def load_suite(suite: SuiteName, *, data_dir: Path | None, work_dir: Path) -> LoadedSuite:
    """Write the task files into ``work_dir`` and load every task of the suite.

    The official suite's data paths are hub ids; with a folder laid out as the hub the caller makes
    that folder the current directory, which ``datasets`` looks into first.

    Raises:
        PawlError: a task could not be built from its data; the message names the task.
    """
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    official_dir = Path(lm_eval.tasks.__file__).parent
    work_dir.mkdir(parents=True, exist_ok=True)
    benchmarks: dict[str, Benchmark] = {}
    for one in SUITES[suite]:
        for task, yaml in _task_yamls(one, suite, data_dir, official_dir, work_dir).items():
            # JSON is YAML; json.dumps quotes what needs quoting.
            text = "\n".join(f"{key}: {json.dumps(value)}" for key, value in yaml.items())
            (work_dir / f"{task}.yaml").write_text(text + "\n")
            benchmarks[task] = one
    # Indexing all of lm-eval's 15,000 task files takes 8.5 s, our own folder 5 ms.
    manager = TaskManager(include_path=str(work_dir), include_defaults=False)
    tasks: dict[str, Any] = {}
    for name in benchmarks:
        try:
            tasks |= manager.load([name])["tasks"]
        except Exception as err:  # datasets and jinja raise whatever the data provoke
            why = f"{type(err).__name__}: {str(err).strip()[:300]}"
            if _is_unreachable(err):
                raise PawlError(
                    f"the data of benchmark task {name} can't be fetched from the hub",
                    why,
                    "Check the network and try again, or point gate.data_dir at a copy of them",
                    retryable=True,
                    code="hub_unreachable",
                ) from err
            raise PawlError(
                f"benchmark task {name} can't be loaded", why, "Check the data's columns"
            ) from err
        if tasks[name].get_config("num_fewshot") is None:
            tasks[name].set_config(key="num_fewshot", value=0)  # as lm_eval.simple_evaluate does
        tasks[name].set_fewshot_seed(seed=1234)
    return LoadedSuite(tasks, benchmarks, {n: len(t.eval_docs) for n, t in tasks.items()})


def _is_unreachable(err: BaseException | None) -> bool:
    """Whether the network or the hub is at fault, which may be over by the next night.

    ``datasets`` raises Python's ConnectionError; the clients below it have errors of their own,
    recognised by their status or by their names.
    """
    while err is not None:
        status = getattr(getattr(err, "response", None), "status_code", None)
        if isinstance(status, int) and (status == 429 or status >= 500):
            return True
        if isinstance(err, ConnectionError | TimeoutError):
            return True
        module = type(err).__module__.partition(".")[0]
        names = [one.__name__ for one in type(err).__mro__]
        if module in ("requests", "httpx", "aiohttp", "urllib3", "fsspec") and any(
            "Connect" in name or "Timeout" in name for name in names
        ):
            return True
        err = err.__cause__ or err.__context__
    return False


def _task_yamls(
    one: Benchmark, suite: SuiteName, data_dir: Path | None, official_dir: Path, work_dir: Path
) -> dict[str, dict[str, Any]]:
    """The YAML of each task of a benchmark, by task name."""
    yamls: dict[str, dict[str, Any]] = {}
    if not one.by_subject:
        yamls[one.name] = {"include": str(official_dir / one.official_yaml)}
        if suite == "mini":
            path = (data_dir or MINI_DATA_DIR) / one.mini_file
            yamls[one.name] |= _own_data(path, one.split, work_dir)
    elif suite == "mini":
        template = official_dir / "mmlu/default/_default_template_yaml"
        for path in sorted(((data_dir or MINI_DATA_DIR) / one.mini_file).glob("*.jsonl")):
            subject = path.stem
            yamls[f"{one.name}{SUBJECT_MARK}{subject}"] = {
                "include": str(template),
                "description": "The following are multiple choice questions (with answers) about "
                f"{subject.replace('_', ' ')}.\n\n",
                "fewshot_split": None,
            } | _own_data(path, one.split, work_dir)
    else:
        prefix, suffix = (official_dir / one.official_yaml).name.split("{subject}")
        for path in sorted((official_dir / one.official_yaml).parent.glob(f"{prefix}*{suffix}")):
            subject = path.name.removeprefix(prefix).removesuffix(suffix)
            yamls[f"{one.name}{SUBJECT_MARK}{subject}"] = {"include": str(path)}
    for task, yaml in yamls.items():
        # Without these the official file's own name, alias and tag would be taken over.
        yaml |= {"task": task, "task_alias": task, "tag": None}
    return yamls


def _own_data(path: Path, split: str, work_dir: Path) -> dict[str, Any]:
    """Keys that replace the data alone.

    ``datasets`` caches by path and time stamp and gave old rows for changed content, so the
    content's hash goes into the name of a copy.
    """
    if not path.exists():
        raise PawlError(
            f"benchmark data {path} is not there",
            "the mini suite scores it",
            "Restore evals/mini from the repository",
        )
    copy = work_dir / f"{path.stem}-{sha256_file(path)[:16]}.jsonl"
    if not copy.exists():
        shutil.copyfile(path, copy)
    splits = {
        f"{other}_split": split if other == split else None
        for other in ("training", "validation", "test")
    }
    return {
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {split: str(copy)}},
        **splits,
    }
