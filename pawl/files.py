"""Files that are either whole or not there: atomic writes, content hashes, folder locks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from pawl.errors import PawlError

PRIVATE = 0o700  # of a folder: its owner's alone
LOOK_SECONDS = 0.1  # who asks whether a lock is held has it for an instant
_TICK_SECONDS = 0.02  # two of the kernel's slowest clock (100 Hz), which stamps files


def write_atomic(
    path: Path, data: str | bytes, mode: int = 0o644, owner: tuple[int, int] | None = None
) -> None:
    """Write ``data`` to ``path`` so that a reader, or a crash, sees the old file or the new one.
    Before it has its ``mode``, only its owner can read it. ``owner``: the ids of user and group
    that root gives it to, where it may; None: who writes it."""
    raw = data.encode() if isinstance(data, str) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(raw)
            os.fchmod(file.fileno(), mode)
            if owner is not None:
                with contextlib.suppress(OSError):
                    os.fchown(file.fileno(), *owner)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_dir(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically. Keys keep their order."""
    write_atomic(path, json_text(value))


def json_text(value: Any) -> str:
    """What ``write_json`` writes."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or broken one is a PawlError that names it."""
    try:
        return parse_json(path.read_bytes(), path)
    except FileNotFoundError:
        raise PawlError(
            f"{path} is not there",
            "it is written last, so its work never finished",
            "Run the step again",
            code="not_found",
        ) from None


def parse_json(raw: bytes, path: Path) -> Any:
    """The value in the bytes of a JSON file. Raises PawlError: they hold none."""
    try:
        return json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as err:  # also numbers and nesting beyond bounds
        raise PawlError(
            f"{path} is not JSON", str(err), "Restore it or run the step again"
        ) from err


def open_regular(path: Path | str, *, dir_fd: int | None = None) -> BufferedReader:
    """Open a regular file for reading. What was opened is what was checked, whoever exchanges
    names meanwhile, and nothing that is opened can make the caller wait (a FIFO).

    Args:
        path: no symbolic link in its last part.
        dir_fd: the open folder that a relative ``path`` begins in.

    Raises:
        OSError: it is not there, a link, or no regular file.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    if not stat.S_ISREG(os.stat(path, dir_fd=dir_fd, follow_symlinks=False).st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))  # a device isn't opened
    descriptor = os.open(path, flags, dir_fd=dir_fd)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(
    path: Path | str, n_bytes_most: int, *, dir_fd: int | None = None, only_name: bool = False
) -> bytes:
    """The bytes that a regular file has now.

    Raises:
        OSError: no regular file, or larger; with ``only_name`` also one of a second name.
    """
    with open_regular(path, dir_fd=dir_fd) as file:
        if only_name:
            _check_only_name(file.fileno(), path, dir_fd)
        size = os.fstat(file.fileno()).st_size
        if size > n_bytes_most:
            raise OSError(errno.EFBIG, f"it has more than {n_bytes_most:,} bytes", str(path))
        return file.read(size)


def _check_only_name(descriptor: int, path: Path | str, dir_fd: int | None) -> None:
    """Raises OSError: the open file has, or for a moment had, another name than ``path``.

    No single look tells: the kernel finds a name's file first and counts its names later. But a
    name that comes or goes changes the file's ctime, unless both fall into one tick of the kernel's
    clock. So the count and the name are looked at while the last change is ``_TICK_SECONDS`` old,
    and the ctime is the same after that.
    """
    for _ in range(5):  # others may write to it just now
        before = os.fstat(descriptor)
        named = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        if before.st_nlink != 1 or not os.path.samestat(named, before):
            break
        if abs(time.time() - before.st_ctime) >= _TICK_SECONDS:
            after = os.fstat(descriptor)
            if (after.st_nlink, after.st_ctime_ns) == (1, before.st_ctime_ns):
                return
        time.sleep(_TICK_SECONDS)
    raise OSError(errno.EMLINK, "it has a second name, maybe elsewhere, or changes", str(path))


def make_private(folder: Path) -> str:
    """Make a folder that only its owner may look into, or take others' rights to it away.

    Returns:
        what was changed of a folder that was there, for the log; empty for nothing.

    Raises:
        OSError: it can't be made.
    """
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not mode & 0o077:
        return ""
    try:
        folder.chmod(mode & PRIVATE)
    except OSError as err:
        return f"{folder} is open to others (mode {mode:o}) and stays so: {err.strerror}"
    return f"{folder} was open to others (mode {mode:o}); it is its owner's alone now"


def sync_dir(path: Path) -> None:
    """Make renames inside the folder durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes. Raises OSError: it is no regular file."""
    with open_regular(path.resolve()) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of ``value`` (sorted keys, no blanks)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def is_locked(path: Path) -> bool:
    """Does somebody hold the lock on ``path`` now?"""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return False
    with file:
        return not _locked_within(0.0, file.fileno(), fcntl.LOCK_SH)


def _locked_within(seconds: float, descriptor: int, kind: int) -> bool:
    """Lock an open file; False when somebody else holds it all that time."""
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.05)


@contextmanager
def hold_lock(
    path: Path, what: str, do: str, *, wait_seconds: float = 0.0, shared: bool = False
) -> Iterator[None]:
    """Hold a lock on ``path`` until the block ends or the process dies.

    Args:
        shared: with all others who share it; else nobody else holds it.

    Raises:
        PawlError: somebody else holds it, after ``wait_seconds`` still (``LOOK_SECONDS`` at
            least); the message names the process id of who took it last.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as file:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        if not _locked_within(max(LOOK_SECONDS, wait_seconds), file.fileno(), kind):
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
