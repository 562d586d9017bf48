"""The chat page: talk to the model, mark its answers, say why, write better ones.

Runs inside Gradio; all it knows of the model it learns from the gateway over HTTP. Each handler
changes the ``OpenPage`` of its session and draws it anew. The page's address names the
conversation; a session that does not hold it (the page was loaded anew, the server started
anew) reads it back from the store first. This module imports Gradio at its top, which takes
seconds (Gradio reads the handlers' annotations): import it only to build the page.

Over 400 lines because a page's events and their handlers are read in one place.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

import gradio as gr

from pawl.errors import PawlError, short
from pawl.settings import PageSettings
from serve.api.auth import caller_of
from serve.api.keys import ANONYMOUS
from serve.pages import chat_settings, rendering
from serve.pages.api import HTTP, Api
from serve.pages.blocks import TranslatedBlocks
from serve.pages.chat_list import ChatList
from serve.pages.conversation import STARTING, Conversation, OpenPage, Turn
from serve.pages.layout import (
    KEEP,
    KEEP_FORM,
    Layout,
    drawn,
    drawn_and_form,
    drawn_settings,
    form,
    warn,
)
from serve.pages.markdown import own_text
from serve.pages.rendering import is_more_than_a_thumb
from serve.pages.said_back import SaidBack
from serve.pages.side_by_side import SideBySide
from serve.pages.sign_in import token_of
from serve.pages.texts import engine_says, say, told

# Of the page's address, where ``assets/page.js`` puts them.
CHAT_PARAM = "chat"
FORM_PARAM = "form"  # the completion whose feedback form is open
CHAT_ID = re.compile(r"chat-[0-9a-f]{32}")
_RATER = re.compile(r"page-[0-9a-f]{32}")
_VARIANT = re.compile(r"([0-9]{1,6}) ([0-9]{1,6}) ")

log = logging.getLogger("pawl.pages")


class ChatPage:
    """The page as Gradio mounts it (``blocks``), and its handlers, called for every open page.

    Args:
        settings: the page's.
    """

    def __init__(self, settings: PageSettings | None = None) -> None:
        settings = settings or PageSettings()
        # By caller, rater and id, while a page shows it or an answer is being read.
        self._conversations: WeakValueDictionary[tuple[str, str, str], Conversation] = (
            WeakValueDictionary()
        )
        self._watched: dict[str, set[Conversation]] = {}  # by session, while answers come
        self._list = ChatList(
            lambda rater, request: self._api(request, self._rater(rater, request)),
            self._end,
            self._deleted,
            lambda request: self._watched.get(request.session_hash or "", ()),
        )
        self._said_back = SaidBack(
            lambda rater, request: self._api(request, self._rater(rater, request))
        )
        self._sides = SideBySide(
            settings,
            lambda rater, request: self._api(request, self._rater(rater, request)),
            lambda page, rater, request: self._open(page, self._rater(rater, request), request),
        )
        self._secret = secrets.token_bytes(32)
        with TranslatedBlocks(
            title="Pawl", analytics_enabled=False, fill_height=True
        ) as self.blocks:
            self.layout = Layout(settings.suggestions)
            self._wire(self.layout)
        self.blocks.queue(api_open=False, default_concurrency_limit=None)

    def _wire(self, ui: Layout) -> None:
        common: dict[str, Any] = {
            "api_visibility": "private",
            "show_progress": "hidden",
            "concurrency_limit": None,
        }
        who = [ui.page, ui.rater]
        ask = [*who, ui.version, ui.known]
        settings = [ui.version, ui.settings, ui.shown_settings]
        both = [*ui.drawn, *ui.feedback_form]
        asked = [*both, ui.taken]
        reasons = [ui.categories, ui.correction, ui.comment]
        # Else what is pressed while an earlier event is open is lost.
        often = {**common, "trigger_mode": "multiple"}
        ui.question.submit(self._send, [ui.question, *who, ui.version], asked, **often)
        ui.question.stop(self._stop, [ui.question, ui.page], [*ui.drawn, ui.taken], **common)
        ui.chat.retry(self._ask_again, ask, asked, **common)
        ui.chat.edit(self._ask_again, ask, asked, **common)
        ui.variant.change(self._show_variant, [ui.variant, *who], both, **often)
        ui.new.click(self._start_over, who, both, **often)
        ui.go.click(self._resume, who, asked, **often)
        ui.private.input(self._set_learning, [ui.private, *who], ui.private, **often)
        ui.version.input(self._choose_version, [ui.version, *who], settings, **often)
        ui.settings_command.change(
            self._set, [ui.settings_command, *who], [ui.settings_reply, *settings], **often
        )
        ui.chat.like(self._thumb, who, both, **often)
        ui.save.click(self._save, [*who, *reasons], both, **common)
        ui.take_back.click(self._take_back, who, both, **common)
        ui.correction.change(  # Gradio's "input" is a pressed key: nothing of what is pasted
            self._compare, [ui.page, ui.correction], [ui.difference],
            **{**common, "trigger_mode": "always_last"},
        )  # fmt: skip
        ui.start_from.click(self._start_from, [ui.page], [ui.correction, ui.difference], **common)
        ui.leave_out.click(self._leave_out, ask, asked, **common)
        ui.new_with.click(self._start_over_with, who, both, **common)
        ui.close.click(self._close, [ui.page], both, **common)
        self.blocks.unload(self._leave)
        identified = self.blocks.load(
            self._identify, [ui.rater], [ui.rater, ui.categories, ui.meanings, ui.who], **common
        )
        identified.then(self._resume, who, asked, **common)
        identified.then(self._said_back.draw, who, ui.said_back, **common)
        ui.said_back_command.change(
            self._said_back.command, [ui.said_back_command, *who], ui.said_back, **often
        )
        ui.sides_command.change(self._sides.choose, [ui.sides_command, *who], both, **often)
        # The newest is drawn, whatever is under way: as a message is asked, as it is answered.
        newest = {**common, "trigger_mode": "always_last"}
        identified.then(self._list.draw, who, ui.chats, **newest)
        ui.taken.change(self._list.draw, who, ui.chats, **newest)
        ui.search.change(self._list.search, [ui.search, *who], ui.chats, **newest)
        ui.command.change(self._list.command, [ui.command, *who], [ui.chats, ui.reply], **often)
        gr.on(
            [self.blocks.load, ui.timer.tick],
            self._look,
            [ui.rater, ui.known, ui.page, ui.shown_settings],
            [ui.known, ui.banner, *settings],
            **common,
        )
        ui.timer.tick(self._catch_up, [*who, ui.shown], both, **common)

    # -- which conversation

    async def _open(self, page: OpenPage, rater_id: str, request: gr.Request) -> bool:
        """Let the page hold the conversation that its address names.

        Returns:
            Whether this session had not held it, so that the page may show something else.

        Raises:
            PawlError: the conversation could not be read.
        """
        named = request.query_params.get(CHAT_PARAM, "")
        if not CHAT_ID.fullmatch(named):
            page.opened = True
            return False
        page.wanted = named
        if page.opened and page.conversation.conversation_id == named:
            return False
        whose = self._whose(rater_id, named, request)
        found = self._conversations.get(whose)
        if found is None:
            read = await self._read(self._api(request, rater_id), named)
            found = self._conversations.setdefault(whose, read)
        # Else another event of this page was faster, or another conversation is wanted by now.
        if page.wanted == named and page.conversation is not found:
            page.show(found)
            return bool(found.turns)
        return False

    def _whose(
        self, rater_id: str, conversation_id: str, request: gr.Request
    ) -> tuple[str, str, str]:
        """An account's are the same in each of its browsers."""
        caller = caller_of(request.request.scope)
        return caller.name, rater_id if caller.may_name_raters else "", conversation_id

    async def _read(self, api: Api, conversation_id: str) -> Conversation:
        try:
            found = await api.get(f"/v1/conversations/{conversation_id}", branches="true")
        except PawlError as err:
            if err.code != "conversation_not_found":
                raise
            return Conversation(conversation_id)
        return Conversation.restored(found)

    async def _resume(
        self, page: OpenPage, rater_id: str, request: gr.Request
    ) -> AsyncIterator[list[Any]]:
        """Draw the conversation that the address names by now (the page was loaded anew, or another
        one was chosen), with an answer on its way."""
        try:
            await self._open(page, rater_id, request)
        except PawlError as err:
            warn(say("warnings.not_read", why=told(err)))
            yield [*KEEP, gr.skip()]
            return
        page.reopen_form(request.query_params.get(FORM_PARAM))
        conversation = page.conversation
        turn = conversation.turns[-1] if conversation.turns else None
        yield [*drawn_and_form(page), self._taken(conversation, turn, is_again=True)]
        if turn is not None and conversation.busy:
            async for parts in self._answer(page, turn, request, is_again=True):
                yield parts

    async def _catch_up(
        self, page: OpenPage, rater_id: str | None, shown: str, request: gr.Request
    ) -> Any:
        """Draw what a server that started anew behind an open page reads back, what another page
        of this person changed, and what the browser does not show though it was drawn; an open form
        is left alone."""
        conversation = page.conversation
        if not rater_id or request.session_hash in conversation.watchers:
            return KEEP
        if page.opened:
            conversation.looked_at = time.monotonic()
            if page.frames.is_lost(shown):
                which = short(shown)  # it is whatever a browser sends
                n_drawn = page.frames.n_drawn
                log.info("the browser shows frame %s of %d: drawn again", which, n_drawn)
                page.drawn_settings = ()
                return [*drawn(page), *(form(page) if page.form_turn is None else KEEP_FORM)]
            return KEEP if page.is_drawn else [*drawn(page), *KEEP_FORM]
        try:
            return drawn_and_form(page) if await self._open(page, rater_id, request) else KEEP
        except PawlError:
            return KEEP  # the banner says that the server does not answer; the next tick tries

    async def _is_current(
        self, page: OpenPage, rater_id: str, at: int, request: gr.Request
    ) -> bool:
        """Whether the page shows turn ``at`` where it says so; says so if not."""
        try:
            lost = await self._open(page, rater_id, request)
        except PawlError as err:
            warn(say("warnings.not_read", why=told(err)))
            return False
        if lost:
            warn(say("warnings.page_is_back"))
        elif page.conversation.deleted:
            warn(say("warnings.deleted"))
        elif not page.shows(at):
            warn(say("warnings.changed"))
        else:
            return True
        return False

    # -- asking

    async def _send(
        self,
        text: str,
        page: OpenPage,
        rater_id: str | None,
        model: str,
        request: gr.Request,
    ) -> AsyncIterator[list[Any]]:
        then = say("warnings.then_send")
        was_busy = page.conversation if page.conversation.busy else None
        rater_id = self._rater(rater_id, request)
        yield [*KEEP, gr.skip()]  # until it is asked, the message stays in the box
        engine = await self._engine({}, rater_id, request)
        held = _why_held(engine)
        if not text.strip() or (not held and self._is_too_early(engine, then)):
            return
        try:
            await self._open(page, rater_id, request)
        except PawlError as err:
            warn(say("warnings.not_sent", why=told(err)))
            return
        if page.conversation.deleted:
            warn(say("warnings.deleted_stays"))
            return
        if page.conversation.busy or page.conversation is was_busy:  # pressed twice, or too early
            return
        if page.form_turn and not is_more_than_a_thumb(page.form_turn):
            page.open_form(None)  # nothing is typed in it
        async for parts in self._ask(page, rater_id, model, text, len(page.turns), request, held):
            yield parts

    def _taken(self, conversation: Conversation, turn: Turn | None, is_again: bool = False) -> Any:
        """What page.js empties the message box by once the turn is asked, wherever the message
        stands by now; after the page was loaded anew it may not know that it was asked. And what
        messages.js forgets an edited question by, or shows it again where another was asked.
        Before the answer is over nothing is recorded: the scripts keep it until then."""
        if turn is not None and turn.held:
            return gr.skip()
        text = turn.question if turn else ""
        return self._list.taken(
            conversation.conversation_id, text, is_again, is_over=not conversation.busy
        )

    async def _ask_again(
        self,
        page: OpenPage,
        rater_id: str | None,
        model: str,
        known: dict[str, Any],
        event: gr.EventData,
        request: gr.Request,
    ) -> AsyncIterator[list[Any]]:
        """Answer a question anew, as it was (``gr.RetryData``) or edited (``gr.EditData``)."""
        rater_id = self._rater(rater_id, request)
        is_edited = hasattr(event, "previous_value")
        then = say("warnings.then_edit" if is_edited else "warnings.then_ask")
        at = _turn_index(event.index)
        engine = await self._engine(known, rater_id, request)
        held = _why_held(engine)
        if (not held and self._is_too_early(engine, then)) or not (
            await self._is_current(page, rater_id, at, request)
        ):
            conversation = page.conversation
            turn = conversation.turns[-1] if conversation.turns else None
            taken = self._taken(conversation, turn, is_again=True)
            yield [*drawn(page), *KEEP_FORM, taken]  # the page may show an edited question by now
            return
        question = own_text(str(event.value)) if is_edited else page.turns[at].question
        async for parts in self._ask(page, rater_id, model, question, at, request, held):
            yield parts

    async def _show_variant(
        self, text: str, page: OpenPage, rater_id: str | None, request: gr.Request
    ) -> list[Any]:
        """Show another variant of an answer: ``text`` begins with its turn and its place there,
        both from 0. What the form of another answer holds is discarded, as when asking again."""
        asked = _VARIANT.match(text)
        if asked is None:
            return KEEP
        at, place = map(int, asked.groups())
        conversation = page.conversation
        if await self._is_current(page, self._rater(rater_id, request), at, request):
            if conversation.busy or place >= len(page.turns[at].variants):
                return [*drawn(page), *KEEP_FORM]
            if page.form_turn in page.turns[at:]:
                page.open_form(None)
            conversation.choose(at, place)
        return [*drawn(page), *(form(page) if page.form_turn is None else KEEP_FORM)]

    async def _ask(
        self, page: OpenPage, rater_id: str, model: str, question: str, at: int,
        request: gr.Request, held: str = "",
    ) -> AsyncIterator[list[Any]]:  # fmt: skip
        if page.form_turn in page.turns[at:]:
            page.open_form(None)
        version, conversation = page.version(model), page.conversation
        is_again = at < len(page.turns)
        turn = await conversation.ask(self._api(request, rater_id), version, question, at, held,
                                      self._sides.beside(conversation, version))  # fmt: skip
        async for parts in self._answer(page, turn, request, is_again):
            yield parts

    async def _answer(
        self, page: OpenPage, turn: Turn, request: gr.Request, is_again: bool
    ) -> AsyncIterator[list[Any]]:
        """The page as the answer comes, and when its question is asked and when the answer is over
        what ``_taken`` says."""
        conversation, taken = page.conversation, gr.skip()
        told: tuple[bool, bool] | None = None
        async for parts in self._frames(page, request):
            state = (bool(turn.held), conversation.busy)
            if state != told:
                told, taken = state, self._taken(conversation, turn, is_again)
            yield [*parts, taken]

    async def _frames(self, page: OpenPage, request: gr.Request) -> AsyncIterator[list[Any]]:
        """The page as the answer comes, until it is over."""
        session, conversation = request.session_hash or "", page.conversation
        self._watched.setdefault(session, set()).add(conversation)
        try:
            async for _ in conversation.frames(session):
                if page.conversation is not conversation:
                    yield KEEP  # another one is shown meanwhile; this answer comes to its end
                    continue
                # An open form is left alone, so that nothing typed there is lost.
                yield [*drawn(page), *(form(page) if page.form_turn is None else KEEP_FORM)]
                if page.conversation is not conversation:  # drawn over what is shown by now
                    yield drawn_and_form(page)
        finally:
            if not conversation.busy:  # else the next question is being answered already
                self._watched.get(session, set()).discard(conversation)

    async def _engine(
        self, known: dict[str, Any], rater_id: str, request: gr.Request
    ) -> dict[str, Any]:
        """The engine as the page knows it, or as it is where the page doesn't: it was opened just
        now, or the server started anew behind it."""
        health = known.get("health")
        if health is None:
            with suppress(PawlError):
                health = await self._api(request, rater_id).get("/health")
        engine: dict[str, Any] = (health or {}).get("engine", {"state": "unknown"})
        return engine

    def _is_too_early(self, engine: dict[str, Any], then: str) -> bool:
        """Whether nothing would be answered now, in which case it is said, and ``then`` what
        stays."""
        if engine["state"] == "ready":
            return False
        why = engine_says(engine)
        key = "warnings.too_early_since" if why else "warnings.too_early"
        warn(say(key, why=why, then=then), duration=5)
        return True

    async def _stop(self, text: str, page: OpenPage) -> list[Any]:
        """Stop the answer. A question that was not asked goes, if it stands in the box still or
        another one stood in its place; one that was edited goes into the box."""
        conversation = page.conversation
        await conversation.stop()
        edited = ""
        if conversation.is_held:
            asked, stood = conversation.turns[-1].question, conversation.replaced[:1]
            if stood or asked == text:
                conversation.take_back()
            if stood and asked not in (stood[0].question, text):
                edited = asked
        parts, taken = drawn(page), gr.skip()
        if edited:
            parts[1]["value"] = f"{edited}\n\n{text}".rstrip()
            chat = conversation.conversation_id
            taken = self._list.taken(chat, edited, is_again=True, is_over=True)
        return [*parts, taken]

    async def _leave(self, request: gr.Request) -> None:
        """The page was closed, or its connection was cut."""
        for conversation in self._watched.pop(request.session_hash or "", set()):
            conversation.leave(request.session_hash or "")

    async def _start_over(
        self, page: OpenPage, rater_id: str | None, request: gr.Request
    ) -> list[Any]:
        """Show an empty conversation, under the name that page.js has put into the address."""
        self._begin(page, rater_id, request)
        return drawn_and_form(page)

    def _begin(self, page: OpenPage, rater_id: str | None, request: gr.Request) -> None:
        named = request.query_params.get(CHAT_PARAM, "")
        fresh = Conversation(named if CHAT_ID.fullmatch(named) else "")
        if fresh.conversation_id:  # a later event may have been faster
            whose = self._whose(self._rater(rater_id, request), named, request)
            fresh = self._conversations.setdefault(whose, fresh)
        page.wanted = named
        page.show(fresh)

    async def _set_learning(
        self, is_private: bool, page: OpenPage, rater_id: str | None, request: gr.Request
    ) -> Any:
        """Note whether anything of this conversation may be learned from, before its first message
        too."""
        rater_id = self._rater(rater_id, request)
        try:
            await self._open(page, rater_id, request)
            conversation = page.conversation  # another one may be shown before this is noted
            before, conversation.learn = conversation.learn, not is_private  # goes for a message
            path = f"/v1/conversations/{conversation.conversation_id}"  # sent meanwhile too
            try:
                await self._api(request, rater_id).post(path, {"learn": not is_private})
            except PawlError:
                conversation.learn = before
                raise
        except PawlError as err:
            warn(say("warnings.not_noted", why=told(err)))
        return gr.update(value=not page.conversation.learn)

    async def _choose_version(
        self, model: str, page: OpenPage, rater_id: str | None, request: gr.Request
    ) -> list[Any]:
        """Let another version answer in this conversation from now on."""
        rater_id = self._rater(rater_id, request)
        try:
            await self._open(page, rater_id, request)
            settings = {**page.conversation.settings, "model": model}
            await chat_settings.keep(page.conversation, settings, self._api(request, rater_id))
        except PawlError as err:
            warn(say("warnings.version", why=told(err)))
        page.drawn_settings = ()  # the browser shows it by now
        return drawn_settings(page)

    async def _set(
        self, text: str, page: OpenPage, rater_id: str | None, request: gr.Request
    ) -> list[Any]:
        """What the dialog of settings asks for."""
        rater_id = self._rater(rater_id, request)
        try:
            await self._open(page, rater_id, request)
        except PawlError as err:
            reply: dict[str, Any] = {"problem": told(err)}
        else:
            versions = rendering.version_choices(page.models, page.conversation.model)
            api = self._api(request, rater_id)
            reply = await chat_settings.answer(text, page.conversation, versions, api)
        return [self._list.reply(reply), *drawn_settings(page)]

    async def _deleted(
        self, rater_id: str | None, conversation_id: str | None, request: gr.Request
    ) -> None:
        """Let no open page go on with a conversation that was deleted; None: with any."""
        for conversation in self._held(rater_id, conversation_id, request):
            await conversation.delete()

    async def _end(
        self, rater_id: str | None, conversation_id: str | None, request: gr.Request
    ) -> None:
        """Before a conversation (None: any) is deleted: stop its answer, and note something of it,
        for the store may not know it yet, and what it does not know it can't hide."""
        api = self._api(request, self._rater(rater_id, request))
        for conversation in self._held(rater_id, conversation_id, request):
            if conversation.is_being_recorded:
                await conversation.stop()
                path = f"/v1/conversations/{conversation.conversation_id}"
                # The same as before, so that a deletion which is refused changes nothing.
                await api.post(path, {"learn": conversation.learn})

    def _held(
        self, rater_id: str | None, conversation_id: str | None, request: gr.Request
    ) -> list[Conversation]:
        """This person's conversation, None: all of them, as far as the server holds them."""
        caller, rater, _ = self._whose(self._rater(rater_id, request), "", request)
        return [
            conversation
            for whose, conversation in list(self._conversations.items())
            if whose[:2] == (caller, rater) and conversation_id in (None, whose[2])
        ]

    async def _start_over_with(
        self, page: OpenPage, rater_id: str | None, request: gr.Request
    ) -> list[Any]:
        """A new chat, with the last question in the box."""
        text, before = page.turns[-1].question if page.turns else "", page.conversation
        self._begin(page, rater_id, request)
        if not before.learn:
            await self._set_learning(True, page, rater_id, request)
        if before.settings:
            api = self._api(request, self._rater(rater_id, request))
            try:
                await chat_settings.keep(page.conversation, before.settings, api)
            except PawlError as err:
                warn(say("warnings.settings", why=told(err)))
        parts = drawn_and_form(page)
        parts[1]["value"] = text
        return parts

    async def _leave_out(
        self,
        page: OpenPage,
        rater_id: str | None,
        model: str,
        known: dict[str, Any],
        request: gr.Request,
    ) -> AsyncIterator[list[Any]]:
        """Ask the last question again, without the oldest of what stands before it."""
        rater_id = self._rater(rater_id, request)
        then, at = say("warnings.then_press"), len(page.turns) - 1
        if (
            self._is_too_early(await self._engine(known, rater_id, request), then)
            or not await self._is_current(page, rater_id, at, request)
            or not page.conversation.is_full
        ):
            yield [*drawn(page), *KEEP_FORM, gr.skip()]
            return
        page.conversation.leave_out_oldest()
        question = page.turns[at].question
        async for parts in self._ask(page, rater_id, model, question, at, request):
            yield parts

    # -- feedback

    def _compare(self, page: OpenPage, correction: str) -> str:
        turn = page.form_turn
        return rendering.difference(turn.answer, correction) if turn else ""

    def _start_from(self, page: OpenPage) -> list[Any]:
        """The correction begins as the answer."""
        text = rendering.without_thought(page.form_turn.answer) if page.form_turn else ""
        return [text, ""]

    async def _thumb(
        self, page: OpenPage, rater_id: str | None, event: gr.LikeData, request: gr.Request
    ) -> AsyncIterator[list[Any]]:
        """A pressed thumb is saved at once. Pressing the lit one opens the form on what was said,
        or takes it back where that is a thumb up alone."""
        turn, saved, opened, at = None, False, False, _turn_index(event.index)
        if await self._is_current(page, self._rater(rater_id, request), at, request):
            turn = page.turns[at]
            self._sides.settle(turn)
            if event.liked == "" and is_more_than_a_thumb(turn):
                page.open_form(turn)
                opened = True
            elif event.liked == "":
                saved = await self._rate(page, turn, {"retract": True}, rater_id, request, None)
            else:
                thumb = {"thumb": "up" if event.liked else "down"}
                saved = await self._rate(page, turn, thumb, rater_id, request, turn)
        if not saved:  # the browser has changed it by now
            yield [gr.update(feedback_value=rendering.thumbs(page.turns, unset=turn)), *KEEP[1:]]
        yield [*drawn(page), *(form(page) if saved or opened else KEEP_FORM)]

    async def _save(
        self,
        page: OpenPage,
        rater_id: str | None,
        keys: list[str],
        correction: str,
        comment: str,
        request: gr.Request,
    ) -> list[Any]:
        turn = page.form_turn
        if turn is None or turn.feedback is None:
            return drawn_and_form(page)
        feedback = {
            "thumb": turn.feedback["thumb"],
            "categories": keys,
            "correction": correction.strip(),  # what was emptied is taken away
            "comment": comment.strip(),
        }
        saved = await self._rate(page, turn, feedback, rater_id, request, None)
        return drawn_and_form(page) if saved else [*drawn(page), *KEEP_FORM]

    async def _take_back(
        self, page: OpenPage, rater_id: str | None, request: gr.Request
    ) -> list[Any]:
        turn, saved = page.form_turn, True
        if turn is not None:
            saved = await self._rate(page, turn, {"retract": True}, rater_id, request, None)
        return drawn_and_form(page) if saved else [*drawn(page), *KEEP_FORM]

    async def _rate(
        self,
        page: OpenPage,
        turn: Turn,
        feedback: dict[str, Any],
        rater_id: str | None,
        request: gr.Request,
        then_open: Turn | None,
    ) -> bool:
        """Save it and open the form on ``then_open``; False, and a warning, if it was not saved."""
        try:
            await page.rate(self._api(request, self._rater(rater_id, request)), turn, feedback)
        except PawlError as err:
            warn(say("warnings.feedback", why=told(err)))
            return False
        page.open_form(then_open)
        return True

    def _close(self, page: OpenPage) -> list[Any]:
        page.open_form(None)
        return drawn_and_form(page)

    # -- what the page knows of the server

    async def _identify(self, rater_id: str | None, request: gr.Request) -> list[Any]:
        rater_id = self._rater(rater_id, request)
        try:
            known = await self._api(request, rater_id).get("/v1/feedback/categories")
        except PawlError as err:
            warn(say("warnings.categories", why=told(err)))
            known = []
        choices = [(rendering.category_name(row["key"]), row["key"]) for row in known]
        caller = caller_of(request.request.scope)
        who = "" if caller is ANONYMOUS else rendering.signed_in(caller.name)
        return [
            rater_id, gr.update(choices=choices), rendering.meanings(known),
            gr.update(value=who, visible=bool(who)),
        ]  # fmt: skip

    async def _look(
        self, rater_id: str | None, known: dict[str, Any], page: OpenPage, shown: str | None,
        request: gr.Request,
    ) -> list[Any]:  # fmt: skip
        """The engine's state and the versions, where they are others than those that are known or
        the browser does not show them though they were drawn."""
        api = self._api(request, rater_id or "page")
        try:
            now = {"health": await api.get("/health"), "models": await api.get("/v1/models")}
        except PawlError as err:
            engine = {"state": "unreachable", "detail": told(err)}
            now = {**known, "health": {"engine": engine}}
        if page.settings_frames.is_lost(shown):
            page.drawn_settings = ()
        elif now == known:
            return [gr.skip()] * 5
        html = rendering.banner(now["health"]["engine"])
        page.models = now.get("models", page.models)
        return [now, gr.update(value=html, visible=bool(html)), *drawn_settings(page)]

    def _rater(self, stored: str | None, request: gr.Request) -> str:
        """The browser's; where it stores none yet the session's, in whichever event comes first."""
        if isinstance(stored, str) and _RATER.fullmatch(stored):
            return stored
        session = (request.session_hash or secrets.token_hex()).encode()
        return f"page-{hmac.new(self._secret, session, 'sha256').hexdigest()[:32]}"

    def _api(self, request: gr.Request, rater_id: str) -> Api:
        """The gateway at the address where this very request came in."""
        scope = request.request.scope
        host, port = scope["server"]
        return Api(
            f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}",
            token_of(scope),
            rater_id,
            http=scope.get(HTTP),
        )


def _why_held(engine: dict[str, Any]) -> str:
    """Why a question waits for this engine; empty: it is not being started."""
    is_starting = engine["state"] in STARTING
    return engine_says(engine) or str(engine["state"]) if is_starting else ""


def _turn_index(message_index: Any) -> int:
    """Messages come in pairs: question, answer."""
    index = message_index[0] if isinstance(message_index, list | tuple) else message_index
    return int(index) // 2
