"""Which pages of other servers may ask, with real preflights, and under which names of this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pawl.errors import PawlError
from pawl.settings import ApiSettings, load_settings
from serve.api.auth import EXPOSED
from tests.serve.api.test_auth import JOIN, ask, page

APP = "https://app.example"
ALLOW = "access-control-allow-origin"
KEY = {"Authorization": "Bearer sesame"}
CHAT = "/v1/chat/completions"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
}


def test_named_origins_and_names_alone_with_a_key(tmp_path: Path) -> None:
    api = ApiSettings(allowed_origins=(APP,), allowed_hosts=("chat.example",))
    with page(tmp_path, api_key="sesame", api=api) as app:
        answer = ask(app, "OPTIONS", CHAT, Origin=APP, **PREFLIGHT)
        assert (answer.status_code, answer.headers[ALLOW]) == (200, APP)
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "x-stainless-lang" in answer.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in answer.headers
        for origin in ("https://evil.example", "http://app.example", APP + ":444", "null"):
            answer = ask(app, "OPTIONS", CHAT, Origin=origin, **PREFLIGHT)
            assert answer.status_code == 400
            assert ALLOW not in answer.headers
        answer = ask(app, "GET", "/v1/models", Origin=APP, **KEY)
        assert (answer.status_code, answer.headers[ALLOW]) == (200, APP)
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert set(exposed) == set(EXPOSED)
        assert "Origin" in answer.headers["vary"]
        wrong = ask(app, "GET", "/v1/models", Origin=APP)  # the page may read why
        assert (wrong.status_code, wrong.headers[ALLOW]) == (401, APP)
        answer = ask(app, "GET", "/v1/models", Origin="https://evil.example", **KEY)
        assert ALLOW not in answer.headers
        for path in ("/sign-in", "/v1/models"):
            for host in ("chat.example", "CHAT.example:8000", "localhost", "127.0.0.1:1"):
                assert ask(app, "GET", path, Host=host, **KEY).status_code == 200, host
            for host in ("evil.example", "chat.example.evil.example", "10.0.0.1", ""):
                assert ask(app, "GET", path, Host=host, **KEY).status_code == 403, host


def test_the_address_it_listens_on_may_be_asked_for(tmp_path: Path) -> None:
    """Commands on this machine find it in ``server.json``."""
    api = ApiSettings(allowed_hosts=("chat.example",))
    for listens_on, asked_as in (("10.0.0.5", "10.0.0.5:8000"), ("FD00::1", "[fd00::1]:8000")):
        with page(tmp_path, host=listens_on, api_key="sesame", api=api) as app:
            for host, status in ((asked_as, 200), ("10.0.0.6:8000", 403), ("chat.example", 200)):
                assert ask(app, "GET", "/v1/models", Host=host, **KEY).status_code == status, host
            refused = ask(app, "GET", "/v1/models", Host="evil.example", **KEY)
            assert asked_as.rpartition(":")[0] not in refused.text  # it is nobody else's business


def test_without_the_setting_no_other_page_may_ask(tmp_path: Path) -> None:
    with page(tmp_path, api_key="sesame") as app:
        for method, more in (("OPTIONS", PREFLIGHT), ("GET", KEY)):
            assert ALLOW not in ask(app, method, "/v1/models", Origin=APP, **more).headers


def test_where_no_key_is_asked_for(tmp_path: Path) -> None:
    api = ApiSettings(allowed_origins=(APP, "*"), allowed_hosts=("host.docker.internal",))
    with page(tmp_path, api=api) as app:
        assert ask(app, "GET", "/v1/models", Origin=APP).status_code == 200
        refused = ask(app, "GET", "/v1/models", Origin="https://evil.example")  # "*" is for keys
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "foreign_origin")
        assert ask(app, "GET", "/v1/models", Host="host.docker.internal:8000").status_code == 200
        assert ask(app, "GET", "/v1/models", Host="evil.example").status_code == 403
        # The chat page is for no other origin.
        assert ALLOW not in ask(app, "GET", "/", Origin=APP).headers
        assert ask(app, "POST", JOIN, Origin=APP).status_code == 403


def test_lists_in_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAWL_API__ALLOWED_ORIGINS", f"{APP},http://localhost:3000")
    monkeypatch.setenv("PAWL_API__ALLOWED_HOSTS", '["a.example"]')
    api = load_settings({"state_dir": tmp_path}).api
    assert api.allowed_origins == (APP, "http://localhost:3000")
    assert api.allowed_hosts == ("a.example",)
    for key, wrong in (
        ("allowed_origins", APP + "/"), ("allowed_origins", "app.example"),
        ("allowed_origins", "https://App.example"), ("allowed_hosts", "a.example:80"),
        ("allowed_hosts", "https://a.example"), ("allowed_hosts", '["a"'),
    ):  # fmt: skip
        with pytest.raises(PawlError, match=key):
            load_settings({"state_dir": tmp_path, "api": {key: wrong}})
