"""Odd HTTP requests to every route of a server, made from right ones by random changes."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HELLO = [{"role": "user", "content": "hello"}]
CHAT_BODY = {"model": "pawl", "messages": HELLO, "max_tokens": 8}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
# Right bodies, by route; COMPLETION stands for the id of an answer. Other routes get {}.
COMPLETION = "THE-COMPLETION"
BODIES: dict[str, list[Any]] = {
    "POST /v1/chat/completions": [
        CHAT_BODY, {**CHAT_BODY, "stream": True, "stream_options": {"include_usage": True}},
        {**CHAT_BODY, "n": 2, "temperature": 0.7, "top_p": 0.9, "stop": ["x", "y"], "seed": 1,
         "logit_bias": {"5": 1.5}, "logprobs": True, "top_logprobs": 2, "user": "ann"},
        {**CHAT_BODY, "response_format": {"type": "json_schema",
                                          "json_schema": {"name": "a", "schema": SCHEMA}}},
        {**CHAT_BODY, "messages": [{"role": "system", "content": [{"type": "text", "text": "a"}]},
                                   *HELLO], "tools": [], "top_k": 5, "min_p": 0.1},
        {**CHAT_BODY, "tool_choice": "auto",
         "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]},
    ],
    "POST /v1/completions": [
        {"model": "base", "prompt": "hello", "max_tokens": 4},
        {"model": "pawl", "prompt": ["a", "b"], "stream": True, "echo": True},
        {"model": "pawl", "prompt": [1, 2, 3], "logprobs": 1, "max_tokens": 2},
    ],
    "POST /v1/responses": [
        {"model": "pawl", "input": "hello"},
        {"model": "pawl", "input": HELLO, "stream": True, "store": False, "max_output_tokens": 16},
        {"model": "pawl", "instructions": "a", "tools": [], "include": [], "metadata": {"a": "b"},
         "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}},
         "input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]},
                   {"type": "reasoning", "summary": []}]},
        {"model": "pawl", "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}],
         "tool_choice": {"type": "function", "name": "f"},
         "input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                   {"type": "function_call_output", "call_id": "c", "output": "a"}]},
    ],
    "POST /v1/messages": [
        {"model": "pawl", "messages": HELLO, "max_tokens": 8},
        {"model": "pawl", "messages": HELLO, "max_tokens": 8, "stream": True, "system": "a"},
        {"model": "pawl", "max_tokens": 8,
         "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
         "stop_sequences": ["x"], "metadata": {"user_id": "ann"}, "top_k": 5,
         "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"model": "pawl", "max_tokens": 8, "tools": [{"name": "f", "input_schema": SCHEMA}],
         "tool_choice": {"type": "tool", "name": "f"}, "thinking": {"type": "disabled"},
         "messages": [*HELLO, {"role": "assistant", "content": [
             {"type": "tool_use", "id": "c", "name": "f", "input": {"a": None}}]},
             {"role": "user", "content": [
                 {"type": "tool_result", "tool_use_id": "c", "content": "a"}]}]},
    ],
    "POST /v1/messages/count_tokens": [
        {"model": "pawl", "messages": HELLO, "system": [{"type": "text", "text": "a"}]},
    ],
    "POST /v1/feedback": [
        {"completion_id": COMPLETION, "thumb": "down", "categories": ["incorrect"],
         "correction": "a", "comment": "b", "user": "ann", "idempotency_key": "k"},
        {"completion_id": COMPLETION, "preferred_over": COMPLETION,
         "preferred_over_choice_index": 1},
        {"completion_id": COMPLETION, "retract": True},
    ],
    "POST /v1/feedback/batch": [
        {"feedback": [{"completion_id": COMPLETION, "thumb": "up"},
                      {"completion_id": "nope", "thumb": "up"}]},
    ],
    "POST /admin/promotions": [{"run_dir": "r"}, {"adapter_dir": "/nowhere", "force": True}],
    "POST /admin/rollback": [{}, {"to": "pawl@1"}, {"to": ""}],
    "POST /admin/runs": [{"run_id": "r", "status": "training", "detail": {"a": [1]}}],
    "POST /admin/runs/{run_id}/scores": [{"role": "anchor", "dir": "/nowhere"}],
    "POST /admin/runs/{run_id}/verdict": [{"outcome": "reject", "reasons": []}],
    "POST /admin/import": [{"path": "a/b.jsonl", "format": "auto"}],
    "POST /admin/export": [{"path": "a.jsonl", "format": "sft"}],
    "POST /admin/generate": [{"prompts": [HELLO], "max_tokens": 3}],
    "POST /admin/keys": [{"name": "a/b", "role": "user"}],
    "POST /gradio_api/queue/join": [
        {"data": [None, "hello"], "fn_index": 0, "trigger_id": 1, "session_hash": "abc"},
        {"data": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}], "fn_index": 3},
    ],
}  # fmt: skip
# Beside those of /openapi.json.
MORE_ROUTES = (
    "GET /docs", "GET /openapi.json", "GET /", "GET /config", "GET /theme.css",
    "GET /gradio_api/queue/data", "GET /gradio_api/heartbeat/abc",
    "GET /gradio_api/file=/etc/passwd", "POST /gradio_api/queue/join", "POST /gradio_api/upload",
    "POST /gradio_api/cancel", "POST /v1/embeddings", "GET /admin/nowhere",
)  # fmt: skip
DEEP = "[" * 5_000 + "]" * 5_000
# JSON texts that take the place of a value.
ODD_VALUES = (
    "null", "true", "0", "-1", "1", "1.5", "1e308", "1e999", "-1e999", "NaN", "Infinity", "9" * 400,
    str(2**31), str(2**63), str(-(2**63) - 1), "0.1e-400", '""', '" "', r'"\u0000"', r'"\ud800"',
    r'"\udc00\ud800"', r'"a\ud83d"', '"\u202e\u2066abc"', '"\ufeff"', '"\u0130\u1e9e\ufb01"',
    '"e\u0301\u0300\u0302"', '"\U0001f469\u200d\U0001f467"', '"' + "x" * 10_000 + '"',
    '"' + "\U0001f600" * 3_000 + '"', '"../../etc/passwd"', '"/dev/zero"', '"/proc/self/mem"',
    '"{{7*7}}"', '"<script>"', '"%s%n"', r'"\u001b[31m"', '"pawl@999999999999999999999"',
    "[]", "{}", "[[]]", "[{}]", '[""]', "[null]", '{"": null}', '{"$ref": "#"}', '{"__proto__": 1}',
    "[" + "0," * 3_000 + "0]", '{"type": "object"}', "[" * 60 + "]" * 60, DEEP,
    '{"a":' * 300 + "1" + "}" * 300,
)  # fmt: skip
ODD_TYPES = (
    "text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
    "multipart/form-data; boundary=x", "application/json; charset=utf-16", "application/xml",
    "application/json; charset=nope", "", "a", "image/png", "application/msgpack", "\xff/\xfe",
    "application/json" * 500,
)  # fmt: skip
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "CONNECT", "QUERY",
           "BREW", "get", "PROPFIND", "X" * 60)  # fmt: skip
ODD_TEXTS = (
    b"", b" ", b"a" * 300, b"a" * 5_000, b"\xff\xfe", b"\xc3\x28", "ünïcode".encode(), b"a,b;c=d",
    b"../..", b"0", b"-1", b"9" * 30, b"\xf0\x9f\x98\x80", b"%00", b"%0d%0aSet-Cookie: a=b", b"\t",
    b'"', b"{}", b"null", "\u202e\u2066".encode(), b"ann/bob", b"/", b"*",
)  # fmt: skip
HEADERS = (
    b"X-Pawl-Rater", b"X-Pawl-Conversation", b"X-Pawl-Source", b"X-Request-Id", b"X-Forwarded-For",
    b"X-Forwarded-Proto", b"X-Forwarded-Host", b"Forwarded", b"Accept", b"Accept-Encoding",
    b"Cookie", b"Range", b"If-None-Match", b"Origin", b"Referer", b"Content-Language",
    b"Authorization", b"X-Api-Key", b"Idempotency-Key", b"OpenAI-Organization",
    b"traceparent", b"anthropic-version",
    b"Upgrade", b"Expect", b"TE", b"Access-Control-Request-Method", b"X-HTTP-Method-Override",
)  # fmt: skip
# Whole headers, that change how a request is read.
FRAMING = (
    b"Content-Length: -1", b"Content-Length: 5, 6", b"Content-Length: 99999999999999999999",
    b"Content-Length: x", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: chunked, identity", b"Connection: Upgrade\r\nUpgrade: websocket",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c", b"Expect: 100-continue",
    b"no colon here", b": no name", b"Bad Name: a", b"Folded: a\r\n b", b"Nul: \x00",
    b"Long: " + b"a" * 70_000, b"\r\n".join(b"H%d: v" % n for n in range(300)),
    b"Host: a\r\nHost: b", b"Host: evil.example", b"Host: [::1", b"Host: ", b"Host: \xff",
)  # fmt: skip
PATH_ODDITIES = (
    "/", "//", "/..", "/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/%00", "/%ff", "%", "%zz",
    "?", "?limit=-1", "?limit=x", "?limit=99999999999999999999", "?completion_id=%ff%00",
    "?" + "a=b&" * 500, "#", ";a=b", "/\u00e9", "/" + "a" * 8_000, "/%E2%80%AE", "/.",
    "\\..\\", "/*",
)  # fmt: skip


@dataclass(slots=True)
class Sent:
    """One request.

    ``route``: where it goes, while method and path are as they should be, else empty.
    ``is_framed``: whether its bytes are one whole HTTP request, so that an answer follows.
    """

    raw: bytes
    route: str
    caller: str
    is_framed: bool
    is_head: bool
    changes: list[str] = field(default_factory=list)


def bombs() -> list[bytes]:
    """Packed bodies: of 64 MB and 1 GB of zeros, of JSON within, cut off, and gzip in gzip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    gigabyte = b"".join(packer.compress(bytes(2**20)) for _ in range(1024)) + packer.flush()
    zeros = gzip.compress(bytes(64_000_000))
    deep = gzip.compress(b'{"a":' * 700_000)
    return [zeros, zeros[:-9], gigabyte, deep, gzip.compress(gzip.compress(b"{}"))]


class Requests:
    """Makes requests, the same ones for the same seed.

    Args:
        routes: method and path, with names in braces.
        keys: of each kind of caller; None sends none.
        completion_ids: of recorded answers.
        kept: a request that would need a refused change is made without it.
    """

    def __init__(
        self, seed: int, routes: Sequence[str], keys: Mapping[str, str | None],
        completion_ids: Sequence[str],
    ) -> None:  # fmt: skip
        self._random = random.Random(seed)
        self._routes = routes
        self._keys = keys
        self._completion_ids = completion_ids
        self._bombs = bombs()

    def make(self) -> Sent:
        """The next one. One in ten is as it should be."""
        rng = self._random
        route = rng.choice(self._routes)
        method, _, path = route.partition(" ")
        caller = rng.choice(list(self._keys))
        request = _Draft(
            method, self._path(path), route, self._body(route) if method == "POST" else b""
        )
        key = self._keys[caller]
        if key is not None:
            request.headers.append((b"Authorization", b"Bearer " + key.encode()))
        # Through a proxy, from many addresses: one that is often wrong would be slowed.
        address = ".".join(str(rng.randrange(1, 255)) for _ in range(4))
        request.headers.append((b"X-Forwarded-For", address.encode()))
        if rng.random() > 0.1:
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                self._change(request)
        return request.sent(caller)

    def _path(self, path: str) -> str:
        names = {"{name}": ("base", "pawl", "nobody"), "{run_id}": ("r", "nope"),
                 "{conversation_id}": ("c", "a/b"), "{conversation_id:path}": ("c",)}  # fmt: skip
        for name, values in names.items():
            path = path.replace(name, self._random.choice(values))
        if path == "/v1/feedback":
            return f"{path}?completion_id={self._random.choice(self._completion_ids)}"
        return path

    def _body(self, route: str) -> bytes:
        body = json.dumps(self._random.choice(BODIES.get(route, [{}])))
        while COMPLETION in body:
            body = body.replace(COMPLETION, self._random.choice(self._completion_ids), 1)
        if route == "POST /admin/keys" and self._random.random() < 0.02:  # else they pile up
            body = json.dumps({"name": f"k{self._random.randrange(10**9)}", "role": "user"})
        return body.encode()

    def _change(self, request: _Draft) -> None:
        changes: list[tuple[int, Callable[[_Draft], None]]] = [
            (12, self._value), (4, self._key), (3, self._bytes), (3, self._content_type),
            (2, self._packing), (3, self._header), (2, self._framing), (2, self._method),
            (3, self._target), (1, self._cut), (1, self._version),
        ]  # fmt: skip
        if not request.body:
            changes = [one for one in changes if one[1] not in (self._value, self._key, self._cut)]
        weights, functions = zip(*changes, strict=True)
        [change] = self._random.choices(functions, weights)
        request.changes.append(change.__name__.strip("_"))
        change(request)

    def _value(self, request: _Draft) -> None:
        """Another value somewhere in the body."""
        try:
            body = json.loads(request.body)
        except (ValueError, RecursionError):
            return
        places = list(_places(body))
        mark = "@ODD@"
        if not places:
            return
        parent, step = self._random.choice(places)
        parent[step] = mark
        odd = self._random.choice(ODD_VALUES)
        request.body = json.dumps(body).replace(f'"{mark}"', odd).encode("utf-8", "surrogatepass")

    def _key(self, request: _Draft) -> None:
        """A field that is missing, unknown, there twice, or oddly named."""
        try:
            body = json.loads(request.body)
        except (ValueError, RecursionError):
            return
        if not isinstance(body, dict) or not body:
            return
        name = self._random.choice(list(body))
        kind = self._random.randrange(4)
        if kind == 0:
            del body[name]
        elif kind == 1:
            body[self._random.choice(("", "x", "a\u0000", "\u202e", "model ", "x" * 2_000))] = 1
        elif kind == 2:
            body[name.upper()] = body.pop(name)
        request.body = json.dumps(body).encode()
        if kind == 3:
            twice = json.dumps({name: body[name]})[1:-1] + ", " + request.body.decode()[1:]
            request.body = ("{" + twice).encode()

    def _bytes(self, request: _Draft) -> None:
        """A body that is cut, garbled, encoded in another way, or none."""
        rng, body = self._random, request.body or b"{}"
        at = rng.randrange(len(body))
        garbled = (
            body[:at], body[at:], rng.randbytes(rng.randrange(1, 200)), b"", body * 3,
            b"\x00" * 100, body[:at] + rng.randbytes(1) + body[at + 1 :], b"\xef\xbb\xbf" + body,
            body.decode(errors="replace").encode("utf-16"), b" " * 100_000 + body, b"null", b"[1]",
            b'"text"', b"1", body + b"\x00", body + b" x", b"a" * 5_000_000, DEEP.encode() * 20,
        )  # fmt: skip
        request.body = rng.choice(garbled)

    def _content_type(self, request: _Draft) -> None:
        request.content_type = self._random.choice(ODD_TYPES).encode("latin-1")

    def _packing(self, request: _Draft) -> None:
        rng = self._random
        names = (
            b"gzip",
            b"GZIP",
            b"x-gzip",
            b"br",
            b"deflate",
            b"identity",
            b"gzip, gzip",
            b"zstd",
        )
        request.headers.append(
            (b"Content-Encoding", rng.choices(names, (8, 1, 1, 1, 1, 1, 1, 1))[0])
        )
        if rng.random() < 0.4:
            request.body = rng.choice(self._bombs)
        elif rng.random() < 0.8:
            request.body = gzip.compress(request.body)[: rng.choice((None, None, -4, 12))]

    def _header(self, request: _Draft) -> None:
        rng = self._random
        name = rng.choice(HEADERS)
        request.headers = [one for one in request.headers if one[0] != name]
        request.headers.append((name, rng.choice(ODD_TEXTS)))
        if name in (b"Upgrade", b"Expect", b"TE"):
            request.is_framed = False

    def _framing(self, request: _Draft) -> None:
        request.more.append(self._random.choice(FRAMING))
        request.is_framed = False

    def _method(self, request: _Draft) -> None:
        request.method, request.route = self._random.choice(METHODS), ""
        if request.method in ("CONNECT", "get", "BREW") or len(request.method) > 20:
            request.is_framed = False

    def _target(self, request: _Draft) -> None:
        rng, odd = self._random, self._random.choice(PATH_ODDITIES)
        at = rng.randrange(len(request.path) + 1)
        request.path = rng.choice((request.path + odd, request.path[:at] + odd + request.path[at:],
                                   "http://evil.example" + request.path, odd))  # fmt: skip
        request.route = ""
        if not request.path.startswith("/") or not request.path.isascii():
            request.is_framed = False

    def _cut(self, request: _Draft) -> None:
        """The client hangs up in the middle of the body."""
        request.n_missing = self._random.randrange(1, len(request.body) + 1) if request.body else 0
        request.is_framed = not request.n_missing

    def _version(self, request: _Draft) -> None:
        versions = ("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9", "", "HTTX/1.1", "HTTP/1.1 x")
        request.version = self._random.choice(versions)
        request.is_framed = False


@dataclass(slots=True)
class _Draft:
    method: str
    path: str
    route: str
    body: bytes
    content_type: bytes = b"application/json"
    version: str = "HTTP/1.1"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    more: list[bytes] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    n_missing: int = 0
    is_framed: bool = True

    def sent(self, caller: str) -> Sent:
        head = [f"{self.method} {self.path} {self.version}".encode()]
        if not any(one.lower().startswith(b"host:") for one in self.more):
            head.append(b"Host: 127.0.0.1")
        head += [name + b": " + value for name, value in self.headers]
        if self.body or self.method in ("POST", "PUT", "PATCH"):
            head.append(b"Content-Type: " + self.content_type)
            if not any(b"Content-Length" in one for one in self.more):
                head.append(b"Content-Length: %d" % len(self.body))
        body = self.body[: len(self.body) - self.n_missing]
        raw = b"\r\n".join([*head, *self.more]) + b"\r\n\r\n" + body
        return Sent(raw, self.route, caller, self.is_framed, self.method == "HEAD", self.changes)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and step of a JSON value."""
    steps = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    found: list[tuple[Any, Any]] = []
    for step, inner in list(steps):
        found.append((value, step))
        found += _places(inner)
    return found
