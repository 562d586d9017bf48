"""Signing in with an OpenID Connect provider: who gets in as whom, and every lie is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey
from pydantic import SecretStr

from pawl.errors import PawlError
from pawl.schemas import Account, Role
from pawl.settings import OidcSettings, load_settings
from serve.api.app import PawlApp
from tests.serve.oidc_provider import CLIENT, SECRET, Provider, provider
from tests.serve.pages.test_sign_in import Browser, add, built

CHAT = "/?chat=chat-" + "0" * 32


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PawlApp, Provider]]:
    with provider() as there:
        settings = OidcSettings(
            issuer=there.issuer, client_id=CLIENT, client_secret=SecretStr(SECRET), label="Ours",
            role_claim="groups", administrators=("ops",), reviewers=("qa",), users=("staff",),
        )  # fmt: skip
        with built(tmp_path_factory.mktemp("oidc"), oidc=settings) as app:
            yield app, there


def come_back(there: Provider, browser: Browser, path: str = "/sign-in/provider") -> httpx.Response:
    """Follow a browser to the provider and back."""
    asked = browser.get(path)
    assert asked.status_code == 303
    assert asked.headers["Location"].startswith(there.issuer + "/authorize?")
    back = urlsplit(httpx.get(asked.headers["Location"]).headers["Location"])
    assert back.netloc == "localhost:8000"
    return browser.get(f"{back.path}?{back.query}")


def sign_in(
    one: tuple[PawlApp, Provider], claims: dict[str, Any], **lies: Any
) -> tuple[httpx.Response, Browser]:
    app, there = one
    there.claims, there.lies, there.userinfo = claims, lies, {}
    there.signs_with, there.signing_key = "RS256", None
    browser = Browser(app)
    return come_back(there, browser), browser


def account(app: PawlApp, name: str) -> Account:
    found = app.store.access.accounts.account(name)
    assert found is not None
    return found


def test_who_comes_back_is_signed_in_with_the_role_of_the_groups(
    one: tuple[PawlApp, Provider],
) -> None:
    app, there = one
    browser = Browser(app)
    asked = browser.get(CHAT)  # nobody was added, and yet it asks
    assert asked.headers["Location"].startswith("/sign-in?next=")
    form = browser.get(asked.headers["Location"]).text
    assert "Sign in with Ours" in form
    there.claims = {"sub": "7", "preferred_username": "ann", "groups": ["staff", "qa"]}
    path = asked.headers["Location"].replace("/sign-in?", "/sign-in/provider?")
    answer = come_back(there, browser, path)
    assert (answer.status_code, answer.headers["Location"]) == (303, CHAT)
    assert browser.get("/").status_code == 200
    assert account(app, "ann").role is Role.REVIEWER
    assert account(app, "ann").subject == f"{there.issuer} 7"
    for groups, role in ((["ops", "qa"], Role.ADMINISTRATOR), ("staff", Role.USER)):
        sign_in(one, {"sub": "7", "preferred_username": "renamed", "groups": groups})
        assert account(app, "ann").role is role
    assert browser.get("/account").text.count("You sign in elsewhere") == 1
    assert Browser(app).sign_in("ann", "any password at all").status_code == 401


def test_who_may_not_come_in(one: tuple[PawlApp, Provider]) -> None:
    app, _ = one
    add(app, "local")
    removed = {"sub": "8", "preferred_username": "gone", "groups": ["staff"]}
    assert sign_in(one, removed)[0].status_code == 303
    app.store.access.accounts.remove("gone")
    right = {"sub": "9", "preferred_username": "zoe", "groups": ["staff"]}
    refused = {
        "no role": ({**right, "groups": ["guests"]}, 403),
        "no groups": ({"sub": "9", "preferred_username": "zoe"}, 403),
        "removed": (removed, 403),
        "somebody's name": ({**right, "preferred_username": "LOCAL"}, 409),
        "a path": ({**right, "preferred_username": "a/b"}, 403),
        "the server's": ({**right, "preferred_username": "admin.key"}, 400),
        "no name": ({"sub": "9", "groups": ["staff"]}, 403),
    }
    for what, (claims, status) in refused.items():
        answer, browser = sign_in(one, claims)
        assert answer.status_code == status, what
        assert 'role="alert"' in answer.text
        assert browser.get("/").status_code == 303
    assert app.store.access.accounts.account("zoe") is None
    assert sign_in(one, right)[0].status_code == 303


@pytest.mark.parametrize(
    "lies",
    [{"nonce": "another"}, {"nonce": None}, {"aud": "another"}, {"aud": ["pawl", "another"]},
     {"iss": "http://127.0.0.1:1"}, {"exp": int(time.time()) - 300}, {"exp": None}, {"sub": None},
     {"at_hash": "x" * 22}, {"azp": "another"}],
    ids=lambda lies: str(list(lies)),  # without the time, which the workers read apart
)  # fmt: skip
def test_claims_that_are_not_for_us(one: tuple[PawlApp, Provider], lies: dict[str, Any]) -> None:
    right = {"sub": "10", "preferred_username": "liar", "groups": ["staff"]}
    answer, browser = sign_in(one, right, **lies)
    assert answer.status_code == 403
    assert "can be trusted" in answer.text
    assert browser.get("/").status_code == 303
    assert one[0].store.access.accounts.account("liar") is None


def test_signatures(one: tuple[PawlApp, Provider]) -> None:
    app, there = one
    there.claims, there.lies = {"sub": "11", "preferred_username": "sig", "groups": "staff"}, {}
    for algorithm in ("none", "HS256"):
        there.signs_with = algorithm
        assert come_back(there, Browser(app)).status_code == 403
    there.signs_with = "RS256"
    there.signing_key = RSAKey.generate_key(2048, {"kid": "1"})  # as its own, and is not
    assert come_back(there, Browser(app)).status_code == 403
    there.key = there.signing_key = RSAKey.generate_key(2048, {"kid": "2"})  # it changed its key
    assert come_back(there, Browser(app)).status_code == 303
    there.signing_key = None


def test_a_return_is_taken_once_from_the_browser_that_left(one: tuple[PawlApp, Provider]) -> None:
    app, there = one
    there.claims, there.lies = {"sub": "12", "preferred_username": "bob", "groups": "staff"}, {}
    left, other = Browser(app), Browser(app)
    back = urlsplit(
        httpx.get(left.get("/sign-in/provider").headers["Location"]).headers["Location"]
    )
    other.get("/sign-in/provider")
    n_tokens = there.n_tokens
    kept = left.cookies["pawl_state_8000"]
    assert back.query.partition("state=")[2].partition("&")[0] not in kept
    assert other.get(f"{back.path}?{back.query}").status_code == 403  # and takes nobody's away
    assert left.get("/sign-in/return?code=x&state=y").status_code == 403
    assert left.get("/sign-in/return").status_code == 403
    path = f"{back.path}?{back.query}"

    def brings(cookie: str) -> int:
        headers = {"Cookie": f"pawl_state_8000={cookie}"}
        return Browser(app).ask("GET", path, headers=headers).status_code

    for changed in ("", "x", kept[:-1], kept[:-9] + "AAAAAAAAA", kept + ".x"):
        assert brings(changed) == 403
    assert there.n_tokens == n_tokens
    assert left.get(path).status_code == 303
    assert there.n_tokens == n_tokens + 1
    assert "pawl_state_8000" not in left.cookies
    assert brings(kept) == 403  # once, also for who has its cookie
    assert there.n_tokens == n_tokens + 1
    state = (
        left.get("/sign-in/provider").headers["Location"].partition("state=")[2].partition("&")[0]
    )
    denied = left.get(f"/sign-in/return?error=access_denied&state={state}")
    assert denied.status_code == 403
    assert "access_denied" in denied.text


def test_however_many_begin_the_one_who_left_comes_back(one: tuple[PawlApp, Provider]) -> None:
    app, there = one
    there.claims, there.lies = {"sub": "14", "preferred_username": "eve", "groups": "staff"}, {}
    left = Browser(app)
    asked = left.get("/sign-in/provider").headers["Location"]
    back = urlsplit(httpx.get(asked).headers["Location"])
    began = time.process_time()
    for _ in range(1_001):
        assert Browser(app).get("/sign-in/provider").status_code == 303
    assert time.process_time() - began < 20, "3 ms each; one that makes a client takes 70"
    assert left.get(f"{back.path}?{back.query}").status_code == 303


def test_userinfo_fills_in_of_the_same_person_alone(one: tuple[PawlApp, Provider]) -> None:
    app, there = one
    there.claims, there.lies = {"sub": "13"}, {}
    there.userinfo = {"sub": "7", "preferred_username": "ann", "groups": ["ops"]}
    assert come_back(there, Browser(app)).status_code == 403
    there.userinfo = {"sub": "13", "preferred_username": "info", "groups": ["qa"]}
    assert come_back(there, Browser(app)).status_code == 303
    assert account(app, "info").role is Role.REVIEWER


def test_a_provider_that_is_away_is_said(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = OidcSettings(issuer="http://127.0.0.1:1", client_id=CLIENT)
    with built(tmp_path_factory.mktemp("away"), oidc=settings) as app:
        answer = Browser(app).get("/sign-in/provider")
        assert answer.status_code == 502
        assert "does not answer" in answer.text
        assert answer.headers["Retry-After"]


@pytest.mark.parametrize(
    "oidc",
    [{"issuer": "http://id.example", "client_id": "x"}, {"issuer": "https://id.example"},
     {"issuer": "https://id.example", "client_id": "x", "scopes": "profile"}],
)  # fmt: skip
def test_settings_that_can_not_be_trusted(oidc: dict[str, Any]) -> None:
    with pytest.raises(PawlError, match="oidc"):
        load_settings({"oidc": oidc})
