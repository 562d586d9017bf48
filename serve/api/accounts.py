"""Accounts of people: made, changed, and who signs in to one.

Guesses are slowed by the address they come from and, where they come from many, by the account
they are made at (``serve.api.throttle``); an address from which its owner signed in
before is counted apart. A name that nobody has takes as long as one that somebody has.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pawl.errors import PawlError
from pawl.files import write_atomic
from pawl.schemas import Account, AccountChange, AccountRequest, Role, utc_now
from serve.api.keys import RESERVED
from serve.api.passwords import Passwords, check_new, one_time_password, weak
from serve.api.quotas import OneByOne, Turns
from serve.api.throttle import Throttle

if TYPE_CHECKING:
    from pydantic import SecretStr

    from feedback.access import Access
    from feedback.accounts import Accounts
    from pawl.settings import Settings
    from serve.api.keys import Authenticator

FIRST_NAME = "admin"
FIRST_PASSWORD_FILE = "admin.password"  # in the state folder, until that password was changed
# Several addresses': one that guesses takes 4 at most, so it shuts nobody else out of an account.
N_SLOTS_OF_NAME = 32
MOST_HASHING = 32  # sign-ins that wait for argon2; it runs one at a time
PASSWORDS = Passwords()
_log = logging.getLogger("pawl.auth")


class SignIn:
    """Checks passwords and begins sessions.

    Args:
        access: the store's accounts and keys.
        authenticator: finds whose key it is where somebody signs in with one.
        state_dir: where the first administrator's password is kept.
    """

    def __init__(
        self,
        access: Access,
        authenticator: Authenticator,
        state_dir: Path,
        passwords: Passwords = PASSWORDS,
    ) -> None:
        self._passwords = passwords
        self._accounts: Accounts = access.accounts
        self._authenticator = authenticator
        self.sessions = authenticator.sessions
        self._first_password = state_dir / FIRST_PASSWORD_FILE
        self._addresses = Throttle("wrong password from")
        self._names = Throttle("wrong password for", N_SLOTS_OF_NAME)
        self._turns = Turns(1)
        self._hashing = OneByOne(MOST_HASHING, "too many passwords wait to be checked")

    @property
    def is_open(self) -> bool:
        """Whether nobody needs to sign in."""
        return self._authenticator.is_open

    def name_of(self, token: str | None) -> str | None:
        """Who is signed in, also with a password that must be changed first."""
        found = self.sessions.find(token)
        if isinstance(found, Account):
            return found.name
        caller = self._authenticator.caller_of_session(token)
        return caller.name if caller is not None else None

    async def sign_in(self, name: str, password: str, address: str) -> tuple[str, str]:
        """Begin a session: with an account's name and password, or with a key as password and any
        name.

        Returns:
            The session's token, and the name of who signed in.

        Raises:
            PawlError: one of them is wrong (``wrong_password``), or too many wrong ones came from
                there or at that name (``too_many_failures``), or the key is a gateway's.
        """
        if self._authenticator.is_key(password):
            caller = await self._authenticator.caller(password, address)
            if not caller.role.includes(Role.USER):
                raise PawlError(
                    f"{caller.name!r} opens no page",
                    "it is a gateway's key, which nobody asks with",
                    "Sign in with an account, or with another key",
                    code="forbidden",
                )
            return self.sessions.begin_of_key(self._authenticator.digest(password)), caller.name
        account = await self._check(name.strip(), password, address)
        token = await self.sessions.begin(account)
        if token is None:  # it was changed while its password was checked
            raise wrong_password()
        return token, account.name

    async def change_password(self, account: Account, current: str, new: str, address: str) -> str:
        """Set another password and end all sessions; the token of a new one.

        Raises:
            PawlError: the current one is wrong, or the new one is too weak (``weak_password``).
        """
        self._names.succeeded(account.name, address)  # others' guesses must not keep it from that
        await self._check(account.name, current, address)
        check_new(account.name, new)
        if new == current:
            raise weak("it is the one you have", "Choose another one")
        hashed = await asyncio.to_thread(self._passwords.hash, new)
        changed = await asyncio.to_thread(
            self._accounts.change, account.name,
            lambda now: replace(now, password_hash=hashed, must_change=False), end_sessions=True,
        )  # fmt: skip
        if account.must_change and account.name == FIRST_NAME:
            self._first_password.unlink(missing_ok=True)
        _log.info("%s changed the password; other sessions ended", account.name)
        again = await self.sessions.begin(changed)
        if again is None:
            raise wrong_password()
        return again

    async def _check(self, name: str, password: str, address: str) -> Account:
        """The account of this name, if the password is its. Raises PawlError."""
        async with self._turns.of(address):  # or one address could fill the line before argon2
            account = self._accounts.account(name)
            # What people type as a name may be a password: it is not written down.
            unknown = hashlib.sha256(name.lower().encode()).hexdigest()[:8]
            whom = account.name if account else f"unknown {unknown}"
            with self._addresses.attempt(address, whom), self._names.attempt(whom, address):
                hashed = account.password_hash if account else None
                async with self._hashing.turn():
                    is_right = await asyncio.to_thread(self._passwords.is_right, hashed, password)
                if not is_right or account is None:
                    self._addresses.failed(address, whom)
                    self._names.failed(whom, address)
                    raise wrong_password()
        self._addresses.succeeded(address, whom)
        self._names.succeeded(whom, address)
        return account


def new_account(
    accounts: Accounts,
    request: AccountRequest,
    subject: str | None = None,
    passwords: Passwords = PASSWORDS,
) -> tuple[Account, str | None]:
    """Make an account and keep it; waits for the commit. Answers it, and its one-time password
    where the request has no password.

    Args:
        subject: who the person is elsewhere; such an account has no password unless the request
            has one.

    Raises:
        PawlError: the name is taken (``account_exists``, ``key_exists``) or stands for another
            caller, or the password is too weak (``weak_password``).
    """
    if request.name.lower() in RESERVED:
        raise PawlError(
            f"an account can't be called {request.name!r}",
            f"{', '.join(RESERVED)} stand for callers without a name",
            "Choose another name",
            code="invalid_value",
            param="name",
        )
    one_time = None
    hashed: str | None = None
    if request.password is not None or subject is None:
        hashed, one_time = _hashed(passwords, request.name, request.password)
    now = utc_now()
    account = accounts.add(
        Account(request.name, request.role, hashed, one_time is not None, subject, now, now)
    )
    return account, one_time


def change_account(
    accounts: Accounts, name: str, request: AccountChange
) -> tuple[Account, str | None]:
    """Change role or password; waits for the commit. Answers the account, and its one-time password
    where an empty one was asked for. All its sessions end with a password.

    Raises:
        PawlError: as ``new_account``, or there is no such account (``unknown_account``), or it is
            the last administrator's and the role another (``last_administrator``).
    """
    password, one_time = request.password, None
    hashed: str | None = None
    if password is not None:
        given = password if password.get_secret_value() else None
        hashed, one_time = _hashed(PASSWORDS, name, given)

    def change(account: Account) -> Account:
        if request.role not in (None, account.role):
            _check_not_last(accounts, account)
        account = replace(account, role=request.role or account.role)
        if hashed is not None:
            account = replace(account, password_hash=hashed, must_change=one_time is not None)
        return account

    return accounts.change(name, change, end_sessions=hashed is not None), one_time


def remove_account(accounts: Accounts, name: str) -> Account:
    """Let nobody sign in under this name from now on, and end its sessions; waits for the commit.

    Raises:
        PawlError: there is no such account (``unknown_account``), or it is the last
            administrator's (``last_administrator``).
    """

    def remove(account: Account) -> Account:
        _check_not_last(accounts, account)
        return replace(account, removed_at=utc_now())

    return accounts.change(name, remove, end_sessions=True)


def _check_not_last(accounts: Accounts, account: Account) -> None:
    """Raises PawlError: nobody else's account is an administrator's. Called while no account can
    change, so that two administrators don't take the role from each other."""
    if account.role is Role.ADMINISTRATOR and not any(
        one.role is Role.ADMINISTRATOR and one.removed_at is None and one.name != account.name
        and (one.password_hash or one.subject)
        for one in accounts.all_accounts()
    ):  # fmt: skip
        raise PawlError(
            f"{account.name!r} is the last administrator",
            "without an administrator's account nobody could sign in to give others their roles",
            "Make somebody else an administrator first",
            code="last_administrator",
            param="name",
        )


def first_administrator(access: Access, settings: Settings) -> Path | None:
    """Make an administrator's account where others than this machine can ask and nobody has a way
    in; its one-time password is written to a file that only its owner can read.

    Returns:
        The file, while the password in it was not changed.
    """
    path = settings.state_dir / FIRST_PASSWORD_FILE
    if not access.asks:
        request = AccountRequest(name=FIRST_NAME, role=Role.ADMINISTRATOR)
        hashed, one_time = _hashed(PASSWORDS, FIRST_NAME, None)
        write_atomic(path, f"{one_time}\n", mode=0o600)  # first: a crash leaves no locked account
        now = utc_now()
        access.accounts.add(Account(request.name, request.role, hashed, True, None, now, now))
    account = access.accounts.account(FIRST_NAME)
    if account is None or not account.must_change:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    return path if path.exists() else None


def wrong_password() -> PawlError:
    return PawlError(
        "the name or the password is wrong",
        "",
        "Check both, capital letters too; an administrator can set another password",
        code="wrong_password",
    )


def _hashed(passwords: Passwords, name: str, given: SecretStr | None) -> tuple[str, str | None]:
    """The hash of a password, or of a one-time password that is made here, and that one."""
    if given is None:
        one_time = one_time_password()
        return passwords.hash(one_time), one_time
    check_new(name, given.get_secret_value())
    return passwords.hash(given.get_secret_value()), None
