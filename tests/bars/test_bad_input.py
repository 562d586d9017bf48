"""Whatever is sent over HTTP: a clear refusal, nothing lost, and the next one is answered.

Over 400 lines: one table of all bodies and routes, which its tests send to one server.

The table sends to a whole ``pawl up`` (auth, gateway, admin routes, pages, store; the fake engine).
Elsewhere: every field's range (``tests/serve/api/test_requests.py``), every field of feedback
(``tests/feedback/test_service.py``), the admin routes (``tests/serve/api/test_admin.py``), a prompt
longer than the context and ``echo`` + ``logprobs`` before the real vLLM
(``tests/serve/test_real_engine.py``). What is typed is in ``test_bad_commands.py``.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from pawl.settings import Settings
from tests.bars.place import CHAT, FEEDBACK, TEXT, Place, chat
from tests.mounts import mounted
from tests.serve.live import Live, live

ID = "THE-ID"  # stands for the id of a recorded answer
HELLO = '"messages": [{"role": "user", "content": "hello"}]'


def text(prompt: Any, **more: Any) -> dict[str, Any]:
    return {"model": "pawl", "prompt": prompt, **more}


def said(**fields: Any) -> dict[str, Any]:
    return {"completion_id": ID, **fields}


def messages(*them: Any) -> dict[str, Any]:
    return {"model": "pawl", "messages": list(them)}


REFUSED: list[tuple[str, str, Any, int, str, tuple[str, ...]]] = [
    # what, where ("POST" unless said), what is sent, status, code, words of the message
    # -- bodies that are no request at all
    ("malformed JSON", CHAT, b'{"model": "pawl", ', 400, "invalid_json",
     ("the body is not JSON", "line 1 column 18", "Mend it")),
    ("nothing", CHAT, b"", 400, "invalid_json", ("not JSON", "EOF")),
    ("a list", CHAT, b"[1]", 400, "invalid_json", ("the body is [1]", "object is expected")),
    ("null", FEEDBACK, b"null", 400, "invalid_json", ("object is expected",)),
    ("a form", CHAT, b"model=pawl&prompt=hi", 400, "invalid_json", ("not JSON",)),
    ("invalid UTF-8", CHAT, b'{"model": "\xff"}', 400, "invalid_json",
     ("not JSON in UTF-8", "column 12")),
    ("UTF-16", CHAT, json.dumps(chat()).encode("utf-16"), 400, "invalid_json", ("UTF-8",)),
    ("NaN", CHAT, f'{{"temperature": NaN, {HELLO}}}', 400, "invalid_json",
     ("column 17",)),
    ("Infinity", FEEDBACK, b'{"choice_index": -Infinity}', 400, "invalid_json", ("column",)),
    ("1e999", CHAT, f'{{"temperature": 1e999, {HELLO}}}', 400, "invalid_json",
     ("not JSON",)),
    ("6,000 digits", CHAT, f'{{"seed": {"9" * 6000}, {HELLO}}}', 400, "invalid_json",
     ("out of range",)),
    ("deep lists", CHAT, b"[" * 100_000, 400, "invalid_json", ("recursion limit",)),
    ("deep objects", FEEDBACK, b'{"a":' * 100_000, 400, "invalid_json", ("recursion limit",)),
    ("deep, to an admin", "/admin/snapshots", b'{"a":' * 100_000, 400, "invalid_json", ()),
    ("10 MB", CHAT, chat("a" * 10_000_000), 413, "request_too_large",
     ("10,000,064 bytes", "at most 4,000,000", "Send less")),
    ("10 MB of comment", FEEDBACK, said(comment="a" * 10_000_000), 413, "request_too_large",
     ("at most 4,000,000",)),
    # -- who shall answer
    ("unknown model", CHAT, chat(model="gpt-4"), 404, "model_not_found",
     ("'gpt-4' does not exist", "there are pawl, base", "Use 'pawl'")),
    ("unknown version", TEXT, text("a", model="pawl@99"), 404, "model_not_found", ("'pawl@99'",)),
    ("a model of 100,000 letters", CHAT, chat(model="x" * 100_000), 404, "model_not_found",
     ("xxx ... xxx", "there are pawl, base")),
    ("a model that is a number", CHAT, chat(model=3), 400, "invalid_value",
     ("model is 3", "valid string")),
    ("no model", CHAT, {"messages": []}, 400, "invalid_value", ("model is missing", "'pawl'")),
    ("a model nobody lists", "GET /v1/models/nope", b"", 404, "model_not_found", ("'nope'",)),
    # -- what to answer
    ("prompt beyond the context", CHAT, chat("too long"), 400, "context_length_exceeded",
     ("maximum context length is 512 tokens.", "513 tokens", "Shorten the prompt")),
    ("empty prompt", TEXT, text(""), 400, "invalid_value", ("prompt is ''", "at least 1")),
    ("empty message", CHAT, chat(""), 400, "invalid_value", ("hold no text", "Write something")),
    ("blank message", CHAT, chat(" \n\t"), 400, "invalid_value", ("hold no text",)),
    ("no messages", CHAT, messages(),
     400, "invalid_value", ("messages is []", '"role"')),
    ("messages that are a text", CHAT, {"model": "pawl", "messages": "hello"}, 400,
     "invalid_value", ("valid list",)),
    ("content that is null", CHAT, chat(None),
     400, "invalid_value", ("messages[0].content is missing",)),
    ("content that is a number", CHAT, chat(3), 400, "invalid_value",
     ("valid string", "valid list")),
    ("content of bare strings", CHAT, chat(["a"]),
     400, "invalid_value", ("messages[0].content[0] is 'a'",)),
    ("a picture", CHAT, chat([{"type": "image_url", "image_url": {"url": "x"}}]), 400,
     "invalid_value", ("'image_url'", "should be 'text'")),
    ("an unknown role", CHAT, messages({"role": "robot", "content": "x"}), 400, "invalid_value",
     ("'robot'", "'system', 'developer', 'user', 'assistant' or 'tool'")),
    ("a role that is a list", CHAT, messages({"role": [], "content": "x"}), 400, "invalid_value",
     ("messages[0].role is []",)),
    ("negative token ids", TEXT, text([1, -2]),
     400, "invalid_value", ("prompt[1] is -2", "greater than or equal to 0")),
    ("texts and token ids", TEXT, text(["a", 2]),
     400, "invalid_value", ("prompt[1] is 2", "valid string")),
    # -- how to answer
    ("n=1000", CHAT, chat(n=1000), 400, "invalid_value", ("n is 1000", "less than or equal to 4")),
    ("10,000 stops", CHAT, chat(stop=["a"] * 10_000),
     400, "invalid_value", ("at most 4 items",)),
    ("an enormous token id", CHAT, chat(logit_bias={"9" * 5000: 1}), 400, "invalid_value",
     ("token ids",)),
    ("echo + logprobs", TEXT, text("a", echo=True, logprobs=1), 400, "unsupported_parameter",
     ("stop the whole engine", "Ask for one of the two")),
    ("an unknown field of feedback", FEEDBACK, said(temprature=1), 400, "unknown_parameter",
     ("'temprature'", "rename it")),
    ("tools", CHAT, chat(tools=[{"type": "function"}]), 400, "unsupported_parameter",
     ("was not taught to call tools", "Leave it out")),
    ("a picture's answer", CHAT, chat(modalities=["image"]), 400, "unsupported_parameter",
     ("only text",)),
    ("a schema that is none", CHAT, chat(response_format={
        "type": "json_schema", "json_schema": {"schema": {"type": "nonsense"}}}),
     400, "invalid_value", ("can't be followed", "Change the schema")),
    # -- half a surrogate pair, wherever it can be
    *[(f"half a pair in {where}", path, body, 400, "invalid_json", ("hex escape", "Mend it"))
      for where, path, body in (
          ("content", CHAT, chat("a\ud800b")), ("a prompt", TEXT, text("\udfff")),
          ("the model", CHAT, chat(model="\ud800")), ("a field", CHAT, chat(**{"\ud800": 1})),
          ("a role", CHAT, messages({"role": "\ud800", "content": "x"})),
          ("a name", CHAT, messages({"role": "user", "name": "\ud800", "content": "x"})),
          ("metadata", CHAT, chat(metadata={"\ud800": "\ud800"})),
          ("the user", CHAT, chat(user="\ud800")),
          ("a schema", CHAT, chat(response_format={
              "type": "json_schema", "json_schema": {"schema": {"\ud800": 1}}})),
          ("a comment", FEEDBACK, said(comment="a\ud800")),
          ("a correction", FEEDBACK, said(correction="\udc00\ud800")),
          ("a category", FEEDBACK, said(categories=["\ud800"])),
          ("a field of feedback", FEEDBACK, said(**{"\ud800": 1})))],
    # -- feedback
    ("unknown completion", FEEDBACK, {"completion_id": "nope", "thumb": "up"}, 404,
     "completion_not_found", ("'nope' is not known", "X-Pawl-Completion-Id")),
    ("an id of zero bytes", FEEDBACK, {"completion_id": "\0", "thumb": "up"}, 404,
     "completion_not_found", ("is not known",)),
    ("a choice that was not made", FEEDBACK, said(thumb="up", choice_index=5), 404,
     "completion_not_found", ("choice 5",)),
    ("an enormous choice", FEEDBACK, said(thumb="up", choice_index=10**30), 400,
     "invalid_value", ("counted from 0",)),
    ("unknown category", FEEDBACK, said(categories=["bad"]), 400, "unknown_category",
     ("'bad' is not known", "incorrect, invented", "Use one of them")),
    ("a thumb that is an object", FEEDBACK, said(thumb={"a": []}), 400, "invalid_value",
     ("thumb is {'a': []}", "'up' or 'down'")),
    *[(f"feedback with {named}", FEEDBACK, said(**{"thumb": "up", **fields}), 400, code, words)
      for named, fields, code, words in (
          ("a thumb beyond both", {"thumb": "sideways"}, "invalid_value", ("'sideways'",)),
          ("a choice that is true", {"choice_index": True}, "invalid_value", ("valid integer",)),
          ("a negative choice", {"choice_index": -1}, "invalid_value", ("-1", "equal to 0")),
          ("categories in a text", {"categories": "tone"}, "invalid_value", ("valid list",)),
          ("a category of 3", {"categories": [3]}, "invalid_value", ("categories[0] is 3",)),
          ("misspelt names", {"thum": "up", "zzz": 1}, "unknown_parameter", ("'thum'", "thumb")),
          ("no id", {"completion_id": None}, "invalid_value", ("completion_id is missing",)),
          ("an empty id", {"completion_id": ""}, "invalid_value", ("completion_id is ''",)),
          ("a long comment", {"comment": "x" * 10_001}, "invalid_value", ("at most 10000",)),
          ("a long correction", {"correction": "x" * 100_001}, "invalid_value", ("100000",)),
          ("a long key", {"idempotency_key": "k" * 201}, "invalid_value", ("at most 200",)),
      )],
    ("nothing said", FEEDBACK, said(), 400, "invalid_feedback", ("the feedback is empty",)),
    ("feedback of what?", f"GET {FEEDBACK}", b"", 400, "invalid_value",
     ("completion_id is missing",)),
    ("feedback of an unknown", f"GET {FEEDBACK}?completion_id=%ff%00", b"", 404,
     "completion_not_found", ("is not known",)),
    # -- methods and addresses
    *[(f"{method} of a chat", f"{method} {CHAT}", b"", 405, "method_not_allowed",
       (f"{method} {CHAT}", "takes POST", "/docs"))
      for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS")],
    ("DELETE of feedback", f"DELETE {FEEDBACK}", b"", 405, "method_not_allowed", ("GET, POST",)),
    ("POST of health", "POST /health", b"", 405, "method_not_allowed", ("GET",)),
    *[(f"unknown route {path}", f"GET {path}", b"", 404, "not_found",
       (f"no GET {path} here", "/docs", "Check the address"))
      for path in ("/v1", "/v1/engines", "/v1//models", "/v1/chat/completions/", "/admin/x")],
    ("an address without its /v1", "/chat/completions", chat(), 404, "not_found",
     ("no POST /chat/completions here",)),
    ("OPTIONS of nowhere", "OPTIONS /v1/engines", b"", 404, "not_found", ("no OPTIONS",)),
    ("an unknown run", "GET /admin/runs/nosuch", b"", 404, "unknown_run", ("'pawl runs'",)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "sent", "status", "code", "words"),
    [case[1:] for case in REFUSED],
    ids=[case[0] for case in REFUSED],
)
def test_refused(
    running: Place, where: str, sent: Any, status: int, code: str, words: tuple[str, ...]
) -> None:
    method, _, path = where.rpartition(" ")
    raw = sent if isinstance(sent, str | bytes) else json.dumps(sent)
    if isinstance(raw, str):
        raw = raw.replace(ID, running.completion_id)
    before = running.n_recorded()
    check_refusal(running.client.request(method or "POST", path, content=raw), status, code, words)
    assert running.n_recorded() == before
    running.check_unharmed()


def check_refusal(answer: httpx.Response, status: int, code: str, words: tuple[str, ...]) -> None:
    """OpenAI's shape, and one readable sentence or two."""
    assert answer.status_code == status, answer.text[:3000]
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "retryable"}
    assert error["code"] == code
    message = error["message"]
    assert len(message) < 5000
    assert message.endswith((".", "!", "?"))
    for sign in ("Traceback", "..\n", ". .", ".. ", "<class", "NoneType", "object at 0x"):
        assert sign not in message.replace(" ... ", " ")
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("headers", "status", "code", "words"),
    [
        ({"X-Pawl-Conversation": "c" * 20_000}, 400, "invalid_value",
         ("X-Pawl-Conversation has 20,000 characters", "at most 200", "shorter")),
        ({"X-Pawl-Rater": "r" * 201}, 400, "invalid_value", ("X-Pawl-Rater has 201",)),
        ({"Host": "[::1"}, 403, "foreign_host", ("not called '[::1'", "localhost")),
        ({"Host": ""}, 403, "foreign_host", ("localhost",)),
        ({"Origin": "http://[::1"}, 403, "foreign_origin", ("may not ask", "api_key")),
    ],
    ids=["long conversation", "long rater", "broken host", "no host", "broken origin"],
)  # fmt: skip
def test_refused_headers(
    running: Place, headers: dict[str, str], status: int, code: str, words: tuple[str, ...]
) -> None:
    before = running.n_recorded()
    answer = running.client.post(CHAT, json=chat(), headers=headers)
    check_refusal(answer, status, code, words)
    assert running.n_recorded() == before
    running.check_unharmed()


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
BODY = json.dumps(chat()).encode()
LENGTH = b"Content-Length: %d\r\n" % len(BODY)


@pytest.mark.parametrize(
    "raw",
    [
        b"hello there\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\n" + BODY,
        HEAD + b"Content-Length: -5\r\n\r\n" + BODY,
        HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + BODY,
        HEAD + b"X-Pawl-Conversation: a\rX-Evil: 1\r\n" + LENGTH + b"\r\n" + BODY,
        HEAD + b"X-Pawl-Rater: a\0b\r\n" + LENGTH + b"\r\n" + BODY,
    ],
    ids=["no HTTP", "TLS", "bad chunk", "negative length", "endless length",
         "header injection", "zero byte in a header"],
)  # fmt: skip
def test_what_is_no_http_is_answered_400_and_the_connection_closed(
    running: Place, raw: bytes
) -> None:
    before = running.n_recorded()
    host, port = running.client.base_url.host, running.client.base_url.port
    with socket.create_connection((host, port), timeout=30) as wire:
        wire.sendall(raw)
        got = b"".join(iter(lambda: wire.recv(65536), b""))
    assert got.startswith(b"HTTP/1.1 400 "), got
    assert got.endswith(b"Invalid HTTP request received.")
    assert running.n_recorded() == before
    running.check_unharmed()


def test_head_answers_without_a_body(running: Place) -> None:
    assert running.client.head("/v1/models").status_code == 200
    assert running.client.head(CHAT).status_code == 405
    assert running.client.head("/v1/nowhere").status_code == 404


def test_feedback_twice_is_kept_once_and_said_to_be_a_repeat(running: Place) -> None:
    body = {"completion_id": running.completion_id, "thumb": "up", "user": "ann",
            "idempotency_key": "ann-1"}  # fmt: skip
    before = running.n_recorded()
    again = running.client.post(FEEDBACK, json=body)
    assert again.status_code == 200
    assert again.json() == {**(running.said or {}), "duplicate": True}
    assert running.n_recorded() == before
    running.check_unharmed()


def test_echo_with_logprobs_from_eight_clients_at_once(running: Place) -> None:
    url = str(running.client.base_url.join(TEXT))
    body = text("hello", echo=True, logprobs=1)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: httpx.post(url, json=body, timeout=60), range(32)))
    for answer in answers:
        check_refusal(answer, 400, "unsupported_parameter", ("stop the whole engine",))
    running.check_unharmed()


# -- odd, but meant


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway that asks for a key, its store in our hands."""
    with live(Settings(state_dir=tmp_path_factory.mktemp("keyed"), api_key="secret")) as one:
        yield one


WITH_KEY = {"Authorization": "Bearer secret"}


@pytest.mark.parametrize(
    "offered",
    [None, "", "secret", "Bearer", "Bearer secre", "Basic c2VjcmV0",
     b"Bearer \xff\xfe", "Bearer " + "x" * 20_000],
)  # fmt: skip
def test_a_wrong_key_is_refused_whatever_it_looks_like(
    keyed: Live, offered: str | bytes | None
) -> None:
    headers = [] if offered is None else [(b"Authorization", offered)]
    n_before = keyed.store.counts()["completions"]
    answer = httpx.post(keyed.url + CHAT, json=chat(), headers=headers)  # type: ignore[arg-type]
    check_refusal(answer, 401, "invalid_api_key", ("Incorrect API key", "Authorization: Bearer"))
    assert keyed.store.counts()["completions"] == n_before
    for right in (WITH_KEY, {"authorization": "bearer secret"}):
        assert httpx.post(keyed.url + CHAT, json=chat(), headers=right).status_code == 200


@pytest.mark.parametrize(
    "content",
    ["a\0b", "\x01\x1b[31m\x7f\u202e", "żółw 🐢 \u2028", "\U0010ffff\ufffe", "'; DROP TABLE x; --"],
)
def test_odd_characters_are_kept_as_they_came(keyed: Live, content: str) -> None:
    answer = httpx.post(keyed.url + CHAT, json=chat(content), headers=WITH_KEY)
    (row,) = keyed.rows(answer.json()["id"])
    assert row.messages == [{"role": "user", "content": content}]
    body = {"completion_id": row.completion_id, "comment": content, "correction": content,
            "user": "żółw 🐢", "idempotency_key": content}  # fmt: skip
    stored = httpx.post(keyed.url + FEEDBACK, json=body, headers=WITH_KEY).json()
    assert (stored["comment"], stored["correction"]) == (content, content)
    assert stored["rater_id"] == "żółw 🐢"
    assert [one.comment for one in keyed.store.current_feedback(row.completion_id)] == [content]


def test_bodies_that_are_unusual_and_right(keyed: Live) -> None:
    def post(raw: Any, **headers: str) -> str:
        answer = httpx.post(keyed.url + CHAT, content=raw, headers={**WITH_KEY, **headers})
        assert answer.status_code == 200, answer.text
        (row,) = keyed.rows(answer.json()["id"])
        return str(row.messages[0]["content"])

    assert post(iter([BODY[:20], BODY[20:]])) == "hello"  # chunked, without a length
    assert post(b"\xef\xbb\xbf" + BODY) == "hello"  # a byte order mark
    assert post(BODY, **{"Content-Type": "text/plain"}) == "hello"
    assert post(json.dumps(chat("\U0001f422")).encode()) == "🐢"  # a whole surrogate pair


def test_a_rater_beyond_ascii_is_the_same_person_in_header_and_body(keyed: Live) -> None:
    raters = set()
    for headers, user in (([(b"X-Pawl-Rater", "żółw".encode())], None), ([], "żółw")):
        answer = httpx.post(
            keyed.url + CHAT, json=chat(user=user),
            headers=[*headers, (b"Authorization", b"Bearer secret")],
        )  # fmt: skip
        raters.add(keyed.rows(answer.json()["id"])[0].rater_id)
    assert raters == {"żółw"}


# -- a disk that is full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    with mounted(tmp_path / "small", "size=16m", "on a full disk") as folder:
        yield folder


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_disk_is_said_and_what_was_recorded_stays(small_disk: Path, tmp_path: Path) -> None:
    state_dir = small_disk / "state"
    with (
        live(Settings(state_dir=state_dir)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        one = Place(state_dir, tmp_path, client)
        one.begin()
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space left"):
            fill(filler)
        long = chat("a" * 100_000)  # does not fit into what is left of the last page
        refused = one.client.post(CHAT, json=long)
        check_refusal(
            refused,
            503,
            "not_recorded",
            ("could not be recorded", "the disk is full", "Free some disk space"),
        )
        streamed = one.client.post(CHAT, json={**long, "stream": True}).text
        assert "[DONE]" not in streamed
        assert "the disk is full" in json.loads(streamed.split("data: ")[-1])["error"]["message"]
        body = {"completion_id": one.completion_id, "correction": "b" * 90_000, "user": "bob"}
        check_refusal(one.client.post(FEEDBACK, json=body), 507, "store_full",
                      ("the disk is full", "make room and send it again"))  # fmt: skip
        listed = one.client.get(FEEDBACK, params={"completion_id": one.completion_id})
        assert listed.json() == [one.said]  # reading goes on
        filler.unlink()
        one.check_unharmed()
        late = one.client.post(FEEDBACK, json=body)
        assert late.status_code == 200, late.text
