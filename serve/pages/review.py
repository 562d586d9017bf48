"""The review page: flagged answers one after the other, decided with keys.

Each handler changes the ``OpenReview`` of its session and draws it anew. What it decides on is the
item that the browser showed when a key was pressed: an event names it, and one about another item
is dropped. Keys are turned into presses of the page's buttons by ``assets/review.js``.

Over 400 lines because a page's events and their handlers are read in one place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from pawl.errors import PawlError
from pawl.schemas import MOST_CORRECTION_CHARACTERS
from serve.api.auth import caller_of
from serve.pages.blocks import PageBlocks
from serve.pages.categories import CategoryEditor, api_of
from serve.pages.decisions import Decisions, OpenDecisions
from serve.pages.layout import plain
from serve.pages.markdown import LATEX_DELIMITERS
from serve.pages.rendering import category_name, difference, html_parts, without_thought
from serve.pages.review_filters import ANY, ReviewFilters, query_of
from serve.pages.review_words import about, done, holds, offered, opened_by_link, why_now

QUEUE = "/admin/reviews"
N_ALTERNATIVES = 3
POLL_SECONDS = 5.0  # how often a page with nothing to decide looks again
WRITE_SECONDS = 300.0  # for the model, on a slow machine
REASONS = {
    "fine": "The answer is fine",
    "unclear": "It can't be judged",
    "not_meant": "Nobody meant it",
    "private": "It holds what is private",
}
UNREAD = "The queue could not be read"
_html: Any = html_parts("review.html")


@dataclass
class OpenReview:
    """What one open page shows.

    ``form``: what is open below the item: nothing, the editor, the reasons of a rejection or the
    model's alternatives. ``alternatives``: as ``POST /admin/reviews/alternatives`` answers them.
    ``picked``: the one that was put into the editor. ``drafted``: the item that the editor's text
    is for, which survives until the item is decided. ``query``: what is looked for, as
    ``GET /admin/reviews`` takes it.
    """

    queue: dict[str, Any] = field(default_factory=dict)
    agreement: dict[str, Any] = field(default_factory=dict)
    skipped: bool = False
    query: dict[str, str] = field(default_factory=dict)
    form: str = ""
    alternatives: dict[str, Any] = field(default_factory=dict)
    picked: str | None = None
    drafted: str = ""
    notice: str = ""
    done: str = ""  # the notice of the last decision: it comes with a button that undoes it
    who: str = ""
    categories: list[str] = field(default_factory=list)  # keys, as they were read last
    # One decision or undo at a time: the next waits, and is about what is shown then or nothing.
    deciding: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __deepcopy__(self, memo: Any) -> OpenReview:
        return OpenReview()  # Gradio copies the first value for each session

    @property
    def item(self) -> dict[str, Any] | None:
        items: list[dict[str, Any] | None] = self.queue.get("items") or [None]
        return items[0]

    def close(self) -> None:
        """Close what is open below the item."""
        self.form, self.notice = "", ""


class ReviewPage:
    """The page as Gradio mounts it (``blocks``), and its handlers."""

    def __init__(self) -> None:
        with PageBlocks(title="Review · Pawl", analytics_enabled=False) as self.blocks:
            self._lay_out()
            self._wire()
        self.blocks.queue(api_open=False, default_concurrency_limit=None)

    def _lay_out(self) -> None:
        self.page = gr.State(OpenReview())
        self.timer = gr.Timer(POLL_SECONDS)
        with gr.Row(elem_id="review-head"):
            gr.Markdown("# Review", elem_id="review-title")
            self.who = plain("review-who")
        self.counts = plain("review-counts")
        self.filters = ReviewFilters()
        # What the browser shows; it is sent with each press.
        self.shown = gr.Textbox("", visible="hidden", elem_id="review-shown")
        self.item = _drawn_texts("review-item")
        with gr.Row(elem_id="review-actions"):
            self.accept = _button("Accept", "a", "primary")
            self.correct = _button("Correct", "c")
            self.reject = _button("Reject", "r")
            self.suggest = _button("Suggest", "g")
            self.skip = _button("Skip", "s")
            self.undo = _button("Undo", "u")
            plain("review-meaning", str(_html.meaning()))
        self.together = gr.Checkbox(
            True, label="Decide near-duplicates together", visible=False, elem_id="review-together"
        )
        with gr.Column(visible=False, elem_id="review-reasons") as self.reasons, gr.Row():
            self.because = {
                key: _button(text, str(n)) for n, (key, text) in enumerate(REASONS.items(), start=1)
            }
            self.keep = _button("Back", "Escape")
        with gr.Column(visible=False, elem_id="review-alternatives") as self.choice:
            self.offered = _drawn_texts("review-offered")
            with gr.Row():
                self.picks = [_button(f"Take {n}", str(n)) for n in range(1, N_ALTERNATIVES + 1)]
                self.leave = _button("Back", "Escape")
        with gr.Column(visible=False, elem_id="review-editor") as self.editor:
            self.correction = gr.Textbox(
                label="What it should have said",
                lines=4,
                max_lines=14,
                max_length=MOST_CORRECTION_CHARACTERS,
                elem_id="review-correction",
            )
            self.difference = plain("review-difference")
            self.categories = gr.CheckboxGroup(
                [], label="What is wrong with it", elem_id="review-categories"
            )
            with gr.Row():
                self.save = _button("Save correction", "Ctrl+Enter", "primary")
                self.close = _button("Back", "Escape")
        self.later = gr.Button("Show what I skipped", visible=False, elem_id="review-later")
        self.guidelines = _drawn_texts("review-guidelines")
        self.help = plain("review-help", str(_html.keys()))
        self.decisions = Decisions(REASONS)
        CategoryEditor(self.blocks)
        self.drawn = [
            self.counts, self.shown, self.item, self.together, self.reasons, self.editor,
            self.correction, self.categories, self.later, self.choice, self.offered, *self.picks,
        ]  # fmt: skip

    def _wire(self) -> None:
        common: dict[str, Any] = {
            "api_visibility": "private",
            "show_progress": "hidden",
            "concurrency_limit": None,
        }
        about = [self.page, self.shown, self.together]

        def on(button: gr.Button, handler: Any, inputs: list[Any]) -> None:
            button.click(handler, inputs, self.drawn, **common)

        on(self.accept, self._accept, about)
        on(self.skip, self._skip, about)
        on(self.undo, self._undo, [self.page])
        on(self.correct, self._open_editor, [self.page, self.shown])
        on(self.reject, self._open_reasons, [self.page, self.shown])
        for key, button in self.because.items():
            on(button, self._rejecting(key), about)
        on(self.suggest, self._suggest, [self.page, self.shown])
        for n, button in enumerate(self.picks):
            on(button, self._picking(n), [self.page, self.shown])
        on(self.save, self._save, [*about, self.correction, self.categories])
        for button in (self.keep, self.close, self.leave):
            on(button, self._close, [self.page])
        self.correction.change(  # Gradio's "input" is a pressed key: nothing of what is pasted
            self._compare, [self.page, self.correction], [self.difference],
            **{**common, "trigger_mode": "always_last"},
        )  # fmt: skip
        on(self.later, self._show_skipped, [self.page])
        self.together.input(self._say_together, [self.page, self.together], [self.counts], **common)
        self.timer.tick(self._look, [self.page], self.drawn, **common)
        choices = [self.filters.category, self.filters.version]
        begun = [*self.drawn, self.who, self.guidelines, *choices]
        self.blocks.load(self._begin, [self.page], begun, **common)
        decisions = self.decisions
        decisions.wire(common)
        found = [*self.drawn, *choices, *decisions.drawn]
        for asks in self.filters.asking:
            asks(self._find, [self.page, decisions.page, *self.filters.inputs], found, **common)
        self.filters.clear.click(
            self._show_all, [self.page, decisions.page], [*found, *self.filters.inputs], **common
        )
        decisions.reopen.click(
            self._reopen, [self.page, decisions.page, decisions.chosen], self.drawn, **common
        )
        # What was decided, here or by another page: the numbers above the item say so.
        self.counts.change(decisions.read, [decisions.page], decisions.drawn, **common)

    # -- handlers

    async def _begin(self, page: OpenReview, request: gr.Request) -> list[Any]:
        page.who = caller_of(request.request.scope).name
        named = str(request.query_params.get("answer", ""))[:1000]
        await self._fetch(page, request, answer=named)
        if named and page.queue:
            page.notice = opened_by_link(page.item, named)
        await self._read_categories(page, request)
        who = str(_html.who(page.who))
        guidelines = page.queue.get("guidelines", "")
        shown = str(_html.guidelines(guidelines)) if guidelines else ""
        return [*self._drawn(page, fresh=True), who, shown, *self._choices(page)]

    async def _look(self, page: OpenReview, request: gr.Request) -> list[Any]:
        """Whether something came, or the queue can't be read, for a page with nothing to decide."""
        if page.item is not None:
            return self._kept()
        before = page.notice
        if before.startswith(UNREAD):
            page.notice = ""
        await self._fetch(page, request)
        is_new = page.item is not None or page.notice != before
        return self._drawn(page, fresh=True) if is_new else self._kept()

    async def _accept(
        self, page: OpenReview, shown: str, together: bool, request: gr.Request
    ) -> list[Any]:
        return await self._decide(page, shown, together, request, decision="accept")

    async def _skip(
        self, page: OpenReview, shown: str, together: bool, request: gr.Request
    ) -> list[Any]:
        item = page.item
        if item is not None and item["item_id"] == shown and not item["waits"]:
            async with page.deciding:  # nothing to leave to others, and no decision to cover
                page.close()
                page.notice = f"Left as it is: {about(item)}"
                await self._fetch(page, request)
                return self._drawn(page, fresh=True)
        return await self._decide(page, shown, together, request, decision="skip")

    def _rejecting(self, reason: str) -> Any:
        async def reject(
            page: OpenReview, shown: str, together: bool, request: gr.Request
        ) -> list[Any]:
            return await self._decide(
                page, shown, together, request, decision="reject", reason=reason
            )

        return reject

    async def _save(
        self,
        page: OpenReview,
        shown: str,
        together: bool,
        correction: str,
        categories: list[str],
        request: gr.Request,
    ) -> list[Any]:
        origin: dict[str, Any] = {"how": "written"}
        if page.picked is not None:
            is_same = correction.strip() == page.picked.strip()
            origin = {
                "how": "picked" if is_same else "edited",
                "version": page.alternatives["version"],
                "temperature": page.alternatives["temperature"],
            }
        return await self._decide(
            page, shown, together, request, decision="correct", correction=correction,
            categories=categories, origin=origin,
        )  # fmt: skip

    async def _decide(
        self, page: OpenReview, shown: str, together: bool, request: gr.Request, **body: Any
    ) -> list[Any]:
        async with page.deciding:
            item = page.item
            if item is None or item["item_id"] != shown:
                return self._kept()
            answers = item["answers"] if together else item["answers"][:1]
            names = ("completion_id", "choice_index")
            body["answers"] = [{name: one[name] for name in names} for one in answers]
            try:
                await api_of(request).post(QUEUE, body)
            except PawlError as err:
                page.notice = f"Not saved: {err}"
                if err.code != "completion_not_found":
                    return self._kept(counts=str(_html.counts(page)))
                page.form = ""  # what is shown was erased: on to the next
            else:
                page.close()
                reason = REASONS.get(body.get("reason") or "", "")
                page.notice = page.done = done(item, answers, body["decision"], reason)
            await self._fetch(page, request)
            return self._drawn(page, fresh=True)

    async def _undo(self, page: OpenReview, request: gr.Request) -> list[Any]:
        async with page.deciding:
            page.notice = ""
            try:
                undone = await api_of(request).post(f"{QUEUE}/undo", {})
            except PawlError as err:
                page.notice = str(err)
                return self._kept(counts=str(_html.counts(page)))
            page.close()
            shown = f"{undone[0]['completion_id']}:{undone[0]['choice_index']}"
            await self._fetch(page, request, answer=shown)
            if page.item is not None and holds(page.item, shown):
                again = "it waits again" if page.item["waits"] else "it does not wait for you"
                page.notice = f"Undone, {again}: {about(page.item)}"
            else:
                page.notice = "Undone."
            return self._drawn(page, fresh=True)

    async def _open_editor(self, page: OpenReview, shown: str, request: gr.Request) -> list[Any]:
        await self._read_categories(page, request)
        return self._open(page, shown, "editor")

    def _open_reasons(self, page: OpenReview, shown: str) -> list[Any]:
        return self._open(page, shown, "reasons")

    def _open(self, page: OpenReview, shown: str, form: str) -> list[Any]:
        if page.item is None or page.item["item_id"] != shown or page.form == form:
            return self._kept()
        page.form = form
        return self._drawn(page)

    def _compare(self, page: OpenReview, correction: str) -> str:
        return difference(page.item["completion"], correction) if page.item else ""

    def _close(self, page: OpenReview) -> list[Any]:
        page.close()
        return self._drawn(page)

    def _say_together(self, page: OpenReview, together: bool) -> str:
        others = "the near-duplicates too" if together else "this one alone"
        page.notice = f"The next decision is about {others}."
        return str(_html.counts(page))

    async def _suggest(
        self, page: OpenReview, shown: str, request: gr.Request
    ) -> AsyncIterator[list[Any]]:
        """Let the model answer the prompt again, several times."""
        item = page.item
        if item is None or item["item_id"] != shown or page.form == "alternatives":
            yield self._kept()
            return
        page.close()
        page.notice = "The model writes other answers ..."
        yield self._drawn(page)
        body = {name: item["answers"][0][name] for name in ("completion_id", "choice_index")}
        path = f"{QUEUE}/alternatives"
        try:
            found = await api_of(request).post(path, {**body, "n": N_ALTERNATIVES}, WRITE_SECONDS)
        except PawlError as err:
            found, notice = {}, f"The model wrote nothing: {err}"
        else:
            notice = offered(found["texts"])
        if page.item is not item:  # decided meanwhile
            yield self._kept()
            return
        page.notice, page.alternatives = notice, found
        page.form = "alternatives" if found.get("texts") else page.form
        yield self._drawn(page)

    def _picking(self, n: int) -> Any:
        async def pick(page: OpenReview, shown: str, request: gr.Request) -> list[Any]:
            await self._read_categories(page, request)
            texts = page.alternatives.get("texts", [])
            if page.item is None or page.item["item_id"] != shown or n >= len(texts):
                return self._kept()
            page.form, page.picked, page.drafted = "editor", texts[n], ""
            page.notice = f"Answer {n + 1} is in the editor: save it as the correction."
            return self._drawn(page)

        return pick

    async def _show_skipped(self, page: OpenReview, request: gr.Request) -> list[Any]:
        async with page.deciding:
            page.close()
            page.skipped = not page.skipped
            await self._fetch(page, request)
            return self._drawn(page, fresh=True)

    async def _find(
        self, page: OpenReview, opened: OpenDecisions, search: str, category: str | None,
        version: str | None, rater: str, since: str, until: str, request: gr.Request,
    ) -> list[Any]:  # fmt: skip
        return await self._found(
            page, opened, query_of([search, category, version, rater, since, until]), request
        )

    async def _show_all(
        self, page: OpenReview, opened: OpenDecisions, request: gr.Request
    ) -> list[Any]:
        return [*await self._found(page, opened, {}, request), "", ANY, ANY, "", "", ""]

    async def _found(
        self, page: OpenReview, opened: OpenDecisions, query: dict[str, str], request: gr.Request
    ) -> list[Any]:
        """What waits of what is looked for, and what was decided of it."""
        async with page.deciding:
            before, page.query = page.query, query
            page.close()
            await self._fetch(page, request)
            if not page.queue:  # refused: a day that is none
                page.query, notice = before, page.notice
                await self._fetch(page, request)
                page.notice = notice
            opened.query = page.query
            drawn = [*self._drawn(page, fresh=True), *self._choices(page)]
        return [*drawn, *await self.decisions.read(opened, request)]

    async def _reopen(
        self, page: OpenReview, opened: OpenDecisions, batch_id: str | None, request: gr.Request
    ) -> list[Any]:
        """Take back the decision that is chosen in the list, and show its item."""
        if not batch_id:
            return self._kept()
        async with page.deciding:
            try:
                undone = await api_of(request).post(f"{QUEUE}/undo", {"batch_id": batch_id})
            except PawlError as err:
                page.notice = str(err)
                return self._kept(counts=str(_html.counts(page)))
            opened.chosen, page.skipped = None, False
            page.close()
            await self._fetch(page, request, first=undone[0])
            ids = [one["completion_id"] for one in (page.item or {}).get("answers", ())]
            waits = undone[0]["completion_id"] in ids
            page.notice = (
                f"Taken back, it waits again: {about(page.item)}"
                if page.item is not None and waits
                else (
                    "Taken back. It doesn't wait for you: you skipped it before, or others decided."
                )
            )
            return self._drawn(page, fresh=True)

    # -- reading and drawing

    async def _read_categories(self, page: OpenReview, request: gr.Request) -> None:
        """As they are now: one may have been added since the page was opened."""
        try:
            known = await api_of(request).get("/v1/feedback/categories")
        except PawlError as err:
            page.notice = f"The categories could not be read: {err}"
        else:
            page.categories = [row["key"] for row in known]

    async def _fetch(
        self,
        page: OpenReview,
        request: gr.Request,
        first: dict[str, Any] | None = None,
        answer: str = "",
    ) -> None:
        """Read the queue; ``first``: what it begins with if it waits, ``answer``: in any case."""
        api = api_of(request)
        query = {"limit": "1", "skipped": str(page.skipped).lower(), **page.query}
        if first is not None:
            query["first"] = f"{first['completion_id']}:{first['choice_index']}"
        if answer:
            query["answer"] = answer
        page.alternatives, page.picked, page.drafted = {}, None, ""
        try:
            page.queue = await api.get(QUEUE, **query)
            page.agreement = await api.get(f"{QUEUE}/agreement")
        except PawlError as err:
            page.queue = {}
            page.notice = f"{UNREAD}: {err}"

    def _drawn(self, page: OpenReview, fresh: bool = False) -> list[Any]:
        """All that ``drawn`` shows.

        Args:
            fresh: the queue was read, so the item may be another.
        """
        item = page.item
        texts = page.alternatives.get("texts", [])
        n_answers = len(item["answers"]) if item else 0
        is_editing = item is not None and page.form == "editor"
        draft: Any = gr.skip()
        if item is not None and is_editing and page.drafted != item["item_id"]:
            draft, page.drafted = page.picked or _draft(item), item["item_id"]
        n_skipped = page.queue.get("n_skipped", 0)
        later = "Back to what waits" if page.skipped else f"Show what I skipped ({n_skipped})"
        marks = item["marks"] if item else []
        chosen = sorted({name for one in marks for name in one["categories"]})
        keys = dict.fromkeys([*page.categories, *chosen])
        categories: Any = gr.skip()
        if is_editing:
            choices = [(category_name(key), key) for key in keys]
            value: Any = {"value": chosen} if isinstance(draft, str) else {}
            categories = gr.update(choices=choices, **value)
        return [
            str(_html.counts(page)),
            item["item_id"] if item else "",
            str(
                _html.item(item, REASONS, why_now(item, page.who), page.who)
                if item else _html.nothing(page)
            ),
            gr.update(
                visible=n_answers > 1, label=f"Decide all {n_answers} near-duplicates together",
                **({"value": True} if fresh else {}),
            ),
            gr.update(visible=item is not None and page.form == "reasons"),
            gr.update(visible=is_editing),
            draft,
            categories,
            gr.update(
                visible=bool(page.skipped or n_skipped),
                value=later,
            ),
            gr.update(visible=page.form == "alternatives"),
            str(_html.alternatives(page.alternatives)) if texts else "",
            *(gr.update(visible=n < len(texts)) for n in range(N_ALTERNATIVES)),
        ]  # fmt: skip

    def _choices(self, page: OpenReview) -> list[Any]:
        """What the filters offer."""
        return self.filters.choices(page.query, page.categories, page.queue.get("versions", ()))

    def _kept(self, counts: Any = None) -> list[Any]:
        """Nothing but the notice is drawn anew: what is typed stays."""
        return [gr.skip() if counts is None else counts, *[gr.skip()] * (len(self.drawn) - 1)]


def _drawn_texts(name: str) -> gr.Markdown:
    """As ``plain``, for what holds formulas too."""
    return gr.Markdown(sanitize_html=False, latex_delimiters=LATEX_DELIMITERS, elem_id=name)


def _button(text: str, key: str, variant: Any = "secondary") -> gr.Button:
    """Its key is shown by ``assets/review_phone.css``, where there is a keyboard."""
    return gr.Button(
        text, variant=variant, size="sm", min_width=80,
        elem_classes=[f"review-key-{key.replace('+', '-').lower()}"],
    )  # fmt: skip


def _draft(item: dict[str, Any]) -> str:
    """What the editor begins with: the correction that is newest, else the answer itself."""
    written = [one["correction"] for one in item["marks"] if one["correction"]]
    return str(written[-1] if written else without_thought(item["completion"]))
