"""Suites: folders that say what a model is scored on.

A suite is a folder with ``suite.yaml`` (read into :class:`Suite`) and, where it brings its own,
task files in lm-eval's format and data. Three come with Pawl, in the folders beside this file:
``official`` (public benchmarks; their data come from the hub or from ``gate.data_dir``),
``everyday`` (embedded data) and ``bias`` (lm-eval's audits of bias, ``evals/bias.py``). A company's
own is the path of another folder (``examples/suite`` is a worked one), or the name under which an
installed package brings it (``pawl/plugins.py``).

Nothing here imports lm-eval.
"""

from __future__ import annotations

import hashlib
import os
import random
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pawl import plugins
from pawl.errors import PawlError
from pawl.files import sha256_file, sha256_json
from pawl.settings import GateSettings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

BUILT_IN_DIR = Path(__file__).parent
DESCRIPTION = "suite.yaml"
DATA_SUFFIXES = (".jsonl", ".json", ".parquet", ".csv")
HUB_TIMEOUT_SECONDS = 5

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
Margin = Annotated[float, Field(gt=0, lt=1)]


class Benchmark(BaseModel):
    """One benchmark of a suite. Exactly one of ``task`` and ``yaml`` is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    task: Name | None = Field(None, description="lm-eval's name of a task, a group or a tag")
    yaml: str | None = Field(None, description="task file in the suite's folder, lm-eval's format")
    data: str | None = Field(
        None,
        description="file, or folder of files, in the suite's folder: JSON lines, CSV or Parquet. "
        "Takes the place of the task's own data",
    )
    hub: str | None = Field(
        None,
        description="id of the hub's data set that the task reads; looked for in gate.data_dir",
    )
    metric: Literal["acc", "acc_norm", "alike"] = Field(
        "acc", description="alike: of CrowS-Pairs and BBQ (evals.bias.alike)"
    )
    cluster: str | None = Field(
        None, description="column; items with the same value of it depend on each other"
    )
    num_fewshot: int | None = Field(None, ge=0, le=100, description="None: the task's own")
    margin: Margin | None = Field(None, description="None: the suite's")

    @model_validator(mode="after")
    def _says_what_to_score(self) -> Self:
        if (self.task is None) == (self.yaml is None):
            raise ValueError("give either `task` (lm-eval's name) or `yaml` (a file of the folder)")
        if self.data and self.hub:
            raise ValueError("`data` takes the place of the hub's data set, so leave `hub` out")
        if "__" in self.name or self.name == "holdout":
            raise ValueError("'__' and the name 'holdout' are used by Pawl; choose another name")
        return self


class Description(BaseModel):
    """The content of ``suite.yaml``. Margins are fractions (0.05 = 5 points)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    description: str = ""
    items_per_benchmark: int | None = Field(None, ge=20, description="random subset; None: all")
    margin: Margin
    margin_anchor: Margin
    benchmarks: tuple[Benchmark, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names = [benchmark.name for benchmark in self.benchmarks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"benchmark names must differ; given twice: {', '.join(twice)}")
        widest = max([self.margin, *(b.margin for b in self.benchmarks if b.margin)])
        if self.margin_anchor < widest:
            raise ValueError(
                f"margin_anchor = {self.margin_anchor:g} is below the margin of one night "
                f"({widest:g}): it bounds the sum of many nights' losses, so raise it"
            )
        return self


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite that was read: its description, and where it lies."""

    folder: Path
    description: Description

    @property
    def name(self) -> str:
        return self.description.name

    @property
    def benchmarks(self) -> tuple[Benchmark, ...]:
        return self.description.benchmarks

    def data_files(self, benchmark: Benchmark) -> list[Path]:
        """The data files that the suite brings for a benchmark, sorted; empty if it brings none."""
        if benchmark.data is None:
            return []
        return _files(self.folder / benchmark.data)

    def reads_hub(self) -> bool:
        """Whether a benchmark's data are not the suite's own."""
        return any(benchmark.data is None for benchmark in self.benchmarks)

    def hub_ids(self) -> list[str]:
        """The hub's data sets that the suite reads, sorted."""
        return sorted({benchmark.hub for benchmark in self.benchmarks if benchmark.hub})


def built_in() -> list[str]:
    """Names of the suites that come with Pawl."""
    return sorted(path.parent.name for path in BUILT_IN_DIR.glob(f"*/{DESCRIPTION}"))


def load(name_or_path: str | Path) -> Suite:
    """Read a suite by the name of a built-in one, of a package's, or by the path of its folder.

    Raises:
        PawlError: there is no such suite, its description has a fault (all faults are named), or a
            file that it names is not there.
    """
    folder = Path(name_or_path)
    if str(name_or_path) in built_in():
        folder = BUILT_IN_DIR / str(name_or_path)
    elif (of_package := plugins.suite_folder(str(name_or_path))) is not None:
        folder = of_package
    path = folder / DESCRIPTION
    if not path.is_file():
        of_packages = ", ".join(entry.name for entry in plugins.installed("suite"))
        raise PawlError(
            f"suite {str(name_or_path)!r} is not there",
            f"it is neither built in ({', '.join(built_in())}) nor of an installed package "
            f"({of_packages or 'there is none'}) nor a folder with a {DESCRIPTION}",
            "Give the name of one of these, or the path of a suite's folder",
        )
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise PawlError(f"{path} is not YAML", str(err), "Correct that line") from err
    if not isinstance(raw, dict):
        raise PawlError(f"{path} is no suite", "it holds no keys", "See examples/suite/suite.yaml")
    try:
        description = Description.model_validate(raw)
    except ValidationError as err:
        raise PawlError(
            f"{path} has {err.error_count()} fault(s)",
            "; ".join(_fault(raw, fault) for fault in err.errors()),
            "See examples/suite/suite.yaml",
        ) from err
    suite = Suite(folder.resolve(), description)
    for benchmark in suite.benchmarks:
        for key, name in (("yaml", benchmark.yaml), ("data", benchmark.data)):
            path = (suite.folder / (name or "")).resolve()
            if not path.is_relative_to(suite.folder) or not path.exists():
                raise PawlError(
                    f"suite {suite.name}: {benchmark.name}: {key}: {name} is not there",
                    f"it is looked for in the suite's folder, {suite.folder}",
                    f"Put it there or correct `{key}`",
                )
        if benchmark.data is not None and not suite.data_files(benchmark):
            raise PawlError(
                f"suite {suite.name}: {benchmark.name}: no data in {suite.folder / benchmark.data}",
                f"files must end with one of {', '.join(DATA_SUFFIXES)}",
                "Put the data there or correct `data`",
            )
    return suite


def choose(gate: GateSettings) -> tuple[Suite, str]:
    """The suite that the settings ask for, and a sentence that says which and why.

    ``auto`` takes ``official`` where its data can be had (``gate.data_dir`` holds them, or the hub
    answers within 5 s), else ``everyday``.

    Raises:
        PawlError: as :func:`load`; or ``gate.data_dir`` is given and lacks a data set.
    """
    if gate.suite != "auto":
        suite = load(gate.suite)
        is_plugin = plugins.is_suite(gate.suite)
        of = f" ({plugins.load('suite', gate.suite).package})" if is_plugin else ""
        return suite, f"suite {suite.name}{of}, as set by gate.suite"
    official = load("official")
    if gate.data_dir is not None:
        check_data_dir(official, gate.data_dir)
        return official, f"suite official: its data are in {gate.data_dir}"
    problem = _hub_problem(official.hub_ids()[0])
    if problem is None:
        return official, "suite official: its data come from the hub"
    return load("everyday"), (
        f"suite everyday (embedded), because the data of the official one can't be had: {problem}. "
        "gate.data_dir takes a folder laid out as the hub"
    )


def _hub_problem(dataset: str) -> str | None:
    """Why the hub's data can't be fetched now, None if they can."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return "HF_HUB_OFFLINE is set"
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    request = urllib.request.Request(f"{endpoint}/api/datasets/{dataset}", method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=HUB_TIMEOUT_SECONDS):
            return None
    except (OSError, ValueError) as err:  # urllib's errors are OSErrors; ValueError: a bad address
        return f"{endpoint} does not answer ({getattr(err, 'reason', None) or err})"


def check_data_dir(suite: Suite, data_dir: Path) -> None:
    """Make sure that ``data_dir`` holds every hub data set that the suite reads.

    Raises:
        PawlError: it lacks one; the message names all that it lacks.
    """
    missing = [name for name in suite.hub_ids() if not _files(data_dir / name)]
    if missing:
        raise PawlError(
            f"{data_dir} lacks benchmark data",
            f"the {suite.name} suite reads {', '.join(missing)}, looked for as folders in it",
            "Point gate.data_dir (--data-dir) at a folder laid out as the hub, leave it out, or "
            "set gate.suite = 'everyday' where the folder is for other data",
        )


def present(suite: Suite, data_dir: Path | None) -> Suite | None:
    """The suite with those hub benchmarks whose data ``data_dir`` holds; None without any."""
    there = tuple(b for b in suite.benchmarks if data_dir and b.hub and _files(data_dir / b.hub))
    if not there:
        return None
    return replace(suite, description=suite.description.model_copy(update={"benchmarks": there}))


def content_hash(suite: Suite, data_dir: Path | None) -> str:
    """Hex SHA-256 over everything of the suite that decides a score.

    The benchmarks without their margins, the suite's task files, its data, and the hub's data where
    ``data_dir`` holds them. Data that come from the hub are not in it; item ids carry the hash of
    the item's text, so changed data are noticed all the same.
    """
    benchmarks = [b.model_dump(exclude={"margin"}) for b in suite.benchmarks]
    files = {
        str(path.relative_to(suite.folder)): sha256_file(path)
        for path in sorted(suite.folder.rglob("*"))
        if path.suffix in (".yaml", ".yml", ".py") and path.name != DESCRIPTION
    }
    for benchmark in suite.benchmarks:
        files |= {
            str(p.relative_to(suite.folder)): sha256_file(p) for p in suite.data_files(benchmark)
        }
    hub: dict[str, str] = {}
    if data_dir is not None:
        for name in suite.hub_ids():
            hub |= {str(p.relative_to(data_dir)): sha256_file(p) for p in _files(data_dir / name)}
    return sha256_json([benchmarks, files, hub])


def draw(counts: dict[str, int], n_items: int | None, seed: int) -> dict[str, list[int]]:
    """Draw ``n_items`` of one benchmark without replacement, spread over its tasks.

    Args:
        counts: items of each task (one task, or the members of a group such as MMLU).
        n_items: how many in all; None or more than there are takes every item.
        seed: the same seed draws the same items for champion and challenger.

    Returns:
        For each task that got any, the **sorted** indices (lm-eval pairs the indices with the
        items in the data's order, so unsorted ones would name the wrong items). Each task's share
        is proportional to its size, by largest remainder.
    """
    total = sum(counts.values())
    if n_items is None or n_items >= total:
        return {task: list(range(n)) for task, n in counts.items() if n}
    exact = {task: n_items * n / total for task, n in counts.items()}
    share = {task: int(x) for task, x in exact.items()}
    by_remainder = sorted(counts, key=lambda task: (share[task] - exact[task], task))
    for task in by_remainder[: n_items - sum(share.values())]:
        share[task] += 1
    drawn = {}
    for task, n in share.items():
        if n:
            # A stream of its own for every task: adding a task does not shift the others' draws.
            name = hashlib.sha256(f"{seed}:{task}".encode()).digest()
            drawn[task] = sorted(random.Random(name).sample(range(counts[task]), n))
    return drawn


def in_rounds(
    drawn: dict[str, list[int]], first: int, every: int, seed: int
) -> list[dict[str, list[int]]]:
    """Drawn items in a random order, cut into rounds of ``first`` items and then ``every``; the
    indices of a round are sorted, as ``draw`` leaves them."""
    order = [(task, index) for task in sorted(drawn) for index in drawn[task]]
    random.Random(f"{seed}:order").shuffle(order)
    rounds = []
    for start in [0, *range(first, len(order), every)]:
        found: dict[str, list[int]] = {}
        for task, index in order[start : first if start == 0 else start + every]:
            found.setdefault(task, []).append(index)
        rounds.append({task: sorted(indices) for task, indices in found.items()})
    return rounds


def _files(place: Path) -> list[Path]:
    """The data files at a path: the file itself, or those below a folder, sorted."""
    if place.is_file():
        return [place]
    return sorted(path for path in place.rglob("*") if path.suffix in DATA_SUFFIXES)


def _fault(raw: dict[str, Any], fault: ErrorDetails) -> str:
    """One of pydantic's errors as ``benchmarks.arc.margin = 2: Input should be less than 1``."""
    where = [str(part) for part in fault["loc"]]
    match fault["loc"]:
        case ("benchmarks", int(index), *_) if isinstance(raw["benchmarks"][index], dict):
            where[1] = str(raw["benchmarks"][index].get("name") or index)
    key, message = ".".join(where), fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return f"{key}: no such key"
    if fault["type"] == "missing" or isinstance(fault["input"], dict | list):
        return f"{key}: {message}" if key else message
    return f"{key} = {fault['input']!r}: {message}"
