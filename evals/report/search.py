"""The page of a search for a recipe: what was tried, the best, each setting against the score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evals.report.html import environment_of
from evals.report.plots import recipes


def render(result: Mapping[str, Any]) -> str:
    """The whole page of a ``result.json`` (``refine/search.py``)."""
    from markupsafe import Markup

    environment = environment_of({"figure": lambda value: "" if value is None else f"{value:.3f}"})
    shown = [row for row in result["trials"] if row["score"] is not None]
    plot = recipes(shown, best=result["best"]["trial"], label="Score of each recipe by setting")
    return environment.get_template("search.html").render(result=result, plot=Markup(plot))
