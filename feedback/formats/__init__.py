"""Import and export of rows in other projects' formats; what each holds.

    sft            {"messages": [...]} or {"prompt": [...], "completion": [...]}
    preference     {"prompt": [...], "chosen": [...], "rejected": [...]}
    unpaired       {"prompt": [...], "completion": [...], "label": true}
    sharegpt-dpo   {"conversations": [{"from", "value"}], "chosen": {...}, "rejected": {...}}
    sharegpt-kto   {"messages": [...], "label": true}
    oasst          {"message_tree_id": ..., "prompt": {"text", "replies": [...]}}

The first three are TRL's conversational formats (lists of ``{"role", "content"}``), the next two
LLaMA-Factory's, the last OpenAssistant's trees. A file is JSON Lines, or one JSON array.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from feedback.curation import curate
from feedback.formats.read import FORMATS, Parsed, parse_file
from feedback.formats.write import render
from feedback.store import Store
from pawl.errors import PawlError
from pawl.files import sha256_file, write_atomic
from pawl.settings import Settings

__all__ = ["FORMATS", "Parsed", "export_file", "import_file", "parse_file"]


def import_file(store: Store, path: Path | str, file_format: str = "auto") -> dict[str, Any]:
    """Read a file of training rows into the store; rows already there are not added again.

    Args:
        path: absolute, or relative to this process.
        file_format: one of ``FORMATS``, or ``auto`` to tell it from the records' keys.

    Returns:
        ``{"format", "n_records", "n_rows", "n_added", "n_already_there", "skipped": {reason: n},
        "problems": ["line 3: ...", ...], "message"}``. A record may give several rows (a tree)
        or none (it is in ``skipped``).

    Raises:
        PawlError: no such file, not JSON at all, or of no known format; nothing was added.
    """
    path = Path(path)
    parsed = parse_file(path, file_format)
    known = store.imported_ids()
    new = {one.row_id: one for one in parsed.lessons if one.row_id not in known}
    if new:
        store.append_imported(
            new.values(), source_format=parsed.file_format, file_sha256=sha256_file(path)
        ).result()
    n_skipped = sum(parsed.skipped.values())
    message = (
        f"{path.name} ({parsed.file_format}): {len(new):,} rows added from "
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
    store: Store, path: Path | str, file_format: str, settings: Settings
) -> dict[str, Any]:
    """Write the curated training and validation rows to a file, atomically.

    Rows of the holdout stay here: whoever trains on the file would train on the tests. Rows of a
    kind that the format can't say are counted.

    Returns:
        ``{"format", "path", "n_written", "skipped": {reason: n}, "message"}``.

    Raises:
        PawlError: no such format, the file can't be written, or the store is split with another
            ``split_salt`` (409, ``split_salt_changed``).
    """
    path = Path(path)
    if file_format not in FORMATS:
        raise PawlError(
            f"format {file_format!r} is not known",
            f"there are {', '.join(FORMATS)}",
            "Use one of them",
            param="format",
        )
    if not path.parent.is_dir():
        raise PawlError(
            f"the folder {path.parent} is not there",
            "the file can't be written",
            "Make it, or choose another path",
            param="path",
        )
    # As a snapshot does: split with another salt, the tests would be in the file.
    store.fix_split_salt(settings.split_salt)
    rows = curate(store, settings).rows
    text, n_records, skipped = render(rows, file_format, as_array=path.suffix == ".json")
    try:
        write_atomic(path, text)
    except OSError as err:
        raise PawlError(
            f"{path} can't be written",
            err.strerror or str(err),
            "Choose another path, or make room there",
            param="path",
        ) from None
    return {
        "format": file_format,
        "path": str(path),
        "n_written": n_records,
        "skipped": skipped,
        "message": f"{n_records:,} records written to {path}, "
        f"{sum(skipped.values()):,} rows left out",
    }
