"""The schema from its first form on, and a migration that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from feedback.migrations import MIGRATIONS, Migration, applied_migrations, migrate
from feedback.rows import Lesson
from feedback.store import Store
from feedback.tables import row_of
from pawl.errors import PawlError
from pawl.schemas import ConversationNote
from tests.feedback.examples import answered, make_completion, make_feedback, said


def test_a_store_of_the_first_schema_is_brought_up(tmp_path: Path) -> None:
    import duckdb

    path = tmp_path / "pawl.duckdb"
    completion = make_completion()
    feedback = make_feedback(completion, preferred_over="chatcmpl-other")
    with duckdb.connect(str(path)) as connection:
        migrate(connection, MIGRATIONS[:1])
        for table, row in (
            ("completions", (1, *row_of(completion)[:-4])),  # the last came with 5, 7, 10, 17
            ("feedback", (2, *row_of(feedback)[:-2])),  # the last columns came with migrations 3, 4
            ("version_numbers", (3, 1, "t")),
        ):
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO {table} VALUES ({marks})", list(row))
        migrate(connection, MIGRATIONS[:13])
        note = (4, "chat-1", "ann", "t", "Mine", True, False, None)
        connection.execute("INSERT INTO conversation_notes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", note)
    with Store.open(path) as store:
        assert store.completions() == [completion]
        assert store.current_feedback() == [feedback]
        assert store.conversations.note("chat-1", "ann") == ConversationNote(*note[1:], {})
        later = said(
            store, completion, rater_id="bob", preferred_over="x", preferred_over_choice_index=2
        )
        assert store.current_feedback() == [feedback, later]
        assert store.next_version() == 2
        lesson = Lesson("sft", "g", [{"role": "user", "content": "Hi"}], completion="Hello")
        store.append_imported([lesson], source_format="sft", file_sha256="0").result(timeout=60)
        assert store.imported() == [lesson]


def test_each_migration_is_recorded_and_applied_once(tmp_path: Path) -> None:
    import duckdb

    connection = duckdb.connect(str(tmp_path / "x.duckdb"))
    assert applied_migrations(connection) == {}
    assert migrate(connection) == [one.number for one in MIGRATIONS]
    assert migrate(connection) == []
    assert applied_migrations(connection) == {one.number: one.name for one in MIGRATIONS}
    connection.close()


def test_no_table_has_an_index(tmp_path: Path) -> None:
    import duckdb

    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        migrate(connection)
        assert connection.execute("SELECT count(*) FROM duckdb_indexes()").fetchone() == (0,)
        assert connection.execute(
            "SELECT count(*) FROM duckdb_constraints() WHERE constraint_type NOT IN ('NOT NULL')"
        ).fetchone() == (0,)


def test_a_failing_migration_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "pawl.duckdb"
    with Store.open(path) as store:
        completion = answered(store)
    good = Migration(101, "good", ("CREATE TABLE whole (seq BIGINT)",))
    bad = Migration(
        102,
        "broken",
        (
            "CREATE TABLE half (seq BIGINT)",
            "DELETE FROM completions",
            "ALTER TABLE nowhere ADD COLUMN x INT",
        ),
    )
    with pytest.raises(PawlError, match=r"migration 102 \(broken\)") as err:
        Store.open(path, (*MIGRATIONS, good, bad))
    assert err.value.code == "migration_failed"
    with Store.open(path, (*MIGRATIONS, good)) as store:  # 101 stands, 102 left no trace
        assert store.completions() == [completion]
        with store._database.reading() as cursor:
            tables = {
                name
                for (name,) in cursor.execute("SELECT table_name FROM duckdb_tables()").fetchall()
            }
            assert applied_migrations(cursor)[101] == "good"
            assert 102 not in applied_migrations(cursor)
    assert "whole" in tables
    assert "half" not in tables


def test_a_store_of_a_newer_pawl_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pawl.duckdb"
    Store.open(path, (*MIGRATIONS, Migration(101, "tomorrow", ()))).close()
    with pytest.raises(PawlError, match=r"migration 101 \(tomorrow\)") as err:
        Store.open(path)
    assert err.value.code == "store_newer"
