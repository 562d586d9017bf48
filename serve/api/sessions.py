"""Sessions of browsers: a random token in a cookie, of which the store keeps a hash.

A token is 256 random bits, so a fast hash of it is enough. Who signs in with a key instead of an
account's password has a session in memory, which ends with the server.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pawl.errors import PawlError
from pawl.schemas import Account, Session, utc_now

if TYPE_CHECKING:
    from feedback.accounts import Accounts
    from pawl.settings import SignInSettings

TOKEN = re.compile(r"pawls_[0-9a-f]{64}")
USED_STEP = timedelta(minutes=5)  # how exactly the store knows when a session was used
MOST_OF_ACCOUNT = 20  # the one that was used longest ago is ended by the next
MOST_OF_KEYS = 1000
_log = logging.getLogger("pawl.auth")


@dataclass(slots=True)
class KeySession:
    """A session of a key. ``digest`` is of the key, as ``Authenticator`` knows it."""

    digest: bytes
    began: datetime
    used: datetime


class Sessions:
    """Begins, finds and ends sessions."""

    def __init__(self, accounts: Accounts, settings: SignInSettings) -> None:
        self._accounts = accounts
        self.longest = timedelta(hours=settings.session_hours)
        self._idle = timedelta(hours=settings.idle_hours)
        self._of_keys: OrderedDict[str, KeySession] = OrderedDict()

    async def begin(self, account: Account) -> str | None:
        """The token of a new session; None where the account has changed meanwhile."""
        token, now = _new_token(), utc_now()
        session = Session(_hash(token), account.name, created_at=now, used_at=now)
        if not await asyncio.to_thread(self._accounts.begin_session, session, account):
            return None
        found = sorted(self._accounts.sessions(account.name), key=lambda one: one.used_at)
        over = [one.session_id for one in found[:-MOST_OF_ACCOUNT]]
        await asyncio.to_thread(self._accounts.end_sessions, *over)
        return token

    def begin_of_key(self, digest: bytes) -> str:
        """The token of a new session of a key that was right."""
        token, now = _new_token(), datetime.now(UTC)
        own = [one for one, session in self._of_keys.items() if session.digest == digest]
        # Nobody signs others out with many of their own.
        for one in own[: max(0, len(own) + 1 - MOST_OF_ACCOUNT)]:
            del self._of_keys[one]
        self._of_keys[_hash(token)] = KeySession(digest, now, now)
        if len(self._of_keys) > MOST_OF_KEYS:
            self._of_keys.popitem(last=False)
        return token

    def find(self, token: str | None) -> Account | bytes | None:
        """The account of a session, or the digest of its key; None where it has ended."""
        if token is None or not TOKEN.fullmatch(token):
            return None
        session_id = _hash(token)
        if (of_key := self._of_keys.get(session_id)) is not None:
            if self._is_over(of_key.began, of_key.used):
                del self._of_keys[session_id]
                return None
            return of_key.digest
        session = self._accounts.session(session_id)
        if session is None or self._is_over(_time(session.created_at), _time(session.used_at)):
            return None
        return self._accounts.account(session.account)

    async def use(self, token: str) -> None:
        """A person did something in a session; where the store can't note it (a full disk), they
        go on."""
        session_id, now = _hash(token), datetime.now(UTC)
        if (of_key := self._of_keys.get(session_id)) is not None:
            of_key.used = now
        session = self._accounts.session(session_id)
        if session is not None and now - _time(session.used_at) > USED_STEP:
            try:
                await asyncio.to_thread(self._accounts.use_session, session_id)
            except PawlError as error:
                _log.warning("when %s's session was used is not noted: %s", session.account, error)

    async def end(self, token: str) -> None:
        """Sign out."""
        session_id = _hash(token)
        self._of_keys.pop(session_id, None)
        await asyncio.to_thread(self._accounts.end_sessions, session_id)

    def _is_over(self, began: datetime, used: datetime) -> bool:
        now = datetime.now(UTC)
        return now - began > self.longest or now - used > self._idle


def _new_token() -> str:
    return f"pawls_{secrets.token_hex(32)}"


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _time(at: str) -> datetime:
    return datetime.fromisoformat(at)
