"""Files that are either whole or not there: atomic writes, content hashes, folder locks."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pawl.errors import PawlError


def write_atomic(path: Path, data: str | bytes, mode: int = 0o644) -> None:
    """Write ``data`` to ``path`` so that a reader, or a crash, sees the old file or the new one.
    Before it has its ``mode``, only its owner can read it."""
    raw = data.encode() if isinstance(data, str) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_dir(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically. Keys keep their order."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or broken one is a PawlError that names it."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise PawlError(
            f"{path} is not there",
            "it is written last, so its work never finished",
            "Run the step again",
            code="not_found",
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as err:
        raise PawlError(
            f"{path} is not JSON", str(err), "Restore it or run the step again"
        ) from err


def sync_dir(path: Path) -> None:
    """Make renames inside the folder durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of ``value`` (sorted keys, no blanks)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _locked_within(seconds: float, descriptor: int) -> bool:
    """Lock an open file; False when somebody else holds it all that time."""
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.05)


@contextmanager
def hold_lock(path: Path, what: str, do: str, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` until the block ends or the process dies.

    Raises:
        PawlError: somebody else holds it, after ``wait_seconds`` still; the message names the
            holder's process id.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        if not _locked_within(wait_seconds, file.fileno()):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise PawlError(
                f"{what} (process {holder} holds {path})",
                "only one may run at a time",
                do,
                retryable=True,
                code="locked",
            )
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
