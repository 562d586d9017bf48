"""``pawl backup`` and ``pawl restore``: a state folder in one file, consistent while a server runs.

A tar file: ``pawl.duckdb``, a copy of the store as of one moment; then the other files, which may
be newer (one that no row names does no harm); then ``backup.json``, which makes it whole:

    {"format", "created_at", "pawl_version", "duckdb_version", "files_sha256": {name: ...},
     "tables": {table: {"n_rows", "hash"}}, "secrets": [...]}
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feedback.database import connect, store_failed
from feedback.tables import content_hashes
from pawl import __version__
from pawl.adapters import CHECKPOINTS
from pawl.errors import PawlError
from pawl.files import PRIVATE, sha256_file, sync_dir
from pawl.schemas import utc_now

if TYPE_CHECKING:
    from feedback.store import Store

BACKUPS = "backups.jsonl"  # in the state folder: where backups went, a line each
DATABASE, MANIFEST = "pawl.duckdb", "backup.json"
FORMAT = 1
_MODE = 0o600
_CHUNK_BYTES = 1_000_000
# What another start makes again, what belongs to processes, and what has a copy of its own.
_LEFT_OUT = ("engine", "logs", "models", "server.json", "engine.json", "weight-hashes.json",
             "benchmark-items.npz", "lost+found")  # fmt: skip
_LEFT_OUT_STARTS = (DATABASE, "backup-", "engine-", "salvage-", ".")
_LEFT_OUT_ENDS = (".lock", ".tmp", ".unfinished")
_SECRETS = {
    DATABASE: "what people asked and said; hashes of passwords and keys",
    "admin.key": "an administrator's key",
    "admin.password": "the first administrator's one-time password",
}


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds. ``secrets``: what in it must not be seen, in words."""

    path: Path
    n_files: int
    n_bytes: int
    sha256: str
    tables: dict[str, dict[str, int]]
    secrets: list[str]

    @property
    def n_rows(self) -> int:
        return sum(table["n_rows"] for table in self.tables.values())


def copy_store(store: Store, state_dir: Path) -> dict[str, Any]:
    """Copy an open store as of this moment into a folder of its own, which the caller deletes.

    Returns:
        ``{"dir", "tables", "duckdb_version"}``.

    Raises:
        PawlError: DuckDB or the disk refused.
    """
    import duckdb

    folder = state_dir / f"backup-{secrets.token_hex(8)}"
    folder.mkdir(mode=PRIVATE)
    name = f"copy_{secrets.token_hex(8)}"
    place = str(folder / DATABASE).replace("'", "''")
    try:
        with store.rewriter.database.reading() as cursor:
            [(own,)] = cursor.execute("SELECT current_database()").fetchall()
            cursor.execute(f"ATTACH '{place}' AS {name}")
            try:
                cursor.execute(f'COPY FROM DATABASE "{own}" TO {name}')
                cursor.execute(f"CHECKPOINT {name}")
            finally:
                cursor.execute(f"DETACH {name}")
        tables = _read_tables(folder / DATABASE)
    except BaseException as err:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(err, duckdb.Error):
            raise store_failed(err, "the store could not be copied") from err
        raise
    return {"dir": str(folder), "tables": tables, "duckdb_version": duckdb.__version__}


def write_backup(state_dir: Path, copy: dict[str, Any], path: Path) -> Backup:
    """Write a state folder, with ``copy`` of its store, to a new file with mode 0600.

    Raises:
        PawlError: ``path`` is in the state folder, or there is something already, or a file can't
            be read or written.
    """
    if path.resolve().is_relative_to(state_dir.resolve()):
        raise PawlError(
            f"a backup in {state_dir} would be lost with it",
            "it would also be in each later backup, and an erasing would damage it",
            "Name a file elsewhere",
        )
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.unfinished")
    hashes: dict[str, str] = {}
    try:
        if os.path.lexists(path):
            raise FileExistsError(17, "there is one already, and no file is overwritten")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        with os.fdopen(descriptor, "wb") as raw:
            with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
                hashes[DATABASE] = _add(tar, Path(copy["dir"]) / DATABASE, DATABASE)
                for file in _files(state_dir):
                    name = str(file.relative_to(state_dir))
                    with suppress(FileNotFoundError):  # gone meanwhile
                        hashes[name] = _add(tar, file, name)
                found = [f"{name}: {what}" for name, what in _SECRETS.items() if name in hashes]
                manifest = {
                    "format": FORMAT,
                    "created_at": utc_now(),
                    "pawl_version": __version__,
                    "duckdb_version": copy["duckdb_version"],
                    "tables": copy["tables"],
                    "files_sha256": hashes,
                    "secrets": found,
                }
                data = json.dumps(manifest, indent=2).encode()
                entry = tarfile.TarInfo(MANIFEST)
                entry.size, entry.mode = len(data), _MODE
                tar.addfile(entry, io.BytesIO(data))
            raw.flush()
            os.fsync(raw.fileno())
        digest, size = sha256_file(unfinished), unfinished.stat().st_size
        line = {"path": str(path.absolute()), "created_at": manifest["created_at"],
                "sha256": digest, "n_bytes": size}  # fmt: skip
        # Before it is there: an erasing names every backup that may hold somebody's rows.
        with (state_dir / BACKUPS).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
            log.flush()
            os.fsync(log.fileno())
        os.link(unfinished, path)  # unlike a rename it never takes the place of what is there
        sync_dir(path.parent)
    except OSError as err:
        raise PawlError(
            f"the backup {path} can't be written",
            f"{err.filename}: {err.strerror}" if err.filename else err.strerror or str(err),
            "Name another file, or type this as the server's own user",
        ) from err
    finally:
        unfinished.unlink(missing_ok=True)
    return Backup(path, len(hashes), size, digest, copy["tables"], found)


def restore(path: Path, state_dir: Path) -> Backup:
    """Make an empty state folder what a backup holds, checked: every file's hash, and the rows of
    every table by number and hash. It is whole, or nothing of it is there.

    Raises:
        PawlError: the folder isn't empty, is a mount point or can't be written, or the file is no
            whole backup.
    """
    state_dir = state_dir.resolve()  # "." has no name
    if state_dir.exists() and (not state_dir.is_dir() or any(state_dir.iterdir())):
        raise PawlError(
            f"{state_dir} is not empty",
            "a backup is restored into an empty folder, and nothing is overwritten",
            "Name another with --state-dir, or move it away",
        )
    if os.path.ismount(state_dir):
        raise PawlError(
            f"{state_dir} is a mount point",
            "the whole folder is put in its place at once, and nothing takes a mount point's",
            f"Name a folder in it: --state-dir {state_dir / 'state'}",
        )
    work = state_dir.with_name(f".{state_dir.name}.restoring-{secrets.token_hex(4)}")
    try:
        work.mkdir(mode=PRIVATE, parents=True)
        manifest = _extract(path, work)
        _check(path, work, manifest)
        state_dir.mkdir(exist_ok=True)
        work.rename(state_dir)  # takes the place of an empty folder
        sync_dir(state_dir.parent)
    except tarfile.TarError as err:
        raise _no_backup(path, str(err)) from err
    except OSError as err:
        raise PawlError(
            f"{state_dir} can't be made",
            str(err),
            "Nothing was restored; make room or a folder that you may write, or name another with "
            "--state-dir",
        ) from err
    finally:
        shutil.rmtree(work, ignore_errors=True)
    files = manifest["files_sha256"]
    return Backup(path, len(files), path.stat().st_size, sha256_file(path), manifest["tables"],
                  manifest["secrets"])  # fmt: skip


def _files(state_dir: Path) -> Iterator[Path]:
    """Also those that links lead to: a folder of it may have been moved to another disk."""
    seen = {state_dir.resolve()}
    for top in sorted(state_dir.iterdir()):
        if top.name in _LEFT_OUT or top.name.startswith(_LEFT_OUT_STARTS):
            continue
        for path in _below(top, seen):
            parts = path.relative_to(state_dir).parts
            if parts[:2] == ("scores", "datasets") or parts[2:4] == ("train", CHECKPOINTS):
                continue
            if not path.name.endswith(_LEFT_OUT_ENDS):
                yield path


def _below(path: Path, seen: set[Path]) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir() and (place := path.resolve()) not in seen:  # a link may lead back
        seen.add(place)
        with suppress(FileNotFoundError):  # gone meanwhile
            for one in sorted(path.iterdir()):
                yield from _below(one, seen)


def _add(tar: tarfile.TarFile, path: Path, name: str) -> str:
    """Add a file as it is now, whatever is appended meanwhile; its hash."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = (
            status.st_size,
            status.st_mode & 0o700,
            status.st_mtime,
        )
        hashed = _Hashed(file)
        tar.addfile(entry, hashed)
        return hashed.digest.hexdigest()


class _Hashed:
    """A file whose bytes are hashed as they are read."""

    def __init__(self, file: Any) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._file.read(size)
        self.digest.update(data)
        return data


def _extract(path: Path, work: Path) -> dict[str, Any]:
    """Unpack regular files alone; the manifest."""
    with tarfile.open(path, mode="r:") as tar:
        for entry in tar:
            if not entry.isreg():
                raise _no_backup(path, f"{entry.name!r} is no regular file")
            tar.extract(entry, work, filter="data")
    manifest_path = work / MANIFEST
    if not manifest_path.is_file():
        raise _no_backup(path, f"{MANIFEST}, which is written last, is not in it")
    try:
        manifest: dict[str, Any] = json.loads(manifest_path.read_bytes())
        if manifest["format"] != FORMAT:
            raise _no_backup(path, f"its format is {manifest['format']}, this one reads {FORMAT}")
        names = ("tables", "files_sha256", "secrets", "duckdb_version")
        if not all(name in manifest for name in names):
            raise KeyError("format")
    except (ValueError, KeyError, TypeError) as err:
        raise _no_backup(path, f"{MANIFEST} can't be read") from err
    manifest_path.unlink()
    return manifest


def _check(path: Path, work: Path, manifest: dict[str, Any]) -> None:
    import duckdb

    hashes = manifest["files_sha256"]
    there = {str(one.relative_to(work)) for one in work.rglob("*") if one.is_file()}
    if there != hashes.keys():
        raise _no_backup(path, f"it has other files than {MANIFEST} says")
    for name, digest in hashes.items():
        if sha256_file(work / name) != digest:
            raise _no_backup(path, f"{name} was changed")
    tables = _read_tables(work / DATABASE)
    if duckdb.__version__ != manifest["duckdb_version"]:  # whose hashes may differ
        tables, wanted = _only_counts(tables), _only_counts(manifest["tables"])
    else:
        wanted = manifest["tables"]
    if tables != wanted:
        raise _no_backup(path, "the store in it has other rows than it says")


def _only_counts(tables: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {name: {"n_rows": table["n_rows"]} for name, table in tables.items()}


def _read_tables(database: Path) -> dict[str, dict[str, int]]:
    """Number and hash of every table's rows, of a file that nobody has open."""
    connection = connect(database)
    try:
        return content_hashes(connection)
    finally:
        connection.close()


def _no_backup(path: Path, why: str) -> PawlError:
    return PawlError(
        f"{path} can't be restored",
        why,
        "Nothing was restored; take another copy",
        code="bad_backup",
    )
