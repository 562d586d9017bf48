"""What the review page's handlers do when they are called, without a browser before them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from html import unescape
from typing import Any, TypeVar

import pytest

from feedback.erasing import forget
from pawl.schemas import Caller, Category, Role
from pawl.settings import Settings
from tests.serve.pages.composed import Composed, composed, request_of
from tests.serve.pages.test_review import flag

pytestmark = pytest.mark.slow  # Gradio takes seconds to import
T = TypeVar("T")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    settings = Settings(state_dir=tmp_path_factory.mktemp("server") / "state")
    with composed(settings, pages=False) as running:  # the tests build a page beside it
        yield running


def opened(server: Composed, act: Callable[[Any, Any, Any], Awaitable[T]], query: bytes = b"") -> T:
    """What ``act`` answers of a page, its session and a request, once the page has an item."""

    async def call() -> T:
        from serve.pages.review import OpenReview, ReviewPage

        request = request_of(server, Caller("admin.key", Role.ADMINISTRATOR), query)
        review, page = ReviewPage(), OpenReview()
        await review._begin(page, request)
        assert page.item is not None
        return await act(review, page, request)

    return asyncio.run(call())


def test_of_two_keys_at_once_the_second_is_about_no_other_item(server: Composed) -> None:
    for n in range(3):
        flag(server, n)

    async def accept_and_reject(review: Any, page: Any, request: Any) -> str:
        shown = str(page.item["item_id"])
        reject = review._rejecting("fine")
        about = (page, shown, True, request)
        await asyncio.gather(review._accept(*about), reject(*about))
        assert page.item["item_id"] != shown
        return shown

    shown = opened(server, accept_and_reject)
    [done] = server.store.reviews.history()
    assert (f"{done.completion_id}:0", done.decision) == (shown, "accept")

    async def accept_and_undo(review: Any, page: Any, request: Any) -> None:
        shown = page.item["item_id"]
        await asyncio.gather(
            review._accept(page, shown, True, request), review._undo(page, request)
        )
        assert page.item["item_id"] == shown

    opened(server, accept_and_undo)
    assert server.store.reviews.current() == [done]


def test_a_category_that_was_added_since_can_be_chosen(server: Composed) -> None:
    flag(server, 10)

    async def open_editor(review: Any, page: Any, request: Any) -> dict[str, Any]:
        server.store.append_category(Category("rude", "Is rude.", "", "train")).result(60)
        drawn = await review._open_editor(page, page.item["item_id"], request)
        return dict(drawn[review.drawn.index(review.categories)])

    update = opened(server, open_editor)
    assert ("rude", "rude") in update["choices"]
    assert update["value"] == ["incorrect"]


def test_an_answer_that_was_erased_while_it_was_shown_gives_way_to_the_next(
    server: Composed,
) -> None:
    flag(server, 20)
    theirs = flag(server, 21, rater_id="zoe")

    async def accept(review: Any, page: Any, request: Any) -> None:
        await review._fetch(page, request, first={"completion_id": theirs, "choice_index": 0})
        shown = page.item["item_id"]
        assert shown == f"{theirs}:0"
        await asyncio.to_thread(forget, server.store, server.settings, "zoe", "the test")
        await review._accept(page, shown, True, request)
        assert page.item["item_id"] != shown
        assert "Not saved" in page.notice

    opened(server, accept)


def test_who_takes_a_decision_back_on_what_they_skipped_before_is_told_that_it_does_not_wait(
    server: Composed,
) -> None:
    theirs = f"{flag(server, 30)}:0"

    async def take_back(review: Any, page: Any, request: Any) -> None:
        from serve.pages.decisions import OpenDecisions

        first = {"completion_id": theirs.removesuffix(":0"), "choice_index": 0}
        await review._fetch(page, request, first=first)
        await review._skip(page, theirs, True, request)
        await review._show_skipped(page, request)
        await review._accept(page, theirs, True, request)
        opened = OpenDecisions(is_open=True)
        await review.decisions.read(opened, request)
        newest = opened.found["decisions"][0]
        assert newest["answers"][0]["completion_id"] == first["completion_id"]
        await review._reopen(page, opened, newest["batch_id"], request)
        assert "doesn't wait for you" in page.notice
        assert page.item["item_id"] != theirs
        [left] = server.store.reviews.current(completion_id=first["completion_id"])
        assert left.decision == "skip"

    flag(server, 31)
    opened(server, take_back)


def test_what_waits_can_not_be_read_and_then_it_can(server: Composed) -> None:
    flag(server, 60)

    async def work(review: Any, page: Any, request: Any) -> None:
        server_at = request.request.scope["server"]
        item = review.drawn.index(review.item)
        page.queue = {**page.queue, "items": []}
        request.request.scope["server"] = ("127.0.0.1", 9)  # no server is there
        drawn = await review._look(page, request)
        assert "The queue could not be read" in drawn[0]
        assert "What waits is not known." in drawn[item]
        assert all(one == review._kept()[0] for one in await review._look(page, request))
        request.request.scope["server"] = server_at
        drawn = await review._look(page, request)
        assert page.item is not None
        assert "could not be read" not in drawn[0]

    opened(server, work)


@pytest.mark.parametrize("form", ["editor", "reasons"])
def test_what_was_skipped_is_shown_with_no_form_open(server: Composed, form: str) -> None:
    for n in (70, 71):
        flag(server, n)

    async def work(review: Any, page: Any, request: Any) -> None:
        await review._skip(page, page.item["item_id"], True, request)
        shown = page.item["item_id"]
        review._open(page, shown, form)
        drawn = dict(zip(review.drawn, await review._show_skipped(page, request), strict=True))
        assert page.item["item_id"] != shown
        assert not drawn[review.editor]["visible"]
        assert not drawn[review.reasons]["visible"]

    opened(server, work)


def test_each_key_says_what_it_has_done_to_which_question(server: Composed) -> None:
    for n in range(40, 44):
        flag(server, n)

    async def work(review: Any, page: Any, request: Any) -> None:
        def about() -> tuple[Any, str, bool, Any]:
            return page, page.item["item_id"], True, request

        def says(words: str, question: str) -> None:
            assert page.notice == f"{words}: “{question}”."
            assert page.notice == page.done
            assert page.notice in unescape(review._drawn(page)[0])

        for act, words in (
            (review._accept, "Accepted"),
            (review._rejecting("unclear"), "Rejected, it can't be judged"),
            (review._skip, "Skipped, left to others"),
        ):
            question = page.item["answers"][0]["prompt"]
            await act(*about())
            says(words, question)
        question = page.item["answers"][0]["prompt"]
        await review._save(*about()[:3], "It is here.", [], request)
        says("Corrected", question)
        await review._undo(page, request)
        assert page.notice == f"Undone, it waits again: “{question}”"
        assert page.item["answers"][0]["prompt"] == question
        assert "this one alone" in review._say_together(page, False)

    opened(server, work)


def test_a_link_opens_an_answer_that_does_not_wait_and_a_skip_leaves_it_as_it_was(
    server: Composed,
) -> None:
    theirs = f"{flag(server, 50)}:0"
    flag(server, 51)

    async def look(review: Any, page: Any, request: Any) -> Any:
        assert page.item["item_id"] == theirs
        item = review._drawn(page)[review.drawn.index(review.item)]
        return page.notice, item

    async def accept(review: Any, page: Any, request: Any) -> None:
        await review._accept(page, theirs, True, request)
        assert page.item["item_id"] != theirs

    async def skip(review: Any, page: Any, request: Any) -> str:
        await review._skip(page, theirs, True, request)
        assert page.item["item_id"] != theirs
        return str(page.notice)

    link = f"answer={theirs}".encode()
    notice, item = opened(server, look, link)
    assert notice == "Opened by a link."
    assert "Why now: 1 person flagged it." in item
    opened(server, accept, link)
    notice, item = opened(server, look, link)
    assert "does not wait for you" in notice
    assert "Here because a link led to it." in item
    assert opened(server, skip, link).startswith("Left as it is")
    [stands] = server.store.reviews.current(completion_id=theirs.removesuffix(":0"))
    assert stands.decision == "accept"

    async def told(review: Any, page: Any, request: Any) -> str:
        return str(page.notice)

    assert "is not here" in opened(server, told, b"answer=none:0")
