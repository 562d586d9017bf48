"""Whom erasings forgot since the store was opened: what began before a certificate is kept no more.

An answer is recorded when it ends, which may be after its person was forgotten. What is under way
lives in the process that has the store open, so this does too: in memory, as salted hashes.
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

    @contextmanager
    def erasing(self, ids: set[str]) -> Iterator[None]:
        """They are being erased while the block runs, and stay so unless it fails.

        Args:
            ids: may grow (``add``). One that ends in a slash stands for all that begin so.
        """
        self.add(ids)
        try:
            yield
        except BaseException:
            for one in ids:
                self._until.pop(self._digest(one), None)
            raise

    def add(self, ids: Iterable[str]) -> None:
        """What begins now and later is not kept, until ``end``."""
        self._until.update((self._digest(one), _NOT_YET) for one in ids)

    def end(self, ids: Iterable[str], at: str) -> None:
        """What begins at ``at`` (as ``utc_now``) or later is kept again."""
        self._until.update((self._digest(one), at) for one in ids)

    def holds(self, begun_at: str, *ids: str | None) -> bool:
        """Whether one of them was forgotten after ``begun_at``."""
        if not self._until:
            return False
        digests = (digest for one in ids for digest in self._of(one))
        return any(begun_at < self._until.get(digest, "") for digest in digests)

    def _of(self, one: str | None) -> Iterator[bytes]:
        if one is not None:
            yield self._digest(one)
            key, slash, _ = one.partition("/")
            if slash:
                yield self._digest(key + slash)

    def _digest(self, one: str) -> bytes:
        text = one.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._salt, digest_size=16).digest()
