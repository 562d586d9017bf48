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
    open-webui         the export of Open WebUI's evaluations: ratings with the chat around them

What is a list of messages may be a text where its meaning is clear (TRL's *standard* formats).
A file is JSON Lines, or one JSON array; its records may be of several formats.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from feedback.curation import curate
from feedback.formats.exchange import Exchange
from feedback.formats.read import Parsed, parse
from feedback.formats.records import FORMATS
from feedback.formats.write import WRITERS, render
from feedback.store import Store
from pawl.errors import PawlError
from pawl.settings import Settings

__all__ = [
    "FORMATS", "WRITERS", "Exchange", "Parsed",
    "export_file", "import_file", "import_rows", "parse",
]  # fmt: skip


def import_file(
    store: Store, exchange: Exchange, name: str, file_format: str = "auto"
) -> dict[str, Any]:
    """``import_rows`` of a file in the exchange folder. Raises PawlError also when it can't be
    read."""
    return import_rows(store, exchange.read(name), name.rpartition("/")[2], file_format)


def import_rows(store: Store, raw: bytes, name: str, file_format: str = "auto") -> dict[str, Any]:
    """Read training rows into the store; rows already there are not added again.

    Args:
        raw: the bytes of a file.
        name: the file's, for the rows' origin and for messages.
        file_format: one of ``FORMATS``, or ``auto`` to tell it from each record's keys.

    Returns:
        ``{"format", "n_records", "n_rows", "n_added", "n_already_there", "skipped": {reason: n},
        "problems": ["line 3: ...", ...], "message"}``. A record may give several rows (a tree)
        or none (it is in ``skipped``).

    Raises:
        PawlError: not JSON at all, or of no known format; nothing was added.
    """
    parsed = parse(raw, name, file_format)
    known = store.imported_ids()
    new = {row.row_id: row for row in parsed.lessons if row.row_id not in known}
    if new:
        store.append_imported(
            new.values(),
            source_format=parsed.file_format,
            file_sha256=hashlib.sha256(raw).hexdigest(),
        ).result()
    n_skipped = sum(parsed.skipped.values())
    message = (
        f"{name} ({parsed.file_format}): {len(new):,} rows added from "
        f"{parsed.n_records:,} records, {len(parsed.lessons) - len(new):,} were there "
        f"already, {n_skipped:,} could not be used"
    )
    return {
        "format": parsed.file_format,
        "n_records": parsed.n_records,
        "n_rows": len(parsed.lessons),
        "n_added": len(new),
        "n_already_there": len(parsed.lessons) - len(new),
        "skipped": parsed.skipped,
        "problems": parsed.problems,
        "message": message,
    }


def export_file(
    store: Store, exchange: Exchange, name: str, file_format: str, settings: Settings
) -> dict[str, Any]:
    """Write the curated training and validation rows to a new file of the exchange folder.

    Rows of the holdout stay here: whoever trains on the file would train on the tests. Rows of a
    kind that the format can't say are counted.

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
    # As a snapshot does: split with another salt, the tests would be in the file.
    store.fix_split_salt(settings.split_salt)
    rows = curate(store, settings).rows
    text, n_records, skipped = render(rows, file_format, as_array=Path(name).suffix == ".json")
    exchange.write(name, text.encode())
    return {
        "format": file_format,
        "path": str(exchange.folder / name),
        "n_written": n_records,
        "skipped": skipped,
        "message": f"{n_records:,} records written, {sum(skipped.values()):,} rows left out",
    }
