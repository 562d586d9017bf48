"""The closing page of the demo, in words."""

from __future__ import annotations

from typing import Any

from pawl.settings import Settings

N_EXAMPLES = 5


def describe(result: dict[str, Any], settings: Settings) -> str:
    """What the people found, what broke, what the gate said, and how to go on.

    Args:
        result: what ``refine.demo.run_demo`` measured.
        settings: of the demo, for the paths and commands that come last.
    """
    return "\n".join(
        [*_faults(result), *_side_effects(result), *_gate(result), *_ending(result, settings)]
    )


def _faults(result: dict[str, Any]) -> list[str]:
    low, high = result["faults_fixed_interval"]
    faults = result["faults"]
    lines = [
        "",
        f"FAULTS: {result['n_faults_fixed']} of {result['n_faults_met']} are fixed "
        f"(95 % interval {low:.0%} to {high:.0%})",
        "  Each was asked about in wordings that no flag used. A fault counts as fixed when at",
        "  least three in four of its questions that were answered wrongly before are answered",
        "  correctly now; the checker of evals/mini decides.",
        f"  Together: 0 of {result['n_phrasings']} such questions correct before, "
        f"{result['n_phrasings_fixed']} now.",
    ]
    right = [one["right"] for one in faults.values() if one["is_fixed"] and one["right"]]
    lines += [f"  fixed: {_change(one)}" for one in right[:1]]
    for name, one in faults.items():
        if not one["is_fixed"]:
            lines.append(
                f"  still there: {name}, {one['n_fixed']} of {one['n_shown']} answered correctly"
            )
            lines += [f"    {_change(one['wrong'])}"] if one["wrong"] else []
    return lines


def _side_effects(result: dict[str, Any]) -> list[str]:
    broken, right = result["newly_broken"], result["newly_right"]
    before = result["n_control_right"]
    lines = [
        "",
        f"SIDE EFFECTS: of {result['n_control']} questions that nobody complained about "
        f"{before} were answered correctly, now {before - len(broken) + len(right)}: "
        f"{len(broken)} broke, {len(right)} became right",
        "  The gate, which decides whether the new adapter goes live, does not use these",
        "  questions: it judges by the benchmarks and the held-out complaints.",
    ]
    lines += [f"  broke: {_change(one)}" for one in broken[:N_EXAMPLES]]
    if len(broken) > N_EXAMPLES:
        lines.append(f"  and {len(broken) - N_EXAMPLES} more, in demo.json")
    return lines


def _gate(result: dict[str, Any]) -> list[str]:
    verdict = result["verdict"]
    if not verdict:
        return ["", f"THE GATE: the night ended without a verdict: {result['night_reason']}"]
    lines = [
        "",
        f"THE GATE: {verdict['outcome'].replace('_', ' ')}",
        "  benchmark             before   after  change in points         limit   items",
    ]
    for one in verdict["benchmarks"]:
        span = f"({100 * one['lower']:+.1f} to {100 * one['upper']:+.1f})"
        lines.append(
            f"  {one['name']:<20} {one['champion']:>6.1%}  {one['challenger']:>6.1%}  "
            f"{100 * one['difference']:>+5.1f} {span:<16} {-100 * one['margin']:>6.1f}  "
            f"{one['n']:>6,}"
        )
    lines.append(
        "  (in brackets: one-sided 95 % bounds of the change; the lower must be over the limit)"
    )
    return lines + [f"  - {reason}" for reason in verdict["reasons"]]


def _ending(result: dict[str, Any], settings: Settings) -> list[str]:
    restarted = "was" if result["engine_restarted"] else "was not"
    pawl = f"pawl --state-dir {settings.state_dir}"
    lines = [
        "",
        f"ANSWERING NOW: {result['champion_after']} (before: {result['champion_before']}); the "
        f"engine {restarted} restarted. {result['total_seconds']:.0f} s in all, "
        f"{result['night_seconds']:.0f} of them the night.",
        f"  report of the night   {settings.runs_dir / result['run_id'] / 'report.html'}",
        f"  all that was measured {settings.state_dir / 'demo.json'}",
        f"  chat with it          {pawl} up     (serves, and prints the page's address)",
    ]
    if result["champion_after"] != result["champion_before"]:
        lines.append(f"  go back               {pawl} rollback")
    return lines


def _change(one: dict[str, str]) -> str:
    return f"{one['question']!r}: {one['before']!r} -> {one['after']!r}"
