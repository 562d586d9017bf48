"""Open WebUI, the server itself: its page's calls, which it passes on to Pawl as its upstream."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from cells import (
    ASK, BASE, KEY, LONG, MAX_TOKENS, MESSAGES, MODEL, TURNS, feature, need, overflow, pieces,
    recorded, run,
)  # fmt: skip

START_SECONDS = 400


class WebUi:
    """One that runs, asked as its page asks it."""

    def __init__(self, key: str = KEY) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="open-webui-")
        folder = Path(self._folder.name)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.token = ""
        self._log = (folder / "log").open("w")
        self._child = subprocess.Popen(
            [str(Path(sys.executable).with_name("open-webui")), "serve", "--host", "127.0.0.1",
             "--port", str(port)],
            cwd=folder, stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(folder), "DATA_DIR": str(folder), "WEBUI_AUTH": "False",
                 "WEBUI_SECRET_KEY": "only for this check", "OPENAI_API_BASE_URL": BASE,
                 "OPENAI_API_KEY": key, "ENABLE_OLLAMA_API": "false", "OFFLINE_MODE": "true",
                 "RAG_EMBEDDING_ENGINE": "openai", "BYPASS_EMBEDDING_AND_RETRIEVAL": "true",
                 "ENABLE_VERSION_UPDATE_CHECK": "false"},
        )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while True:
            need(self._child.poll() is None and time.monotonic() < deadline, self.log())
            try:
                answer = self.ask("/api/v1/auths/signin", {"email": "", "password": ""})
                break
            except OSError:
                time.sleep(0.5)
        self.token = json.loads(answer)["token"]

    def log(self) -> str:
        return (Path(self._folder.name) / "log").read_text("utf-8")

    def ask(self, path: str, body: object = None) -> str:
        """The answer's body.

        Raises:
            RuntimeError: it was refused; with what it said.
        """
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = json.dumps(body).encode() if body is not None else None
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self.url + path, data, headers), timeout=300
            ) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()) from None

    def chat(self, **fields) -> str:
        body = {"model": MODEL, "messages": MESSAGES, "max_tokens": MAX_TOKENS, **fields}
        return self.ask("/api/chat/completions", body)

    def close(self) -> None:
        self._child.kill()  # it holds nothing that is needed, and a busy one ends late
        self._child.wait(60)
        self._folder.cleanup()


@feature("chat")
def chat() -> str:
    models = [model["id"] for model in json.loads(webui.ask("/api/models"))["data"]]
    need(MODEL in models, models)
    answer = json.loads(webui.chat(stream=False))
    recorded(answer["id"], answer["choices"][0]["message"]["content"])
    return f"{len(models)} models listed"


@feature("stream")
def stream() -> str:
    lines = [line[6:] for line in webui.chat(stream=True).splitlines() if line.startswith("data: ")]
    chunks = [json.loads(line) for line in lines if line != "[DONE]"]
    text, words = pieces(
        c["choices"][0]["delta"].get("content") for c in chunks if c.get("choices")
    )
    recorded(next(c["id"] for c in chunks if c.get("choices")), text)
    return words


@feature("turns")
def turns() -> str:
    """With what its page adds: a title, tags and questions to go on with."""
    answer = json.loads(webui.chat(messages=TURNS, stream=False))
    recorded(answer["id"], answer["choices"][0]["message"]["content"])
    for task in ("title", "tags", "follow_up"):
        body = {"model": MODEL, "messages": TURNS, "chat_id": "", "stream": False}
        made = json.loads(webui.ask(f"/api/v1/tasks/{task}/completions", body))
        need(made["choices"][0]["message"]["content"].strip(), made)
    return "and title, tags, follow-ups"


@feature("overflow")
def too_long() -> str:
    overflow(lambda: webui.chat(messages=[{"role": "user", "content": LONG}], stream=False),
             RuntimeError)  # fmt: skip
    return "shows its message"


@feature("messages")
def messages() -> str:
    """Its own Messages API, in front of Pawl's chat."""
    body = {
        "model": MODEL,
        "max_tokens": MAX_TOKENS,
        "messages": [{"role": "user", "content": ASK}],
    }
    answer = json.loads(webui.ask("/api/v1/messages", body))
    need(answer["content"][0]["text"].strip(), answer)
    return "its own, over chat"


webui = WebUi()
try:
    run("open-webui")
finally:
    webui.close()
