"""From an answer's bytes to the rows that the store keeps."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.schemas import PLAIN_ROLES, AnswerEnd, Caller, Completion, Message
from pawl.server import SERVER_CALLERS
from serve.api.requests import CompletionRequest

if TYPE_CHECKING:
    from feedback.store import Store
    from serve.api.gateways import RemoteGateway

COMMIT_TIMEOUT_SECONDS = 30.0
MAX_ID_CHARACTERS = 200
IMPORTED = "import:"  # as feedback.formats writes raters and conversations of files
MOST_CHARACTERS_A_TOKEN = 32  # on average, of a prompt as long as the context
Status = Literal["complete", "cancelled", "error"]


@dataclass(slots=True)
class Choice:
    """One of the ``n`` answers."""

    text: str = ""
    finish_reason: str | None = None
    stop_reason: str | int | None = None  # vLLM's: what ended it, a text or a token's id
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)  # of tools, by their place

    def take_calls(self, parts: list[dict[str, Any]]) -> None:
        """Add calls, whole or in pieces: a piece names its call by ``index``, and continues the
        text of its arguments."""
        for place, part in enumerate(parts):
            empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            call = self.calls.setdefault(part.get("index", place), empty)
            call["id"] = part.get("id") or call["id"]
            function = part.get("function") or {}
            call["function"]["name"] += function.get("name") or ""
            call["function"]["arguments"] += function.get("arguments") or ""

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        return [self.calls[place] for place in sorted(self.calls)]


@dataclass(slots=True)
class Answer:
    """What the engine has answered so far. Token counts are those of all choices together."""

    choices: dict[int, Choice] = field(default_factory=dict)
    n_prompt_tokens: int | None = None
    n_completion_tokens: int | None = None
    error: str | None = None
    n_pieces: int = 0  # of text

    def take(self, raw: bytes, *, is_event: bool = False) -> dict[str, Any]:
        """Add a whole body, or one event of a stream; answers it parsed. The usage in an event that
        has choices (``continuous_usage_stats``) is of one choice alone, so it is not taken.

        Raises:
            ValueError: it is no JSON.
        """
        value: dict[str, Any] = json.loads(raw.decode())  # bytes take longer
        if "error" in value:
            error = value["error"]
            self.error = str(error.get("message", error) if isinstance(error, dict) else error)
            return value
        for part in value.get("choices", []):
            self.n_pieces += 1
            choice = self.choices.setdefault(part["index"], Choice())
            message = part.get("delta") or part.get("message") or {}
            choice.text += part.get("text") or message.get("content") or ""
            if calls := message.get("tool_calls"):
                choice.take_calls(calls)
            choice.finish_reason = part.get("finish_reason") or choice.finish_reason
            if part.get("stop_reason") is not None:
                choice.stop_reason = part["stop_reason"]
        if (usage := value.get("usage")) and not (is_event and value.get("choices")):
            self.n_prompt_tokens = usage.get("prompt_tokens")
            self.n_completion_tokens = usage.get("completion_tokens")
        return value


@dataclass(slots=True)
class Exchange:
    """One request on its way: who asked whom for what, and what came so far.

    ``began`` is of the monotonic clock, in seconds.
    """

    completion_id: str
    conversation_id: str
    rater_id: str
    request_id: str
    created_at: str
    began: float
    sent: CompletionRequest
    request: CompletionRequest  # as the engine gets it: with what its version is asked with
    version: str
    base: BaseModel
    system_prompt_sha256: str | None = None  # of the version's, where it stands in the request
    answer: Answer = field(default_factory=Answer)
    first_token_seconds: float | None = None
    begun: bool = False  # the head of the answer has left
    asked: bool = False  # the engine has it, or had it
    recorded: bool = False
    caller: str = ""  # whose share of the engine it comes out of
    n_expected_tokens: int = 0
    n_sent_tokens: int = 0  # of them the prompt's, by its size
    asked_by: RemoteGateway | None = None  # which asks the engine, and records what it answers
    ended_as: Status = "complete"  # there

    def take_end(self, ended: AnswerEnd) -> None:
        """Note how another gateway's answer ended."""
        self.answer.n_prompt_tokens = ended.n_prompt_tokens
        self.answer.n_completion_tokens = ended.n_completion_tokens
        self.answer.n_pieces = ended.n_pieces
        self.first_token_seconds, self.ended_as = ended.first_token_seconds, ended.status

    @property
    def n_rows(self) -> int:
        """Answers that were asked for."""
        return self.sent.n * len(self.sent.prompts())

    @property
    def n_used_tokens(self) -> int | None:
        """Of prompt and answer. Where the engine did not say, as of a stream that was left: the
        prompt's by its size and one an event; None where nothing is known."""
        n_prompt, n_answer = self.answer.n_prompt_tokens, self.answer.n_completion_tokens
        if n_prompt is not None and n_answer is not None:
            return n_prompt + n_answer
        return self.n_sent_tokens + self.answer.n_pieces if self.answer.n_pieces else None

    @property
    def is_hopeless(self) -> bool:
        """Nothing came, and the engine would have refused it: a prompt that no context holds. Kept
        for all who hang up early, such prompts would fill the disk."""
        n_characters = len(json.dumps(self.request.sampling().get("tools", "")))
        for prompt in self.request.prompts():
            for message in prompt:
                calls = message.get("tool_calls", "")
                n_characters += len(message["content"]) + len(json.dumps(calls))
        most = MOST_CHARACTERS_A_TOKEN * self.base.max_length_tokens * len(self.request.prompts())
        return not self.answer.n_pieces and n_characters > most

    def rows(self, status: Status) -> list[Completion]:
        """One row a choice, also for choices of which nothing came. The messages are those that
        were sent: a version's own system prompt is named by its hash, so that nothing is trained on
        it by accident (``docs/design.md``).

        The engine counts the tokens of all choices together: with several, a row has no count.
        """
        request, answer = self.request, self.answer
        prompts, sampling = self.sent.prompts(), request.sampling()
        n_rows = self.n_rows
        total_seconds = time.monotonic() - self.began
        rows = []
        for index in range(n_rows):
            choice = answer.choices.get(index, Choice())
            rows.append(Completion(
                completion_id=self.completion_id,
                choice_index=index,
                conversation_id=self.conversation_id,
                rater_id=self.rater_id,
                created_at=self.created_at,
                asked_model=request.model,
                version=self.version,
                base_model=self.base.name,
                base_fingerprint=self.base.fingerprint,
                messages=prompts[index // request.n],
                completion=choice.text,
                finish_reason=choice.finish_reason,
                status=status,
                sampling=sampling,
                n_prompt_tokens=answer.n_prompt_tokens if len(prompts) == 1 else None,
                n_completion_tokens=answer.n_completion_tokens if n_rows == 1 else None,
                first_token_seconds=self.first_token_seconds,
                total_seconds=total_seconds,
                streamed=request.stream,
                request_id=self.request_id,
                tool_calls=choice.tool_calls,
                stop_reason=self._stop_of(choice),
                system_prompt_sha256=self.system_prompt_sha256,
            ))  # fmt: skip
        return rows

    def _stop_of(self, choice: Choice) -> str | None:
        """What the request named that ended an answer. vLLM also tells ids of the base's own ends
        of turn; those are none."""
        stop = choice.stop_reason
        named = isinstance(stop, str) or stop in (self.request.stop_token_ids or ())
        return str(stop) if stop is not None and named else None


async def commit(store: Store, rows: list[Completion]) -> None:
    """Hand the rows to the store and wait until they are on disk.

    The rows are handed over at once, before the first await: whoever is cancelled while waiting
    has them stored all the same.

    Raises:
        PawlError: the store could not take them (``not_recorded``).
    """
    try:
        futures = [store.append_completion(row) for row in rows]
        waiting = asyncio.gather(*(asyncio.wrap_future(future) for future in futures))
        await asyncio.wait_for(asyncio.shield(waiting), COMMIT_TIMEOUT_SECONDS)
    except Exception as error:
        if isinstance(error, PawlError):
            why = error.why or error.what
        else:
            why = str(error) or f"{type(error).__name__} after {COMMIT_TIMEOUT_SECONDS:.0f} s"
        raise PawlError(
            "the answer could not be recorded",
            why,
            "Free some disk space or look at the server's log, then ask again",
            retryable=True,
            code="not_recorded",
        ) from error


def checked_id(name: str, value: str) -> str:
    """``value``; PawlError if it is too long (cut off, two people could become one), has control
    characters or line ends, or is one that rows of imported files may have."""
    if value.startswith(IMPORTED):
        raise PawlError(
            f"{name} begins with {IMPORTED!r}",
            "so do the raters and conversations of imported files, for whom nobody else speaks",
            "Choose another",
            code="invalid_value",
            param=name,
        )
    if any(unicodedata.category(one) in ("Cc", "Zl", "Zp") for one in value):
        raise PawlError(
            f"{name} has control characters or line ends",
            "names stand on one line wherever they are shown",
            "Leave them out",
            code="invalid_value",
            param=name,
        )
    if len(value) > MAX_ID_CHARACTERS:
        raise PawlError(
            f"{name} has {len(value):,} characters",
            f"at most {MAX_ID_CHARACTERS} are kept",
            "Send a shorter one",
            code="invalid_value",
            param=name,
        )
    return value


def as_utf8(header: str) -> str:
    """A header's text, which the server reads byte by byte as Latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def conversation_of(header: str | None, rater_id: str, messages: list[Message]) -> str:
    """The conversation's id: the header's, else made of the rater and how the talk began.

    The beginning is everything up to the first message of the user, so each later turn of a
    conversation, which carries the earlier ones, gets the same id.
    """
    if header:
        return checked_id("X-Pawl-Conversation", as_utf8(header))
    beginning: list[Message] = []
    for message in messages:
        beginning.append(message)
        if message["role"] in ("user", *PLAIN_ROLES):
            break
    text = json.dumps([rater_id, beginning], ensure_ascii=False)
    return "conv-" + hashlib.sha256(text.encode()).hexdigest()[:24]


def rater_of(caller: Caller, header: str | None, user: str | None, key: str | None) -> str:
    """Who asks: the caller, ``caller/rater`` where it may name raters, the rater alone where it is
    everyone.

    Args:
        header: ``X-Pawl-Rater``; what it says, or else ``user``, is the rater. Both are ignored
            for a caller that may not name raters.
        user: the body's.
        key: as it was sent (``serve.api.auth.key_of``); its hash stands for a caller that is
            everyone and names nobody, ``anonymous`` where none was sent.
    """
    rater = None
    if caller.may_name_raters and header:
        rater = checked_id("X-Pawl-Rater", as_utf8(header))
    elif caller.may_name_raters and user:
        rater = checked_id("user", user)
    if not caller.is_everyone:
        return f"{caller.name}/{rater}" if rater else caller.name
    if rater in SERVER_CALLERS:
        raise PawlError(
            f"the rater is {rater!r}",
            "what a reviewer decides with the server's own key stands under that name",
            "Choose another",
            code="invalid_value",
            param="user",
        )
    if rater:
        return rater
    return f"key-{hashlib.sha256(key.encode()).hexdigest()[:16]}" if key else "anonymous"
