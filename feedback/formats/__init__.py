"""Import and export of rows in other projects' formats; what each holds.

    sft                {"messages": [...]} or {"prompt": [...], "completion": [...]}
    preference         {"prompt": [...], "chosen": [...], "rejected": [...]}
    unpaired           {"prompt": [...], "completion": [...], "label": true}
    sharegpt-dpo       {"conversations": [{"from", "value"}], "chosen": {...}, "rejected": {...}}
    sharegpt-kto       {"messages": [...], "label": true}
    oasst              {"message_tree_id": ..., "prompt": {"text", "replies": [...]}}

The first three are TRL's conversational formats (lists of ``{"role", "content"}``), the next two
LLaMA-Factory's, the last OpenAssistant's trees. Read only:

    sharegpt           {"conversations": [{"from", "value"}]}
    openai-preference  {"input": {"messages": [...]}, "preferred_output", "non_preferred_output"}
    alpaca             {"instruction", "input", "output"}, or "chosen" and "rejected"
    ranked             {"instruction", "completions": [{"response", "overall_score"}, ...]}
    arena              {"conversation_a", "conversation_b", "winner", "judge"}
    open-webui         the export of Open WebUI's evaluations: ratings with the chat around them
    librechat          LibreChat's conversations or its collection of messages, with feedback
    langfuse           Langfuse's scores with the traces or observations that they are of
    openai-log         requests with their responses: logs, batches, stored completions

What is a list of messages may be a text where its meaning is clear (TRL's *standard* formats,
Anthropic's transcripts), and content a list of text parts. A file is JSON Lines, one JSON array,
objects one after the other, an API's answer around its ``data``, or a table (``.csv``, ``.tsv``);
its records may be of several formats (``detect``). ``mapping`` reads columns of other names.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from feedback.erasing import while_reading
from feedback.formats.detect import FORMATS
from feedback.formats.exchange import Exchange
from feedback.formats.read import Parsed, parse
from feedback.formats.write import KEPT, WRITERS, render
from feedback.fresh import WAITS
from feedback.rows import Lesson, State
from feedback.service import curate_for_night
from feedback.store import Store
from pawl.errors import PawlError
from pawl.settings import Settings

FORGOTTEN = "its person was forgotten"
OLDER = "older than what was imported of its record"

__all__ = [
    "FORMATS", "WRITERS", "Exchange", "Parsed",
    "export_file", "import_file", "import_rows", "parse",
]  # fmt: skip


def import_file(
    store: Store,
    exchange: Exchange,
    name: str,
    file_format: str = "auto",
    mapping: Mapping[str, str] | None = None,
    *,
    is_dry_run: bool = False,
) -> dict[str, Any]:
    """``import_rows`` of a file in the exchange folder. Raises PawlError also when it can't be
    read."""
    raw, file_name = exchange.read(name), name.rpartition("/")[2]
    return import_rows(
        store, raw, file_name, file_format, mapping,
        is_dry_run=is_dry_run, importers=exchange.importers,
    )  # fmt: skip


def import_rows(
    store: Store,
    raw: bytes,
    name: str,
    file_format: str = "auto",
    mapping: Mapping[str, str] | None = None,
    *,
    is_dry_run: bool = False,
    importers: Collection[str] = (),
) -> dict[str, Any]:
    """Read training rows into the store, all in one transaction; rows already there are not added
    again. A row of another rater is another row. What a record with an id of its own says takes the
    place of what it said in an earlier file (``feedback.imported``), also where that is nothing any
    more, unless the record was changed before that or this file was read before.

    Args:
        raw: the bytes of a file.
        name: the file's, for the rows' origin and for messages.
        file_format: one of ``FORMATS`` or ``importers``, or ``auto`` to tell it from each record's
            keys.
        mapping: a column for each field, for records of no known format (``mapping``).
        is_dry_run: say what would be added, and add nothing.
        importers: of installed packages, that may be asked for.

    Returns:
        ``{"format", "n_records", "n_rows", "n_added", "n_already_there", "n_taken_back",
        "n_raters", "dry_run", "skipped": {reason: n}, "problems": ["line 3: ...", ...],
        "message"}``. A record may give several rows (a tree) or none (it is in ``skipped``);
        ``problems`` names the first places of each reason. ``n_taken_back``: records that said
        something and say nothing now.

    Raises:
        PawlError: not JSON at all, of no known format, a record fits two formats
            (``ambiguous_format``), or an importer failed; nothing was added.
    """
    parsed = parse(raw, name, file_format, mapping, importers)
    file_sha256 = hashlib.sha256(raw).hexdigest()
    keys = {category.key for category in store.categories()}
    parsed.lessons = [
        replace(row, categories=[key for key in row.categories if key in keys])
        for row in parsed.lessons
    ]
    with store.importing:
        states = store.imported_states()
        raters = {row.origin["rater_id"] for row in parsed.lessons if "rater_id" in row.origin}
        # Whenever it was said: a later export of another project has them still.
        forgotten = {rater for rater in raters if store.forgotten.holds("", rater)}
        _leave_out(parsed, FORGOTTEN, lambda row: row.origin.get("rater_id") in forgotten)
        _leave_out(parsed, OLDER, lambda row: _is_later(row, states) is False)
        was_read = store.was_imported(file_sha256)
        changed = _changed(parsed, states, was_read)
        known = store.imported_keys()
        new = [
            row
            for row in parsed.lessons
            if (row.key not in known if row.record is None else row.record in changed)
        ]
        taken_back = [row for row in parsed.silent if row.record in changed]
        if not is_dry_run and (new or taken_back or not was_read):
            store.append_imported(
                [*new, *taken_back], source_format=parsed.file_format, file_sha256=file_sha256
            ).result()
    n_already_there = len(parsed.lessons) - len(new)
    message = (
        f"{name} ({parsed.file_format}): {len(new):,} rows {'would be ' if is_dry_run else ''}"
        f"added from {parsed.n_records:,} records, {n_already_there:,} were there "
        f"already, {sum(parsed.skipped.values()):,} could not be used"
        + (f", {len(taken_back):,} opinions were taken back" if taken_back else "")
    )
    return {
        "format": parsed.file_format,
        "n_records": parsed.n_records,
        "n_rows": len(parsed.lessons),
        "n_added": 0 if is_dry_run else len(new),
        "n_already_there": n_already_there,
        "n_taken_back": len(taken_back),
        "n_raters": len({row.origin["rater_id"] for row in new if "rater_id" in row.origin}),
        "dry_run": is_dry_run,
        "skipped": parsed.skipped,
        "problems": parsed.problems,
        "message": message,
    }


def _leave_out(parsed: Parsed, reason: str, is_out: Callable[[Lesson], bool]) -> None:
    """Count rows as skipped."""
    out = [row for row in parsed.lessons if is_out(row)]
    if out:
        parsed.lessons = [row for row in parsed.lessons if not is_out(row)]
        parsed.skipped[reason] = len(out)
        parsed.problems += [f"{row.origin['place']}: {reason}" for row in out[:3]]


def _is_later(row: Lesson, states: Mapping[str, State]) -> bool | None:
    """Whether a row was said after what is known of its record, or before it; None: one of them
    has no time, or they have the same."""
    before, _ = states.get(row.record or "", (None, None))
    if not before or not row.said_at or row.said_at == before:
        return None
    return row.said_at > before


def _changed(parsed: Parsed, states: Mapping[str, State], was_read: bool) -> set[str]:
    """The records that say something else than before. A file that was read before says nothing
    new of a record, but of those that another ``mapping`` didn't read."""
    of_record: defaultdict[str, list[Lesson]] = defaultdict(list)
    for row in [*parsed.lessons, *parsed.silent]:
        if row.record is not None:
            of_record[row.record].append(row)
    changed = set()
    for record, rows in of_record.items():
        said = {row.said for row in rows if not row.is_silent}
        _, before = states.get(record, (None, set()))
        is_later = _is_later(rows[0], states)
        if is_later is None:
            is_later = record not in states or not was_read
        if is_later and said != before:
            changed.add(record)
    return changed


def export_file(
    store: Store, exchange: Exchange, name: str, file_format: str, settings: Settings
) -> dict[str, Any]:
    """Write the curated training and validation rows to a new file of the exchange folder.

    What tests the next challenger stays here (the holdout, and what ``feedback.fresh`` keeps for a
    test): whoever trains on the file would train on the tests. Rows of a kind that the format can't
    say are counted.

    Returns:
        ``{"format", "path", "n_written", "skipped": {reason: n}, "message"}``.

    Raises:
        PawlError: no such format, the file can't be written or is there already, or the store is
            split with another ``split_salt`` (409, ``split_salt_changed``).
    """
    if file_format not in WRITERS:
        raise PawlError(
            f"format {file_format!r} is not known",
            f"there are {', '.join(WRITERS)}",
            "Use one of them",
            param="format",
        )
    with while_reading(settings):
        curated = curate_for_night(store, settings)
        text, n_records, skipped = render(
            curated.rows, file_format, as_array=Path(name).suffix == ".json"
        )
        if n_waiting := curated.rejections.get(WAITS):
            skipped[KEPT] = skipped.get(KEPT, 0) + n_waiting
        exchange.write(name, text.encode())
    return {
        "format": file_format,
        "path": str(exchange.folder / name),
        "n_written": n_records,
        "skipped": skipped,
        "message": f"{n_records:,} records written, {sum(skipped.values()):,} rows left out",
    }
