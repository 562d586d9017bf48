"""pawl curate: the snapshot that a night would take, or where one row of it comes from; pawl
categories: what can be wrong with an answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from pawl.cli.connect import client_of
from pawl.cli.output import echo, one_line
from pawl.errors import PawlError

VOTES = {  # of a text in a story, in words
    "good": "found good by",
    "bad": "found bad by",
    "preferred": "preferred by",
    "passed_over": "passed over by",
    "written_by": "written by",
    "reviewers": "of these reviewers:",
}


@click.command("curate")
@click.option(
    "--without", multiple=True, metavar="RATER",
    help="As if this rater had never said anything. May be given several times.",
)  # fmt: skip
@click.option(
    "--explain",
    metavar="ID",
    help="Where an answer, feedback or row goes, or which rule puts it aside; freezes nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def curate_command(
    ctx: click.Context, without: tuple[str, ...], explain: str | None, as_json: bool
) -> None:
    """Freeze the rows that a night would learn from, and say what was left out, and why.

    With --without the snapshot is another store's: no night learns from it. The rater had no
    influence where its name is that of --without a name that nobody has.
    """
    if explain is not None:
        if without:
            raise click.UsageError("--explain and --without exclude each other")
        found = client_of(ctx).get("/admin/explain", {"id": explain})
        echo(json.dumps(found, indent=2) if as_json else "\n".join(_explained(found)))
        return
    manifest = client_of(ctx).post("/admin/snapshots", {"without": list(without)})
    if as_json:
        echo(json.dumps(manifest, indent=2))
        return
    echo(f"{manifest['snapshot_id']} {manifest['dir']}")
    for split, kinds in manifest["counts"].items():
        rows = ", ".join(f"{n:,} {kind}" for kind, n in kinds.items())
        echo(f"{split}: {rows or 'no rows'}")
    for reason, n in manifest["rejections"].items():
        echo(f"left out: {n:,} {reason}")


def _explained(found: dict[str, Any]) -> Iterator[str]:
    """An explanation (``pawl.schemas.Explanation``) as lines."""
    yield one_line(f"{found['kind']} {found['id']}: {found['prompt']!r}")
    if found["note"]:
        yield one_line(found["note"])
    if found["cluster"]:
        yield one_line(
            f"its prompt stands in {found['side']}, in cluster {found['cluster']} with "
            f"{found['n_cluster']} rows"
        )
    for text in found["story"]:
        said = [f"{words} {', '.join(text[key])}" for key, words in VOTES.items() if text[key]]
        yield one_line(f"{text['text'][:80]!r}: {'; '.join(said)}. Weight {text['weight']:+d}")
    for row in found["rows"]:
        held = ", ".join(row["snapshots"][-3:]) or "none yet"
        yield one_line(
            f"row {row['row_id']}: {row['kind']} in {row['split']}, weight {row['weight']:g}, of "
            f"{row.get('rater_id') or row.get('source') or 'nobody named'}; in snapshots: {held}"
        )
    for one in found["left_out"]:
        figures = f" ({one['found']})" if one["found"] else ""
        who = one.get("feedback_id") or one.get("source") or ""
        yield one_line(f"left out: {one['reason']}{figures} {who}".rstrip())
    if not found["rows"] and not found["left_out"]:
        yield "no row comes of it"
    if found["snapshots"]:
        yield one_line(f"in snapshots: {', '.join(found['snapshots'])}")


@click.command("categories")
@click.option(
    "--from", "path", type=click.Path(path_type=Path), metavar="FILE",
    help="YAML or JSON: a list of key, definition, example and treatment (train, review, "
    "holdout_only, ignore). Those that differ are changed, new ones added, none is taken away.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as --from takes it.")
@click.pass_context
def categories_command(ctx: click.Context, path: Path | None, as_json: bool) -> None:
    """What can be wrong with an answer, and what is done with flags that say so.

    To change some: pawl categories --json > FILE, edit it, pawl categories --from FILE.
    """
    server = client_of(ctx)
    known = server.get("/v1/feedback/categories")
    changed = [row for row in _read_categories(path) if row not in known] if path else []
    for row in changed:
        known = server.post("/admin/reviews/categories", row)
    if as_json:
        echo(json.dumps(known, indent=2, ensure_ascii=False))
        return
    for row in known:
        mark = "*" if any(row["key"] == one.get("key") for one in changed) else " "
        echo(one_line(f"{mark} {row['key']:<20} {row['treatment']:<12} {row['definition']}"))
    if path:
        echo(f"{len(changed)} changed or added (*)")


def _read_categories(path: Path) -> list[dict[str, Any]]:
    import yaml

    try:
        rows = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise PawlError(f"{path} can't be read", str(err).splitlines()[0]) from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise PawlError(
            f"{path} holds no list of categories",
            "each entry has key, definition, example and treatment",
            "'pawl categories --json' prints one that is right",
        )
    return rows
