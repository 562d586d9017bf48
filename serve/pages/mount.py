"""Puts the pages on the gateway's port, behind everything the API has registered.

Each page is a Gradio application of its own, which sees the paths below the page's
(``serve.pages.navigation``). Building them imports Gradio, which takes seconds, so it happens
beside the running server: until then each answers with a small page that says so and looks again
by itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from httpx import AsyncClient
from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from pawl.settings import PageSettings
from serve.api.auth import Fronts
from serve.api.keys import Authenticator
from serve.pages import ASSETS
from serve.pages.api import HTTP, new_client
from serve.pages.events import EventShape, shapes_of
from serve.pages.language import in_language, preferred
from serve.pages.navigation import CHAT, DASHBOARD, PEOPLE, REVIEW, RUNS, VERSIONS, page_at
from serve.pages.security import SESSION, PageSecurity
from serve.pages.sign_in import SignInPages
from serve.pages.texts import BROWSER_TEXTS, ENGLISH, language, mark, say, speak, unmarked

log = logging.getLogger("pawl.pages")
# More of the chat page, and of the review page, which draws messages too.
_STYLES = {
    CHAT.path: ("messages", "behaviour", "chats", "settings", "said_back", "sides"),
    REVIEW.path: ("messages", "review_phone"),
}
_SCRIPTS = {
    CHAT.path: (
        "gradio",
        "messages",
        "behaviour",
        "branches",
        "files",
        "settings",
        "said_back",
        "sides",
    ),
}
TRANSLATED = (CHAT,)  # the pages for reviewers and administrators are in English
# What a browser needs to install the page as an application: Gradio's page names the first, and
# browsers ask for it without a cookie.
_INSTALLED = {
    "/manifest.json": "application/manifest+json",
    "/icon.svg": "image/svg+xml",
}


def mount_pages(
    app: Starlette,
    authenticator: Authenticator,
    fronts: Fronts,
    n_event_bytes: int,
    sign_in: SignInPages,
    page: PageSettings | None = None,
) -> None:
    """Serve the pages; the chat page at ``/`` of ``app`` gets every path that nothing else takes.

    A page calls the gateway at the address on which the browser's own request came in, so
    nobody needs to know the port beforehand.

    Args:
        app: the gateway; its API routes are registered already, its lifespan has not begun.
        authenticator: asked whether a key is right, for the page as for the API.
        fronts, n_event_bytes, sign_in: as in ``PageSecurity``.
        page: settings of the chat page.
    """
    pages = Pages(getattr(app, "root_path", ""), page)
    app.router.default = PageSecurity(
        pages, authenticator, fronts, pages.shapes, n_event_bytes, sign_in
    )
    app.state.pages = pages
    app.router.lifespan_context = pages.lifespan


@dataclass(frozen=True, slots=True)
class Built:
    """A page's application, its blocks, and the events that it may send."""

    app: Starlette
    blocks: Any
    shapes: Mapping[int, EventShape]


class Pages:
    """The pages once they are built; before that, a page that says how far they are."""

    def __init__(self, root_path: str = "", page: PageSettings | None = None) -> None:
        self._root_path, self._page = root_path, page or PageSettings()
        self._built: dict[str, Built] = {}  # by the page's path
        self._http: AsyncClient | None = None  # of the pages' calls to their own server
        self._start = secrets.token_hex(8)
        self._problem: str | None = None
        self.is_building = False  # in a thread that nothing can end

    def shapes(self, path: str) -> Mapping[int, EventShape]:
        """The events of the page at ``path``; none until it is built."""
        return self._built[path].shapes if path in self._built else {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page, inside = page_at(scope["path"])
        speak(preferred(scope) if page in TRANSLATED else ENGLISH)
        built = self._built.get(page.path)
        if built is not None:
            # The session of a page that another start of the server sent, or that was gone for
            # long, is not here: an event would find an empty one. The page's script loads it anew.
            why = None
            if Headers(scope=scope).get("X-Pawl-Start", self._start) != self._start:
                why = "The server was started anew; this page is loaded again."
            elif built.blocks.state_holder.forgot(scope.get(SESSION, "")):
                why = "The page was away for long; it is loaded again."
            if why is not None:
                await JSONResponse({"detail": why}, 409)(scope, receive, send)
                return
            is_page = inside == "/" and scope["method"] == "GET"
            app = in_language(built.app, language()) if is_page else built.app
            await app({**scope, "path": inside, HTTP: self._http}, receive, send)
            return
        if scope["type"] != "http":
            return
        templates = Environment(loader=FileSystemLoader(ASSETS), autoescape=True)
        text = templates.get_template("starting.html").render(
            problem=self._problem, say=say, language=language()
        )
        await HTMLResponse(text, 200 if inside == "/" else 503)(scope, receive, send)

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
        for built in self._built.values():
            for route in built.app.routes:
                if isinstance(route, Mount):
                    gradio_app: Any = route.app
                    gradio_app.stop_event.set()

    async def _run(self) -> None:
        """Build, serve until cancelled. One task, as Gradio's lifespan must end in its own."""
        try:
            self.is_building = True
            built = await asyncio.to_thread(self._build_apart)
        except Exception as err:
            is_missing = isinstance(err, ImportError)
            do = (
                "Do: pip install 'pawl-chat[pages]'"
                if is_missing
                else "The server's log has details"
            )
            self._problem = (
                f"The pages could not be built ({type(err).__name__}: {err}). The API works "
                f"without them. {do}."
            )
            log.error(self._problem, exc_info=not is_missing)
            return
        async with AsyncExitStack() as running:
            self._http = await running.enter_async_context(new_client())
            for one in built.values():
                await running.enter_async_context(one.app.router.lifespan_context(one.app))
            self._built = built
            try:
                await asyncio.Event().wait()
            finally:
                self._built = {}
                for one in built.values():
                    one.blocks.close(verbose=False)

    def _build_apart(self) -> dict[str, Built]:
        """In a loop of its own: Gradio opens loops that it never closes where none runs."""
        try:
            return asyncio.run(self._build())
        finally:
            self.is_building = False

    async def _build(self) -> dict[str, Built]:
        # Gradio reads this when it is imported, and posts usage figures home without it.
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        from serve.pages.chat import ChatPage
        from serve.pages.dashboard import DashboardPage
        from serve.pages.people import PeoplePage
        from serve.pages.review import ReviewPage
        from serve.pages.runs import RunsPage
        from serve.pages.versions import VersionsPage

        return {
            CHAT.path: self._mounted(CHAT.path, ChatPage(self._page).blocks, "page"),
            REVIEW.path: self._mounted(REVIEW.path, ReviewPage().blocks, "review"),
            RUNS.path: self._mounted(RUNS.path, RunsPage().blocks, "operate"),
            VERSIONS.path: self._mounted(VERSIONS.path, VersionsPage().blocks, "operate"),
            DASHBOARD.path: self._mounted(DASHBOARD.path, DashboardPage().blocks, "board"),
            PEOPLE.path: self._mounted(PEOPLE.path, PeoplePage().blocks, "board"),
        }

    def _mounted(self, path: str, blocks: Any, name: str) -> Built:
        """An application of a page's blocks, with ``NAME.css`` and ``NAME.js`` of the assets."""
        import gradio
        from fastapi import FastAPI

        from serve.pages.layout import theme

        inner = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        root = "../" * path.count("/") or "./"
        links = _asset("navigation.js").replace("%ROOT%", root)
        texts = _asset("texts.js").replace("%TEXTS%", BROWSER_TEXTS)
        session = _asset("session.js").replace("%START%", self._start)
        scripts = (texts, session, _asset("look.js"), links, _asset(f"{name}.js"))
        head = _asset("icon.html") + "<script>{}</script>".format("\n".join(scripts))
        if path == CHAT.path:
            for at, kind in _INSTALLED.items():
                inner.add_route(at, _served(at.removeprefix("/"), kind))
        # Gradio would put its container's name before rules within @media of its own css.
        for part in _STYLES.get(path, ()):
            head += f"<style>{_asset(f'{part}.css')}</style>"
        for part in _SCRIPTS.get(path, ()):
            head += f"<script>{_asset(f'{part}.js')}</script>"
        gradio.mount_gradio_app(
            inner,
            blocks,
            path="/",
            root_path=self._root_path + path or None,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            max_file_size=0,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            theme=theme(),
            css=_asset("navigation.css") + _asset(f"{name}.css"),
            head=head,
        )
        return Built(inner, blocks, shapes_of(blocks))


def _served(name: str, media_type: str) -> Callable[[Request], Response]:
    content = _asset(name)
    if not name.endswith(".json"):
        return lambda request: Response(content, media_type=media_type)
    laid_out = {**json.loads(content), "description": mark("page.description")}
    return lambda request: JSONResponse(unmarked(laid_out, language()), media_type=media_type)


def _asset(name: str) -> str:
    return (ASSETS / name).read_text("utf-8")
