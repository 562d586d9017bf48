"""Keys of programs: their secrets, made and hashed, and who a request's key or session belongs to.

A secret is ``pawl_<key id>_<64 hex digits>``: 256 random bits, an id to look the key up by, and a
beginning that scanners of secrets can find. Only an argon2id hash of it is kept. A right secret is
remembered in memory under a fast keyed hash, so that only its first request after a start pays for
argon2.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from typing import TYPE_CHECKING

from pawl.errors import PawlError
from pawl.schemas import Caller, Key, KeyRequest, Role, utc_now
from pawl.server import SERVER_CALLERS
from serve.api.quotas import OneByOne
from serve.api.sessions import Sessions
from serve.api.throttle import Throttle

if TYPE_CHECKING:
    from argon2 import PasswordHasher

    from feedback.access import Access

_TOKEN = re.compile(r"pawl_([0-9a-f]{12})_[0-9a-f]{64}")
MOST_HASHING = 64  # first requests that wait for argon2; it runs in one thread
ANONYMOUS = Caller("anonymous", Role.USER, may_name_raters=True, is_everyone=True)
# What names that no key may have stand for: the setting, and the file in the state folder.
SERVER_KEY, ADMIN_KEY = (
    Caller(name, Role.ADMINISTRATOR, may_name_raters=True, is_everyone=True)
    for name in SERVER_CALLERS
)
RESERVED = (ANONYMOUS.name, *SERVER_CALLERS)


class Authenticator:
    """Finds the caller of a request by its key, or by the token of its session.

    Args:
        access: the store's keys.
        sessions: the browsers that are signed in.
        api_key: the setting: an administrator's key.
        admin_key: the key of the state folder: an administrator's, too.
        local: only this machine can ask: then no key is asked for while there is none.
    """

    def __init__(
        self,
        access: Access,
        sessions: Sessions,
        api_key: str | None,
        admin_key: str | None,
        local: bool,
    ) -> None:
        self._access, self.sessions = access, sessions
        self._asks = api_key is not None or not local
        self._throttle = Throttle()
        self._hash_key = secrets.token_bytes(32)
        given = {api_key: SERVER_KEY, admin_key: ADMIN_KEY}
        self._given = {
            self.digest(key): who
            for key, who in given.items()
            # A named key in the setting is the command line's, and has the role of its name.
            if key is not None and not _TOKEN.fullmatch(key)
        }
        self._key_ids: dict[bytes, str] = {}  # by the digest of a secret that was right
        self._digests: dict[str, bytes] = {}  # the reverse
        self._hashing = OneByOne(MOST_HASHING, "too many keys wait to be checked")

    @property
    def is_open(self) -> bool:
        """Whether a request without a key is taken."""
        return not self._asks and not self._access.asks

    async def caller(self, token: str | None, address: str) -> Caller:
        """Whose key it is. Takes microseconds for a key that was right before.

        Args:
            token: the key that came, None when none came.
            address: where it came from (``serve.api.throttle.address_of``).

        Raises:
            PawlError: it is missing or wrong (``invalid_api_key``), too many wrong ones came from
                there (``too_many_failures``), or it is of a session whose password must be changed
                first (``password_change_needed``).
        """
        if token is None:
            if self.is_open:
                return ANONYMOUS
            raise wrong_key()
        digest = self.digest(token)
        caller = self._known(digest) or self._signed_in(token)
        if caller is None and self.is_open:
            return ANONYMOUS  # clients of OpenAI's send some key always
        if caller is not None and digest not in self._given:
            return caller  # 256 random bits of ours; a key of the setting may be guessed
        with self._throttle.attempt(address, caller.name if caller else None):
            caller = caller or await self._verify(token, digest)
            if caller is None:
                self._throttle.failed(address)
                raise wrong_key()
        self._throttle.succeeded(address, caller.name)
        return caller

    def is_key(self, text: str) -> bool:
        """Whether a text that somebody typed as a password can be a key."""
        return self.digest(text) in self._given or _TOKEN.fullmatch(text) is not None

    def digest(self, token: str) -> bytes:
        """What a key is remembered under."""
        return hashlib.blake2b(token.encode(), key=self._hash_key, digest_size=32).digest()

    def _signed_in(self, token: str) -> Caller | None:
        """The caller of a session that has not ended. Raises PawlError."""
        found = self.sessions.find(token)
        if isinstance(found, bytes):
            return self._known(found)
        if found is None:
            return None
        if found.must_change:
            raise PawlError(
                f"{found.name!r} has a one-time password",
                "it works once, to set another",
                "Set a password on the page",
                code="password_change_needed",
            )
        return Caller(found.name, found.role)

    def caller_of_session(self, token: str | None) -> Caller | None:
        """Who is signed in with a cookie; None where nobody is any more."""
        return self._signed_in(token) if token is not None else None

    def _known(self, digest: bytes) -> Caller | None:
        """The caller of a secret that was right before, if it still is."""
        caller = self._given.get(digest)
        key_id = self._key_ids.get(digest)
        if caller is not None or key_id is None:
            return caller
        key = self._access.key(key_id)
        if key is None:  # revoked
            self._key_ids.pop(digest, None)
            self._digests.pop(key_id, None)
            return None
        return Caller(key.name, key.role, key.may_name_raters)

    async def _verify(self, token: str, digest: bytes) -> Caller | None:
        """Compare a secret with its hash, one at a time: argon2 takes a core and 19 MiB."""
        found = _TOKEN.fullmatch(token)
        key = self._access.key(found[1]) if found else None
        if key is None or key.key_id in self._digests:  # its secret is known, and this is another
            return None
        async with self._hashing.turn():
            if key.key_id not in self._digests and await asyncio.to_thread(
                _is_right, key.secret_hash, token
            ):
                self._key_ids[digest], self._digests[key.key_id] = key.key_id, digest
        return self._known(digest)


def new_key(access: Access, request: KeyRequest) -> tuple[Key, str]:
    """Make a key and keep it; waits for the commit. Answers the key and its secret, which is not
    kept.

    Raises:
        PawlError: the name is taken (``key_exists``) or stands for another key, or a gateway's is
            to name raters.
    """
    if request.name in RESERVED:
        raise PawlError(
            f"a key can't be called {request.name!r}",
            f"{', '.join(RESERVED)} stand for callers without a named key",
            "Choose another name",
            code="invalid_value",
            param="name",
        )
    if request.role is Role.GATEWAY and request.may_name_raters:
        raise PawlError(
            "a gateway's key names nobody",
            "it asks for no answers: those who ask by the gateway send their own keys",
            "Leave may_name_raters out, or choose another role",
            code="invalid_value",
            param="may_name_raters",
        )
    key_id = secrets.token_hex(6)
    secret = f"pawl_{key_id}_{secrets.token_hex(32)}"
    key = Key(key_id=key_id, name=request.name, role=request.role,
              may_name_raters=request.may_name_raters, secret_hash=_hasher().hash(secret),
              created_at=utc_now())  # fmt: skip
    access.add_key(key)
    return key, secret


def _hasher() -> PasswordHasher:
    """argon2id with 19 MiB and 2 passes, the least of OWASP's Password Storage Cheat Sheet: 34 ms
    here. More would not make 256 random bits harder to guess."""
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


def _is_right(secret_hash: str, token: str) -> bool:
    from argon2.exceptions import VerificationError

    try:
        return _hasher().verify(secret_hash, token)
    except VerificationError:
        return False


def wrong_key() -> PawlError:
    """The refusal of a request without a right key. It begins with OpenAI's words: by them LiteLLM
    (to 1.81, which aider pins) tells it from a bad request."""
    return PawlError(
        "Incorrect API key provided, or none",
        "this server asks for one",
        "Send 'Authorization: Bearer ...' with your key",
        code="invalid_api_key",
    )
