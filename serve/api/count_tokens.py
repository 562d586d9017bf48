"""How many tokens a prompt has: ``POST /v1/messages/count_tokens`` of Anthropic's API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers

from pawl.errors import PawlError
from serve.api.admission import sent_tokens, share_of
from serve.api.auth import caller_of, key_of
from serve.api.errors import engine_lost, engine_off, engine_starting, refusal
from serve.api.messages import ChatOfMessages, MessagesTranslation, TokensRequest
from serve.api.recording import rater_of
from serve.api.requests import CompletionRequest, parse_request

if TYPE_CHECKING:
    from starlette.types import Scope

    from serve.api.completions import Gateway

COUNT_SECONDS = 30.0


async def count_tokens(
    gateway: Gateway, body: dict[str, Any], scope: Scope
) -> tuple[int, Sequence[str]]:
    """The engine's own count of the tokens of a whole prompt, and the fields that were sent and
    have no effect. It waits for its turn as an answer does, and is charged as its prompt is.

    Args:
        body: the request's, as it was sent.

    Raises:
        PawlError: the request can't be answered, or the engine is not there.
    """
    headers, n_bytes = Headers(scope=scope), len(json.dumps(body))
    key = key_of(headers)
    rater_id = rater_of(caller_of(scope), headers.get("x-pawl-rater"), None, key)
    caller = share_of(scope, key, rater_id)
    gateway.admission.charge_request(caller)

    def read() -> tuple[CompletionRequest, Sequence[str]]:
        translation = MessagesTranslation(
            body, gateway.base, 0, model=TokensRequest, refuse_unknown=gateway.refuse_unknown
        )
        raw = json.dumps(translation.chat, ensure_ascii=False).encode()
        try:
            request = parse_request(raw, ChatOfMessages, gateway.base)
        except PawlError as error:
            error.param = translation.params.get(error.param or "", error.param)
            raise
        return request, [*translation.ignored, *request.ignored]

    request, ignored = await gateway.readers.read(scope, n_bytes, read)  # a schema may be compiled
    engine = gateway.engine
    if engine is None or engine.state != "ready":
        raise engine_off() if engine is None else engine_starting(engine)
    version = gateway.resolve(request.model)
    served, _ = gateway.as_served(request, version)
    prompt = {name: value for name, value in served.for_engine().items()
              if name in ("messages", "tools", "chat_template_kwargs")}  # fmt: skip
    weights = gateway.store.weights_of(version)
    async with gateway.admission.place(caller, 1, sent_tokens(n_bytes)) as place:
        place.n_used_tokens = 0  # until they are counted
        with engine.routed(weights, caller) as replica:
            status, text = await replica.request(
                "POST", "/tokenize", {**prompt, "model": weights}, seconds=COUNT_SECONDS
            )
        if status == 200:
            n_tokens = place.n_used_tokens = int(json.loads(text)["count"])
            return n_tokens, ignored
    raise engine_lost(text) if status == 0 else refusal(status, text, ChatOfMessages.prompt_field)
