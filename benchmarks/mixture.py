"""Two tasks trained together, against each alone; rows weighted by likeness to the traffic; and
corrections under more phrasings of their question.

    python -m benchmarks.mixture [--part mixture|domain|augment] [--labelled FOLDER]
                                 [--set NAME=VALUE]

On the real model. The tasks: the facts of the demo's organisation (corrections in 5 phrasings of
each; asked in phrasings that no correction used) and labels of texts (``FOLDER`` with
``use_case.yaml``, ``train.jsonl`` and ``test.jsonl``, as in ``examples/``). Each of three parts has
a section of its own in docs/measurements.md:

- ``mixture``: each task alone, both together as they are, and both with the shares of ``--shares``.
  Bar: with the shares each task is at most 2 points below itself alone; the intervals of the
  differences are paired over test rows.
- ``domain``: both together, with and without ``train.domain_weighting``, where the traffic asks for
  the facts alone. There is no bar but that the effect is measured, with its interval.
- ``augment``: the facts alone, with and without ``train.augment`` (both ways); the base itself says
  the questions in other words. No bar but the same.

A training is as long as ``train.max_minutes`` at most: 20 minutes on 2 cores, 7 trainings.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.measurements import MISSED, finish
from benchmarks.training_defaults import correction_rows, write_snapshot
from pawl.adapters import AdapterManifest
from pawl.files import sha256_json, write_atomic
from pawl.models import BaseModel, resolve_model
from pawl.schemas import Message, TrainingRow
from pawl.settings import DEFAULT_MODEL, load_settings
from refine.augment import MAX_TOKENS, asking, phrasings
from refine.demo.checks import states_fact
from refine.demo.organisation import load_organisation
from refine.domain import TRAFFIC
from refine.planner import choose, hidden_size_of
from refine.replay import AnswerPrompts, answer_prompts
from refine.train import Job, train

LABELLED = Path(__file__).resolve().parent.parent / "examples" / "sentiment"
MOST_POINTS_LOST = 0.02
MAX_NEW_TOKENS = 48
N_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Task:
    """``rows`` to train on; ``test``: prompts with what decides whether an answer is right."""

    name: str
    rows: list[TrainingRow]
    test: Sequence[tuple[list[Message], Callable[[str], bool]]]


Figures = dict[str, str]
Right = dict[str, list[bool]]
"""By task, whether each test prompt was answered right."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixture", description=__doc__)
    parser.add_argument("--part", choices=["mixture", "domain", "augment"], help="default: all")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--labelled", type=Path, default=LABELLED, metavar="FOLDER")
    parser.add_argument("--shares", default="facts=0.5,labels=0.5")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--work", type=Path, help="kept: what was trained is not trained again")
    args = parser.parse_args(arguments)
    if not (args.labelled / "use_case.yaml").exists():
        sys.exit(f"{args.labelled} has no use_case.yaml: nothing was measured. Give --labelled.")
    options = dict(option.split("=", 1) for option in args.set)
    tasks = [facts(), labels(args.labelled)]
    code = 0
    with tempfile.TemporaryDirectory(prefix="pawl-mixture-") as temporary:
        work = args.work or Path(temporary)
        base = resolve_model(args.model, cache_dir=work)
        bench = Bench(base, work, tasks, options)
        measured: list[tuple[str, str, Figures, list[str]]] = []
        if args.part in (None, "mixture"):
            title = "Two tasks together and alone"
            measured.append(("mixture", title, *bench.mixture(args.shares)))
        if args.part in (None, "domain"):
            title = "Rows weighted by likeness to the traffic"
            measured.append(("domain-weighting", title, bench.domain(tasks[0]), []))
        if args.part in (None, "augment"):
            title = "Corrections under more phrasings of their question"
            measured.append(("augmentation", title, bench.augmented(tasks[0]), []))
        for key, title, figures, missed in measured:
            note = f"Settings of train beside the defaults: {json.dumps(options)}."
            try:
                finish(key, title, figures, missed=missed, note=note)
            except SystemExit:
                code = MISSED
    sys.exit(code)


class Bench:
    """Trainings on the tasks' rows, each once in ``work``."""

    def __init__(
        self, base: BaseModel, work: Path, tasks: Sequence[Task], options: Mapping[str, Any]
    ) -> None:
        self._base, self._work, self._tasks, self._options = base, work, tasks, dict(options)

    def mixture(self, shares: str) -> tuple[Figures, list[str]]:
        """Bar 5's first half; figures, and what was missed."""
        untrained = self._ask(None)
        alone = {task.name: self._trained([task])[0][task.name] for task in self._tasks}
        plain, _ = self._trained(self._tasks)
        shared, manifest = self._trained(self._tasks, mixture=shares)
        figures, missed = {}, []
        for name in alone:
            lost, low, high = difference(shared[name], alone[name])
            figures[name] = (
                f"{share(alone[name])} alone, {share(shared[name])} together with the shares, "
                f"{share(plain[name])} together as they are, {share(untrained[name])} untrained"
            )
            figures[f"{name}, together with the shares minus alone"] = points(lost, low, high)
            figures[f"{name}, together as they are minus alone"] = points(
                *difference(plain[name], alone[name])
            )
            if lost < -MOST_POINTS_LOST:
                missed.append(f"{name} lost {-100 * lost:.1f} points instead of 2")
        for name, count in manifest.recipe["rows"]["sft"]["mixture"].items():
            figures[f"share of {name}"] = (
                f"{count['share']:.0%} instead of {count['share_before']:.1%} of the tokens, "
                f"{count['rows']} rows"
            )
        return figures, missed

    def domain(self, asked: Task) -> Figures:
        """Bar 5's second half: the traffic asks what training asks of one task, and nothing of the
        others."""
        traffic = self._work / TRAFFIC
        prompts = (json.dumps({"prompt": row.prompt}) + "\n" for row in asked.rows)
        self._work.mkdir(parents=True, exist_ok=True)
        write_atomic(traffic, "".join(prompts))
        plain, _ = self._trained(self._tasks)
        weighted, manifest = self._trained(self._tasks, traffic, domain_weighting=True)
        figures = {
            f"{name}, weighted minus as they are": points(*difference(weighted[name], plain[name]))
            + f" (from {share(plain[name])})"
            for name in plain
        }
        domain = manifest.recipe["domain"]
        figures["rows and traffic told apart"] = (
            f"area under the curve {domain['auc']}, weights {domain['least']} to {domain['most']}"
            if "auc" in domain
            else domain["problem"]
        )
        return figures

    def augmented(self, asked: Task) -> Figures:
        """Bar 5's last part: the task's rows and what the base makes of their questions."""
        ways = ("paraphrase", "back-translation")
        settings = load_settings({"train": {**self._options, "augment": ways}}, only_flags=True)
        ask = asking(self._answering(None, MAX_TOKENS))
        new = phrasings(asked.rows, settings.train, ask)
        n_of = Counter(row.origin["synthetic"] for row in new)
        plain, _ = self._trained([asked])
        more, _ = self._trained([replace(asked, rows=[*asked.rows, *new])])
        before, after = plain[asked.name], more[asked.name]
        figures = {
            f"{asked.name}, with the new phrasings minus without": (
                f"{points(*difference(after, before))} (from {share(before)})"
            )
        }
        of_ways = ", ".join(f"{n_of[way]} by {way}" for way in ways)
        figures["new rows"] = f"{len(new)} beside {len(asked.rows)}: {of_ways}"
        example = {row.row_id: row.prompt[-1]["content"] for row in asked.rows}
        for row in new[:3]:
            figures[f"{example[row.origin['of']]!r}, by {row.origin['synthetic']}"] = (
                f"{row.prompt[-1]['content']!r}"
            )
        return figures

    def _trained(
        self, tasks: Sequence[Task], traffic: Path | None = None, **more: Any
    ) -> tuple[Right, AdapterManifest]:
        """What a training on the tasks' rows answers right, of all tasks."""
        rows = [
            replace(row, origin={**row.origin, "task": task.name})
            for task in tasks
            for row in task.rows
        ]
        settings = load_settings({"train": {**self._options, **more}}, only_flags=True)
        plan = choose(rows, settings, hidden_size=hidden_size_of(self._base.model_dir))
        key = sha256_json([[row.as_json() for row in rows], plan.as_json(), self._base.fingerprint])
        run_dir = self._work / f"run-{key[:12]}"
        snapshot_dir = run_dir / "snapshot"
        if not (snapshot_dir / "manifest.json").exists():
            write_snapshot(snapshot_dir, rows)
        job = Job.in_run(run_dir, self._base, snapshot_dir, plan, self._work / "replay")
        manifest = train(replace(job, traffic_path=traffic), on_event=_say)
        return self._ask(job.out_dir), manifest

    def _ask(self, adapter_dir: Path | None) -> Right:
        """Greedy answers to all test prompts, judged."""
        answer = self._answering(adapter_dir, MAX_NEW_TOKENS)
        return {
            task.name: [
                is_right(found.text)
                for (_, is_right), found in zip(
                    task.test, answer([prompt for prompt, _ in task.test]), strict=True
                )
            ]
            for task in self._tasks
        }

    def _answering(self, adapter_dir: Path | None, n_tokens: int) -> AnswerPrompts:
        """Greedy answers of the base, or of what was trained."""
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        from pawl.chat_template import load_tokenizer
        from refine.trainer import use_bf16

        dtype = torch.bfloat16 if use_bf16(torch) else torch.float32
        model: Any = AutoModelForCausalLM.from_pretrained(str(self._base.model_dir), dtype=dtype)
        if adapter_dir is not None:
            model = PeftModel.from_pretrained(model, str(adapter_dir))
        model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        return answer_prompts(model, load_tokenizer(self._base.model_dir), n_tokens)


def facts() -> Task:
    """The demo's organisation; no correction is wrong, and none is for validation."""
    organisation = load_organisation()
    rows = [
        replace(row, split="train")
        for row in correction_rows(organisation, 5, 0)
        if row.completion not in {fact.mistaken for fact in organisation.facts}
    ]
    test = [
        ([{"role": "user", "content": question}], partial(states_fact, fact=fact))
        for fact in organisation.facts
        for question in fact.evening
    ]
    return Task("facts", rows, test)


def labels(folder: Path) -> Task:
    """Labels of a folder of examples/: an answer is right that names the label and no other."""
    about = yaml.safe_load((folder / "use_case.yaml").read_text("utf-8"))
    names: list[str] = about["labels"]

    def prompt(text: str) -> list[Message]:
        return [{"role": "user", "content": about["instruction"].replace("{text}", text).strip()}]

    def is_right(answer: str, label: str) -> bool:
        return [one for one in names if re.search(rf"\b{re.escape(one)}\b", answer, re.I)] == [
            label
        ]

    train_rows, test_rows = (
        [json.loads(line) for line in (folder / f"{part}.jsonl").read_text("utf-8").splitlines()]
        for part in ("train", "test")
    )
    rows = [
        TrainingRow(f"label-{i}", "sft", f"label-{i}", "train", prompt(row["text"]),
                    completion=row["answer"])
        for i, row in enumerate(train_rows)
    ]  # fmt: skip
    test = [(prompt(row["text"]), partial(is_right, label=row["answer"])) for row in test_rows]
    return Task("labels", rows, test)


def difference(ours: Sequence[bool], theirs: Sequence[bool]) -> tuple[float, float, float]:
    """Of two shares on the same rows, with its 95 % interval (percentile bootstrap, paired)."""
    each = np.asarray(ours, float) - np.asarray(theirs, float)
    draws = np.random.default_rng(0).integers(0, len(each), (N_RESAMPLES, len(each)))
    low, high = np.quantile(each[draws].mean(1), [0.025, 0.975])
    return float(each.mean()), float(low), float(high)


def share(right: Sequence[bool]) -> str:
    return f"{sum(right)} of {len(right)} ({100 * sum(right) / len(right):.0f} %)"


def points(value: float, low: float, high: float) -> str:
    return f"{100 * value:+.1f} points (95 %: {100 * low:+.1f} to {100 * high:+.1f})"


def _say(event: Mapping[str, Any]) -> None:
    """Each epoch's share of learned rows, on stderr."""
    if event.get("learned") is not None or "note" in event:
        print(json.dumps(event), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
