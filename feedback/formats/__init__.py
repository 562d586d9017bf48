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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from feedback.erasing import while_reading
from feedback.formats.detect import FORMATS
from feedback.formats.exchange import Exchange
from feedback.formats.read import Parsed, parse
from feedback.formats.write import KEPT, WRITERS, render
from feedback.fresh import WAITS
from feedback.rows import Key, Lesson
from feedback.service import curate_for_night
from feedback.store import Store
from pawl.errors import PawlError
from pawl.settings import Settings

FORGOTTEN = "its person was forgotten"

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
    again. A row of another rater is another row. What a record with an id of its own says now takes
    the place of what it said in an earlier file (``Store.all_imported``).

    Args:
        raw: the bytes of a file.
        name: the file's, for the rows' origin and for messages.
        file_format: one of ``FORMATS`` or ``importers``, or ``auto`` to tell it from each record's
            keys.
        mapping: a column for each field, for records of no known format (``mapping``).
        is_dry_run: say what would be added, and add nothing.
        importers: of installed packages, that may be asked for.

    Returns:
        ``{"format", "n_records", "n_rows", "n_added", "n_already_there", "n_raters", "dry_run",
        "skipped": {reason: n}, "problems": ["line 3: ...", ...], "message"}``. A record may give
        several rows (a tree) or none (it is in ``skipped``); ``problems`` names the first places
        of each reason.

    Raises:
        PawlError: not JSON at all, of no known format, a record fits two formats
            (``ambiguous_format``), or an importer failed; nothing was added.
    """
    parsed = parse(raw, name, file_format, mapping, importers)
    _leave_out_forgotten(store, parsed)
    new = _new_rows(parsed.lessons, store.imported_keys())
    if new and not is_dry_run:
        keys = {category.key for category in store.categories()}
        store.append_imported(
            (
                replace(row, categories=[key for key in row.categories if key in keys])
                for row in new
            ),
            source_format=parsed.file_format,
            file_sha256=hashlib.sha256(raw).hexdigest(),
        ).result()
    n_skipped = sum(parsed.skipped.values())
    message = (
        f"{name} ({parsed.file_format}): {len(new):,} rows {'would be ' if is_dry_run else ''}"
        f"added from {parsed.n_records:,} records, {len(parsed.lessons) - len(new):,} were there "
        f"already, {n_skipped:,} could not be used"
    )
    return {
        "format": parsed.file_format,
        "n_records": parsed.n_records,
        "n_rows": len(parsed.lessons),
        "n_added": 0 if is_dry_run else len(new),
        "n_already_there": len(parsed.lessons) - len(new),
        "n_raters": len({row.origin["rater_id"] for row in new if "rater_id" in row.origin}),
        "dry_run": is_dry_run,
        "skipped": parsed.skipped,
        "problems": parsed.problems,
        "message": message,
    }


def _leave_out_forgotten(store: Store, parsed: Parsed) -> None:
    """Count rows of people who were forgotten as skipped: a later export of another project has
    them still."""
    raters = {row.origin["rater_id"] for row in parsed.lessons if "rater_id" in row.origin}
    forgotten = {one for one in raters if store.forgotten.holds("", one)}  # whenever it was said
    gone = [row for row in parsed.lessons if row.origin.get("rater_id") in forgotten]
    if gone:
        parsed.lessons = [
            row for row in parsed.lessons if row.origin.get("rater_id") not in forgotten
        ]
        parsed.skipped[FORGOTTEN] = len(gone)
        parsed.problems += [f"{row.origin['place']}: {FORGOTTEN}" for row in gone[:3]]


def _new_rows(lessons: Sequence[Lesson], known: Mapping[str | None, set[Key]]) -> list[Lesson]:
    """The rows to add: those that aren't there, and all of a record that said something else."""
    of_record: defaultdict[str, set[Key]] = defaultdict(set)
    for lesson in lessons:
        if lesson.record is not None:
            of_record[lesson.record].add(lesson.key)
    changed = {record for record, keys in of_record.items() if keys != known.get(record)}
    everything = known.get(None, set())
    return [
        lesson
        for lesson in lessons
        if (lesson.key not in everything if lesson.record is None else lesson.record in changed)
    ]


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
