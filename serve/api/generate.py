"""Greedy answers of the base, for replay rows: ``POST /admin/generate``.

    {"prompts": [[{"role": "user", "content": "Hello!"}]], "max_tokens": 96}
    {"answers": [{"text": "Hello! How can I help you?", "is_finished": true}]}

They are nobody's completions, so they are not recorded. ``is_finished`` is false where
``max_tokens`` cut the answer; ``text`` is empty where the engine refused the prompt (too long, or
a role that the chat template does not take).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pawl.errors import PawlError
from pawl.schemas import Message
from serve.api.errors import connection_errors, engine_lost, refusal

if TYPE_CHECKING:
    from serve.engine.supervisor import Engine

MAX_PROMPTS = 256
MAX_TOKENS = 1024
N_STREAMS = 16  # at once, so that people who chat meanwhile are still answered
# Explicit, since vLLM fills what a request leaves out from the model's generation_config.json.
GREEDY = {"temperature": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0,
          "frequency_penalty": 0.0}  # fmt: skip


async def generate(
    engine: Engine, prompts: Sequence[list[Message]], max_tokens: int
) -> list[dict[str, Any]]:
    """Let the base answer each prompt; the answers in the order of the prompts.

    Raises:
        PawlError: a bound above is passed, or the engine is not ready or died meanwhile.
    """
    if not 1 <= len(prompts) <= MAX_PROMPTS or not 1 <= max_tokens <= MAX_TOKENS:
        raise PawlError(
            f"{len(prompts)} prompts of {max_tokens} tokens each were asked for",
            f"1 to {MAX_PROMPTS} prompts and 1 to {MAX_TOKENS} tokens can be",
            "Ask in several requests",
        )
    if not engine.is_ready:
        raise engine.unavailable()
    streams = asyncio.Semaphore(N_STREAMS)

    async def answer(messages: list[Message]) -> dict[str, Any]:
        body = {"model": "base", "messages": messages, "max_tokens": max_tokens, **GREEDY}
        url = f"{engine.base_url}/v1/chat/completions"
        headers = {"X-Request-Id": f"replay-{secrets.token_hex(12)}"}
        async with streams, engine.session.post(url, json=body, headers=headers) as response:
            if response.status in (400, 422):
                return {"text": "", "is_finished": False}
            if response.status != 200:
                raise refusal(response.status, await response.read(), "messages")
            choice = (await response.json())["choices"][0]
        text = (choice["message"].get("content") or "").strip()
        return {"text": text, "is_finished": choice["finish_reason"] == "stop"}

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer(messages)) for messages in prompts]
    except ExceptionGroup as group:  # several streams may fail, each in its own way
        refused, rest = group.split(PawlError)
        lost, rest = rest.split(connection_errors()) if rest else (None, None)
        if rest is not None:
            raise
        if lost is not None:
            raise engine_lost(str(lost.exceptions[0])) from group
        assert refused is not None
        raise refused.exceptions[0] from None
    return [task.result() for task in tasks]
