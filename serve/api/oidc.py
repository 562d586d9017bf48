"""Signing in with an OpenID Connect provider: the code flow, with PKCE, state and nonce.

Authlib makes the requests and checks the claims, joserfc the signatures. What is asked of the
provider is found at its issuer's address. A person is the provider's ``sub``, whatever the name
becomes there; roles are read at each sign-in.

A sign-in that was begun is kept by its browser alone, encrypted: however many are begun, none is
forgotten for another.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import secrets
import ssl
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pawl.errors import PawlError
from pawl.schemas import Account, AccountRequest, Role
from serve.api.accounts import new_account

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feedback.accounts import Accounts
    from pawl.settings import OidcSettings

TIMEOUT_SECONDS = 10.0
ATTEMPT_SECONDS = 600.0
MOST_RETURNED = 10_000  # states that came back and are not taken again; a code is good once anyhow
_KEPT = {"alg": "dir", "enc": "A256GCM"}  # how a browser keeps an attempt
KEPT_SECONDS = 3600.0  # what the provider says of itself
LEEWAY_SECONDS = 60  # between its clock and ours
# Never "none", and no secret shared with the provider.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
              "EdDSA", "Ed25519")  # fmt: skip
_log = logging.getLogger("pawl.auth")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in that was begun. ``began`` is of the monotonic clock, in seconds."""

    state: str
    nonce: str
    verifier: str  # of PKCE: its browser can't read it either
    redirect_uri: str
    where: str
    began: float


class Provider:
    """The provider of the settings, and who signs in with it. Raises PawlError: Authlib is not
    installed."""

    def __init__(self, settings: OidcSettings, accounts: Accounts) -> None:
        if find_spec("authlib") is None:
            raise PawlError("oidc.issuer is set", "Authlib is not installed",
                            "pip install 'pawl-chat[oidc]'")  # fmt: skip
        self._settings, self._accounts = settings, accounts
        self._key = secrets.token_bytes(32)  # of this process: an attempt outlives no restart
        self._returned: OrderedDict[str, None] = OrderedDict()
        self._metadata: dict[str, Any] = {}
        self._read_at = 0.0
        self.name = settings.label or str(settings.issuer).partition("://")[2].partition("/")[0]

    async def begin(self, redirect_uri: str, where: str) -> tuple[str, str]:
        """Where to send a browser, and what it must keep and come back with.

        Args:
            redirect_uri: where the provider sends it back to; one that is registered there.
            where: the page to go on to.

        Raises:
            PawlError: the provider does not answer as one (``provider_failed``).
        """
        metadata = await self._described()
        from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        url = prepare_grant_uri(
            metadata["authorization_endpoint"], self._settings.client_id, "code", redirect_uri,
            " ".join(self._settings.scopes), state, nonce=nonce, code_challenge_method="S256",
            code_challenge=create_s256_code_challenge(verifier),
        )  # fmt: skip
        attempt = Attempt(state, nonce, verifier, redirect_uri, where, time.monotonic())
        return str(url), self._sealed(attempt)

    async def end(self, query: Mapping[str, str], kept: str) -> tuple[Account, str]:
        """Who came back from the provider, and the page to go on to.

        Args:
            query: of the address that the browser was sent back to.
            kept: by the browser.

        Raises:
            PawlError: it is no sign-in that was begun here (``stale_form``), the provider refused
                or failed (``provider_refused``, ``provider_failed``), or who came has no role here
                (``forbidden``) or a name that can't be taken.
        """
        attempt = self._opened(kept)
        if (
            attempt is None
            or not hmac.compare_digest(attempt.state.encode(), query.get("state", "").encode())
            or time.monotonic() - attempt.began > ATTEMPT_SECONDS
            or attempt.state in self._returned
        ):
            raise PawlError("this sign-in is too old, or was begun in another browser", "",
                            "Try again", code="stale_form")  # fmt: skip
        self._returned[attempt.state] = None
        if len(self._returned) > MOST_RETURNED:
            self._returned.popitem(last=False)
        if "error" in query:
            raise _refused(f"it says {query['error'][:100]!r}")
        if query.get("iss", self._settings.issuer) != self._settings.issuer:  # RFC 9207
            raise _refused("the answer is another provider's")
        with _failing():
            claims = await self._claims(attempt, query.get("code", ""))
        return await asyncio.to_thread(self._account, claims), attempt.where

    def _sealed(self, attempt: Attempt) -> str:
        from joserfc import jwe
        from joserfc.jwk import OctKey

        content = json.dumps(asdict(attempt))
        return str(jwe.encrypt_compact(_KEPT, content, OctKey.import_key(self._key)))

    def _opened(self, kept: str) -> Attempt | None:
        """What a browser kept; None where it was not made here."""
        from joserfc import jwe
        from joserfc.errors import JoseError
        from joserfc.jwk import OctKey

        key, allowed = OctKey.import_key(self._key), list(_KEPT.values())
        try:
            content = jwe.decrypt_compact(kept, key, algorithms=allowed).plaintext
        except (JoseError, ValueError):
            return None
        return Attempt(**json.loads(content or b""))

    # -- the provider

    async def _described(self, anew: bool = False) -> dict[str, Any]:
        """What the provider says of itself, with its keys under ``jwks``."""
        if not anew and self._metadata and time.monotonic() - self._read_at < KEPT_SECONDS:
            return self._metadata
        issuer = str(self._settings.issuer)
        with _failing():
            async with self._client({}, "") as client:
                place = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
                answer = await client.request("GET", place, withhold_token=True)
                found = answer.raise_for_status().json()
                if found["issuer"] != issuer:
                    raise ValueError(f"it calls itself {found['issuer']!r}, not {issuer!r}")
                keys = await client.request("GET", found["jwks_uri"], withhold_token=True)
                found["jwks"] = keys.raise_for_status().json()
        self._metadata, self._read_at = found, time.monotonic()
        return dict(found)

    def _client(self, metadata: dict[str, Any], redirect_uri: str) -> Any:
        from authlib.integrations.httpx_client import AsyncOAuth2Client

        settings = self._settings
        secret = settings.client_secret.get_secret_value() if settings.client_secret else None
        methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        method = "client_secret_basic" if "client_secret_basic" in methods else "client_secret_post"
        return AsyncOAuth2Client(
            settings.client_id, secret, scope=" ".join(settings.scopes), redirect_uri=redirect_uri,
            timeout=TIMEOUT_SECONDS, verify=self._tls,
            token_endpoint_auth_method=method if secret else "none",
        )  # fmt: skip

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Of all clients: each would read the certificates anew, which holds the loop."""
        from httpx2 import create_ssl_context

        return create_ssl_context()

    async def _claims(self, attempt: Attempt, code: str) -> dict[str, Any]:
        """What the provider says of a person, checked."""
        metadata = await self._described()
        async with self._client(metadata, attempt.redirect_uri) as client:
            token = await client.fetch_token(
                metadata["token_endpoint"], code=code, code_verifier=attempt.verifier,
                grant_type="authorization_code",
            )  # fmt: skip
            claims = await self._checked(metadata, token, attempt.nonce)
            needed = {self._settings.name_claim, self._settings.role_claim} - {None}
            if needed - set(claims) and "userinfo_endpoint" in metadata:
                answer = await client.get(metadata["userinfo_endpoint"])
                more = answer.raise_for_status().json()
                if more.get("sub") != claims["sub"]:
                    raise ValueError("userinfo is somebody else's")
                claims = {**more, **claims}
        return claims

    async def _checked(
        self, metadata: dict[str, Any], token: dict[str, Any], nonce: str
    ) -> dict[str, Any]:
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.errors import InvalidKeyIdError
        from joserfc.jwk import KeySet
        from joserfc.jws import JWSRegistry

        settings = self._settings
        registry = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
        try:
            found = jwt.decode(token["id_token"], KeySet.import_key_set(metadata["jwks"]),
                               registry=registry)  # fmt: skip
        except InvalidKeyIdError:  # it has a new key since
            metadata = await self._described(anew=True)
            found = jwt.decode(token["id_token"], KeySet.import_key_set(metadata["jwks"]),
                               registry=registry)  # fmt: skip
        expected = {"iss": settings.issuer, "aud": settings.client_id}
        claims = CodeIDToken(
            found.claims, found.header,
            {name: {"essential": True, "value": value} for name, value in expected.items()},
            {"nonce": nonce, "client_id": settings.client_id,
             "access_token": token.get("access_token")},
        )  # fmt: skip
        claims.validate(leeway=LEEWAY_SECONDS)
        return dict(claims)

    # -- the person

    def _account(self, claims: dict[str, Any]) -> Account:
        """The account of a person; a new one at the first sign-in. Waits for the store."""
        subject, role = f"{self._settings.issuer} {claims['sub']}", self._role(claims)
        account = self._accounts.account_of_subject(subject)
        if role is None or (account is not None and account.removed_at is not None):
            raise PawlError(
                "you have no account here", f"{self.name} knows you, this server does not",
                "Ask an administrator", code="forbidden",
            )  # fmt: skip
        if account is None:
            account, _ = new_account(self._accounts, self._request(claims, role), subject)
            _log.info("%s came from %s", account.name, self.name)
        elif account.role is not role:
            account = self._accounts.change(account.name, lambda now: replace(now, role=role))
        return account

    def _request(self, claims: dict[str, Any], role: Role) -> AccountRequest:
        claim = self._settings.name_claim
        name = claims.get(claim)
        if claim == "email" and claims.get("email_verified") is not True:
            name = None
        try:
            return AccountRequest(name=name, role=role)  # type: ignore[arg-type]
        except ValidationError:
            raise PawlError(
                f"{self.name} gave no name that can be one here",
                f"its {claim!r} must be 1 to 64 letters, digits and ._@+-; an address verified",
                "Ask an administrator (oidc.name_claim)", code="forbidden",
            ) from None  # fmt: skip

    def _role(self, claims: dict[str, Any]) -> Role | None:
        settings = self._settings
        held = claims.get(settings.role_claim or "", [])
        values = {"*", *(str(one) for one in (held if isinstance(held, list) else [held]))}
        of_roles = {Role.ADMINISTRATOR: settings.administrators,
                    Role.REVIEWER: settings.reviewers, Role.USER: settings.users}  # fmt: skip
        return next((role for role, of in of_roles.items() if values & set(of)), None)


@contextmanager
def _failing() -> Iterator[None]:
    """What a provider does wrong, as a PawlError. The log has the reason; it may hold secrets of
    nobody, since tokens are in none of these errors."""
    from authlib.common.errors import AuthlibBaseError
    from httpx2 import HTTPError
    from joserfc.errors import JoseError

    try:
        yield
    except (HTTPError, OSError) as error:
        _log.warning("the sign-in provider failed: %r", error)
        raise PawlError("the sign-in provider does not answer", type(error).__name__, "Try again",
                        code="provider_failed", retryable=True) from error  # fmt: skip
    except (AuthlibBaseError, JoseError, KeyError, TypeError, ValueError) as error:
        _log.warning("the sign-in provider's answer is not taken: %r", error)
        raise _refused("its answer is not one that can be trusted") from error


def _refused(why: str) -> PawlError:
    return PawlError("the sign-in provider did not let you in", why,
                     "Try again, or ask an administrator", code="provider_refused")  # fmt: skip
