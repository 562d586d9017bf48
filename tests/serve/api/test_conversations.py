"""A conversation read back: what was said, by whom it was answered, what counts of its feedback."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from feedback.erasing import UNFINISHED, certificates
from feedback.retention import erase_by_age
from pawl.client import Pawl
from pawl.files import hold_lock
from pawl.settings import Settings
from tests.serve.live import Live, eventually, live

ANN = {"X-Pawl-Rater": "ann", "X-Pawl-Conversation": "chat-1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(Settings(state_dir=tmp_path_factory.mktemp("state"))) as one:
        yield one


def ask(server: Live, messages: list[dict[str, str]], headers: dict[str, str]) -> dict[str, Any]:
    body = {"model": "pawl", "messages": messages}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers)
    return dict(answer.raise_for_status().json())


def test_a_conversation_is_read_back_by_who_took_part_in_it(server: Live) -> None:
    messages = [{"role": "user", "content": "one"}]
    first = ask(server, messages, ANN)
    messages += [first["choices"][0]["message"], {"role": "user", "content": "three"}]
    second = ask(server, messages, ANN)
    flag = {"completion_id": first["id"], "thumb": "down", "correction": "1"}
    httpx.post(f"{server.url}/v1/feedback", json=flag, headers=ANN).raise_for_status()
    bob = {"completion_id": first["id"], "thumb": "up", "user": "bob"}
    httpx.post(f"{server.url}/v1/feedback", json=bob).raise_for_status()

    url = f"{server.url}/v1/conversations/chat-1"
    found = httpx.get(url, headers=ANN).raise_for_status().json()
    assert found["conversation_id"] == "chat-1"
    assert [(one["role"], one["content"]) for one in found["messages"]] == [
        ("user", "one"),
        ("assistant", "base heard 3 characters."),
        ("user", "three"),
        ("assistant", "base heard 5 characters."),
    ]
    answers = found["messages"][1::2]
    assert [one["completion_id"] for one in answers] == [first["id"], second["id"]]
    assert [(one["version"], one["status"]) for one in answers] == [("base", "complete")] * 2
    assert answers[0]["feedback"]["correction"] == "1"
    assert answers[1]["feedback"] is None
    assert "completion_id" not in found["messages"][0]

    for stranger in ({"X-Pawl-Rater": "bob"}, {}):
        refused = httpx.get(url, headers=stranger)
        assert refused.status_code == 404
        assert refused.json()["error"]["code"] == "conversation_not_found"


def test_what_was_asked_again_or_edited_is_read_too_by_whoever_asked_it(server: Live) -> None:
    headers = {"X-Pawl-Rater": "eva", "X-Pawl-Conversation": "shared"}
    one, four = ({"role": "user", "content": text} for text in ("one", "four"))
    first, again = ask(server, [one], headers), ask(server, [one], headers)
    later = ask(server, [one, again["choices"][0]["message"], four], headers)
    edited = ask(server, [four], headers)
    ask(server, [one], {**headers, "X-Pawl-Rater": "bob"})
    for answer, thumb in ((first, "down"), (again, "up")):
        flag = {"completion_id": answer["id"], "thumb": thumb}
        httpx.post(f"{server.url}/v1/feedback", json=flag, headers=headers).raise_for_status()

    pawl = Pawl(server.url)
    plain = pawl.conversation("shared", rater_id="eva")
    assert [(one.content, one.variant, one.n_variants) for one in plain.messages] == [
        ("four", 3, 3), ("base heard 4 characters.", None, None),
    ]  # fmt: skip
    assert plain.messages[1].completion_id == edited["id"]
    assert plain.branches == []
    found = pawl.conversation("shared", rater_id="eva", branches=True).branches
    assert [(branch.of, branch.at) for branch in found] == [(0, 0), (0, 0)]
    answers = [[one for one in branch.messages if one.completion_id] for branch in found]
    assert [[one.completion_id for one in row] for row in answers] == [
        [first["id"]], [again["id"], later["id"]],
    ]  # fmt: skip
    said = [row[0].feedback for row in answers]
    assert [one.thumb for one in said if one] == ["down", "up"]

    led = pawl.conversation("shared", rater_id="eva", completion_id=later["id"])
    assert [one.content for one in led.messages][::2] == ["one", "four"]
    url = f"{server.url}/v1/conversations/shared"
    query = {"completion_id": first["id"], "format": "markdown"}
    assert "four" not in httpx.get(url, params=query, headers=headers).text
    other = {"completion_id": first["id"]}
    refused = httpx.get(url, params=other, headers={"X-Pawl-Rater": "bob"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "completion_not_found")


def test_a_wrong_place_or_query_is_named(server: Live) -> None:
    url = f"{server.url}/v1/conversations"
    answers = (httpx.get(f"{url}?limit=abc", headers=ANN),
               httpx.post(f"{url}/", headers=ANN, json={"learn": False}))  # fmt: skip
    for answer, param in zip(answers, ("limit", "conversation_id"), strict=True):
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, param), error
        assert error["message"].startswith(f"{param} is ")


def test_an_id_may_hold_slashes(server: Live) -> None:
    headers = {**ANN, "X-Pawl-Conversation": "tickets/2026/7"}
    ask(server, [{"role": "user", "content": "one"}], headers)
    found = Pawl(server.url).conversation("tickets/2026/7", rater_id="ann")
    assert [message.role for message in found.messages] == ["user", "assistant"]


def listed(server: Live, rater_id: str, **query: Any) -> dict[str, Any]:
    url, headers = f"{server.url}/v1/conversations", {"X-Pawl-Rater": rater_id}
    return dict(httpx.get(url, params=query, headers=headers).raise_for_status().json())


def say(server: Live, rater_id: str, conversation_id: str, *questions: str) -> list[str]:
    """Ask one after the other in one conversation; the ids of the answers."""
    headers = {"X-Pawl-Rater": rater_id, "X-Pawl-Conversation": conversation_id}
    messages: list[dict[str, str]] = []
    ids = []
    for question in questions:
        messages.append({"role": "user", "content": question})
        answer = ask(server, messages, headers)
        messages.append(answer["choices"][0]["message"])
        ids.append(answer["id"])
    return ids


def change(server: Live, rater_id: str, conversation_id: str, **fields: Any) -> httpx.Response:
    url = f"{server.url}/v1/conversations/{conversation_id}"
    return httpx.post(url, json=fields, headers={"X-Pawl-Rater": rater_id})


def erase(server: Live, rater_id: str, **fields: Any) -> httpx.Response:
    headers = {"X-Pawl-Rater": rater_id}
    return httpx.post(f"{server.url}/v1/erasures", json=fields, headers=headers, timeout=60)


def ids_of(found: dict[str, Any]) -> list[str]:
    return [one["conversation_id"] for one in found["conversations"]]


def test_conversations_are_listed_searched_named_and_pinned(server: Live) -> None:
    say(server, "lea", "l/1", "Wie heißt die Ölmühle?", 'And "quoted"\nlines?')
    say(server, "lea", "l/2", "two")
    say(server, "lea", "l/3", "x" * 10_000)
    say(server, "max", "l/1", "a secret of max")
    found = listed(server, "lea")
    assert ids_of(found) == ["l/3", "l/2", "l/1"]
    assert found["n_found"] == 3
    assert [len(one["title"]) for one in found["conversations"]] == [300, 3, 22]
    assert found["conversations"][2]["n_answers"] == 2
    for search in ("ölmühle", '"quoted"\nlines', "HEARD 22 char"):
        assert ids_of(listed(server, "lea", search=search)) == ["l/1"], search
    assert ids_of(listed(server, "lea", search="secret")) == []
    assert ids_of(listed(server, "lea", limit=1, offset=1)) == ["l/2"]
    assert ids_of(listed(server, "lea", begins_with="l/3")) == ["l/3"]

    hostile = "<b>\u202e & [x](y) `z`"
    assert change(server, "lea", "l/1", title=hostile, pinned=True).json()["title"] == hostile
    assert ids_of(listed(server, "lea")) == ["l/1", "l/3", "l/2"]
    assert ids_of(listed(server, "lea", search="\u202e & [X]")) == ["l/1"]
    assert listed(server, "lea", search="ölmühle")["conversations"][0]["title"] == hostile
    assert change(server, "lea", "l/1", title=" ").json()["title"] == "Wie heißt die Ölmühle?"
    assert change(server, "lea", "l/1").json()["pinned"] is True
    assert listed(server, "max")["conversations"][0]["title"] == "a secret of max"
    for stranger in ({"title": "mine"}, {"pinned": True}):
        assert change(server, "max", "l/2", **stranger).status_code == 404
    refused = httpx.get(f"{server.url}/v1/conversations", params={"limit": 201})
    assert refused.status_code == 400


def test_a_shortened_conversation_is_read_whole(server: Live) -> None:
    headers = {"X-Pawl-Rater": "cut", "X-Pawl-Conversation": "chat-cut"}
    messages: list[dict[str, str]] = []
    for question in ("one", "two", "three"):
        messages = [*messages[-2:], {"role": "user", "content": question}]
        messages.append(ask(server, messages, headers)["choices"][0]["message"])
    found = httpx.get(f"{server.url}/v1/conversations/chat-cut", headers=headers).json()
    assert [message["content"] for message in found["messages"][::2]] == ["one", "two", "three"]
    assert all("completion_id" in message for message in found["messages"][1::2])
    assert found["n_left_out"] == 2


def test_a_conversation_is_exported_as_markdown(server: Live) -> None:
    first, _ = say(server, "mia", "m", "# one\n<b>bold</b>", "three")
    flag = {"completion_id": first, "thumb": "down", "correction": "1"}
    headers = {"X-Pawl-Rater": "mia"}
    httpx.post(f"{server.url}/v1/feedback", json=flag, headers=headers).raise_for_status()
    change(server, "mia", "m", title="*A* <title>")
    url = f"{server.url}/v1/conversations/m?format=markdown"
    found = httpx.get(url, headers=headers)
    assert found.headers["content-type"] == "text/markdown; charset=utf-8"
    assert found.text == (
        "# \\*A\\* \\<title\\>\n\n## You\n\n> # one\n> <b>bold</b>\n\n## Assistant\n\n"
        "base heard 17 characters.\n\n> Marked bad.\n>\n> It should have said: 1\n\n"
        "## You\n\n> three\n\n## Assistant\n\nbase heard 5 characters.\n"
    )
    assert httpx.get(url, headers={"X-Pawl-Rater": "max"}).status_code == 404


def test_a_deleted_conversation_is_gone_at_once_and_may_begin_anew(server: Live) -> None:
    (gone,) = say(server, "tom", "t/1", "to be deleted")
    say(server, "tom", "t/2", "kept")
    assert erase(server, "max", conversation_id="t/1").status_code == 404
    assert erase(server, "tom", conversation_id="t/1").json()["n_conversations"] == 1
    assert ids_of(listed(server, "tom")) == ["t/2"]
    headers = {"X-Pawl-Rater": "tom"}
    assert httpx.get(f"{server.url}/v1/conversations/t/1", headers=headers).status_code == 404
    flag = {"completion_id": gone, "thumb": "down"}
    refused = httpx.post(f"{server.url}/v1/feedback", json=flag, headers=headers)
    assert refused.json()["error"]["code"] == "completion_not_found"
    say(server, "tom", "t/1", "anew")
    assert ids_of(listed(server, "tom")) == ["t/1", "t/2"]
    assert listed(server, "tom")["conversations"][0]["title"] == "anew"
    # The next one of the same minutes is hidden, and waits to be taken out of the files.
    erased = [
        erase(server, "tom", conversation_id=one).json()["is_erased"] for one in ("t/1", "t/2")
    ]
    assert erased[1] is False
    assert ids_of(listed(server, "tom")) == []


def test_everything_of_a_person_is_erased_and_they_may_go_on(server: Live) -> None:
    say(server, "uma", "u/1", "something that only uma asked here")
    say(server, "max", "u/1", "kept")
    assert erase(server, "uma").status_code == 400
    assert erase(server, "uma", everything=True).json() == {"n_conversations": 1, "is_erased": True}
    assert server.store.completions(rater_id="uma") == []
    assert ids_of(listed(server, "max", begins_with="u/")) == ["u/1"]
    assert erase(server, "nobody", everything=True).json()["n_conversations"] == 0
    refused = httpx.post(f"{server.url}/v1/erasures", json={"everything": True})
    assert refused.status_code == 400  # all who name nobody share one name
    say(server, "uma", "u/2", "back again")
    assert ids_of(listed(server, "uma")) == ["u/2"]


def test_everything_of_a_person_goes_later_where_a_night_runs(server: Live) -> None:
    state_dir = server.store.rewriter.database.path.parent
    say(server, "noa", "n/1", "something that only noa asked here")
    keep_preset(server, "noa", name="short", settings={"temperature": 0.5}).raise_for_status()
    with hold_lock(state_dir / "nightly.lock", "a night runs", ""):
        told = erase(server, "noa", everything=True).json()
    assert told == {"n_conversations": 1, "is_erased": False}
    assert (ids_of(listed(server, "noa")), presets(server, "noa")) == ([], [])
    settings = Settings(state_dir=state_dir)
    erase_by_age(server.store, settings, lambda base: None, of_night=True)  # a night begins
    left = server.store.read("SELECT rater_id FROM presets UNION SELECT rater_id FROM completions")
    assert ("noa",) not in left


@contextmanager
def slow_disk(settings: Settings) -> Iterator[Callable[[], None]]:
    """Who erases waits for a file of a run until what this gives is called, or the block ends."""
    path = settings.runs_dir / "slow" / "rows.jsonl"
    path.parent.mkdir(parents=True)
    os.mkfifo(path)

    def end() -> None:
        if path.exists():
            written = os.open(path, os.O_RDWR)
            path.unlink()
            os.close(written)

    try:
        yield end
    finally:
        end()


def certified(settings: Settings, n: int) -> list[str]:
    """Who asked for each erasing, once there are ``n``."""
    found = [str(one["asked_by"]) for one in certificates(settings.state_dir)]
    return found if len(found) == n else []


def test_nobody_waits_for_an_erasing_of_the_files_that_takes_long(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    with live(settings) as server, ThreadPoolExecutor() as pool, slow_disk(settings) as end:
        for who in ("ann", "bob", "eve"):
            say(server, who, f"{who}/1", f"asked by {who}")
        first = pool.submit(erase, server, "ann", conversation_id="ann/1")
        plans = settings.state_dir / "erasures"
        eventually(lambda: list(plans.glob("*")), "it is begun")
        assert erase(server, "bob", conversation_id="bob/1").json()["is_erased"] is False
        assert ids_of(listed(server, "bob")) == []
        server.app.eraser.answer_seconds = 0.5
        assert erase(server, "eve", everything=True).json()["is_erased"] is False
        assert not first.done()
        assert len(list(plans.glob("*"))) == 2  # a kill would lose neither
        end()
        assert first.result().json() == {"n_conversations": 1, "is_erased": True}
        both = eventually(lambda: certified(settings, 2), "eve's goes on after its answer")
        assert sorted(both) == ["the people whose they were", "the person"]


def test_a_server_that_stops_lets_an_erasing_end(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    with live(settings) as server, ThreadPoolExecutor() as pool, slow_disk(settings) as end:
        say(server, "ann", "ann/1", "asked by ann")
        server.app.eraser.answer_seconds = 0.5
        assert erase(server, "ann", conversation_id="ann/1").json()["is_erased"] is False
        closing = pool.submit(server.app.eraser.close)
        time.sleep(0.2)
        assert not closing.done()
        end()
        closing.result(60)
        assert len(certified(settings, 1)) == 1
        assert erase(server, "ann", everything=True).json()["is_erased"] is False  # no more of them


def test_what_can_not_be_erased_now_is_hidden_all_the_same(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    with live(settings) as server:
        for name in ("ann/1", "ann/2"):
            say(server, "ann", name, "asked by ann")
        broken = settings.state_dir / "erasures" / f"erasure-1{UNFINISHED}"
        broken.parent.mkdir()
        broken.write_text(json.dumps({"erasure_id": "erasure-1"}))  # fails each time
        told = {"n_conversations": 1, "is_erased": False}
        assert erase(server, "ann", conversation_id="ann/1").json() == told
        assert ids_of(listed(server, "ann")) == ["ann/2"]
        broken.unlink()
        assert erase(server, "ann", everything=True).json()["is_erased"] is True


def test_what_is_not_to_be_learned_may_be_said_before_the_first_message(server: Live) -> None:
    assert change(server, "zoe", "z", learn=False).json()["learn"] is False
    url, headers = f"{server.url}/v1/conversations/z", {"X-Pawl-Rater": "zoe"}
    assert httpx.get(url, headers=headers).json()["messages"] == []
    assert ids_of(listed(server, "zoe")) == []
    say(server, "zoe", "z", "one")
    assert listed(server, "zoe")["conversations"][0]["learn"] is False
    assert httpx.get(url, headers=headers).json()["learn"] is False


def presets(server: Live, rater_id: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{server.url}/v1/presets", headers={"X-Pawl-Rater": rater_id})
    return list(answer.raise_for_status().json()["presets"])


def keep_preset(server: Live, rater_id: str, **body: Any) -> httpx.Response:
    url = f"{server.url}/v1/presets"
    return httpx.post(url, json=body, headers={"X-Pawl-Rater": rater_id})


def test_settings_are_kept_with_a_conversation_and_presets_with_a_person(server: Live) -> None:
    brief = {"system_prompt": "Be brief.", "temperature": 0.2, "max_tokens": 50, "model": "base"}
    url, headers = f"{server.url}/v1/conversations/k", {"X-Pawl-Rater": "kai"}
    change(server, "kai", "k", settings=brief).raise_for_status()
    assert httpx.get(url, headers=headers).json()["settings"] == brief
    say(server, "kai", "k", "one")
    change(server, "kai", "k", pinned=True).raise_for_status()
    assert httpx.get(url, headers=headers).json()["settings"] == brief
    change(server, "kai", "k", settings={"system_prompt": " ", "temperature": 0.0})
    assert httpx.get(url, headers=headers).json()["settings"] == {"temperature": 0.0}
    for wrong in ({"temperature": 3}, {"max_tokens": 0}, {"model": "other"}, {"top_p": 1}):
        assert change(server, "kai", "k", settings=wrong).status_code == 400

    keep_preset(server, "kai", name=" short ", settings=brief).raise_for_status()
    keep_preset(server, "kai", name="warm", settings={"temperature": 1.5}).raise_for_status()
    keep_preset(server, "kai", name="warm", settings={"temperature": 1.2}).raise_for_status()
    assert presets(server, "kai") == [
        {"name": "short", "settings": brief}, {"name": "warm", "settings": {"temperature": 1.2}},
    ]  # fmt: skip
    assert presets(server, "lea") == []
    assert keep_preset(server, "lea", name="short", deleted=True).status_code == 404
    left = keep_preset(server, "kai", name="warm", deleted=True).raise_for_status().json()
    assert [one["name"] for one in left["presets"]] == ["short"]
    assert keep_preset(server, "kai", name="  ", settings=brief).status_code == 400
    assert erase(server, "kai", everything=True).json()["is_erased"] is True
    assert presets(server, "kai") == []
    assert httpx.get(url, headers=headers).status_code == 404
