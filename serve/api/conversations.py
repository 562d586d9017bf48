"""The public routes of a person's conversations: list, read, name, pin, keep from learning, set
what is asked with, erase; and of their presets.

Each answers to whoever took part, by the rater that the request names as everywhere. What waits
for the store is done beside little other of the same caller's; changes come out of the quota of
feedback.

Over 400 lines because what people may do with their conversations is in one place.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Collection
from dataclasses import asdict, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from feedback.branches import Entry, Tree, first_choice, n_left_out, newest_of
from feedback.conversations import cut, first_question, markdown
from feedback.erasing import erase_deleted, forget_own
from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.schemas import (
    ChatSettings,
    Completion,
    Conversation,
    ConversationBranch,
    ConversationChange,
    ConversationList,
    ConversationMessage,
    ConversationNote,
    ConversationSummary,
    ErasedConversations,
    Feedback,
    NamedSettings,
    OwnErasureRequest,
    Preset,
    PresetList,
    PresetRequest,
    Role,
    utc_now,
)
from pawl.settings import Settings
from serve.api.auth import caller_of
from serve.api.bodies import JsonRoute
from serve.api.erasing import decoder
from serve.api.recording import checked_id
from serve.api.turns import StoreTurns, rater_named_by, share_named_by

if TYPE_CHECKING:
    from feedback.store import Store
    from serve.api.admission import Admission

_log = logging.getLogger("pawl.conversations")
MOST_BYTES = 16_000_000  # of a conversation's answers with their prompts, the newest ones
MOST_LISTED = 200
AT_ONCE = timedelta(seconds=0.5)  # a person who asks anew takes longer
# Between two erasings of what was deleted: each writes the store's file anew.
ERASING_SECONDS = 600.0
MOST_PRESETS = 100  # of a person
EVERYTHING_ROWS = 500  # of feedback's quota, that an erasing of everything counts for


def conversation_routes(
    store: Store, admission: Admission, turns: StoreTurns, eraser: Eraser
) -> APIRouter:
    router = APIRouter(route_class=JsonRoute, tags=["conversations"])

    @router.get("/v1/conversations")
    async def list_conversations(
        request: Request,
        search: Annotated[str, Query(max_length=200)] = "",
        begins_with: Annotated[str, Query(max_length=200)] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50,
        offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    ) -> ConversationList:
        """The conversations of whoever asks. `search`: what stands in the title, the questions or
        the answers; `begins_with`: what their ids begin with."""
        rater_id = rater_named_by(request)
        found, n_found = await turns.run(
            request,
            partial(
                store.conversations.of, rater_id, search=search, begins_with=begins_with,
                limit=limit, offset=offset,
            ),
        )  # fmt: skip
        rows = [ConversationSummary(**asdict(one)) for one in found]
        return ConversationList(conversations=rows, n_found=n_found)

    @router.get(
        "/v1/conversations/{conversation_id:path}",
        response_model=Conversation,
        response_model_exclude_unset=True,
        responses={200: {"content": {"text/markdown": {"schema": {"type": "string"}}}}},
    )
    async def show_conversation(
        conversation_id: str,
        request: Request,
        format: Literal["json", "markdown"] = "json",
        completion_id: str | None = None,
        branches: bool = False,
    ) -> Any:
        """A conversation as it stands, for the person who took part in it; a reviewer who did not
        reads the newest person's part. What was asked again or edited is left out: `completion_id`
        shows what led to that answer, `branches` adds all of it. Of a very long one (16 MB of
        prompts and answers) the earliest answers come without their ids. `format=markdown`: as a
        file to keep."""
        caller, rater_id = caller_of(request.scope), rater_named_by(request)
        reads_all = caller.role.includes(Role.REVIEWER) and not caller.is_everyone
        found = await turns.run(
            request,
            partial(
                read_conversation, store, conversation_id, rater_id, reads_all,
                completion_id=completion_id, branches=branches,
            ),
        )  # fmt: skip
        if format == "json":
            return found
        return Response(markdown(found.title, found.messages), media_type="text/markdown")

    @router.post("/v1/conversations/{conversation_id:path}")
    async def change_conversation(
        conversation_id: Annotated[str, Path(min_length=1)],
        request: Request,
        body: ConversationChange,
    ) -> ConversationSummary:
        """Name a conversation, pin it, say that nothing of it is to be learned, or set what it is
        asked with; the last two also before its first message."""
        admission.charge_feedback(share_named_by(request), 1)
        rater_id = rater_named_by(request)
        return await turns.run(
            request,
            partial(change, store, checked_id("conversation_id", conversation_id), rater_id, body),
        )

    @router.get("/v1/presets", response_model_exclude_unset=True)
    async def list_presets(request: Request) -> PresetList:
        """The presets of whoever asks: settings of the chat page under a name."""
        rater_id = rater_named_by(request)
        return await turns.run(request, partial(presets_of, store, rater_id))

    @router.post("/v1/presets", response_model_exclude_unset=True)
    async def change_preset(request: Request, body: PresetRequest) -> PresetList:
        """Keep settings under a name, in place of those before; or delete the preset."""
        admission.charge_feedback(share_named_by(request), 1)
        rater_id = rater_named_by(request)
        return await turns.run(request, partial(keep_preset, store, rater_id, body))

    @router.post("/v1/erasures")
    async def erase_own(request: Request, body: OwnErasureRequest) -> ErasedConversations:
        """Erase a conversation, or everything that was asked and said under the own name. Nobody
        reads it and nothing learns from it any more as soon as this is answered; an erasing of the
        files that takes longer goes on after the answer."""
        if (body.conversation_id is None) is not body.everything:
            raise PawlError(
                "an erasing takes either conversation_id or everything",
                "each says what goes",
                "Send one of them",
                param="conversation_id",
            )
        rater_id = rater_named_by(request)
        if body.everything and rater_id == "anonymous":
            raise PawlError(
                "nobody is named whose it is",
                "all who name nobody share one name",
                "Send X-Pawl-Rater, or a key of your own",
                code="invalid_value",
                param="X-Pawl-Rater",
            )
        if body.everything:  # one row was charged before it was recorded (serve.api.roles)
            more = EVERYTHING_ROWS - 1
            admission.charge_feedback(share_named_by(request), more, is_let_in=True)
        hide = partial(eraser.hide, rater_id, body.conversation_id)
        n_hidden = await turns.run(request, hide)
        is_erased = await eraser.erase(everything=body.everything)
        return ErasedConversations(n_conversations=n_hidden, is_erased=is_erased)

    return router


class Eraser:
    """Erases what people ask for: hidden at once, and out of the files where nothing else is under
    way there and the last time was ``ERASING_SECONDS`` ago; else a later call or night does it.
    Everything of a person waits for what is under way. Nobody waits for the files longer than
    ``answer_seconds``: the erasing goes on; ``close`` waits for it."""

    answer_seconds = 15.0  # the chat page waits 30 s for an answer

    def __init__(self, store: Store, settings: Settings, base: BaseModel) -> None:
        self._store, self._settings, self._base = store, settings, base
        self._turn = asyncio.Lock()  # who waits for it holds no thread
        self._in_thread = threading.Lock()  # held while a thread works with the files
        self._is_closed = False
        self._next = 0.0  # of the monotonic clock
        self._under_way: set[asyncio.Task[bool]] = set()

    def hide(self, rater_id: str, conversation_id: str | None) -> int:
        """Hide one conversation, or with None all, whose plan is written at once and carried on by
        an erasing; how many. Waits for the commit. Raises PawlError: it is not this person's
        (``conversation_not_found``)."""
        conversations = self._store.conversations
        ids = conversations.ids_of(rater_id)
        if conversation_id is not None:
            if conversation_id not in ids:
                raise not_known(conversation_id)
            ids = [conversation_id]
        conversations.delete(ids, rater_id)
        if conversation_id is None:
            self._plan_all(rater_id)
        return len(ids)

    async def erase(self, *, everything: bool) -> bool:
        """Whether what was hidden is out of the files already. Everything of a person waits."""
        if not everything and (self._under_way or time.monotonic() < self._next):
            return False
        return await self._in_time()

    def close(self) -> None:
        """Wait for the end of what is under way in the files, and begin nothing more; called before
        the store is closed."""
        with self._in_thread:
            self._is_closed = True

    async def _in_time(self) -> bool:
        """Whether the files were erased in ``answer_seconds``."""
        task = asyncio.create_task(self._in_turn())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        done, _ = await asyncio.wait({task}, timeout=self.answer_seconds)
        return bool(done) and task.result()

    async def _in_turn(self) -> bool:
        """Whether the files were erased. What was deleted is hidden, so whoever deleted it is not
        told of a fault: it is logged, and the next erasing tries again."""
        async with self._turn:
            try:
                await run_in_threadpool(self._erase_deleted)
                is_erased = True
            except Exception as err:
                if isinstance(err, PawlError) and err.code in ("locked", "night_runs"):
                    _log.info("what was deleted waits to be erased: %s", err)
                    return False
                _log.exception("what was deleted could not be erased")
                is_erased = False
            self._next = time.monotonic() + ERASING_SECONDS
            return is_erased

    # -- in a thread

    def _erase_deleted(self) -> None:
        with self._in_thread:
            if self._is_closed:
                raise PawlError("the server stops", code="locked")
            erase_deleted(self._store, self._settings, decode=decoder(self._base), wait_seconds=0)

    def _plan_all(self, rater_id: str) -> None:
        try:
            forget_own(self._store, self._settings, rater_id)
        except PawlError as err:
            if err.code != "unknown_user":  # nothing is kept
                raise


def change(
    store: Store, conversation_id: str, rater_id: str, body: ConversationChange
) -> ConversationSummary:
    """Note what a person sets on a conversation; waits for the commit. Raises PawlError:
    it is not this person's (``conversation_not_found``)."""
    answers = _answers_to(store, conversation_id, rater_id, newest_bytes=1)
    if not answers and (body.title is not None or body.pinned is not None):
        raise not_known(conversation_id)
    changed: dict[str, Any] = {
        name: value for name, value in body.model_dump().items() if value is not None
    }
    if body.settings is not None:
        changed["settings"] = body.settings.given()
    if body.title is not None:
        changed["title"] = body.title if body.title.strip() else None
    note = store.conversations.change(
        conversation_id, rater_id, lambda note: replace(note, **changed)
    )
    completions = _answers_to(store, conversation_id, rater_id)
    return ConversationSummary(**_summary(note, completions))


def read_conversation(
    store: Store,
    conversation_id: str,
    rater_id: str,
    reads_all: bool = False,
    completion_id: str | None = None,
    branches: bool = False,
) -> Conversation:
    """The conversation as it stands for one person; waits for the store. Only what is known of a
    message is set.

    Args:
        reads_all: where this person took no part, read the part of whoever was answered last.
        completion_id: read what led to this answer; None: to the newest.
        branches: read what was asked again or edited too.

    Raises:
        PawlError: this person has no answer in a conversation of that id, and noted nothing of it
            (``conversation_not_found``); or not that answer (``completion_not_found``).
    """
    completions = _answers_to(store, conversation_id, rater_id)
    note = store.conversations.note(conversation_id, rater_id)
    if not completions and reads_all:
        for last in store.completions(conversation_id=conversation_id, newest_bytes=1):
            rater_id, completions = (
                last.rater_id, _answers_to(store, conversation_id, last.rater_id),
            )  # fmt: skip
            note = store.conversations.note(conversation_id, rater_id)
    if not completions and note.learn and not note.settings:
        raise not_known(conversation_id)
    ids = sorted({row.completion_id for row in completions})
    feedback = {
        (row.completion_id, row.choice_index): row for row in store.current_feedback(ids, rater_id)
    }

    def read(entry: Entry) -> ConversationMessage:
        known: dict[str, Any] = {}
        if (row := entry.row) is not None:
            known = {"completion_id": row.completion_id, "choice_index": row.choice_index,
                     "version": row.version, "status": row.status,
                     "finish_reason": row.finish_reason,
                     "feedback": feedback.get((row.completion_id, row.choice_index))}  # fmt: skip
        if entry.variant is not None:
            known |= {"variant": entry.variant, "n_variants": entry.n_variants}
        return ConversationMessage(**entry.message, **known)

    shown = first_choice(completions, completion_id) if completion_id is not None else None
    if completion_id is not None and shown is None:
        raise PawlError(
            f"completion {completion_id!r} is not one of this conversation",
            "no such answer to this person was recorded in it",
            "Leave it out, and the newest is shown; branches=true shows all",
            code="completion_not_found",
            param="completion_id",
        )
    if shown is None and completions:
        shown = shown_answer(completions, feedback.values())
    known: dict[str, Any] = {"settings": ChatSettings(**note.settings)} if note.settings else {}
    messages: list[ConversationMessage] = []
    if shown is not None:
        tree = Tree(completions)
        path = tree.path_to(shown)
        messages = [read(entry) for entry in path]
        if n := n_left_out(path, shown):
            known["n_left_out"] = n
        if beside := asked_beside(completions, shown):
            known["beside"] = beside.completion_id
        if branches:
            known["branches"] = [
                ConversationBranch(of=of, at=at, messages=[read(entry) for entry in entries])
                for of, at, entries in tree.branches(shown)
            ]
    return Conversation(**_summary(note, completions), messages=messages, **known)


def shown_answer(completions: list[Completion], feedback: Collection[Feedback]) -> Completion:
    """The newest answer, or the one that its person preferred to it."""
    newest = newest_of(completions)
    better = {one.completion_id for one in feedback if one.preferred_over == newest.completion_id}
    chosen = (one for one in reversed(completions)
              if one.completion_id in better and one.messages == newest.messages)  # fmt: skip
    return next(chosen, newest)


def asked_beside(completions: list[Completion], shown: Completion) -> Completion | None:
    """The answer to the same messages that came at the same time as this one, or was asked for
    within ``AT_ONCE``: two quick answers may come one after the other."""
    began, ended = shown.began_and_ended
    for other in reversed(completions):
        other_began, other_ended = other.began_and_ended
        if (
            other.completion_id != shown.completion_id
            and max(began, other_began)
            < max(min(ended, other_ended), min(began, other_began) + AT_ONCE)
            and other.messages == shown.messages
        ):
            return other
    return None


def presets_of(store: Store, rater_id: str) -> PresetList:
    """A person's presets; waits for the store."""
    rows = store.conversations.presets(rater_id)
    named = [NamedSettings(name=one.name, settings=ChatSettings(**one.settings)) for one in rows]
    return PresetList(presets=named)


def keep_preset(store: Store, rater_id: str, body: PresetRequest) -> PresetList:
    """Keep or delete one; waits for the commit. Raises PawlError: there are too many, or none of
    that name (``preset_not_found``)."""
    names = {one.name for one in store.conversations.presets(rater_id)}
    name, now = body.name.strip(), utc_now()
    if body.deleted and name not in names:
        raise PawlError(
            f"there is no preset {name!r}",
            "it was deleted, or is somebody else's",
            "GET /v1/presets lists your own",
            code="preset_not_found",
            param="name",
        )
    if not body.deleted and len(names | {name}) > MOST_PRESETS:
        raise PawlError(
            f"there are {MOST_PRESETS} presets",
            "a person has no more",
            "Delete one first",
            code="invalid_value",
            param="name",
        )
    preset = Preset(rater_id, name, now, body.settings.given())
    if body.deleted:
        preset = Preset(rater_id, name, now, deleted_at=now)
    store.conversations.keep_preset(preset).result()
    return presets_of(store, rater_id)


def _answers_to(
    store: Store, conversation_id: str, rater_id: str, newest_bytes: int = MOST_BYTES
) -> list[Completion]:
    return store.completions(
        conversation_id=conversation_id, rater_id=rater_id, newest_bytes=newest_bytes
    )


def _summary(note: ConversationNote, completions: list[Completion]) -> dict[str, Any]:
    title = note.title
    if title is None:
        title = first_question(completions[0].messages) if completions else ""
    return {
        "conversation_id": note.conversation_id,
        "title": cut(title),
        "updated_at": completions[-1].created_at if completions else None,
        "n_answers": len(completions),
        "pinned": note.pinned,
        "learn": note.learn,
    }


def not_known(conversation_id: str) -> PawlError:
    return PawlError(
        f"conversation {conversation_id!r} is not known",
        "no answer to this person was recorded in it",
        "Check the id, and X-Pawl-Rater or the key",
        code="conversation_not_found",
        param="conversation_id",
    )
