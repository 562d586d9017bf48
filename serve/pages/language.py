"""The language of a request: the one that was chosen in this browser, else one that it asks for.

A link to ``?lang=de`` on a page chooses: the answer is a cookie and the way back to the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response

from serve.pages.texts import ENGLISH, LANGUAGES

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE, PARAM = "pawl_language", "lang"
COOKIE_SECONDS = 365 * 24 * 3600
# Gradio's own words are English, whatever the browser asks for, so that style sheets and scripts
# find its parts by them; ``assets/gradio.js`` translates what is seen.
_GRADIO_IN_ENGLISH = (
    '<script>Object.defineProperty(navigator, "language", { get: () => "en" });</script>'
)


def preferred(scope: Scope) -> str:
    """One of ``LANGUAGES``: English where a browser asks for none of them."""
    headers = Headers(scope=scope)
    for cookies in headers.getlist("cookie"):
        if (chosen := cookie_parser(cookies).get(COOKIE)) in LANGUAGES:
            return str(chosen)
    wanted = []
    for at, part in enumerate(",".join(headers.getlist("accept-language"))[:1000].split(",")):
        tag, _, weight = part.partition(";")
        language = tag.strip().lower().partition("-")[0]
        if language in LANGUAGES and _weight(weight) > 0:
            wanted.append((-_weight(weight), at, language))
    return min(wanted)[2] if wanted else ENGLISH


def _weight(parameter: str) -> float:
    try:
        return float(parameter.strip().lower().removeprefix("q="))
    except ValueError:
        return 1.0


def chosen(scope: Scope) -> Response | None:
    """The answer to who chose a language: the page without the choice in its address."""
    query = QueryParams(scope["query_string"])
    language = query.get(PARAM)
    if language not in LANGUAGES or scope["method"] != "GET":
        return None
    rest = urlencode([pair for pair in query.multi_items() if pair[0] != PARAM])
    root = scope.get("root_path", "")
    where = f"{root}{scope['path']}" + (f"?{rest}" if rest else "")
    response = RedirectResponse(where, 303, {"Cache-Control": "no-store"})
    response.set_cookie(
        COOKIE, language, max_age=COOKIE_SECONDS, path=root or "/", samesite="lax",
        secure=scope["scheme"] == "https",
    )  # fmt: skip
    return response


def in_language(app: ASGIApp, language: str) -> ASGIApp:
    """Gradio's page, whose HTML says in which language it is."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        begun: Message = {}
        html = b""

        async def send_whole(message: Message) -> None:
            nonlocal begun, html
            if message["type"] == "http.response.start":
                begun = message
                return
            html += message.get("body", b"")
            if message.get("more_body"):
                return
            html = html.replace(b'lang="en"', f'lang="{language}"'.encode(), 1)
            html = html.replace(b"<head>", f"<head>{_GRADIO_IN_ENGLISH}".encode(), 1)
            headers = MutableHeaders(scope=begun)
            headers["Content-Length"] = str(len(html))
            headers.add_vary_header("Accept-Language, Cookie")
            await send(begun)
            await send({"type": "http.response.body", "body": html})

        await app(scope, receive, send_whole)

    return answer
