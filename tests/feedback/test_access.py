"""Keys and the audit log in the store: kept over restarts, one live key a name, append-only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from feedback.moves import moves_about, moves_of
from feedback.store import Store
from pawl.errors import PawlError
from pawl.schemas import AuditEntry, Key, Promotion, Role


def key(n: int, name: str) -> Key:
    return Key(f"{n:012x}", name, Role.REVIEWER, True, "hash", "2026-01-01T00:00:00Z")


def test_keys_are_there_again_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "pawl.duckdb"
    with Store.open(path) as store:
        assert not store.access.has_keys
        store.access.add_key(key(1, "one"))
        store.access.add_key(key(2, "two"))
        revoked = store.access.revoke_key("one")
        assert revoked.revoked_at
        before = store.access.all_keys()
    with Store.open(path) as store:
        assert store.access.all_keys() == before == [revoked, key(2, "two")]
        assert store.access.all_keys()[1].role is Role.REVIEWER
        assert store.access.key(key(1, "").key_id) is None
        assert store.access.key(key(2, "").key_id) == key(2, "two")
        store.access.revoke_key("two")
        assert store.access.has_keys  # although none is left


def test_a_name_is_one_keys_at_a_time(store: Store) -> None:
    def add(n: int) -> str:
        try:
            store.access.add_key(key(n, "one"))
        except PawlError as err:
            return err.code
        return "added"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(add, range(8))) == ["added"] + ["key_exists"] * 7
    store.access.revoke_key("one")
    with pytest.raises(PawlError) as caught:
        store.access.revoke_key("one")
    assert caught.value.code == "unknown_key"
    assert add(9) == "added"


def test_the_audit_log_has_each_action_once_with_its_last_outcome(store: Store) -> None:
    begun = [
        AuditEntry(f"a{n}", f"2026-01-01T00:00:0{n}Z", "ann", "127.0.0.1", "promote", "{}",
                   "begun", f"r{n}")
        for n in range(4)
    ]  # fmt: skip
    for entry in begun:
        store.access.record(entry).result(timeout=60)
    ended = replace(begun[1], created_at="2026-01-01T00:01:00Z", outcome="200 live pawl@1")
    store.access.record(ended).result(timeout=60)
    expected = [begun[0], replace(begun[1], outcome="200 live pawl@1"), *begun[2:]]
    assert store.access.audit(10) == expected
    assert store.access.audit(2) == expected[2:]


def test_moves_have_who_asked_for_them(store: Store) -> None:
    def asked(n: int, caller: str, action: str, target: str, outcome: str) -> None:
        at = f"2026-01-0{n}T10:00:00.000000Z"
        entry = AuditEntry(
            f"{caller}-{n}", at, caller, "127.0.0.1", action, target, "begun", f"r{n}"
        )
        ended = replace(entry, created_at=f"2026-01-0{n}T10:00:09.000000Z", outcome=outcome)
        store.access.record(entry).result(timeout=60)
        store.access.record(ended).result(timeout=60)

    def moved(n: int, day: int, second: int, outcome: str, kind: str = "promote") -> None:
        version = "base" if kind == "rollback" else f"pawl@{n}"
        row = Promotion(f"p{n}-{kind}", f"2026-01-0{day}T10:00:{second:02}.000000Z", version,
                        f"pawl@{n}" if kind == "rollback" else "base", outcome, kind)  # type: ignore[arg-type]  # fmt: skip
        store.append_promotion(row).result(timeout=60)

    asked(1, "admin.key", "promote", '{"run_dir": "/runs/r", "run_id": "r"}', "200 canary pawl@1")
    moved(1, 1, 3, "pending")
    moved(1, 1, 5, "canary")
    moved(1, 2, 0, "live")  # nobody asked: the canary came to its end
    asked(3, "olga", "roll back", "{}", "200 live base")
    moved(1, 3, 2, "live", "rollback")
    asked(4, "api_key", "promote", '{"run_dir": "r2"}', "200 live pawl@2")
    asked(4, "mallory", "roll back", "{}", "409 no_earlier_champion")  # at the same time
    moved(2, 4, 5, "live")
    moved(3, 5, 0, "refused")  # of a request whose end was not recorded
    night_like = '{"run_dir": "/runs/r", "run_id": "r"}'
    asked(6, "mallory", "promote", night_like, "200 refused pawl@4")
    moved(4, 6, 2, "refused")
    moves = moves_of(store)
    assert [(one.at[8:10], one.version, one.outcome, one.by) for one in moves] == [
        ("01", "pawl@1", "canary", "the nightly job"),
        ("02", "pawl@1", "live", "Pawl itself"),
        ("03", "base", "live", "olga"),
        ("04", "pawl@2", "live", "the operator's key"),
        ("05", "pawl@3", "refused", None),
        ("06", "pawl@4", "refused", "mallory"),
    ]
    assert [one.at[8:10] for one in moves_about(moves, ["pawl@1"])] == ["01", "02", "03"]
    assert [one.at[8:10] for one in moves_about(moves, ["base"])] == ["02", "03", "04"]
