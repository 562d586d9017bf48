"""What completions are to a client, through another gateway: the same tests as on the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pawl.settings import Settings
from tests.serve.api.test_admission import CHAT, chat
from tests.serve.api.test_completions import (  # noqa: F401
    test_a_body_may_be_packed,
    test_a_hang_up_reaches_the_engine_and_is_recorded,
    test_a_prompt_that_is_too_long_is_blamed_where_it_stood,
    test_a_stream_that_the_engine_breaks_off_ends_with_an_error_and_without_done,
    test_an_engine_that_died_is_told_as_such_with_the_time_of_a_start_and_recorded,
    test_an_unknown_route_and_a_wrong_method_answer_in_the_same_shape,
    test_bad_requests_are_refused_in_openais_shape,
    test_conversation_and_rater,
    test_every_choice_has_its_row,
    test_feedback_finds_its_completion,
    test_feedback_on_several_answers_at_once,
    test_fields_without_effect_are_named_in_a_header,
    test_plain_completions,
    test_prompts_of_token_ids,
    test_the_champions_name_follows_the_pointer_and_never_hides_a_missing_one,
    test_the_servers_own_page_may_ask,
    test_the_usage_chunk_comes_only_to_who_asked_for_it,
    test_usage_in_every_event_comes_to_who_asked_for_it,
    test_versions_in_flight_are_counted_and_drain,
    test_what_breaks_in_a_stream_is_told_in_our_words_and_recorded,
    test_without_a_key_the_pages_of_others_may_not_ask,
)
from tests.serve.gateways import beside
from tests.serve.live import Live, eventually, live

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    settings = Settings(state_dir=tmp_path_factory.mktemp("state"))
    with live(settings) as one:
        one.call(one.engine.load_adapter("pawl@1", Path("/adapters/pawl@1")))
        with beside(one.url, settings) as gateway:
            one.url = gateway.url
            yield one


def test_who_asked_an_engine_that_was_lost_pays_nothing(tmp_path: Path) -> None:
    """The server may know of its end before the gateway says how the answer ended."""
    settings = Settings(state_dir=tmp_path, limits={"tokens_per_minute": 1_500})
    with live(settings) as one, beside(one.url, settings) as gateway:
        eventually(lambda: one.engine.is_ready, "the engine is there")
        lost = httpx.post(gateway.url + CHAT, json=chat("die", max_tokens=1_000))
        assert lost.json()["error"]["code"] == "engine_lost"
        codes: list[int] = []

        def ask() -> bool:
            answer = httpx.post(gateway.url + CHAT, json=chat("hi", max_tokens=1_000))
            codes.append(answer.status_code)
            return codes[-1] != 503

        eventually(ask, "the engine is back")
        assert codes[-1] == 200
