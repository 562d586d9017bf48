"""A conversation on the page: its turns, the answer being written, what counts of its feedback.

Over 400 lines because asking, waiting, stopping and going between variants change the same turns.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import random
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from pawl.errors import PawlError
from serve.pages.api import Api, Begun, Ended
from serve.pages.texts import OwnError, engine_says, say, told

log = logging.getLogger("pawl.pages")
FRAME_SECONDS = 0.06  # the page is redrawn at most this often while an answer streams
# An answer that nobody watches any more is given up after this time. A page whose connection was
# cut for a few seconds is back before.
LEFT_SECONDS = 20.0
HELD_SECONDS = 600.0  # that a question waits for an engine that is being started
RECORDING_SECONDS = 30.0  # at most, after an answer was stopped
LOOK_SECONDS = 0.5  # between two looks at it
STARTING = ("starting", "restarting")  # states of an engine that will be ready
LOST_SECONDS = 2.0  # until it is known that an engine ended
_STATES: dict[str, Literal["complete", "stopped", "failed"]] = {
    "complete": "complete",
    "cancelled": "stopped",
    "error": "failed",
}


@dataclass(slots=True, eq=False)
class Turn:
    """A question and its answer so far."""

    question: str
    answer: str = ""
    completion_id: str | None = None  # known from the reply's first byte on
    version: str = ""
    state: Literal["waiting", "streaming", "complete", "stopped", "failed"] = "waiting"
    held: str = ""  # why the engine could not be asked yet; it stays where it never was
    error: str = ""
    error_code: str = ""
    feedback: dict[str, Any] | None = None  # what counts in the store; None: nothing
    taken_back: bool = False
    calls: list[str] = field(default_factory=list)  # of tools, by a program: shown, never made here
    # All that were asked in its place, in order, itself too; they share it. Empty: only itself.
    variants: list[Turn] = field(default_factory=list, repr=False)
    # What followed it when it was shown last, while another variant is shown.
    later: list[Turn] = field(default_factory=list, repr=False)
    other: Turn | None = None  # a second answer beside it, until one of them is chosen
    is_second: bool = False  # whether the second answer is drawn first
    compared: str = ""  # what came of the comparison
    is_cut: bool = False  # at the most tokens that it may have

    @property
    def sides(self) -> tuple[Turn, Turn]:
        """Both answers in the order in which they are drawn."""
        assert self.other is not None
        return (self.other, self) if self.is_second else (self, self.other)

    @property
    def is_comparable(self) -> bool:
        """Whether there are two answers to choose from: whole, and not the same."""
        both = self.sides if self.other is not None else ()
        texts = {one.answer.strip() for one in both if one.state == "complete"}
        return len(texts - {""}) == 2

    def keep(self, side: Turn) -> None:
        """Go on with this one of the two answers; the other is a variant of it, if it is whole."""
        if self.is_comparable:
            before, after = self.sides
            lost = Turn(self.question)
            lost.take(after if side is before else before)
            self.variants = lost.variants = self.variants or [self]
            self.variants.insert(self.variants.index(self) + (side is before), lost)
        self.take(side)
        self.other = None

    def put_beside(self, completion_id: str) -> Turn:
        """Show this answer and another variant to choose from, where nothing was said about either
        yet; which turn holds both."""
        found = [one for one in self.variants if one is self or one.completion_id == completion_id]
        if len(found) < 2 or any(one.feedback is not None for one in found):
            return self
        first, second = found
        first.other = second
        if not first.is_comparable:
            first.other = None
            return self
        self.variants.remove(second)
        if len(first.variants) == 1:
            first.variants = []
        return first

    def take(self, side: Turn) -> None:
        """Hold that answer."""
        for name in ("answer", "completion_id", "version", "state", "is_cut", "error", "error_code",
                     "feedback", "taken_back"):  # fmt: skip
            setattr(self, name, getattr(side, name))

    @property
    def marked_bad(self) -> bool:
        return self.feedback is not None and self.feedback["thumb"] == "down"


@dataclass(eq=False)
class Conversation:
    """Turns in order. Every open page of a person that shows this conversation shares it.

    A question that is asked again or edited keeps its earlier variants with what followed them;
    ``turns`` is the path that is shown, and that the next question goes on with."""

    conversation_id: str = ""
    turns: list[Turn] = field(default_factory=list)
    replaced: list[Turn] = field(default_factory=list)  # what stood where was asked last
    reader: asyncio.Task[None] | None = None
    watchers: set[str] = field(default_factory=set)  # sessions that draw the answer as it comes
    left_seconds: float = LEFT_SECONDS
    held_seconds: float = HELD_SECONDS
    learn: bool = True  # False: nothing of it is to be learned from
    deleted: bool = False  # by its person, perhaps in another tab
    looked_at: float = 0.0  # of the monotonic clock: by a page that draws it now and then
    first_sent: int = 0  # the turn from which on the model is sent the conversation
    settings: dict[str, Any] = field(default_factory=dict)  # those of ChatSettings that are set
    stopped_at: float = -math.inf  # of the monotonic clock: the last answer, while it came

    @classmethod
    def restored(cls, found: dict[str, Any]) -> Conversation:
        """The conversation that ``GET /v1/conversations/{conversation_id}?branches=true`` answers.

        Calls of tools and what came back stand under the answer. Messages of other roles have no
        place on the page.
        """
        turns = _turns_of(found["messages"])
        paths = [(found["messages"], turns)]
        for branch in found.get("branches", []):
            messages, before = paths[branch["of"]]
            shared = messages[: branch["at"]]
            at = sum(message["role"] == "user" for message in shared)
            others = _turns_of(branch["messages"])
            others[0].later = others[1:]
            variants = others[0].variants = before[at].variants = before[at].variants or [
                before[at]
            ]
            places = (message.get("variant") for message in branch["messages"])
            variants.insert(next(filter(None, places)) - 1, others[0])  # a system prompt has none
            paths.append(([*shared, *branch["messages"]], [*before[:at], *others]))
        left_out = found["messages"][: found.get("n_left_out", 0)]
        n_turns = sum(message["role"] == "user" for message in left_out)
        name, learn = found["conversation_id"], found.get("learn", True)
        settings = found.get("settings") or {}
        if turns and (beside := found.get("beside")):
            turns[-1] = turns[-1].put_beside(beside)
            turns[-1].is_second = _is_second(name, turns)
        return cls(name, turns, learn=learn, first_sent=n_turns, settings=settings)

    @property
    def model(self) -> str:
        """Which version answers."""
        return str(self.settings.get("model", "pawl"))

    @property
    def busy(self) -> bool:
        return self.reader is not None and not self.reader.done()

    @property
    def is_being_recorded(self) -> bool:
        """Whether the store may not know yet of the last answer: it comes, or was stopped a moment
        ago, which the gateway notices by the closed connection."""
        is_late = time.monotonic() - self.stopped_at < RECORDING_SECONDS
        return self.busy or (is_late and bool(self.turns and self.turns[-1].completion_id))

    @property
    def state(self) -> tuple[Any, list[Any]]:
        """All that a page draws, to be compared with what was drawn: of the whole, and of each
        turn."""
        turns = [
            (
                turn, turn.state, len(turn.answer), turn.held, turn.feedback, turn.taken_back,
                len(turn.variants),
                turn.other and (turn.other.state, len(turn.other.answer)),
            )
            for turn in self.turns
        ]  # fmt: skip
        settings = tuple(sorted(self.settings.items()))
        return (self.busy, self.learn, self.is_full, settings), turns

    async def delete(self) -> None:
        """Show nothing of it any more, on no page."""
        self.deleted = True
        await self.stop()
        self.turns, self.replaced, self.settings = [], [], {}

    async def stop(self) -> None:
        """Hang up on the answer being written; what came of it stays."""
        reader = self.reader
        if reader is not None and not reader.done():
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader
            self.stopped_at = time.monotonic()

    @property
    def is_held(self) -> bool:
        """Whether the last question was not asked yet."""
        return bool(self.turns and self.turns[-1].held)

    def take_back(self) -> None:
        """Show the last question no longer, which was not asked, but what stood in its place."""
        if self.is_held and not self.busy:
            *before, turn = self.turns
            if turn.variants:
                turn.variants.remove(turn)
            for stood in self.replaced[:1]:
                if stood.variants and stood not in stood.variants:
                    stood.variants.append(stood)
            self.turns, self.replaced = [*before, *self.replaced], []

    def choose(self, at: int, place: int) -> None:
        """Show another variant of turn ``at``, with what followed it when it was shown last."""
        turn = self.turns[at]
        turn.later = self.turns[at + 1 :]
        chosen = turn.variants[place]
        self.turns = [*self.turns[:at], chosen, *chosen.later]
        if at < self.first_sent:
            self.first_sent = 0

    def show_answer(self, completion_id: str) -> None:
        """Show a path on which this answer stands, if it is here."""
        paths, seen = [self.turns], set[int]()
        for path in paths:  # grows
            if any(turn.completion_id == completion_id for turn in path):
                for at, turn in enumerate(path):
                    if self.turns[at] is not turn:
                        self.choose(at, turn.variants.index(turn))
                return
            for at, turn in enumerate(path):
                others = [other for other in turn.variants if id(turn.variants) not in seen]
                seen.add(id(turn.variants))  # they share it
                paths += [[*path[:at], one, *one.later] for one in others if one is not turn]

    async def ask(
        self, api: Api, model: str, question: str, at: int, held: str = "", beside: str = ""
    ) -> Turn:
        """Put ``question`` as turn ``at`` and begin to read the answer; ``frames`` tells what
        comes. What stands there stays as a variant, unless it was never answered.

        Args:
            held: why the engine can't be asked yet.
            beside: the version of a second answer, to be compared with the first.
        """
        while self.busy:  # another page may have asked while this one waited
            await self.stop()
        for earlier in self.turns:
            if earlier.other is not None:  # nobody chose: it goes on with what stands first
                earlier.keep(earlier.sides[0])
        self.conversation_id = self.conversation_id or f"chat-{uuid.uuid4().hex}"
        turn = Turn(question, held=held)
        self.replaced = self.turns[at:]
        if self.replaced:
            self._keep_as_variant(self.replaced[0], self.replaced[1:], turn)
        self.turns = [*self.turns[:at], turn]
        if beside:
            turn.other, turn.is_second = (
                Turn(question),
                _is_second(self.conversation_id, self.turns),
            )
        if at < self.first_sent:
            self.first_sent = 0
        reading = self._read_both(api, model, beside, turn) if beside else None
        self.reader = asyncio.create_task(reading or self._read(api, model, turn))
        return turn

    def _keep_as_variant(self, stood: Turn, later: list[Turn], turn: Turn) -> None:
        stood.later, variants = later, stood.variants
        if stood.answer.strip() or stood.calls or later:
            variants = variants or [stood]
            variants.append(turn)
            stood.variants = turn.variants = variants
        elif variants:
            variants.remove(stood)
            variants.append(turn)
            turn.variants = variants

    async def frames(self, session: str) -> AsyncIterator[None]:
        """Yield when there is something new to show, and once when the answer is over.

        Args:
            session: who watches. When the last watcher goes before the end, the answer is given
                up after ``left_seconds``, unless somebody watches again by then.
        """
        reader, turn = self.reader, self.turns[-1]
        assert reader is not None
        self.watchers.add(session)
        try:
            shown, pause = None, FRAME_SECONDS
            while not reader.done():
                beside = turn.other and (turn.other.state, len(turn.other.answer))
                if shown != (turn.state, len(turn.answer), turn.held, beside):
                    shown = (turn.state, len(turn.answer), turn.held, beside)
                    began = time.monotonic()
                    yield
                    # Drawing a long answer takes a while, in everybody's loop.
                    pause = max(FRAME_SECONDS, 3 * (time.monotonic() - began))
                await asyncio.wait({reader}, timeout=pause)
        finally:
            self.leave(session)
        if turn.state == "waiting":  # stopped before the reader's first step
            turn.state = "stopped"
        yield

    @property
    def is_full(self) -> bool:
        """Whether the last question was refused and would fit without what stands before it."""
        if not self.turns or self.turns[-1].error_code != "context_length_exceeded":
            return False
        return any(turn.answer for turn in self.turns[self.first_sent : -1])

    def leave_out_oldest(self) -> None:
        """Send no longer the older half of what is sent before the last question."""
        self.first_sent += max(1, (len(self.turns) - self.first_sent) // 2)

    def leave(self, session: str) -> None:
        """This session watches no longer."""
        self.watchers.discard(session)
        if self.busy and not self.watchers:
            asyncio.get_running_loop().call_later(self.left_seconds, self._give_up, self.reader)

    def _give_up(self, reader: asyncio.Task[None] | None) -> None:
        if reader is None or reader.done() or self.watchers:
            return
        seconds = self.looked_at + self.left_seconds - time.monotonic()
        if seconds > 0:
            asyncio.get_running_loop().call_later(seconds, self._give_up, reader)
        else:
            reader.cancel()

    async def _read_both(self, api: Api, model: str, beside: str, turn: Turn) -> None:
        """Read two answers at once. Where one fails, or is stopped, the other stays alone."""
        assert turn.other is not None
        readers = [
            asyncio.create_task(self._read(api, model, turn)),
            asyncio.create_task(self._read(api, beside, turn.other)),
        ]
        try:
            await asyncio.gather(*readers)
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            for side in turn.sides if turn.other is not None else ():
                if side.state == "waiting":  # stopped before its reader's first step
                    side.state = "stopped"
            if turn.other is not None and not turn.is_comparable:
                rank = {"complete": 2, "stopped": 1}
                turn.keep(
                    max(
                        turn.sides,
                        key=lambda one: (bool(one.answer.strip()), rank.get(one.state, 0)),
                    )
                )

    async def _read(self, api: Api, model: str, turn: Turn) -> None:
        """Read the answer. Where no engine takes the question, since it is being started, it is
        asked again once there is one, for ``held_seconds``; once more too where the engine ended
        before the first word. Only once: perhaps it ended of this question."""
        until, was_lost = time.monotonic() + self.held_seconds, False
        ended: Literal["complete", "failed"] = "failed"
        try:
            while True:
                try:
                    await self._stream(api, model, turn)
                    ended = "complete"
                    break
                except PawlError as err:
                    is_lost = err.code == "engine_lost" and not was_lost and not turn.answer
                    is_again = is_lost or err.code == "engine_not_ready"
                    if not is_again or not await self._engine_is_back(api, turn, until, is_lost):
                        turn.error, turn.error_code = told(err), err.code
                        break
                    was_lost = was_lost or is_lost
        except asyncio.CancelledError:
            turn.state = "stopped"
            raise
        except Exception as err:  # shown on the page as well as logged: never a silent half answer
            log.exception("reading an answer failed")
            turn.error = f"{type(err).__name__}: {err}"
        turn.state = ended  # last: once it is drawn as over, the next question is taken

    async def _stream(self, api: Api, model: str, turn: Turn) -> None:
        """Ask, and read the answer to its end. Raises PawlError: it did not come whole."""
        names = self.settings.keys() & {"temperature", "max_tokens"}
        sampling = {name: self.settings[name] for name in names}
        stream = api.stream_chat(model, self._messages(), self.conversation_id, sampling)
        try:
            async for piece in stream:
                if isinstance(piece, Begun):
                    turn.completion_id, turn.version = piece.completion_id, piece.version
                    turn.state, turn.held = "streaming", ""
                elif isinstance(piece, Ended):
                    turn.is_cut = piece.is_cut
                else:
                    turn.answer += piece
        finally:
            await stream.aclose()  # type: ignore[attr-defined]

    async def _engine_is_back(self, api: Api, turn: Turn, until: float, is_lost: bool) -> bool:
        """Wait until the engine is ready, or has failed, which the next try says; False: it is
        starting still, or there is none."""
        turn.completion_id, turn.version, turn.state = None, "", "waiting"
        turn.held = turn.held or say("answer.being_started")
        await asyncio.sleep(LOST_SECONDS if is_lost else min(LOOK_SECONDS, self.held_seconds))
        while (seconds := until - time.monotonic()) > 0:
            with suppress(PawlError):
                engine = (await api.get("/health"))["engine"]
                if engine["state"] not in STARTING:
                    return bool(engine["state"] != "off")
                turn.held = engine_says(engine) or engine["state"]
            await asyncio.sleep(min(LOOK_SECONDS, seconds))
        return False

    def _messages(self) -> list[dict[str, str]]:
        """The conversation as the API takes it: questions that got no answer are left out."""
        prompt = self.settings.get("system_prompt")
        messages = [{"role": "system", "content": prompt}] if prompt else []
        for turn in self.turns[self.first_sent : -1]:
            if turn.answer:
                messages += [
                    {"role": "user", "content": turn.question},
                    {"role": "assistant", "content": turn.answer},
                ]
        return [*messages, {"role": "user", "content": self.turns[-1].question}]


def _is_second(conversation_id: str, turns: Sequence[Turn]) -> bool:
    """Whether the second answer to the last question is drawn first: by chance, but the same where
    the conversation is read again, for the page may show it as it was."""
    return random.Random(f"{conversation_id} {len(turns)} {turns[-1].question}").random() < 0.5


def _turns_of(messages: list[dict[str, Any]]) -> list[Turn]:
    turns: list[Turn] = []
    for message in messages:
        if message["role"] == "user":
            turns.append(Turn(message["content"], state="stopped"))
        elif message["role"] == "assistant" and turns:
            turn = turns[-1]
            turn.answer = message["content"]
            for call in message.get("tool_calls") or []:
                function = call["function"]
                turn.calls.append(f"{function['name']}({function['arguments']})")
            turn.completion_id = message.get("completion_id")
            turn.version = message.get("version", "")
            turn.state = _STATES[message.get("status", "complete")]
            turn.is_cut = message.get("finish_reason") == "length"
            turn.error = say("answer.broke_off") if turn.state == "failed" else ""
            turn.feedback = message.get("feedback")
        elif message["role"] == "tool" and turns:
            turns[-1].calls.append(f"→ {message['content']}")
    return turns


@dataclass
class Frames:
    """What was drawn of a part of the page, several events draw at once."""

    n_drawn: int = 0  # how often; the browser says which of them it shows
    n_missed: int = 0  # what n_drawn was when the browser was found to show another

    def is_lost(self, shown: str | None) -> bool:
        """Whether the browser has shown something else than what was drawn last for two looks: a
        frame was lost, or came before one that was drawn earlier.

        Args:
            shown: what the browser says that it shows, an ``n_drawn``.
        """
        if not self.n_drawn or shown == str(self.n_drawn):
            return False
        missed, self.n_missed = self.n_missed, self.n_drawn
        return missed == self.n_drawn


@dataclass(eq=False)
class OpenPage:
    """What one open page shows: a conversation, and the answer whose feedback form is open.

    Gradio keeps it in the server's memory while the page is open, and copies an empty one for
    every page.
    """

    conversation: Conversation = field(default_factory=Conversation)
    opened: bool = False  # whether the conversation that the address names was looked for
    wanted: str = ""  # the id that was looked for last
    search: str = ""  # of the list of conversations
    n_listed: int = 50
    listed: int = 0  # hash of the list as it is drawn
    n_said_back: int = 3  # of flags that are answered differently now, shown at most
    drawn: tuple[Any, Sequence[Any]] = ((), ())  # the conversation's state when it was drawn
    frames: Frames = field(default_factory=Frames)  # of the conversation
    models: dict[str, Any] = field(default_factory=dict)  # GET /v1/models, as last looked at
    # The conversation's id, its settings and the models when version and settings were drawn.
    drawn_settings: tuple[Any, ...] = ()
    settings_frames: Frames = field(default_factory=Frames)
    form_turn: Turn | None = None
    form_nonce: str = ""  # changes with every saved form
    rating: asyncio.Lock = field(default_factory=asyncio.Lock)  # thumbs are saved as pressed

    @property
    def turns(self) -> Sequence[Turn]:
        return self.conversation.turns

    def version(self, shown: str) -> str:
        """Which version to ask: the one that the page shows, once it shows this conversation's."""
        is_shown = self.drawn_settings[:1] == (self.conversation.conversation_id,)
        return shown if is_shown else self.conversation.model

    @property
    def is_drawn(self) -> bool:
        """Whether the page shows the conversation as it is; another page may have changed it."""
        return self.drawn == self.conversation.state

    def shows(self, at: int) -> bool:
        """Whether the page shows turn ``at``, and not another in its place."""
        _, shown = self.drawn
        return 0 <= at < min(len(shown), len(self.turns)) and shown[at][0] is self.turns[at]

    def show(self, conversation: Conversation) -> None:
        """Show this conversation, with no form open."""
        self.conversation, self.opened = conversation, True
        self.open_form(None)

    def open_form(self, turn: Turn | None) -> None:
        """Open the feedback form on ``turn``, or close it."""
        self.form_turn, self.form_nonce = turn, uuid.uuid4().hex

    def reopen_form(self, completion_id: str | None) -> None:
        """Open the form on the turn of this completion, if it is here and something was said."""
        if completion_id and not self.conversation.busy:
            self.conversation.show_answer(completion_id)
        for turn in self.turns:
            if turn.completion_id == completion_id and turn.feedback is not None:
                self.open_form(turn)

    async def rate(self, api: Api, turn: Turn, feedback: dict[str, Any]) -> None:
        """Append feedback on ``turn``, then take over what the store counts.

        Sending the same twice (a double click, a retry after a lost reply) is stored once: the
        idempotency key follows from the open form and its content.

        Raises:
            PawlError: it was not stored, or what counts could not be read back.
        """
        if turn.completion_id is None:
            raise OwnError(say("answer.never_came"), say("answer.never_came_why"))
        body = {"completion_id": turn.completion_id, **feedback}
        content = json.dumps(
            [self.conversation.conversation_id, self.form_nonce, body], sort_keys=True
        )
        body["idempotency_key"] = "page-" + hashlib.sha256(content.encode()).hexdigest()[:32]
        async with self.rating:
            stored = await api.post("/v1/feedback", body)
            current = await api.get("/v1/feedback", completion_id=turn.completion_id)
            own = [row for row in current if row["rater_id"] == stored["rater_id"]]
            turn.feedback = own[0] if own else None
            turn.taken_back = turn.feedback is None
            self.form_nonce = uuid.uuid4().hex
