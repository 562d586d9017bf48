"""A person's rows taken out of the files of a state folder: snapshots, runs, scores, exports, logs.

Each function may be called again after a kill: what is done already is found done.

Over 400 lines because every kind of file that holds texts of people is emptied here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from feedback.redaction import SHORTEST_TEXT, Redactor, Search, is_plain
from feedback.rows import problem_of_prompt
from feedback.snapshots import ERASED_SNAPSHOT, MANIFEST, ROWS
from feedback.splits import prompt_key
from pawl.adapters import CHECKPOINTS, PROBE, snapshots_of
from pawl.adapters import WEIGHTS as ADAPTER_WEIGHTS
from pawl.errors import PawlError
from pawl.files import json_text, read_json, sha256_file, sync_dir, write_atomic, write_json
from pawl.text import texts_of

# Numbers, or benchmarks' own items.
NO_TEXTS = (".safetensors", ".arrow", ".pt", ".pth", ".bin", ".gguf", ".npz")
DATABASE = "pawl.duckdb"  # and what begins so: the store looks after these
ITEMS = "items.jsonl"
# Prompts that a training weighs rows by (``refine.domain``), without a word on whose they are; one
# that is carried on asks for them anew.
TRAFFIC = "traffic.jsonl"
UNFINISHED = ".unfinished.json"  # ends the name of a plan, which is looked after by itself
Decode = Callable[[list[int]], str]


@dataclass(slots=True)
class Theirs:
    """What of a state folder is the person's: ``rows`` are training rows as JSON."""

    completion_ids: set[str] = field(default_factory=set)
    feedback_ids: set[str] = field(default_factory=set)
    taken_over: set[str] = field(default_factory=set)  # of feedback: reviewers', in their words
    names: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)  # all of these, and of rows and conversations
    chosen: set[str] = field(default_factory=set)  # ids that clients chose: they may be any word
    words: set[str] = field(default_factory=set)
    # Of names of imports (``import:open-webui/ID``): as the file they came from writes them.
    written_names: set[str] = field(default_factory=set)
    record_ids: set[str] = field(default_factory=set)  # likewise, of the opinions that were read
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)  # by row_id
    prompts: set[str] = field(default_factory=set)  # keys of those that were rated
    # By snapshot, those that a training may have seen; snapshots that are deleted too.
    n_trained: dict[str, int] = field(default_factory=dict)

    def owns(self, origin: dict[str, Any]) -> bool:
        """Whether a row of this origin is made of what the person asked, was answered or said."""
        return (
            origin.get("rater_id") in self.names
            or origin.get("completion_id") in self.completion_ids
            or origin.get("feedback_id") in self.feedback_ids | self.taken_over
        )

    def row_ids(self) -> set[str]:
        """What their training rows, and their prompts, are called elsewhere. Of prompts that
        others have too the key is theirs as well (``erased_rows.prompts_of_others``)."""
        prompts = (row.get("prompt") or [] for row in self.rows.values())
        keys = {prompt_key(p) for p in prompts if problem_of_prompt(p) is None}
        return self.rows.keys() | keys | self.prompts

    def searches(self) -> tuple[Search, Search, Search, Search]:
        """For any file; for sentences, where plain names count too; for logs, where ids count
        that clients chose, where logs have them (of requests, by ``pawl.logs``; in paths): they may
        be any word of other lines; and for what would be deleted as a whole. The last two look for
        no words: whoever sends a piece of what others have would take it from them."""
        names = self.names | self.written_names
        odd = {name for name in names if not is_plain(name)}
        ids = self.ids - self.names
        in_logs = {
            form
            for one in self.chosen
            for form in (f"[{one}]", f'"request_id": {json.dumps(one)}', f"conversations/{one}")
        }
        return (
            Search(ids, odd, self.words),
            Search(ids, names, self.words),
            Search(ids | in_logs, names, ()),
            Search(ids, odd, ()),
        )


def read_snapshots(snapshots_dir: Path, theirs: Theirs) -> dict[str, dict[str, int]]:
    """Add the person's rows of every snapshot to ``theirs.rows``; of the snapshots that have some,
    how many in all, theirs, and theirs that a training may have seen."""
    found: dict[str, dict[str, int]] = {}
    for folder in sorted(snapshots_dir.glob("*")):
        path = folder / ROWS
        if not path.is_file():
            continue
        counts = {"n_rows": 0, "n_erased_rows": 0, "n_trained_rows": 0}
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                row = json.loads(line)
                counts["n_rows"] += 1
                if theirs.owns(row.get("origin") or {}) or row.get("row_id") in theirs.rows:
                    counts["n_erased_rows"] += 1
                    counts["n_trained_rows"] += row.get("split") != "holdout"
                    theirs.rows.setdefault(row["row_id"], row)
        if counts["n_erased_rows"]:
            found[folder.name] = counts
            theirs.n_trained[folder.name] = counts["n_trained_rows"]
    return found


def read_run_rows(runs_dir: Path, theirs: Theirs) -> None:
    """Add the person's rows that nights scored beside their snapshots' (``more_rows.jsonl``)."""
    for path in sorted(runs_dir.glob("*/*.jsonl")):
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                row = json.loads(line)
                if "row_id" in row and theirs.owns(row.get("origin") or {}):
                    theirs.rows.setdefault(row["row_id"], row)


def erase_snapshots(
    snapshots_dir: Path, found: dict[str, dict[str, int]], tombstone: dict[str, Any]
) -> None:
    """Delete snapshots, since a hash names their content; what they were stays in
    ``snapshots/<id>/erased.json``."""
    for name, counts in found.items():
        folder = snapshots_dir / name
        if (folder / ROWS).exists():
            manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).exists() else {}
            kept = {key: manifest.get(key) for key in ("content_sha256", "created_at", "counts")}
            value = {"snapshot_id": name, **kept, **counts, **tombstone}
            write_json(folder / ERASED_SNAPSHOT, value)
        for path in folder.iterdir():
            if path.name != ERASED_SNAPSHOT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        sync_dir(folder)
    for path in snapshots_dir.glob(".part-*"):  # of a process that died while it froze one
        shutil.rmtree(path, ignore_errors=True)


def adapters_of(state_dir: Path) -> Iterator[Path]:
    """Every adapter that is kept: promoted ones, and those of runs."""
    yield from sorted((state_dir / "adapters").glob("*@*"))
    yield from sorted((state_dir / "runs").glob("*/adapter"))


def trained_on(state_dir: Path, n_trained: dict[str, int]) -> list[dict[str, Any]]:
    """The adapters whose recipe names one of these snapshots, its own or one of what it began from,
    where a training saw their rows.

    Args:
        n_trained: as ``Theirs.n_trained``.
    """
    found = []
    for folder in adapters_of(state_dir):
        manifest_path = folder / "manifest.json"
        if not manifest_path.is_file():
            continue
        manifest = read_json(manifest_path)
        learned = snapshots_of(manifest.get("recipe") or {})
        most = max(learned, key=lambda one: n_trained.get(one, 0), default="")
        if n_rows := n_trained.get(most):
            name = folder.name if folder.name != "adapter" else folder.parent.name
            found.append({"adapter": name, "dir": str(folder.relative_to(state_dir)),
                          "snapshot_id": most,
                          "base_fingerprint": manifest.get("base_fingerprint"),
                          "n_rows": n_rows})  # fmt: skip
    return found


def redact_probe(
    adapter_dir: Path,
    theirs: Theirs,
    search: Search,
    decode: Decode | None,
) -> int:
    """Take the positions after the person's texts out of an adapter's probe record, and hash it
    anew; how many positions are left. One that has none is served on: an engine then sees only
    that it answers otherwise than its base.

    Args:
        search: for ids and names alone. Their texts there are those of their training rows; others
            may stand in everybody's positions, as the template's system prompt does.
        decode: token ids of the adapter's base to text; without it every position goes.
    """
    positions = read_json(adapter_dir / PROBE)
    prompts = [  # templates may add to a system prompt, or leave it out
        [str(message.get("content") or "").strip() for message in row.get("prompt") or ()
         if message.get("role") in ("user", "tool")]
        for row in theirs.rows.values()
    ]  # fmt: skip

    def is_theirs(ids: list[int]) -> bool:
        if decode is None:
            return True
        text = decode(ids)
        asked = any(turns and all(_has_turn(text, one) for one in turns) for turns in prompts)
        return asked or bool(search.spans(text.encode()))

    kept = [one for one in positions if not is_theirs(one["prefix_ids"])]
    manifest = read_json(adapter_dir / "manifest.json")
    if kept != positions:
        # The adapter is whole at each moment: an engine may start in between, or after a kill.
        manifest["probe_next_sha256"] = sha256(json_text(kept).encode()).hexdigest()
        write_json(adapter_dir / "manifest.json", manifest)
        write_json(adapter_dir / PROBE, kept)
    digest = sha256_file(adapter_dir / PROBE)
    if manifest["files_sha256"][PROBE] != digest:  # also after a kill between the two
        manifest["files_sha256"][PROBE] = digest
        manifest.pop("probe_next_sha256", None)
        write_json(adapter_dir / "manifest.json", manifest)
    return len(kept)


def _has_turn(text: str, message: str) -> bool:
    """Whether a conversation as a chat template writes it has this message. A short one ("Hi") may
    stand anywhere in others' texts, so it counts as a whole turn alone: on lines of its own, or
    between marks of the template (``<|user|>Hi</s>``, ``[INST] Hi [/INST]``, ``USER: Hi``)."""
    if len(message) >= SHORTEST_TEXT:
        return message in text
    pattern = rf"(?:^|[\n>\]:])[ \t]*{re.escape(message)}[ \t]*(?:$|[\n<\[]|[A-Z]{{4,}}:)"
    return re.search(pattern, text) is not None


def redact_runs(runs_dir: Path, redactor_for: Callable[[], Redactor]) -> dict[str, list[str]]:
    """Take the person's ids and texts out of the runs' JSON and HTML, and delete their traffic; the
    files changed, by run. Scores stay."""
    changed: dict[str, list[str]] = {}
    for run in sorted(path for path in runs_dir.glob("*") if path.is_dir()):
        redactor = redactor_for()  # a run's page is made of its own files
        files = [
            path
            for path in run.rglob("*")
            if path.is_file() and path.relative_to(run).parts[0] != "adapter"
        ]
        # Pages last: they are redacted by what was found in the JSON.
        for path in sorted(files, key=lambda one: (one.suffix == ".html", str(one))):
            is_traffic = path.name == TRAFFIC
            if is_traffic:
                path.unlink()
            if is_traffic or redact_file(path, redactor):
                changed.setdefault(run.name, []).append(str(path.relative_to(run)))
    return changed


def redact_file(path: Path, redactor: Redactor) -> bool:
    """Redact a JSON, JSON Lines or HTML file; whether it changed."""
    if path.suffix not in (".json", ".jsonl", ".html"):
        return False
    text = path.read_text("utf-8")
    try:
        if path.suffix == ".html":
            after = redactor.html(text)
        elif path.suffix == ".json":
            value = json.loads(text)
            redacted = redactor.json(value)
            after = (
                text if redacted == value else json.dumps(redacted, indent=2, ensure_ascii=False)
            )
        else:
            after = "".join(_redacted_line(line, redactor) for line in _lines(text))
    except (ValueError, RecursionError):
        return False  # no JSON that can be read: the search at the end looks at its bytes
    if after == text:
        return False
    write_atomic(path, after.encode("utf-8", "backslashreplace"))
    manifest = path.with_name(MANIFEST)
    if path.name == ITEMS and manifest.exists():
        values = read_json(manifest)
        write_json(manifest, {**values, "items_sha256": sha256_file(path)})
    return True


def _redacted_line(line: str, redactor: Redactor) -> str:
    value = json.loads(line) if line.strip() else None
    redacted = redactor.json(value)
    return line if redacted == value else json.dumps(redacted, ensure_ascii=False) + "\n"


def _lines(text: str) -> Iterable[str]:
    """Not splitlines(): a text may hold U+2028, which is no end of a line in JSON Lines."""
    lines = text.split("\n")
    yield from (line + "\n" for line in lines[:-1])
    if lines[-1]:
        yield lines[-1]


def erase_scores(scores_dir: Path, ids: set[str]) -> list[str]:
    """Delete kept scores of held-out rows among which there is one of the person's: no later night
    asks for these rows together again. What a killed scoring left lies a folder deeper."""
    erased = []
    for items in sorted(scores_dir.rglob(ITEMS)):
        with suppress(FileNotFoundError), items.open(encoding="utf-8", newline="\n") as file:
            if not any(
                ids & {str(value) for value in json.loads(line).values() if isinstance(value, str)}
                for line in file
                if line.strip()
            ):
                continue
            (items.parent / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(items.parent)
            erased.append(str(items.parent.relative_to(scores_dir)))
    return erased


def erase_exports(exchange_dir: Path, theirs: Theirs, search: Search) -> dict[str, int]:
    """Take the person's rows out of JSON and JSON Lines files of the exchange folder; how many
    records, by file. A record is theirs when it has all texts of one of their rows, one of their
    ids, or one of their own words as a whole value; of somebody known from an import, the rater
    that it names decides instead of the texts, or else its own id. A file that can't be read stays,
    and so does a text within a longer one: the search at the end names the file.

    Args:
        search: for ids and names alone.
    """
    from feedback.formats.read import parse  # which imports this module by way of its package

    keys = {frozenset(filter(None, (
        (row.get("prompt") or [{}])[-1].get("content"),
        row.get("completion"), row.get("chosen"), row.get("rejected"),
    ))) for row in theirs.rows.values()}  # fmt: skip
    own = {one.strip() for one in theirs.words if len(one) >= SHORTEST_TEXT}
    is_imported = any(name.startswith("import:") for name in theirs.names)
    by_prompt: dict[str, list[frozenset[str]]] = {}
    for key in keys:
        for text in key:
            by_prompt.setdefault(text, []).append(key)

    def raters_of(written: bytes) -> set[str]:
        try:
            lessons = parse(written, "record.json").lessons if is_imported else []
        except PawlError:  # of no known format
            return set()
        return {str(one.origin["rater_id"]) for one in lessons if "rater_id" in one.origin}

    def is_theirs(record: Any) -> bool:
        written = json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if search.spans(written) or not own.isdisjoint(map(str.strip, texts_of(record))):
            return True
        if raters := raters_of(written):
            return not raters.isdisjoint(theirs.names)
        if isinstance(record, dict) and str(record.get("id")) in theirs.record_ids:
            return True
        texts = set(texts_of(record))
        found = (key for text in texts for key in by_prompt.get(text, ()))
        return any(key <= texts for key in found)

    erased: dict[str, int] = {}
    for path in sorted(exchange_dir.rglob("*")):
        if path.suffix not in (".json", ".jsonl") or path.is_symlink():
            continue
        try:
            if not path.is_file():
                continue
            text = path.read_text("utf-8-sig")
            records, is_array = _records(text, path.suffix == ".jsonl")
            kept = [record for record in records if not is_theirs(record)]
        except (OSError, ValueError, RecursionError):  # no JSON, or nested too deeply
            continue
        if len(kept) == len(records):
            continue
        after = (
            json.dumps(kept, ensure_ascii=False, indent=2) + "\n"
            if is_array
            else "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in kept)
        )
        # Half a surrogate pair, which no UTF-8 has, becomes the escape that it was read from.
        data, mode = after.encode("utf-8", "backslashreplace"), stat.S_IMODE(path.stat().st_mode)
        write_atomic(path, data, mode)
        erased[str(path.relative_to(exchange_dir))] = len(records) - len(kept)
    return erased


def _records(text: str, is_lines: bool) -> tuple[list[Any], bool]:
    """The records of a file, and whether they are one array. Raises ValueError: it is no JSON."""
    if text.lstrip().startswith("["):
        return list(json.loads(text)), True
    if not is_lines:
        raise ValueError("one object, of which a record can't be told")
    return [json.loads(line) for line in text.split("\n") if line.strip()], False


def erase_copies(state_dir: Path, *, really: bool = True) -> dict[str, int]:
    """Delete copies of the store that cannot be searched: ``pawl salvage``'s, and what DuckDB put
    on disk and a kill left; their bytes, by name."""
    copies = [*state_dir.glob("salvage-*"), state_dir / f"{DATABASE}.tmp"]
    copies += state_dir.glob("backup-*")
    found: dict[str, int] = {}
    for folder in sorted(path for path in copies if path.is_dir()):
        files = [path for path in folder.rglob("*") if path.is_file()]
        found[folder.name] = sum(path.stat().st_size for path in files)
        if really:
            shutil.rmtree(folder)
    return found


def erase_checkpoints(
    state_dir: Path, snapshots: Collection[str], *, really: bool = True
) -> dict[str, int]:
    """Delete what an interrupted training on one of these snapshots would go on from; bytes, by
    folder. It can't: its snapshot is deleted."""
    found: dict[str, int] = {}
    for folder in sorted(state_dir.glob(f"runs/*/train/{CHECKPOINTS}")):
        job = folder.with_name("job.json")
        if job.exists() and Path(read_json(job)["snapshot_dir"]).name not in snapshots:
            continue
        files = [path for path in folder.rglob("*") if path.is_file()]
        found[str(folder.relative_to(state_dir))] = sum(path.stat().st_size for path in files)
        if really:
            shutil.rmtree(folder)
    return found


@dataclass(frozen=True, slots=True)
class Searched:
    """What the search of a state folder's files came to; paths are relative to it."""

    n_files: int
    n_bytes: int
    overwritten: dict[str, int]  # how often, by file
    found: list[str]  # files that still hold something


def search_files(
    state_dir: Path, folders: Iterable[Path], search: Search, in_logs: Search
) -> Searched:
    """Look for what is left in every file but the store's own and weights. In logs it is
    overwritten in place with as many ``*``, so that whoever appends meanwhile goes on; of others
    the name is given, since bytes in the midst of JSON may be more than a text, and of logs with a
    text that the person wrote, too: it may as well be the program's line."""
    n_files = n_bytes = 0
    overwritten: dict[str, int] = {}
    found: list[str] = []
    files: dict[Path, OSError | None] = {}  # and folders that can't be read
    for folder in folders:
        for root, _, names in os.walk(
            folder, onerror=lambda e: files.update({Path(e.filename): e})
        ):
            files.update((Path(root, name), None) for name in names)
    for path in sorted(files):
        is_inside = path.is_relative_to(state_dir)
        name = str(path.relative_to(state_dir)) if is_inside else str(path)
        if path.is_symlink() or name.startswith(DATABASE) or path.suffix in NO_TEXTS:
            continue
        if name.endswith(UNFINISHED) or path.name == ADAPTER_WEIGHTS:
            continue
        try:
            if (error := files[path]) is not None:
                raise error
            if not path.is_file():
                continue
            n, size, is_left = _overwrite(
                path, search, in_logs if ".log" in path.suffixes else None
            )
        except FileNotFoundError:
            continue
        except OSError as err:
            found.append(f"{name} (not searched: {err.strerror or err})")
            continue
        n_files, n_bytes = n_files + 1, n_bytes + size
        if is_left:
            found.append(name)
        if n:
            overwritten[name] = n
    return Searched(n_files, n_bytes, overwritten, found)


def _overwrite(path: Path, search: Search, in_logs: Search | None) -> tuple[int, int, bool]:
    """How many places of a log (``in_logs``) were overwritten, the size, and whether something is
    left."""
    with path.open("r+b" if in_logs and os.access(path, os.W_OK) else "rb") as file:
        data = file.read()
        spans = in_logs.spans(data) if in_logs else []
        if spans and not file.writable():
            return 0, len(data), True
        if spans:
            after = bytearray(data)
            for begin, end in spans:
                after[begin:end] = b"*" * (end - begin)
                os.pwrite(file.fileno(), after[begin:end], begin)
            os.fsync(file.fileno())
            data = bytes(after)
    # The items of benchmarks were looked at one by one (redact_file).
    return len(spans), len(data), bool(search.spans(data, texts=path.name != ITEMS))
