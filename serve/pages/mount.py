"""Puts the pages on the gateway's port, behind everything the API has registered.

Building the chat page imports Gradio, which takes seconds, so it happens beside the running
server: until then ``/`` answers with a small page that says so and looks again by itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from serve.api.auth import Fronts
from serve.api.keys import Authenticator
from serve.pages.events import EventShape, shapes_of
from serve.pages.rendering import ASSETS
from serve.pages.security import PageSecurity
from serve.pages.sign_in import SignInPages

log = logging.getLogger("pawl.pages")


def mount_pages(
    app: Starlette,
    authenticator: Authenticator,
    fronts: Fronts,
    n_event_bytes: int,
    sign_in: SignInPages,
) -> None:
    """Serve the chat page at ``/`` of ``app``; it gets every path that no route takes.

    The page calls the gateway at the address on which the browser's own request came in, so
    nobody needs to know the port beforehand.

    Args:
        app: the gateway; its API routes are registered already, its lifespan has not begun.
        authenticator: asked whether a key is right, for the page as for the API.
        fronts, n_event_bytes, sign_in: as in ``PageSecurity``.
    """
    pages = Pages(getattr(app, "root_path", ""))
    app.router.default = PageSecurity(
        pages, authenticator, fronts, lambda: pages.shapes, n_event_bytes, sign_in
    )
    app.state.pages = pages
    app.router.lifespan_context = pages.lifespan


class Pages:
    """The Gradio application once it is built; before that, a page that says how far it is."""

    def __init__(self, root_path: str = "") -> None:
        self._root_path = root_path
        self._app: Starlette | None = None
        self._problem: str | None = None
        self.shapes: dict[int, EventShape] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is not None:
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        templates = Environment(loader=FileSystemLoader(ASSETS), autoescape=True)
        page = templates.get_template("starting.html").render(problem=self._problem)
        status = 200 if scope["path"] == "/" else 503
        await HTMLResponse(page, status)(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Build beside the running server; at its end take the page down, with its streams."""
        work = asyncio.create_task(self._run())
        try:
            yield
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work

    def hang_up(self) -> None:
        """End the stream that every open page holds, so that a server that drains its
        connections does not wait for pages left open."""
        for route in self._app.routes if self._app is not None else ():
            if isinstance(route, Mount):
                gradio_app: Any = route.app
                gradio_app.stop_event.set()

    async def _run(self) -> None:
        """Build, serve until cancelled. One task, as Gradio's lifespan must end in its own."""
        try:
            # In a loop of its own: Gradio opens loops that it never closes where none runs.
            inner, blocks = await asyncio.to_thread(asyncio.run, self._build())
        except Exception as err:
            is_missing = isinstance(err, ImportError)
            do = (
                "Do: pip install 'pawl-chat[pages]'"
                if is_missing
                else "The server's log has details"
            )
            self._problem = (
                f"The chat page could not be built ({type(err).__name__}: {err}). The API works "
                f"without it. {do}."
            )
            log.error(self._problem, exc_info=not is_missing)
            return
        async with inner.router.lifespan_context(inner):
            self._app, self.shapes = inner, shapes_of(blocks)
            try:
                await asyncio.Event().wait()
            finally:
                self._app = None
                blocks.close(verbose=False)

    async def _build(self) -> tuple[Starlette, Any]:
        # Gradio reads this when it is imported, and posts usage figures home without it.
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        import gradio
        from fastapi import FastAPI

        from serve.pages.chat import ChatPage
        from serve.pages.layout import theme

        inner = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        blocks = ChatPage().blocks
        script = (ASSETS / "page.js").read_text("utf-8")
        gradio.mount_gradio_app(
            inner,
            blocks,
            path="/",
            root_path=self._root_path or None,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            max_file_size=0,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            theme=theme(),
            css=(ASSETS / "page.css").read_text("utf-8"),
            head=(ASSETS / "icon.html").read_text("utf-8") + f"<script>{script}</script>",
        )
        return inner, blocks
