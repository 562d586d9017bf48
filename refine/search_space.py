"""What a search tries: settings of ``train`` around a plan's, and as ``pawl.toml`` has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from refine.planner import MIN_KTO_BATCH, Plan

Params = dict[str, int | float]
AROUND = (0.25, 0.5, 1, 2, 4)  # times a rate, or beta
# Each setting more takes time from the others.
BY_NAME = ("label_smoothing", "neftune_alpha", "last_layers")


@dataclass(frozen=True, slots=True)
class Dimension:
    """One setting of ``train``. ``values``: those it may have, those of a grid; with ``is_range``
    the first and the last bound what is drawn, on a logarithmic scale."""

    name: str
    values: tuple[int | float, ...]
    default: int | float
    is_range: bool = False

    @property
    def bounds(self) -> tuple[float, float]:
        return self.values[0], self.values[-1]


def space(plan: Plan, *, max_rank: int, n_layers: int | None = None) -> dict[str, Dimension]:
    """What can be searched around a plan of one stage: each setting's values, the plan's among
    them. Those in ``BY_NAME`` are searched where they are named.

    Args:
        max_rank: what the engine serves.
        n_layers: of the base; None: ``last_layers`` is not searched.
    """
    [stage] = plan.stages
    ranks = {value for value in (4, 8, 16, 32, 64) if value <= max_rank} | {plan.lora_rank}
    batch = stage.batch_size
    least_batch = MIN_KTO_BATCH if stage.kind == "kto" else 2
    batches = {max(least_batch, batch // 2), batch, 2 * batch}
    replay = {round(plan.n_replay_rows * factor) for factor in (0, 0.25, 0.5, 1, 2)}
    epochs = {stage.n_epochs * factor for factor in (0.25, 0.5, 1)}
    dropout, decay = plan.lora_dropout, plan.weight_decay
    dimensions = [
        _range("learning_rate", stage.learning_rate),
        Dimension("n_epochs", tuple(sorted(epochs)), stage.n_epochs),
        Dimension("lora_rank", tuple(sorted(ranks)), plan.lora_rank),
        Dimension("batch_size", tuple(sorted(batches)), batch),
        Dimension("n_replay_rows", tuple(sorted(replay)), plan.n_replay_rows),
        Dimension("lora_dropout", tuple(sorted({0.0, 0.05, 0.1, dropout})), dropout),
        Dimension("weight_decay", tuple(sorted({0.0, 0.01, 0.1, decay})), decay),
    ]
    if stage.kind != "sft":
        dimensions.append(_range("beta", plan.beta))
    if stage.kind == "sft":
        smoothing = plan.label_smoothing
        values = tuple(sorted({0.0, 0.05, 0.1, smoothing}))
        dimensions.append(Dimension("label_smoothing", values, smoothing))
        noise = plan.neftune_alpha
        values = tuple(sorted({0.0, 5.0, 10.0, noise}))
        dimensions.append(Dimension("neftune_alpha", values, noise))
    if n_layers is not None:
        last = plan.last_layers or n_layers
        parts = {max(1, n_layers // 4), max(1, n_layers // 2), n_layers, last}
        dimensions.append(Dimension("last_layers", tuple(sorted(parts)), last))
    without = ("lora_rank", "lora_dropout") if plan.tuning == "full" else ()  # they change nothing
    return {one.name: one for one in dimensions if len(one.values) > 1 and one.name not in without}


def _range(name: str, default: float) -> Dimension:
    values = tuple(default if factor == 1 else rounded(default * factor) for factor in AROUND)
    return Dimension(name, values, default, is_range=True)


def rounded(value: float) -> float:
    """Three digits: what people can read and type again."""
    return float(f"{value:.3g}")


def applied(params: Mapping[str, int | float], plan: Plan) -> Plan:
    """The plan, of one stage, with these settings of ``train``."""
    [stage] = plan.stages
    of_stage = ("learning_rate", "n_epochs", "batch_size")
    changes: dict[str, Any] = {name: params[name] for name in of_stage if name in params}
    others: dict[str, Any] = {k: v for k, v in params.items() if k not in of_stage}
    return replace(plan, stages=(replace(stage, **changes),), **others)


def as_toml(lines: Sequence[str], params: Mapping[str, int | float]) -> str:
    """A recipe as a part of ``pawl.toml``, below ``lines`` of comment."""
    comment = [f"# {' '.join(line.split())}" for line in lines]
    values = [f"{name} = {value!r}" for name, value in params.items()]
    return "\n".join([*comment, "[train]", *values, ""])


def most_replay(plan: Plan, dimensions: Iterable[Dimension]) -> int:
    """Replay rows that any recipe takes."""
    counts = [one.values for one in dimensions if one.name == "n_replay_rows"]
    return max(plan.n_replay_rows, *(int(max(values)) for values in [*counts, (0,)]))
