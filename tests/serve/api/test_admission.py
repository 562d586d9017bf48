"""Who goes to the engine and when: shares, quotas, a full queue, hang-ups, comments in a stream.

Over 400 lines: the queue alone and the server before it, with the same requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from starlette.datastructures import Headers

from pawl.errors import PawlError
from pawl.schemas import Caller, Role
from pawl.settings import EngineSettings, LimitSettings, Settings
from serve.api.admission import Admission, Place, expected_tokens, share_of
from serve.api.app import build_app
from serve.api.auth import CALLER, key_of
from serve.api.requests import ChatRequest, parse_request
from tests.serve.live import FAKE_BASE, Live, eventually, fake_command, live

CHAT = "/v1/chat/completions"


class Queue:
    """An admission with a clock of its own, and the requests that were sent to it."""

    def __init__(self, n_places: int, **limits: Any) -> None:
        self.now = 0.0
        engine = EngineSettings(max_concurrent_requests=n_places)
        self.admission = Admission(engine, LimitSettings(**limits), lambda: self.now)
        self.order: list[str] = []
        self._group = contextlib.AsyncExitStack()
        self._tasks: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}

    async def send(self, label: str, caller: str, n_tokens: int = 10, **more: Any) -> None:
        """Begin a request; it holds its place until ``end``. ``label`` is noted once it has it."""
        end = asyncio.Event()

        async def hold() -> None:
            self.admission.charge_request(caller)
            async with self.admission.place(caller, more.get("n", 1), n_tokens) as place:
                self.order.append(label)
                await end.wait()
                place.n_used_tokens = more.get("used")

        self._tasks[label] = asyncio.create_task(hold()), end
        await settle()

    async def end(self, label: str) -> None:
        task, end = self._tasks.pop(label)
        end.set()
        await task
        await settle()

    async def end_oldest(self) -> None:
        await self.end(next(label for label in self.order if label in self._tasks))

    async def hang_up(self, label: str) -> None:
        task, _ = self._tasks.pop(label)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await settle()

    async def refusal(self, label: str) -> PawlError:
        task, _ = self._tasks.pop(label)
        with pytest.raises(PawlError) as caught:
            await task
        return caught.value

    async def close(self) -> None:
        for label in list(self._tasks):
            await self.hang_up(label)
        assert (self.admission.n_held, self.admission.n_waiting) == (0, 0)


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def queue(n_places: int, **limits: Any) -> AsyncIterator[Queue]:
    one = Queue(n_places, **limits)
    yield one
    await one.close()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def test_one_alone_gets_all_places_and_a_newcomer_one_of_the_reserve() -> None:
    async def scenario() -> None:
        async with queue(8) as q:
            for n in range(12):
                await q.send(f"greedy {n}", "greedy")
            assert len(q.order) == 8
            await q.send("small", "other")
            assert q.order[-1] == "small"
            assert (q.admission.n_held, q.admission.n_waiting) == (9, 4)

    run(scenario())


def test_beside_others_one_caller_holds_no_more_than_its_share() -> None:
    async def scenario() -> None:
        async with queue(8, caller_share=0.25) as q:
            await q.send("small", "other")
            await q.end("small")
            for n in range(12):
                await q.send(f"greedy {n}", "greedy")
            assert len(q.order) == 1 + 2
            q.now += 61  # the other has not been seen for a minute
            await q.end("greedy 0")
            assert len(q.order) == 1 + 9

    run(scenario())


def test_who_left_last_is_still_there_though_others_came_after_them() -> None:
    async def scenario() -> None:
        async with queue(8, caller_share=0.5) as q:
            await q.send("b", "B")
            q.now = 10
            await q.send("c", "C")
            q.now = 11
            await q.end("c")
            q.now = 65  # who is gone is forgotten once a minute: C is not yet
            await q.send("a", "A")
            await q.end("a")
            q.now = 100
            await q.end("b")
            q.now = 110
            for n in range(8):
                await q.send(f"a {n}", "A")
            assert q.admission.n_held == 4  # B left 10 s ago

    run(scenario())


def test_turns_go_by_tokens_not_by_requests() -> None:
    async def scenario() -> None:
        async with queue(16, caller_share=1, max_queued_requests=1000) as q:
            for n in range(18):  # all places, and those of the reserve
                await q.send(f"x {n}", f"x {n}")
            for n in range(64):
                await q.send(f"long {n}", "long", 40)
                await q.send(f"short {n}", "short", 10)
            while "short 63" not in q.order:
                await q.end_oldest()
            n_long = sum(label.startswith("long") for label in q.order)
            assert 16 <= n_long <= 32, "a quarter of the requests, and what the reserve adds"

    run(scenario())


def test_what_was_expected_too_much_is_given_back() -> None:
    async def scenario() -> None:
        async with queue(1) as q:
            await q.send("a0", "a", 1000, used=10)
            await q.end("a0")
            await q.send("b0", "b", 20, used=20)
            await q.end("b0")
            for label in ("x", "y", "b1", "a1"):
                await q.send(label, label[0])
            await q.end("x")
            assert q.order[2:] == ["x", "y", "a1"]  # a has had 10 tokens, b 20

    run(scenario())


def test_nobody_saves_up_turns_while_it_asks_for_nothing() -> None:
    async def scenario() -> None:
        async with queue(2, caller_share=1) as q:
            await q.send("late", "late")
            await q.end("late")
            for n in range(20):
                await q.send(f"busy {n}", "busy", 100)
                await q.end(f"busy {n}")
            for label in ("x0", "x1", "y"):
                await q.send(label, label[0])
            for n in range(4):
                await q.send(f"late {n}", "late", 100)
                await q.send(f"more {n}", "busy", 100)
            while len(q.order) < 1 + 20 + 3 + 4:
                await q.end_oldest()
            assert sum(label.startswith("more") for label in q.order) >= 1, q.order

    run(scenario())


def test_a_full_queue_refuses_the_newest_of_who_has_most_in_it() -> None:
    async def scenario() -> None:
        async with queue(1, max_queued_requests=3) as q:
            for n in range(4):
                await q.send(f"greedy {n}", "greedy")
            await q.send("greedy 4", "greedy")
            error = await q.refusal("greedy 4")
            assert (error.code, error.retryable) == ("overloaded", True)
            assert 1 <= (error.retry_after_seconds or 0) <= 60
            await q.send("reserve", "third")
            await q.send("small", "other")  # pushes out another one of the greedy
            assert (await q.refusal("greedy 3")).code == "overloaded"
            assert q.admission.n_waiting == 3
            await q.end("greedy 0")
            assert q.order[-1] == "small"

    run(scenario())


def test_who_hangs_up_leaves_the_queue_and_its_place() -> None:
    async def scenario() -> None:
        async with queue(1) as q:
            for label in ("a", "b", "c"):
                await q.send(label, "one")
            await q.hang_up("b")
            assert q.admission.n_waiting == 1
            await q.hang_up("a")
            assert q.order == ["a", "c"]

    run(scenario())


def test_who_hangs_up_as_its_place_is_granted_is_charged_nothing() -> None:
    async def scenario() -> None:
        async with queue(1, tokens_per_minute=1000) as q:
            await q.send("a", "one")
            await q.send("b", "one", n_tokens=500)
            place = next(iter(q.admission._backlogged["one"].waiting))
            let_in = q.admission._let_in

            def let_in_and_hang_up() -> None:
                let_in()
                if place.state == "held":  # it has its place, and has not heard of it
                    q._tasks["b"][0].cancel()

            q.admission._let_in = let_in_and_hang_up  # type: ignore[method-assign]
            await q.end("a")
            assert (place.state, q.order) == ("left", ["a"])
            tokens = q.admission._caller("one", q.now).tokens
            assert tokens is not None
            assert tokens.level == 990  # what the first one had

    run(scenario())


def test_a_wait_that_takes_too_long_ends() -> None:
    async def scenario() -> None:
        async with queue(1, max_wait_seconds=0.05) as q:
            await q.send("a", "one")
            await q.send("b", "one")
            assert (await q.refusal("b")).code == "overloaded"
            assert q.order == ["a"]

    run(scenario())


def test_a_request_holds_a_place_for_each_of_its_answers_or_waits_for_them() -> None:
    async def scenario() -> None:
        async with queue(8, caller_share=0.5) as q:
            await q.send("all", "a", n=8)
            assert q.admission.n_held == 8
            await q.send("nine", "a", n=9)
            assert (await q.refusal("nine")).code == "invalid_value"
            await q.end("all")
            await q.send("five", "b", n=5)  # more than its share, and a was there
            await q.send("four", "c", n=4)
            assert q.order == ["all", "four"]
            await q.end("four")
            q.now += 61
            await q.send("one", "b")
            assert sorted(q.order[2:]) == ["five", "one"]
            assert q.admission.n_held == 6

    run(scenario())


def test_the_answers_to_one_prompt_are_given_by_a_small_engine_too() -> None:
    async def scenario() -> None:
        async with queue(4, caller_share=0.25) as q:
            await q.send("one", "a")
            await q.send("four", "b", n=4)
            await q.end("one")
            assert q.order == ["one", "four"]

    run(scenario())


def test_many_answers_at_once_take_as_many_places_and_are_not_overtaken_for_ever() -> None:
    async def scenario() -> None:
        async with queue(8, caller_share=0.5) as q:
            for n in range(3):
                await q.send(f"a{n}", "a")
                await q.send(f"b{n}", "b")
            await q.send("four", "c", n=4)
            assert q.admission.n_held == 6
            await q.send("a3", "a")  # room for one, but it is not its turn
            assert "four" not in q.order
            assert "a3" not in q.order
            await q.end("a0")
            await q.end("b0")
            assert q.order[-1] == "four"
            assert q.admission.n_held == 8

    run(scenario())


@pytest.mark.parametrize(
    ("limits", "n_allowed", "seconds"),
    [
        ({"requests_per_minute": 3}, 3, 20),
        ({"tokens_per_minute": 100}, 2, 12),  # the second is on credit
        ({"requests_at_once": 2}, 2, None),
    ],
)
def test_quotas(limits: dict[str, int], n_allowed: int, seconds: float | None) -> None:
    async def scenario() -> None:
        async with queue(8, caller_share=1, **limits) as q:
            for n in range(n_allowed):
                await q.send(f"{n}", "one", 60)
            await q.send("more", "one", 60)
            error = await q.refusal("more")
            assert (error.code, error.retryable) == ("rate_limit_exceeded", True)
            await q.send("another's", "two", 60)
            assert q.order[-1] == "another's"
            if seconds is None:
                await q.end("0")
            else:
                assert error.retry_after_seconds == pytest.approx(seconds, abs=1)
                q.now += error.retry_after_seconds or 0
            await q.send("again", "one", 60)
            assert q.order[-1] == "again"

    run(scenario())


def test_feedback_has_a_quota_that_no_pause_wipes_out() -> None:
    async def scenario() -> None:
        async with queue(8, feedback_per_hour=60) as q:
            charge = q.admission.charge_feedback
            charge("a", 50)
            q.now += 120  # two rows more
            await q.send("x", "one")  # what is old is forgotten meanwhile
            charge("a", 1000)
            with pytest.raises(PawlError) as caught:
                charge("a", 1)
            assert caught.value.code == "rate_limit_exceeded"
            assert caught.value.retry_after_seconds == pytest.approx(989 * 60, abs=1)
            charge("b", 1)
            q.now += 990 * 60
            charge("a", 1)

    run(scenario())


def test_who_reads_without_end_is_refused_and_nobody_else(tmp_path: Path) -> None:
    with live(Settings(state_dir=tmp_path, limits={"reads_per_minute": 5})) as one:
        routes = [
            "/v1/models",
            "/openapi.json",
            "/v1/feedback/categories",
            "/docs",
            "/v1/models/base",
        ]
        with httpx.Client(base_url=one.url) as client:
            assert [client.get(route).status_code for route in routes] == [200] * 5
            answer = client.get("/v1/models")
            assert answer.status_code == 429
            assert answer.json()["error"]["code"] == "rate_limit_exceeded"
            assert 1 <= int(answer.headers["Retry-After"]) <= 12
            assert client.get("/health").status_code == 200
            assert client.get("/metrics").status_code == 200
            assert client.post(CHAT, json=chat("hi")).status_code == 200
            other = {"X-Pawl-Rater": "page-2"}
            assert client.get("/v1/models", headers=other).status_code == 200
            for made_up in (other, {"X-Api-Key": "made up"}):  # which nobody looks at there
                assert client.get("/docs", headers=made_up).status_code == 429


def test_callers_that_are_gone_are_forgotten_but_not_their_debts() -> None:
    async def scenario() -> None:
        async with queue(8, tokens_per_minute=100) as q:
            for n in range(50):
                await q.send(f"{n}", f"caller {n}")
                await q.end(f"{n}")
            await q.send("debt", "debtor", 1000)
            await q.end("debt")
            q.now += 200
            await q.send("x", "one")
            assert set(q.admission._callers) == {"one", "debtor"}

    run(scenario())


def test_whose_share_it_is() -> None:
    scope: dict[str, Any] = {"client": ("10.0.0.9", 4)}
    assert share_of(scope, None, "anonymous") == "address 10.0.0.9"
    home = [share_of({"client": (f"2001:db8::{n}", 5)}, None, "anonymous") for n in (1, 2)]
    assert home == ["address 2001:db8::/64"] * 2
    assert share_of(scope, None, "ann") == "rater ann"
    keyed = share_of(scope, "secret", "ann")
    for spelling in ("Bearer secret", "bearer secret", "Bearer   secret", "BEARER secret "):
        assert share_of(scope, key_of(Headers({"Authorization": spelling})), "bob") == keyed
    assert keyed.startswith("key ")
    assert "secret" not in keyed
    known = {**scope, CALLER: Caller("bob", Role.USER)}
    assert share_of(known, "secret", "ann") == "account bob"


def test_a_request_is_expected_to_use_the_bound_that_the_engine_goes_by() -> None:
    body = {"model": "pawl", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1,
            "max_completion_tokens": 400}  # fmt: skip
    request = parse_request(json.dumps(body).encode(), ChatRequest)
    assert expected_tokens(request, 40, 512) == 10 + 400


def test_the_servers_bound_is_no_larger_than_the_context(tmp_path: Path) -> None:
    request = parse_request(json.dumps(chat("hello")).encode(), ChatRequest)
    limits, engine = {"answer_tokens": 900}, {"max_model_len_tokens": 256}
    app = build_app(
        Settings(state_dir=tmp_path, limits=limits, engine=engine), None, base=FAKE_BASE
    )
    try:
        served, _ = app.gateway.as_served(request, "base")
    finally:
        app.close()
    assert served.max_tokens == 256


def test_a_place_is_one_object_through_its_life() -> None:
    async def scenario() -> None:
        async with queue(1) as q, q.admission.place("a", 1, 5) as place:
            assert isinstance(place, Place)
            assert place.state == "held"
        assert place.state == "left"

    run(scenario())


# -- in front of a small engine


def chat(content: str, **more: Any) -> dict[str, Any]:
    return {"model": "pawl", "messages": [{"role": "user", "content": content}], **more}


@pytest.fixture
def tight(tmp_path: Path) -> Iterator[Live]:
    """One place and one of the reserve, one may wait."""
    settings = Settings(
        state_dir=tmp_path,
        engine={"max_concurrent_requests": 1},
        limits={"max_queued_requests": 1, "keep_alive_seconds": 0.2, "answer_tokens": 300},
    )
    with live(settings) as one:
        yield one


@pytest.mark.parametrize(
    ("fields", "sent"),
    [({}, {"max_tokens": 300}), ({"max_tokens": 900}, {"max_tokens": 900}),
     ({"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
     ({"min_tokens": 400}, {"min_tokens": 400, "max_tokens": 400})],
)  # fmt: skip
def test_an_answer_whose_request_sets_no_bound_has_the_settings(
    tight: Live, fields: dict[str, int], sent: dict[str, int]
) -> None:
    answer = httpx.post(tight.url + CHAT, json=chat("hello", **fields)).raise_for_status()
    [row] = tight.rows(answer.json()["id"])
    assert row.sampling == sent
    assert {k: v for k, v in tight.seen()["bodies"][-1].items() if "tokens" in k} == sent


@contextlib.contextmanager
def held(server: Live, key: str = "greedy") -> Iterator[None]:
    """A stream that has a place and gets no token."""
    body, headers = chat("hold first", stream=True), {"Authorization": f"Bearer {key}"}
    n_before = server.gateway.admission.n_held
    with httpx.stream("POST", server.url + CHAT, json=body, headers=headers) as answer:
        assert answer.status_code == 200
        assert server.gateway.admission.n_held == n_before + 1
        yield


def test_a_waiting_stream_gets_comments_and_then_its_answer(tight: Live) -> None:
    with ThreadPoolExecutor(1) as pool:
        with held(tight):
            waiting = pool.submit(
                httpx.post, tight.url + CHAT, json=chat("hello", stream=True), timeout=30,
                headers={"Authorization": "Bearer greedy"},
            )  # fmt: skip
            eventually(lambda: tight.gateway.admission.n_waiting == 1, "it waits")
            metrics = httpx.get(tight.url + "/metrics").text
            assert "pawl_queue_length 1.0" in metrics
            assert "pawl_places_held 1.0" in metrics
            n_asked = tight.engine.activity.n_asked
            asyncio.run(asyncio.sleep(0.5))  # the time of two comments
        text = waiting.result().text
    assert tight.engine.activity.n_asked == n_asked + 1
    assert text.startswith(": keep-alive\n\n")
    assert text.endswith("data: [DONE]\n\n")
    assert "heard" in text


def test_beyond_the_queue_it_is_refused_at_once(tight: Live) -> None:
    headers = {"Authorization": "Bearer greedy"}
    with ThreadPoolExecutor(1) as pool, held(tight):
        waiting = pool.submit(
            httpx.post, tight.url + CHAT, json=chat("hello"), headers=headers, timeout=30
        )
        eventually(lambda: tight.gateway.admission.n_waiting == 1, "it waits")
        refused = httpx.post(tight.url + CHAT, json=chat("x", stream=True), headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert int(refused.headers["Retry-After"]) >= 1
        other = httpx.post(tight.url + CHAT, json=chat("hello"))  # the reserve's place
        assert other.status_code == 200
        n_rows = tight.store.counts()["completions"]
    assert waiting.result().status_code == 200
    eventually(lambda: tight.store.counts()["completions"] == n_rows + 2, "no row of the refused")
    two = {"model": "pawl", "prompt": ["a", "b"]}
    refused = httpx.post(tight.url + "/v1/completions", json=two, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_value")
    metrics = httpx.get(tight.url + "/metrics").text
    assert 'pawl_refusals_total{code="overloaded"} 1.0' in metrics
    assert 'pawl_requests_total{status="refused",version="base"} 2.0' in metrics


def test_who_hangs_up_while_waiting_is_never_asked_about(tight: Live) -> None:
    headers = {"Authorization": "Bearer greedy"}
    with held(tight):
        n_asked = tight.engine.activity.n_asked
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(tight.url + CHAT, json=chat("hello"), headers=headers, timeout=0.5)
        eventually(lambda: tight.gateway.admission.n_waiting == 0, "it left")
    eventually(lambda: tight.gateway.admission.n_held == 0, "all left")
    assert tight.engine.activity.n_asked == n_asked


def test_an_error_after_a_comment_is_an_event(tight: Live) -> None:
    with (
        held(tight),
        httpx.stream("POST", tight.url + CHAT, json=chat("hold first", stream=True)) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == ": keep-alive"
        tight.loop.call_soon_threadsafe(tight.engine.activity.end)
        data = next(line for line in lines if line.startswith("data: "))
        assert json.loads(data.removeprefix("data: "))["error"]["code"] == "engine_lost"


def test_a_request_may_wait_for_an_engine_that_starts(tmp_path: Path) -> None:
    limits = {"keep_alive_seconds": 0.05, "start_wait_seconds": 60}
    with live(Settings(state_dir=tmp_path, limits=limits), wait=False) as one:
        assert one.engine.state == "starting"
        with openai.OpenAI(base_url=one.url + "/v1", api_key="any", max_retries=0) as client:
            # OpenAI's client skips the comments that come meanwhile.
            stream = client.chat.completions.create(**chat("hello", stream=True))
            assert stream.response.headers["X-Pawl-Version"] == "base"
            pieces = [chunk.choices[0].delta.content for chunk in stream]
    assert "".join(pieces) == "base heard 5 characters."


def test_it_waits_no_longer_than_that(tmp_path: Path) -> None:
    limits = {"keep_alive_seconds": 0.1, "start_wait_seconds": 0.3}
    never = fake_command("--never-ready")
    with live(Settings(state_dir=tmp_path, limits=limits), command=never, wait=False) as one:
        answer = httpx.post(one.url + CHAT, json=chat("hello"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_not_ready")
        assert int(answer.headers["Retry-After"]) > 2
        answer = httpx.post(one.url + CHAT, json=chat("hello", stream=True))
        assert answer.text.startswith(": keep-alive\n\n")
        last = json.loads(answer.text.split("data: ")[1])
        assert last["error"]["code"] == "engine_not_ready"
        assert one.store.counts()["completions"] == 0


def test_answers_that_never_began_use_no_tokens_up(tmp_path: Path) -> None:
    limits = {"tokens_per_minute": 10, "start_wait_seconds": 0.2}
    never = fake_command("--never-ready")
    with live(Settings(state_dir=tmp_path, limits=limits), command=never, wait=False) as one:
        for _ in range(3):
            answer = httpx.post(one.url + CHAT, json=chat("hello", max_tokens=100))
            assert answer.json()["error"]["code"] == "engine_not_ready"
        with pytest.raises(httpx.ReadTimeout):  # who hangs up meanwhile
            httpx.post(one.url + CHAT, json=chat("hello", max_tokens=100), timeout=0.1)
        eventually(lambda: one.gateway.admission.n_held == 0, "it left")
        answer = httpx.post(one.url + CHAT, json=chat("hello", max_tokens=100))
        assert answer.json()["error"]["code"] == "engine_not_ready"


def test_quotas_are_told_as_openai_does(tmp_path: Path) -> None:
    settings = Settings(
        state_dir=tmp_path, limits={"requests_per_minute": 2, "feedback_per_hour": 2}
    )
    with live(settings, command=fake_command()) as one:
        answers = [httpx.post(one.url + CHAT, json=chat("hi", stream=True)) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].json()["error"]["code"] == "rate_limit_exceeded"
        assert 1 <= int(answers[2].headers["Retry-After"]) <= 60
        wrong = {"Authorization": "Bearer another"}  # charged before it is looked into
        answers = [httpx.post(one.url + CHAT, json={"tools": 1}, headers=wrong) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [400, 400, 429]
        assert one.gateway.metrics.refusals.labels("rate_limit_exceeded")._value.get() == 2
        batch = {"feedback": [{"completion_id": "unknown", "thumb": "up"}] * 5}
        url = one.url + "/v1/feedback/batch"  # the first is on credit
        answers = [httpx.post(url, json=batch, headers=wrong) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 429]
        assert answers[1].headers["Retry-After"] == "60"
        assert httpx.post(url, json=batch).status_code == 200
