"""Where a training reports to: TensorBoard always, Weights & Biases and MLflow by setting.

The trainers' own reporting (``report_to`` of transformers) sends the figures of each step; here is
what surrounds it: which packages it needs, where they write, and that base, rows, plan and code of
a training stand beside its figures. Nothing leaves the machine unless the environment says so
(``WANDB_MODE=online``, ``MLFLOW_TRACKING_URI=https://...``); no rows are reported, only figures.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pawl.errors import PawlError

STEPS = "steps.jsonl"  # in a training's work folder: what the trainers logged, a line a step
# What ``report_to`` calls them, the module, and what pip installs.
PACKAGES = {"wandb": ("wandb", "wandb"), "mlflow": ("mlflow", "mlflow-skinny")}


@dataclass(frozen=True, slots=True)
class Reporting:
    """Of one training. ``header``: base, snapshot, plan, versions and commit
    (``refine.recipe.header``)."""

    names: tuple[str, ...] = ()
    run_name: str = "training"
    header: dict[str, Any] = field(default_factory=dict)

    @property
    def as_text(self) -> str:
        """The header as Markdown, for TensorBoard's page of texts."""
        return "```json\n" + json.dumps(self.header, indent=2) + "\n```"

    @contextmanager
    def of_stage(self, stage: str) -> Iterator[None]:
        """A run of each tracker for the time of the block, which the trainer's callbacks take."""
        flat = {key: str(value)[:500] for key, value in flatten(self.header)}
        name = f"{self.run_name} {stage}"
        is_whole = False
        if "wandb" in self.names:
            import wandb

            project = os.environ["WANDB_PROJECT"]
            wandb.init(project=project, name=name, group=self.run_name, config={"pawl": flat})
        try:
            if "mlflow" in self.names:
                import mlflow

                mlflow.set_experiment(os.environ["MLFLOW_EXPERIMENT_NAME"])
                tags = {f"pawl.{key}": value for key, value in flat.items()}
                mlflow.start_run(run_name=name, tags=tags)
            yield
            is_whole = True
        finally:
            if "mlflow" in self.names:
                import mlflow

                mlflow.end_run("FINISHED" if is_whole else "FAILED")
            if "wandb" in self.names:
                import wandb

                wandb.finish(exit_code=0 if is_whole else 1)


def check_packages(names: Sequence[str]) -> None:
    """Raises PawlError: a package is not installed; the message has the command that does it."""
    for name in names:
        module, package = PACKAGES[name]
        if importlib.util.find_spec(module) is None:
            raise PawlError(
                f"monitoring.report_to has {name!r}",
                f"the package {module} is not installed",
                f"Type: {sys.executable} -m pip install {package} (or take {name!r} out)",
                code="not_installed",
            )


def set_environment(names: Sequence[str], folder: Path) -> None:
    """Let them write into ``folder``, and nothing to anybody else, where the environment does not
    say otherwise. Before transformers is imported."""
    defaults: dict[str, str] = {}
    if "wandb" in names:
        (folder / "wandb").mkdir(parents=True, exist_ok=True)
        defaults |= {
            "WANDB_MODE": "offline",
            "WANDB_DIR": str(folder),
            "WANDB_PROJECT": "pawl",
            "WANDB_CONSOLE": "off",
            "WANDB_DISABLE_CODE": "true",
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_LOG_MODEL": "false",
            "WANDB_SILENT": "true",
        }
    if "mlflow" in names:
        folder.mkdir(parents=True, exist_ok=True)
        defaults |= {
            "MLFLOW_TRACKING_URI": (folder / "mlruns").as_uri(),
            "MLFLOW_EXPERIMENT_NAME": "pawl",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "HF_MLFLOW_LOG_ARTIFACTS": "false",
        }
    for key, value in defaults.items():
        os.environ.setdefault(key, value)


def flatten(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested dicts under dotted keys."""
    for key, item in value.items():
        if isinstance(item, dict):
            yield from flatten(item, f"{prefix}{key}.")
        else:
            yield prefix + key, item
