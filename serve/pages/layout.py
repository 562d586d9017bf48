"""The chat page's components, laid out once, and its theme (colours, sizes).

This module imports Gradio at its top, which takes seconds: import it only to build the page.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import gradio as gr

from serve.pages.chat_settings import label
from serve.pages.conversation import OpenPage
from serve.pages.markdown import LATEX_DELIMITERS
from serve.pages.rendering import (
    DOWN,
    UP,
    about,
    attach,
    difference,
    has_reasons,
    messages,
    suggested,
    thumbs,
    version_choices,
)

POLL_SECONDS = 1.5  # how often the page asks for the engine's state and the versions
_EMPTY = (
    "**Ask something.**\n\nThe thumbs under an answer say whether it was good or bad. "
    "Thumb down asks what was wrong, and what it should have said.\n\n"
    "What you ask, the answers and what you say about them are recorded on this server, to train "
    "and to test the next version; reviewers may read them. Tick *Don't learn from this "
    "conversation* below, and none of it is used for that. You can delete a conversation, or all "
    "that is yours, in the list of chats."
)
_FULL = (
    "This conversation has become longer than the model can read. Your message is answered without "
    "the oldest messages, or in a new chat."
)
_ABOUT = (
    "Questions, answers and what you say about them are recorded on this server, to train and "
    "test the next version. They stand under the name that you signed in with; where nobody "
    "signs in, under a random id in this browser's local storage. What you typed and did not send "
    "is kept in this tab's."
)


def theme() -> Any:
    """Gradio's base theme on fonts that every system has."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
    return gr.themes.Base(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        radius_size="lg",
        font=fonts,
        font_mono=mono,
    ).set(
        link_text_color="*secondary_700",
        link_text_color_active="*secondary_700",
        link_text_color_hover="*secondary_800",
        link_text_color_visited="*secondary_700",
        link_text_color_dark="*secondary_400",
        link_text_color_active_dark="*secondary_400",
        link_text_color_hover_dark="*secondary_300",
        link_text_color_visited_dark="*secondary_400",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_300",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
    )


class PageBlocks(gr.Blocks):
    """Blocks of which a busy browser draws every frame of a handler that yields several, and the
    last only once.

    Gradio sends a frame as its difference from the one before, and the browser changes that one in
    place, perhaps before it drew it: what a skip follows would be lost. And when a handler ends,
    Gradio sends its last frame once more, over what another event drew meanwhile.
    """

    def handle_streaming_diffs(
        self, block_fn: Any, data: list[Any], session_hash: str | None, run: str | None,
        final: bool, simple_format: bool = False,
    ) -> list[Any]:  # fmt: skip
        """What is sent of a frame: for each output its value or, after the first frame, edits."""
        before = list(self.pending_diff_streams[session_hash].get(run, ()))
        now = list(data)
        sent = super().handle_streaming_diffs(
            block_fn, data, session_hash, run, final, simple_format
        )
        if not before or run is None:
            return sent
        if final:
            return [gr.skip() for _ in sent]
        for at, (earlier, value) in enumerate(zip(before, now, strict=True)):
            if isinstance(value, dict) and isinstance(earlier, dict) and earlier.keys() - value:
                sent[at] = [["replace", [], value]]
        return sent


class Layout:
    """The components, in the order in which they stand. Made inside a ``gr.Blocks``."""

    def __init__(self, suggestions: Sequence[str] = ()) -> None:
        # Gradio scrambles what it stores; a fixed secret lets the id outlive a restart.
        self.rater = gr.BrowserState(None, storage_key="pawl-rater", secret="pawl-rater")
        self.page = gr.State(OpenPage())
        self.known = gr.State({})  # health and models as last looked at
        self.timer = gr.Timer(POLL_SECONDS)
        # page.js sends what is pressed in the list through these.
        self.command = gr.Textbox(visible="hidden", elem_id="pawl-command")
        self.go = gr.Button(visible="hidden", elem_id="pawl-go")
        self.reply = gr.Markdown(
            visible="hidden", sanitize_html=False, latex_delimiters=[], elem_id="pawl-reply"
        )
        # What the browser shows: OpenPage.n_drawn.
        self.shown = gr.Textbox(visible="hidden", elem_id="pawl-shown")
        # branches.js sends which variant of which answer is to be shown.
        self.variant = gr.Textbox(visible="hidden", elem_id="pawl-variant")
        # And settings.js what the dialog of settings asks for.
        self.settings_command = gr.Textbox(visible="hidden", elem_id="pawl-settings-command")
        self.settings_reply = gr.Markdown(
            visible="hidden", sanitize_html=False, latex_delimiters=[],
            elem_id="pawl-settings-reply",
        )  # fmt: skip
        # And said_back.js what is pressed in what is said back.
        self.sides_command = gr.Textbox(visible="hidden", elem_id="pawl-sides-command")
        self.said_back_command = gr.Textbox(visible="hidden", elem_id="pawl-said-back-command")
        self.taken = gr.Markdown(
            visible="hidden", sanitize_html=False, latex_delimiters=[], elem_id="pawl-taken"
        )
        with gr.Row(elem_id="pawl-head"):
            gr.Button("Chats", size="sm", min_width=60, elem_id="pawl-chats")
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
            gr.Button("◐", size="sm", min_width=44, elem_id="pawl-look")  # page.js: light or dark
            # gr.HTML would need unsafe-eval. The sanitiser would take the form; names are escaped.
            self.who = gr.Markdown(visible=False, sanitize_html=False, elem_id="pawl-who")
        with gr.Column(elem_id="pawl-side"):
            self.search = gr.Textbox(
                label="Search your conversations",
                show_label=False,
                container=False,
                max_lines=1,
                placeholder="Search",
                elem_id="pawl-search",
            )
            self.chats = gr.Markdown(
                "<div></div>", sanitize_html=False, latex_delimiters=[], elem_id="pawl-list"
            )
            gr.Button("Delete all that is mine", size="sm", elem_id="pawl-erase")
        self.banner = gr.Markdown(visible=False, latex_delimiters=[], elem_id="pawl-banner")
        self.said_back = plain("pawl-said-back")
        self.chat = gr.Chatbot(
            label="Conversation",
            show_label=False,
            placeholder=_EMPTY,
            height="100%",
            scale=1,
            editable="user",
            buttons=["copy"],
            feedback_options=(UP, DOWN),
            latex_delimiters=LATEX_DELIMITERS,
            allow_tags=False,
            group_consecutive_messages=False,
            allow_file_downloads=False,
            elem_id="pawl-chat",
        )
        with gr.Column(visible=False, elem_id="pawl-form") as self.form:
            self.about = gr.Markdown(latex_delimiters=[])
            with gr.Column(elem_id="pawl-why") as self.why:
                self.categories = gr.CheckboxGroup(
                    [], label="What is wrong with it? Choose all that fit."
                )
                self.meanings = gr.Markdown(latex_delimiters=[])
                self.correction = gr.Textbox(
                    label="What it should have said",
                    lines=2,
                    max_lines=10,
                    elem_id="pawl-correction",
                )
                self.start_from = gr.Button(
                    "Start from the answer", size="sm", min_width=120, elem_id="pawl-start-from"
                )
                self.difference = gr.Markdown(latex_delimiters=[])
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
                self.close = gr.Button("Close", size="sm", min_width=70, elem_id="pawl-close")
        with gr.Row(visible=False, elem_id="pawl-full") as self.full:
            gr.Markdown(_FULL)
            self.leave_out = gr.Button(
                "Leave out the oldest messages", variant="primary", size="sm", min_width=120
            )
            self.new_with = gr.Button(
                "New chat with this message", size="sm", min_width=120, elem_id="pawl-new-with"
            )
        # Seen while nothing is asked and nothing typed; page.js puts a pressed one into the box.
        if suggestions:
            plain("pawl-suggestions", suggested(suggestions))
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
        with gr.Row(elem_id="pawl-below"):
            plain("pawl-attach", attach())
            self.settings = gr.Button("Settings", size="sm", elem_id="pawl-settings")
            self.private = gr.Checkbox(
                label="Don't learn from this conversation", container=False, elem_id="pawl-private"
            )
        gr.Markdown(_ABOUT, elem_id="pawl-about")
        # What shows the conversation, and what shows the feedback form.
        self.drawn = [
            self.chat, self.question, self.private, self.full, self.version, self.settings,
            self.shown,
        ]  # fmt: skip
        self.feedback_form = [
            self.form, self.about, self.why, self.categories, self.correction, self.comment,
            self.save, self.difference,
        ]  # fmt: skip


# -- what handlers answer: updates of ``Layout.drawn`` and ``Layout.feedback_form``, in order

KEEP_FORM = [gr.skip()] * 8
KEEP = [gr.skip()] * 15


def drawn(page: OpenPage) -> list[Any]:
    """The conversation, and the input with its button: Send, or Stop while an answer comes."""
    busy, page.drawn = page.conversation.busy, page.conversation.state
    page.n_drawn += 1
    return [
        gr.update(value=messages(page.turns, busy), feedback_value=thumbs(page.turns)),
        gr.update(submit_btn=False if busy else "Send", stop_btn="Stop" if busy else False),
        gr.update(value=not page.conversation.learn),
        gr.update(visible=page.conversation.is_full),
        *drawn_settings(page),
        str(page.n_drawn),
    ]


def drawn_settings(page: OpenPage) -> list[Any]:
    """The version that answers, and the button of the settings; skipped where they are drawn so,
    for somebody may be choosing another version."""
    conversation = page.conversation
    now = (conversation.conversation_id, dict(conversation.settings), page.models)
    if page.drawn_settings == now:
        return [gr.skip(), gr.skip()]
    page.drawn_settings = now
    choices = version_choices(page.models, conversation.model)
    return [
        gr.update(choices=choices, value=conversation.model),
        gr.update(value=label(conversation.settings)),
    ]


def form(page: OpenPage) -> list[Any]:
    """The feedback form: closed, or open on ``page.form_turn`` with what was saved last."""
    turn = page.form_turn
    if turn is None or turn.feedback is None:
        return [gr.update(visible=False), *[gr.skip()] * 7]
    shown = turn.marked_bad or has_reasons(turn)
    return [
        gr.update(visible=True),
        about(turn),
        gr.update(visible=shown),
        turn.feedback["categories"],
        turn.feedback["correction"] or "",
        turn.feedback["comment"] or "",
        gr.update(visible=shown),
        difference(turn.answer, turn.feedback["correction"] or ""),
    ]


def drawn_and_form(page: OpenPage) -> list[Any]:
    """All of it."""
    return [*drawn(page), *form(page)]


def plain(name: str, text: str = "") -> gr.Markdown:
    """A place for HTML of ours, in which every text is escaped."""
    return gr.Markdown(text, sanitize_html=False, latex_delimiters=[], elem_id=name)


def warn(text: str, duration: float = 10) -> None:
    """Gradio draws a warning as HTML."""
    gr.Warning(html.escape(text, quote=False), duration=duration)
