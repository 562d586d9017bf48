"""A suite's tasks as lm-eval's objects, with the data in our hands.

For each task a small YAML is written that includes lm-eval's file (or the suite's own) and changes
the name, the number of examples and, where the suite brings data, the data. Imported by the scoring
child only: lm-eval and datasets are loaded here.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evals.suites import Benchmark, Suite
from pawl.errors import PawlError

MEMBER_MARK = "__"  # mmlu__mmlu_anatomy: benchmark, mark, lm-eval's name of the group's member
FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
SPLIT = "test"  # the name under which a suite's own data are loaded


@dataclass(frozen=True, slots=True)
class LoadedSuite:
    """lm-eval's task objects by name, and the benchmark of each."""

    tasks: dict[str, Any]
    benchmarks: dict[str, Benchmark]

    def of(self, benchmark: Benchmark) -> dict[str, int]:
        """How many items each of a benchmark's tasks has."""
        return {
            name: len(self.tasks[name].eval_docs)
            for name, owner in self.benchmarks.items()
            if owner.name == benchmark.name
        }


def member_of(task: str) -> str | None:
    """lm-eval's name of the group member in a task's name; None where the task is no member."""
    _, mark, member = task.partition(MEMBER_MARK)
    return member if mark else None


def load_tasks(suite: Suite, *, work_dir: Path) -> LoadedSuite:
    """Write the task files into ``work_dir`` and load every task of the suite.

    Hub data come from the hub; with a folder laid out as the hub the caller makes that folder the
    current directory, which ``datasets`` looks into first.

    Raises:
        PawlError: a task is not known to lm-eval or could not be built from its data; the message
            names the task. Retryable when the hub could not be reached.
    """
    from lm_eval.tasks import TaskManager

    work_dir.mkdir(parents=True, exist_ok=True)
    benchmarks: dict[str, Benchmark] = {}
    for benchmark in suite.benchmarks:
        for task, config in _configs(suite, benchmark).items():
            # JSON is YAML; json.dumps quotes what needs quoting.
            text = "\n".join(f"{key}: {json.dumps(value)}" for key, value in config.items())
            (work_dir / f"{task}.yaml").write_text(text + "\n", "utf-8")
            benchmarks[task] = benchmark
    manager = TaskManager(include_path=str(work_dir), include_defaults=False)
    tasks: dict[str, Any] = {}
    for name, benchmark in benchmarks.items():
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
        _check_task(name, benchmark, tasks[name])
        if tasks[name].get_config("num_fewshot") is None:
            tasks[name].set_config(key="num_fewshot", value=0)  # as lm_eval.simple_evaluate does
        tasks[name].set_fewshot_seed(seed=1234)
    return LoadedSuite(tasks, benchmarks)


@dataclass(slots=True)
class DrawnExamples:
    """In place of a task's sampler: an item has the examples that it has when all drawn items are
    asked in one pass, whenever it is asked.

    lm-eval's sampler draws from one running random number: in rounds an item would get others, and
    be compared with a model that was asked something else.
    """

    examples: dict[int, Any]  # by the item's place
    asked: Iterator[int] = field(default_factory=lambda: iter(()))

    def sample(self, n: int, eval_doc: Any = None) -> Any:
        """What lm-eval asks for once for each item."""
        return self.examples[next(self.asked)]


def draw_examples(
    loaded: LoadedSuite, drawn: Iterable[dict[str, list[int]]]
) -> dict[str, DrawnExamples]:
    """Draw the examples of all items of ``drawn`` (places by task), where they are random, as
    lm-eval would, and put them in the place of the tasks' samplers: :func:`begin_round`."""
    from lm_eval.api.samplers import FirstNSampler

    found = {}
    for name, places in ((name, places) for of in drawn for name, places in of.items()):
        task = loaded.tasks[name]
        n, sampler = task.get_config("num_fewshot"), getattr(task, "sampler", None)
        if not n or sampler is None or isinstance(sampler, FirstNSampler):
            continue
        is_same_split = task.fewshot_cfg.split == task.config.test_split
        wanted = set(places)
        found[name] = task.sampler = DrawnExamples(
            {
                place: sampler.sample(n, eval_doc=doc if is_same_split else None)
                for place, doc in enumerate(task.eval_docs)
                if place in wanted
            }
        )
    return found


def begin_round(examples: dict[str, DrawnExamples], asked: Iterable[dict[str, list[int]]]) -> None:
    """Make ready for these items, which lm-eval asks in the order of their places."""
    for of in asked:
        for name in of.keys() & examples.keys():
            examples[name].asked = iter(sorted(of[name]))


def _check_task(name: str, benchmark: Benchmark, task: Any) -> None:
    """Multiple choice with the benchmark's metric and its columns, or an error."""
    if task.OUTPUT_TYPE != "multiple_choice":
        raise PawlError(
            f"benchmark task {name} can't be scored",
            f"its output_type is {task.OUTPUT_TYPE}; Pawl scores multiple_choice",
            "Choose another task",
        )
    columns = set(task.eval_docs[0]) if len(task.eval_docs) else set()
    if benchmark.metric == "alike":
        if not columns & {"sent_more", "biased_answers"}:
            raise PawlError(
                f"benchmark {benchmark.name} asks for the metric alike",
                f"the items of {name} are neither pairs of CrowS-Pairs nor questions of BBQ",
                "Correct `metric` in the suite's description",
            )
        metrics = {"alike"}
    else:
        metrics = {config["metric"] for config in task.config.metric_list or []}
        metrics = metrics or {"acc", "acc_norm"}
    if benchmark.metric not in metrics:
        raise PawlError(
            f"benchmark {benchmark.name} asks for the metric {benchmark.metric}",
            f"its task {name} gives {', '.join(sorted(metrics))}",
            "Correct `metric` in the suite's description",
        )
    if benchmark.cluster is not None and benchmark.cluster not in columns:
        raise PawlError(
            f"benchmark {benchmark.name} asks for clusters by {benchmark.cluster!r}",
            f"the items of {name} have the columns {', '.join(sorted(columns))}",
            "Correct `cluster` in the suite's description",
        )


def _configs(suite: Suite, benchmark: Benchmark) -> dict[str, dict[str, Any]]:
    """The content of each task file of a benchmark, by the task's name."""
    if benchmark.yaml is not None:
        members = {"": {"include": str(suite.folder / benchmark.yaml)}}
    else:
        assert benchmark.task is not None
        members = _members(benchmark.task)
    own: dict[str, Any] = {}
    if benchmark.data is not None:
        if len(members) > 1:
            raise PawlError(
                f"benchmark {benchmark.name} gives data for {benchmark.task}",
                f"that is a group of {len(members)} tasks with data of their own",
                "Name one of its tasks, or leave `data` out",
            )
        own |= _own_data(suite.data_files(benchmark))
    if benchmark.num_fewshot is not None:
        own["num_fewshot"] = benchmark.num_fewshot
    configs = {}
    for member, config in members.items():
        name = benchmark.name + (f"{MEMBER_MARK}{member}" if len(members) > 1 else "")
        # Without the last three the included file's own name, alias and tag would be taken over.
        configs[name] = config | own | {"task": name, "task_alias": name, "tag": None}
    return configs


def _members(task: str) -> dict[str, dict[str, Any]]:
    """What to include for a task of lm-eval's: one entry, or one for each member of a group or tag.

    lm-eval keeps 15,000 task files and reads all of them in 8.5 s. A task usually lies in a folder
    whose name begins its own (``truthfulqa_mc1`` in ``truthfulqa``), so such folders are read
    first and the rest only where they do not have it.
    """
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    root = Path(lm_eval.tasks.__file__).parent
    first = task.partition("_")[0]
    near = [str(path) for path in sorted(root.glob(f"{first}*")) if path.is_dir()]
    index = TaskManager(include_path=near, include_defaults=False).task_index if near else {}
    if task not in index:
        index = TaskManager().task_index
    if task not in index:
        raise PawlError(
            f"lm-eval has no task {task!r}",
            f"this version knows {len(index):,} names",
            "See `lm_eval ls tasks`, or give a task file of your own as `yaml`",
        )
    return dict(_expand(index, task))


def _expand(
    index: dict[str, Any], member: str | dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tasks below a name, or a group's member, each with what its file says."""
    changes: dict[str, Any] = {}
    inner: list[Any] = []
    if isinstance(member, dict):
        changes = {key: value for key, value in member.items() if key not in ("task", "group")}
        inner = member["task"] if isinstance(member.get("task"), list) else []
        member = str(member.get("task") or member.get("group"))
    if not inner:  # else it is a group written inside a group
        entry = index[member]
        if entry.kind.name == "TASK" and entry.yaml_path is not None:
            yield member, {"include": str(entry.yaml_path)} | changes
            return
        if entry.kind.name not in ("TAG", "GROUP"):
            raise PawlError(
                f"lm-eval's task {member!r} can't be scored",
                "it is written in Python",
                "Choose another task",
            )
        inner = sorted(entry.tags) if entry.kind.name == "TAG" else entry.cfg["task"]
    for each in inner:
        yield from _expand(index, each)


def _own_data(files: list[Path]) -> dict[str, Any]:
    """Keys that replace the data alone."""
    suffixes = {path.suffix for path in files}
    if len(suffixes) > 1:
        raise PawlError(
            f"{files[0].parent} mixes {' and '.join(sorted(suffixes))} files",
            "the files of one benchmark are read as one table",
            "Keep one kind",
        )
    return {
        "dataset_path": FORMATS[suffixes.pop()],
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {SPLIT: [glob.escape(str(file)) for file in files]}},
        "training_split": None,
        "validation_split": None,
        "test_split": SPLIT,
        "fewshot_split": SPLIT,  # lm-eval takes examples other than the item itself
    }


def _is_unreachable(err: BaseException | None) -> bool:
    """Whether the network or the hub is at fault, which may be over by the next night.

    The clients below ``datasets`` have errors of their own beside Python's ConnectionError and
    TimeoutError, recognised by their status or by their names.
    """
    while err is not None:
        status = getattr(getattr(err, "response", None), "status_code", None)
        if isinstance(status, int) and (status == 429 or status >= 500):
            return True
        names = [cls.__name__ for cls in type(err).__mro__]
        if any("Connect" in name or "Timeout" in name for name in names):
            return True
        err = err.__cause__ or err.__context__
    return False
