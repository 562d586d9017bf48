"""The report's plots, as SVG text to be put into the page."""

from __future__ import annotations

import io
import re
from typing import Any

BLUE, ORANGE, RED, GREY, INK = "#1f6f8b", "#d9822b", "#b3261e", "#9aa5b1", "#1f2933"
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # screen readers would say it


def forest(rows: list[dict[str, Any]], *, label: str) -> str:
    """Each benchmark's difference in points with its interval, zero, and the allowed loss.

    Args:
        rows: dicts with ``name``, ``n``, ``difference``, ``lower``, ``upper``, ``margin`` (None for
            a row without one) and ``passed``; fractions.
        label: what a screen reader says instead.
    """
    figure, axes = _figure(rows, "name", 0.44)
    for y, row in enumerate(reversed(rows)):
        color = BLUE if row["passed"] else ORANGE
        low, mid, high = (100 * row[key] for key in ("lower", "difference", "upper"))
        axes.plot([low, high], [y, y], color=color, linewidth=2.4, solid_capstyle="round")
        axes.plot([mid], [y], "o", color=color, markersize=7)
        if row["margin"] is not None:
            axes.plot([-100 * row["margin"]] * 2, [y - 0.36, y + 0.36], color=RED, linewidth=1.6)
    axes.axvline(0, color=INK, linewidth=0.9)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlabel("challenger minus champion, points (red: the allowed loss)")
    return _svg(figure, label)


def before_after(rows: list[dict[str, Any]], *, label: str) -> str:
    """Score of champion and challenger on the held-out questions of each category.

    Args:
        rows: dicts with ``category``, ``n``, ``champion``, ``challenger``; fractions.
        label: what a screen reader says instead.
    """
    figure, axes = _figure(rows, "category", 0.5)
    for who, above, color in (("champion", 0.17, GREY), ("challenger", -0.17, BLUE)):
        places = [y + above for y in range(len(rows))]
        shares = [100 * row[who] for row in reversed(rows)]
        axes.barh(places, shares, height=0.3, color=color, label=who)
    axes.set_xlim(0, 100)
    axes.set_xlabel("mean score on held-out questions, %")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9)
    return _svg(figure, label)


def curves(shown: list[dict[str, Any]], *, label: str) -> str:
    """A panel a metric, over steps: training as a line, validation as dots.

    Args:
        shown: of one stage, as :func:`pawl.curves.read_curves` gives them.
        label: what a screen reader says instead.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    n_rows = (len(shown) + 1) // 2
    figure = Figure(figsize=(8.2, 2.1 * n_rows), layout="constrained")
    FigureCanvasSVG(figure)
    for i, curve in enumerate(shown):
        axes = figure.add_subplot(n_rows, 2, i + 1)
        _plain(axes, "top", "right")
        axes.grid(axis="y", color="#e4e7eb", linewidth=0.8)
        axes.tick_params(labelsize=8)
        axes.set_title(curve["metric"], fontsize=10, loc="left")
        for side, style, color in (("train", "-", BLUE), ("validation", "o", ORANGE)):
            if curve[side]:
                steps, values = zip(*curve[side], strict=True)
                shape = style if len(steps) > 1 else "o"
                axes.plot(steps, values, shape, color=color, linewidth=1.4, markersize=4,
                          label=side)  # fmt: skip
        axes.set_xlabel("step", fontsize=8)
        if i == 0 and curve["validation"]:
            # A place of its own: "best" is searched for, and warned of where that takes a second.
            axes.legend(frameon=False, fontsize=8, loc="upper right")
    return _svg(figure, label)


def recipes(trials: list[dict[str, Any]], *, best: int, label: str) -> str:
    """The score of each recipe of a search, in the order in which they were tried and over each of
    its settings.

    Args:
        trials: dicts with ``trial``, ``state``, ``params``, ``score`` and ``standard_error``.
        best: number of the best one.
        label: what a screen reader says instead.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    names = [name for name in trials[0]["params"] if len({t["params"][name] for t in trials}) > 1]
    n_rows = (len(names) + 2) // 2
    figure = Figure(figsize=(8.2, 2.1 * n_rows), layout="constrained")
    FigureCanvasSVG(figure)
    for i, name in enumerate(["in the order tried", *names]):
        axes = figure.add_subplot(n_rows, 2, i + 1)
        _plain(axes, "top", "right")
        axes.grid(axis="y", color="#e4e7eb", linewidth=0.8)
        axes.tick_params(labelsize=8)
        axes.set_title(name, fontsize=10, loc="left")
        for trial in trials:
            x = trial["params"][name] if i else trial["trial"]
            color = ORANGE if trial["trial"] == best else BLUE
            filled = color if trial["state"] == "complete" else "none"
            axes.errorbar([x], [trial["score"]], yerr=trial["standard_error"], fmt="o", color=color,
                          markerfacecolor=filled, markersize=5, linewidth=1.0)  # fmt: skip
        if name in ("learning_rate", "beta"):
            axes.set_xscale("log")
    return _svg(figure, label)


def _plain(axes: Any, *sides: str) -> None:
    for side in sides:
        axes.spines[side].set_visible(False)
    axes.set_axisbelow(True)


def _figure(rows: list[dict[str, Any]], name: str, row_height: float) -> tuple[Any, Any]:
    """A figure with a line for each row, the first on top."""
    # The object interface: pyplot keeps global state and looks for a display.
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.2, 0.9 + row_height * len(rows)), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    _plain(axes, "top", "right", "left")
    axes.tick_params(axis="y", length=0, labelsize=10)
    axes.tick_params(axis="x", labelsize=9)
    axes.set_yticks(range(len(rows)), [f"{row[name]}  ({row['n']:,})" for row in reversed(rows)])
    axes.grid(axis="x", color="#e4e7eb", linewidth=0.8)
    return figure, axes


def _svg(figure: Any, label: str) -> str:
    """The figure as one ``<svg>`` element that scales with the page."""
    from html import escape

    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.hashsalt": "pawl"}):  # the same figures give the same file
        figure.savefig(out, format="svg", metadata=NO_METADATA, transparent=True)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'<svg ([^>]*?)width="[^"]*pt"', r"<svg \1", text, count=1)
    text = re.sub(r'height="[^"]*pt"', "", text, count=1)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)
