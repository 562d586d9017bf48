"""Plots as numbers, and tables as files that no spreadsheet computes with."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from serve.pages.plots import bars, csv_text, curve


def rate(value: float | None, lower: float = 0.0, upper: float = 10.0) -> dict[str, Any]:
    return {"per_1000": value, "lower": lower, "upper": upper}


@pytest.mark.parametrize("text", [
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "＝1", '=HYPERLINK("x","y")',
])  # fmt: skip
def test_no_cell_is_a_formula(text: str) -> None:
    written = csv_text([text, "n"], [[text, -1.5], ['plain, "quoted"', 2]])
    assert written.startswith("\ufeff")
    head, first, second = csv.reader(io.StringIO(written.removeprefix("\ufeff"), newline=""))
    assert head[0] == first[0] == f"'{text}"
    assert first[1] == "-1.5"  # a number of ours
    assert second == ['plain, "quoted"', "2"]


def test_bars_and_their_ranges_stay_in_the_picture() -> None:
    plot = bars(["a", "b", "c"], [rate(10, 5, 20), rate(0, 0, 900), rate(None)], "Flags")
    for row in plot["rows"]:
        assert 0 <= row["width"] <= 100
        assert 0 <= row["from"] <= row["from"] + row["range"] <= 100
    assert plot["rows"][0]["width"] == pytest.approx(200 / 3, abs=0.01)
    assert plot["label"] == "Flags: a 10, b 0, c 0"
    assert bars([], [], "Flags")["rows"] == []


def test_a_line_is_broken_where_there_is_no_value() -> None:
    values = [None, 1.0, 2.0, None, 4.0]
    plot = curve(list("abcde"), [("flags", "solid", values)], "Flags", [None, (0.5, 9.0)])
    assert plot["top"] == "5"
    [drawn] = plot["series"]
    assert (drawn["lines"], drawn["alone"]) == (["15,80.0 25,60.0"], ["45,20.0 45,20.0"])
    assert drawn["ranges"] == [(15, 90.0, 0.0)]
    assert plot["label"] == "Flags, a to e: flags from 1 to 4"
    nothing = curve(["a"], [("answers", "box", [None])], "Answers")
    assert (nothing["top"], nothing["label"]) == ("1", "Answers, a to a: nothing")


@pytest.mark.parametrize(
    ("highest", "top"), [(0.03, "0.05"), (1.9, "5"), (90, "100"), (950, "2,000")]
)
def test_the_axis_ends_at_a_round_number_above_all(highest: float, top: str) -> None:
    assert curve(["a"], [("n", "box", [highest])], "n")["top"] == top
