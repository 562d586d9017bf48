"""The report as one HTML page that needs nothing else: no script, no font, no other file.

The words and the layout are in ``templates/``; here is what they are filled with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.report.plots import before_after, curves, forest
from evals.sequential import EARLY_SHARE

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
TITLES = {
    "promote": ("Passed the gate", "good"),
    "reject": ("Rejected", "bad"),
    "not_enough_evidence": ("Not enough evidence", "open"),
    "no_verdict": ("No verdict", "bad"),
    "no_run": ("No run", "open"),
    "trained": ("Trained, not tested", "open"),
    "failed": ("The night failed", "bad"),
}
LEFT_OUT = {
    "too_long": "longer than the model's context",
    "refused": "refused by the model's chat template",
}


def environment_of(filters: Mapping[str, Callable[..., str]]) -> Environment:
    """The templates of the reports: every text escaped, a name that is missing an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment


def render(report: dict[str, Any]) -> str:
    """The whole page of a report (see :func:`evals.report.report.build_report`)."""
    from markupsafe import Markup

    environment = environment_of(FILTERS)

    def plot_of_differences(rows: list[dict[str, Any]], label: str) -> Markup:
        shown = [row for row in rows if row["lower"] is not None]
        return Markup(forest(shown, label=label)) if shown else Markup()

    title, tone = _title(report)
    probe = (report["promotion"] or {}).get("probe") or {}
    return environment.get_template("report.html").render(
        report=report,
        title=title,
        tone=tone,
        verdict=report["verdict"],
        early_share=EARLY_SHARE,
        complaints=report["complaints"],
        left_out=_left_out(report),
        to_know=_to_know(report),
        changes={k: v for k, v in report["changes"].items() if v["n_broke"] or v["n_improved"]},
        probe=[(k, v) for k, v in probe.items() if not isinstance(v, list | dict)],
        recipe=_flat((report["adapter"] or {}) | report["recipe"]) if report["recipe"] else [],
        scoring=_flat(report["scoring"]),
        # The plots are SVG text of our own; their labels are escaped where they are made.
        forest=plot_of_differences,
        training=_training(report),
        before_after=lambda rows, label: Markup(before_after(rows, label=label)),
    )


def _training(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Of each stage its plot, and the last value of each curve."""
    from markupsafe import Markup

    by_stage: dict[str, list[dict[str, Any]]] = {}
    for curve in report["training"]:
        by_stage.setdefault(curve["stage"], []).append(curve)
    return [
        {
            "stage": stage,
            "plot": Markup(curves(shown, label=f"{stage.upper()}: metrics over steps")),
            "rows": [
                (curve["metric"], *(curve[side][-1][1] if curve[side] else None
                                    for side in ("train", "validation")))
                for curve in shown
            ],
        }
        for stage, shown in by_stage.items()
    ]  # fmt: skip


def percent(fraction: float | None) -> str:
    """``0.614`` as ``61.4 %``; nothing for None."""
    return "" if fraction is None else f"{fraction * 100:.1f} %"


def points(fraction: float | None) -> str:
    """``0.012`` as ``+1.2``, a difference in points; nothing for None."""
    return "" if fraction is None else f"{fraction * 100:+.1f}"


def _title(report: dict[str, Any]) -> tuple[str, str]:
    """The page's title and its tone. The gate's yes is one thing, the server's another."""
    match report["promotion"]:
        case {"outcome": "live", "version": version}:
            return f"Promoted: {version} answers now", "good"
        case {"outcome": "waiting"}:
            return "Passed the gate, waiting for approval", "good"
        case {"outcome": "canary", "version": version}:
            return f"Passed the gate: {version} answers a share of conversations first", "good"
        case {"outcome": "pending"}:
            return "Promoted, waiting for the engine", "good"
        case {"outcome": "indistinguishable"}:
            return "Passed the gate, not promoted: indistinguishable", "open"
        case {"outcome": "refused"}:
            return "Passed the gate, refused by the server", "bad"
    return TITLES[report["outcome"]]


def _to_know(report: dict[str, Any]) -> list[str]:
    """What an operator should know beside the verdict's reasons, and can do about it."""
    texts = []
    plan = report["plan"] or {}
    for stage in (report["recipe"] or {}).get("stages", ()):
        n_steps, n_planned = stage.get("n_steps", 0), stage.get("max_steps", 0)
        if stage.get("stopped_because") == "out of time" and n_steps < n_planned / 2:
            texts.append(
                f"The {stage['kind'].upper()} training came to {n_steps:,} of {n_planned:,} steps: "
                f"its {plan.get('max_minutes', 0):g} minutes were over. The challenger learned "
                "little, and another one like it would too. More minutes (train.max_minutes), a "
                "faster machine or shorter rows (train.max_length_tokens) help."
            )
    if report["verdict"] and not report["promotion"]:
        texts.append(report["how_to_go_back"])
    return texts


def _left_out(report: dict[str, Any]) -> list[str]:
    counts = (report["scoring"].get("challenger") or {}).get("n_holdout_left_out") or {}
    return [f"{n:,} {LEFT_OUT[key]}" for key, n in counts.items() if n]


def _flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested dicts as dotted keys."""
    rows: list[tuple[str, Any]] = []
    for key, item in value.items():
        rows += _flat(item, f"{prefix}{key}.") if isinstance(item, dict) else [(prefix + key, item)]
    return rows


FILTERS: dict[str, Callable[..., Any]] = {
    "percent": percent,
    "points": points,
    "thousands": lambda value: f"{value:,}",
    "words": lambda value: str(value).replace("_", " "),
    "short": lambda value: f"{value:.4g}" if isinstance(value, float) else str(value),
}
