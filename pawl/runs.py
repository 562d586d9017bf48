"""How a nightly run stands and what moved the champion, in words: the same in the terminal and on
the pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

ENDED = ("finished", "failed", "given_up")  # what a run's status is once it came to its end
PROGRESS = "progress.json"  # in a run's folder: where the night is now

# What a stage of a child does, for a reader who does not know its name.
STAGE_WORDS = {
    "replay": "collecting the base's own answers, to keep the rest as it is",
    "sft": "SFT",
    "dpo": "DPO",
    "kto": "KTO",
    "sft validation": "SFT, the loss of validation rows",
    "dpo validation": "DPO, the loss of validation rows",
    "kto validation": "KTO, the loss of validation rows",
    "dpo reference": "DPO, what the reference model says to all rows",
    "influence": "comparing the rows' gradients with those of what broke",
    "nodes": "scoring on the cluster's nodes",
    "probe": "recording what the adapter says, to recognise it when it is live",
}


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3 h 05 min``."""
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def seconds_since(at: str, now: datetime | None = None) -> float:
    """From a time as rows have it until now, 0 at least and where it is no such time."""
    try:
        passed = (now or datetime.now(UTC)) - datetime.fromisoformat(at)
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, passed.total_seconds())


def standing(run: Mapping[str, Any], now: datetime | None = None) -> str:
    """What a run does now, or what ended it, in one line.

    Args:
        run: as ``GET /admin/runs`` answers it.
        now: aware; by default the time now.
    """
    detail, status = run.get("detail") or {}, str(run["status"])
    progress = run.get("progress")
    if progress:
        stage = progress.get("stage") or ""
        words = f" ({STAGE_WORDS.get(stage, stage)}" if stage else ""
        if words and progress.get("fraction") is not None:
            words += f", {100 * progress['fraction']:.0f} %"
        took = duration(seconds_since(run["started_at"], now))
        left = progress.get("seconds_left")
        rest = "no night has shown yet how long it takes" if left is None else (
            f"about {duration(left)} left"
        )  # fmt: skip
        return f"running: {progress['step']}{words + ')' if words else ''}; {took} so far, {rest}"
    if status not in ENDED:
        return f"interrupted after '{status}': the next night carries it on"
    words = status.replace("_", " ")
    if outcome := detail.get("outcome"):
        words += f", {str(outcome).replace('_', ' ')}"
    reason = str(detail.get("reason") or "")
    return f"{words}: {reason}" if reason else words


def apart_from_verdict(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run for ``standing`` where its verdict is said beside it: without what the verdict says.

    Args:
        run: as ``GET /admin/runs/{run_id}`` answers it.
    """
    verdict, detail = run.get("verdict") or {}, dict(run.get("detail") or {})
    said = " ".join(verdict.get("reasons") or ())
    if detail.get("outcome") == verdict.get("outcome"):
        detail.pop("outcome", None)
    if said and str(detail.get("reason") or "").startswith(said):  # what follows is the promotion's
        detail["reason"] = str(detail["reason"])[len(said) :].strip()
    return {**run, "detail": detail}


def moved(promotion: Mapping[str, Any]) -> str:
    """What became of a move of the champion, in one line.

    Args:
        promotion: as ``POST /admin/promotions`` and its like answer it.
    """
    version, before = promotion["version"], promotion["previous_version"]
    words = {
        "live": f"{version} answers now (before: {before}).",
        "made": f"{version} is made, {before} still answers.",
        "waiting": f"{version} waits for approval, {before} still answers.",
        "canary": f"{version} answers a share of the conversations, {before} the others.",
        "pending": f"{version} is next: no engine is running, it is probed when one starts.",
        "indistinguishable": f"{version} answers like {before}: nothing was changed.",
        "refused": f"{version} was refused, {before} still answers.",
    }[promotion["outcome"]]
    return f"{words} {promotion['reason']}".strip()


def move_line(move: Mapping[str, Any]) -> str:
    """What happened to a version, when and by whom, in one line.

    Args:
        move: one of ``moves`` of ``GET /admin/runs/{run_id}`` or ``GET /admin/versions``.
    """
    version, before, outcome = move["version"], move["previous_version"], move["outcome"]
    if move["kind"] == "rollback":
        words = f"rolled back from {before} to {version}"
        words = words if outcome == "live" else f"not {words}: refused"
    else:
        words = {
            "live": f"{version} promoted in place of {before}",
            "made": f"{version} made",
            "waiting": f"{version} waits for approval",
            "canary": f"{version} answers a share of the conversations beside {before}",
            "pending": f"{version} waits for the engine",
            "indistinguishable": f"{version} not promoted, it answers like {before}",
            "refused": f"{version} refused",
        }[outcome]
    line = f"{move['at'][:16].replace('T', ' ')} UTC: {words}"
    if move["by"]:
        line += f", by {move['by']}"
    needs_reason = outcome in ("refused", "indistinguishable") or not move["by"]
    return f"{line} ({move['reason']})" if needs_reason and move["reason"] else line


def rehearsed(drill: Mapping[str, Any]) -> list[str]:
    """What a rehearsed rollback showed, as lines.

    Args:
        drill: as ``POST /admin/drill`` answers it.
    """
    lines = []
    for word, step in (("back to", drill["back"]), ("forth to", drill["forth"])):
        found = "its files are whole" if step["is_whole"] else "its files are NOT whole"
        found += ", it answers" if step["answers"] else ", it does NOT answer"
        loaded = "was loaded" if step["was_loaded"] else "was not loaded"
        line = f"{word} {step['version']}: {step['seconds']:.2f} s, {loaded}; {found}"
        lines.append(line if step["answers"] else f"{line}: {step['reason']}")
    is_away = not drill["forth"]["was_loaded"]
    away = ", but was not in the engine: see 'pawl status'." if is_away else "."
    return [*lines, f"Nothing was moved: {drill['champion']} stays champion{away}"]
