"""The pages of the server: where each is, who may open it, and the links between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from pawl.schemas import Role
from serve.pages.texts import say

if TYPE_CHECKING:
    from pawl.schemas import Caller

LINKS = "/pages.json"  # the links that ``assets/navigation.js`` draws on every page


@dataclass(frozen=True, slots=True)
class PlacedPage:
    """A page of Gradio's.

    ``label``: the key of its name (``serve.pages.texts``).
    ``path``: below the server's root; the page itself is at ``path + "/"``, all that it loads and
    sends below that. ``role``: the least one that may open it.
    """

    path: str
    label: str
    role: Role


CHAT = PlacedPage("", "navigation.chat", Role.USER)
REVIEW = PlacedPage("/review", "navigation.review", Role.REVIEWER)
DASHBOARD = PlacedPage("/dashboard", "navigation.dashboard", Role.REVIEWER)
RUNS = PlacedPage("/runs", "navigation.runs", Role.ADMINISTRATOR)
VERSIONS = PlacedPage("/versions", "navigation.versions", Role.ADMINISTRATOR)
PEOPLE = PlacedPage("/people", "navigation.people", Role.ADMINISTRATOR)
PAGES = (CHAT, REVIEW, DASHBOARD, RUNS, VERSIONS, PEOPLE)


def page_at(path: str) -> tuple[PlacedPage, str]:
    """The page that a path belongs to, and the rest of the path inside of it (``/`` is the page
    itself; empty where the slash is missing that its relative addresses need)."""
    for page in PAGES[1:]:
        if path == page.path or path.startswith(f"{page.path}/"):
            return page, path.removeprefix(page.path)
    return CHAT, path


def links_for(caller: Caller, is_open: bool) -> Response:
    """The pages that a caller may open. Where nobody needs to sign in, all: those that take a
    role then lead to a form that takes a key."""
    found = [page for page in PAGES if is_open or caller.role.includes(page.role)]
    body = [{"path": f"{page.path}/".lstrip("/"), "label": say(page.label)} for page in found]
    return JSONResponse(body, headers={"Cache-Control": "no-store"})
