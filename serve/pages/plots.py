"""Plots of the dashboard as numbers for its template, and tables as CSV.

Drawn as HTML and SVG by ``assets/board.html`` rather than by a library: Gradio's own plots
(Vega) evaluate text as code, which the pages' content policy forbids, and pictures of matplotlib
know no dark mode and shrink their letters on a phone.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

MORE = 1.1  # the axis ends so far above the highest value
GAP = 0.15  # between two boxes, of their width
# What a spreadsheet may take for the beginning of a formula (OWASP, CSV Injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def bars(names: Sequence[str], rates: Sequence[dict[str, Any]], what: str) -> dict[str, Any]:
    """Bars of rates with their intervals, one below the other.

    Args:
        rates: as ``FlagRate`` has them.
        what: is counted, for who can't see it.
    """
    values = [float(one["per_1000"] or 0) for one in rates]
    # A wide interval of few answers does not flatten all others: it runs out of the picture.
    top = max(1.5 * max(values, default=0.0), min((one["upper"] for one in rates), default=1.0))
    rows = []
    for name, value, rate in zip(names, values, rates, strict=True):
        low, high = (min(100.0, 100 * rate[end] / top) for end in ("lower", "upper"))
        rows.append(
            {"name": name, "width": _short(100 * value / top), "from": _short(low),
             "range": _short(high - low), "value": f"{round(value, 1):g}"}
        )  # fmt: skip
    told = ", ".join(f"{name} {value:g}" for name, value in zip(names, values, strict=True))
    return {"label": f"{what}: {told}", "rows": rows}


def curve(
    names: Sequence[str],
    series: Sequence[tuple[str, str, Sequence[float | None]]],
    what: str,
    ranges: Sequence[tuple[float, float] | None] = (),
) -> dict[str, Any]:
    """Values over time.

    Args:
        names: of the times, in order.
        series: (name, kind, value of each time or None); the kind is ``box`` for bars that stand on
            the axis, ``solid`` or ``dashed`` for a line, which is broken where there is no value.
        what: is shown, for who can't see it.
        ranges: the interval of each value of the first one.
    """
    known = [value for _, _, values in series for value in values if value is not None]
    top = _round_up(MORE * max(known, default=0.0))
    width = 10 * max(1, len(names))
    drawn = []
    for n, (name, kind, values) in enumerate(series):
        boxes, lines, alone, points = [], [], [], []
        for i, value in enumerate([*values, None]):
            if value is not None and kind == "box":
                height = 100 * value / top
                boxes.append([_short(one) for one in (10 * (i + GAP / 2), 100 - height,
                                                      10 * (1 - GAP), height)])  # fmt: skip
            elif value is not None:
                points.append(f"{10 * i + 5},{_short(100 - 100 * value / top)}")
            elif len(points) == 1:  # a line of no length, with round ends
                alone.append(" ".join(points * 2))
                points = []
            elif points:
                lines.append(" ".join(points))
                points = []
        whiskers = [
            (10 * i + 5, _short(100 - min(100.0, 100 * found[0] / top)),
             _short(100 - min(100.0, 100 * found[1] / top)))
            for i, found in enumerate(ranges) if n == 0 and found is not None
        ]  # fmt: skip
        drawn.append({"name": name, "kind": kind, "boxes": boxes, "lines": lines, "alone": alone,
                      "ranges": whiskers})  # fmt: skip
    told = [
        f"{name} from {min(found):g} to {max(found):g}"
        for name, _, values in series
        if (found := [one for one in values if one is not None])
    ]
    label = f"{what}, {names[0]} to {names[-1]}: {', '.join(told) or 'nothing'}"
    return {"label": label, "series": drawn, "top": f"{top:,.10g}", "width": width,
            "first": names[0], "last": names[-1]}  # fmt: skip


def _short(value: float) -> float:
    return round(value, 2)


def _round_up(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return round(next(step * power for step in (1, 2, 5, 10) if step * power >= value), 6)


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as a file that spreadsheets open: UTF-8 with its mark. A text that one would take for
    a formula gets an apostrophe before it."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerows([_cell(value) for value in row] for row in [columns, *rows])
    return "\ufeff" + out.getvalue()


def _cell(value: Any) -> Any:
    is_formula = isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA)
    return f"'{value}" if is_formula else value
