"""Keys: made once, checked fast, revoked at once; whose rows they reach; what is logged."""

from __future__ import annotations

import asyncio
import gzip
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from feedback.store import Store
from pawl.errors import PawlError
from pawl.schemas import Caller, KeyRequest, Role
from pawl.settings import SignInSettings
from serve.api.audit import MOST_REFUSED_A_MINUTE
from serve.api.keys import (
    ADMIN_KEY,
    ANONYMOUS,
    MOST_HASHING,
    RESERVED,
    SERVER_KEY,
    Authenticator,
    new_key,
)
from serve.api.sessions import Sessions
from serve.pages.api import Api
from serve.pages.conversation import Conversation, OpenPage, Turn
from tests.serve.api.callers import CHAT, FEEDBACK, Keyed, ask, keyed
from tests.serve.api.each_other import Tries

HERE = "127.0.0.1"
N_TRIES = 1_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "pawl.duckdb") as opened:
        yield opened


def found_by(
    store: Store, api_key: str | None, admin_key: str | None, local: bool
) -> Authenticator:
    sessions = Sessions(store.access.accounts, SignInSettings())
    return Authenticator(store.access, sessions, api_key, admin_key, local)


def refused(authenticator: Authenticator, token: str | None) -> str:
    with pytest.raises(PawlError) as caught:
        asyncio.run(authenticator.caller(token, HERE))
    return caught.value.code


# -- whose key it is


def test_a_key_is_its_callers_after_a_restart_too(tmp_path: Path) -> None:
    request = KeyRequest(name="bot", role=Role.REVIEWER, may_name_raters=True)
    with Store.open(tmp_path / "pawl.duckdb") as store:
        key, secret = new_key(store.access, request)
    assert secret.startswith(f"pawl_{key.key_id}_")
    assert len(secret.rpartition("_")[2]) == 64
    with Store.open(tmp_path / "pawl.duckdb") as store:
        authenticator = found_by(store, None, None, local=True)
        caller = asyncio.run(authenticator.caller(secret, HERE))
        assert caller == Caller("bot", Role.REVIEWER, may_name_raters=True)


def test_nobody_else_gets_in(store: Store) -> None:
    _, secret = new_key(store.access, KeyRequest(name="bot", role=Role.USER))
    authenticator = found_by(store, "sesame", "pawl_admin_x", local=True)
    id_of_it = secret[: secret.rindex("_") + 1]
    wrong = [None, "", "sesame ", "Sesame", secret[:-1], secret + "0", secret.upper(),
             id_of_it + "0" * 64, "pawl_", "ключ", "pawl_admin_"]  # fmt: skip
    for token in wrong[:6]:
        assert refused(authenticator, token) == "invalid_api_key"
    asyncio.run(authenticator.caller(secret, HERE))  # its secret is remembered now
    authenticator = found_by(store, "sesame", "pawl_admin_x", local=True)
    for token in wrong[6:]:
        assert refused(authenticator, token) == "invalid_api_key"
    assert asyncio.run(authenticator.caller("sesame", HERE)) == SERVER_KEY
    assert asyncio.run(authenticator.caller("pawl_admin_x", HERE)) == ADMIN_KEY


def test_only_the_first_request_of_a_key_pays_for_its_hash(store: Store) -> None:
    _, secret = new_key(store.access, KeyRequest(name="bot", role=Role.USER))
    authenticator = found_by(store, None, None, local=True)
    other = secret[:-1] + ("0" if secret[-1] != "0" else "1")

    async def test() -> tuple[float, float]:
        await authenticator.caller(secret, HERE)
        began = time.process_time()
        for _ in range(1_000):
            await authenticator.caller(secret, HERE)
        right, began = time.process_time() - began, time.process_time()
        for n in range(1_000):
            with pytest.raises(PawlError):  # nor does a wrong one, since the right one is known
                await authenticator.caller(other, f"10.0.{n // 250}.{n % 250}")
        return right, time.process_time() - began

    right, wrong = asyncio.run(test())
    assert right < 0.5, "0.5 ms each; argon2 takes 34"
    assert wrong < 1.5


def test_without_keys_all_who_are_here_are_anonymous_and_elsewhere_nobody_is(store: Store) -> None:
    authenticator = found_by(store, None, "pawl_admin_x", local=True)
    for token in (None, "sk-any", f"pawl_{'0' * 12}_{'0' * 64}"):
        assert asyncio.run(authenticator.caller(token, HERE)) is ANONYMOUS
    assert asyncio.run(authenticator.caller("pawl_admin_x", HERE)) == ADMIN_KEY
    assert refused(found_by(store, None, None, local=False), None) == "invalid_api_key"
    new_key(store.access, KeyRequest(name="bot", role=Role.USER))
    assert refused(authenticator, None) == "invalid_api_key"
    assert refused(authenticator, "sk-any") == "invalid_api_key"
    store.access.revoke_key("bot")
    assert refused(authenticator, "sk-any") == "invalid_api_key"  # what was revoked stays out


def test_a_named_key_in_the_setting_keeps_its_name_and_role(store: Store) -> None:
    _, secret = new_key(store.access, KeyRequest(name="bot", role=Role.USER))
    authenticator = found_by(store, secret, None, local=True)
    assert asyncio.run(authenticator.caller(secret, HERE)) == Caller("bot", Role.USER)
    assert not authenticator.is_open


def test_a_flood_of_wrong_secrets_of_a_key_is_bounded_and_ends(store: Store) -> None:
    _, secret = new_key(store.access, KeyRequest(name="bot", role=Role.USER))
    authenticator = found_by(store, None, None, local=True)

    async def flood() -> list[str]:
        async def guess(n: int) -> str:
            try:
                await authenticator.caller(f"{secret[:-64]}{n:064x}", f"10.1.0.{n}")
            except PawlError as err:
                return err.code
            return "right"

        codes = await asyncio.gather(*(guess(n) for n in range(MOST_HASHING + 10)))
        assert (await authenticator.caller(secret, HERE)).name == "bot"
        return codes

    codes = asyncio.run(flood())
    assert codes.count("too_many_failures") == 10
    assert codes.count("invalid_api_key") == MOST_HASHING


def test_names(store: Store) -> None:
    for name in RESERVED:
        with pytest.raises(PawlError, match="without a named key"):
            new_key(store.access, KeyRequest(name=name, role=Role.USER))
    for name in ("", "a/b", ".a", "a b", "x" * 65, "a\n", "ä"):
        with pytest.raises(ValueError, match="name"):
            KeyRequest(name=name, role=Role.USER)
    new_key(store.access, KeyRequest(name="ann@example.com", role=Role.USER))


# -- over HTTP


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    with keyed(tmp_path_factory.mktemp("keyed") / "state") as one:
        one.add("first")
        one.add("second")
        yield one


def test_a_revoked_key_is_refused_at_once_and_its_name_can_be_given_anew(server: Keyed) -> None:
    bot = server.add("rotated")
    completion_id = ask(bot)
    with server.client(server.admin_key) as operator:
        listed = operator.get("/admin/keys").json()
        assert {"name": "rotated", "revoked_at": None}.items() <= listed[-1].items()
        assert "secret_hash" not in listed[-1]
        assert operator.post("/admin/keys", json={"name": "rotated", "role": "user"}).json()[
            "error"]["code"] == "key_exists"  # fmt: skip
        revoked = operator.post("/admin/keys/rotated/revoke", json={})
        assert revoked.json()["revoked_at"]
        assert bot.get("/v1/models").status_code == 401
        assert operator.post("/admin/keys/rotated/revoke", json={}).status_code == 404
    again = server.add("rotated")
    body = {"completion_id": completion_id, "thumb": "down"}
    assert again.post(FEEDBACK, json=body).status_code == 200
    assert bot.get("/v1/models").status_code == 401


def test_the_rater_is_the_caller(server: Keyed) -> None:
    plain, front = server.add("plain"), server.add("front", may_name_raters=True)
    store = server.server.store

    def rater(client: httpx.Client, user: str | None = None, **headers: str) -> str:
        body = {"model": "pawl", "messages": [{"role": "user", "content": "hello"}], "user": user}
        answer = client.post(CHAT, json=body, headers=headers).raise_for_status().json()
        row = store.get_completion(answer["id"])
        assert row is not None
        said = {"completion_id": answer["id"], "thumb": "up", "user": user}
        stored = client.post(FEEDBACK, json=said, headers=headers).raise_for_status().json()
        assert stored["rater_id"] == row.rater_id
        return row.rater_id

    assert rater(plain) == "plain"
    assert rater(plain, "ann", **{"X-Pawl-Rater": "front"}) == "plain"
    assert rater(front) == "front"
    assert rater(front, "ann") == "front/ann"
    assert rater(front, "ann", **{"X-Pawl-Rater": "zoe/x"}) == "front/zoe/x"
    with server.client(server.admin_key) as operator:
        assert rater(operator, "ann") == "ann"


def test_anthropics_header_is_taken_and_a_browsers_password_is_not(server: Keyed) -> None:
    url, secret = server.server.url + "/v1/models", server.secrets["first"]
    assert httpx.get(url, headers={"X-Api-Key": secret}).status_code == 200
    assert httpx.get(url, auth=("any", secret)).status_code == 401
    assert httpx.get(url, cookies={"key": secret}).status_code == 401


@pytest.mark.slow
def test_two_callers_reach_nothing_of_each_other(server: Keyed) -> None:
    """1,000 random tries, each known id, header and body that could name the other's rows, of
    accounts and keys. (``benchmarks/roles.py`` tries two of a kind.)"""
    clients = {"mallory": server.add("mallory", may_name_raters=True), "bob": server.add("bob"),
               "ann": server.sign_in("ann"), "zoe": server.sign_in("zoe")}  # fmt: skip
    assert Tries(server, clients, names_raters="mallory").run(N_TRIES).holes == []


def test_a_reviewer_reads_what_was_asked_and_said_under_every_key(server: Keyed) -> None:
    asker, reviewer = server.add("asker"), server.add("reader", Role.REVIEWER)
    completion_id = ask(asker, "of asker", **{"X-Pawl-Conversation": "asked"})
    own = {"completion_id": completion_id, "thumb": "down", "comment": "by asker"}
    asker.post(FEEDBACK, json=own).raise_for_status()
    reviewer.post(FEEDBACK, json={**own, "comment": "by reader"}).raise_for_status()
    params = {"completion_id": completion_id}
    assert [row["comment"] for row in reviewer.get(FEEDBACK, params=params).json()] == [
        "by asker", "by reader",
    ]  # fmt: skip
    assert [row["comment"] for row in asker.get(FEEDBACK, params=params).json()] == ["by asker"]
    talk = reviewer.get("/v1/conversations/asked").json()
    assert talk["messages"][0]["content"] == "of asker"
    assert talk["messages"][1]["feedback"]["comment"] == "by asker"


def test_the_page_shows_the_feedback_of_a_key_that_names_no_raters(server: Keyed) -> None:
    server.add("person")
    api = Api(server.server.url, server.secrets["person"], "page-" + "0" * 32)
    turn = Turn("hello", "hi", ask(server.client(server.secrets["person"])), "base", "complete")
    page = OpenPage(Conversation("chat-1", [turn]), opened=True)
    asyncio.run(page.rate(api, turn, {"thumb": "down", "comment": "no"}))
    assert turn.feedback is not None
    assert turn.feedback["comment"] == "no"
    asyncio.run(page.rate(api, turn, {"retract": True}))
    assert turn.feedback is None


# -- wrong keys


def test_wrong_keys_are_logged_and_few_and_right_ones_wait_for_nothing(
    server: Keyed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    guess = "pawl_" + "f" * 12 + "_" + "e" * 64
    away = {"X-Forwarded-For": "198.51.100.7"}  # as a proxy on this machine says
    right = server.client(server.secrets["first"], **away)
    assert right.get("/v1/models").status_code == 200

    with server.client(guess, **away) as client:
        answers = [client.get("/admin/status") for _ in range(11)]
        assert {answer.status_code for answer in answers} == {401}
        unseen = server.client(server.secrets["second"], **away)  # right, and new from there
        assert unseen.get("/v1/models").status_code == 200
        answers = [client.get("/admin/status") for _ in range(12)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 4
    assert all(1 <= int(answer.headers["Retry-After"]) <= 8 for answer in refused)
    assert right.get("/v1/models").status_code == 200
    lines = [one.getMessage() for one in caplog.records if one.name == "pawl.auth"]
    assert 4 <= len(lines) <= 6
    # Where this process wrote to a log before, the line says how many earlier ones were left out.
    assert any(line.startswith("wrong key from 198.51.100.7, 1 so far") for line in lines)
    assert guess not in caplog.text
    with server.client(server.admin_key) as operator:
        entries = operator.get("/admin/audit").json()
    tried = [one for one in entries if one["address"] == "198.51.100.7"]
    assert {(one["caller"], one["action"]) for one in tried} == {("unknown", "refused")}
    assert 4 <= len(tried) <= 6


# -- the audit log


def test_what_administrators_do_is_on_record_with_its_outcome(server: Keyed) -> None:
    admin = server.add("admin", Role.ADMINISTRATOR)
    user = server.add("tries")
    admin.post("/admin/snapshots", json={}, headers={"X-Request-Id": "r-1"}).raise_for_status()
    assert admin.post("/admin/rollback", json={"to": "pawl@\u202e9"}).status_code == 404
    assert admin.post("/admin/promotions", content=b"{").status_code == 400
    assert user.post("/admin/rollback", json={}).status_code == 403
    admin.post("/admin/keys/tries/revoke", json={}).raise_for_status()
    found = admin.get("/admin/audit", params={"limit": 5}).json()
    assert [(one["caller"], one["action"]) for one in found] == [
        ("admin", "snapshot"), ("admin", "roll back"), ("admin", "promote"), ("tries", "refused"),
        ("admin", "revoke key"),
    ]  # fmt: skip
    snapshot, rollback, promote, tried, revoked = found
    assert snapshot["outcome"].startswith("200 ")
    assert snapshot["request_id"] == "r-1"
    assert rollback["outcome"] == "404 unknown_version"
    assert rollback["target"] == '{"to": "pawl@\\u202e9"}'
    assert (promote["outcome"], promote["target"]) == ("400 invalid_json", '{"body": "{"}')
    assert tried["outcome"] == "403 forbidden"
    assert "POST /admin/rollback" in tried["target"]
    assert revoked["target"] == '{"name": "tries"}'
    assert all(one["address"] == HERE for one in found)


def test_the_log_is_read_in_pages_and_by_what_an_entry_holds(server: Keyed) -> None:
    admin = server.add("pages-audit", Role.ADMINISTRATOR)
    for n in range(5):
        admin.post("/admin/rollback", json={"to": f"pawl@7{n}"})

    def targets(**query: object) -> list[str]:
        found = admin.get("/admin/audit", params={"search": "PAWL@7", **query}).json()
        return [one["target"][-3] for one in found]

    assert targets() == ["0", "1", "2", "3", "4"]
    assert targets(limit=2) == ["3", "4"]
    assert targets(limit=2, offset=2) == ["1", "2"]
    assert targets(limit=2, offset=4) == ["0"]
    assert targets(search="no such thing, %") == []
    assert targets(search="unknown_version", limit=1) == ["4"]  # how it ended


@pytest.mark.parametrize("is_packed", [False, True])
def test_what_is_done_is_on_record_however_it_is_sent(server: Keyed, is_packed: bool) -> None:
    admin = server.add(f"packs-{is_packed}", Role.ADMINISTRATOR)
    body = b"{" + b" " * 100_000 + b'"to": "pawl@9"}'
    headers = {"Content-Encoding": "gzip"} if is_packed else {}
    admin.post("/admin/rollback", content=gzip.compress(body) if is_packed else body,
               headers=headers)  # fmt: skip
    [entry] = admin.get("/admin/audit", params={"limit": 1}).json()
    assert entry["target"] == '{"to": "pawl@9"}'


def test_refusals_from_any_number_of_addresses_fill_no_disk(server: Keyed) -> None:
    admin = server.add("reads-audit", Role.ADMINISTRATOR)
    nobody = server.client(None)
    for n in range(MOST_REFUSED_A_MINUTE + 20):
        address = {"X-Forwarded-For": f"10.0.0.{n}"}
        assert nobody.get("/admin/keys", headers=address).status_code == 401
    found = admin.get("/admin/audit", params={"limit": 1000}).json()
    assert 1 <= sum(one["action"] == "refused" for one in found) <= MOST_REFUSED_A_MINUTE


def test_no_secret_is_kept_anywhere(server: Keyed) -> None:
    server.server.store._database.checkpoint()
    kept = [path.read_bytes() for path in server.state_dir.rglob("*")
            if path.is_file() and path.name != "admin.key"]  # fmt: skip
    assert len(kept) > 2
    for secret in [*server.secrets.values(), server.admin_key]:
        assert not any(secret.rpartition("_")[2].encode() in raw for raw in kept)
