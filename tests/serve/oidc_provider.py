"""A small OpenID Connect provider on loopback: real HTTP, real signatures, PKCE; it can lie."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT, SECRET = "pawl", "a secret of the client's"


@dataclass
class Provider:
    """What a test sets: who is signed in there, and how its tokens differ from right ones."""

    claims: dict[str, Any] = field(default_factory=dict)
    lies: dict[str, Any] = field(
        default_factory=dict
    )  # claims put over the right ones; None: left out
    userinfo: dict[str, Any] = field(default_factory=dict)
    signs_with: str = "RS256"
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "1"}))
    signing_key: RSAKey | None = None
    issuer: str = ""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    n_tokens: int = 0

    def token(self, asked: dict[str, str]) -> dict[str, Any]:
        """The answer to a code that was changed for tokens."""
        self.n_tokens += 1
        access = secrets.token_hex(16)
        half = hashlib.sha256(access.encode()).digest()[:16]
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300,
                  "nonce": asked["nonce"], "at_hash": base64.urlsafe_b64encode(half).decode()
                  .rstrip("="), **self.claims, **self.lies}  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": self.signs_with, "kid": (self.signing_key or self.key).kid}
        if self.signs_with == "RS256":
            signed = jwt.encode(header, claims, self.signing_key or self.key)
        elif self.signs_with == "HS256":  # with what everybody can read
            public = json.dumps(self.key.as_dict(private=False)).encode()
            signed = jwt.encode(header, claims, OctKey.import_key(public))
        else:
            parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=")
                     for one in ({"alg": "none"}, claims)]  # fmt: skip
            signed = ".".join([*parts, ""])
        return {"access_token": access, "token_type": "Bearer", "id_token": signed}


@contextmanager
def provider() -> Iterator[Provider]:
    one = Provider()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass  # nobody reads it

        def answer(self, value: Any, status: int = 200, **headers: str) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            for name, text in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            at = urlsplit(self.path)
            if at.path == "/.well-known/openid-configuration":
                self.answer({
                    "issuer": one.lies.get("issuer", one.issuer), "jwks_uri": one.issuer + "/keys",
                    "authorization_endpoint": one.issuer + "/authorize",
                    "token_endpoint": one.issuer + "/token",
                    "userinfo_endpoint": one.issuer + "/userinfo",
                })  # fmt: skip
            elif at.path == "/keys":
                self.answer({"keys": [one.key.as_dict(private=False)]})
            elif at.path == "/userinfo":
                self.answer(one.userinfo)
            else:
                asked = {name: values[0] for name, values in parse_qs(at.query).items()}
                assert asked["response_type"] == "code"
                assert asked["client_id"] == CLIENT
                assert asked["code_challenge_method"] == "S256"
                code = secrets.token_hex(16)
                one.codes[code] = asked
                back = urlencode({"code": code, "state": asked["state"], "iss": one.issuer})
                self.answer({}, 302, Location=f"{asked['redirect_uri']}?{back}")

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            sent = {name: values[0] for name, values in parse_qs(raw.decode()).items()}
            basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
            asked = one.codes.pop(sent.get("code", ""), None)  # each works once
            digest = hashlib.sha256(sent.get("code_verifier", "").encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
            if (
                asked is None
                or self.headers["Authorization"] != f"Basic {basic}"
                or sent["redirect_uri"] != asked["redirect_uri"]
                or challenge != asked["code_challenge"]
            ):
                self.answer({"error": "invalid_grant"}, 400)
                return
            self.answer(one.token(asked))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    one.issuer = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield one
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
