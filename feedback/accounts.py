"""Accounts and sessions, as the store keeps them: appended, never edited.

Both are read from memory, as keys are (``feedback.access``). A name is one account's for ever: who
is removed and added again is the same person, whose rows stand under the name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from feedback.database import Database
from feedback.tables import ACCOUNT_COLUMNS, SESSION_COLUMNS, Row, record_from, row_of
from feedback.writer import GroupWriter, Write
from pawl.errors import PawlError
from pawl.schemas import Account, Role, Session, utc_now

LONGEST_SESSION = timedelta(days=366)  # older ones are not read at a start


class Accounts:
    """Who signs in to one store's server, and where they are signed in.

    Changes wait for each other, so that a session which begins while its account's password
    changes is either ended with the others or never kept.

    Args:
        changing: held until a change is committed, by keys too.
        is_key: whether a name is, or was, a key's.
    """

    def __init__(
        self,
        database: Database,
        writer: GroupWriter,
        changing: threading.RLock,
        is_key: Callable[[str], bool],
    ) -> None:
        self._database, self._writer = database, writer
        self._changing, self._is_key = changing, is_key
        self._accounts: dict[str, Account] = {}  # the newest row by the name in lower case
        self._sessions: dict[str, Session] = {}  # those not ended, by session_id

    def load(self) -> None:
        """Read all anew."""
        oldest = (datetime.now(UTC) - LONGEST_SESSION).isoformat()
        with self._database.reading() as cursor:
            accounts = cursor.execute(
                f"SELECT {ACCOUNT_COLUMNS} FROM accounts ORDER BY seq"
            ).fetchall()
            sessions = cursor.execute(
                f"SELECT {SESSION_COLUMNS} FROM sessions WHERE created_at > ? ORDER BY seq",
                [oldest],
            ).fetchall()
        found = [record_from(Account, row) for row in accounts]
        begun = {row.session_id: row for row in (record_from(Session, row) for row in sessions)}
        # Each in one step: with no account the server would be open.
        self._accounts = {one.name.lower(): replace(one, role=Role(one.role)) for one in found}
        self._sessions = {key: one for key, one in begun.items() if one.ended_at is None}

    # ---- accounts ----

    @property
    def were_added(self) -> bool:
        """Whether an account was ever added, so that everybody needs one, or a key."""
        return bool(self._accounts)

    def all_accounts(self) -> list[Account]:
        """Every account, the removed ones too, oldest first."""
        return list(self._accounts.values())

    def account(self, name: str) -> Account | None:
        """The account of this name, in any case, unless there is none or it was removed."""
        account = self._accounts.get(name.lower())
        return account if account is not None and account.removed_at is None else None

    def account_of_subject(self, subject: str) -> Account | None:
        """The account of somebody who signs in elsewhere; a removed one too."""
        accounts = list(self._accounts.values())
        return next((account for account in accounts if account.subject == subject), None)

    def is_taken(self, name: str) -> bool:
        """Whether a name is, or was, an account's."""
        return name.lower() in self._accounts

    def add(self, account: Account) -> Account:
        """Keep an account, or bring back a removed one of the name, which keeps its spelling, its
        beginning and its subject; waits for the commit.

        Raises:
            PawlError: the name is an account's, or was one's and somebody who signs in elsewhere
                asks for it (``account_exists``), or was a key's (``key_exists``), or the store
                can't take it.
        """
        with self._changing:
            before = self._accounts.get(account.name.lower())
            # Whoever signs in elsewhere may call themselves as somebody who was here before.
            if before is not None and (
                before.removed_at is None or account.subject not in (None, before.subject)
            ):
                raise PawlError(
                    f"there is or was an account {before.name!r}",
                    "a name is one person's",
                    "Choose another name, or change that account",
                    code="account_exists",
                    param="name",
                )
            if self._is_key(account.name):
                raise PawlError(
                    f"the name {account.name!r} is, or was, a key's",
                    "what was asked with that key stands under the name",
                    "Choose another name",
                    code="key_exists",
                    param="name",
                )
            if before is not None:
                account = replace(account, name=before.name, created_at=before.created_at,
                                  subject=account.subject or before.subject)  # fmt: skip
            self._keep([account], [])
            return account

    def change(
        self,
        name: str,
        change: Callable[[Account], Account],
        *,
        end_sessions: bool = False,
        but: str | None = None,
    ) -> Account:
        """Keep an account as ``change`` answers it; waits for the commit.

        Args:
            end_sessions: end its sessions in the same transaction, all ``but`` one.

        Raises:
            PawlError: there is none (``unknown_account``), or the store can't take it.
        """
        with self._changing:
            account = self.account(name)
            if account is None:
                raise PawlError(
                    f"there is no account {name!r}",
                    "none of this name was added, or it was removed",
                    "List the accounts with 'pawl accounts list'",
                    code="unknown_account",
                    param="name",
                )
            now = utc_now()
            changed = replace(change(account), changed_at=now)
            ended = [
                replace(session, ended_at=now)
                for session in self.sessions(account.name)
                if end_sessions and session.session_id != but
            ]
            self._keep([changed], ended)
            return changed

    def remove(self, name: str) -> Account:
        """Let nobody sign in under this name from now on, and end its sessions; waits for the
        commit. Raises PawlError: as ``change``."""
        return self.change(
            name, lambda account: replace(account, removed_at=utc_now()), end_sessions=True
        )

    # ---- sessions ----

    def session(self, session_id: str) -> Session | None:
        """The session of this id, unless there is none or it was ended."""
        return self._sessions.get(session_id)

    def sessions(self, account: str) -> list[Session]:
        """The sessions of an account that were not ended, oldest first."""
        sessions = list(self._sessions.values())
        return [session for session in sessions if session.account == account]

    def begin_session(self, session: Session, account: Account) -> bool:
        """Keep a session; waits for the commit. False, and nothing kept, where ``account``, as
        whoever signs in was checked, is no longer the account that is here."""
        with self._changing:
            if self.account(account.name) != account:
                return False
            self._keep([], [session])
            return True

    def use_session(self, session_id: str) -> None:
        """Record that a session was used now, unless it has ended; waits for the commit."""
        with self._changing:
            session = self._sessions.get(session_id)
            if session is not None:
                self._keep([], [replace(session, used_at=utc_now())])

    def end_sessions(self, *session_ids: str) -> None:
        """End sessions, those that have not ended; waits for the commit."""
        now = utc_now()
        with self._changing:
            found = [self._sessions[one] for one in session_ids if one in self._sessions]
            if found:
                self._keep([], [replace(session, ended_at=now) for session in found])

    def _keep(self, accounts: list[Account], sessions: list[Session]) -> None:
        rows: dict[str, list[Row]] = {
            "accounts": [row_of(account) for account in accounts],
            "sessions": [row_of(session) for session in sessions],
        }
        self._writer.submit(
            Write({table: some for table, some in rows.items() if some},
                  after=lambda: self._follow(accounts, sessions))
        ).result()  # fmt: skip

    def _follow(self, accounts: list[Account], sessions: list[Session]) -> None:
        for account in accounts:
            self._accounts[account.name.lower()] = account
        for session in sessions:
            if session.ended_at is None:
                self._sessions[session.session_id] = session
            else:
                self._sessions.pop(session.session_id, None)
