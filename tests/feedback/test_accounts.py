"""Accounts and sessions in the store: kept over restarts, one person a name, ended together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from feedback.store import Store
from pawl.errors import PawlError
from pawl.schemas import Account, Key, Role, Session, utc_now

AT = "2026-01-01T00:00:00.000000Z"


def account(name: str, **fields: object) -> Account:
    made = Account(name, Role.REVIEWER, "hash", False, None, AT, AT)
    return replace(made, **fields)  # type: ignore[arg-type]


def session(n: int, of: str) -> Session:
    now = utc_now()
    return Session(f"{n:064x}", of, now, now)


def test_accounts_and_sessions_are_there_again_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "pawl.duckdb"
    with Store.open(path) as store:
        accounts = store.access.accounts
        assert not store.access.asks
        ann, bob = accounts.add(account("ann")), accounts.add(account("Bob"))
        for n in range(3):
            assert accounts.begin_session(session(n, "ann"), ann)
        assert accounts.begin_session(session(3, "Bob"), bob)
        accounts.end_sessions(session(0, "").session_id)
        accounts.use_session(session(1, "").session_id)
        accounts.remove("BOB")
        before = accounts.all_accounts(), accounts.sessions("ann")
    with Store.open(path) as store:
        accounts = store.access.accounts
        assert store.access.asks
        assert (accounts.all_accounts(), accounts.sessions("ann")) == before
        assert [one.session_id[-1] for one in accounts.sessions("ann")] == ["1", "2"]
        assert accounts.sessions("Bob") == []
        assert accounts.account("ANN") == ann
        assert accounts.account("ANN").role is Role.REVIEWER  # type: ignore[union-attr]
        assert accounts.account("bob") is None
        accounts.remove("ann")
        assert store.access.asks  # although nobody is left


def test_a_name_is_one_persons_or_one_keys_for_ever(store: Store) -> None:
    accounts = store.access.accounts

    def add(n: int) -> str:
        try:
            accounts.add(account("ann" if n % 2 else "Ann"))
        except PawlError as err:
            return err.code
        return "added"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(add, range(8))) == ["account_exists"] * 7 + ["added"]
    store.access.add_key(Key("0" * 12, "bot", Role.USER, False, "hash", AT))
    store.access.revoke_key("bot")
    with pytest.raises(PawlError, match="a key's"):
        accounts.add(account("Bot"))
    accounts.remove("ann")
    with pytest.raises(PawlError, match="an account's"):
        store.access.add_key(Key("1" * 12, "ANN", Role.USER, False, "hash", AT))
    with pytest.raises(PawlError) as caught:
        accounts.remove("ann")
    assert caught.value.code == "unknown_account"


def test_who_comes_back_keeps_name_and_subject_but_no_session(store: Store) -> None:
    accounts = store.access.accounts
    ann = accounts.add(account("Ann", subject="issuer 1", password_hash=None))
    assert accounts.begin_session(session(1, "Ann"), ann)
    accounts.remove("ann")
    assert accounts.account_of_subject("issuer 1") is not None
    again = accounts.add(account("ann", changed_at="later", password_hash="new"))
    assert again == account("Ann", subject="issuer 1", changed_at="later", password_hash="new")
    assert accounts.session(session(1, "").session_id) is None


def test_no_session_outlives_a_change_of_its_password(store: Store) -> None:
    accounts = store.access.accounts
    before = accounts.add(account("ann"))
    assert accounts.begin_session(session(1, "ann"), before)
    assert accounts.begin_session(session(2, "ann"), before)
    kept = session(2, "").session_id
    accounts.change("ann", lambda now: replace(now, password_hash="x"), end_sessions=True, but=kept)
    assert [one.session_id for one in accounts.sessions("ann")] == [kept]
    assert not accounts.begin_session(session(3, "ann"), before)  # checked before the change
    accounts.remove("ann")
    accounts.use_session(kept)  # as a request that was on its way
    assert accounts.session(kept) is None


def test_who_signs_in_elsewhere_does_not_become_somebody_who_was_removed(tmp_path: Path) -> None:
    with Store.open(tmp_path / "pawl.duckdb") as store:
        accounts = store.access.accounts
        accounts.add(account("ann"))
        accounts.add(account("bob", subject="https://id.example 1"))
        for name in ("ann", "bob"):
            accounts.remove(name)
            with pytest.raises(PawlError) as caught:
                accounts.add(account(name.upper(), subject="https://id.example 2"))
            assert caught.value.code == "account_exists"
            assert accounts.account(name) is None
        assert accounts.add(account("bob")).subject == "https://id.example 1"  # by an administrator
