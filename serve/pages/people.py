"""The people page: accounts, keys, quotas and the audit log, for administrators.

Each action is a call of an /admin route with the session's token, so the routes' own checks hold
and the audit log has who did it. What takes something away, or gives the role administrator, is
asked twice: the first press makes a ``Pending``, which a second one carries out, if it is still the
one that the browser shows.

Over 400 lines because the parts of the page and their handlers are read together.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import gradio as gr

from pawl.errors import PawlError
from pawl.schemas import PERSONS_ROLES, Role
from serve.api.auth import caller_of
from serve.pages.blocks import PageBlocks
from serve.pages.categories import api_of
from serve.pages.layout import plain
from serve.pages.rendering import html_parts

N_ENTRIES = 50  # of the audit log at once
ROLES = [role.value for role in PERSONS_ROLES]
KEYS_ROLES = [*ROLES, Role.GATEWAY.value]
NOBODY = ""
ACCOUNTS, KEYS = "/admin/accounts", "/admin/keys"
_html: Any = html_parts("board.html")
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Pending:
    """An action that was asked for once. ``done``: what is said when it is done."""

    question: str
    path: str
    body: dict[str, Any]
    done: str
    number: str = field(default_factory=lambda: str(next(_numbers)))


@dataclass
class OpenPeople:
    """What one open page shows. ``secret``: (what it is, itself), until the next action."""

    accounts: list[dict[str, Any]] = field(default_factory=list)
    keys: list[dict[str, Any]] = field(default_factory=list)
    quotas: dict[str, Any] = field(default_factory=dict)
    entries: list[dict[str, Any]] = field(default_factory=list)
    has_older: bool = False
    search: str = ""
    offset: int = 0
    pending: Pending | None = None
    said: str = ""
    is_error: bool = False
    secret: tuple[str, str] | None = None
    acting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __deepcopy__(self, memo: Any) -> OpenPeople:
        return OpenPeople()  # Gradio copies the first value for each session

    def say(self, text: str, is_error: bool = False) -> None:
        self.said, self.is_error = text, is_error

    def account(self, name: str) -> dict[str, Any] | None:
        return next((one for one in self.accounts if one["name"] == name), None)


class PeoplePage:
    """The page as Gradio mounts it (``blocks``), and its handlers."""

    def __init__(self) -> None:
        with PageBlocks(title="People · Pawl", analytics_enabled=False) as self.blocks:
            self._lay_out()
            self._wire()
        self.blocks.queue(api_open=False, default_concurrency_limit=None)

    def _lay_out(self) -> None:
        self.page = gr.State(OpenPeople())
        with gr.Row(elem_id="board-head"):
            gr.Markdown("# People", elem_id="board-title")
            self.who = plain("board-who")
        self.said = plain("people-said")
        self.secret = plain("people-secret")
        self.shown = gr.Textbox("", visible="hidden", elem_id="people-shown")
        with gr.Column(visible=False, elem_id="people-confirm") as self.confirm:
            self.question = plain("people-question")
            with gr.Row():
                self.no = gr.Button("No, leave it", size="sm", elem_id="people-no")
                self.yes = gr.Button("Yes, do it", variant="stop", size="sm", elem_id="people-yes")
        gr.Markdown("## Accounts", elem_classes="board-section")
        self.accounts = plain("people-accounts")
        with gr.Row(elem_classes="people-row"):
            self.account = gr.Dropdown([("choose one", NOBODY)], value=NOBODY, label="Account")
            self.role = gr.Dropdown(ROLES, value=ROLES[0], label="Its new role")
            self.set_role = gr.Button("Change role", size="sm")
            self.set_password = gr.Button("New one-time password", size="sm")
            self.disable = gr.Button("Disable account", size="sm", variant="stop")
        with gr.Row(elem_classes="people-row"):
            self.name = gr.Textbox(label="Name of a new account", max_lines=1)
            self.name_role = gr.Dropdown(ROLES, value=ROLES[0], label="Role of the new account")
            self.add = gr.Button("Add account", size="sm", variant="primary")
        gr.Markdown("## Keys of programs", elem_classes="board-section")
        self.keys = plain("people-keys")
        with gr.Row(elem_classes="people-row"):
            self.key = gr.Dropdown([("choose one", NOBODY)], value=NOBODY, label="Key")
            self.revoke = gr.Button("Revoke key", size="sm", variant="stop")
        with gr.Row(elem_classes="people-row"):
            self.key_name = gr.Textbox(label="Name of a new key", max_lines=1)
            self.key_role = gr.Dropdown(KEYS_ROLES, value=ROLES[0], label="Role of the new key")
            self.may_name = gr.Checkbox(label="A trusted front end: it names the people behind it")
            self.make = gr.Button("Make key", size="sm", variant="primary")
        gr.Markdown("## Quotas", elem_classes="board-section")
        self.quotas = plain("people-quotas")
        gr.Markdown("## Audit log", elem_classes="board-section")
        with gr.Row(elem_classes="people-row"):
            self.search = gr.Textbox(
                label="Only entries that hold (who, what, to what, how it ended)", max_lines=1
            )
            self.filter = gr.Button("Show", size="sm")
        self.audit = plain("people-audit")
        with gr.Row(elem_classes="people-row"):
            self.newer = gr.Button("Newer", size="sm")
            self.older = gr.Button("Older", size="sm")
        self.drawn = [
            self.said, self.secret, self.shown, self.confirm, self.question, self.accounts,
            self.account, self.keys, self.key, self.quotas, self.audit, self.newer, self.older,
        ]  # fmt: skip

    def _wire(self) -> None:
        common: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden",
                                  "concurrency_limit": None}  # fmt: skip

        def on(button: gr.Button, handler: Any, inputs: list[Any], *more: Any) -> None:
            button.click(handler, [self.page, *inputs], [*self.drawn, *more], **common)

        self.blocks.load(self._begin, [self.page], [*self.drawn, self.who], **common)
        on(self.set_role, self._ask_role, [self.account, self.role])
        on(self.set_password, self._ask_password, [self.account])
        on(self.disable, self._ask_disable, [self.account])
        on(self.add, self._add_account, [self.name, self.name_role], self.name)
        on(self.revoke, self._ask_revoke, [self.key])
        made = [self.key_name, self.key_role, self.may_name]
        on(self.make, self._make_key, made, self.key_name)
        on(self.yes, self._yes, [self.shown])
        on(self.no, self._no, [])
        for event in (self.filter.click, self.search.submit):
            event(self._filter, [self.page, self.search], self.drawn, **common)
        on(self.newer, self._paging(-N_ENTRIES), [])
        on(self.older, self._paging(N_ENTRIES), [])

    # -- handlers

    async def _begin(self, page: OpenPeople, request: gr.Request) -> list[Any]:
        await self._fetch(page, request)
        return [*self._draw(page), str(_html.who(_name(request)))]

    def _ask_role(self, page: OpenPeople, name: str, role: str, request: gr.Request) -> list[Any]:
        def pending(account: dict[str, Any]) -> Pending:
            if account["role"] == role:
                raise PawlError(f"{name!r} is {role} already")
            return Pending(
                f"Give {name!r} the role {role} instead of {account['role']}? It holds at once."
                + _about_own(request, name, "You may lose this page."),
                _path(ACCOUNTS, name), {"role": role}, f"{name!r} is {role} from now on.",
            )  # fmt: skip

        return self._ask(page, name, pending)

    def _ask_password(self, page: OpenPeople, name: str, request: gr.Request) -> list[Any]:
        def pending(account: dict[str, Any]) -> Pending:
            if name == _name(request):
                raise PawlError(
                    "this is your own account",
                    "a new one-time password would sign you out before you have read it",
                    "Change your password on the page of your account: your name above leads there",
                )
            return Pending(
                f"Set a new one-time password for {name!r}? The one it has no longer works, and "
                "whoever is signed in under the name is signed out.",
                _path(ACCOUNTS, name), {"password": ""}, f"{name!r} has another password.",
            )  # fmt: skip

        return self._ask(page, name, pending)

    def _ask_disable(self, page: OpenPeople, name: str, request: gr.Request) -> list[Any]:
        def pending(account: dict[str, Any]) -> Pending:
            return Pending(
                f"Disable {name!r}? Nobody signs in under the name any more, and who is signed in "
                "is signed out. What was asked and said under it stays; adding the name again "
                "brings it back." + _about_own(request, name, "You are signed out."),
                f"{_path(ACCOUNTS, name)}/remove", {}, f"{name!r} is disabled and signed out.",
            )  # fmt: skip

        return self._ask(page, name, pending)

    def _ask_revoke(self, page: OpenPeople, name: str, request: gr.Request) -> list[Any]:
        page.secret = None
        if not any(one["name"] == name for one in _active(page.keys)):
            page.say("Choose a key first.", is_error=True)
            return self._draw(page)
        page.say("")
        page.pending = Pending(
            f"Revoke the key {name!r}? The programs that send it are refused from now on; it "
            "can't be undone." + _about_own(request, name, "You are signed in with it."),
            f"{_path(KEYS, name)}/revoke", {}, f"The key {name!r} is refused from now on.",
        )  # fmt: skip
        return self._draw(page)

    async def _add_account(
        self, page: OpenPeople, name: str, role: str, request: gr.Request
    ) -> list[Any]:
        body = {"name": name.strip(), "role": role}
        added = Pending(
            f"Add the account {body['name']!r} with the role {role}?" + _warning(page, role),
            ACCOUNTS, body, f"{body['name']!r} was added.",
        )  # fmt: skip
        return await self._at_once(page, added, _warning(page, role), request)

    async def _make_key(
        self, page: OpenPeople, name: str, role: str, may_name: bool, request: gr.Request
    ) -> list[Any]:
        body = {"name": name.strip(), "role": role, "may_name_raters": may_name}
        made = Pending(
            f"Make the key {body['name']!r} with the role {role}?" + _warning(page, role),
            KEYS, body, f"The key {body['name']!r} was made.",
        )  # fmt: skip
        return await self._at_once(page, made, _warning(page, role), request)

    async def _yes(self, page: OpenPeople, shown: str, request: gr.Request) -> list[Any]:
        async with page.acting:
            if page.pending is None or page.pending.number != shown:
                return [gr.skip()] * len(self.drawn)
            pending, page.pending = page.pending, None
            await self._do(page, pending, request)
            return self._draw(page)

    def _no(self, page: OpenPeople) -> list[Any]:
        page.pending = None
        page.say("Nothing was changed.")
        return self._draw(page)

    async def _filter(self, page: OpenPeople, search: str, request: gr.Request) -> list[Any]:
        page.search, page.offset = search.strip()[:200], 0
        await self._fetch(page, request)
        return self._draw(page)

    def _paging(self, step: int) -> Callable[[OpenPeople, gr.Request], Awaitable[list[Any]]]:
        async def turn(page: OpenPeople, request: gr.Request) -> list[Any]:
            page.offset = max(0, page.offset + step)
            await self._fetch(page, request)
            return self._draw(page)

        return turn

    # -- asking, doing, drawing

    def _ask(
        self, page: OpenPeople, name: str, pending: Callable[[dict[str, Any]], Pending]
    ) -> list[Any]:
        """Ask whether an account is to be changed."""
        page.pending = page.secret = None
        account = page.account(name)
        if account is None or account["removed_at"]:
            page.say("Choose an account first.", is_error=True)
            return self._draw(page)
        try:
            page.pending = pending(account)
            page.say("")
        except PawlError as err:
            page.say(str(err), is_error=True)
        return self._draw(page)

    async def _at_once(
        self, page: OpenPeople, pending: Pending, warning: str, request: gr.Request
    ) -> list[Any]:
        """Do what takes nothing from anybody; ask first where there is a warning. What was typed
        stays where it was not done."""
        async with page.acting:
            page.pending = page.secret = None
            if warning:
                page.pending = pending
                page.say("")
            else:
                await self._do(page, pending, request)
            is_done = not warning and not page.is_error
            return [*self._draw(page), "" if is_done else gr.skip()]

    async def _do(self, page: OpenPeople, pending: Pending, request: gr.Request) -> None:
        page.secret = None
        try:
            answer = await api_of(request).post(pending.path, pending.body)
        except PawlError as err:
            page.say(f"Nothing was changed: {err}", is_error=True)
        else:
            page.say(pending.done)
            if answer.get("one_time_password"):
                what = f"The one-time password of {answer['name']!r}"
                page.secret = (what, answer["one_time_password"])
            elif answer.get("key"):
                page.secret = (f"The key {answer['name']!r}", answer["key"])
        await self._fetch(page, request, keep=True)

    async def _fetch(self, page: OpenPeople, request: gr.Request, keep: bool = False) -> None:
        """Read all anew. ``keep``: what was said of an action, unless this fails."""
        api = api_of(request)
        if not keep:
            page.pending = page.secret = None
            page.say("")
        query = {"limit": str(N_ENTRIES + 1), "offset": str(page.offset), "search": page.search}
        try:
            page.accounts = await api.get(ACCOUNTS)
            page.keys = await api.get(KEYS)
            page.quotas = await api.get("/admin/quotas")
            found = await api.get("/admin/audit", **query)
        except PawlError as err:
            page.say(f"{page.said} The lists could not be read: {err}".strip(), is_error=True)
        else:
            page.entries = found[::-1][:N_ENTRIES]
            page.has_older = len(found) > N_ENTRIES

    def _draw(self, page: OpenPeople) -> list[Any]:
        """All that ``drawn`` shows."""
        accounts, keys = _active(page.accounts), _active(page.keys)
        return [
            str(_html.said(page.said, page.is_error)),
            str(_html.secret(*page.secret)) if page.secret else "",
            page.pending.number if page.pending else "",
            gr.update(visible=page.pending is not None),
            str(_html.question(page.pending.question)) if page.pending else "",
            _accounts(page.accounts), _choices(accounts), _keys(page.keys), _choices(keys),
            _quotas(page.quotas), _audit(page),
            gr.update(interactive=page.offset > 0),
            gr.update(interactive=page.has_older),
        ]  # fmt: skip


def _name(request: gr.Request) -> str:
    return caller_of(request.request.scope).name


def _about_own(request: gr.Request, name: str, more: str) -> str:
    return f" This is your own. {more}" if name == _name(request) else ""


def _warning(page: OpenPeople, role: str) -> str:
    """Why making an account or key is asked twice; empty where it is not."""
    told = ""
    if role == Role.ADMINISTRATOR:
        told += " An administrator may do everything here."
    if not page.accounts and not page.keys:
        told += (
            " It is the first one: from then on everybody needs an account or a key, on this "
            "machine too. There is no way back."
        )
    return told


def _path(of: str, name: str) -> str:
    return f"{of}/{quote(name, safe='')}"


def _active(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in rows if not (one.get("removed_at") or one.get("revoked_at"))]


def _choices(rows: list[dict[str, Any]]) -> Any:
    """Of a dropdown; nothing stays chosen, so that no press is about what was chosen before."""
    names = [(f"{one['name']} ({one['role']})", one["name"]) for one in rows]
    return gr.update(choices=[("choose one", NOBODY), *names], value=NOBODY)


def _accounts(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "<p class='board-none'>No account was added yet.</p>"
    told = []
    for one in rows:
        state = "disabled " + one["removed_at"][:10] if one["removed_at"] else "active"
        state += ", one-time password not used yet" if one["must_change"] else ""
        told.append([one["name"], one["role"], state, one["subject"] or "a password here",
                     one["created_at"][:10]])  # fmt: skip
    return str(_html.table("Accounts", ["name", "role", "state", "signs in with", "since"], told))


def _keys(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "<p class='board-none'>No key was made yet.</p>"
    told = [
        [one["name"], one["role"],
         "revoked " + one["revoked_at"][:10] if one["revoked_at"] else "active",
         "names people" if one["may_name_raters"] else "", f"pawl_{one['key_id']}_...",
         one["created_at"][:10]]
        for one in rows
    ]  # fmt: skip
    columns = ["name", "role", "state", "front end", "begins with", "since"]
    return str(_html.table("Keys of programs", columns, told))


def _quotas(quotas: dict[str, Any]) -> str:
    if not quotas:
        return ""
    limits = [
        [one["key"], "none" if one["value"] is None else f"{one['value']:,.15g}", one["meaning"]]
        for one in quotas["limits"]
    ]
    used = [[one["name"], one["n_answers"], one["n_tokens"]] for one in quotas["callers"]]
    note = (
        "<p class='board-note'>One for all callers, from pawl.toml, the environment or the command "
        "line; pawl settings says which. A change takes a new start.</p>"
    )
    parts = [note, str(_html.table("Quotas of one caller", ["setting", "value", "of"], limits))]
    if used:
        columns = ["account or key", "answers", "tokens"]
        parts.append("<h3>Used in the last 24 hours</h3>")
        parts.append(str(_html.table("Used in the last 24 hours", columns, used)))
    return "".join(parts)


def _audit(page: OpenPeople) -> str:
    if not page.entries:
        return "<p class='board-none'>Nothing was found.</p>"
    told = [
        [one["created_at"][:19].replace("T", " "), one["caller"], one["address"], one["action"],
         one["target"], one["outcome"]]
        for one in page.entries
    ]  # fmt: skip
    columns = ["time (UTC)", "who", "address", "what", "to what", "how it ended"]
    return str(_html.table("Audit log, newest first", columns, told))
