"""Whom erasings forgot: what began before a certificate is kept no more.

An answer is recorded when it ends, which may be after its person was forgotten. What is under way
in the process that has the store open is known in memory, as salted hashes. What another gateway
recorded may come after a start as well: certificates say, by hashes of their own, who it was.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_NOT_YET = "~"  # sorts after every time


class Forgotten:
    """Names of people, and ids of their answers, with the time of the certificate. Any thread."""

    def __init__(self) -> None:
        self._salt = secrets.token_bytes(16)
        self._until: dict[bytes, str] = {}
        self._earlier: list[tuple[str, str, frozenset[str]]] = []

    def recall(self, until: str, salt: str, hashes: Iterable[str]) -> None:
        """Take over from a certificate of an earlier process.

        Args:
            until: the certificate's time, as ``utc_now``.
            salt, hashes: ``subject_hash`` of each name.
        """
        self._earlier.append((until, salt, frozenset(hashes)))

    @contextmanager
    def erasing(self, ids: set[str], until: str | None = None) -> Iterator[None]:
        """They are being erased while the block runs, and stay so unless it fails: then it is as
        before.

        Args:
            ids: may grow (``add``). One that ends in a slash stands for all that begin so.
            until: what begins later is kept, as ``utc_now``; None: nothing is before ``end``.
        """
        before = {digest: self._until.get(digest) for digest in map(self._digest, ids)}
        self.end(ids, until or _NOT_YET)
        try:
            yield
        except BaseException:
            for digest in map(self._digest, ids):
                if (earlier := before.get(digest)) is None:
                    self._until.pop(digest, None)
                else:
                    self._until[digest] = earlier
            raise

    def add(self, ids: Iterable[str]) -> None:
        """What begins now and later is not kept, until ``end``."""
        self._until.update((self._digest(one), _NOT_YET) for one in ids)

    def end(self, ids: Iterable[str], at: str) -> None:
        """What begins at ``at`` (as ``utc_now``) or later is kept again."""
        self._until.update((self._digest(one), at) for one in ids)

    def holds(self, begun_at: str, *ids: str | None) -> bool:
        """Whether one of them was forgotten after ``begun_at``."""
        earlier = [one for one in self._earlier if begun_at < one[0]]
        if not self._until and not earlier:
            return False
        names = [name for one in ids for name in _names_of(one)]
        return any(begun_at < self._until.get(self._digest(name), "") for name in names) or any(
            subject_hash(salt, name) in hashes for _, salt, hashes in earlier for name in names
        )

    def _digest(self, one: str) -> bytes:
        text = one.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._salt, digest_size=16).digest()


def subject_hash(salt: str, user: str) -> str:
    """What a certificate has instead of the name: whoever knows the name can tell that it is
    theirs."""
    return hashlib.sha256(f"{salt}:{user}".encode("utf-8", "surrogatepass")).hexdigest()


def _names_of(one: str | None) -> Iterator[str]:
    """What an id may have been forgotten as: itself, or all that begin with its key."""
    if one is not None:
        yield one
        key, slash, _ = one.partition("/")
        if slash:
            yield key + slash
