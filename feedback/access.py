"""Keys and the audit log, as the store keeps them: appended, never edited. Accounts stand beside
them (``feedback.accounts``).

Keys are read from memory, since every request asks for one; what is there changes before the
``Future`` of a write is resolved.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import replace

from feedback.accounts import Accounts
from feedback.database import Database
from feedback.forgotten import Forgotten
from feedback.tables import KEY_COLUMNS, record_from, row_of
from feedback.writer import GroupWriter, Write
from pawl.errors import PawlError
from pawl.schemas import AuditEntry, Key, Role, utc_now


class Access:
    """Who may use one store's server, and what was done to it."""

    def __init__(self, database: Database, writer: GroupWriter, forgotten: Forgotten) -> None:
        self._database, self._writer, self.forgotten = database, writer, forgotten
        self._changing = threading.RLock()
        self._keys: dict[str, Key] = {}  # the newest row by key_id, in the order they were added
        self.accounts = Accounts(database, writer, self._changing, self._was_key)
        self.load()

    def load(self) -> None:
        """Read keys, accounts and sessions anew: rows were erased."""
        with self._changing:
            with self._database.reading() as cursor:
                rows = cursor.execute(f"SELECT {KEY_COLUMNS} FROM keys ORDER BY seq").fetchall()
            keys = [record_from(Key, row) for row in rows]
            self._keys = {key.key_id: replace(key, role=Role(key.role)) for key in keys}
            self.accounts.load()

    @property
    def asks(self) -> bool:
        """Whether a key or an account was ever added, so that everybody needs one. It stays so when
        all are gone: what was revoked must not work again as if nothing were asked for."""
        return self.has_keys or self.accounts.were_added

    # ---- keys ----

    @property
    def has_keys(self) -> bool:
        """Whether a key was ever added."""
        return bool(self._keys)

    def all_keys(self) -> list[Key]:
        """Every key, the revoked ones too, oldest first."""
        return list(self._keys.values())

    def key(self, key_id: str) -> Key | None:
        """The key of this id, unless there is none or it was revoked."""
        key = self._keys.get(key_id)
        return key if key is not None and key.revoked_at is None else None

    def add_key(self, key: Key) -> None:
        """Keep a key; waits for the commit.

        Raises:
            PawlError: another key has the name (``key_exists``), or an account has or had it
                (``account_exists``), or the store can't take it.
        """
        with self._changing:
            if self.accounts.is_taken(key.name):
                raise PawlError(
                    f"the name {key.name!r} is, or was, an account's",
                    "what that person asked stands under the name",
                    "Choose another name",
                    code="account_exists",
                    param="name",
                )
            if self._named(key.name) is not None:
                raise PawlError(
                    f"there is a key {key.name!r} already",
                    "a name stands for one key at a time",
                    "Choose another name, or revoke that key first",
                    code="key_exists",
                    param="name",
                )
            self._keep(key)

    def revoke_key(self, name: str) -> Key:
        """Let the key of this name be refused from now on; waits for the commit.

        Raises:
            PawlError: there is none (``unknown_key``), or the store can't take it.
        """
        with self._changing:
            key = self._named(name)
            if key is None:
                raise PawlError(
                    f"there is no key {name!r}",
                    "none of this name was added, or it was revoked",
                    "List the keys with 'pawl keys list'",
                    code="unknown_key",
                    param="name",
                )
            revoked = replace(key, revoked_at=utc_now())
            self._keep(revoked)
            return revoked

    def _named(self, name: str) -> Key | None:
        keys = list(self._keys.values())  # copied: the writer's thread adds to it
        return next((key for key in keys if key.name == name and key.revoked_at is None), None)

    def _was_key(self, name: str) -> bool:
        return any(key.name.lower() == name.lower() for key in list(self._keys.values()))

    def _keep(self, key: Key) -> None:
        def follow() -> None:
            self._keys[key.key_id] = key

        self._writer.submit(Write({"keys": [row_of(key)]}, after=follow)).result()

    # ---- the audit log ----

    def record(self, entry: AuditEntry) -> Future[None]:
        """Append to the audit log. A second entry of the same ``audit_id`` says how it ended."""
        return self._writer.submit(Write({"audit": [row_of(entry)]}))

    def audit(self, limit: int, offset: int = 0, search: str = "") -> list[AuditEntry]:
        """``limit`` entries, oldest first, each with its last outcome: the newest, but for the
        ``offset`` newest ones, of those that hold ``search`` in any case."""
        with self._database.reading() as cursor:
            rows = cursor.execute(
                "SELECT * FROM (SELECT audit_id, arg_min(created_at, seq),"
                " arg_min(caller, seq) AS caller, arg_min(address, seq) AS address,"
                " arg_min(action, seq) AS action, arg_min(target, seq) AS target,"
                " arg_max(outcome, seq) AS outcome, arg_min(request_id, seq), min(seq) AS first"
                " FROM audit GROUP BY audit_id) WHERE contains(lower("
                "concat_ws(' ', caller, address, action, target, outcome)), lower(?))"
                " ORDER BY first DESC LIMIT ? OFFSET ?",
                [search, limit, offset],
            ).fetchall()
        return [AuditEntry(*row[:-1]) for row in reversed(rows)]

    def ended(self, actions: Collection[str]) -> list[tuple[AuditEntry, str]]:
        """The entries of these actions that came to their end, and when each did, in the order in
        which they began."""
        with self._database.reading() as cursor:
            rows = cursor.execute(
                "SELECT audit_id, arg_min(created_at, seq), arg_min(caller, seq),"
                " arg_min(address, seq), arg_min(action, seq), arg_min(target, seq),"
                " arg_max(outcome, seq), arg_min(request_id, seq), arg_max(created_at, seq)"
                " FROM audit WHERE action IN (SELECT unnest(?::VARCHAR[]))"
                " GROUP BY audit_id HAVING count(*) > 1 ORDER BY min(seq)",
                [list(actions)],
            ).fetchall()
        return [(AuditEntry(*row[:-1]), row[-1]) for row in rows]
