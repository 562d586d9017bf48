"""The search and the filters of the review page, for what waits and for one's own decisions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import gradio as gr

from serve.pages.rendering import category_name

ANY = ""
NAMES = "search", "category", "version", "rater", "since", "until"  # as GET /admin/reviews has them


class ReviewFilters:
    """The components, laid out once, folded away until asked for."""

    def __init__(self) -> None:
        with gr.Accordion("Search and filters", open=False, elem_id="review-filters"):
            with gr.Row():
                self.search = _box("Words, or an id", min_width=220)
                self.category = _choice("Category")
                self.version = _choice("Version that answered")
            with gr.Row():
                self.rater = _box("Flagged by")
                self.since = _box("Answered from (UTC)", "2026-01-31")
                self.until = _box("Answered until (UTC)", "2026-01-31")
            with gr.Row():
                self.find = gr.Button("Find", variant="primary", size="sm", min_width=80)
                self.clear = gr.Button("Show all", size="sm", min_width=80)
        # In the order of ``NAMES``.
        self.inputs: list[Any] = [
            self.search, self.category, self.version, self.rater, self.since, self.until,
        ]  # fmt: skip
        self.asking: list[Any] = [
            self.find.click, self.search.submit, self.rater.submit, self.since.submit,
            self.until.submit, self.category.input, self.version.input,
        ]  # fmt: skip

    def choices(
        self, query: dict[str, str], categories: Iterable[str], versions: Iterable[str]
    ) -> list[Any]:
        """Updates of what can be chosen: ``category`` and ``version``; what is chosen stays."""
        keys, names = (
            dict.fromkeys([*found, *filter(None, [query.get(name)])])
            for name, found in (("category", categories), ("version", versions))
        )
        return [
            gr.update(choices=[("any", ANY), *((category_name(key), key) for key in keys)]),
            gr.update(choices=[("any", ANY), *((name, name) for name in names)]),
        ]


def query_of(values: Sequence[str | None]) -> dict[str, str]:
    """What is asked for, of the values of ``ReviewFilters.inputs``."""
    asked = {name: (value or "").strip() for name, value in zip(NAMES, values, strict=True)}
    return {name: value for name, value in asked.items() if value}


def _box(label: str, placeholder: str = "", min_width: int = 160) -> gr.Textbox:
    return gr.Textbox(
        label=label, placeholder=placeholder, max_lines=1, max_length=300, min_width=min_width
    )


def _choice(label: str) -> gr.Dropdown:
    return gr.Dropdown([("any", ANY)], value=ANY, label=label, filterable=False, min_width=160)
