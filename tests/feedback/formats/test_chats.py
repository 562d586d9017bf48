"""Feedback as chat programs export it: thumbs with their raters, pairs of compared answers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from feedback.curation import CHANGED, curate
from feedback.formats import Parsed, import_rows, parse
from feedback.store import Store
from pawl.settings import Settings

ASKED = "Which river runs through Vienna?"
USER = {"role": "user", "content": ASKED}
ROOT = "00000000-0000-0000-0000-000000000000"


def _parse(*records: Any) -> Parsed:
    return parse(json.dumps(list(records)).encode(), "export.json")


def open_webui(rating: Any = 1, message_id: str = "b", **history: Any) -> dict[str, Any]:
    """One record of ``/api/v1/evaluations/feedbacks/all/export``."""
    messages = {
        "a": {"id": "a", "parentId": None, "childrenIds": ["b"], **USER, "models": ["x"]},
        "b": {"id": "b", "parentId": "a", "childrenIds": ["c"], "role": "assistant",
              "content": "The Danube.", "model": "x", "done": True},
        "c": {"id": "c", "parentId": "b", "childrenIds": ["d"], "role": "user",
              "content": "And through Bonn?"},
        "d": {"id": "d", "parentId": "c", "childrenIds": [], "role": "assistant",
              "content": "The Elbe."},
        **history,
    }  # fmt: skip
    return {
        "id": f"of {message_id}", "user_id": "u-1", "version": 0, "type": "rating",
        "data": {"rating": rating, "model_id": "x", "reason": "not_factually_correct",
                 "comment": "Look it up.", "tags": ["Geography", "Rivers"],
                 "details": {"rating": 2}},
        "meta": {"arena": False, "model_id": "x", "message_id": message_id, "message_index": 2,
                 "chat_id": "chat", "base_models": {"x": None}},
        "snapshot": {"chat": {"id": "chat", "user_id": "u-1", "title": "t", "chat": {
            "models": ["x"], "params": {}, "history": {"messages": messages, "currentId": "d"}}}},
        "created_at": 1, "updated_at": 2,
    }  # fmt: skip


def test_open_webui_ratings_are_of_the_rated_message_and_of_their_rater() -> None:
    liked, disliked = _parse(open_webui(1), open_webui("-1", "d")).lessons
    assert (liked.kind, liked.prompt, liked.completion, liked.label, liked.categories) == (
        "unpaired", [USER], "The Danube.", True, [],
    )  # fmt: skip
    assert [message["content"] for message in disliked.prompt] == [
        ASKED, "The Danube.", "And through Bonn?",
    ]  # fmt: skip
    assert (disliked.completion, disliked.label) == ("The Elbe.", False)
    assert disliked.categories == ["incorrect"]
    assert disliked.origin == {
        "source": "import:open-webui", "file": "export.json", "place": "record 2 (line 1)",
        "rater_id": "import:open-webui/u-1", "reason": "not_factually_correct",
        "comment": "Look it up.", "topics": "Geography, Rivers", "record_id": "of d",
        "said_at": "1970-01-01T00:00:02.000000+00:00",
    }  # fmt: skip


def test_of_a_record_that_stands_twice_in_a_file_the_last_counts() -> None:
    parsed = _parse(open_webui(1), open_webui(1, "d"), open_webui(-1))
    assert [(row.completion, row.label) for row in parsed.lessons] == [
        ("The Elbe.", True), ("The Danube.", False),
    ]  # fmt: skip
    assert parsed.skipped == {"an earlier state of a record that the file has again": 1}


def _said_of_the_danube(rating: int, record: str) -> dict[str, Any]:
    rated = open_webui(rating)
    return {**rated, "id": record}


def test_what_two_records_say_stays_as_long_as_one_of_them_says_it() -> None:
    earlier, duplicate = (
        "an earlier state of a record that the file has again", "an exact duplicate in the file",
    )  # fmt: skip
    first, second = (_said_of_the_danube(-1, name) for name in "ab")
    assert _parse(first, second).skipped == {duplicate: 1}
    for changed, left in (("a", "b"), ("b", "a")):
        parsed = _parse(first, second, _said_of_the_danube(1, changed))
        assert [(row.origin["record_id"], row.label) for row in parsed.lessons] == [
            (left, False), (changed, True),
        ]  # fmt: skip
        assert (parsed.skipped, parsed.problems) == ({earlier: 1}, [])
    parsed = _parse(first, second, *(_said_of_the_danube(1, name) for name in "ba"))
    assert [(row.origin["record_id"], row.label) for row in parsed.lessons] == [("b", True)]
    assert parsed.skipped == {earlier: 2, duplicate: 1}
    nameless = {key: value for key, value in first.items() if key != "id"}
    parsed = _parse(first, nameless, _said_of_the_danube(1, "a"))
    assert [row.label for row in parsed.lessons] == [False, True]


def _take(store: Store, *records: Any) -> int:
    """Import an export; how many rows it added."""
    result = import_rows(store, json.dumps(list(records)).encode(), "export.json")
    return int(result["n_added"])


def test_who_changes_their_mind_between_two_exports_counts_as_they_say_now(
    store: Store, settings: Settings
) -> None:
    def labels() -> list[bool | None]:
        assert [row.label for row in store.imported()] == [
            row.label for row in curate(store, settings).rows
        ]
        return [row.label for row in store.imported()]

    may, june = [open_webui(1)], [open_webui(-1)]
    assert (_take(store, *may), labels()) == (1, [True])
    assert (_take(store, *may), labels()) == (0, [True])
    assert (_take(store, *june), labels()) == (1, [False])
    assert curate(store, settings).rejections == {CHANGED: 1}
    assert (_take(store, *june), labels()) == (0, [False])


def test_what_a_record_says_now_takes_the_place_of_all_that_it_said(store: Store) -> None:
    """A liked answer beside two others is two pairs; one where another is liked, too."""
    record = open_webui(1, e=_sibling("The Rhine."), g=_sibling("The Oder."))
    record["data"]["sibling_model_ids"] = ["y", "z"]
    assert _take(store, record) == 2
    messages = record["snapshot"]["chat"]["chat"]["history"]["messages"]
    messages["e"]["annotation"] = {"rating": 1}
    assert _take(store, record, open_webui(1, "d")) == 2
    assert [row.rejected for row in store.imported()] == ["The Oder.", None]
    del messages["e"]["annotation"]
    assert _take(store, record, open_webui(1, "d")) == 2
    assert {row.rejected for row in store.imported()} == {"The Rhine.", "The Oder.", None}


def test_what_was_imported_without_its_id_is_taken_over(store: Store) -> None:
    """Stores from before exports were told by the ids of their records."""
    (old,) = _parse(open_webui(1)).lessons
    origin = {name: value for name, value in old.origin.items() if name != "record_id"}
    store.append_imported(
        [replace(old, origin=origin)], source_format="open-webui", file_sha256="0"
    ).result()
    assert _take(store, open_webui(1)) == 1
    assert [row.label for row in store.imported()] == [True]
    assert _take(store, open_webui(-1)) == 1
    assert [row.label for row in store.imported()] == [False]


def _sibling(content: str, **fields: Any) -> dict[str, Any]:
    return {"parentId": "a", "role": "assistant", "content": content, **fields}


def test_an_answer_liked_beside_others_is_better_than_those_not_liked() -> None:
    record = open_webui(
        1,
        e=_sibling("The Rhine.", model="y"),
        f=_sibling("The Danube, I think.", annotation={"rating": 1}),
        g=_sibling("The Oder.", annotation={"rating": -1}),
        h=_sibling("See the file.", files=[{"type": "file"}]),
    )
    record["data"]["sibling_model_ids"] = ["y", "z"]
    parsed = _parse(record)
    assert [(row.kind, row.chosen, row.rejected) for row in parsed.lessons] == [
        ("pair", "The Danube.", "The Rhine."), ("pair", "The Danube.", "The Oder."),
    ]  # fmt: skip
    assert parsed.lessons[0].origin["rater_id"] == "import:open-webui/u-1"
    assert parsed.skipped == {"a message has files": 1}
    record["data"]["rating"] = -1
    assert [(row.kind, row.label) for row in _parse(record).lessons] == [("unpaired", False)]


def test_reasoning_that_open_webui_keeps_in_the_text_is_left_out() -> None:
    thought = '<details type="reasoning" done="true" duration="3">\n<summary>Thought for 3 ' \
        "seconds</summary>\n&gt; Hm.\n</details>\nThe Danube."  # fmt: skip
    (row,) = _parse(open_webui(1, b=_sibling(thought, id="b"))).lessons
    assert row.completion == "The Danube."
    used = '<details type="tool_calls" done="true"><summary>x</summary></details>The Danube.'
    assert _parse(open_webui(1, b=_sibling(used, id="b"))).skipped == {
        "an answer that used tools": 1
    }


def _without(record: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != name}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (open_webui(0), "its rating is neither 1 nor -1"),
        (open_webui(None), "its rating is neither 1 nor -1"),
        (open_webui(True), "its rating is neither 1 nor -1"),
        (open_webui(7), "its rating is neither 1 nor -1"),
        (open_webui(1, "nowhere"), "no rated message in its snapshot of the chat"),
        (open_webui(1, "a"), "the last message is not one message of the assistant"),
        (open_webui(1, "b", a={"parentId": "b", "role": "user", "content": "a circle"}),
         "the messages of its chat follow each other in a circle"),
        (open_webui(1, "b", a=None), "a message of its conversation is missing"),
        (_without(open_webui(1), "snapshot"), "no snapshot of the chat"),
        (open_webui(1, "b", a={**USER, "files": [{"type": "image"}]}), "a message has files"),
        (open_webui(1, "b", b=_sibling("", error={"content": "no model"})),
         "an answer that failed"),
    ],
)  # fmt: skip
def test_open_webui_records_without_a_row_are_counted(record: Any, reason: str) -> None:
    parsed = _parse(record)
    assert (parsed.lessons, parsed.skipped) == ([], {reason: 1})


def message(name: str, parent: str, text: str, **fields: Any) -> dict[str, Any]:
    """One message of LibreChat's."""
    return {
        "messageId": name, "conversationId": "talk", "parentMessageId": parent, "text": text,
        "sender": "x", "isCreatedByUser": False, "unfinished": False, "error": False, **fields,
    }  # fmt: skip


QUESTION = message("1", ROOT, ASKED, isCreatedByUser=True)
LIKED = {"feedback": {"rating": "thumbsUp", "tag": "accurate_reliable"}}
DISLIKED = {"feedback": {"rating": "thumbsDown", "tag": {"key": "inaccurate"}, "text": "No."}}


def test_a_librechat_conversation_gives_its_rated_answers() -> None:
    record = {
        "conversationId": "talk", "endpoint": "x", "title": "t", "exportAt": "now",
        "branches": True, "recursive": False, "options": {"promptPrefix": "Be short."},
        "messages": [
            QUESTION,
            message("2", "1", "", **DISLIKED, content=[
                {"type": "think", "think": "Hm."},
                {"type": "text", "text": {"value": "The Elbe."}}]),
            message("3", "2", "Sure?", isCreatedByUser=True),
            message("4", "3", "No, the Danube.", **LIKED),
            message("5", "3", "Yes."),
        ],
    }  # fmt: skip
    parsed = _parse(record)
    first, second = parsed.lessons
    assert [turn["content"] for turn in second.prompt] == [
        "Be short.", ASKED, "The Elbe.", "Sure?",
    ]  # fmt: skip
    assert (first.completion, first.label, first.categories) == ("The Elbe.", False, ["incorrect"])
    assert (second.completion, second.label) == ("No, the Danube.", True)
    assert (first.origin["reason"], first.origin["comment"]) == ("inaccurate", "No.")
    assert parsed.skipped == {"an answer without feedback": 1}


def test_a_librechat_tree_is_read_like_the_list() -> None:
    tree = {**QUESTION, "children": [message("2", "1", "The Danube.", **LIKED, children=[])]}
    (row,) = _parse({"conversationId": "talk", "recursive": True, "messagesTree": [tree]}).lessons
    assert (row.prompt, row.completion, row.label) == ([USER], "The Danube.", True)


def test_librechats_collection_of_messages_names_the_raters() -> None:
    owner = {"user": "65f1", "_id": {"$oid": "1"}, "createdAt": {"$date": "2026-01-01"}}
    lines = [
        message("2", "1", "The Danube.", **LIKED, **owner),  # before its question
        {**QUESTION, **owner},
        message("3", "1", "The Rhine.", **DISLIKED, **owner),
        message("2", "1", "Another person's.", **LIKED, user="70aa"),
    ]
    parsed = parse(b"\n".join(json.dumps(line).encode() for line in lines), "messages.jsonl")
    assert [(row.kind, row.chosen or row.completion) for row in parsed.lessons] == [
        ("pair", "The Danube."), ("unpaired", "The Rhine."),
    ]  # fmt: skip
    assert {row.origin["rater_id"] for row in parsed.lessons} == {"import:librechat/65f1"}
    assert parsed.lessons[0].origin["place"] == "line 1"
    assert parsed.skipped == {"a message of its conversation is missing": 1}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"unfinished": True}, "the answer was cut short"),
        ({"finish_reason": "length"}, "the answer was cut short"),
        ({"error": True}, "an answer that failed"),
        ({"files": [{"file_id": "f"}]}, "a message has files"),
        ({"content": [{"type": "tool_call", "tool_call": {}}]}, "an answer that used tools"),
        ({"content": [{"type": "image_file"}]}, "the conversation has parts that are not text"),
        ({"feedback": {"rating": "perhaps"}}, "its rating is neither thumbsUp nor thumbsDown"),
        ({"parentMessageId": "2"}, "the messages of its chat follow each other in a circle"),
        ({"text": " "}, "the answer is empty"),
    ],
)
def test_librechat_answers_without_a_row_are_counted(fields: dict[str, Any], reason: str) -> None:
    answer = {**message("2", "1", "The Danube.", **LIKED), **fields}
    parsed = _parse(QUESTION, answer)
    assert (parsed.lessons, parsed.skipped) == ([], {reason: 1})
