"""The versions page: from a flag to the version that fixed it, and two versions side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from pawl.errors import PawlError
from serve.api.auth import caller_of
from serve.pages.blocks import PageBlocks
from serve.pages.categories import api_of
from serve.pages.layout import plain
from serve.pages.rendering import html_parts

VERSIONS = "/admin/versions"
N_FLAGS = 20  # shown, and as many more with each press
MOST_PROMPTS = 20  # as ShadowRequest.prompts takes
BETWEEN = "---"  # a line between two prompts
ANSWER_SECONDS = 600.0
ANY = ""
OUTCOMES = [
    ("all that nights took up", ANY),
    ("learned from", "trained"),
    ("fixed, says a gate", "fixed"),
    ("as before, says a gate", "same"),
    ("broken, says a gate", "broken"),
]
_html: Any = html_parts("versions.html")


@dataclass
class OpenVersions:
    """What one open page shows. ``query``: what the flags on it were asked for."""

    versions: list[dict[str, Any]] = field(default_factory=list)
    query: dict[str, str] = field(default_factory=dict)
    n_flags: int = N_FLAGS
    # One question to the model at a time, of one page.
    comparing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __deepcopy__(self, memo: Any) -> OpenVersions:
        return OpenVersions()  # Gradio copies the first value for each session

    @property
    def names(self) -> list[str]:
        """Versions that may be asked: the engine says no to those whose files are gone."""
        return [row["version"] for row in self.versions]


class VersionsPage:
    """The page as Gradio mounts it (``blocks``), and its handlers."""

    def __init__(self) -> None:
        with PageBlocks(title="Versions · Pawl", analytics_enabled=False) as self.blocks:
            self._lay_out()
            self._wire()
        self.blocks.queue(api_open=False, default_concurrency_limit=None)

    def _lay_out(self) -> None:
        self.page = gr.State(OpenVersions())
        with gr.Row(elem_classes="op-head"):
            gr.Markdown("# Versions", elem_classes="op-title")
            self.who = plain("op-who")
        self.notice = plain("op-notice")
        self.table = plain("versions-table")
        gr.Markdown("## From a flag to the version that fixed it")
        with gr.Row():
            self.version = gr.Dropdown(
                [("every version", ANY)], value=ANY, label="Flags of", filterable=False,
                min_width=160,
            )  # fmt: skip
            self.outcome = gr.Dropdown(
                OUTCOMES, value=ANY, label="Which", filterable=False, min_width=160
            )
            self.search = gr.Textbox(
                label="Words, or an id", max_lines=1, max_length=300, min_width=200
            )
            self.find = gr.Button("Find flags", elem_classes="op-press", min_width=120)
        self.flags = plain("versions-flags")
        self.more = gr.Button("Show more flags", visible=False, elem_classes="op-press")
        gr.Markdown("## Two versions side by side")
        with gr.Row():
            self.a = gr.Dropdown(
                ["base"], value="base", label="One", filterable=False, min_width=140
            )
            self.b = gr.Dropdown(
                ["base"], value="base", label="The other", filterable=False, min_width=140
            )
            self.max_tokens = gr.Slider(
                16, 1024, 256, step=16, label="Longest answer, tokens", min_width=200
            )
        self.prompts = gr.Textbox(
            label=f"Prompts, up to {MOST_PROMPTS}; a line of {BETWEEN} between two",
            lines=4, max_lines=14, max_length=50_000, elem_id="versions-prompts",
        )  # fmt: skip
        self.compare = gr.Button("Compare", variant="primary", elem_classes="op-press")
        self.said = plain("versions-said", str(_html.notice("")))
        self.answers = plain("versions-answers")

    def _wire(self) -> None:
        common: dict[str, Any] = {
            "api_visibility": "private",
            "show_progress": "hidden",
            "concurrency_limit": None,
        }
        drawn = [self.notice, self.flags, self.more]
        asked = [self.page, self.version, self.outcome, self.search]
        self.blocks.load(
            self._begin, [self.page],
            [self.who, self.table, self.version, self.a, self.b, *drawn], **common,
        )  # fmt: skip
        self.find.click(self._find, asked, drawn, **common)
        self.search.submit(self._find, asked, drawn, **common)
        self.more.click(self._more, [self.page], drawn, **common)
        self.compare.click(
            self._compare, [self.page, self.a, self.b, self.prompts, self.max_tokens],
            [self.said, self.answers, self.compare], **common,
        )  # fmt: skip

    # -- handlers

    async def _begin(self, page: OpenVersions, request: gr.Request) -> list[Any]:
        who = str(_html.who(caller_of(request.request.scope).name))
        try:
            page.versions = await api_of(request).get(VERSIONS)
        except PawlError as err:
            told = f"The versions could not be read: {err}"
            return [who, *[gr.skip()] * 4, str(_html.notice(told)), "", gr.skip()]
        names = page.names
        first, before = names[0], names[-1]  # base is the last
        champion = next(
            (row["version"] for row in page.versions if row["state"] == "champion"), first
        )
        made = [row["version"] for row in page.versions if row["snapshot_id"]]
        return [
            who,
            str(_html.table(page.versions)),
            gr.update(choices=[("every version", ANY), *((name, name) for name in made)]),
            gr.update(choices=names, value=before),
            gr.update(choices=names, value=champion),
            *await self._flags(page, request),
        ]

    async def _find(
        self, page: OpenVersions, version: str, outcome: str, search: str, request: gr.Request
    ) -> list[Any]:
        asked = {"version": version, "outcome": outcome, "search": search.strip()}
        page.query = {name: value for name, value in asked.items() if value}
        page.n_flags = N_FLAGS
        return await self._flags(page, request)

    async def _more(self, page: OpenVersions, request: gr.Request) -> list[Any]:
        page.n_flags = min(page.n_flags + N_FLAGS, 200)
        return await self._flags(page, request)

    async def _flags(self, page: OpenVersions, request: gr.Request) -> list[Any]:
        """The notice, the flags, and whether there are more."""
        try:
            found = await api_of(request).get(
                f"{VERSIONS}/flags", limit=str(page.n_flags), **page.query
            )
        except PawlError as err:
            return [str(_html.notice(str(err))), gr.skip(), gr.skip()]
        n_shown = len(found["flags"])
        return [
            str(_html.notice("")),
            str(_html.flags(found)),
            gr.update(visible=n_shown < min(found["n_found"], 200)),
        ]

    async def _compare(
        self, page: OpenVersions, a: str, b: str, text: str, max_tokens: float, request: gr.Request
    ) -> AsyncIterator[list[Any]]:
        prompts = _prompts(text)
        problem = ""
        if not prompts:
            problem = "Write a prompt first."
        elif len(prompts) > MOST_PROMPTS:
            problem = f"These are {len(prompts)} prompts, and {MOST_PROMPTS} are the most."
        elif a == b:
            problem = "Choose two versions."
        elif page.comparing.locked():
            problem = "The versions still answer what was asked before."
        if problem:
            yield [str(_html.notice(problem)), gr.skip(), gr.skip()]
            return
        async with page.comparing:
            yield [
                str(_html.notice(f"{a} and {b} answer ...")), "",
                gr.update(interactive=False),
            ]  # fmt: skip
            body = {
                "a": a, "b": b, "max_tokens": int(max_tokens),
                "prompts": [[{"role": "user", "content": prompt}] for prompt in prompts],
            }  # fmt: skip
            try:
                found = await api_of(request).post("/admin/shadow", body, ANSWER_SECONDS)
            except PawlError as err:
                notice, drawn = f"Not compared: {err}", ""
            else:
                notice, drawn = "", str(_html.answers(found))
            yield [str(_html.notice(notice)), drawn, gr.update(interactive=True)]


def _prompts(text: str) -> list[str]:
    """The prompts of a text, in which a line of ``---`` stands between two."""
    found: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip() == BETWEEN:
            found.append([])
        else:
            found[-1].append(line)
    prompts = ["\n".join(lines).strip() for lines in found]
    return [prompt for prompt in prompts if prompt]
