"""A client of Pawl's HTTP API, for programs and for the command line.

    from pawl.client import Pawl

    pawl = Pawl("http://127.0.0.1:8000")
    answer = pawl.chat("What is the capital of France?")
    pawl.feedback(answer.id, thumb="down", correction="Paris.")

Every call raises PawlError with the server's own words and its ``code``; ``retryable`` where the
same call may succeed later. ``examples/client.py`` shows the rest.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter

from pawl.errors import PawlError
from pawl.schemas import (
    ChatAnswer,
    Conversation,
    Feedback,
    FeedbackResults,
    Message,
    Promotion,
    Run,
    RunWithVerdict,
    Status,
    StoredFeedback,
    Thumb,
)
from pawl.sse import DONE, EventParser
from pawl.tls import trusted

ANSWER_SECONDS = 600.0  # a promotion loads and probes before it answers
T = TypeVar("T")


class Client(Protocol):
    """What the command line and the nightly run need of a server."""

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any: ...
    def post(self, path: str, body: Mapping[str, Any]) -> Any: ...


class Pawl:
    """One server, or the same application called in this process. It keeps no connection between
    calls, so there is nothing to close. PawlError where ``SSL_CERT_FILE`` names no certificates.

    Args:
        url: the server's address.
        api_key: sent as a bearer token.
        app: an ASGI application to call in this process instead of the network.
        timeout_seconds: how long to wait for an answer, or for the next piece of a stream.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        app: Any = None,
        timeout_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self.url = url
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=timeout_seconds,
            limits=httpx.Limits(max_keepalive_connections=0),
            transport=_InProcess(app) if app is not None else None,
            verify=trusted(url),
            trust_env=False,  # loopback is not behind HTTP_PROXY
        )

    # -- chatting

    def chat(
        self,
        messages: str | list[Message],
        *,
        model: str = "pawl",
        conversation_id: str | None = None,
        rater_id: str | None = None,
        **fields: Any,
    ) -> ChatAnswer:
        """An answer, whole: its ``text``, its ``id`` for feedback, the exact version in ``model``.

        Args:
            messages: a question, or the conversation so far.
            model: ``pawl`` is the champion; ``pawl@3`` and ``base`` are exact.
            conversation_id: by default made of the rater and how the conversation began.
            rater_id: who asks.
            fields: any field of OpenAI's chat call that the server takes (``temperature``, ...).
        """
        body, headers = _chat_body(messages, model, fields), _people(conversation_id, rater_id)
        answer = self._call("POST", "/v1/chat/completions", body=body, headers=headers)
        return ChatAnswer.model_validate(answer)

    @contextmanager
    def stream(
        self,
        messages: str | list[Message],
        *,
        model: str = "pawl",
        conversation_id: str | None = None,
        rater_id: str | None = None,
        **fields: Any,
    ) -> Iterator[ChatStream]:
        """An answer piece by piece; arguments as ``chat``. Leaving the block early hangs up."""
        path, body = "/v1/chat/completions", _chat_body(messages, model, fields)
        headers = _people(conversation_id, rater_id)
        with (
            transport_errors(self.url, "POST", path),
            self._http.stream(
                "POST", path, json={**body, "stream": True}, headers=headers
            ) as response,
        ):
            if response.is_error:
                response.read()
                parsed(response)  # raises what the server says
            yield ChatStream(response)

    def conversation(
        self,
        conversation_id: str,
        rater_id: str | None = None,
        *,
        completion_id: str | None = None,
        branches: bool = False,
    ) -> Conversation:
        """What was said in a conversation of this person.

        Args:
            completion_id: read what led to this answer; by default, to the newest.
            branches: read what was asked again or edited too.
        """
        path = f"/v1/conversations/{quote(conversation_id, safe='')}"
        query = {"completion_id": completion_id, "branches": branches}
        headers = _people(None, rater_id)
        return Conversation.model_validate(self._call("GET", path, query=query, headers=headers))

    # -- feedback

    def feedback(
        self,
        completion_id: str,
        *,
        choice_index: int | None = None,
        thumb: Thumb | None = None,
        categories: list[str] | None = None,
        comment: str | None = None,
        correction: str | None = None,
        preferred_over: str | None = None,
        preferred_over_choice_index: int | None = None,
        retract: bool | None = None,
        idempotency_key: str | None = None,
        rater_id: str | None = None,
    ) -> StoredFeedback:
        """Say something about an answer. What is None leaves what the person said before; an
        empty text or list takes it away, ``retract`` takes away all."""
        body = {
            "completion_id": completion_id, "choice_index": choice_index, "thumb": thumb,
            "categories": categories, "comment": comment, "correction": correction,
            "preferred_over": preferred_over,
            "preferred_over_choice_index": preferred_over_choice_index, "retract": retract,
            "idempotency_key": idempotency_key,
        }  # fmt: skip
        headers = _people(None, rater_id)
        return _as(StoredFeedback, self._call("POST", "/v1/feedback", body=body, headers=headers))

    def feedback_batch(self, feedback: Sequence[Mapping[str, Any]]) -> FeedbackResults:
        """Say something about up to 1,000 answers, each with the fields of ``feedback``. Each is
        stored or refused for itself: ``results`` has what became of each, in their order."""
        answer = self._call("POST", "/v1/feedback/batch", body={"feedback": list(feedback)})
        return FeedbackResults.model_validate(answer)

    def feedback_on(self, completion_id: str) -> list[Feedback]:
        """What counts now on an answer, one row a person."""
        return _as(list[Feedback], self.get("/v1/feedback", {"completion_id": completion_id}))

    # -- operating

    def status(self) -> Status:
        """Which version answers, how the engine is, what is in the store."""
        return Status.model_validate(self.get("/admin/status"))

    def runs(self) -> list[Run]:
        """The nights, newest first."""
        return _as(list[Run], self.get("/admin/runs"))

    def run(self, run_id: str) -> RunWithVerdict:
        """One night with its verdict."""
        return RunWithVerdict.model_validate(self.get(f"/admin/runs/{quote(run_id, safe='')}"))

    def promote(
        self,
        run_id: str | None = None,
        *,
        adapter_dir: str | None = None,
        version: str | None = None,
        system_prompt: str | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        on: str | None = None,
        force: bool | None = None,
    ) -> Promotion:
        """Bring in what a run trained, or with ``force`` any adapter; or make a version of a system
        prompt and sampling, ``on`` the base or a version's weights, which ``force`` promotes too,
        or later its name in ``version`` with ``force``. ``outcome`` says what became of it."""
        body = {
            "run_id": run_id, "adapter_dir": adapter_dir, "version": version,
            "system_prompt": system_prompt, "temperature": temperature, "top_p": top_p,
            "max_tokens": max_tokens, "on": on, "force": force,
        }  # fmt: skip
        return _as(Promotion, self.post("/admin/promotions", body))

    def rollback(self, to: str | None = None) -> Promotion:
        """Go back to the champion before this one, or to ``to``."""
        return _as(Promotion, self.post("/admin/rollback", {"to": to}))

    def history(self) -> list[Promotion]:
        """Every promotion and rollback, oldest first."""
        return _as(list[Promotion], self.get("/admin/history"))

    # -- any route

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Answer of ``GET path``, parsed."""
        return self._call("GET", path, query=query)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Answer of ``POST path``, parsed."""
        return self._call("POST", path, body=body)

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[bytes, bytes] | None = None,
    ) -> Any:
        query = {key: value for key, value in (query or {}).items() if value is not None}
        with transport_errors(self.url, method, path):
            response = self._http.request(method, path, params=query, json=body, headers=headers)
        return parsed(response)


@contextmanager
def transport_errors(url: str, method: str, path: str) -> Iterator[None]:
    """Errors of a connection to the server at ``url`` as PawlErrors: ``no_answer_yet`` or
    ``unreachable``."""
    try:
        yield
    except httpx.ReadTimeout as err:
        seconds = err.request.extensions["timeout"]["read"]
        raise PawlError(
            f"{method} {path} was not answered within {seconds:g} s",
            "the server may still be at it",
            "Look with 'pawl status' and 'pawl history' before asking again",
            retryable=True,
            code="no_answer_yet",
        ) from err
    except httpx.TransportError as err:
        raise PawlError(
            f"the server at {url} did not answer",
            str(err) or type(err).__name__,
            "Is 'pawl up' running there?",
            retryable=True,
            code="unreachable",
        ) from err


class ChatStream:
    """The pieces of one answer; iterate over it once."""

    def __init__(self, response: httpx.Response) -> None:
        self.completion_id = response.headers["X-Pawl-Completion-Id"]
        self.version = response.headers["X-Pawl-Version"]
        self._response = response

    def __iter__(self) -> Iterator[str]:
        """Raises PawlError when the answer breaks off; after the last piece it is recorded."""
        reader = ChatReader()
        for chunk in self._response.iter_bytes():
            yield from reader.feed(chunk)
        reader.end()


class ChatReader:
    """A streamed answer: its bytes in, its text out, and how it ended, once it has."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self._parser = EventParser()
        self._is_done = False

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Pieces of text. Raises PawlError: the server's, when it breaks the answer off."""
        for data in self._parser.feed(chunk):
            if data == DONE:
                self._is_done = True
                return
            event = json.loads(data)
            if "error" in event:
                raise _error(event, can_retry=True)
            for one in event["choices"]:
                self.finish_reason = one.get("finish_reason") or self.finish_reason
            yield from filter(None, (one["delta"].get("content") for one in event["choices"]))

    def end(self) -> None:
        """Raises PawlError: the stream ended before the answer did."""
        if not self._is_done:
            raise PawlError(
                "the answer broke off",
                "the server closed the stream before its end",
                "Ask again",
                retryable=True,
                code="engine_lost",
            )


class _InProcess(httpx.BaseTransport):
    """Calls an ASGI application in an event loop of each call's own, in another thread: a signal
    that raises in the caller's, as the end of a night's time does, leaves no loop half closed."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def call() -> httpx.Response:
            response = await httpx.ASGITransport(self._app).handle_async_request(request)
            content = await response.aread()
            return httpx.Response(response.status_code, headers=response.headers, content=content)

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, call()).result()


def _chat_body(
    messages: str | list[Message], model: str, fields: Mapping[str, Any]
) -> dict[str, Any]:
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    return {"model": model, "messages": messages, **fields}


def _people(conversation_id: str | None, rater_id: str | None) -> dict[bytes, bytes]:
    """Headers in UTF-8, as the server reads them; httpx would encode a string as ASCII."""
    given = {b"X-Pawl-Conversation": conversation_id, b"X-Pawl-Rater": rater_id}
    return {name: value.encode() for name, value in given.items() if value is not None}


def _as(kind: type[T], value: Any) -> T:
    return TypeAdapter(kind).validate_python(value)


def parsed(response: httpx.Response) -> Any:
    """The answer's JSON. Raises PawlError: the server's own, or there is no JSON in it."""
    try:
        value = response.json()
    except ValueError:
        raise _no_json(response) from None
    if response.is_error:
        raise _error(value, response.status_code in (502, 503, 504))
    return value


def _error(value: Any, can_retry: bool) -> PawlError:
    """The server's error in its own words; ``can_retry`` holds where it does not say (an engine's,
    a proxy's)."""
    error = value.get("error") if isinstance(value, dict) else None
    error = error if isinstance(error, dict) else {"message": error}
    return PawlError(
        str(error.get("message") or value),
        retryable=bool(error.get("retryable", can_retry)),
        code=str(error.get("code") or "error"),
        param=error.get("param"),
    )


def _no_json(response: httpx.Response) -> PawlError:
    """What stands between here and the server, a proxy, answers without JSON."""
    request = response.request
    return PawlError(
        f"{request.method} {request.url.path} answered {response.status_code} without JSON",
        response.text[:200],
        "Look at the server's log",
        retryable=response.status_code in (502, 503, 504),
    )
