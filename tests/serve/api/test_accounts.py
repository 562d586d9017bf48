"""Accounts over HTTP, passwords, sessions: who gets in, for how long, and who is out again."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from feedback.store import Store
from pawl.errors import PawlError
from pawl.schemas import Account, AccountChange, AccountRequest, Caller, Role, Session
from pawl.settings import Settings, SignInSettings
from serve.api.accounts import (
    FIRST_PASSWORD_FILE,
    SignIn,
    change_account,
    first_administrator,
    new_account,
    remove_account,
)
from serve.api.keys import Authenticator
from serve.api.passwords import Passwords
from serve.api.sessions import MOST_OF_ACCOUNT, MOST_OF_KEYS, Sessions
from tests.serve.api.callers import Keyed, keyed

HERE = "127.0.0.1"
CHEAP = Passwords(memory_kib=8, n_passes=1)
GOOD = "four words in a row"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "state" / "pawl.duckdb") as opened:
        yield opened


@pytest.fixture
def sign_in(store: Store, tmp_path: Path) -> SignIn:
    sessions = Sessions(store.access.accounts, SignInSettings())
    authenticator = Authenticator(store.access, sessions, None, "pawl_admin_x", local=True)
    return SignIn(store.access, authenticator, tmp_path / "state", CHEAP)


def add(store: Store, name: str, password: str | None = None, role: Role = Role.USER) -> str | None:
    """Make an account; its one-time password if it got one."""
    secret = SecretStr(password) if password is not None else None
    return new_account(
        store.access.accounts,
        AccountRequest(name=name, role=role, password=secret),
        passwords=CHEAP,
    )[1]


def code_of(work: object) -> str:
    with pytest.raises(PawlError) as caught:
        asyncio.run(work)  # type: ignore[arg-type]
    return caught.value.code


def test_who_signs_in_is_the_account_and_nobody_else_gets_in(
    store: Store, sign_in: SignIn, caplog: pytest.LogCaptureFixture
) -> None:
    add(store, "Ann", GOOD, Role.REVIEWER)
    token, name = asyncio.run(sign_in.sign_in(" ann ", GOOD, HERE))
    assert name == "Ann"
    caller = sign_in.sessions.find(token)
    assert isinstance(caller, Account)
    authenticator = sign_in._authenticator
    assert asyncio.run(authenticator.caller(token, HERE)) == Caller("Ann", Role.REVIEWER)
    for name, password in (("ann", GOOD + "!"), ("ann", ""), ("bob-is-secret", GOOD),
                           ("ann", "x" * 100_000), ("", "")):  # fmt: skip
        assert code_of(sign_in.sign_in(name, password, HERE)) == "wrong_password"
    assert "bob-is-secret" not in caplog.text
    for wrong in (token[:-1], token[:-1] + ("0" if token[-1] != "0" else "1"), "pawls_", ""):
        assert sign_in.sessions.find(wrong) is None
    asyncio.run(sign_in.sessions.end(token))
    assert sign_in.sessions.find(token) is None
    assert code_of(authenticator.caller(token, HERE)) == "invalid_api_key"


def test_composed_letters_are_the_letters(store: Store, sign_in: SignIn) -> None:
    add(store, "ann", "Käsekuchen mit Sahne")
    asyncio.run(sign_in.sign_in("ann", "Ka\u0308sekuchen mit Sahne", HERE))


def test_a_key_signs_in_too_until_it_is_revoked(store: Store, sign_in: SignIn) -> None:
    token, name = asyncio.run(sign_in.sign_in("whoever", "pawl_admin_x", HERE))
    caller = asyncio.run(sign_in._authenticator.caller(token, HERE))
    assert (caller.name, name, caller.role) == ("admin.key", "admin.key", Role.ADMINISTRATOR)
    asyncio.run(sign_in.sessions.end(token))
    assert sign_in._authenticator.caller_of_session(token) is None


def test_a_session_ends_by_its_age_and_by_idleness(store: Store, sign_in: SignIn) -> None:
    add(store, "ann", GOOD)
    accounts, now = store.access.accounts, datetime.now(UTC)

    def found(age: timedelta, idle: timedelta) -> bool:
        began, used = ((now - ago).strftime("%Y-%m-%dT%H:%M:%S.%fZ") for ago in (age, idle))
        token = f"pawls_{os.urandom(32).hex()}"
        session = Session(hashlib.sha256(token.encode()).hexdigest(), "ann", began, used)
        account = accounts.account("ann")
        assert account is not None
        assert accounts.begin_session(session, account)
        alive = sign_in.sessions.find(token) is not None
        if alive:
            asyncio.run(sign_in.sessions.use(token))
            kept = accounts.session(session.session_id)
            assert kept is not None
            assert (kept.used_at > used) is (idle > timedelta(minutes=5))
        return alive

    day = timedelta(days=1)
    assert found(29 * day, 6 * day)
    assert found(29 * day, timedelta(minutes=1))
    assert not found(31 * day, timedelta(0))
    assert not found(8 * day, 8 * day)


def test_an_account_has_a_bounded_number_of_sessions(store: Store, sign_in: SignIn) -> None:
    add(store, "ann", GOOD)
    account = store.access.accounts.account("ann")
    assert account is not None

    async def begin() -> list[str | None]:
        return [await sign_in.sessions.begin(account) for _ in range(MOST_OF_ACCOUNT + 2)]

    tokens = asyncio.run(begin())
    alive = [sign_in.sessions.find(token) is not None for token in tokens]
    assert alive == [False] * 2 + [True] * MOST_OF_ACCOUNT


def test_a_one_time_password_serves_to_set_another_and_ends_other_sessions(
    store: Store, sign_in: SignIn
) -> None:
    one_time = add(store, "ann")
    assert one_time is not None
    assert len(one_time) == 19
    token, _ = asyncio.run(sign_in.sign_in("ann", one_time, HERE))
    other, _ = asyncio.run(sign_in.sign_in("ann", one_time, HERE))
    authenticator = sign_in._authenticator
    assert code_of(authenticator.caller(token, HERE)) == "password_change_needed"
    account = sign_in.sessions.find(token)
    assert isinstance(account, Account)
    change = sign_in.change_password
    for new in (one_time, "short", "ann" * 9, "aaaaaaaaaaaaaa", "x" * 1001):
        assert code_of(change(account, one_time, new, HERE)) == "weak_password"
    assert code_of(change(account, GOOD, GOOD + "!", HERE)) == "wrong_password"
    again = asyncio.run(change(account, one_time, GOOD, HERE))
    assert asyncio.run(authenticator.caller(again, HERE)) == Caller("ann", Role.USER)
    assert sign_in.sessions.find(token) is None
    assert sign_in.sessions.find(other) is None
    assert code_of(sign_in.sign_in("ann", one_time, HERE)) == "wrong_password"


def test_guesses_keep_nobody_out_but_who_guesses(
    store: Store, sign_in: SignIn, caplog: pytest.LogCaptureFixture
) -> None:
    add(store, "ann", GOOD)

    async def guess(address: str, password: str = "a guess of many") -> str:
        try:
            await sign_in.sign_in("ann", password, address)
        except PawlError as err:
            return err.code
        return "in"

    async def test() -> None:
        assert await guess(HERE, GOOD) == "in"
        codes = await asyncio.gather(*(guess("10.0.0.1") for _ in range(40)))
        assert codes.count("wrong_password") <= 20, "at the tests' pace: 10, and 4 at a time"
        assert await guess("10.0.0.1", GOOD) == "too_many_failures"
        assert await guess("10.0.0.2", GOOD) == "in"
        codes = [await guess(f"10.0.{n}.3") for n in range(60)]  # each from an address of its own
        assert "too_many_failures" in codes
        assert await guess("10.0.0.4", GOOD) == "too_many_failures"
        assert await guess(HERE, GOOD) == "in"  # it was before
        account = store.access.accounts.account("ann")
        assert account is not None
        await sign_in.change_password(account, GOOD, GOOD + "!", "10.0.0.4")  # signed in there

    asyncio.run(test())
    lines = [one.getMessage() for one in caplog.records if "for ann" in one.getMessage()]
    assert 4 <= len(lines) <= 7
    assert "a guess of many" not in caplog.text


def test_the_first_administrator_is_made_once_and_its_file_goes_with_the_password(
    store: Store, sign_in: SignIn, tmp_path: Path
) -> None:
    settings = Settings(state_dir=tmp_path / "state", host="0.0.0.0")
    path = first_administrator(store.access, settings)
    assert path == tmp_path / "state" / FIRST_PASSWORD_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    password = path.read_text().strip()
    assert first_administrator(store.access, settings) == path
    assert path.read_text().strip() == password  # a second start leaves it
    token, _ = asyncio.run(sign_in.sign_in("admin", password, HERE))
    account = sign_in.sessions.find(token)
    assert isinstance(account, Account)
    assert account.role is Role.ADMINISTRATOR
    asyncio.run(sign_in.change_password(account, password, GOOD, HERE))
    assert not path.exists()
    assert first_administrator(store.access, settings) is None
    store.access.accounts.remove("admin")
    assert first_administrator(store.access, settings) is None


def test_where_there_is_a_way_in_no_administrator_is_made(store: Store, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", host="0.0.0.0")
    add(store, "ann", GOOD)
    assert first_administrator(store.access, settings) is None
    assert store.access.accounts.account("admin") is None


def test_a_role_that_is_taken_away_is_gone_at_once(store: Store, sign_in: SignIn) -> None:
    add(store, "ann", GOOD, Role.ADMINISTRATOR)
    add(store, "bob", GOOD, Role.ADMINISTRATOR)
    token, _ = asyncio.run(sign_in.sign_in("ann", GOOD, HERE))
    change_account(store.access.accounts, "ann", AccountChange(role=Role.USER))
    caller = asyncio.run(sign_in._authenticator.caller(token, HERE))
    assert caller == Caller("ann", Role.USER)


def test_the_last_administrator_keeps_role_and_account(store: Store) -> None:
    accounts = store.access.accounts
    to_user = AccountChange(role=Role.USER)
    for name in ("ann", "bob", "eve"):
        add(store, name, GOOD, Role.ADMINISTRATOR)
    add(store, "ida", GOOD, Role.REVIEWER)

    def demote(name: str) -> str:
        try:
            change_account(accounts, name, to_user)
        except PawlError as err:
            return err.code
        return "done"

    with ThreadPoolExecutor(2) as both:  # two who take the role from each other
        assert sorted(both.map(demote, ["ann", "bob", "eve"])) == [
            "done", "done", "last_administrator",
        ]  # fmt: skip
    [last] = [one.name for one in accounts.all_accounts() if one.role is Role.ADMINISTRATOR]
    with pytest.raises(PawlError, match="last administrator"):
        remove_account(accounts, last)
    change_account(accounts, last, AccountChange(role=Role.ADMINISTRATOR, password=SecretStr("")))
    change_account(accounts, "ida", AccountChange(role=Role.ADMINISTRATOR))
    assert remove_account(accounts, last).removed_at
    remove_account(accounts, next(name for name in ("ann", "bob", "eve") if name != last))
    with pytest.raises(PawlError, match="last administrator"):
        remove_account(accounts, "ida")


# -- over HTTP


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    with keyed(tmp_path_factory.mktemp("accounts") / "state") as one:
        yield one


def test_administrators_make_change_and_remove_accounts_and_no_password_is_kept(
    server: Keyed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with server.client(server.admin_key) as operator:

        def post(path: str, body: object) -> httpx.Response:
            return operator.post("/admin/accounts" + path, json=body)

        made = post("", {"name": "Zoe", "role": "user", "password": GOOD}).json()
        assert made["one_time_password"] is None
        assert "password_hash" not in made
        assert post("", {"name": "zoe", "role": "user"}).json()["error"]["code"] == "account_exists"
        assert post("", {"name": "Admin.Key", "role": "user"}).status_code == 400
        weak = post("", {"name": "joe", "role": "user", "password": "hunter2"})
        assert weak.json()["error"]["code"] == "weak_password"
        broken = operator.post("/admin/accounts", content=b'{"password": "hunter2"')
        assert broken.status_code == 400
        assert post("", {"name": "joe", "role": "user", "password": ["hunter2"]}).status_code == 400
        assert post("/ZOE", {"role": "reviewer"}).json()["role"] == "reviewer"
        assert len(post("/zoe", {"password": ""}).json()["one_time_password"]) == 19
        assert post("/zoe/remove", {}).json()["removed_at"]
        assert post("/zoe/remove", {}).status_code == 404
        (listed,) = operator.get("/admin/accounts").json()
        assert (listed["name"], listed["must_change"]) == ("Zoe", True)
        entries = operator.get("/admin/audit").json()
    assert [one["action"] for one in entries].count("change account") == 2
    for place in (str(entries), caplog.text):
        assert "hunter2" not in place
        assert GOOD not in place


def test_an_account_closes_the_server_and_its_rows_stand_under_its_name(server: Keyed) -> None:
    ann = server.sign_in("ann")
    assert httpx.get(server.server.url + "/v1/models").status_code == 401
    body = {"model": "pawl", "messages": [{"role": "user", "content": "hi"}], "user": "zoe"}
    answer = ann.post("/v1/chat/completions", json=body, headers={"X-Pawl-Rater": "zoe"})
    row = server.server.store.get_completion(answer.headers["X-Pawl-Completion-Id"])
    assert row is not None
    assert row.rater_id == "ann"
    assert ann.get("/admin/status").status_code == 403
    account = server.server.store.access.accounts.account("ann")
    assert account is not None
    server.server.store.access.accounts.change("ann", lambda now: replace(now, must_change=True))
    refused = ann.get("/v1/models")
    assert refused.json()["error"]["code"] == "password_change_needed"


def test_many_sessions_of_one_key_end_nobody_elses(sign_in: SignIn) -> None:
    sessions = sign_in.sessions
    others = sessions.begin_of_key(b"another key")
    own = [sessions.begin_of_key(b"a key") for _ in range(MOST_OF_KEYS + 1)]
    assert sessions.find(others) == b"another key"
    alive = [sessions.find(token) is not None for token in own]
    assert alive == [False] * (len(own) - MOST_OF_ACCOUNT) + [True] * MOST_OF_ACCOUNT
