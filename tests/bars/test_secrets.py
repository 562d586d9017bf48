"""After a session with known secrets, right and wrong, no log holds one; the state folder is its
owner's alone."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.bars.place import CHAT, FEEDBACK, TEXT, chat, place

pytestmark = pytest.mark.slow

KEY = "sk-the-right-key-51e6"
SECRETS = {
    "the key": KEY, "a wrong key": "sk-a-wrong-key-09bd",
    "a prompt": "my PIN is seven-four-one-nine", "a system prompt": "house rule tau",
    "an answer's correction": "it is really phi-nought", "a comment": "psst between us",
    "an imported text": "imported whisper", "a user": "erika.mustermann@example.org",
}  # fmt: skip


def test_keys_and_prompts_are_in_no_log(tmp_path: Path) -> None:
    state_dir, words = tmp_path / "state", SECRETS
    state_dir.mkdir(mode=0o755)
    (tmp_path / "model").mkdir()
    with place(state_dir, tmp_path / "model", KEY, PAWL_LOG__LEVEL="debug") as server:
        client, prompt, system = server.client, words["a prompt"], words["a system prompt"]

        def send(path: str, body: Any, **headers: str) -> None:
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            client.post(path, content=raw, headers=headers)

        for more in ({}, {"stream": True}, {"temperature": 9}, {"nonsense": prompt},
                     {"model": prompt}, {"user": words["a user"]}, {"stop": [prompt] * 40},
                     {"response_format": {"type": prompt}}, {"tools": [{"type": prompt}]},
                     {"messages": [{"role": prompt, "content": system}]}):  # fmt: skip
            send(CHAT, {**chat(prompt), **more})
        send(CHAT, {"messages": [{"role": "system", "content": system},
                                 {"role": "user", "content": prompt}]})  # fmt: skip
        send(TEXT, {"model": "base", "prompt": prompt})
        for command in ("too long", "break"):  # what the engine does wrong is logged
            send(CHAT, chat(command, stream=True, user=words["a user"]))
        send(CHAT, f'{{"messages": [{{"content": "{prompt}"'.encode())
        send(CHAT, prompt.encode("utf-16"))
        correction, comment = words["an answer's correction"], words["a comment"]
        for body in (
            {"completion_id": server.completion_id, "correction": correction, "comment": comment},
            {"completion_id": server.completion_id, "categories": [comment]},
            {"completion_id": comment, "thumb": "up"},
            {"completion_id": server.completion_id, "thumb": correction},
        ):
            send(FEEDBACK, body)
        wrong = words["a wrong key"]
        send(CHAT, chat(prompt), Authorization=f"Bearer {wrong}")
        send(CHAT, chat(prompt), Authorization=wrong)
        basic = base64.b64encode(f"me:{wrong}".encode()).decode()
        client.get("/", headers={"Authorization": f"Basic {basic}"})
        client.get("/", headers={"Authorization": "Basic " + KEY})
        rows = state_dir / "exchange" / "rows.jsonl"
        rows.write_text("".join(json.dumps(record) + "\n" for record in (
            {"messages": [{"role": "user", "content": prompt},
                          {"role": "assistant", "content": words["an imported text"]}]},
            {"messages": words["an imported text"]},
        )))  # fmt: skip
        send("/admin/import", {"path": "rows.jsonl"})
        send("/admin/import", {"path": "../" + wrong})
        send("/admin/snapshots", {})
        assert client.get("/admin/status").status_code == 200
    assert state_dir.stat().st_mode & 0o077 == 0
    logs = [*(state_dir / "logs").iterdir(), tmp_path / "up.log"]
    assert {path.name for path in logs} >= {"gateway.log", "engine.log", "up.log"}
    text = "".join(path.read_text(errors="replace") for path in logs)
    assert "was open to others" in text
    assert "/v1/chat/completions 400" in text
    assert [name for name, secret in words.items() if secret in text] == []
    encoded = [base64.b64encode(f"me:{key}".encode()).decode() for key in (KEY, wrong)]
    assert not [secret for secret in encoded if secret in text]
