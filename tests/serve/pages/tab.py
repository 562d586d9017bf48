"""One open page, as a test acts on it, and what the store knows of it."""

from __future__ import annotations

import ipaddress
import re
import sys
from dataclasses import dataclass, field
from typing import Any

import httpx
from playwright.sync_api import Page, expect

from pawl.schemas import Completion
from tests.serve.live import eventually
from tests.serve.pages.composed import Composed

PATIENCE_SECONDS = 90.0  # reached only on a machine that is busy with something else
LEAVING = re.compile("AbortError|Connection errored out")
expect.set_options(timeout=PATIENCE_SECONDS * 1000)


class Outside:
    """Addresses beyond this machine that this process connected to or looked up."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        sys.addaudithook(self._hook)  # stays for the life of the process; only notes down

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            host = arguments[0]
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            host = arguments[1][0]
        else:
            return
        name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
        try:
            if not ipaddress.ip_address(name).is_loopback and name != "0.0.0.0":
                self.seen.append(name)
        except ValueError:
            if name != "localhost":
                self.seen.append(name)


OUTSIDE = Outside()


@dataclass
class Tab:
    """An open page, what it asked for and what it complained about."""

    page: Page
    urls: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("request", lambda request: self.urls.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console",
            lambda line: self.complaints.append(line.text) if line.type == "error" else None,
        )
        self.page.on(
            "response",
            lambda answer: (
                self.complaints.append(f"{answer.status} {answer.url}")
                if answer.status >= 400
                else None
            ),
        )

    def open(self, url: str) -> None:
        n_complaints = len(self.complaints)
        self.page.goto(url)
        self._wait_until_drawn()
        # A page that is left in the middle of a request complains about it.
        left = [text for text in self.complaints[n_complaints:] if not LEAVING.search(text)]
        self.complaints[n_complaints:] = left

    def sign_in(self, url: str, name: str, password: str) -> None:
        """Open the page of somebody who is not signed in, and sign in."""
        self.page.goto(url)
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self._wait_until_drawn()

    def reload(self) -> None:
        self.open(self.page.url)

    def _wait_until_drawn(self) -> None:
        expect(self.box).to_be_visible(timeout=240_000)  # Gradio imports for long when busy
        expect(self.page.get_by_label("Version that answers")).to_have_value(
            re.compile("now|base|pawl@")  # no more than "pawl": before the versions are known
        )

    @property
    def box(self) -> Any:
        return self.page.get_by_label("Your message")

    @property
    def answers(self) -> Any:
        return self.page.locator("#pawl-chat [data-testid=bot]").filter(
            has_not=self.page.locator(".pawl-under")
        )

    @property
    def small_print(self) -> Any:
        return self.page.locator("#pawl-chat .pawl-under")

    def ask(self, text: str) -> None:
        """Type, press Enter, and wait until the answer is over."""
        n = self.small_print.count()
        self.box.fill(text)
        self.box.press("Enter")
        expect(self.small_print).to_have_count(n + 1)
        expect(self.button("Send")).to_be_visible()

    def state(self) -> str:
        """What the page shows, and what it asked for last."""
        frame = self.page.locator("#pawl-shown textarea")
        chat = self.page.locator("#pawl-chat")
        return "\n".join(
            [
                f"the page is at {self.page.url}",
                f"shows frame {[one.input_value() for one in frame.all()]}",
                f"and the conversation {chat.all_inner_texts()}",
                "asked last for",
                *self.urls[-15:],
            ]
        )

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def thumb(self, name: str, answer: int = 0) -> Any:
        """The thumb under the ``answer``-th answer: Like, Dislike, and Liked, Disliked when lit."""
        under = self.page.locator("#pawl-chat .message-buttons-left").filter(
            has=self.page.locator("button[aria-label$=ike], button[aria-label$=iked]"), visible=True
        )
        return under.nth(answer).get_by_role("button", name=name, exact=True)


def recorded(server: Composed, n: int, *before: str) -> list[Completion]:
    """The ``n`` completions recorded beyond the ids in ``before``, oldest first."""

    def found() -> list[Completion]:
        rows = [row for row in server.store.completions() if row.completion_id not in before]
        return sorted(rows, key=lambda row: row.created_at) if len(rows) == n else []

    return list(eventually(found, f"{n} completions in the store"))


def ids(server: Composed) -> list[str]:
    return [row.completion_id for row in server.store.completions()]


def feedback(server: Composed, completion_id: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{server.url}/v1/feedback", params={"completion_id": completion_id})
    return list(answer.raise_for_status().json())
