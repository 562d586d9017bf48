"""The fields of /v1/chat/completions and /v1/completions, and how any request body is read.

vLLM ignores fields that it does not know, and takes many that are not OpenAI's, some of which can
stop the whole engine. So only the fields below go through; anything else is a 400 that names it.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, ClassVar, Literal, Self

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import Field, ValidationError, model_validator
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from pawl.errors import PawlError, short
from pawl.schemas import Body, Message
from serve.api.errors import validation_error

MAX_BODY_BYTES = 4_000_000  # of all but the completion routes, which have a setting
MAX_DRAINED_BYTES = 64 * 2**20  # of a body that is too large: read to its end, so that the client
# gets to read the refusal instead of a broken connection


# -- bytes to JSON


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body.

    Raises:
        PawlError: larger than ``limit`` bytes (413).
        ClientDisconnect: the client hung up before it had sent all.
    """
    body, size = bytearray(), 0
    async for part in request.stream():
        size += len(part)
        if size <= limit:
            body += part
        elif size > MAX_DRAINED_BYTES:
            break
    if size > limit:
        raise PawlError(
            f"the request has {size:,} bytes",
            f"at most {limit:,} are taken",
            "Send less at once",
            code="request_too_large",
        )
    return bytes(body)


def parse_json(raw: bytes) -> dict[str, Any]:
    """The JSON object in ``raw``, without its fields that are null.

    Raises:
        PawlError: it is no JSON object, or holds what can't be stored or sent on: half a
            surrogate pair, a number beyond all bounds, lists in lists in lists (200 deep).
    """
    try:
        # Some programs put a byte order mark before the text.
        value = from_json(raw.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)
        json.dumps(value, allow_nan=False)  # 1e999 is infinite
    except ValueError as error:
        raise PawlError(
            "the body is not JSON in UTF-8", str(error), "Mend it and send it again",
            code="invalid_json",
        ) from None  # fmt: skip
    if not isinstance(value, dict):
        raise PawlError(
            f"the body is {short(value)}", "a JSON object is expected", 'Send {"...": ...}',
            code="invalid_json",
        )  # fmt: skip
    return {field: content for field, content in value.items() if content is not None}


class JsonRoute(APIRoute):
    """A route of FastAPI's whose bodies are read as those of the completion routes are, whatever
    their content type; no body counts as an empty object."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        model: Any = self.body_field.field_info.annotation if self.body_field else None

        async def handle_json(request: Request) -> Response:
            value: dict[str, Any] = {}
            if model is not None:
                raw = await read_body(request, MAX_BODY_BYTES)
                value = parse_json(raw or b"{}")
                headers = [pair for pair in request.scope["headers"] if pair[0] != b"content-type"]
                headers.append((b"content-type", b"application/json"))
                request = Request({**request.scope, "headers": headers}, request.receive)
                request._body, request._json = b"{}", value  # what FastAPI asks for
            try:
                return await handle(request)
            except RequestValidationError as error:
                raise validation_error(error.errors(), value, model) from None

        return handle_json


# -- the two completion calls

MAX_CHOICES = 4
MAX_PROMPTS = 16
_NonEmpty = Annotated[str, Field(min_length=1)]
_TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
_NO_TOOLS = "the models served here were not taught to call tools"
_ONLY_TEXT = "only text is served"
_NOT_SAMPLING = ("model", "messages", "prompt", "stream", "stream_options")


def _clash(param: str, what: str, why: str, do: str) -> PawlError:
    return PawlError(what, why, do, code="invalid_value", param=param)


class TextPart(Body, extra="ignore"):
    type: Literal["text"]
    text: str


class ChatRequestMessage(Body):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1)]
    name: Any = None
    refusal: Any = None

    @model_validator(mode="before")
    @classmethod
    def _without_empty_fields(cls, value: Any) -> Any:
        """Clients send answers back as they got them, with ``"tool_calls": []`` and the like."""
        if not isinstance(value, dict):
            return value
        return {
            field: kept for field, kept in value.items() if kept or field in ("role", "content")
        }

    @property
    def text(self) -> str:
        """Its parts as one text, joined as vLLM joins them."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)


class StreamOptions(Body):
    include_usage: bool = False


class JsonSchema(Body, extra="allow"):
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Body, extra="ignore"):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise _clash(
                "response_format",
                "response_format has no json_schema",
                "its type says that there is one",
                'Send {"type": "json_schema", "json_schema": {"schema": {...}}}',
            )
        return self


class _CompletionFields(Body):
    """Fields of both calls: those of OpenAI's that vLLM honours."""

    refused: ClassVar[dict[str, str]] = {  # OpenAI's others, and why
        "tools": _NO_TOOLS, "tool_choice": _NO_TOOLS, "parallel_tool_calls": _NO_TOOLS,
        "functions": _NO_TOOLS, "function_call": _NO_TOOLS,
        "prompt_logprobs": "two such requests in one batch stop the whole engine",
        "audio": _ONLY_TEXT, "modalities": _ONLY_TEXT,
        "prediction": "the engine does not use predicted outputs",
        "best_of": "the engine returns what it generates; use n",
        "suffix": "the engine does not fill in between a prompt and a suffix",
        "store": "every completion is recorded here",
        "service_tier": "there is one tier", "web_search_options": "there is no web search",
        "reasoning_effort": "the models served here do not reason apart from their answer",
        "verbosity": "the engine has no such control",
    }  # fmt: skip

    path: ClassVar[str]
    id_prefix: ClassVar[str]  # which vLLM puts before the id it is sent
    prompt_field: ClassVar[str]

    model: str = Field(description="the version that shall answer; 'pawl' is the champion")
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int = Field(1, ge=1, le=MAX_CHOICES, description="answers to one prompt")
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=1e-6, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    stop: _NonEmpty | Annotated[list[_NonEmpty], Field(max_length=16)] | None = Field(
        None, description="a text or up to 16 texts, none of them empty"
    )
    logit_bias: dict[_TokenId, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None, max_length=1024, description="token ids with numbers from -100 to 100"
    )
    user: str | None = Field(None, description="who asks; the header X-Pawl-Rater wins")

    @property
    def include_usage(self) -> bool:
        """The client asked for a last chunk with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(self) -> dict[str, Any]:
        """All fields that shape the answer, as sent."""
        sent = self.for_engine().items()
        return {name: value for name, value in sent if name not in _NOT_SAMPLING}

    def for_engine(self) -> dict[str, Any]:
        """What was sent, without the fields that have no effect on the answer."""
        return self.model_dump(exclude_unset=True, by_alias=True, exclude={"user", "metadata"})

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise _clash(
                "stream_options",
                "stream_options without stream",
                "they say how to stream",
                'Send "stream": true, or leave them out',
            )
        if self.n > 1 and self.temperature == 0:
            raise _clash(
                "n",
                f"n = {self.n} at temperature 0",
                "all answers would be the same",
                "Ask for one, or raise the temperature",
            )
        return self


class ChatRequest(_CompletionFields):
    path = "/v1/chat/completions"
    id_prefix = "chatcmpl-"
    prompt_field = "messages"

    messages: list[ChatRequestMessage] = Field(
        min_length=1, description='[{"role": "user", "content": "..."}, ...]'
    )
    max_completion_tokens: int | None = Field(None, ge=1, le=1_000_000)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    metadata: (
        dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None
    ) = Field(None, max_length=16, description="up to 16 short texts, without effect")

    def prompts(self) -> list[list[Message]]:
        return [[{"role": message.role, "content": message.text} for message in self.messages]]

    @model_validator(mode="after")
    def _can_be_answered(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise _clash(
                "top_logprobs",
                "top_logprobs without logprobs",
                "there is nothing to list",
                'Send "logprobs": true with it',
            )
        if not any(message.text.strip() for message in self.messages):
            raise _clash(
                "messages",
                "messages hold no text",
                "there is nothing to answer",
                "Write something into content",
            )
        return self


class TextRequest(_CompletionFields):
    path = "/v1/completions"
    id_prefix = "cmpl-"
    prompt_field = "prompt"

    prompt: _NonEmpty | Annotated[list[_NonEmpty], Field(min_length=1, max_length=MAX_PROMPTS)] = (
        Field(description="a text or up to 16 texts; token ids could not be recorded as text")
    )
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=20)

    def prompts(self) -> list[list[Message]]:
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        return [[{"role": "prompt", "content": prompt}] for prompt in prompts]

    @model_validator(mode="after")
    def _spares_the_engine(self) -> Self:
        if self.echo and self.logprobs is not None:
            raise PawlError(
                "echo together with logprobs",
                "two such requests in one batch stop the whole engine",
                "Ask for one of the two",
                code="unsupported_parameter",
                param="echo",
            )
        return self


CompletionRequest = ChatRequest | TextRequest


def parse_request(raw: bytes, model: type[CompletionRequest]) -> CompletionRequest:
    """Check a completion request's body.

    Raises:
        PawlError: what is wrong with it, ``param`` naming the field.
    """
    body = parse_json(raw)
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise validation_error(error.errors(include_url=False), body, model) from None
