"""Puts the pages on the gateway's port, behind everything the API has registered.

Building the chat page imports Gradio, which takes seconds, so it happens beside the running
server: until then ``/`` answers with a small page that says so and looks again by itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from pawl.settings import Settings
from serve.api.auth import is_loopback
from serve.pages.script import SCRIPT
from serve.pages.security import PageSecurity
from serve.pages.theme import FAVICON_LINK, STARTING_PAGE

log = logging.getLogger("pawl.pages")


def mount_pages(app: Starlette, settings: Settings) -> None:
    """Serve the chat page at ``/`` of ``app``. Call it last: it takes every path left over.

    The page calls the gateway at the address on which the browser's own request came in, so
    nobody needs to know the port beforehand.

    Args:
        app: the gateway; its API routes are registered already, its lifespan has not begun.
        settings: asked for ``api_key`` and ``host`` only.
    """
    key = settings.api_key.get_secret_value() if settings.api_key else None
    pages = Pages(key)
    app.mount("/", PageSecurity(pages, key, only_own_names=is_loopback(settings.host)))
    app.state.pages = pages
    before = app.router.lifespan_context

    @asynccontextmanager
    async def with_pages(parent: Any) -> AsyncIterator[Any]:
        async with before(parent) as state:
            pages.start()
            try:
                yield state
            finally:
                await pages.stop()

    app.router.lifespan_context = with_pages


class Pages:
    """The Gradio application once it is built; before that, a page that says how far it is."""

    def __init__(self, api_key: str | None) -> None:
        self._api_key = api_key
        self._app: Starlette | None = None
        self._problem: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is not None:
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        await HTMLResponse(
            STARTING_PAGE.format(
                icon=FAVICON_LINK,
                what=self._problem or "The page is being put together. It opens by itself.",
                refresh="" if self._problem else '<meta http-equiv="refresh" content="1">',
            ),
            status_code=200 if HTTPConnection(scope).url.path == "/" else 503,
        )(scope, receive, send)

    def start(self) -> None:
        """Begin to build, beside the running server."""
        self._task = asyncio.create_task(self._run())

    def hang_up(self) -> None:
        """End the stream that every open page holds, so that a server that drains its
        connections does not wait for pages left open."""
        for route in self._app.routes if self._app is not None else ():
            if isinstance(route, Mount):
                gradio_app: Any = route.app
                gradio_app.stop_event.set()

    async def stop(self) -> None:
        """Take the page down, with every stream it still runs."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        """Build, serve until told to stop. One task, as Gradio's lifespan must end in its own."""
        try:
            # In a loop of its own: Gradio opens loops that it never closes where none runs.
            inner, blocks = await asyncio.to_thread(asyncio.run, self._build())
        except ImportError as err:
            self._problem = (
                f"The chat page needs Gradio, which could not be imported ({err}). "
                "Do: pip install 'pawl-chat[pages]'. The API works without it."
            )
            log.error(self._problem)
            return
        except Exception as err:
            self._problem = (
                f"The chat page could not be built ({type(err).__name__}: {err}); "
                "the server's log has the details. The API works without it."
            )
            log.exception("the chat page could not be built")
            return
        async with inner.router.lifespan_context(inner):
            self._app = inner
            await self._stopping.wait()
            self._app = None
            blocks.close(verbose=False)

    async def _build(self) -> tuple[Starlette, Any]:
        # Gradio reads this when it is imported, and posts usage figures home without it.
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        import gradio
        from fastapi import FastAPI

        from serve.pages.chat import ChatPage
        from serve.pages.theme import CSS, theme

        inner = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        blocks = ChatPage(self._api_key).blocks
        gradio.mount_gradio_app(
            inner,
            blocks,
            path="/",
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            max_file_size=0,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            theme=theme(),
            css=CSS,
            head=FAVICON_LINK + SCRIPT,
        )
        return inner, blocks
