"""What ten nights showed: the questions at the end, missed bars, and each night as a line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evals.gate import decide
from evals.reasons import GateRules
from evals.runner import score
from evals.suites import load
from pawl.client import Pawl
from pawl.models import resolve_model
from pawl.settings import Settings
from refine.demo.people import MAX_ANSWER_TOKENS, N_AT_ONCE, Ask
from refine.demo.results import FIXED_SHARE

RIGHT_FRACTION = 0.8
EXAMINER = "examiner"


def the_end(
    pawl: Pawl, asks: Sequence[Ask], settings: Settings, suite: str | Path
) -> dict[str, Any]:
    """Facts in wordings that nobody used, and the champion against the base on every benchmark.
    The questions are erased at once: in a later night their answers would stand as those that
    nobody flagged."""

    def answer(ask: Ask) -> str:
        return pawl.chat(
            ask.text, rater_id=EXAMINER, temperature=0, max_tokens=MAX_ANSWER_TOKENS
        ).text

    with ThreadPoolExecutor(N_AT_ONCE) as threads:
        texts = list(threads.map(answer, asks))
    pawl.post("/admin/erasures", {"user": EXAMINER})
    right: dict[str, list[bool]] = {}
    answers = []
    for ask, text in zip(asks, texts, strict=True):
        right.setdefault(ask.topic, []).append(ask.is_right(text.strip()))
        answers.append({"question": ask.text, "answer": text, "is_right": right[ask.topic][-1]})
    champion = pawl.status().champion
    return {
        "champion": champion,
        "facts": {topic: sum(marks) >= FIXED_SHARE * len(marks) for topic, marks in right.items()},
        "n_wordings": len(asks),
        "n_wordings_right": sum(map(sum, right.values())),
        "answers": answers,
        "benchmarks": against_base(settings, champion, suite),
    }


def against_base(settings: Settings, champion: str, name: str | Path) -> list[dict[str, Any]]:
    """The last champion's scores beside the base's, on items drawn by a seed that no night has."""
    suite = load(name)
    base = resolve_model(settings.model, cache_dir=settings.state_dir)
    adapter = None if champion == "base" else settings.adapters_dir / champion
    print(f"{champion} and base on the suite {suite.name} ...", file=sys.stderr, flush=True)
    before, after = (
        score(
            base, folder, suite=suite, scores_dir=settings.scores_dir, seed=2026,
            n_items=suite.description.items_per_benchmark, beside_engine=True,
        ).items
        for folder in (None, adapter)
    )  # fmt: skip
    margin = suite.description.margin_anchor
    return [
        asdict(row) for row in decide(before, after, GateRules(margin, margin), None).benchmarks
    ]


def missed_bars(done: list[dict[str, Any]], end: dict[str, Any]) -> list[str]:
    """What fell short, in words; empty when every bar was met."""
    missed = []
    for one in done:
        where, found = f"night {one['night']}", one["suspects"]
        if one["kind"] == "poisoned" and one["outcome"] != "reject":
            missed.append(f"{where}: poisoned, and ended with {one['outcome']}")
        if one["kind"] == "poisoned" and found["n_found"] < max(1, most_found(found)):
            missed.append(
                f"{where}: {found['n_found']} of the first {found['first']} suspects are the "
                f"trolls' {found.get('note', '')}".rstrip()
            )
        if one["kind"] == "quiet" and one["outcome"] != "no_run":
            missed.append(f"{where}: quiet, and ended with {one['outcome']}")
        if one["kind"] == "killed" and not one["killed"]:
            missed.append(f"{where}: it was over before it could be killed")
        if one["kind"] == "killed" and (one["n_runs"] != 1 or one["status"] != "finished"):
            missed.append(f"{where}: killed, then {one['n_runs']} runs, the last {one['status']}")
    facts = end["facts"]
    if sum(facts.values()) < RIGHT_FRACTION * len(facts):
        missed.append(f"{sum(facts.values())} of {len(facts)} facts right")
    missed += [
        f"{row['name']}: a loss of more than {row['margin'] * 100:g} points below the base is not "
        f"ruled out ({row['difference'] * 100:+.1f}, at worst {row['lower'] * 100:+.1f})"
        for row in end["benchmarks"]
        if not row["passed"]
    ]
    return missed


def most_found(found: dict[str, Any]) -> int:
    """How many of the first suspects can be the trolls' rows."""
    return min(int(found["first"]), int(found.get("n_planted", 0)))


def in_words(one: dict[str, Any]) -> str:
    """A night as a line: what was said, learned and decided, how long it took, whose the suspects
    are."""
    said, rows = one["said"], one["rows"]
    learned = rows.get("train", {}).get("sft", 0)
    tests = sum(rows.get("holdout", {}).values())
    parts = [
        f"night {one['night']}, {one['kind']}: {said.get('by people', 0)} corrections by people, "
        f"{said.get('by trolls', 0)} by trolls; {learned} rows learned, {tests} test; "
        f"{one['outcome'].replace('_', ' ')}"
        + (f" ({one['promotion']})" if one["promotion"] else "")
        + f", {one['champion']} answers; {one['minutes']:.1f} min",
        one["reason"][:300],
    ]
    if one["killed"]:
        parts.append(f"killed in its training, then carried on ({one['n_runs']} run)")
    if found := one["suspects"]:
        parts.append(
            found["note"]
            if "note" in found
            else f"{found['n_found']} of the first {found['first']} of {found['n_compared']} "
            f"suspects are the trolls' ({found['n_planted']} rows of theirs), "
            f"{found['n_shown_theirs']} of the first {found['n_shown']}; first honest row: rank "
            f"{found['best_honest_rank']}; {one['erased']} trolls erased"
        )
    return ". ".join(part.rstrip(".") for part in parts if part)


def figures_of(done: list[dict[str, Any]], end: dict[str, Any]) -> dict[str, str]:
    """Night by night, then the end."""
    figures = {}
    for one in done:
        name, _, rest = in_words(one).partition(": ")
        figures[name] = rest.replace("|", "/")
    facts = end["facts"]
    figures["facts right"] = (
        f"{sum(facts.values())} of {len(facts)} (bar {RIGHT_FRACTION:.0%}), "
        f"{end['n_wordings_right']} of {end['n_wordings']} wordings that no correction used"
    )
    for row in end["benchmarks"]:
        figures[f"{row['name']}, base and {end['champion']}"] = (
            f"{row['champion'] * 100:.1f} -> {row['challenger'] * 100:.1f} %, "
            f"{row['difference'] * 100:+.1f} points ({row['lower'] * 100:+.1f} to "
            f"{row['upper'] * 100:+.1f}), {row['n']} items, margin {row['margin'] * 100:g}"
        )
    figures["all nights"] = f"{sum(one['minutes'] for one in done):.0f} min"
    return figures
