"""Signing in with an OpenID Connect provider: the code flow, with PKCE, state and nonce.

Authlib makes the requests and checks the claims, joserfc the signatures. What is asked of the
provider is found at its issuer's address. A person is the provider's ``sub``, whatever the name
becomes there; roles are read at each sign-in.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
MOST_ATTEMPTS = 1000  # begun and not ended
ATTEMPT_SECONDS = 600.0
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
    verifier: str
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
        self._attempts: OrderedDict[str, Attempt] = OrderedDict()
        self._metadata: dict[str, Any] = {}
        self._read_at = 0.0
        self.name = settings.label or str(settings.issuer).partition("://")[2].partition("/")[0]

    async def begin(self, redirect_uri: str, where: str) -> tuple[str, str]:
        """Where to send a browser, and the state that it must come back with.

        Args:
            redirect_uri: where the provider sends it back to; one that is registered there.
            where: the page to go on to.

        Raises:
            PawlError: the provider does not answer as one (``provider_failed``).
        """
        metadata = await self._described()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        attempt = Attempt(state, nonce, verifier, redirect_uri, where, time.monotonic())
        self._attempts[attempt.state] = attempt
        if len(self._attempts) > MOST_ATTEMPTS:
            self._attempts.popitem(last=False)
        async with self._client(metadata, redirect_uri) as client:
            url, _ = client.create_authorization_url(
                metadata["authorization_endpoint"], state=attempt.state,
                code_verifier=attempt.verifier, nonce=attempt.nonce,
            )  # fmt: skip
        return str(url), attempt.state

    async def end(self, query: Mapping[str, str], state: str | None) -> tuple[Account, str]:
        """Who came back from the provider, and the page to go on to.

        Args:
            query: of the address that the browser was sent back to.
            state: what the browser itself kept.

        Raises:
            PawlError: it is no sign-in that was begun here (``stale_form``), the provider refused
                or failed (``provider_refused``, ``provider_failed``), or who came has no role here
                (``forbidden``) or a name that can't be taken.
        """
        attempt = self._attempts.pop(query.get("state", ""), None)
        if (
            attempt is None
            or attempt.state != state
            or time.monotonic() - attempt.began > ATTEMPT_SECONDS
        ):
            raise PawlError("this sign-in is too old, or was begun in another browser", "",
                            "Try again", code="stale_form")  # fmt: skip
        if "error" in query:
            raise _refused(f"it says {query['error'][:100]!r}")
        if query.get("iss", self._settings.issuer) != self._settings.issuer:  # RFC 9207
            raise _refused("the answer is another provider's")
        with _failing():
            claims = await self._claims(attempt, query.get("code", ""))
        return await asyncio.to_thread(self._account, claims), attempt.where

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
            code_challenge_method="S256", timeout=TIMEOUT_SECONDS,
            token_endpoint_auth_method=method if secret else "none",
        )  # fmt: skip

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
