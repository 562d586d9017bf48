"""What the people page's handlers do when they are called, without a browser before them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

from pawl.schemas import Account, Caller, Role, utc_now
from pawl.settings import Settings
from tests.serve.pages.composed import Composed, composed, request_of

pytestmark = pytest.mark.slow  # Gradio takes seconds to import
T = TypeVar("T")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    settings = Settings(state_dir=tmp_path_factory.mktemp("people") / "state")
    with composed(settings, pages=False) as running:
        now = utc_now()
        for name, role in (("ada", Role.ADMINISTRATOR), ("ann", Role.USER), ("bob", Role.USER)):
            running.store.access.accounts.add(Account(name, role, "x", False, None, now, now))
        yield running


def opened(server: Composed, act: Callable[[Any, Any, Any], Awaitable[T]]) -> T:
    """What ``act`` answers of a page, its session and a request of a browser at 10.1.2.3."""

    async def call() -> T:
        from serve.pages.people import OpenPeople, PeoplePage

        people, page = PeoplePage(), OpenPeople()
        request = request_of(server, Caller("ada", Role.ADMINISTRATOR))
        await people._begin(page, request)
        return await act(people, page, request)

    return asyncio.run(call())


def test_yes_is_about_the_question_that_is_shown_and_counts_once(server: Composed) -> None:
    async def act(people: Any, page: Any, request: Any) -> None:
        people._ask_disable(page, "ann", request)
        about_ann = page.pending.number
        people._ask_disable(page, "bob", request)
        await people._yes(page, about_ann, request)  # pressed before bob's question was drawn
        assert page.pending is not None
        both = (people._yes(page, page.pending.number, request) for _ in range(2))
        await asyncio.gather(*both)
        assert (page.said, page.is_error) == ("'bob' is disabled and signed out.", False)

    opened(server, act)
    assert server.store.access.accounts.account("ann") is not None
    assert server.store.access.accounts.account("bob") is None
    removed = [one for one in server.store.access.audit(100) if one.action == "remove account"]
    assert [(one.address, one.target) for one in removed] == [("10.1.2.3", '{"name": "bob"}')]


def test_what_is_refused_says_why_and_keeps_what_was_typed(server: Composed) -> None:
    async def act(people: Any, page: Any, request: Any) -> None:
        import gradio as gr

        drawn = await people._add_account(page, " Ann ", "user", request)
        assert drawn[-1] == gr.skip()
        assert page.is_error
        assert "ann" in page.said
        for name in ("", "nobody", "bob"):
            people._ask_role(page, name, "reviewer", request)
            assert page.pending is None
        people._ask_role(page, "ann", "user", request)
        assert page.pending is None
        people._ask_password(page, "ada", request)  # one's own: it could not be read
        assert page.pending is None

    opened(server, act)


def test_a_secret_is_shown_until_the_next_action(server: Composed) -> None:
    async def act(people: Any, page: Any, request: Any) -> None:
        await people._make_key(page, "bot", "user", False, request)
        what, secret = page.secret
        assert (what, secret[:5]) == ("The key 'bot'", "pawl_")
        await people._filter(page, "", request)
        assert page.secret is None
        await people._make_key(page, "root", "administrator", False, request)
        assert page.secret is None
        assert "may do everything" in page.pending.question

    opened(server, act)
    assert [key.name for key in server.store.access.all_keys()] == ["bot"]


def test_a_limit_is_shown_with_all_its_digits() -> None:
    from serve.pages.people import _quotas

    values = {"tokens": 1_234_567, "share": 0.25, "minutes": 60.0, "off": None}
    limits = [{"key": key, "value": value, "meaning": "of it"} for key, value in values.items()]
    html = _quotas({"limits": limits, "callers": []})
    shown = (">1,234,567<", ">0.25<", ">60<", ">none<")
    assert all(value in html for value in shown), html
