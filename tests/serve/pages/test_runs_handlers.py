"""What the runs page's handlers do when they are called, without a browser before them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from html import unescape
from typing import Any, TypeVar

import pytest

from pawl.schemas import Caller, Role
from pawl.settings import Settings
from tests.serve.console import Console
from tests.serve.pages.composed import composed, request_of
from tests.serve.pages.nights import night, rejected_night
from tests.serve.pages.test_review import flag

pytestmark = pytest.mark.slow  # Gradio takes seconds to import
T = TypeVar("T")


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    settings = Settings(state_dir=tmp_path_factory.mktemp("runs-handlers") / "state")
    with composed(settings, pages=False) as running:  # the tests build a page beside it
        one = Console(running)
        yield one
        one.http.close()


def opened(console: Console, act: Callable[[Any, Any, Any], Awaitable[T]], query: bytes = b"") -> T:
    """What ``act`` answers of a page, its session and a request, once the page was drawn."""

    async def call() -> T:
        from serve.pages.runs import OpenRuns, RunsPage

        request = request_of(console.server, Caller("admin.key", Role.ADMINISTRATOR), query)
        runs, page = RunsPage(), OpenRuns()
        await runs._begin(page, request)
        return await act(runs, page, request)

    return asyncio.run(call())


async def press_yes(runs: Any, page: Any, request: Any) -> None:
    async for _ in runs._do(page, request):
        pass


def test_a_question_that_is_answered_twice_is_done_once(console: Console) -> None:
    for n, champion in ((1, "base"), (2, "pawl@1"), (3, "pawl@2")):
        night(console, f"run-{n}", champion)
        assert console.promote(f"run-{n}")["outcome"] == "live"

    async def act(runs: Any, page: Any, request: Any) -> str:
        assert page.chosen == "run-3"
        assert page.actions == {"back", "drill"}
        await runs._asking("back")(page, request)
        assert page.asked.target == "pawl@2"
        assert console.status()["champion"] == "pawl@3"  # asked, and not done
        await asyncio.gather(press_yes(runs, page, request), press_yes(runs, page, request))
        await press_yes(runs, page, request)
        return str(page.notice)

    assert opened(console, act).startswith("pawl@2 answers now (before: pawl@3)")
    assert console.status()["champion"] == "pawl@2"

    async def look(runs: Any, page: Any, request: Any) -> tuple[str, list[str]]:
        values = runs._values(page)
        return str(values[3]), [label for label, _ in values[1]["choices"]]

    detail, nights = opened(console, look)
    words = ["pawl@3 rolled back", "pawl@2 promoted", "pawl@1 promoted"]
    assert [label.partition(" · ")[2] for label in nights] == words
    assert "UTC: pawl@3 promoted in place of pawl@2, by the operator&#39;s key</li>" in detail
    assert "UTC: rolled back from pawl@3 to pawl@2, by the operator&#39;s key</li>" in detail


def test_what_is_not_on_offer_is_not_asked(console: Console) -> None:
    async def act(runs: Any, page: Any, request: Any) -> Any:
        for action in ("approve", "reject", "promote"):
            await runs._asking(action)(page, request)
            assert page.asked is None
            assert "can't be done" in page.notice
        await press_yes(runs, page, request)

    before = console.server.store.promotions()
    opened(console, act)
    assert console.server.store.promotions() == before


def test_of_an_unknown_night_only_that_is_said(console: Console) -> None:
    async def act(runs: Any, page: Any, request: Any) -> str:
        assert page.run == {}
        return str(runs._values(page)[3])

    assert "no run of this name" in opened(console, act, b"run=..%2F..%2Fetc%2Fpasswd")


def test_a_look_without_news_draws_nothing(console: Console) -> None:
    import gradio as gr

    async def act(runs: Any, page: Any, request: Any) -> None:
        drawn = await runs._look(page, request)
        assert all(update == gr.skip() for update in drawn)
        console.post("/admin/runs", {"run_id": "run-new", "status": "plan"}).raise_for_status()
        drawn = await runs._look(page, request)
        nights = drawn[runs.drawn.index(runs.nights)]
        assert nights["choices"][0][1] == "run-new"
        assert nights["choices"][0][0].endswith("interrupted")
        assert nights["value"] == "run-3"

    opened(console, act)


def test_a_canary_s_figures_are_news() -> None:
    from serve.pages.runs import _sign

    canary = {"version": "pawl@2", "n_conversations": {"challenger": 3, "champion": 9},
              "reason": "too few"}  # fmt: skip
    sign = _sign({"canary": canary}, [])
    assert sign == _sign({"canary": dict(canary)}, [])
    for name, value in (("n_conversations", {"challenger": 4, "champion": 9}), ("reason", "more"),
                        ("version", "pawl@3")):  # fmt: skip
        assert sign != _sign({"canary": {**canary, name: value}}, [])


def test_the_older_nights_are_shown_when_they_are_asked_for(console: Console) -> None:
    for n in range(60):
        console.post("/admin/runs", {"run_id": f"old-{n}", "status": "failed"}).raise_for_status()

    async def act(runs: Any, page: Any, request: Any) -> None:
        assert (len(page.runs), page.has_more) == (50, True)
        await runs._more(page, request)
        assert (len(page.runs), page.has_more) == (64, False)

    opened(console, act)


def test_of_a_rejected_night_the_verdict_stands_once_and_under_it_the_suspects(
    console: Console,
) -> None:
    answer = flag(console.server, 1)
    [said] = console.server.store.feedback_history(answer)
    reasons = ["Prompts of people got worse.", "3 of 4 broke."]
    hostile = "<img src=x>\n\n# no heading"
    rejected_night(console, "run-bad", reasons, [said.feedback_id, *[None] * 6], prompt=hostile)

    async def act(runs: Any, page: Any, request: Any) -> str:
        return str(runs._values(page)[3])

    detail = opened(console, act, b"run=run-bad")
    assert '<p class="op-text">finished</p>' in detail
    for reason in reasons:
        assert detail.count(reason) == 1
    verdict, _, below = detail.partition("<h3>Rows under suspicion</h3>")
    assert "<h3>Verdict: rejected</h3>" in verdict
    link = f'href="../review/?answer={answer}%3A0"'
    assert link in unescape(below.partition("<details>")[0])
    assert (below.count("<li value="), below.partition("<details>")[0].count("<li value=")) == (
        7,
        5,
    )
    assert "2 more</summary>" in below
    assert "pawl curate --explain row-7" in below
    assert below.index("2 more</summary>") < below.index("<h3>Steps</h3>")
    assert "<img" not in detail
    assert "\n\n" not in detail


def test_a_curve_fills_its_box() -> None:
    from serve.pages.runs import _plots

    curve = {"stage": "sft", "metric": "loss", "train": [[1, 4.0], [3, 2.0]],
             "validation": [[2, 3.0]]}  # fmt: skip
    [plot] = _plots([curve])
    assert plot["train_line"] == "0.00,0.00 100.00,100.00"
    assert plot["validation_line"] == "50.00,50.00 50.00,50.00"
    assert plot["rows"] == [("1", "4", ""), ("2", "", "3"), ("3", "2", "")]
    [flat] = _plots([{**curve, "train": [[5, 1.0]], "validation": []}])
    assert (flat["train_line"], flat["validation_line"]) == ("0.00,50.00 0.00,50.00", "")
