"""The editor of error categories, on the review page: what a flag may say, and what becomes of it.

Imports Gradio at its top, which takes seconds: import it only to build a page.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from pawl.errors import PawlError
from serve.pages.api import HTTP, Api
from serve.pages.layout import warn
from serve.pages.sign_in import token_of

NEW = ""
TREATMENTS = [
    ("learn from it", "train"),
    ("learn from it once it was corrected", "review"),
    ("test on it, never train on it", "holdout_only"),
    ("neither", "ignore"),
]


class CategoryEditor:
    """Chooses a category, or a new one, and saves what is said of it."""

    def __init__(self, blocks: gr.Blocks) -> None:
        with gr.Accordion("Categories", open=False, elem_id="review-category-editor"):
            self.known = gr.State([])
            self.which = gr.Dropdown([("a new one", NEW)], value=NEW, label="Category")
            self.key = gr.Textbox(label="Key (small letters, digits, underscores)", max_lines=1)
            self.definition = gr.Textbox(label="What it means", max_lines=3)
            self.example = gr.Textbox(label="An example of a wrong answer", max_lines=3)
            self.treatment = gr.Dropdown(
                TREATMENTS, value="train", label="What is done with flags that name it"
            )
            self.save = gr.Button("Save category", size="sm")
            self.said = gr.Markdown(elem_id="review-category-said")
        self._fields = [self.key, self.definition, self.example, self.treatment]
        common: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden",
                                  "concurrency_limit": None}  # fmt: skip
        blocks.load(self._read, [], [self.known, self.which], **common)
        shown = [*self._fields, self.said]
        self.which.input(self._choose, [self.known, self.which], shown, **common)
        self.save.click(self._save, self._fields, [self.known, self.which, self.said], **common)

    async def _read(self, request: gr.Request) -> list[Any]:
        try:
            known = await api_of(request).get("/v1/feedback/categories")
        except PawlError as err:
            warn(f"The categories could not be read: {err}")
            known = []
        return [known, gr.update(choices=_choices(known))]

    def _choose(self, known: list[dict[str, Any]], which: str) -> list[Any]:
        row = next((one for one in known if one["key"] == which), None)
        row = row or {"key": "", "definition": "", "example": "", "treatment": "train"}
        return [
            gr.update(value=row["key"], interactive=which == NEW),
            row["definition"], row["example"], row["treatment"], "",
        ]  # fmt: skip

    async def _save(
        self, key: str, definition: str, example: str, treatment: str, request: gr.Request
    ) -> list[Any]:
        body = {"key": key.strip(), "definition": definition.strip(),
                "example": example.strip(), "treatment": treatment}  # fmt: skip
        try:
            known = await api_of(request).post("/admin/reviews/categories", body)
        except PawlError as err:
            warn(f"Not saved: {err}")
            return [gr.skip(), gr.skip(), ""]
        chosen = gr.update(choices=_choices(known), value=body["key"])
        return [known, chosen, "Saved. The next flag can name it."]


def api_of(request: gr.Request) -> Api:
    """The gateway at the address where this very request came in, for who is signed in."""
    host, port = request.request.scope["server"]
    name = f"[{host}]" if ":" in host else host
    scope = request.request.scope
    address = (scope.get("client") or (None,))[0]
    return Api(f"http://{name}:{port}", token_of(scope), "review", address, scope.get(HTTP))


def _choices(known: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [("a new one", NEW), *((one["key"], one["key"]) for one in known)]
