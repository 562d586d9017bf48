"""Erasing by age: what people asked and said goes after so many days (``retention.*``).

Nothing needs to be carried on: snapshots, runs and scores come before the store, whose rows say
what is too old, so a night that is killed is followed by one that finds the rest.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from feedback import erased_files as files
from feedback.erased_files import Decode, Theirs
from feedback.erased_rows import Selection, changes_of, prompts_of_others, read_rows
from feedback.erasing import alone, erase_deleted, while_erasing
from feedback.fresh import keep_learned
from feedback.redaction import Redactor, Search
from feedback.store import Store
from pawl.schemas import utc_now
from pawl.settings import Settings


def erase_by_age(
    store: Store,
    settings: Settings,
    decode: Callable[[str], Decode | None],
    of_night: bool = False,
) -> dict[str, Any]:
    """Erase what ``settings.retention`` says is too old, and the conversations that their people
    deleted.

    Args:
        decode: by a base's fingerprint, how its token ids become text. Of adapters of a base that
            it doesn't know the whole probe record goes.
        of_night: a night asks, before it has anything of its own.

    Returns:
        ``{"n_answers", "n_feedback", "snapshots": [...]}``: what was erased.

    Raises:
        PawlError: as ``feedback.erasing.forget``; ``night_runs`` where no night asks.
        Exception: of an erasing of before that can't be finished, at the end; not for a night.
    """
    counts: dict[str, Any] = {"n_answers": 0, "n_feedback": 0, "snapshots": []}
    failed: Exception | None = None
    try:  # first: it looks in files for the words of rows that may be too old, too
        erase_deleted(store, settings, decode=decode, is_night=of_night)
    except Exception as err:
        if getattr(err, "code", "") in ("night_runs", "locked"):
            raise
        failed = err
    if settings.retention.unrated_days is not None or settings.retention.all_days is not None:
        with while_erasing(settings) if of_night else alone(settings):
            counts = _erase_by_age(store, settings, decode)
    if failed is not None:
        raise failed
    return counts


def _erase_by_age(
    store: Store, settings: Settings, decode: Callable[[str], Decode | None]
) -> dict[str, Any]:
    rules, counts = settings.retention, Counter[str]()
    snapshots: dict[str, dict[str, int]] = {}
    for days, keeps_rated in ((rules.all_days, False), (rules.unrated_days, True)):
        if days is None:
            continue
        before = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        selection = Selection((), before, keeps_rated)
        condition, values = selection.completions
        own, own_values = selection.feedback
        with store.rewriter.database.reading() as cursor:
            gone = cursor.execute(
                f"SELECT DISTINCT completion_id FROM main.completions WHERE {condition}", values
            ).fetchall()
            said = cursor.execute(
                f"SELECT feedback_id, idempotency_key FROM main.feedback WHERE {own}", own_values
            ).fetchall()
        if not gone and not said:
            continue
        theirs = Theirs({one for (one,) in gone}, {one for one, _ in said})
        theirs.ids = theirs.completion_ids | theirs.feedback_ids
        snapshots |= _erase_rows(store, settings, selection, theirs, decode)
        search, *_ = theirs.searches()
        redactor = Redactor(theirs.ids, secrets.token_bytes(32), search)
        changed = store.rewriter.rewrite(changes_of(selection, redactor, theirs))
        for name, table in (("n_answers", "completions"), ("n_feedback", "feedback")):
            count = changed.get(table, {"n_before": 0, "n_after": 0})
            counts[name] += count["n_before"] - count["n_after"]
    return {"n_answers": counts["n_answers"], "n_feedback": counts["n_feedback"],
            "snapshots": sorted(snapshots)}  # fmt: skip


def _erase_rows(
    store: Store,
    settings: Settings,
    selection: Selection,
    theirs: Theirs,
    decode: Callable[[str], Decode | None],
) -> dict[str, dict[str, int]]:
    """Take rows that are too old out of snapshots, probe records, runs and kept scores; the
    snapshots. Adds these rows and their prompts to ``theirs.ids``."""
    with store.rewriter.database.reading() as cursor:
        read_rows(cursor, theirs)
    snapshots = files.read_snapshots(settings.snapshots_dir, theirs)
    files.read_run_rows(settings.runs_dir, theirs)
    with store.rewriter.database.reading() as cursor:
        held = prompts_of_others(cursor, selection, theirs)
    keep_learned(store, theirs.row_ids() & held)
    theirs.ids |= theirs.row_ids() - held
    ids, key = theirs.ids, secrets.token_bytes(32)
    search = Search(ids, (), ())
    for one in files.trained_on(settings.state_dir, theirs.n_trained):
        folder, decoded = settings.state_dir / one["dir"], decode(str(one["base_fingerprint"]))
        files.redact_probe(folder, theirs, search, decoded)
    files.redact_runs(settings.runs_dir, lambda: Redactor(ids, key, search))
    files.erase_scores(settings.scores_dir, ids)
    tombstone = {"erased_at": utc_now(), "asked_by": "retention", "erasure_id": None}
    files.erase_snapshots(settings.snapshots_dir, snapshots, tombstone)
    return snapshots
