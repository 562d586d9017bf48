"""What a reviewer decided, on the review page: listed, looked through, one of them opened again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from pawl.errors import PawlError
from serve.pages.categories import api_of
from serve.pages.markdown import LATEX_DELIMITERS, plain_line
from serve.pages.rendering import html_parts

DECISIONS = "/admin/reviews/decisions"
N_SHOWN = 20  # and as many more with each press
MOST_SHOWN = 100  # as the route takes; the search finds those before
LABEL_CHARACTERS = 70
WORDS = {"accept": "accepted", "correct": "corrected", "reject": "rejected"}
_html: Any = html_parts("review.html")


@dataclass
class OpenDecisions:
    """What one open page shows. ``is_open``: the list is unfolded. ``chosen``: by ``batch_id``."""

    is_open: bool = False
    query: dict[str, str] = field(default_factory=dict)
    n_shown: int = N_SHOWN
    found: dict[str, Any] = field(default_factory=dict)
    chosen: str | None = None
    notice: str = ""

    def __deepcopy__(self, memo: Any) -> OpenDecisions:
        return OpenDecisions()  # Gradio copies the first value for each session


class Decisions:
    """The list with the decision that is chosen, and its handlers.

    Args:
        reasons: of a rejection, as the page names them.
    """

    def __init__(self, reasons: dict[str, str]) -> None:
        self._reasons = reasons
        self.page = gr.State(OpenDecisions())
        with gr.Accordion("What you decided", open=False, elem_id="review-decided") as part:
            self.part = part
            self.said = gr.Markdown(sanitize_html=False, latex_delimiters=[])
            self.chosen = gr.Radio([], label="Newest first", elem_id="review-decisions")
            self.more = gr.Button("Show older ones", visible=False, size="sm")
            self.detail = gr.Markdown(
                sanitize_html=False, latex_delimiters=LATEX_DELIMITERS, elem_id="review-decision"
            )
            self.reopen = gr.Button(
                "Take it back and decide again", visible=False, size="sm",
                elem_classes=["review-key-o"],
            )  # fmt: skip
        self.drawn = [self.said, self.chosen, self.more, self.detail, self.reopen]

    def wire(self, common: dict[str, Any]) -> None:
        """Let the list be opened, chosen from and made longer. What changes it from outside calls
        ``read``."""
        self.part.expand(self._open, [self.page], self.drawn, **common)
        self.part.collapse(self._close, [self.page], None, **common)
        self.chosen.input(self._choose, [self.page, self.chosen], self.drawn, **common)
        self.more.click(self._more, [self.page], self.drawn, **common)

    async def read(self, page: OpenDecisions, request: gr.Request) -> list[Any]:
        """All that ``drawn`` shows, as it is now; nothing while the list is folded."""
        if not page.is_open:
            return [gr.skip()] * len(self.drawn)
        page.notice = ""
        try:
            page.found = await api_of(request).get(DECISIONS, limit=str(page.n_shown), **page.query)
        except PawlError as err:
            page.notice = f"Your decisions could not be read: {err}"
        return self._drawn(page)

    async def _open(self, page: OpenDecisions, request: gr.Request) -> list[Any]:
        page.is_open, page.n_shown = True, N_SHOWN
        return await self.read(page, request)

    def _close(self, page: OpenDecisions) -> None:
        page.is_open = False

    def _choose(self, page: OpenDecisions, batch_id: str | None) -> list[Any]:
        page.chosen = batch_id
        return self._drawn(page)

    async def _more(self, page: OpenDecisions, request: gr.Request) -> list[Any]:
        page.n_shown = min(page.n_shown + N_SHOWN, MOST_SHOWN)
        return await self.read(page, request)

    def _drawn(self, page: OpenDecisions) -> list[Any]:
        decisions = page.found.get("decisions", [])
        shown = next((one for one in decisions if one["batch_id"] == page.chosen), None)
        n_found = page.found.get("n_found", 0)
        return [
            str(_html.decided_head(page)),
            gr.update(
                choices=[(_label(one), one["batch_id"]) for one in decisions],
                value=shown["batch_id"] if shown else None,
                visible=bool(decisions),
            ),
            gr.update(visible=len(decisions) < min(n_found, MOST_SHOWN)),
            str(_html.decided(shown, self._reasons)) if shown else "",
            gr.update(visible=shown is not None),
        ]


def _label(one: dict[str, Any]) -> str:
    n_others = len(one["answers"]) - 1
    others = f" (and {n_others} more)" if n_others else ""
    question = plain_line(one["answers"][0]["prompt"], LABEL_CHARACTERS)
    at = one["created_at"][:16].replace("T", " ")
    return f"{at} {WORDS[one['decision']]}{others}: {question}"
