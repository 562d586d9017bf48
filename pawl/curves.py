"""How a training went, from ``train/steps.jsonl``: curves over steps, and their last values."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

# What the trainers log, as the report calls it. KTO has no accuracy: its answers come alone.
METRICS = {
    "loss": "loss",
    "perplexity": "perplexity of written answers",
    "token_accuracy": "token accuracy",
    "mean_token_accuracy": "token accuracy",
    "rewards/accuracies": "preference accuracy",
    "rewards/margins": "margin of rewards",
    "drift": "drift from the base on everyday prompts, nats a token",
    "general_loss": "loss on everyday answers, nats a token",
}
MOST_POINTS = 300  # of a curve


def read_curves(path: Path) -> list[dict[str, Any]]:
    """A dict for each stage and metric that was logged, in the order of ``METRICS``: ``stage``,
    ``metric``, ``train`` and ``validation``, lists of ``[step, value]``. Empty where there is no
    file; half a line, which a kill left, is none."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        for key, title in METRICS.items():
            for name, side in ((key, "train"), (f"eval_{key}", "validation")):
                value = event.get(name)
                if value is None or not math.isfinite(value):
                    continue
                curve = found.setdefault(
                    (event["stage"], title),
                    {"stage": event["stage"], "metric": title, "train": [], "validation": []},
                )
                curve[side].append([event["step"], value])
    for curve in found.values():
        for side in ("train", "validation"):
            curve[side] = _thinned(curve[side])
    stages = list(dict.fromkeys(stage for stage, _ in found))
    titles = list(dict.fromkeys(METRICS.values()))
    order = [(stage, title) for stage in stages for title in titles]
    return [found[key] for key in order if key in found]


def _thinned(points: list[list[float]]) -> list[list[float]]:
    """Every so many of them, the last one always."""
    step = math.ceil(len(points) / MOST_POINTS)
    return points[:-1:step] + points[-1:] if step > 1 else points
