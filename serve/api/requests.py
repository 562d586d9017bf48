"""The fields of /v1/chat/completions and /v1/completions that are taken, with their bounds.

The bounds are vLLM 0.32's (``vllm/sampling_params.py``, ``vllm/entrypoints/openai``) or tighter:
what passes here is neither refused by the engine, but for what it alone knows (the length of a
prompt in tokens, the size of the vocabulary), nor can it harm it. What happens to every other
field is in ``serve.api.fields``.

Over 400 lines because every field of a completion call is in one place, a few lines each.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    model_validator,
)

from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.schemas import PLAIN_ROLES, Body, Message, VersionSettings
from serve.api.bodies import or_null, parse_json
from serve.api.chat_messages import ChatRequestMessage
from serve.api.errors import invalid, validation_error
from serve.api.fields import sort_fields, without_null
from serve.api.structured import ResponseFormat
from serve.api.tools import MAX_TOOLS, NamedTool, Tool, ToolChoice, engine_tools

MAX_CHOICES = 4
MAX_PROMPTS = 16
MAX_MESSAGES = 10_000
MAX_STOPS = 4  # vLLM's VLLM_MAX_STOP_STRINGS, and OpenAI's
MAX_STOP_CHARACTERS = 1000  # that many are held back from a stream, see output_text_buffer_length
DEFAULT_TEXT_TOKENS = 16  # of a plain completion that says nothing, as OpenAI's
_NonEmpty = Annotated[str, Field(min_length=1)]
_Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]
_TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]
_TokenIdKey = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
_TokenIds = Annotated[list[_TokenId], Field(min_length=1, fail_fast=True)]
# Jinja's names that the renderer sets itself: transformers' apply_chat_template and vLLM's hf.py.
_RENDERERS_OWN = frozenset(
    "conversation messages tools documents chat_template add_generation_prompt tokenize padding "
    "continue_final_message truncation max_length return_tensors return_dict tokenizer_kwargs "
    "return_assistant_tokens_mask kwargs self bos_token eos_token pad_token unk_token sep_token "
    "cls_token mask_token raise_exception strftime_now tool_choice response_format".split()
)
_TemplateName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
_TemplateValue = (
    bool
    | Annotated[int, Field(ge=-(2**53), le=2**53)]
    | Annotated[float, Field(ge=-(2**53), le=2**53)]
    | Annotated[str, Field(max_length=200)]
)
_NOT_SAMPLING = {"model", "messages", "prompt", "stream", "stream_options", "user", "metadata"}


def _prompt_kind(value: Any) -> str:
    """Which of the prompt's four forms is meant, so that one error tells what is wrong with it."""
    if not isinstance(value, list):
        return "text"
    first = value[0] if value else None
    if isinstance(first, list):
        return "lists of ids"
    return "ids" if isinstance(first, int) and not isinstance(first, bool) else "texts"


class StreamOptions(Body, extra="ignore", json_schema_extra=or_null):
    include_usage: bool = False
    continuous_usage_stats: bool = False


class _CompletionFields(Body, extra="ignore", json_schema_extra=or_null):
    """Fields of both calls: OpenAI's that vLLM honours, and vLLM's own that are safe."""

    kind: ClassVar[str]
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
    stop: _Stop | Annotated[list[_Stop], Field(max_length=MAX_STOPS)] | None = Field(
        None, description="a text or up to 4 texts, none of them empty"
    )
    logit_bias: dict[_TokenIdKey, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None, max_length=1024, description="token ids with numbers from -100 to 100"
    )
    response_format: ResponseFormat | None = None
    user: str | None = Field(None, description="who asks; the header X-Pawl-Rater wins")
    # vLLM's. Its sampler divides by the repetition penalty: far from 1, logits become infinite.
    top_k: int | None = Field(None, ge=-1, le=10_000_000, description="0 or -1: all tokens")
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, ge=0.1, le=10)
    min_tokens: int | None = Field(None, ge=0, le=1_000_000)
    stop_token_ids: list[_TokenId] | None = Field(None, max_length=64)
    ignore_eos: bool | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None

    _ignored: tuple[str, ...] = PrivateAttr(())
    _engine_format: dict[str, Any] | None = PrivateAttr(None)

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names of the fields that were sent and had no effect."""
        return self._ignored

    @property
    def include_usage(self) -> bool:
        """The client asked for a last chunk with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(self) -> dict[str, Any]:
        """All fields that shape the answer, as sent."""
        return self.model_dump(exclude_unset=True, by_alias=True, exclude=_NOT_SAMPLING)

    def for_engine(self) -> dict[str, Any]:
        """What the engine is sent, but for the model."""
        body = self.model_dump(
            exclude_unset=True, by_alias=True,
            exclude={"model", "user", "metadata", "stream_options", "response_format"},
        )  # fmt: skip
        if self.stream:  # the usage is for the record's token counts
            options = self.stream_options or StreamOptions()
            body["stream_options"] = {"include_usage": True}
            if options.include_usage and options.continuous_usage_stats:
                body["stream_options"]["continuous_usage_stats"] = True
        if self._engine_format is not None:
            body["response_format"] = self._engine_format
        return body

    def most_tokens(self) -> int | None:
        """The bound that was sent on an answer's length."""
        return self.max_tokens

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        options = self.stream_options
        if (
            options
            and not self.stream
            and (options.include_usage or options.continuous_usage_stats)
        ):
            raise invalid(
                "stream_options",
                "stream_options without stream",
                "they say how to stream",
                'Send "stream": true, or leave them out',
            )
        if self.n > 1 and self.temperature == 0:
            raise invalid(
                "n",
                f"n = {self.n} at temperature 0",
                "all answers would be the same",
                "Ask for one, or raise the temperature",
            )
        if self.min_tokens and (most := self.most_tokens()) is not None and self.min_tokens > most:
            raise invalid(
                "min_tokens",
                f"min_tokens is {self.min_tokens}",
                f"an answer has at most {most} tokens",
                "Lower it, or raise max_tokens",
            )
        if self.min_tokens and self.response_format and self.response_format.type != "text":
            raise invalid(
                "min_tokens",
                "min_tokens with a response_format",
                "where the JSON is whole, nothing but the end may follow",
                "Leave one of them out",
            )
        return self

    @model_validator(mode="after")
    def _schema_can_be_followed(self) -> Self:
        if self.response_format is not None:
            self._engine_format = self.response_format.for_engine()
        return self


class ChatRequest(_CompletionFields):
    kind = "chat"
    path = "/v1/chat/completions"
    id_prefix = "chatcmpl-"
    prompt_field = "messages"

    messages: list[ChatRequestMessage] = Field(
        min_length=1, max_length=MAX_MESSAGES, fail_fast=True,
        description='[{"role": "user", "content": "..."}, ...]',
    )  # fmt: skip
    max_completion_tokens: int | None = Field(None, ge=1, le=1_000_000)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    metadata: (
        dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None
    ) = Field(None, max_length=16, description="up to 16 short texts, without effect")
    chat_template_kwargs: dict[_TemplateName, _TemplateValue] | None = Field(
        None, max_length=16, description="variables of the chat template: texts, numbers, booleans"
    )
    tools: list[Tool] | None = Field(
        None, min_length=1, max_length=MAX_TOOLS, description="functions that may be called"
    )
    tool_choice: ToolChoice | None = Field(
        None, description="none, auto, required, or the name of a function that must be called"
    )
    parallel_tool_calls: bool | None = Field(None, description="several calls in an answer")

    _engine_tools: list[dict[str, Any]] = PrivateAttr(default_factory=list)

    def prompts(self) -> list[list[Message]]:
        return [[message.as_json() for message in self.messages]]

    @property
    def is_forced(self) -> bool:
        """The answer must be a call."""
        return self.tool_choice == "required" or isinstance(self.tool_choice, NamedTool)

    def sampling(self) -> dict[str, Any]:
        fields = super().sampling()
        return {**fields, "tools": self._engine_tools} if self.tools else fields

    def for_engine(self) -> dict[str, Any]:
        body = super().for_engine()
        body["messages"] = [message.for_engine() for message in self.messages]
        if self.tools:
            body["tools"] = self._engine_tools
        if self.is_forced:
            body.pop("response_format", None)  # it would be of the text beside the call
        return body

    def most_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @model_validator(mode="after")
    def _can_be_answered(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise invalid(
                "top_logprobs",
                "top_logprobs without logprobs",
                "there is nothing to list",
                'Send "logprobs": true with it',
            )
        for index, message in enumerate(self.messages):
            if "content" not in message.model_fields_set and not message.tool_calls:
                raise invalid(
                    "messages",
                    f"messages[{index}].content is missing",
                    "a message without tool_calls has one",
                    f"Send messages[{index}].content",
                )
        if not any(message.text.strip() or message.tool_calls for message in self.messages):
            raise invalid(
                "messages",
                "messages hold no text",
                "there is nothing to answer",
                "Write something into content",
            )
        if own := _RENDERERS_OWN & set(self.chat_template_kwargs or ()):
            raise invalid(
                "chat_template_kwargs",
                f"chat_template_kwargs has {', '.join(sorted(own))}",
                "the prompt is rendered with these, and recorded without",
                "Leave them out",
            )
        return self

    @model_validator(mode="after")
    def _tools_can_be_called(self) -> Self:
        if not self.tools:
            return self
        is_format = self.response_format is not None and self.response_format.type != "text"
        if is_format and self.tool_choice in (None, "auto"):
            raise invalid(
                "response_format",
                "a response_format with tools",
                "the engine lets an answer be one of the two; no tool would ever be called",
                'Leave one of them out, or send tool_choice "none" or "required"',
            )
        if self.is_forced and self.min_tokens:
            raise invalid(
                "min_tokens",
                "min_tokens with a call that must be written",
                "where the call is whole, nothing but the end may follow",
                "Leave one of them out",
            )
        self._engine_tools = engine_tools(
            self.tools,
            self.tool_choice or "auto",
            is_parallel=self.parallel_tool_calls is not False,
        )
        return self


class TextRequest(_CompletionFields):
    kind = "text"
    path = "/v1/completions"
    id_prefix = "cmpl-"
    prompt_field = "prompt"

    prompt: Annotated[
        Annotated[_NonEmpty, Tag("text")]
        | Annotated[
            list[_NonEmpty],
            Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True),
            Tag("texts"),
        ]
        | Annotated[_TokenIds, Tag("ids")]
        | Annotated[list[_TokenIds], Field(max_length=MAX_PROMPTS), Tag("lists of ids")],
        Discriminator(_prompt_kind),
    ] = Field(description="a text or up to 16 texts; or token ids, or up to 16 lists of them")
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=20)

    def prompts(self) -> list[list[Message]]:
        """Token ids as a JSON text."""
        prompts: list[Any] = [self.prompt]
        if isinstance(self.prompt, list) and not isinstance(self.prompt[0], int):
            prompts = self.prompt
        text, token_ids = PLAIN_ROLES
        return [
            [{"role": text, "content": prompt} if isinstance(prompt, str) else
             {"role": token_ids, "content": json.dumps(prompt, separators=(",", ":"))}]
            for prompt in prompts
        ]  # fmt: skip

    def most_tokens(self) -> int | None:
        return self.max_tokens or DEFAULT_TEXT_TOKENS

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


def _check_n_ids(request: TextRequest, n_context: int) -> None:
    """Raises PawlError: token ids that no context holds, which need no engine to be counted."""
    prompts = request.prompt if isinstance(request.prompt, list) else []
    n_ids = max(len(ids) for ids in [prompts, *prompts, []] if isinstance(ids, list))
    if n_ids > n_context:
        what = (f"This model's maximum context length is {n_context} tokens. However, your prompt "
                f"has {n_ids} tokens (context_length_exceeded)")  # fmt: skip
        raise PawlError(what, code="context_length_exceeded", param="prompt")


def with_settings(
    request: CompletionRequest, settings: VersionSettings
) -> tuple[CompletionRequest, bool]:
    """A request with what its version is asked with: the sampling where it says nothing, and the
    system prompt before a conversation that has no system message, not even an empty one. A plain
    completion has no place for a prompt.

    Returns:
        the request, and whether the prompt stands in it.
    """
    most = request.max_tokens or getattr(request, "max_completion_tokens", None)
    given = {"temperature": request.temperature, "top_p": request.top_p, "max_tokens": most}
    changes: dict[str, Any] = {
        name: value for name, value in settings.sampling.items() if given[name] is None
    }
    if request.n > 1 and changes.get("temperature") == 0:
        del changes["temperature"]  # all answers would be the same, and the engine refuses it
    if "max_tokens" in changes:
        changes["max_tokens"] = max(changes["max_tokens"], request.min_tokens or 1)
    has_prompt = (
        settings.system_prompt is not None
        and isinstance(request, ChatRequest)
        and all(message.role != "system" for message in request.messages)
    )
    if has_prompt and isinstance(request, ChatRequest):
        prompt = ChatRequestMessage(role="system", content=settings.system_prompt or "")
        changes["messages"] = [prompt, *request.messages]
    return request.model_copy(update=changes), has_prompt


def parse_request(
    raw: bytes,
    model: type[CompletionRequest],
    base: BaseModel | None = None,
    *,
    refuse_unknown: bool = False,
) -> CompletionRequest:
    """Check a completion request's body.

    Args:
        raw: its bytes.
        model: which of the two calls it is of.
        base: the base that is served, whom refusals name.
        refuse_unknown: refuse fields that would be ignored.

    Raises:
        PawlError: what is wrong with it, ``param`` naming the field.
    """
    body, ignored = sort_fields(
        without_null(parse_json(raw)), model.kind, model.model_fields, base,
        refuse_unknown=refuse_unknown,
    )  # fmt: skip
    try:
        request = model.model_validate(body)
    except ValidationError as error:
        raise validation_error(error.errors(include_url=False), body, model) from None
    if isinstance(request, TextRequest) and base is not None:
        _check_n_ids(request, base.max_length_tokens)
    if isinstance(request, ChatRequest) and request.is_forced and request.response_format:
        ignored.append("response_format")
    request._ignored = tuple(ignored)
    return request
