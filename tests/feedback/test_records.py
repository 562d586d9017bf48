"""Files as people have them: every record becomes the row it holds, or a counted reason why not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from feedback.formats import parse
from feedback.rows import Lesson

ASKED = "Which river runs through Vienna?"
USER = {"role": "user", "content": ASKED}
RIGHT = {"role": "assistant", "content": "The Danube."}
WRONG = {"role": "assistant", "content": "The Rhine."}


def rows_of(*records: Any) -> list[Lesson]:
    """The rows of records that must all be usable."""
    parsed = parse(json.dumps(list(records)).encode(), "rows.json")
    assert parsed.skipped == {}
    return parsed.lessons


def parts(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


def test_content_in_parts_is_their_text() -> None:
    question = {"messages": [{**USER, "content": parts("Which river", "is it?")}, RIGHT]}
    answer = {"messages": [USER, {"role": "assistant", "content": parts("The Danube.")}]}
    first, second = rows_of(question, answer)
    assert first.prompt == [{"role": "user", "content": "Which river\nis it?"}]
    assert (second.prompt, second.completion) == ([USER], "The Danube.")


def test_developer_is_the_system_role() -> None:
    (row,) = rows_of({"messages": [{"role": "developer", "content": "Be short."}, USER, RIGHT]})
    assert row.prompt == [{"role": "system", "content": "Be short."}, USER]


PAIRS: dict[str, dict[str, Any]] = {
    "texts": {"prompt": ASKED, "chosen": "The Danube.", "rejected": "The Rhine."},
    "a text prompt and single messages": {"prompt": ASKED, "chosen": [RIGHT], "rejected": [WRONG]},
    "whole conversations, their prompt and a column of messages": {
        "prompt": ASKED, "prompt_id": "7", "messages": [USER, RIGHT], "score_chosen": 9.5,
        "chosen": [USER, RIGHT], "rejected": [USER, WRONG],
    },
    "whole conversations beside the same messages": {
        "prompt": [USER], "chosen": [USER, RIGHT], "rejected": [USER, WRONG],
    },
    "columns of nothing": {
        "prompt": None, "messages": None, "label": None, "tools": None,
        "chosen": [USER, RIGHT], "rejected": [USER, WRONG],
    },
    "OpenAI's": {
        "input": {"messages": [USER], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [RIGHT], "non_preferred_output": [WRONG],
    },
    "transcripts": {
        "chosen": f"\n\nHuman: {ASKED}\n\nAssistant: The Danube.",
        "rejected": f"\n\nHuman: {ASKED}\n\nAssistant: The Rhine.",
    },
    "LLaMA-Factory's columns": {
        "instruction": ASKED, "input": "", "chosen": "The Danube.", "rejected": "The Rhine.",
    },
}  # fmt: skip


@pytest.mark.parametrize("record", PAIRS.values(), ids=list(PAIRS))
def test_pairs_stay_pairs(record: dict[str, Any]) -> None:
    (row,) = rows_of(record)
    assert (row.kind, row.prompt) == ("pair", [USER])
    assert (row.chosen, row.rejected) == ("The Danube.", "The Rhine.")


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": ASKED, "completion": "The Danube."},
        {"prompt": ASKED, "messages": [USER, RIGHT]},
        {"instruction": "Which river runs", "input": "through Vienna?", "output": "The Danube."},
        {"conversations": [{"from": "human", "value": ASKED},
                           {"from": "gpt", "value": "The Danube."}]},
    ],
)  # fmt: skip
def test_answers_to_learn(record: dict[str, Any]) -> None:
    (row,) = rows_of(record)
    assert (row.kind, row.completion) == ("sft", "The Danube.")
    assert row.prompt[0]["content"].split() == ASKED.split()


def open_webui(rating: Any = 1, message_id: str = "b", **history: Any) -> dict[str, Any]:
    messages = {
        "a": {"id": "a", "parentId": None, "role": "user", "content": ASKED},
        "b": {"id": "b", "parentId": "a", "role": "assistant", "content": "The Danube."},
        "other": {"id": "other", "parentId": "a", "role": "assistant", "content": "The Rhine."},
        "c": {"id": "c", "parentId": "b", "role": "user", "content": "And through Bonn?"},
        "d": {"id": "d", "parentId": "c", "role": "assistant", "content": "The Rhine."},
        **history,
    }
    return {
        "id": "f", "user_id": "u", "type": "rating", "created_at": 1,
        "data": {"rating": rating, "model_id": "pawl", "tags": []},
        "meta": {"message_id": message_id, "chat_id": "x"},
        "snapshot": {"chat": {"title": "t", "chat": {"history": {"messages": messages,
                                                                 "currentId": "d"}}}},
    }  # fmt: skip


def test_ratings_of_open_webui_are_of_the_rated_message() -> None:
    liked, disliked = rows_of(open_webui(1), open_webui(-1, "d"))
    assert (liked.kind, liked.prompt, liked.completion, liked.label) == (
        "unpaired", [USER], "The Danube.", True,
    )  # fmt: skip
    assert [message["content"] for message in disliked.prompt] == [
        ASKED, "The Danube.", "And through Bonn?",
    ]  # fmt: skip
    assert (disliked.completion, disliked.label) == ("The Rhine.", False)


CALL = {"role": "assistant", "content": "Let me look.", "tool_calls": [{"id": "1"}]}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": [{**USER, "content": [{"type": "image_url"}]}, RIGHT]},
         "messages has parts that are not text"),
        ({"messages": [{**USER, "content": [{"type": "text"}]}, RIGHT]},
         "messages has parts that are not text"),
        ({"messages": [USER, CALL]}, "a message calls tools"),
        ({"messages": [USER, CALL, {"role": "tool", "content": "x"}, RIGHT]},
         "a message calls tools"),
        ({"messages": [USER, {"role": "tool", "content": "x"}, USER, RIGHT]},
         "a message has another role than system, user, assistant"),
        ({"messages": [USER, RIGHT], "tools": [{"type": "function"}]}, "a record with tools"),
        ({"input": {"messages": [USER], "tools": [{}]}, "preferred_output": [RIGHT],
          "non_preferred_output": [WRONG]}, "a record with tools"),
        ({"input": "x", "preferred_output": [RIGHT], "non_preferred_output": [WRONG]},
         "input is not an object"),
        ({"messages": [USER, {**RIGHT, "weight": 0}]},
         "its answer has weight 0, so it is not to be learned"),
        ({"chosen": "The Danube.", "rejected": "The Rhine."},
         "chosen is a text without its prompt"),
        ({"chosen": [RIGHT], "rejected": [WRONG]}, "chosen and rejected come without a prompt"),
        ({"prompt": "Of what?", "chosen": [USER, RIGHT], "rejected": [USER, WRONG]},
         "chosen is a conversation that does not hold the prompt"),
        (open_webui(0), "its rating is neither 1 nor -1"),
        (open_webui(True), "its rating is neither 1 nor -1"),
        (open_webui(1, "nowhere"), "no rated message in its snapshot of the chat"),
        (open_webui(1, "a"), "the last message is not one message of the assistant"),
        (open_webui(1, "b", a={"parentId": "b", "role": "user", "content": "a circle"}),
         "the messages of its chat follow each other in a circle"),
        ({"question": "a"}, "of no known format"),
    ],
)  # fmt: skip
def test_what_is_no_row_is_counted(record: dict[str, Any], reason: str) -> None:
    good = {"messages": [USER, RIGHT]}
    parsed = parse(json.dumps([good, record]).encode(), "rows.json")
    assert parsed.skipped == {reason: 1}
    assert parsed.problems[0].startswith(f"record 2: {reason}")
    assert [row.completion for row in parsed.lessons] == ["The Danube."]


def test_a_file_may_hold_several_formats() -> None:
    records = [PAIRS["texts"], {"messages": [USER, RIGHT]}, {"question": 1}, open_webui(1)]
    parsed = parse("\n".join(map(json.dumps, records)).encode(), "mixed.jsonl")
    assert parsed.file_format == "open-webui+preference+sft"
    assert [row.kind for row in parsed.lessons] == ["pair", "sft", "unpaired"]
    assert parsed.lessons[1].origin["source"] == "import:sft"
    assert parsed.skipped == {"of no known format": 1}
