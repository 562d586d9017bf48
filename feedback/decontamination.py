"""Benchmark items among training rows: a row that holds one teaches the test, and is left out.

Items are all records of the data files of the suites in use (:func:`folders_in_use`), whatever
their columns are called. An item is found by the share of its word 5-grams that a text holds (as
Lambert et al. 2024, "Tulu 3", section 3.2, who take 8-grams and half of a prompt's tokens; 5 so
that short questions have some): of its question, of a long choice, or of question and choices
together. Grams that many items share tell nothing, so a question is also found as a whole sentence
of a message, or as all of it where it has three or four words. Case, punctuation and single letters
(those of choices) don't count.

Reading large suites takes ten seconds of Python, in which a server would answer haltingly. So a
child does it (``python -m feedback.decontamination``) and leaves the index in the state folder.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import os
import re
import sys
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pawl import __version__
from pawl.errors import PawlError
from pawl.files import sha256_json, write_atomic
from pawl.jobs import run_child, run_job
from pawl.plugins import suite_folder
from pawl.settings import BUILT_IN, Settings
from pawl.text import fold, texts_of

N = 5  # words of a gram
COVERED = 0.6  # share of a question's grams
COVERED_SHORT = COVERED_CHOICE = 0.8  # of a question of fewer words, and of a choice of as many
MIN_CHOICE_WORDS = 12
SHORT_WORDS = 8  # a question below it must fill a third of its message
SHARED_BY = 10  # items; a gram of more tells nothing
SAME_QUESTION = 10  # items; a question of more ("Which is true?") is none by itself
ENOUGH_GRAMS = 8  # that tell something, for a text of which most grams are shared
HASH_BITS = 40
SUITES_DIR = Path(__file__).resolve().parent.parent / "evals" / "suites"
SUFFIXES = (".jsonl", ".json", ".parquet", ".csv")
_log = logging.getLogger("pawl.decontamination")
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9,
                     0xD6E8FEB86659FD93, 0xA0761D6478BD642F], dtype=np.uint64)  # fmt: skip
_MULTIPLIER = int(_FACTORS[0])
_SENTENCE = re.compile(r"(?<=[.?!。？！])\s+|:\s|\n+")
_NO_GRAMS = np.array([], dtype=np.uint64)
SMALL_BYTES = 3_000_000  # of data that is read in this process, in half a second
KEPT = "benchmark-items.npz"  # in the state folder: the index of more
FORMAT = 1  # of that file, and of what it is made by
Grams = NDArray[np.uint64]
Files = tuple[tuple[Path, Path, int, int], ...]  # folder, file, time of change in ns, bytes


def words_of(text: str) -> list[str]:
    """The words that are compared: folded, without punctuation and single Latin letters."""
    folded = text.lower() if text.isascii() else fold(text)
    return [w for w in _WORD.findall(folded) if len(w) > 1 or not ("a" <= w <= "z")]


def grams_of(words: Sequence[str]) -> Grams:
    """The hashes of the word N-grams, sorted, each once."""
    return np.unique(_windows(words))


def _windows(words: Sequence[str]) -> Grams:
    """The hash of each run of N words, in their order."""
    if len(words) < N:
        return _NO_GRAMS
    hashes = np.fromiter((zlib.crc32(w.encode()) for w in words), np.uint64, len(words))
    mixed = np.zeros(len(words) - N + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for i, factor in enumerate(_FACTORS):
            mixed += (hashes[i : len(words) - N + 1 + i] + np.uint64(1)) * factor
        mixed ^= mixed >> np.uint64(29)
        mixed *= _FACTORS[1]
    return mixed >> np.uint64(64 - HASH_BITS)


@dataclass(slots=True)
class Index:
    """The grams of all items. ``grams``, ``leaves``: sorted by gram, the leaf that each is of."""

    items: list[str] = field(default_factory=list)  # names
    grams: Grams = field(default_factory=lambda: _NO_GRAMS)
    leaves: NDArray[np.int64] = field(default_factory=lambda: np.array([], dtype=np.int64))
    item_of: NDArray[np.int64] = field(default_factory=lambda: np.array([], dtype=np.int64))
    n_grams: NDArray[np.int64] = field(default_factory=lambda: np.array([], dtype=np.int64))
    n_words: NDArray[np.int64] = field(default_factory=lambda: np.array([], dtype=np.int64))
    needed: NDArray[np.float64] = field(default_factory=lambda: np.array([], dtype=np.float64))
    questions: dict[int, int] = field(default_factory=dict)  # ``_chained`` words, item

    def find(self, text: str) -> str | None:
        """The name of the item that a text holds most of; None where it holds none."""
        words = words_of(text)
        if (item := self._as_sentence(text, words)) is not None:
            return item
        grams = grams_of(words)
        first = np.searchsorted(self.grams, grams, "left")
        is_known = first < len(self.grams)
        is_known[is_known] = self.grams[first[is_known]] == grams[is_known]
        if not is_known.any():
            return None
        last = np.searchsorted(self.grams, grams[is_known], "right")
        found = [self.leaves[a:b] for a, b in zip(first[is_known], last, strict=True)]
        leaves, n_hits = np.unique(np.concatenate(found), return_counts=True)
        share = n_hits / self.n_grams[leaves]
        fills = (self.n_words[leaves] >= SHORT_WORDS) | (3 * self.n_words[leaves] >= len(words))
        is_found = (share >= self.needed[leaves]) & fills
        if not is_found.any():
            return None
        return self.items[int(self.item_of[leaves[is_found][np.argmax(share[is_found])]])]

    def _as_sentence(self, text: str, words: Sequence[str]) -> str | None:
        """The item whose question is all of a text, or begins a sentence of it (or two that follow
        each other) and fills half of that."""
        if (item := self.questions.get(_chained(words)[-1])) is not None:
            return self.items[item]
        sentences = [words_of(sentence) for sentence in _SENTENCE.split(text)]
        for part, following in zip(sentences, [*sentences[1:], []], strict=True):
            chain = _chained([*part, *following])
            for hashed in chain[max(N, len(part) // 2) :]:
                if (item := self.questions.get(hashed)) is not None:
                    return self.items[item]
        return None

    def save(self, path: Path, key: str) -> None:
        """Write it to a file that ``load`` reads by the same ``key``."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays["hashes"] = np.fromiter(self.questions, np.uint64, len(self.questions))
        arrays["asked"] = np.fromiter(self.questions.values(), np.int64, len(self.questions))
        texts = json.dumps({"key": key, "items": self.items}).encode()
        buffer = io.BytesIO()
        np.savez(buffer, texts=np.frombuffer(texts, dtype=np.uint8), **arrays)
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path, key: str) -> Index | None:
        """The index of a file; None where it is of other data, or none."""
        try:
            with np.load(path, allow_pickle=False) as file:
                texts = json.loads(file["texts"].tobytes())
                if texts["key"] != key:
                    return None
                index = cls(texts["items"], **{name: file[name] for name in _ARRAYS})
                asked = zip(file["hashes"].tolist(), file["asked"].tolist(), strict=True)
                index.questions = dict(asked)
                return index
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            return None


_ARRAYS = ("grams", "leaves", "item_of", "n_grams", "n_words", "needed")


def _chained(words: Sequence[str]) -> list[int]:
    """The 64-bit hash of the first 0, 1, 2, ... words."""
    chain = [0]
    for word in words:
        mixed = (chain[-1] ^ zlib.crc32(word.encode("utf-8", "surrogatepass")) + 1) * _MULTIPLIER
        chain.append((mixed ^ mixed >> 29) & 0xFFFFFFFFFFFFFFFF)
    return chain


def folders_in_use(settings: Settings) -> tuple[Path, ...]:
    """Where the items of the suites lie that a night may score on: the suite of the settings, the
    one that comes with Pawl, all of ``gate.data_dir``, and the hub's copies of what a suite reads.
    """
    gate = settings.gate
    of_package = suite_folder(gate.suite)
    own = SUITES_DIR / gate.suite if gate.suite in BUILT_IN else Path(gate.suite).expanduser()
    own = of_package or own
    folders = {SUITES_DIR / "everyday", own}
    if gate.data_dir is not None:
        folders.add(gate.data_dir.expanduser())
    cache = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")) / "hub"
    cache = Path(os.environ.get("HF_HUB_CACHE", cache))
    for name in _hub_ids([SUITES_DIR / "official", own]):
        folders.add(cache / f"datasets--{name.replace('/', '--')}" / "snapshots")
    return tuple(sorted(folder.absolute() for folder in folders if folder.is_dir()))


def index_of(settings: Settings) -> Index:
    """The index of all items in use; made again when a file changed, by a child process where there
    are many, or by this one where that fails."""
    folders = folders_in_use(settings)
    files = _files_of(folders)
    if sum(n_bytes for *_, n_bytes in files) <= SMALL_BYTES:
        return _index(files)
    key = sha256_json([FORMAT, __version__, [[str(part) for part in file] for file in files]])
    with _making:
        if key not in _made:
            path = settings.state_dir / KEPT
            index = Index.load(path, key)
            if index is None:
                try:
                    run_job(
                        "feedback.decontamination",
                        ["--key", key, "--out", str(path.absolute()), *map(str, folders)],
                        name="indexing",
                        log_path=settings.logs_dir / "benchmark-items.log",
                        beside_engine=True,
                    )
                except PawlError as err:
                    _log.warning("benchmarks are read by this process, which takes longer: %s", err)
                index = Index.load(path, key)
            if index is None:
                index = _index.__wrapped__(files)  # kept below, and once
            _made.clear()  # one of them is large
            _made[key] = index
        return _made[key]


_making = threading.Lock()
_made: dict[str, Index] = {}  # by key


def _files_of(folders: Iterable[Path]) -> Files:
    return tuple(
        (folder, path, path.stat().st_mtime_ns, path.stat().st_size)
        for folder in folders
        for path in data_files(folder)
    )


def main(arguments: list[str] | None = None) -> int:
    """Make the index of all data in some folders, in a child."""
    parser = argparse.ArgumentParser(prog="python -m feedback.decontamination")
    parser.add_argument("--key", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("folders", type=Path, nargs="+")
    return run_child(
        parser,
        lambda args, report: _index(_files_of(args.folders)).save(args.out, args.key),
        arguments,
    )


def _hub_ids(suites: Iterable[Path]) -> list[str]:
    """The hub's data sets that suites read; a suite that can't be read is the gate's to refuse."""
    found: set[str] = set()
    for path in (folder / "suite.yaml" for folder in suites):
        if path.is_file():
            found |= _hub_ids_of(path, path.stat().st_mtime_ns)
    return sorted(found)


@lru_cache(maxsize=8)
def _hub_ids_of(path: Path, changed: int) -> frozenset[str]:
    import yaml

    try:
        value = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return frozenset()
    benchmarks = value.get("benchmarks") if isinstance(value, dict) else None
    return frozenset(str(one["hub"]) for one in benchmarks or () if one.get("hub"))


def data_files(folder: Path) -> list[Path]:
    """All data files but training splits beside other splits: nothing is scored on them."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    others = {path.parent for path in files if not path.name.startswith("train")}
    return [p for p in files if not (p.name.startswith("train") and p.parent in others)]


@lru_cache(maxsize=4)
def _index(files: Files) -> Index:
    names: list[str] = []
    leaves: list[tuple[int, list[str], float]] = []  # item, words, share needed
    questions: dict[int, list[int]] = {}
    for folder, path, _, _ in files:
        part = re.sub(r"-\d+-of-\d+$", "", str(path.relative_to(folder).with_suffix("")))
        part = part if folder.name == "snapshots" else f"{folder.name}/{part}"
        for number, record in enumerate(records_of(path), 1):
            names.append(f"{part} item {number}")
            _add_leaves(record, len(names) - 1, leaves, questions)
    index = _built(names, leaves)
    index.questions = {
        hashed: items[0] for hashed, items in questions.items() if len(items) <= SAME_QUESTION
    }
    return index


def _add_leaves(
    record: Any, item: int, leaves: list[tuple[int, list[str], float]], whole: dict[int, list[int]]
) -> None:
    if not isinstance(record, dict):
        return
    questions = [words_of(value) for value in record.values() if isinstance(value, str)]
    choices = [
        words_of(text)
        for value in record.values()
        if isinstance(value, list | dict)
        for text in texts_of(value)
    ]
    for words in questions:
        if len(words) >= N:
            needed = COVERED if len(words) >= MIN_CHOICE_WORDS else COVERED_SHORT
            leaves.append((item, words, needed))
        if len(words) >= 3:
            whole.setdefault(_chained(words)[-1], []).append(item)
    if choices and questions:
        longest = max(questions, key=len)
        if len(longest) < 2 * SHORT_WORDS:
            leaves.append((item, [*longest, *(w for words in choices for w in words)], COVERED))
    for words in choices:
        if len(words) >= MIN_CHOICE_WORDS:
            leaves.append((item, words, COVERED_CHOICE))


def _built(names: list[str], leaves: list[tuple[int, list[str], float]]) -> Index:
    """The index without grams of many items, and without texts that consist of such grams."""
    n_words = np.array([len(words) for _, words, _ in leaves], dtype=np.int64)
    item_of = np.array([item for item, _, _ in leaves], dtype=np.int64)
    needed = np.array([share for _, _, share in leaves], dtype=np.float64)
    if not len(leaves):
        return Index(names)
    # All texts as one run of words; the windows that cross from one into the next are left out.
    grams = _windows([word for _, words, _ in leaves for word in words])
    owner = np.repeat(np.arange(len(leaves), dtype=np.uint64), n_words)
    is_whole = owner[: len(grams)] == owner[N - 1 :]
    leaf, grams = _unique_pairs(owner[: len(grams)][is_whole], grams[is_whole])
    before = np.bincount(leaf, minlength=len(leaves))
    _, of_items = _unique_pairs(item_of.astype(np.uint64)[leaf], grams)
    unique, n_items = np.unique(of_items, return_counts=True)
    tells = n_items[np.searchsorted(unique, grams)] <= SHARED_BY
    leaf, grams = leaf[tells], grams[tells]
    n_grams = np.bincount(leaf, minlength=len(leaves))
    stays = ((4 * n_grams >= 3 * before) | (n_grams >= ENOUGH_GRAMS))[leaf]
    leaf, grams = leaf[stays], grams[stays]
    order = np.argsort(grams, kind="stable")
    return Index(
        names, grams[order], leaf[order], item_of, np.maximum(n_grams, 1), n_words, needed
    )  # fmt: skip


def _unique_pairs(first: Grams, grams: Grams) -> tuple[NDArray[np.int64], Grams]:
    """Each pair once, sorted; packed into one number, since sorting rows takes minutes."""
    packed = np.unique((first << np.uint64(HASH_BITS)) | grams)
    return (packed >> np.uint64(HASH_BITS)).astype(np.int64), packed & np.uint64(2**HASH_BITS - 1)


def records_of(path: Path) -> Iterator[Any]:
    """The records of a data file. Raises PawlError (which file and where) if it is broken."""
    import duckdb

    n_read = 0
    try:
        for record in _parsed(path):
            yield record
            n_read += 1
    except (OSError, ValueError, csv.Error, duckdb.Error) as err:
        raise PawlError(
            f"{path} can't be read after record {n_read:,}",
            str(err).splitlines()[0] if str(err) else type(err).__name__,
            "Put the whole file there, or take the folder out of the suites in use",
            code="data_not_read",
        ) from err


def _parsed(path: Path) -> Iterator[Any]:
    if path.suffix == ".parquet":
        import duckdb

        with duckdb.connect() as connection:
            result = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
            columns = [column[0] for column in result.description or []]
            while rows := result.fetchmany(2000):
                yield from (dict(zip(columns, row, strict=True)) for row in rows)
    elif path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)
    elif path.suffix == ".jsonl":
        for line in path.read_text("utf-8").split("\n"):
            if line.strip():
                yield json.loads(line)
    else:
        value = json.loads(path.read_text("utf-8"))
        yield from value if isinstance(value, list) else [value]


if __name__ == "__main__":
    sys.exit(main())
