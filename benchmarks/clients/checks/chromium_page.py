"""A page in Chromium that came from another address: fetch, streamed and not, with a key.

The runner chose the port of the page, since the server names the pages that may ask it
(``allowed_origins``); the same page from a port that it does not name must get nothing.
"""

import json
import os
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cells import (
    BASE, KEY, LONG, MAX_TOKENS, MESSAGES, MODEL, WRONG_KEY, Refused, feature, feedback, need,
    recorded, run,
)  # fmt: skip
from playwright.sync_api import sync_playwright

PORT = int(os.environ["PAWL_PAGE_PORT"])
ASK = """async ({url, key, body}) => {
  const headers = {"Content-Type": "application/json", "Authorization": "Bearer " + key};
  let answer;
  try {
    answer = await fetch(url, {method: "POST", headers, body: JSON.stringify(body)});
  } catch (error) {
    return {blocked: String(error)};
  }
  const shown = {status: answer.status, id: answer.headers.get("x-pawl-completion-id"),
                 request: answer.headers.get("x-request-id"), parts: []};
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return shown;
    shown.parts.push(value);
  }
}"""


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>another address</title>")

    def log_message(self, *args) -> None:
        pass


def ask(port: int = PORT, path: str = "/chat/completions", key: str = KEY, **fields) -> dict:
    """What the page's script saw of the answer."""
    server = ThreadingHTTPServer(("127.0.0.1", port), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with sync_playwright() as playwright:
            found = shutil.which("chromium") or shutil.which("chromium-browser")
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            body = {"model": MODEL, "messages": MESSAGES, "max_tokens": MAX_TOKENS, **fields}
            shown = page.evaluate(ASK, {"url": BASE + path, "key": key, "body": body})
            browser.close()
            return shown
    finally:
        server.shutdown()
        server.server_close()


def body_of(shown: dict, status: int = 200) -> dict:
    need(shown.get("status") == status, shown)
    return json.loads("".join(shown["parts"]))


@feature("chat")
def chat() -> str:
    shown = ask()
    answer = body_of(shown)
    recorded(answer["id"], answer["choices"][0]["message"]["content"])
    need(shown["id"] == answer["id"] and shown["request"], shown)
    return "fetch; headers can be read"


@feature("stream")
def stream() -> str:
    shown = ask(stream=True)
    need(shown.get("status") == 200, shown)
    lines = [line[6:] for line in "".join(shown["parts"]).splitlines() if line.startswith("data: ")]
    need(lines[-1] == "[DONE]", lines[-3:])
    chunks = [json.loads(line) for line in lines[:-1]]
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    need(len(shown["parts"]) > 2, "it came in one piece")
    recorded(chunks[0]["id"], text)
    return f"{len(shown['parts'])} reads"


@feature("overflow")
def too_long() -> str:
    error = body_of(ask(messages=[{"role": "user", "content": LONG}]), 400)["error"]
    need(error["code"] == "context_length_exceeded", error)
    return "its code can be read"


@feature("key")
def key() -> str:
    need(body_of(ask(key=WRONG_KEY), 401)["error"]["code"] == "invalid_api_key", "another")
    return "its code can be read"


@feature("feedback")
def by_id() -> str:
    return feedback(ask()["id"])


@feature("foreign")
def foreign() -> Refused:
    """From an address that the server does not name."""
    shown = ask(port=0)
    need("blocked" in shown or shown["status"] == 403, shown)
    return Refused("blocked by the browser" if "blocked" in shown else "foreign_origin")


run("playwright")
