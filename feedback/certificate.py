"""What an erasing did, in words: the certificate as text."""

from __future__ import annotations

from typing import Any

REMAINS = (
    ("the audit log", "who did what and when stays; the person stands there under a made-up name, "
                      "without an address"),
    ("scores of runs", "the numbers, without the texts and under made-up ids"),
    ("adapters that learned from their rows", "listed above: weights can't be searched for a text"),
    ("the file system and the disk", "may keep blocks of deleted and replaced files until they are "
                                     "used again, and snapshots of its own"),
    ("others who were told", "the webhook's address, traces, and whoever exported rows"),
)  # fmt: skip


def certificate_text(certificate: dict[str, Any]) -> str:
    """The certificate for people: when, by whom, what was erased, what remains and why."""
    lines = [
        f"Erasing {certificate['erasure_id']}",
        f"begun {certificate['begun_at'][:19]}Z, finished {certificate['finished_at'][:19]}Z, "
        f"asked by {certificate['asked_by']}, Pawl {certificate['pawl_version']}",
        f"whose: SHA-256 of '{certificate['subject_salt']}:' and the name is "
        f"{certificate['subject_sha256']}",
        "",
        "Erased from the store:",
    ]
    lines += [f"  {n:,} {what}" for what, n in certificate["counts"].items() if n]
    store = certificate["store"]
    lines += [
        f"  {table}: {n['n_before']:,} rows before, {n['n_after']:,} after"
        + (f", {n['n_replaced']:,} changed" if n["n_replaced"] else "")
        for table, n in store["tables"].items()
    ]
    lines += [
        f"  its file was written anew: {store['n_bytes_before']:,} bytes before, "
        f"{store['n_bytes_after']:,} after; {store['found']:,} rows still name the person",
        "",
        "Erased from files:",
    ]
    for one in certificate["snapshots"]:
        lines.append(
            f"  snapshots/{one['snapshot_id']}: deleted, {one['n_erased_rows']:,} of its "
            f"{one['n_rows']:,} rows were theirs"
        )
    files = certificate["files"]
    lines += [f"  runs/{run}: {', '.join(names)}" for run, names in files["runs"].items()]
    lines += [f"  scores/{name}: deleted" for name in files["scores"]]
    lines += [f"  exchange folder, {name}: {n:,} records" for name, n in files["exports"].items()]
    lines += [f"  {name}: deleted ({n:,} bytes)" for name, n in files["copies"].items()]
    searched = certificate["searched"]
    lines += [f"  {name}: overwritten in {n:,} places" for name, n in
              searched["overwritten"].items()]  # fmt: skip
    lines += [
        "",
        f"Searched: {searched['n_files']:,} files, {searched['n_bytes']:,} bytes, for every id, "
        "name and text of theirs.",
        *(f"  STILL THERE, in a form that Pawl does not write: {name}"
          for name in searched["found"]),
        "",
        "Adapters that learned from their rows:" if certificate["adapters"] else
        "No adapter learned from their rows.",
    ]  # fmt: skip
    for one in certificate["adapters"]:
        champion = "; it is the champion" if one["is_champion"] else ""
        lines.append(f"  {one['adapter']}: {one['n_rows']:,} rows, snapshot {one['snapshot_id']}"
                     f"{champion}")  # fmt: skip
        if not one["n_probe_positions_left"]:
            lines.append(
                "    its probe record held their texts alone and is empty: an engine that "
                "starts sees only that it answers otherwise than its base"
            )
    lines += [f"  {choice}" for choice in certificate["choices"]]
    lines += ["", "What remains, and why:"]
    lines += [f"  {what}: {why}" for what, why in REMAINS]
    backups = certificate["backups"]
    lines += [f"  the backup {one['path']} of {one['created_at'][:19]}Z: delete it, or erase again "
              "after it was restored" for one in backups]  # fmt: skip
    if not backups:
        lines.append("  backups: none was made with 'pawl backup'; other copies are yours to find")
    return "\n".join(lines) + "\n"
