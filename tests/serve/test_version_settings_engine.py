"""A version of a system prompt on the real engine: as a client who sends the prompt itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from pawl.models import resolve_model
from pawl.settings import Settings
from serve.engine.launch import vllm_command
from tests.serve.console import Console
from tests.serve.pages.composed import composed
from tests.serve.tiny_llama import make_tiny_llama

pytestmark = pytest.mark.engine

PROMPT = "You answer for a bakery. " * 6
ASKED = {"role": "user", "content": "When do you open?"}


def test_a_prompt_of_a_version_is_the_same_as_the_clients_own(tmp_path: Path) -> None:
    model_dir = make_tiny_llama(tmp_path / "model")
    settings = Settings(state_dir=tmp_path / "state", model=str(model_dir),
                        engine={"kv_cache_gib": 0.25, "max_concurrent_requests": 8})  # fmt: skip
    base = resolve_model(settings.model, cache_dir=tmp_path)
    with composed(settings, base=base, command=vllm_command, pages=False) as server:
        console = Console(server)
        made = console.post(
            "/admin/promotions",
            {"system_prompt": PROMPT, "temperature": 0, "max_tokens": 12, "force": True},
        ).json()
        assert made["outcome"] == "live", made
        version = made["version"]

        def ask(model: str, path: str = "/v1/chat/completions", **body: Any) -> dict[str, Any]:
            body = {"model": model, "messages": [ASKED], **body}
            answer = httpx.post(server.url + path, json=body, timeout=120)
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

        theirs = [{"role": "system", "content": PROMPT.strip()}, ASKED]
        ours = ask("pawl")
        same = ask("base", messages=theirs, temperature=0, max_tokens=12)
        without = ask("base", temperature=0, max_tokens=12)
        assert (ours["model"], same["model"]) == (version, "base")
        assert ours["choices"][0]["message"] == same["choices"][0]["message"]
        assert ours["usage"]["prompt_tokens"] == same["usage"]["prompt_tokens"]
        assert ours["usage"]["prompt_tokens"] > without["usage"]["prompt_tokens"]
        counted = ask(version, "/v1/messages/count_tokens")["input_tokens"]
        assert counted == ours["usage"]["prompt_tokens"]
        assert len(ask(version, n=2)["choices"]) == 2
        text = ""
        with httpx.stream("POST", server.url + "/v1/chat/completions", timeout=120, json={
            "model": version, "messages": [ASKED], "stream": True}) as answer:  # fmt: skip
            for line in answer.iter_lines():
                text += line + "\n"
                if line and "rolled" not in text:  # an answer that is under way ends as it began
                    text += "rolled\n"
                    console.post("/admin/rollback").raise_for_status()
        assert text.rstrip().endswith("[DONE]")
        assert f'"model":"{version}"' in text
        assert '"model":"base"' not in text
        row = server.store.get_completion(answer.headers["X-Pawl-Completion-Id"])
        assert row is not None
        assert (row.version, row.completion) == (version, ours["choices"][0]["message"]["content"])
        assert ask("pawl", max_tokens=3)["model"] == "base"
        console.http.close()
