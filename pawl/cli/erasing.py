"""pawl forget, pawl backup, pawl restore: what people said goes, or is kept elsewhere."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from pawl.cli.connect import client_of, connect, settings_of
from pawl.cli.output import echo, one_line
from pawl.errors import PawlError
from pawl.files import write_atomic


@click.command("forget")
@click.option(
    "--user", metavar="ID",
    help="Who: a rater's id (KEY/PERSON behind a front end), an account or a key.",
)  # fmt: skip
@click.option("--conversation", metavar="ID", help="Who: the owner of this conversation.")
@click.option("--dry-run", is_flag=True, help="Say what would be erased, and erase nothing.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--certificate", type=click.Path(path_type=Path), metavar="FILE",
              help="Write the certificate there too, as JSON, with the name.")  # fmt: skip
@click.option("--list", "list_all", is_flag=True, help="The certificates so far.")
@click.pass_context
def forget_command(
    ctx: click.Context,
    user: str | None,
    conversation: str | None,
    dry_run: bool,
    yes: bool,
    certificate: Path | None,
    list_all: bool,
) -> None:
    """Erase what a person asked and said from all that Pawl keeps.

    Gone are their rows in the store, whose file is written anew, snapshots with rows of theirs,
    texts in runs, probe records, exports and logs, their account or key. Adapters that learned from
    them are listed. A certificate says what was done; it stays in erasures/ of the state folder,
    without the name. While a night or 'pawl why' runs nothing is erased.
    """
    from feedback.certificate import certificate_text

    client = client_of(ctx, only_reads=True)
    if list_all:
        for one in client.get("/admin/erasures"):
            echo(f"{one['erasure_id']}  {one['finished_at'][:19]}Z  by {one['asked_by']}  "
                 f"{one['counts'].get('answers', 0):,} answers")  # fmt: skip
        return
    if (user is None) == (conversation is None):
        raise PawlError("forget takes either --user or --conversation", do="Name one person")
    if certificate is not None and certificate.exists():
        raise PawlError(f"{certificate} is there already", "no file is overwritten", "Name another")
    body = {"user": user} if user is not None else {"conversation_id": conversation}
    _say_preview(client.post("/admin/erasures/preview", body))
    if dry_run:
        return
    if not yes and not (sys.stdin.isatty() and click.confirm("Erase this for ever?")):
        raise PawlError("nothing was erased", "it was not confirmed", "Say --yes")
    done = client.post("/admin/erasures", body)
    echo(certificate_text(done).rstrip())
    if certificate is not None:
        text = json.dumps({**body, **done}, indent=2, ensure_ascii=False) + "\n"
        write_atomic(certificate, text, mode=0o600)
    left = [*done["searched"]["found"], *(["the store"] if done["store"]["found"] else [])]
    if left:
        raise PawlError(
            f"something of theirs is still in {', '.join(left)}",
            "Pawl did not write it, or can't change it",
            "Delete it, or mend it, by hand",
            code="not_all_erased",
        )


def _say_preview(preview: dict[str, Any]) -> None:
    echo(f"Under {', '.join(one_line(name) for name in preview['names'])}:")
    for what, n in preview["counts"].items():
        if n:
            echo(f"  {n:,} {what}")
    for what, key in (
        ("snapshots that would be deleted", "snapshots"),
        ("copies of the store, and checkpoints, that would be deleted", "copies"),
        ("adapters that learned from them, and stay", "adapters"),
    ):
        if preview[key]:
            echo(f"  {what}: {', '.join(preview[key])}")
    for one in preview["backups"]:
        echo(f"  a backup that stays: {one['path']} ({one['created_at'][:19]}Z)")


@click.command("backup")
@click.argument("path", type=click.Path(path_type=Path))
@click.pass_context
def backup_command(ctx: click.Context, path: Path) -> None:
    """Copy the state folder into one file, also while a server runs.

    A tar file that its owner alone can read: the store as of one moment, adapters, snapshots, runs,
    keys; no logs, no base model. Type it as the server's own user.
    """
    from feedback.backup import write_backup
    from feedback.erasing import while_reading

    settings = settings_of(ctx)
    client = connect(settings, only_reads=True)
    if path.exists():
        raise PawlError(f"{path} is there already", "no file is overwritten", "Name another")
    with while_reading(settings):
        copy = client.post("/admin/backup", {})
        try:
            done = write_backup(settings.state_dir, copy, path)
        finally:
            shutil.rmtree(copy["dir"], ignore_errors=True)
    echo(f"{path}: {done.n_rows:,} rows, {done.n_files:,} files, {done.n_bytes:,} bytes, "
         f"SHA-256 {done.sha256}")  # fmt: skip
    _say_secrets(done.secrets)


@click.command("restore")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_context
def restore_command(ctx: click.Context, path: Path) -> None:
    """Make an empty state folder (--state-dir) what a backup holds, checked against its hashes."""
    from feedback.backup import restore

    settings = settings_of(ctx)
    done = restore(path, settings.state_dir)
    echo(f"{settings.state_dir}: {done.n_rows:,} rows in {len(done.tables)} tables and "
         f"{done.n_files:,} files, as they were")  # fmt: skip
    _say_secrets(done.secrets)


def _say_secrets(secrets: list[str]) -> None:
    for one in secrets:
        echo(f"  holds {one}")
