"""The report as one HTML page that needs nothing else: no script, no font, no other file."""

from __future__ import annotations

from html import escape
from typing import Any

from evals.report.plots import before_after, forest

TITLES = {
    "promote": ("Promoted", "good"),
    "reject": ("Rejected", "bad"),
    "not_enough_evidence": ("Not enough evidence", "open"),
    "no_verdict": ("No verdict", "bad"),
    "no_run": ("No run", "open"),
    "failed": ("The night failed", "bad"),
}

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1.25rem 4rem; color: #1f2933;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
header { border-left: 6px solid var(--tone); padding: 0.25rem 0 0.25rem 1.1rem; }
.good { --tone: #1f6f8b; } .bad { --tone: #b3261e; } .open { --tone: #d9822b; }
h1 { margin: 0; font-size: 2rem; color: var(--tone); }
h2 { margin: 2.6rem 0 0.6rem; font-size: 1.25rem; }
h3 { margin: 1.4rem 0 0.4rem; font-size: 1rem; }
p, ul { margin: 0.5rem 0; } .quiet { color: #616e7c; font-size: 0.92rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.93rem; margin: 0.6rem 0; }
th, td { text-align: left; padding: 0.35rem 0.7rem 0.35rem 0; border-bottom: 1px solid #e4e7eb;
  vertical-align: top; }
th { font-weight: 600; color: #52606d; } td.n, th.n { text-align: right;
  font-variant-numeric: tabular-nums; }
svg { width: 100%; height: auto; display: block; margin: 0.8rem 0; }
details { border: 1px solid #e4e7eb; border-radius: 6px; padding: 0.5rem 0.9rem; margin: 0.5rem 0; }
summary { cursor: pointer; font-weight: 600; }
.case { border-top: 1px solid #e4e7eb; padding: 0.6rem 0; }
.case:first-of-type { border-top: 0; }
.case dl { display: grid; grid-template-columns: 9.5rem 1fr; gap: 0.15rem 0.8rem; margin: 0; }
.case dt { color: #616e7c; } .case dd { margin: 0; white-space: pre-wrap;
  overflow-wrap: anywhere; }
code, pre { font: 0.92em/1.5 ui-monospace, "DejaVu Sans Mono", monospace; background: #f5f7fa;
  border-radius: 4px; padding: 0.1rem 0.35rem; } pre { padding: 0.7rem 0.9rem; overflow-x: auto; }
.yes { color: #1f6f8b; font-weight: 600; } .no { color: #b35c00; font-weight: 600; }
@media (max-width: 40rem) { .case dl { grid-template-columns: 1fr; } }
"""


def render(report: dict[str, Any]) -> str:
    """The whole page."""
    title, tone = TITLES[report["outcome"]]
    if report["outcome"] == "promote":
        title, tone = _promotion_title(report.get("promotion"))
    sections = [
        _head(report, title, tone),
        _added(report),
        _benchmarks(report),
        _complaints(report),
        _changes(report),
        _probe(report),
        _back(report),
        _recipe(report),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}: {_e(report['run_id'])}</title>\n<style>{STYLE}</style></head>\n"
        f"<body>\n{''.join(sections)}\n</body></html>\n"
    )


def _e(value: Any) -> str:
    return escape(str(value))


def _promotion_title(promotion: dict[str, Any] | None) -> tuple[str, str]:
    """The gate said yes; what the server made of it is another matter."""
    match (promotion or {}).get("outcome"):
        case "live":
            return f"Promoted: {_e((promotion or {})['version'])} answers now", "good"
        case "pending":
            return "Promoted, waiting for the engine", "good"
        case "indistinguishable":
            return "Passed the gate, not promoted: indistinguishable", "open"
        case "refused":
            return "Passed the gate, refused by the server", "bad"
    return "Passed the gate", "good"


def _head(report: dict[str, Any], title: str, tone: str) -> str:
    verdict = report["verdict"] or {}
    reasons = "".join(f"<li>{_e(reason)}</li>" for reason in report["reasons"])
    note = f"<p>{_e(report['note'])}</p>" if report["note"] else ""
    champion = verdict.get("champion_version")
    against = f" against champion {_e(champion)}" if champion else ""
    return (
        f'<header class="{tone}"><h1>{title}</h1><p class="quiet">Run {_e(report["run_id"])}'
        f"{against}, {_e(report['written_at'][:16].replace('T', ' '))} UTC</p></header>\n"
        f"{note}<ul>{reasons}</ul>\n"
    )


def _table(head: list[str], rows: list[list[str]], numbers: set[int]) -> str:
    def line(cells: list[str], tag: str) -> str:
        return (
            "<tr>"
            + "".join(
                f"<{tag}{' class=n' if i in numbers else ''}>{cell}</{tag}>"
                for i, cell in enumerate(cells)
            )
            + "</tr>"
        )

    return (
        f"<table><thead>{line(head, 'th')}</thead><tbody>"
        + "".join(line(row, "td") for row in rows)
        + "</tbody></table>\n"
    )


def _added(report: dict[str, Any]) -> str:
    snapshot, plan = report["snapshot"], report["plan"]
    if not snapshot and not plan:
        return ""
    parts = ["<h2>What was added</h2>\n"]
    if snapshot:
        rows = [
            [split, kind, f"{n:,}"]
            for split, kinds in snapshot.get("counts", {}).items()
            for kind, n in kinds.items()
        ]
        parts.append(f"<p>Snapshot <code>{_e(snapshot.get('snapshot_id', ''))}</code></p>")
        parts.append(_table(["split", "kind", "rows"], [[_e(c) for c in r] for r in rows], {2}))
        rejections = snapshot.get("rejections") or {}
        if rejections:
            parts.append(
                "<p>Left out: "
                + "; ".join(
                    f"{n:,} {_e(str(reason).replace('_', ' '))}" for reason, n in rejections.items()
                )
                + ".</p>"
            )
    if plan:
        parts.append(
            f"<p>Method: <strong>{_e(plan.get('method', ''))}</strong>. "
            f"{_e(plan.get('reason', ''))}</p>"
        )
    return "".join(parts)


def _benchmarks(report: dict[str, Any]) -> str:
    verdict = report["verdict"]
    if not verdict or not verdict["benchmarks"]:
        return ""
    rows = verdict["benchmarks"]
    alpha = verdict.get("alpha", 0.05)
    parts = ["<h2>Is it as good as before?</h2>\n", _comparison(rows, "champion", report)]
    parts.append(
        f'<p class="quiet">Differences are challenger minus champion on the same items. The bar '
        f"runs between two one-sided bounds at {1 - alpha:.0%} each; a benchmark passes when the "
        f"bar ends right of the red mark.</p>"
    )
    if verdict.get("anchor"):
        parts.append(
            "<h3>Against the anchor</h3>" + _comparison(verdict["anchor"], "anchor", report)
        )
    return "".join(parts)


def _comparison(rows: list[dict[str, Any]], before: str, report: dict[str, Any]) -> str:
    shown = [row for row in rows if row["lower"] is not None]
    plot = forest(shown, label=f"Differences by benchmark, {report['run_id']}") if shown else ""
    return plot + _table(
        [
            "benchmark",
            "items",
            before,
            "challenger",
            "difference",
            "interval",
            "broke / improved",
            "no worse?",
        ],
        [
            [
                _e(r["name"]),
                f"{r['n']:,}",
                _percent(r["champion"]),
                _percent(r["challenger"]),
                _points(r["difference"]),
                f"{_points(r['lower'])} to {_points(r['upper'])}",
                f"{r['n_worsened']} / {r['n_improved']}",
                _mark(r["passed"]),
            ]
            for r in rows
        ],
        {1, 2, 3, 4, 5, 6},
    )


def _mark(passed: bool) -> str:
    return '<span class="yes">shown</span>' if passed else '<span class="no">not shown</span>'


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value * 100:.1f} %"


def _points(value: float | None) -> str:
    return "" if value is None else f"{value * 100:+.1f}"


def _complaints(report: dict[str, Any]) -> str:
    complaints = report["complaints"]
    left_out = _left_out(report)
    if not complaints and not left_out:
        return ""
    parts = ["<h2>Is it better at what people complained about?</h2>\n", left_out]
    if not complaints:
        return "".join(parts)
    holdout = (report["verdict"] or {}).get("holdout")
    if holdout:
        parts.append(
            f"<p>{holdout['n']} questions of {holdout['n_conversations']} conversations were never "
            f"trained on. Score {_percent(holdout['champion'])} before, "
            f"<strong>{_percent(holdout['challenger'])}</strong> now ({holdout['n_improved']} "
            f"better, {holdout['n_worsened']} worse; p = {holdout['p_better']:.3g}). A corrected "
            f"question scores one half for finding the correction likelier than the flagged "
            f"answer and one half for saying it; a preference scores for being shared.</p>"
        )
    parts.append(
        before_after(
            complaints["by_category"], label="Score by category of complaint, before and after"
        )
    )
    for key, title in (
        ("mended", "Mended"),
        ("broken", "Worse than before"),
        ("unchanged_wrong", "Still not right"),
    ):
        cases = complaints[key]
        if cases:
            body = "".join(_complaint(one) for one in cases)
            opened = " open" if key == "mended" else ""
            parts.append(f"<details{opened}><summary>{title}: examples</summary>{body}</details>")
    return "".join(parts)


def _left_out(report: dict[str, Any]) -> str:
    counts = (report["scoring"].get("challenger") or {}).get("n_holdout_left_out") or {}
    why = {
        "too_long": "longer than the model's context",
        "refused": "refused by the model's chat template",
    }
    said = [f"{n:,} {why[key]}" for key, n in counts.items() if n]
    return f"<p>Held-out questions left out: {', '.join(said)}.</p>" if said else ""


def _complaint(one: dict[str, Any]) -> str:
    prompt = one["prompt"]
    asked = (
        prompt
        if isinstance(prompt, str)
        else "\n".join(f"{m['role']}: {m['content']}" for m in prompt)
    )
    if one["champion"] is None:  # a preference: which of two answers is better, none is asked for
        said = {1.0: "shares the preference", 0.0: "prefers the other"}
        return _case(
            [
                ("asked", asked),
                ("preferred", one["correction"]),
                ("to", one["flagged"]),
                ("champion", said.get(one["champion_score"])),
                ("challenger", said.get(one["challenger_score"])),
            ]
        )
    return _case(
        [
            ("asked", asked),
            ("flagged answer", one["flagged"]),
            ("correction", one["correction"]),
            (f"champion ({one['champion_score']:g})", one["champion"]),
            (f"challenger ({one['challenger_score']:g})", one["challenger"]),
        ]
    )


def _case(pairs: list[tuple[str, Any]]) -> str:
    return (
        '<div class="case"><dl>'
        + "".join(f"<dt>{_e(name)}</dt><dd>{_e(value)}</dd>" for name, value in pairs)
        + "</dl></div>"
    )


def _changes(report: dict[str, Any]) -> str:
    changed = {k: v for k, v in report["changes"].items() if v["n_broke"] or v["n_improved"]}
    if not changed:
        return ""
    parts = ["<h2>What broke, what improved</h2>\n"]
    for name, one in changed.items():
        body = "".join(
            f"<h3>{title}</h3>" + "".join(_item(case) for case in one[key])
            for key, title in (("broke", "Broke"), ("improved", "Improved"))
            if one[key]
        )
        parts.append(
            f"<details><summary>{_e(name)}: {one['n_broke']} broke, {one['n_improved']} improved "
            f"of {one['n']:,}</summary>{body}</details>"
        )
    return "".join(parts)


def _item(one: dict[str, Any]) -> str:
    choices, target = one["choices"], one["target"]

    def named(index: Any) -> str:
        inside = isinstance(index, int) and 0 <= index < len(choices)
        return str(choices[index]) if inside else str(index)

    pairs = [("asked", str(one["prompt"])[-300:])]
    if one["champion_score"] in (0.0, 1.0) and one["challenger_score"] in (0.0, 1.0):
        pairs += [
            ("right", named(target)),
            ("champion said", named(one["champion_chose"])),
            ("challenger said", named(one["challenger_chose"])),
        ]
    else:
        pairs += [
            ("champion's score", f"{one['champion_score']:.2f}"),
            ("challenger's score", f"{one['challenger_score']:.2f}"),
        ]
    return _case(pairs)


def _probe(report: dict[str, Any]) -> str:
    promotion = report["promotion"]
    if not promotion:
        return ""
    probe = promotion.get("probe") or {}
    rows = [
        [_e(str(key).replace("_", " ")), _e(f"{v:.4g}" if isinstance(v, float) else v)]
        for key, v in probe.items()
        if not isinstance(v, list | dict)
    ]
    reason = f" {_e(promotion['reason'])}" if promotion.get("reason") else ""
    return (
        f"<h2>Is it live?</h2>\n<p>{_e(promotion['version'])}: "
        f"<strong>{_e(promotion['outcome'])}</strong>.{reason}</p>"
        + (_table(["probe", ""], rows, {1}) if rows else "")
    )


def _back(report: dict[str, Any]) -> str:
    return f"<h2>How to go back</h2>\n<pre>{_e(report['how_to_go_back'])}</pre>\n"


def _recipe(report: dict[str, Any]) -> str:
    parts = []
    if report["recipe"]:
        rows = [
            [_e(key), _e(value)]
            for key, value in _flat((report["adapter"] or {}) | report["recipe"])
        ]
        parts.append(
            "<details><summary>Recipe</summary>"
            + _table(["setting", "value"], rows, set())
            + "</details>"
        )
    if report["scoring"]:
        rows = [[_e(key), _e(value)] for key, value in _flat(report["scoring"])]
        parts.append(
            "<details><summary>Scoring</summary>"
            + _table(["what", "value"], rows, set())
            + "</details>"
        )
    if report["seconds"]:
        rows = [[_e(step), f"{value:,.1f}"] for step, value in report["seconds"].items()]
        rows.append(["all", f"{sum(report['seconds'].values()):,.1f}"])
        parts.append(_table(["step", "seconds"], rows, {1}))
    return "<h2>How it was made</h2>\n" + "".join(parts) if parts else ""


def _flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested dicts as dotted keys."""
    rows: list[tuple[str, Any]] = []
    for key, one in value.items():
        if isinstance(one, dict):
            rows += _flat(one, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", one))
    return rows
