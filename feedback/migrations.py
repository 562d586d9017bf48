"""The store's schema as numbered migrations, each in one transaction with its own record.

A released migration is never edited: a change is a new one. Tables are append-only, but for the one
row of ``journal``, and carry no secondary index (DuckDB's known replay faults come from index
churn); ``seq`` is given out by the one writer and orders rows across all tables. Columns that end
in ``_json`` hold JSON text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pawl.errors import PawlError
from pawl.schemas import utc_now

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    statements: tuple[str, ...]


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        1,
        "first schema",
        (
            """CREATE TABLE completions (
            seq BIGINT NOT NULL, completion_id VARCHAR NOT NULL, choice_index BIGINT NOT NULL,
            conversation_id VARCHAR NOT NULL, rater_id VARCHAR NOT NULL,
            created_at VARCHAR NOT NULL, asked_model VARCHAR NOT NULL, version VARCHAR NOT NULL,
            base_model VARCHAR NOT NULL, base_fingerprint VARCHAR NOT NULL,
            messages_json VARCHAR NOT NULL, completion VARCHAR NOT NULL, finish_reason VARCHAR,
            status VARCHAR NOT NULL, sampling_json VARCHAR NOT NULL, n_prompt_tokens BIGINT,
            n_completion_tokens BIGINT, first_token_seconds DOUBLE,
            total_seconds DOUBLE NOT NULL, streamed BOOLEAN NOT NULL)""",
            """CREATE TABLE feedback (
            seq BIGINT NOT NULL, feedback_id VARCHAR NOT NULL, idempotency_key VARCHAR NOT NULL,
            completion_id VARCHAR NOT NULL, choice_index BIGINT NOT NULL,
            rater_id VARCHAR NOT NULL, created_at VARCHAR NOT NULL, thumb VARCHAR,
            categories_json VARCHAR NOT NULL, comment VARCHAR, correction VARCHAR,
            preferred_over VARCHAR, retracted BOOLEAN NOT NULL, source VARCHAR NOT NULL)""",
            """CREATE TABLE categories (
            seq BIGINT NOT NULL, key VARCHAR NOT NULL, definition VARCHAR NOT NULL,
            example VARCHAR NOT NULL, treatment VARCHAR NOT NULL)""",
            """CREATE TABLE snapshots (
            seq BIGINT NOT NULL, snapshot_id VARCHAR NOT NULL, created_at VARCHAR NOT NULL,
            content_sha256 VARCHAR NOT NULL, manifest_json VARCHAR NOT NULL)""",
            """CREATE TABLE curated (
            seq BIGINT NOT NULL, snapshot_id VARCHAR NOT NULL, row_id VARCHAR NOT NULL,
            kind VARCHAR NOT NULL, group_id VARCHAR NOT NULL, split VARCHAR NOT NULL,
            row_json VARCHAR NOT NULL, origin_json VARCHAR NOT NULL)""",
            """CREATE TABLE rejections (
            seq BIGINT NOT NULL, snapshot_id VARCHAR NOT NULL, reason VARCHAR NOT NULL,
            origin_json VARCHAR NOT NULL)""",
            """CREATE TABLE runs (
            seq BIGINT NOT NULL, run_id VARCHAR NOT NULL, status VARCHAR NOT NULL,
            created_at VARCHAR NOT NULL, detail_json VARCHAR NOT NULL)""",
            """CREATE TABLE scores (
            seq BIGINT NOT NULL, run_id VARCHAR NOT NULL, role VARCHAR NOT NULL,
            benchmark VARCHAR NOT NULL, item_id VARCHAR NOT NULL, score DOUBLE,
            cluster VARCHAR NOT NULL, error VARCHAR, detail_json VARCHAR NOT NULL)""",
            """CREATE TABLE verdicts (
            seq BIGINT NOT NULL, run_id VARCHAR NOT NULL, created_at VARCHAR NOT NULL,
            outcome VARCHAR NOT NULL, verdict_json VARCHAR NOT NULL)""",
            """CREATE TABLE promotions (
            seq BIGINT NOT NULL, promotion_id VARCHAR NOT NULL, created_at VARCHAR NOT NULL,
            version VARCHAR NOT NULL, previous_version VARCHAR NOT NULL,
            outcome VARCHAR NOT NULL, kind VARCHAR NOT NULL, run_id VARCHAR,
            reason VARCHAR NOT NULL, probe_json VARCHAR NOT NULL)""",
            # A number is written down before it is used, so that not even a crash between the two
            # lets it be given out twice.
            """CREATE TABLE version_numbers (
            seq BIGINT NOT NULL, number BIGINT NOT NULL, created_at VARCHAR NOT NULL)""",
        ),
    ),
    Migration(
        2,
        "imported rows, and facts that stay for the life of a store",
        (
            """CREATE TABLE imported (
            seq BIGINT NOT NULL, row_id VARCHAR NOT NULL, format VARCHAR NOT NULL,
            file_sha256 VARCHAR NOT NULL, created_at VARCHAR NOT NULL,
            row_json VARCHAR NOT NULL)""",
            """CREATE TABLE facts (
            seq BIGINT NOT NULL, name VARCHAR NOT NULL, value VARCHAR NOT NULL)""",
        ),
    ),
    Migration(
        3,
        "which choice of the other completion an answer was preferred over",
        # Until now it was always the first.
        ("ALTER TABLE feedback ADD COLUMN preferred_over_choice_index BIGINT DEFAULT 0",),
    ),
    Migration(
        4,
        "which fields a row of feedback takes away",
        # Until now a row replaced all that the person had said of the answer before.
        ("ALTER TABLE feedback ADD COLUMN cleared_json VARCHAR DEFAULT '[]'",),
    ),
    Migration(
        5,
        "the HTTP request that an answer was given to",
        ("ALTER TABLE completions ADD COLUMN request_id VARCHAR",),
    ),
    Migration(
        6,
        "keys, and the log of what was done with them",
        (
            """CREATE TABLE keys (
            seq BIGINT NOT NULL, key_id VARCHAR NOT NULL, name VARCHAR NOT NULL,
            role VARCHAR NOT NULL, may_name_raters BOOLEAN NOT NULL,
            secret_hash VARCHAR NOT NULL, created_at VARCHAR NOT NULL, revoked_at VARCHAR)""",
            """CREATE TABLE audit (
            seq BIGINT NOT NULL, audit_id VARCHAR NOT NULL, created_at VARCHAR NOT NULL,
            caller VARCHAR NOT NULL, address VARCHAR NOT NULL, action VARCHAR NOT NULL,
            target VARCHAR NOT NULL, outcome VARCHAR NOT NULL, request_id VARCHAR NOT NULL)""",
        ),
    ),
    Migration(
        7,
        "the tools that an answer calls",
        ("ALTER TABLE completions ADD COLUMN tool_calls_json VARCHAR DEFAULT '[]'",),
    ),
    Migration(
        8,
        "accounts of people, and their sessions",
        (
            """CREATE TABLE accounts (
            seq BIGINT NOT NULL, name VARCHAR NOT NULL, role VARCHAR NOT NULL,
            password_hash VARCHAR, must_change BOOLEAN NOT NULL, subject VARCHAR,
            created_at VARCHAR NOT NULL, changed_at VARCHAR NOT NULL, removed_at VARCHAR)""",
            """CREATE TABLE sessions (
            seq BIGINT NOT NULL, session_id VARCHAR NOT NULL, account VARCHAR NOT NULL,
            created_at VARCHAR NOT NULL, used_at VARCHAR NOT NULL, ended_at VARCHAR)""",
        ),
    ),
    Migration(
        9,
        "the ledger: each time that people's prompts decided about a challenger",
        (
            """CREATE TABLE ledger (
            seq BIGINT NOT NULL, run_id VARCHAR NOT NULL, created_at VARCHAR NOT NULL,
            snapshot_id VARCHAR NOT NULL, attempt BIGINT NOT NULL, alpha DOUBLE NOT NULL,
            outcome VARCHAR NOT NULL, prompts_json VARCHAR NOT NULL)""",
        ),
    ),
    Migration(
        10,
        "the stop string or token of a request that ended its answer",
        ("ALTER TABLE completions ADD COLUMN stop_reason VARCHAR",),
    ),
    Migration(
        11,
        "where each prompt stands, so that it stays there when what came before it is erased",
        (
            """CREATE TABLE places (
            seq BIGINT NOT NULL, prompt_key VARCHAR NOT NULL, split VARCHAR)""",
        ),
    ),
    Migration(
        12,
        "what reviewers decided about answers",
        (
            """CREATE TABLE reviews (
            seq BIGINT NOT NULL, review_id VARCHAR NOT NULL, batch_id VARCHAR NOT NULL,
            created_at VARCHAR NOT NULL, reviewer VARCHAR NOT NULL,
            completion_id VARCHAR NOT NULL, choice_index BIGINT NOT NULL,
            decision VARCHAR NOT NULL, reason VARCHAR, correction VARCHAR,
            categories_json VARCHAR NOT NULL, origin_json VARCHAR NOT NULL, undoes VARCHAR)""",
        ),
    ),
    Migration(
        13,
        "what people note of their conversations: title, pin, not to be learned from, deleted",
        (
            """CREATE TABLE conversation_notes (
            seq BIGINT NOT NULL, conversation_id VARCHAR NOT NULL, rater_id VARCHAR NOT NULL,
            changed_at VARCHAR NOT NULL, title VARCHAR, pinned BOOLEAN NOT NULL,
            learn BOOLEAN NOT NULL, deleted_at VARCHAR)""",
        ),
    ),
    Migration(
        14,
        "how far the journal has been read, and whose it is",
        (
            "CREATE TABLE journal (store_id VARCHAR NOT NULL, applied BIGINT NOT NULL)",
            "INSERT INTO journal VALUES (uuid()::VARCHAR, 0)",
        ),
    ),
    Migration(
        15,
        "what a conversation is asked with, and presets of that",
        (
            "ALTER TABLE conversation_notes ADD COLUMN settings_json VARCHAR DEFAULT '{}'",
            """CREATE TABLE presets (
            seq BIGINT NOT NULL, rater_id VARCHAR NOT NULL, name VARCHAR NOT NULL,
            changed_at VARCHAR NOT NULL, settings_json VARCHAR NOT NULL,
            deleted_at VARCHAR)""",
        ),
    ),
    Migration(
        16,
        "which flagged answers are not to be said back to their person again",
        ("ALTER TABLE conversation_notes ADD COLUMN dismissed_json VARCHAR DEFAULT '[]'",),
    ),
    Migration(
        17,
        "versions of a system prompt and sampling, and which answers had such a prompt",
        (
            """CREATE TABLE version_settings (
            seq BIGINT NOT NULL, version VARCHAR NOT NULL, created_at VARCHAR NOT NULL,
            made_by VARCHAR NOT NULL, weights VARCHAR NOT NULL, base_fingerprint VARCHAR NOT NULL,
            system_prompt VARCHAR, sampling_json VARCHAR NOT NULL, fingerprint VARCHAR NOT NULL)""",
            "ALTER TABLE completions ADD COLUMN system_prompt_sha256 VARCHAR",
        ),
    ),
    Migration(
        18,
        "how far other gateways' journals were brought in",
        (
            """CREATE TABLE gateway_frames (
            seq BIGINT NOT NULL, gateway_id VARCHAR NOT NULL, last BIGINT NOT NULL)""",
        ),
    ),
)


def applied_migrations(connection: DuckDBPyConnection) -> dict[int, str]:
    """Numbers and names of the migrations that this file has been through."""
    exists = connection.execute(
        "SELECT count(*) FROM information_schema.tables WHERE table_name = 'schema_migrations'"
    ).fetchone()
    if not exists or not exists[0]:
        return {}
    rows = connection.execute("SELECT number, name FROM schema_migrations").fetchall()
    return {int(number): str(name) for number, name in rows}


def migrate(
    connection: DuckDBPyConnection, migrations: Sequence[Migration] = MIGRATIONS
) -> list[int]:
    """Bring the file to the newest schema; answer the numbers that were applied now.

    Each migration and its record are one transaction: one that fails leaves the file as the one
    before it left it. A checkpoint follows, so that schema changes never wait in the WAL.

    Raises:
        PawlError: a migration failed, or the file was written by a newer Pawl.
    """
    import duckdb

    done = applied_migrations(connection)
    known = {one.number for one in migrations}
    newer = sorted(set(done) - known)
    if newer:
        raise PawlError(
            f"the store has migration {newer[-1]} ({done[newer[-1]]})",
            f"this version of Pawl knows migrations up to {max(known, default=0)}",
            "Start the newer Pawl that wrote it",
            code="store_newer",
        )
    applied: list[int] = []
    for one in sorted(migrations, key=lambda migration: migration.number):
        if one.number in done:
            continue
        connection.execute("BEGIN TRANSACTION")
        try:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_migrations"
                " (number BIGINT NOT NULL, name VARCHAR NOT NULL, applied_at VARCHAR NOT NULL)"
            )
            for statement in one.statements:
                connection.execute(statement)
            connection.execute(
                "INSERT INTO schema_migrations VALUES (?, ?, ?)", [one.number, one.name, utc_now()]
            )
            connection.execute("COMMIT")
        except duckdb.Error as err:
            _roll_back(connection)
            raise PawlError(
                f"migration {one.number} ({one.name}) of the store failed",
                str(err),
                "The store is as it was before it; mend the cause and start again",
                code="migration_failed",
            ) from err
        applied.append(one.number)
    if applied:
        connection.execute("CHECKPOINT")
    return applied


def _roll_back(connection: DuckDBPyConnection) -> None:
    import duckdb

    try:
        connection.execute("ROLLBACK")
    except duckdb.Error:
        return  # a connection that broke has already dropped its transaction
