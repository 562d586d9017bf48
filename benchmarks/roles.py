"""Who may do what, as one table, and what others try: each other's rows, paths outside the folder.

    python -m benchmarks.roles [--tries 1000] [--paths 500] [--no-record]

Every route is asked by every kind of caller, allowed and forbidden (keys, sessions of accounts, no
key, wrong ones; the table of ``serve/api/roles.py`` with the requests of
``tests/serve/api/test_roles.py``). Two accounts, then two keys, try to read, rate and retract what
is each other's. Imports and exports name paths outside the exchange folder; a row there would be
learned from if it was read.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measurements import finish
from pawl.schemas import Role

ROW = {"messages": [{"role": "user", "content": "canary"},
                    {"role": "assistant", "content": "sang"}]}  # fmt: skip


def ask_all(folder: Path) -> tuple[int, list[str]]:
    """Every route by every caller: how many requests, and the holes."""
    from serve.api.roles import RULES
    from tests.serve.api import test_roles

    holes, n = [], 0
    with test_roles.closed_server(folder / "closed") as closed:
        for route, rule in sorted(RULES.items()):
            for caller, role in test_roles.CLOSED.items():
                n += 1
                try:
                    test_roles.check(closed, route, rule, caller, role)
                except AssertionError as error:
                    holes.append(f"{route} by {caller}: {str(error)[:200]}")
    return n, holes


def try_each_other(folder: Path, n: int) -> dict[str, list[str]]:
    """Holes, of two accounts and of two keys, in ``n`` tries each."""
    from tests.serve.api.callers import keyed
    from tests.serve.api.each_other import Tries

    with keyed(folder / "accounts") as server:
        accounts = {name: server.sign_in(name) for name in ("ann", "bob")}
        found = {"accounts": Tries(server, accounts).run(n).holes}
        keys = {
            "mallory": server.add("mallory", may_name_raters=True),
            "trent": server.add("trent"),
        }
        found["keys"] = Tries(server, keys, names_raters="mallory").run(n).holes
    return found


def names_outside(exchange: Path, outside: Path, draw: random.Random) -> str:
    """A path that leads out of the folder, or to what is no file of its own there."""
    target = draw.choice(["canary.jsonl", "new.jsonl", "deep/canary.jsonl"])
    up = "../" * draw.randrange(1, 9)
    name = draw.choice([
        str(outside / target), f"/{outside / target}", f"..{outside / target}",
        f"{up}{outside.name}/{target}", f"ok/{up}{outside.name}/{target}", f"./{up}{target}",
        f"link/{target}", "link-to-file", "second-name", f"ok/../link/{target}", "fifo", "dangling",
        f"link/../{outside.name}/{target}", "/dev/zero", "/dev/stdin", "/proc/self/environ",
        "/etc/passwd", f"{exchange}/../{outside.name}/{target}", ".hidden", "ok/.hidden", "", ".",
        "..", "ok/", "/", "\u0000", f"ok/\u0000/{target}", f"..%2f{outside.name}%2f{target}",
        f"..\\{outside.name}\\{target}", f"\uff0e\uff0e/{outside.name}/{target}", "~/" + target,
        "a/" * 40 + target, "x" * 300, f"file://{outside / target}", "link", f"$HOME/{target}",
    ])  # fmt: skip
    return name.replace("/", "//") if draw.random() < 0.1 else name


def try_paths(folder: Path, n: int) -> tuple[int, list[str]]:
    """Imports and exports of paths outside the folder; how many were exports, and the holes."""
    from tests.serve.api.callers import keyed

    draw, holes, n_exports = random.Random(0), list[str](), 0
    with keyed(folder / "state") as server:
        exchange, outside = server.server.settings.exchange_dir, folder / "outside"
        for place in (exchange / "ok", outside / "deep"):
            place.mkdir(parents=True)
        for name in ("canary.jsonl", "deep/canary.jsonl"):
            (outside / name).write_text(json.dumps(ROW) + "\n", "utf-8")
        (exchange / "link").symlink_to(outside)
        (exchange / "link-to-file").symlink_to(outside / "canary.jsonl")
        (exchange / "dangling").symlink_to(outside / "new.jsonl")
        os.link(outside / "canary.jsonl", exchange / "second-name")
        os.mkfifo(exchange / "fifo")

        def all_files() -> dict[str, Any]:
            places = [*outside.rglob("*"), *exchange.rglob("*")]
            return {str(path): path.lstat().st_mtime_ns if path.is_symlink() or not path.is_file()
                    else path.read_bytes() for path in places if not path.is_dir()}  # fmt: skip

        before = all_files()
        with server.client(server.admin_key) as operator:
            for _ in range(n):
                path = names_outside(exchange, outside, draw)
                verb = draw.choice(["import", "export"])
                n_exports += verb == "export"
                body = {"path": path, "format": draw.choice(["auto", "sft"]) if verb == "import"
                        else draw.choice(["sft", "preference"])}  # fmt: skip
                answer = operator.post(f"/admin/{verb}", json=body)
                if not 400 <= answer.status_code < 500 or "canary" in answer.text.replace(
                    "canary.jsonl", ""
                ):
                    holes.append(f"{verb} {path!r}: {answer.status_code} {answer.text[:200]}")
                if all_files() != before:
                    holes.append(f"{verb} {path!r} changed a file")
                    before = all_files()
            if server.server.store.imported():
                holes.append("a row from outside was read")
            (exchange / "ok" / "rows.jsonl").write_text(json.dumps(ROW) + "\n", "utf-8")
            right = operator.post("/admin/import", json={"path": "ok/rows.jsonl", "format": "sft"})
            if right.status_code != 200 or not server.server.store.imported():
                holes.append(f"a file inside is not read: {right.text[:200]}")
    return n_exports, holes


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tries", type=int, default=1000, help="of two callers at each other's")
    parser.add_argument("--paths", type=int, default=500, help="imports and exports")
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pawl-roles-") as name:
        folder = Path(name)
        n_asked, holes = ask_all(folder)
        of_others = try_each_other(folder, args.tries)
        n_exports, of_paths = try_paths(folder, args.paths)
    found = [*holes, *(one for some in of_others.values() for one in some), *of_paths]
    for hole in found:
        print(hole)
    figures = {
        "every route by every kind of caller": f"{n_asked:,} requests, {len(holes)} holes "
        f"(roles: {', '.join(Role)}, none)",
        **{f"two {who} at each other's": f"{args.tries:,} random tries, {len(some)} got through"
           for who, some in of_others.items()},
        "paths outside the exchange folder": f"{args.paths} tries ({n_exports} exports), "
        f"{len(of_paths)} read or written",
    }  # fmt: skip
    missed = [f"{len(found)} holes"] if found else []
    finish("roles", "Who may do what", figures, missed=missed, keep=not args.no_record)


if __name__ == "__main__":
    main()
