"""``pawl import`` and ``pawl export``: rows of other projects' formats, in and out.

The server reads and writes in its exchange folder only. So an import copies the file there first,
and an export moves what the server wrote to where it was wanted: any file of the person who types,
with that person's own rights.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from pawl.cli.connect import client_of, connect, settings_of
from pawl.cli.output import echo
from pawl.client import Client
from pawl.errors import PawlError


def _format(default: str, about: str) -> Any:
    """The option of both commands."""
    return click.option("--format", "format_", default=default, show_default=True, help=about)


@click.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@_format(
    "auto",
    "auto (told from each record), sft, preference, unpaired, sharegpt, sharegpt-dpo, "
    "sharegpt-kto, oasst, openai-preference, alpaca, ranked, arena, open-webui, librechat, "
    "langfuse, openai-log; or one that exchange.importers names ('pawl plugins').",
)
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="FIELD=COLUMN,...",
    help="Name the columns of a table or of records of no known format: prompt, system, "
    "completion, chosen, rejected, label, rater, comment, categories, task.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be added; add nothing.")
@click.pass_context
def import_command(
    ctx: click.Context, path: Path, format_: str, mapping: tuple[str, ...], dry_run: bool
) -> None:
    """Read rows of other formats into the store. Reading a file twice adds nothing.

    JSON, JSON Lines, or a table (.csv, .tsv). Every record becomes rows, or is counted with the
    reason why not. A record that fits two formats stops the import, which then adds nothing.
    """
    columns = _columns(mapping)
    try:
        source = path.open("rb")  # before anything is started for it
    except OSError as err:
        code = "file_not_found" if isinstance(err, FileNotFoundError) else "invalid_request"
        raise PawlError(
            f"{path} can't be read", err.strerror or str(err), "Check the path", code=code
        ) from None
    with source:
        settings = settings_of(ctx)
        client = connect(settings)
        with _passing(client) as folder:
            name = _name(path)
            try:
                with (folder / name).open("xb") as copy:
                    most = settings.exchange.max_file_bytes
                    shutil.copyfileobj(_Bounded(source, most, path), copy)
                shutil.chown(folder / name, folder.stat().st_uid, folder.stat().st_gid)
            except OSError as err:
                raise PawlError(
                    f"{path} can't be copied to {folder.parent}",
                    err.strerror or str(err),
                    "Make room there, or mend what is named",
                ) from None
            body = {
                "path": f"{folder.name}/{name}", "format": format_,
                "map": columns or None, "dry_run": dry_run,
            }  # fmt: skip
            _show(client.post("/admin/import", body))


def _columns(mapping: tuple[str, ...]) -> dict[str, str]:
    """``prompt=question,chosen=best`` as fields with their columns."""
    columns: dict[str, str] = {}
    for part in ",".join(mapping).split(",") if mapping else ():
        field, equals, column = (text.strip() for text in part.partition("="))
        if not (field and equals and column) or field in columns:
            raise PawlError(
                f"--map {part!r} can't be used",
                "each field has one column",
                "Write --map prompt=COLUMN,completion=COLUMN",
                param="map",
            )
        columns[field] = column
    return columns


@click.command("export")
@click.argument("path", type=click.Path(path_type=Path))
@_format(
    "preference",
    "sft, preference, unpaired (TRL's conversational formats), sharegpt-dpo, sharegpt-kto, "
    "oasst. A path that ends in .json gets one array, any other JSON lines.",
)
@click.pass_context
def export_command(ctx: click.Context, path: Path, format_: str) -> None:
    """Write curated rows for other programs. What is kept for testing stays here."""
    if os.path.lexists(path):
        raise PawlError(f"{path} is there already", "no file is overwritten", "Name another")
    if not path.parent.is_dir():
        raise PawlError(f"the folder {path.parent} is not there", do="Make it, or name another")
    client = client_of(ctx, only_reads=True)
    with _passing(client) as folder:
        name = _name(path)
        counts = client.post("/admin/export", {"path": f"{folder.name}/{name}", "format": format_})
        try:
            with (folder / name).open("rb") as written, path.open("xb") as target:
                shutil.copyfileobj(written, target)
        except OSError as err:
            if not isinstance(err, FileExistsError):
                path.unlink(missing_ok=True)  # half of it
            raise PawlError(
                f"{path} can't be written", err.strerror or str(err), "Name another path"
            ) from None
    _show({**counts, "path": str(path.absolute())})


@contextmanager
def _passing(client: Client) -> Iterator[Path]:
    """A folder of its own in the exchange folder of the server, for the time of the block."""
    exchange = Path(client.get("/admin/status")["exchange_dir"])
    folder = exchange / f"cli-{secrets.token_hex(8)}"
    try:
        exchange.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        shutil.chown(folder, exchange.stat().st_uid, exchange.stat().st_gid)  # for root
    except OSError as err:
        raise PawlError(
            f"the exchange folder {exchange} can't be written",
            err.strerror or str(err),
            "Type this as the server's own user, or send the rows over the API",
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _name(path: Path) -> str:
    """A file's name as the server takes it, for its messages: /dev/stdin has none of its own."""
    name = path.name.lstrip(".")
    return name if name.isprintable() and name else "rows" + path.suffix


class _Bounded:
    """A file that is read to ``n_bytes`` at most. Raises PawlError beyond."""

    def __init__(self, file: Any, n_bytes: int, path: Path) -> None:
        self._file, self._left, self._path = file, n_bytes, path

    def read(self, size: int = -1) -> bytes:
        chunk: bytes = self._file.read(size)
        self._left -= len(chunk)
        if self._left < 0:
            raise PawlError(
                f"{self._path} is too large",
                "exchange.max_file_bytes is less",
                "Split it, or raise that setting",
                code="file_too_large",
            )
        return chunk


def _show(counts: dict[str, Any]) -> None:
    for name, value in counts.items():
        if isinstance(value, dict):
            for reason, n in value.items():
                echo(f"{name}: {reason}: {n}")
        elif isinstance(value, list):
            for line in value:
                echo(f"{name}: {line}")
        else:
            echo(f"{name}: {value}")
