"""Passwords of accounts: which are taken, how they are hashed, and one-time passwords."""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pawl.errors import PawlError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

FEWEST_CHARACTERS, MOST_CHARACTERS = 10, 1000
FEWEST_DIFFERENT = 5
# Letters and digits that are not taken for each other: 5 bits each.
_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"


@dataclass(frozen=True)
class Passwords:
    """Hashes passwords with argon2id.

    The defaults are 3.4 times the work of a key's hash, 0.1 s on a machine that does nothing else;
    OWASP's Password Storage Cheat Sheet asks for that of a key.
    """

    memory_kib: int = 65_536
    n_passes: int = 2

    def hash(self, password: str) -> str:
        """The hash, with its salt and parameters."""
        return self._hasher.hash(_normal(password))

    def is_right(self, hashed: str | None, password: str) -> bool:
        """Whether a password is the one that was hashed. Takes as long where there is no hash."""
        from argon2.exceptions import InvalidHashError, VerificationError

        if len(password) > MOST_CHARACTERS:
            return False
        try:
            return self._hasher.verify(hashed or self._nobodys, _normal(password))
        except (VerificationError, InvalidHashError):
            return False

    @cached_property
    def _nobodys(self) -> str:
        return self._hasher.hash(secrets.token_hex(32))

    @cached_property
    def _hasher(self) -> PasswordHasher:
        from argon2 import PasswordHasher

        return PasswordHasher(self.n_passes, self.memory_kib, parallelism=1)


def one_time_password() -> str:
    """Four groups of four letters and digits, 79 random bits."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(4))


def check_new(name: str, password: str) -> None:
    """Raises PawlError: somebody would guess it (``weak_password``)."""
    if len(password) < FEWEST_CHARACTERS:
        raise weak(
            f"it has {len(password)} characters",
            f"Take {FEWEST_CHARACTERS} or more; a few words in a row do well",
        )
    if len(password) > MOST_CHARACTERS:
        raise weak(f"it has {len(password):,} characters", f"Take {MOST_CHARACTERS:,} at most")
    rest = password.lower().replace(name.lower(), "")
    if len(set(rest)) < FEWEST_DIFFERENT:
        raise weak("it is easily guessed", "Take more than the name and a few characters")


def weak(why: str, do: str) -> PawlError:
    """The refusal of a new password."""
    return PawlError("this password is not taken", why, do, code="weak_password", param="password")


def _normal(password: str) -> str:
    """The same text for the same characters, however a keyboard composes them (NIST SP 800-63B)."""
    return unicodedata.normalize("NFKC", password)
