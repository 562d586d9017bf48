"""The chat page's components, laid out once, and its theme (colours, sizes).

This module imports Gradio at its top, which takes seconds: import it only to build the page.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import gradio as gr

from pawl.schemas import MOST_COMMENT_CHARACTERS, MOST_CORRECTION_CHARACTERS
from serve.pages.chat_settings import label
from serve.pages.conversation import OpenPage
from serve.pages.markdown import LATEX_DELIMITERS
from serve.pages.rendering import (
    DOWN,
    UP,
    about,
    attach,
    difference,
    is_more_than_a_thumb,
    languages,
    messages,
    suggested,
    thumbs,
    version_choices,
)
from serve.pages.texts import mark, say

POLL_SECONDS = 1.5  # how often the page asks for the engine's state and the versions


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
        # What the browser shows: OpenPage.frames and OpenPage.settings_frames.
        self.shown = gr.Textbox("", visible="hidden", elem_id="pawl-shown")
        self.shown_settings = gr.Textbox("", visible="hidden", elem_id="pawl-shown-settings")
        # branches.js sends which variant of which answer is to be shown.
        self.variant = gr.Textbox(visible="hidden", elem_id="pawl-variant")
        # And settings.js what the dialog of settings asks for.
        self.settings_command = gr.Textbox(visible="hidden", elem_id="pawl-settings-command")
        self.settings_reply = gr.Markdown(
            visible="hidden", sanitize_html=False, latex_delimiters=[],
            elem_id="pawl-settings-reply",
        )  # fmt: skip
        # And sides.js which of two answers is chosen.
        self.sides_command = gr.Textbox(visible="hidden", elem_id="pawl-sides-command")
        # And said_back.js what is pressed in what is said back.
        self.said_back_command = gr.Textbox(visible="hidden", elem_id="pawl-said-back-command")
        self.taken = gr.Markdown(
            visible="hidden", sanitize_html=False, latex_delimiters=[], elem_id="pawl-taken"
        )
        with gr.Row(elem_id="pawl-head"):
            gr.Button(mark("page.chats"), size="sm", min_width=60, elem_id="pawl-chats")
            gr.Markdown("# Pawl", elem_id="pawl-title")
            self.version = gr.Dropdown(
                ["pawl"],
                value="pawl",
                label=mark("page.version"),
                show_label=False,
                container=False,
                filterable=False,
                min_width=100,
                elem_id="pawl-version",
            )
            self.new = gr.Button(mark("page.new_chat"), size="sm", min_width=80, elem_id="pawl-new")
            gr.Button("◐", size="sm", min_width=44, elem_id="pawl-look")  # look.js: light or dark
            # gr.HTML would need unsafe-eval. The sanitiser would take the form; names are escaped.
            self.who = gr.Markdown(visible=False, sanitize_html=False, elem_id="pawl-who")
        with gr.Column(elem_id="pawl-side"):
            gr.Button(mark("form.close"), size="sm", min_width=70, elem_id="pawl-side-close")
            with gr.Row(elem_id="pawl-find"):
                self.search = gr.Textbox(
                    label=mark("page.search_label"),
                    show_label=False,
                    container=False,
                    max_lines=1,
                    min_width=60,
                    placeholder=mark("page.search"),
                    elem_id="pawl-search",
                )
                gr.Button(
                    mark("page.clear_search"), size="sm", min_width=44, elem_id="pawl-search-clear"
                )
            self.chats = gr.Markdown(
                "<div></div>", sanitize_html=False, latex_delimiters=[], elem_id="pawl-list"
            )
            gr.Button(mark("page.erase"), size="sm", elem_id="pawl-erase")
            plain("pawl-language", languages())
        self.banner = gr.Markdown(visible=False, latex_delimiters=[], elem_id="pawl-banner")
        self.said_back = plain("pawl-said-back")
        self.chat = gr.Chatbot(
            label=mark("page.conversation"),
            show_label=False,
            placeholder=mark("page.empty"),
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
                self.correction = gr.Textbox(
                    label=mark("form.correction"),
                    lines=2,
                    max_lines=10,
                    max_length=MOST_CORRECTION_CHARACTERS,
                    elem_id="pawl-correction",
                )
                self.start_from = gr.Button(
                    mark("form.start_from"), size="sm", min_width=120, elem_id="pawl-start-from"
                )
                self.difference = gr.Markdown(latex_delimiters=[])
                self.comment = gr.Textbox(
                    label=mark("form.comment"),
                    lines=1,
                    max_lines=6,
                    max_length=MOST_COMMENT_CHARACTERS,
                    elem_id="pawl-comment",
                )
                self.categories = gr.CheckboxGroup([], label=mark("form.categories"))
                self.meanings = gr.Markdown(latex_delimiters=[])
            with gr.Row(elem_id="pawl-buttons"):
                self.save = gr.Button(
                    mark("form.save"),
                    variant="primary",
                    size="sm",
                    min_width=120,
                    elem_id="pawl-save",
                )
                self.take_back = gr.Button(mark("form.take_back"), size="sm", min_width=90)
                self.close = gr.Button(
                    mark("form.close"), size="sm", min_width=70, elem_id="pawl-close"
                )
        with gr.Row(visible=False, elem_id="pawl-full") as self.full:
            gr.Markdown(mark("page.full"))
            self.leave_out = gr.Button(
                mark("page.leave_out"), variant="primary", size="sm", min_width=120
            )
            self.new_with = gr.Button(
                mark("page.new_with"), size="sm", min_width=120, elem_id="pawl-new-with"
            )
        # Seen while nothing is asked and nothing typed; page.js puts a pressed one into the box.
        if suggestions:
            plain("pawl-suggestions", suggested(suggestions))
        self.question = gr.Textbox(
            label=mark("page.message"),
            show_label=False,
            container=False,
            lines=1,
            max_lines=8,
            placeholder=mark("page.message"),
            submit_btn=mark("page.send"),
            stop_btn=False,
            autofocus=True,
            elem_id="pawl-question",
        )
        with gr.Row(elem_id="pawl-below"):
            plain("pawl-attach", attach())
            self.settings = gr.Button(mark("page.settings"), size="sm", elem_id="pawl-settings")
            self.private = gr.Checkbox(
                label=mark("page.private"), container=False, elem_id="pawl-private"
            )
        gr.Markdown(mark("page.about"), elem_id="pawl-about")
        # What shows the conversation, and what shows the feedback form.
        self.drawn = [
            self.chat, self.question, self.private, self.full, self.version, self.settings,
            self.shown_settings, self.shown,
        ]  # fmt: skip
        self.feedback_form = [
            self.form, self.about, self.why, self.categories, self.correction, self.comment,
            self.save, self.difference,
        ]  # fmt: skip


# -- what handlers answer: updates of ``Layout.drawn`` and ``Layout.feedback_form``, in order

KEEP_FORM = [gr.skip()] * 8
KEEP = [gr.skip()] * 16


def drawn(page: OpenPage) -> list[Any]:
    """The conversation, and the input with its button: Send, or Stop while an answer comes."""
    busy, page.drawn = page.conversation.busy, page.conversation.state
    page.frames.n_drawn += 1
    # Somebody may have checked the box of a page that was just loaded: it is laid out unchecked.
    is_as_laid_out = page.frames.n_drawn == 1 and page.conversation.learn
    return [
        gr.update(value=messages(page.turns, busy), feedback_value=thumbs(page.turns)),
        gr.update(submit_btn=not busy and say("page.send"), stop_btn=busy and say("page.stop")),
        gr.skip() if is_as_laid_out else gr.update(value=not page.conversation.learn),
        gr.update(visible=page.conversation.is_full),
        *drawn_settings(page),
        str(page.frames.n_drawn),
    ]


def drawn_settings(page: OpenPage) -> list[Any]:
    """The version that answers, the button of the settings, and how often they were drawn; skipped
    where they are drawn so, for somebody may be choosing another version."""
    conversation = page.conversation
    now = (conversation.conversation_id, dict(conversation.settings), page.models)
    if page.drawn_settings == now:
        return [gr.skip()] * 3
    page.drawn_settings = now
    page.settings_frames.n_drawn += 1
    choices = version_choices(page.models, conversation.model)
    return [
        gr.update(choices=choices, value=conversation.model),
        gr.update(value=label(conversation.settings)),
        str(page.settings_frames.n_drawn),
    ]


def form(page: OpenPage) -> list[Any]:
    """The feedback form: closed, or open on ``page.form_turn`` with what was saved last."""
    turn = page.form_turn
    if turn is None or turn.feedback is None:
        return [gr.update(visible=False), *[gr.skip()] * 7]
    shown = is_more_than_a_thumb(turn)
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


def inform(text: str, duration: float) -> None:
    """Gradio draws this as HTML, too."""
    gr.Info(html.escape(text, quote=False), duration=duration)
