"""The exchange folder: the one place that ``import`` reads from and ``export`` writes to.

Programs name a file by its path inside the folder (``rows.jsonl``, ``march/rows.jsonl``). Folders
are walked by descriptor and no link is followed, so nobody who exchanges names meanwhile leads a
call elsewhere.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pawl.errors import PawlError, short
from pawl.files import read_regular
from pawl.settings import Settings

_MOST_PARTS = 16
_MOST_NAME_BYTES = 255  # of one part, as Linux has it
_FILE_MODE = 0o640  # what people wrote is in it


@dataclass(frozen=True, slots=True)
class Exchange:
    """``folder`` is absolute and made when it isn't there; no file is larger than ``n_bytes``.
    ``importers`` of installed packages may be asked to read."""

    folder: Path
    n_bytes: int
    importers: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Exchange:
        own = settings.exchange
        return cls(settings.exchange_dir, own.max_file_bytes, own.importers)

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            PawlError: the name leads elsewhere, nothing is there, or it is no regular file of its
                own with ``n_bytes`` at most.
        """
        *folders, last = self._parts(name)
        try:
            with self._opened(folders) as folder:
                return read_regular(last, self.n_bytes, dir_fd=folder, only_name=True)
        except OSError as err:
            raise self._refused(name, "can't be read", err) from None

    def write(self, name: str, data: bytes) -> None:
        """Write a new file: whole and durable, or not at all.

        Raises:
            PawlError: the name leads elsewhere, there is something of that name already, its
                folder isn't there, or it can't be written.
        """
        *folders, last = self._parts(name)
        if len(data) > self.n_bytes:
            err = OSError(errno.EFBIG, f"it would have {len(data):,} bytes of {self.n_bytes:,}")
            raise self._refused(name, "can't be written", err)
        unfinished = f".{secrets.token_hex(8)}.unfinished"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with self._opened(folders) as folder:
                try:
                    descriptor = os.open(unfinished, flags, _FILE_MODE, dir_fd=folder)
                    with os.fdopen(descriptor, "wb") as file:
                        file.write(data)
                        file.flush()
                        os.fsync(descriptor)
                    # Unlike a rename, a link never takes the place of what is there.
                    os.link(unfinished, last, src_dir_fd=folder, dst_dir_fd=folder)
                finally:
                    with suppress(FileNotFoundError):
                        os.unlink(unfinished, dir_fd=folder)
                os.fsync(folder)
        except OSError as err:
            raise self._refused(name, "can't be written", err) from None

    def _parts(self, name: str) -> list[str]:
        """The folders and the file that a name is made of. Raises PawlError: it leads elsewhere."""
        parts = name.split("/")
        if not name or name.startswith("/"):
            why = "files are named by their path inside the exchange folder"
        elif any(part.startswith(".") or not part for part in parts):
            why = "no part of it may be empty or begin with a dot"
        elif not name.isprintable():  # half a surrogate pair isn't, either
            why = "it has characters that can't be shown"
        elif len(parts) > _MOST_PARTS or max(len(part.encode()) for part in parts) > (
            _MOST_NAME_BYTES
        ):
            why = "it is too long"
        else:
            return parts
        raise PawlError(
            f"the file name {short(name)} is not inside the exchange folder",
            why,
            f"Put the file into {self.folder} and give its name there; 'pawl import' and "
            "'pawl export' do so by themselves",
            param="path",
        )

    @contextmanager
    def _opened(self, folders: list[str]) -> Iterator[int]:
        """A descriptor of the folder that the file lies in. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        descriptor = os.open(self.folder, flags)
        try:
            for name in folders:
                inner = os.open(name, flags | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _refused(self, name: str, what: str, err: OSError) -> PawlError:
        code, do = "invalid_request", f"Look at {self.folder}"
        why = err.strerror or str(err)
        if err.errno == errno.ENOENT:
            code, do = "file_not_found", f"Put it into {self.folder}"
        elif err.errno == errno.EEXIST:
            code, why, do = "file_exists", "there is one already", "Choose another name"
        elif err.errno == errno.EFBIG:
            code, do = "file_too_large", "Split it, or raise exchange.max_file_bytes"
        elif err.errno in (errno.ELOOP, errno.ENOTDIR):
            why = "a part of its path is a link, or no folder"
        return PawlError(f"{name} {what}", why, do, code=code, param="path")
