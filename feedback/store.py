"""The store: everything that was asked, answered, said about it, learned and decided.

One process owns the file. Writes are queued to one thread that makes them durable in groups and
answer with a ``concurrent.futures.Future`` that is resolved then (async callers:
``asyncio.wrap_future``): answers and feedback once they are in the journal, the rest after COMMIT.
Reads run on their own cursors from any thread and see every row whose future was resolved.
Nothing is edited or deleted here, what is newest counts. Two exceptions: ``feedback.erasing``, and
how far other gateways' journals were brought in (``forget_shipments``).

Over 400 lines because every table's writing and reading is here, a few lines each.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from feedback.access import Access
from feedback.arms import Arms, arms
from feedback.categories import DEFAULT_CATEGORIES
from feedback.champion import BASE_VERSION
from feedback.changes import Change, changes_since
from feedback.conversations import ALIVE, Conversations
from feedback.current import current_feedback_sql, read_current
from feedback.database import Database, newest_row, store_failed
from feedback.forgotten import Forgotten
from feedback.imported import RATER, ImportedRows, all_imported, keys_of, states_of
from feedback.journal import read_state
from feedback.migrations import MIGRATIONS, Migration
from feedback.reviews import Reviews
from feedback.rewriting import Rewriter
from feedback.rows import SILENT, Key, Lesson, State
from feedback.tables import (
    CATEGORY_COLUMNS,
    COMPLETION_COLUMNS,
    FEEDBACK_COLUMNS,
    LOOK_COLUMNS,
    PROMOTION_COLUMNS,
    SCORE_COLUMNS,
    VERSION_SETTINGS_COLUMNS,
    Row,
    column_types,
    content_hashes,
    curated_row,
    latest,
    newest,
    newest_seq,
    record_from,
    row_of,
    to_json,
    where,
)
from feedback.traffic import newest_prompts, traffic
from feedback.writer import GroupWriter, Write
from pawl.errors import PawlError
from pawl.schemas import (
    Category,
    Completion,
    Feedback,
    ItemScore,
    Look,
    Promotion,
    Split,
    TrainingRow,
    VersionSettings,
    utc_now,
)

MOST_GATEWAYS = 1_000  # lives of other gateways of which it is known how far they came
_log = logging.getLogger("pawl.store")


class Store:
    """The open store. Use ``Store.open``; close it to fold the WAL into the file."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._numbering = threading.Lock()
        self.importing = threading.Lock()  # what a file adds rests on those before it
        with database.reading() as cursor:
            types = column_types(cursor)
            next_seq = 1 + newest_seq(cursor, types)
            state = read_state(cursor)
        assert state is not None  # migration 14
        # What others may know it by; its copies have the same. Its own id is in its journal alone.
        self.identity = hashlib.sha256(f"pawl store {state[0]}".encode()).hexdigest()
        self._load()
        [(self._last_number,)] = self.read("SELECT coalesce(max(number), 0) FROM version_numbers")
        self._writer = GroupWriter(database, types, next_seq)
        self.forgotten = Forgotten()
        self.access = Access(database, self._writer, self.forgotten)
        self.reviews = Reviews(database, self._writer, self.forgotten)
        self.rewriter = Rewriter(database, self._writer)
        self.conversations = Conversations(self.read, self._writer)
        if not self.categories():
            self._append("categories", [row_of(one) for one in DEFAULT_CATEGORIES]).result()

    def _load(self) -> None:
        rows = self.read(f"SELECT {PROMOTION_COLUMNS} FROM promotions ORDER BY seq")
        self._promotions = [record_from(Promotion, row) for row in rows]
        self._version_settings = {row.version: row for row in self.all_version_settings()}

    def load(self) -> None:
        """Read anew what is kept in memory: rows were erased."""
        with self._writer.paused():  # a row that comes meanwhile is added after this
            self._load()
        self.access.load()

    @classmethod
    def open(
        cls, path: Path, migrations: Sequence[Migration] = MIGRATIONS, wait_seconds: float = 0.0
    ) -> Store:
        """Open or make the store at ``path``, check it and bring its schema up to date.

        ``wait_seconds``: how long to wait for another process that owns it.

        Raises:
            PawlError: another process owns it (409, ``locked``), it is damaged or cut short
                (``store_damaged``; the files are left as they are), or a migration failed.
        """
        database = Database(path, migrations, wait_seconds)
        try:
            return cls(database)
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        """Commit what is queued, fold the WAL into the file, let go of it. Safe to call twice."""
        if self._writer.close():
            try:
                self._database.checkpoint()
            except PawlError as err:
                _log.warning("%s It stays in the WAL, which the next start reads.", err)
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def verify(self) -> None:
        """Read every value of every table, and so check each block; opening checks headers, length
        and schema only. Raises PawlError: something is damaged."""
        with self._database.reading() as cursor:
            content_hashes(cursor)

    # ---- writing ----

    def append_completion(self, completion: Completion) -> Future[None]:
        """Record one answer; nothing where its person was forgotten meanwhile. Raises through the
        future: PawlError ``store_full|store_failed``."""
        if self.forgotten.holds(completion.created_at, completion.rater_id):
            _log.info("an answer that began before its person was forgotten is not kept")
            dropped: Future[None] = Future()
            dropped.set_result(None)
            return dropped
        return self._append("completions", [row_of(completion)])

    def append_shipped(
        self, gateway_id: str, last: int, completions: Sequence[Completion]
    ) -> Future[None]:
        """Record answers from another gateway's journal, up to its row ``last``, all or none of
        them; not those that were forgotten meanwhile, or whose person was."""
        kept = [
            row_of(one)
            for one in completions
            if not self.forgotten.holds(one.created_at, one.rater_id, one.completion_id)
        ]
        rows: dict[str, list[Row]] = {"completions": kept} if kept else {}
        return self._writer.submit(Write({**rows, "gateway_frames": [(gateway_id, last)]}))

    def shipped_until(self, gateway_id: str) -> int:
        """The newest row of a gateway's journal that was recorded; 0: none, or it was forgotten.
        Waits for what was appended before."""
        self.flush()
        [(last,)] = self.read(
            "SELECT coalesce(max(last), 0) FROM gateway_frames WHERE gateway_id = ?", [gateway_id]
        )
        return int(last)

    def recorded(self, completion_ids: Sequence[str]) -> set[tuple[str, int]]:
        """Which choices of these answers are here, those of deleted conversations too."""
        rows = self.read(
            "SELECT completion_id, choice_index FROM completions"
            " WHERE completion_id IN (SELECT unnest(?::VARCHAR[]))",
            [list(completion_ids)],
        )
        return {(str(completion_id), int(choice)) for completion_id, choice in rows}

    def forget_shipments(self) -> None:
        """Forget how far gateways came, but for the newest row of each of the newest
        ``MOST_GATEWAYS``. Raises PawlError: the store can't be written."""
        import duckdb

        with self._writer.paused():
            try:
                with self._database.writing() as cursor:
                    # The newest row of the table stays: a start looks for the newest of all.
                    cursor.execute(
                        "DELETE FROM gateway_frames WHERE seq NOT IN (SELECT max(seq)"
                        " FROM gateway_frames GROUP BY gateway_id ORDER BY max(seq) DESC LIMIT ?)",
                        [MOST_GATEWAYS],
                    )
                    self._database.acknowledge(newest_row(cursor))
            except duckdb.Error as err:
                raise store_failed(err) from err

    def append_feedback(self, feedback: Feedback) -> Future[Feedback]:
        """Record what a person said; resolves to the stored row.

        A repeat of this rater's ``idempotency_key`` stores nothing and resolves to the first row
        stored under it, whatever else the repeat says. The future fails with PawlError
        ``completion_not_found`` where the person, or the answer, was forgotten meanwhile.
        """
        at, rater_id = feedback.created_at, feedback.rater_id
        if self.forgotten.holds(at, rater_id, feedback.completion_id):
            refused: Future[Feedback] = Future()
            refused.set_exception(
                PawlError(
                    "this was not kept",
                    "the person or the answer was erased while it was sent",
                    code="completion_not_found",
                    param="completion_id",
                )
            )
            return refused
        if self.forgotten.holds(at, feedback.preferred_over):
            feedback = replace(feedback, preferred_over=None)
        key = (feedback.rater_id, feedback.idempotency_key)
        return self._writer.submit(Write({"feedback": [row_of(feedback)]}, feedback, key))

    def append_category(self, category: Category) -> Future[None]:
        """Add a category, or a new wording or treatment of one (the newest by key counts)."""
        return self._append("categories", [row_of(category)])

    def append_promotion(self, promotion: Promotion) -> Future[None]:
        """Record a move of the champion pointer; ``champion()`` follows before it resolves."""

        def follow() -> None:
            self._promotions = [*self._promotions, promotion]

        return self._writer.submit(Write({"promotions": [row_of(promotion)]}, after=follow))

    def append_version_settings(self, row: VersionSettings) -> Future[None]:
        """Record what a version is asked with, before a move names it."""

        def follow() -> None:
            self._version_settings = {**self._version_settings, row.version: row}

        return self._writer.submit(Write({"version_settings": [row_of(row)]}, after=follow))

    def append_run(self, run: dict[str, Any]) -> Future[None]:
        """Record a run's state: ``run_id`` and ``status``, ``at`` (now if absent), ``detail``."""
        at, detail = run.get("at") or utc_now(), to_json(run.get("detail", {}))
        return self._append("runs", [(run["run_id"], run["status"], at, detail)])

    def append_scores(self, run_id: str, role: str, scores: Iterable[ItemScore]) -> Future[None]:
        """Record per-item scores of a run's champion, challenger or anchor. The newest count."""
        return self._append("scores", [(run_id, role, *row_of(one)) for one in scores])

    def append_verdict(self, run_id: str, verdict: dict[str, Any]) -> Future[None]:
        """Record a run's verdict (``verdict.json``), and with it its ``look`` at people's prompts,
        once for a run, however often the verdict is posted."""
        at, outcome = verdict.get("at") or utc_now(), verdict["outcome"]
        rows = {"verdicts": [(run_id, at, outcome, to_json(verdict))]}
        with self._numbering:
            if verdict.get("look") and all(look.run_id != run_id for look in self.looks()):
                look = Look(run_id=run_id, created_at=at, outcome=outcome, **verdict["look"])
                rows["ledger"] = [row_of(look)]
            kept = self._writer.submit(Write(rows))
            wait([kept])  # the next one sees this look
        return kept

    def append_snapshot(
        self,
        manifest: dict[str, Any],
        rows: Iterable[TrainingRow] = (),
        rejections: Iterable[tuple[str, dict[str, Any]]] = (),
    ) -> Future[None]:
        """Record a frozen snapshot with its rows and its rejections, in one transaction.

        Args:
            manifest: as ``feedback.snapshots.freeze`` answers it.
            rejections: (reason, origin) of every row that was left out.
        """
        snapshot_id, content = manifest["snapshot_id"], manifest["content_sha256"]
        left_out = [(snapshot_id, reason, to_json(origin)) for reason, origin in rejections]
        by_table: dict[str, list[Row]] = {
            "snapshots": [(snapshot_id, manifest["created_at"], content, to_json(manifest))],
            "curated": [curated_row(snapshot_id, row) for row in rows],
            "rejections": left_out,
        }
        return self._writer.submit(Write(by_table))

    def append_imported(
        self, lessons: Sequence[Lesson], *, source_format: str, file_sha256: str
    ) -> Future[None]:
        """Record rows of a file that came from elsewhere (``feedback.formats.import_file``), and
        that the file was read; that alone where there are none.

        Args:
            source_format: kept for whoever looks into the store; nothing reads it.
            file_sha256: tells the files apart, of which the newest with a record counts.
        """
        rows = ImportedRows(lessons, (source_format, file_sha256, utc_now()))
        is_new = not self.was_imported(file_sha256)
        facts: list[Row] = [(_IMPORTED_FILE, file_sha256)] if is_new else []
        return self._writer.submit(Write({"imported": rows, "facts": facts}))

    def append_places(self, places: Mapping[str, Split | None]) -> Future[None]:
        """Record where prompts stand, by their key; None: on no side."""
        return self._append("places", list(places.items()))

    def append_learned(self, keys: Iterable[str]) -> Future[None]:
        """Record that training saw these prompts, where the rows that say so are erased."""
        known = self.learned_prompts()
        return self._append("facts", [(LEARNED_PROMPT, key) for key in sorted(set(keys) - known)])

    def split_salt(self, given: str | None = None) -> str:
        """The salt of the split, for the life of the store: ``given`` or else a secret one, written
        down the first time.

        Raises:
            PawlError: the store was split with another salt: rows would cross into the holdout.
        """
        with self._numbering:
            rows = self.read("SELECT value FROM facts WHERE name = 'split_salt' ORDER BY seq")
            if not rows:
                salt = given or secrets.token_hex(16)
                self._append("facts", [("split_salt", salt)]).result()
                return salt
        if given is not None and rows[0][0] != given:
            raise PawlError(
                f"split_salt is {given!r}",
                "this store is split with another one, and a change would train on what is kept "
                "for testing",
                "Set split_salt back, or leave it out",
                code="split_salt_changed",
            )
        return str(rows[0][0])

    def flush(self) -> None:
        """Wait until all that was appended so far is committed, or has failed; the journal is empty
        then. Raises PawlError: the database can't take what is in the journal."""
        self._writer.submit(Write({})).result()

    def _append(self, table: str, rows: list[Row]) -> Future[Any]:
        return self._writer.submit(Write({table: rows}))

    # ---- reading ----

    def get_completion(self, completion_id: str, choice_index: int = 0) -> Completion | None:
        """The recorded answer, or None; None too once its conversation was deleted."""
        rows = self.read(
            f"SELECT {COMPLETION_COLUMNS} FROM completions"
            f" WHERE completion_id = ? AND choice_index = ? AND {ALIVE} LIMIT 1",
            [completion_id, choice_index],
        )
        return record_from(Completion, rows[0]) if rows else None

    def completions(
        self,
        *,
        conversation_id: str | None = None,
        rater_id: str | None = None,
        completion_ids: Sequence[str] | None = None,
        newest_bytes: int | None = None,
    ) -> list[Completion]:
        """Recorded answers in the order they came: all, or the newest ``newest_bytes`` of them.
        Not those of conversations that their person deleted."""
        clause, values = where(
            conversation_id=conversation_id, rater_id=rater_id, completion_id=completion_ids
        )
        rows = f"SELECT * FROM (SELECT * FROM completions WHERE {ALIVE}){clause}"
        if newest_bytes is not None:
            seqs = newest(rows, newest_bytes, "messages_json", "completion")
            rows = f"SELECT * FROM completions WHERE seq IN ({seqs})"
        sql = f"SELECT {COMPLETION_COLUMNS} FROM ({rows}) ORDER BY seq"
        return [record_from(Completion, row) for row in self.read(sql, values)]

    def current_feedback(
        self,
        completion_id: str | Sequence[str] | None = None,
        rater_id: str | None = None,
        *,
        include_retracted: bool = False,
    ) -> list[Feedback]:
        """What counts of each person's rows on each answer (the rule: ``feedback.current``), in
        the order of their newest rows; none where nothing is left (unless
        ``include_retracted``)."""
        clause, values = where(completion_id=completion_id, rater_id=rater_id)
        with self._database.reading() as cursor:
            return read_current(cursor, clause, values, include_retracted=include_retracted)

    def feedback_history(
        self, completion_id: str | None = None, *, feedback_id: str | None = None
    ) -> list[Feedback]:
        """Every row on an answer (or on all), or the one of this id, in the order they came."""
        clause, values = where(completion_id=completion_id, feedback_id=feedback_id)
        rows = self.read(f"SELECT {FEEDBACK_COLUMNS} FROM feedback{clause} ORDER BY seq", values)
        return [record_from(Feedback, row) for row in rows]

    def categories(self) -> list[Category]:
        """Error categories, in the order they were first added."""
        rows = self.read(
            f"SELECT {CATEGORY_COLUMNS} FROM ({latest('categories', 'key')}) JOIN"
            " (SELECT key, min(seq) AS born FROM categories GROUP BY key) USING (key) ORDER BY born"
        )
        return [record_from(Category, row) for row in rows]

    def champion(self) -> str:
        """The version that answers now: ``pawl@3`` or ``base``. From memory: free to ask.

        It is that of the newest move that went live. A pending one waits for an engine to probe it;
        a rollback without an engine is live at once, for its target has been live before.
        """
        move = self.live_move()
        return BASE_VERSION if move is None else move.version

    def live_move(self) -> Promotion | None:
        """The newest move that went live; None: nothing was ever promoted. From memory."""
        return next((row for row in reversed(self._promotions) if row.outcome == "live"), None)

    def promotions(self) -> list[Promotion]:
        """All moves of the champion pointer and all tries, oldest first. From memory."""
        return list(self._promotions)

    def version_settings(self, version: str) -> VersionSettings | None:
        """What a version is asked with beside its weights; None: nothing. From memory."""
        return self._version_settings.get(version)

    def weights_of(self, version: str) -> str:
        """What the engine is asked for where a version answers: ``base``, or the version whose
        adapter it is. From memory."""
        settings = self._version_settings.get(version)
        return settings.weights if settings is not None else version

    def all_version_settings(self) -> list[VersionSettings]:
        """What versions are asked with, oldest first."""
        rows = self.read(f"SELECT {VERSION_SETTINGS_COLUMNS} FROM version_settings ORDER BY seq")
        return [record_from(VersionSettings, row) for row in rows]

    def next_version(self) -> int:
        """A version number never given out before; waits until it is written down."""
        with self._numbering:
            self._last_number += 1
            number = self._last_number
        self._append("version_numbers", [(number, utc_now())]).result()
        return number

    def runs(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Latest state of every run, or of the newest ``limit``, newest first: ``run_id, status,
        at, started_at, detail``."""
        rows = self.read(_RUNS + " ORDER BY min(seq) DESC LIMIT ?", [limit])
        return [_run(row) for row in rows]

    def run(self, run_id: str) -> dict[str, Any] | None:
        """Latest state of one run with ``verdict`` (None until there is one), or None."""
        rows = self.read(_RUNS + " HAVING run_id = ?", [run_id])
        return {**_run(rows[0]), "verdict": self.verdict(run_id)} if rows else None

    def verdict(self, run_id: str) -> dict[str, Any] | None:
        """The newest verdict of a run, or None."""
        rows = self.read(
            "SELECT verdict_json FROM verdicts WHERE run_id = ? ORDER BY seq DESC LIMIT 1", [run_id]
        )
        return dict(json.loads(rows[0][0])) if rows else None

    def looks(self) -> list[Look]:
        """The ledger: every look of a gate at people's prompts, oldest first."""
        rows = self.read(f"SELECT {LOOK_COLUMNS} FROM ledger ORDER BY seq")
        return [record_from(Look, row) for row in rows]

    def snapshot_rows(self, snapshot_id: str) -> list[TrainingRow]:
        """The rows of a recorded snapshot."""
        rows = self.read("SELECT row_json FROM curated WHERE snapshot_id = ?", [snapshot_id])
        return [TrainingRow(**json.loads(text)) for (text,) in rows]

    def recorded_row(self, row_id: str) -> TrainingRow | None:
        """A row of any recorded snapshot, as the newest has it."""
        rows = self.read(
            "SELECT row_json FROM curated WHERE row_id = ? ORDER BY seq DESC LIMIT 1", [row_id]
        )
        return TrainingRow(**json.loads(rows[0][0])) if rows else None

    def snapshots_of(self, row_ids: Sequence[str]) -> dict[str, list[str]]:
        """The recorded snapshots that hold each of these rows, oldest first."""
        clause, values = where(row_id=row_ids)
        rows = self.read(
            f"SELECT row_id, list(snapshot_id ORDER BY seq) FROM curated{clause} GROUP BY row_id",
            values,
        )
        return {row_id: list(snapshots) for row_id, snapshots in rows}

    def corrected_on_other_bases(self, base_fingerprint: str) -> list[str]:
        """The answers that somebody corrected and that another base than this gave."""
        rows = self.read(
            "SELECT DISTINCT completion_id FROM completions WHERE base_fingerprint <> ? AND"
            " completion_id IN (SELECT completion_id FROM feedback WHERE correction IS NOT NULL)",
            [base_fingerprint],
        )
        return sorted(completion_id for (completion_id,) in rows)

    def traffic(self, seed: str, n: int) -> tuple[int, int, list[Completion]]:
        """Conversations that were flagged, all others, and the last whole answer of up to ``n`` of
        the others, drawn at random by ``seed``."""
        return traffic(self.read, seed, n)

    def arms(self, canary: Promotion) -> Arms:
        """What a canary and the champion beside it answered to ``pawl``, and what went wrong."""
        return arms(self.read, canary)

    def newest_prompts(self, n: int) -> list[Completion]:
        """The newest ``n`` prompts that were answered, each once, newest first."""
        return newest_prompts(self.read, n)

    def scores(self, run_id: str, role: str) -> list[ItemScore]:
        """Scores of a run's champion, challenger or anchor: the newest of each item."""
        current = latest("scores", "benchmark, item_id", " WHERE run_id = ? AND role = ?")
        rows = self.read(f"SELECT {SCORE_COLUMNS} FROM ({current}) ORDER BY seq", [run_id, role])
        return [record_from(ItemScore, row) for row in rows]

    def imported(self) -> list[Lesson]:
        """The imported rows that count, each content of each rater once, in the order they came."""
        return [lesson for lesson, counts in self.all_imported() if counts]

    def all_imported(self) -> list[tuple[Lesson, bool]]:
        """All imported rows likewise, and whether they count (``feedback.imported``)."""
        with self._database.reading() as cursor:
            return all_imported(cursor)

    def first_mentions(self) -> list[tuple[str | None, str, int | None]]:
        """What feedback was ever given on (rater, completion, choice), and each imported row
        (rater, ``row_id``, None), in the order in which each came first."""
        rows = self.read(
            "SELECT rater_id, completion_id, choice_index FROM ("
            " SELECT min(seq) AS seq, rater_id, completion_id, choice_index FROM feedback"
            "  GROUP BY rater_id, completion_id, choice_index"
            f" UNION ALL SELECT min(seq), {RATER} AS rater_id, row_id, NULL"
            "  FROM imported GROUP BY rater_id, row_id)"
            " ORDER BY seq"
        )
        return [(rater_id, row_id, choice_index) for rater_id, row_id, choice_index in rows]

    def places(self) -> dict[str, Split | None]:
        """Where the prompts of earlier snapshots stand, by their key."""
        return dict(self.read(f"SELECT prompt_key, split FROM ({latest('places', 'prompt_key')})"))

    def imported_keys(self) -> set[Key]:
        """The keys (``Lesson.key``) of all imported rows."""
        with self._database.reading() as cursor:
            return keys_of(cursor)

    def imported_states(self) -> dict[str, State]:
        """What each imported record (``Lesson.record``) says now."""
        with self._database.reading() as cursor:
            return states_of(cursor)

    def was_imported(self, file_sha256: str) -> bool:
        """Whether a file of these bytes was imported, also where it brought nothing new."""
        sql = "SELECT 1 FROM facts WHERE name = ? AND value = ? LIMIT 1"
        return bool(self.read(sql, [_IMPORTED_FILE, file_sha256]))

    def learned_prompts(self) -> set[str]:
        """Keys of the prompts of ``append_learned``."""
        rows = self.read("SELECT value FROM facts WHERE name = ?", [LEARNED_PROMPT])
        return {str(key) for (key,) in rows}

    def snapshots(self) -> list[dict[str, Any]]:
        """Manifests of the recorded snapshots, newest first."""
        return [
            dict(json.loads(text))
            for (text,) in self.read("SELECT manifest_json FROM snapshots ORDER BY seq DESC")
        ]

    def changes_since(self, seq: int, limit: int) -> list[Change]:
        """What others may want to be told of, after ``seq``: the first ``limit``."""
        return changes_since(self.read, seq, self.newest_seq(), limit)

    def newest_seq(self) -> int:
        """Of all that ``changes_since`` may answer."""
        with self._database.reading() as cursor:
            return newest_seq(cursor, ("feedback", "promotions", "verdicts"))

    def counts(self) -> dict[str, int]:
        """Rows by table; ``feedback`` counts what counts now, ``feedback_rows`` all of it."""
        counted = {
            "completions": "count(*) FROM completions",
            "conversations": "count(DISTINCT conversation_id) FROM completions",
            "feedback_rows": "count(*) FROM feedback",
            "feedback": f"count(*) FROM ({current_feedback_sql()}) WHERE NOT retracted",
            "snapshots": "count(DISTINCT snapshot_id) FROM snapshots",
            "runs": "count(DISTINCT run_id) FROM runs",
            "promotions": "count(*) FROM promotions",
            "imported": f"count(*) FROM imported WHERE row_id <> '{SILENT}'",
        }
        [row] = self.read("SELECT " + ", ".join(f"(SELECT {one})" for one in counted.values()))
        return {name: int(n) for name, n in zip(counted, row, strict=True)}

    def memory_bytes(self) -> int:
        """Of blocks and rows that DuckDB keeps; they grow with the store, up to a limit."""
        [(n_bytes,)] = self.read("SELECT sum(memory_usage_bytes) FROM duckdb_memory()")
        return int(n_bytes)

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """The rows of a SELECT, on a cursor of its own."""
        with self._database.reading() as cursor:
            return cursor.execute(sql, list(values)).fetchall()


_IMPORTED_FILE = "imported file"  # a fact
LEARNED_PROMPT = "learned prompt"  # likewise
_RUNS = (
    "SELECT run_id, arg_max(status, seq), arg_max(created_at, seq),"
    " arg_min(created_at, seq), arg_max(detail_json, seq)"
    " FROM runs GROUP BY run_id"
)


def _run(row: Row) -> dict[str, Any]:
    *values, detail = row
    names = ("run_id", "status", "at", "started_at")
    return {**dict(zip(names, values, strict=True)), "detail": json.loads(detail)}
