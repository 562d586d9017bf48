"""Other APIs over the chat path: a request is turned into a chat's, and its answer is turned back.

So what comes in by another API goes through ``Gateway.handle`` as any chat, and is admitted,
recorded and refused as one. A translation turns a stream's chunks into the other API's events; an
answer that isn't streamed is turned as a stream of one chunk, whose events nobody gets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from pawl.errors import PawlError, short
from pawl.models import BaseModel
from pawl.schemas import Body
from pawl.sse import DONE, EventParser
from serve.api.bodies import LARGE_BYTES, parse_json, read_body, replayed
from serve.api.completions import KEEP_ALIVE, Gateway
from serve.api.errors import invalid, respond_error, validation_error
from serve.api.fields import ignored_header, sort_fields, without_null
from serve.api.requests import ChatRequest

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

Fields = TypeVar("Fields", bound=Body)
Event = dict[str, Any]  # its "type" is its name
# Fields of a chat request that the other APIs' requests take too, under the same names.
AS_IN_CHAT = frozenset(
    "model stream temperature top_p top_k min_p seed presence_penalty frequency_penalty "
    "repetition_penalty logit_bias min_tokens stop_token_ids ignore_eos "
    "include_stop_str_in_output skip_special_tokens spaces_between_special_tokens "
    "chat_template_kwargs".split()
)


class Translation(Protocol):
    """One request of another API, and its answer as far as it has come."""

    request: type[ChatRequest]  # with the ids of the other API
    chat: dict[str, Any]  # the chat request
    ignored: Sequence[str]  # fields that were sent and have no effect
    params: Mapping[str, str]  # what fields of a chat request are called in the other API

    def begin(self, completion_id: str, version: str) -> None:
        """The answer begins."""

    def take(self, chunk: dict[str, Any]) -> list[Event]:
        """A chunk of a chat's stream, as events."""

    def end(self) -> list[Event]:
        """The last events: the answer is whole and recorded."""

    def fail(self, error: dict[str, Any]) -> list[Event]:
        """The last events of an answer that broke off; ``error`` is OpenAI's object."""

    def body(self) -> dict[str, Any]:
        """The whole answer, after ``end``."""


async def answer_as(
    gateway: Gateway,
    translate: Callable[[dict[str, Any]], Translation],
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Answer one request of another API; ``translate`` reads its body, or raises PawlError."""
    try:
        raw = await read_body(Request(scope, receive), gateway.max_body_bytes)

        is_charged = gateway.charge(scope)

        def read() -> Translation:
            return translate(parse_json(raw))

        if len(raw) > LARGE_BYTES:
            translation = await gateway.readers.read(scope, len(raw), read)
        else:
            translation = read()
    except ClientDisconnect:
        return
    except PawlError as error:
        gateway.count_refusal(error)
        await respond_error(error, scope, receive, send)
        return
    raw = b""  # what was read of it may wait for the engine
    body = json.dumps(translation.chat, ensure_ascii=False).encode()
    headers = [pair for pair in scope["headers"] if pair[0] != b"content-encoding"]
    await gateway.handle(
        translation.request, {**scope, "headers": headers}, replayed(body, receive),
        _Outgoing(translation, send), is_charged=is_charged,
    )  # fmt: skip


class _Outgoing:
    """Takes what the chat path sends, and sends it as the other API has it."""

    def __init__(self, translation: Translation, send: Send) -> None:
        self._translation, self._send = translation, send
        self._parser = EventParser()
        self._head: Message = {}
        self._is_stream = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._start(message)
        elif self._is_stream:
            body = message["body"]
            if body != KEEP_ALIVE:
                body = b"".join(map(_encoded, self._events(body)))
            if body or not message.get("more_body"):
                await self._send({**message, "body": body})
        else:
            body = json.dumps(self._whole(json.loads(message["body"])), ensure_ascii=False).encode()
            self._head["headers"].append((b"content-length", str(len(body)).encode()))
            await self._send(self._head)
            await self._send({**message, "body": body})

    async def _start(self, message: Message) -> None:
        headers = Headers(raw=message["headers"])
        replaced = (b"content-length", b"x-pawl-ignored")
        head = [pair for pair in message["headers"] if pair[0] not in replaced]
        ignored = [*self._translation.ignored, *headers.get("x-pawl-ignored", "").split(", ")]
        if any(ignored):
            head.append((b"x-pawl-ignored", ignored_header([*filter(None, ignored)]).encode()))
        self._head = {**message, "headers": head}
        if message["status"] == 200:
            self._translation.begin(headers["x-pawl-completion-id"], headers["x-pawl-version"])
            self._is_stream = headers["content-type"].startswith("text/event-stream")
        if self._is_stream:
            await self._send(self._head)

    def _events(self, body: bytes) -> list[Event]:
        events: list[Event] = []
        for data in self._parser.feed(body):
            if data == DONE:
                events += self._translation.end()
                continue
            chunk = json.loads(data)
            error = chunk.get("error")
            events += (
                self._translation.take(chunk)
                if error is None
                else self._translation.fail(self._named(error))
            )
        return events

    def _whole(self, value: dict[str, Any]) -> dict[str, Any]:
        if self._head["status"] != 200:
            return {**value, "error": self._named(value["error"])}
        choices = [{**choice, "delta": choice["message"]} for choice in value["choices"]]
        self._translation.take({**value, "choices": choices})
        self._translation.end()
        return self._translation.body()

    def _named(self, error: dict[str, Any]) -> dict[str, Any]:
        """An error with the field's name in the other API."""
        param: Any = error.get("param")
        return {**error, "param": self._translation.params.get(param, param)}


def _encoded(event: Event) -> bytes:
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return f"event: {event['type']}\ndata: {text}\n\n".encode()


# -- what translations share


def read_fields(
    body: dict[str, Any], kind: str, model: type[Fields], base: BaseModel, *, refuse_unknown: bool,
    more: Set[str] = frozenset(),
) -> tuple[Fields, dict[str, Any], list[str]]:  # fmt: skip
    """A request's fields, checked; those of them that a chat has too; and the names of those
    that are ignored.

    Args:
        body: the request's.
        kind: of ``serve.api.fields.sort_fields``.
        model: the fields that are taken.
        base: the base that is served, whom refusals name.
        refuse_unknown: refuse fields that would be ignored.
        more: fields of a chat, beside ``AS_IN_CHAT``, that this API has under the same name.

    Raises:
        PawlError: what is wrong with them.
    """
    body, as_in_chat = without_null(body), AS_IN_CHAT | more
    # Messages are the translation's own to read.
    apart = {name: body.pop(name) for name in ("messages",)
             if name in model.model_fields and name in body}  # fmt: skip
    body, ignored = sort_fields(
        body, kind, set(model.model_fields) | as_in_chat, base, refuse_unknown=refuse_unknown
    )
    body |= apart
    try:
        fields = model.model_validate(body)
    except ValidationError as error:
        raise validation_error(error.errors(include_url=False), body, model) from None
    return fields, {name: body[name] for name in as_in_chat if name in body}, ignored


def unsupported(param: str, what: str, why: str, do: str = "Leave it out") -> PawlError:
    return PawlError(what, why, do, code="unsupported_parameter", param=param)


def text_of(
    content: Any, kinds: Mapping[str, str], place: str, ignored: dict[str, None], known: str = ""
) -> Any:
    """A content of texts alone, as the content of a chat message; see ``text_parts``."""
    return whole_text(text_parts(content, kinds, place, ignored, known))


def text_parts(
    content: Any, kinds: Mapping[str, str], place: str, ignored: dict[str, None], known: str = "",
    start: int = 0,
) -> list[dict[str, str]]:  # fmt: skip
    """A content of texts alone, as parts of a chat message.

    Args:
        content: a text, or a list of parts.
        kinds: the types of parts that hold text, with the field that it is in.
        place: where the content stands, for errors; it begins with the request's field.
        ignored: the names of the parts' fields without effect are added to it.
        known: fields of a part that always come and say nothing here.
        start: the number of the first part, for errors.

    Raises:
        PawlError: it is something else, or holds what is no text.
    """
    param = place.partition("[")[0].partition(".")[0]
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise invalid(param, f"{place} is {short(content)}", "it is neither a text nor a list",
                      "Send a text, or a list of text parts")  # fmt: skip
    parts = []
    for index, part in enumerate(content, start):
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str):
            raise invalid(param, f"{place}[{index}] is {short(part)}", "it has no type",
                          f'Send {{"type": "{next(iter(kinds))}", ...}}')  # fmt: skip
        if kind not in kinds:
            raise unsupported(param, f"{place}[{index}] is of the type {short(kind)}",
                              "only text is served here")  # fmt: skip
        text = part.get(kinds[kind])
        if not isinstance(text, str):
            raise invalid(param, f"{place}[{index}].{kinds[kind]} is {short(text)}",
                          "it is no text", "Send a text")  # fmt: skip
        ignored |= {f"{param}[].content[].{name}": None for name, value in part.items()
                    if value and name not in ("type", kinds[kind], *known.split())}  # fmt: skip
        parts.append({"type": "text", "text": text})
    return parts


def whole_text(parts: list[dict[str, str]]) -> Any:
    """One part's text, none's empty text, or the parts."""
    return parts if len(parts) > 1 else "".join(part["text"] for part in parts)


def check_ignored(ignored: Sequence[str], refuse_unknown: bool) -> None:
    """Raises PawlError: something is ignored that shall be refused."""
    if ignored and refuse_unknown:
        raise PawlError(
            f"unknown field {short(ignored[0])}",
            "it has no effect here",
            "Leave it out",
            code="unknown_parameter",
            param=ignored[0].partition("[")[0].partition(".")[0],
        )
