"""Answers that are not recorded, above all the base's for replay: ``POST /admin/generate``.

    {"prompts": [[{"role": "user", "content": "Hello!"}]], "max_tokens": 32}
    {"answers": [{"text": "Hello! How can I help you?", "is_finished": true}]}

They are nobody's completions, so they are not recorded. ``is_finished`` is false where
``max_tokens`` cut the answer; ``text`` is empty where the engine refused the prompt (too long, or
a role that the chat template does not take).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from feedback.champion import BASE_VERSION
from pawl.schemas import Message
from serve.api.errors import engine_lost, refusal

if TYPE_CHECKING:
    from serve.api.admission import Admission
    from serve.engine.replicas import AnyEngine

N_STREAMS = 16  # at once
CALLER = "the server's own replay"  # so people who chat meanwhile have their share
# Explicit, since vLLM fills what a request leaves out from the model's generation_config.json.
GREEDY = {"temperature": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0,
          "frequency_penalty": 0.0}  # fmt: skip


async def generate(
    engine: AnyEngine, prompts: Sequence[list[Message]], max_tokens: int, admission: Admission,
    *, model: str = BASE_VERSION, sampling: Mapping[str, float] = GREEDY,
) -> list[dict[str, Any]]:  # fmt: skip
    """Let the base, or a version that is loaded, answer each prompt; the answers in the order of
    the prompts.

    Args:
        max_tokens: of each answer.
        sampling: the fields of a completion request that say how.

    Raises:
        PawlError: the engine is not ready or died meanwhile.
    """
    if not engine.is_ready:
        raise engine.unavailable()
    streams = asyncio.Semaphore(N_STREAMS)

    async def answer(messages: list[Message]) -> dict[str, Any]:
        body = {"model": model, "messages": messages, "max_tokens": max_tokens, **sampling}
        async with streams, admission.place(CALLER, 1, max_tokens, is_ours=True):
            with engine.routed(model, json.dumps(messages[:1])) as replica:
                status, text = await replica.request(
                    "POST", "/v1/chat/completions", body, seconds=None
                )
        if status in (400, 422):
            return {"text": "", "is_finished": False}
        if not status:
            raise engine_lost(text)
        if status != 200:
            raise refusal(status, text, "messages")
        choice = json.loads(text)["choices"][0]
        content = (choice["message"].get("content") or "").strip()
        return {"text": content, "is_finished": choice["finish_reason"] == "stop"}

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer(messages)) for messages in prompts]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
