"""The chat page: talk to the model, mark its answers, say why, write better ones.

Runs inside Gradio; all it knows of the model it learns from the gateway over HTTP. Each handler
does one thing to the page's ``Talk`` and draws it anew. This module imports Gradio at its top,
which takes seconds (Gradio reads the handlers' annotations): import it only to build the page.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from pawl.errors import PawlError
from serve.pages import rendering as drawing
from serve.pages.api import Api
from serve.pages.conversation import Talk, Turn

POLL_SECONDS = 1.5  # how often the page asks for the engine's state and the versions
_RATER = re.compile(r"page-[0-9a-f]{32}")
_EMPTY = (
    "**Ask something.**\n\nThe thumbs under an answer say whether it was good or bad. "
    "Thumb down asks what was wrong, and what it should have said."
)
_ABOUT = (
    "Questions, answers and what you say about them are recorded on this server, to train the "
    "next version. To tell your feedback from other people's, a random id is kept in this "
    "browser's local storage; no name is asked for."
)


def build_chat_page(api_key: str | None) -> gr.Blocks:
    """The page as Gradio mounts it.

    Args:
        api_key: what the page sends as its bearer token; None when the server asks for none.
    """
    return ChatPage(api_key).blocks


class ChatPage:
    """The page's components, laid out once, and its handlers, called for every open page."""

    def __init__(self, api_key: str | None) -> None:
        self._api_key = api_key
        self._asking: dict[str, Talk] = {}  # by Gradio's session, while an answer comes
        with gr.Blocks(title="Pawl", analytics_enabled=False, fill_height=True) as self.blocks:
            self._lay_out()
            self._wire()
        self.blocks.queue(api_open=False, default_concurrency_limit=None)

    def _lay_out(self) -> None:
        # Gradio scrambles what it stores; a fixed secret lets the id outlive a restart.
        self.rater = gr.BrowserState(None, storage_key="pawl-rater", secret="pawl-rater")
        self.talk = gr.State(Talk())
        self.seen = gr.State({})  # health and models as last looked at
        self.timer = gr.Timer(POLL_SECONDS)
        with gr.Row(elem_id="pawl-head"):
            gr.Markdown("# Pawl", elem_id="pawl-title")
            self.version = gr.Dropdown(
                ["pawl"],
                value="pawl",
                label="Version that answers",
                show_label=False,
                container=False,
                filterable=False,
                min_width=100,
                elem_id="pawl-version",
            )
            self.new = gr.Button("New chat", size="sm", min_width=80, elem_id="pawl-new")
        self.banner = gr.Markdown(visible=False, elem_id="pawl-banner")
        self.chat = gr.Chatbot(
            label="Conversation",
            show_label=False,
            placeholder=_EMPTY,
            height="100%",
            scale=1,
            editable="user",
            buttons=["copy"],
            feedback_options=("Like", "Dislike"),
            latex_delimiters=[],
            group_consecutive_messages=False,
            allow_file_downloads=False,
            elem_id="pawl-chat",
        )
        with gr.Column(visible=False, elem_id="pawl-form") as self.form:
            self.about = gr.Markdown()
            with gr.Column(elem_id="pawl-why") as self.why:
                self.categories = gr.CheckboxGroup(
                    [], label="What is wrong with it? Choose all that fit."
                )
                self.meanings = gr.Markdown()
                self.correction = gr.Textbox(
                    label="What it should have said",
                    lines=2,
                    max_lines=10,
                    elem_id="pawl-correction",
                )
                self.comment = gr.Textbox(
                    label="Comment", lines=1, max_lines=6, elem_id="pawl-comment"
                )
            with gr.Row(elem_id="pawl-buttons"):
                self.save = gr.Button(
                    "Save feedback",
                    variant="primary",
                    size="sm",
                    min_width=120,
                    elem_id="pawl-save",
                )
                self.take_back = gr.Button("Take back", size="sm", min_width=90)
                self.close = gr.Button("Close", size="sm", min_width=70)
        self.question = gr.Textbox(
            label="Your message",
            show_label=False,
            container=False,
            lines=1,
            max_lines=8,
            placeholder="Your message",
            submit_btn="Send",
            stop_btn=False,
            autofocus=True,
            elem_id="pawl-question",
        )
        gr.Markdown(_ABOUT, elem_id="pawl-about")

    def _wire(self) -> None:
        common: dict[str, Any] = {
            "api_visibility": "private",
            "show_progress": "hidden",
            "concurrency_limit": None,
        }
        who = [self.talk, self.version, self.rater]
        drawn = [self.chat, self.question]
        form = [
            self.form,
            self.about,
            self.why,
            self.categories,
            self.correction,
            self.comment,
            self.save,
        ]
        both = [*drawn, *form]
        self.question.submit(self._send, [self.question, *who, self.seen], both, **common)
        self.question.stop(self._stop, [self.talk], drawn, **common)
        self.chat.retry(self._regenerate, [*who, self.seen], both, **common)
        self.chat.edit(self._resend, [*who, self.seen], both, **common)
        self.new.click(self._start_over, [self.talk], [self.talk, *both], **common)
        self.chat.like(self._thumb, [self.talk, self.rater], both, **common)
        said = [self.categories, self.correction, self.comment]
        self.save.click(self._save, [self.talk, *said, self.rater], both, **common)
        self.take_back.click(self._take_back, [self.talk, self.rater], both, **common)
        self.close.click(self._close, [self.talk], both, **common)
        self.blocks.unload(self._leave)
        self.blocks.load(
            self._arrive, [self.rater], [self.rater, self.categories, self.meanings], **common
        )
        gr.on(
            [self.blocks.load, self.timer.tick],
            self._look,
            [self.rater, self.seen, self.version],
            [self.seen, self.banner, self.version],
            **common,
        )

    # -- asking

    async def _send(
        self,
        text: str,
        talk: Talk,
        model: str,
        rater_id: str,
        seen: dict[str, Any],
        request: gr.Request,
    ) -> AsyncIterator[list[Any]]:
        if not text.strip() or _too_early(seen, "Your message stays in the box: send it"):
            yield [gr.skip()] * 9
            return
        if talk.open_turn is not None and not talk.open_turn.marked_bad:
            talk.open_form(None)  # nothing is typed in it
        emptied = False
        async for parts in self._ask(talk, model, rater_id, text, len(talk.turns), request):
            if not emptied:  # once: the next question may be typed while this one is answered
                parts[1]["value"], emptied = "", True
            yield parts

    async def _regenerate(
        self,
        talk: Talk,
        model: str,
        rater_id: str,
        seen: dict[str, Any],
        event: gr.RetryData,
        request: gr.Request,
    ) -> AsyncIterator[list[Any]]:
        if _too_early(seen, "The answer stays as it is: ask again"):
            yield [*_drawn(talk), *[gr.skip()] * 7]
            return
        at = _turn_index(event.index)
        text = talk.turns[at].question
        async for parts in self._ask(talk, model, rater_id, text, at, request):
            yield parts

    async def _resend(
        self,
        talk: Talk,
        model: str,
        rater_id: str,
        seen: dict[str, Any],
        event: gr.EditData,
        request: gr.Request,
    ) -> AsyncIterator[list[Any]]:
        if _too_early(seen, "Your question stays as it was: edit it"):
            yield [*_drawn(talk), *[gr.skip()] * 7]  # the page shows the edited one by now
            return
        at = _turn_index(event.index)
        async for parts in self._ask(talk, model, rater_id, str(event.value), at, request):
            yield parts

    async def _ask(
        self, talk: Talk, model: str, rater_id: str, text: str, at: int, request: gr.Request
    ) -> AsyncIterator[list[Any]]:
        session = request.session_hash or ""
        self._asking[session] = talk
        try:
            async for _ in talk.ask(self._api(request, rater_id), model, text, at):
                # An open form is left alone, so that nothing typed there is lost.
                form = _form(talk) if talk.open_turn is None else [gr.skip()] * 7
                yield [*_drawn(talk), *form]
        finally:
            if not talk.busy:  # else the next question is being answered already
                self._asking.pop(session, None)

    async def _stop(self, talk: Talk) -> list[Any]:
        await talk.stop()
        return _drawn(talk)

    async def _leave(self, request: gr.Request) -> None:
        """The page was closed: nobody waits for its answer any more."""
        talk = self._asking.pop(request.session_hash or "", None)
        if talk is not None:
            await talk.stop()

    async def _start_over(self, talk: Talk) -> list[Any]:
        await talk.stop()
        fresh = Talk()
        return [fresh, *_drawn(fresh), *_form(fresh)]

    # -- feedback

    async def _thumb(
        self, talk: Talk, rater_id: str, event: gr.LikeData, request: gr.Request
    ) -> list[Any]:
        """A pressed thumb is saved at once; pressing the lit one takes it back."""
        turn = talk.turns[_turn_index(event.index)]
        if event.liked == "":
            return await self._rate(talk, turn, {"retract": True}, rater_id, request)
        said = {"thumb": "up" if event.liked else "down"}
        return await self._rate(talk, turn, said, rater_id, request, keep_open=True)

    async def _save(
        self,
        talk: Talk,
        keys: list[str],
        correction: str,
        comment: str,
        rater_id: str,
        request: gr.Request,
    ) -> list[Any]:
        if talk.open_turn is None:
            return [*_drawn(talk), *_form(talk)]
        said: dict[str, Any] = {"thumb": "down", "categories": keys}
        if correction.strip():
            said["correction"] = correction.strip()
        if comment.strip():
            said["comment"] = comment.strip()
        return await self._rate(talk, talk.open_turn, said, rater_id, request)

    async def _take_back(self, talk: Talk, rater_id: str, request: gr.Request) -> list[Any]:
        if talk.open_turn is None:
            return [*_drawn(talk), *_form(talk)]
        return await self._rate(talk, talk.open_turn, {"retract": True}, rater_id, request)

    def _close(self, talk: Talk) -> list[Any]:
        talk.open_form(None)
        return [*_drawn(talk), *_form(talk)]

    async def _rate(
        self,
        talk: Talk,
        turn: Turn,
        said: dict[str, Any],
        rater_id: str,
        request: gr.Request,
        keep_open: bool = False,
    ) -> list[Any]:
        """Save, then draw what the server stored; or say why it could not be saved."""
        try:
            await talk.rate(self._api(request, rater_id), turn, said)
        except PawlError as err:
            gr.Warning(str(err), title="Your feedback was not saved")
            return [*_drawn(talk), *[gr.skip()] * 7]
        talk.open_form(turn if keep_open else None)
        return [*_drawn(talk), *_form(talk)]

    # -- what the page knows of the server

    async def _arrive(self, rater_id: str | None, request: gr.Request) -> list[Any]:
        if not (isinstance(rater_id, str) and _RATER.fullmatch(rater_id)):
            rater_id = f"page-{uuid.uuid4().hex}"
        try:
            known = await self._api(request, rater_id).get("/v1/feedback/categories")
        except PawlError as err:
            gr.Warning(str(err), title="The categories could not be read")
            known = []
        choices = [(drawing.category_name(one["key"]), one["key"]) for one in known]
        return [rater_id, gr.update(choices=choices), drawing.meanings(known)]

    async def _look(
        self, rater_id: str | None, seen: dict[str, Any], model: str, request: gr.Request
    ) -> list[Any]:
        api = self._api(request, rater_id or "page")
        try:
            now = {"health": await api.get("/health"), "models": await api.get("/v1/models")}
        except PawlError as err:
            engine = {"state": "unreachable", "detail": str(err)}
            now = {**seen, "health": {"engine": engine}}
        if now == seen:
            return [gr.skip()] * 3
        html = drawing.banner(now["health"]["engine"])
        names = drawing.version_choices(now.get("models", {"data": []}))
        known = [name for _, name in names]
        return [
            now,
            gr.update(value=html, visible=bool(html)),
            gr.update(choices=names, value=model if model in known else "pawl")
            if names
            else gr.skip(),
        ]

    def _api(self, request: gr.Request, rater_id: str) -> Api:
        """The gateway at the address where this very request came in."""
        host, port = request.request.scope["server"]
        return Api(
            f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}",
            self._api_key,
            rater_id,
        )


def _drawn(talk: Talk) -> list[dict[str, Any]]:
    """The conversation, and the input with its button: Send, or Stop while an answer comes."""
    return [
        gr.update(value=drawing.messages(talk), feedback_value=drawing.thumbs(talk)),
        gr.update(
            submit_btn=False if talk.busy else "Send", stop_btn="Stop" if talk.busy else False
        ),
    ]


def _form(talk: Talk) -> list[Any]:
    """The feedback form: closed, or open on ``talk.open_turn`` with what was saved last."""
    turn = talk.open_turn
    if turn is None or turn.feedback is None:
        return [gr.update(visible=False), *[gr.skip()] * 6]
    said, bad = turn.feedback, turn.marked_bad
    return [
        gr.update(visible=True),
        drawing.about(turn),
        gr.update(visible=bad),
        said["categories"],
        said["correction"] or "",
        said["comment"] or "",
        gr.update(visible=bad),
    ]


def _turn_index(message_index: Any) -> int:
    """Messages come in pairs: question, answer."""
    index = message_index[0] if isinstance(message_index, list | tuple) else message_index
    return int(index) // 2


def _too_early(seen: dict[str, Any], then: str) -> bool:
    """Whether nothing would be answered now, in which case it is said, and ``then`` what stays."""
    engine = seen.get("health", {}).get("engine", {"state": "unknown"})
    if engine["state"] == "ready":
        return False
    detail = f" ({engine['detail']})" if engine.get("detail") else ""
    text = f"The model can't answer yet{detail}. {then} when the notice above is gone."
    gr.Warning(text, title="Not yet", duration=5)
    return True
