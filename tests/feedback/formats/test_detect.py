"""A record that fits two formats is read as the richest one, or the import stops and says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from feedback.formats import parse
from pawl.errors import PawlError
from tests.feedback.formats.test_records import WHOLE_CALL

ASKED = "Which river runs through Vienna?"
USER = {"role": "user", "content": ASKED}
RIGHT = {"role": "assistant", "content": "The Danube."}
WRONG = {"role": "assistant", "content": "The Rhine."}
PAIR = {"prompt": ASKED, "chosen": "The Danube.", "rejected": "The Rhine."}


@pytest.mark.parametrize(
    ("record", "kind", "file_format"),
    [
        ({**PAIR, "messages": [USER, RIGHT]}, "pair", "preference"),
        ({**PAIR, "completion": "The Danube."}, "pair", "preference"),
        ({"messages": [USER, WRONG], "label": False}, "unpaired", "sharegpt-kto"),
        ({"messages": [USER, RIGHT], "thumb": "up"}, "unpaired", "sharegpt-kto"),
        ({"prompt": ASKED, "completion": "The Rhine.", "rating": "thumbs_down"}, "unpaired",
         "unpaired"),
        ({"instruction": ASKED, "output": "The Rhine.", "kto_tag": False}, "unpaired", "unpaired"),
        ({"instruction": ASKED, "output": "The Danube.", "messages": [USER, RIGHT]}, "sft", "sft"),
        ({"instruction": ASKED, "output": "The Danube.", "completions": [
            {"response": "The Danube.", "score": 2}, {"response": "The Rhine.", "score": 1}]},
         "pair", "ranked"),
    ],
)  # fmt: skip
def test_the_richest_reading_is_taken(record: dict[str, Any], kind: str, file_format: str) -> None:
    parsed = parse(json.dumps(record).encode(), "rows.jsonl")
    assert (parsed.file_format, parsed.skipped) == (file_format, {})
    assert [row.kind for row in parsed.lessons] == [kind]


@pytest.mark.parametrize(
    ("record", "formats"),
    [
        ({**PAIR, "messages": [USER, WRONG]}, ("preference", "sft")),
        ({**PAIR, "completion": "The Elbe."}, ("preference", "sft")),
        ({"prompt": ASKED, "completion": "The Rhine.", "rating": 1}, ("sft", "unpaired")),
        ({"messages": [USER, RIGHT], "score": 4.5}, ("sft", "sharegpt-kto")),
        ({"instruction": "Name a river.", "output": "The Danube.", "prompt": ASKED,
          "completion": "The Danube."}, ("sft", "alpaca")),
        ({"instruction": ASKED, "chosen": "The Danube.", "rejected": "The Rhine.",
          "prompt": "Another question?"}, ("preference", "alpaca")),
    ],
)  # fmt: skip
def test_two_readings_that_differ_stop_the_import(
    record: dict[str, Any], formats: tuple[str, str]
) -> None:
    raw = b"\n".join(json.dumps(row).encode() for row in ({"messages": [USER, RIGHT]}, record))
    with pytest.raises(PawlError) as raised:
        parse(raw, "rows.jsonl")
    assert raised.value.code == "ambiguous_format"
    assert "line 2" in str(raised.value)
    assert all(name in str(raised.value) for name in (*formats, "--format"))


@pytest.mark.parametrize(
    "before",
    [
        [WHOLE_CALL, {"role": "tool", "content": "x", "tool_call_id": "1"}],
        [{**WRONG, "weight": 0}, USER],
        [{**WRONG, "content": " "}, USER],
    ],
)
def test_an_earlier_answer_that_is_not_learned_hides_no_unclear_column(before: list[Any]) -> None:
    messages = [USER, *before, RIGHT]
    with pytest.raises(PawlError) as raised:
        parse(json.dumps({"messages": messages, "score": 0.93}).encode(), "rows.jsonl")
    assert raised.value.code == "ambiguous_format"
    for more in ({"thumb": "up"}, {"rejected_response": "The Rhine."}):
        (row,) = parse(json.dumps({"messages": messages, **more}).encode(), "rows.jsonl").lessons
        assert (len(row.prompt), row.completion or row.chosen) == (len(before) + 1, "The Danube.")


def test_a_named_format_is_taken() -> None:
    record = {"messages": [USER, RIGHT], "score": 4.5}
    (row,) = parse(json.dumps(record).encode(), "rows.jsonl", "sft").lessons
    assert (row.kind, row.completion) == ("sft", "The Danube.")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({**PAIR, "rejected": [{"role": "assistant", "content": [{"type": "image_url"}]}],
          "messages": [USER, RIGHT]}, "rejected has parts that are not text"),
        ({"messages": [USER, WRONG], "label": "perhaps"}, "the label is not true or false"),
        ({"messages": [USER, WRONG], "label": True, "thumb": "down"},
         "its columns disagree about whether the answer is good"),
        ({**PAIR, "rejected": "The Danube.", "messages": [USER, RIGHT]},
         "both answers are the same"),
    ],
)  # fmt: skip
def test_a_richer_reading_that_fails_is_no_poorer_row(record: dict[str, Any], reason: str) -> None:
    parsed = parse(json.dumps(record).encode(), "rows.jsonl")
    assert (parsed.lessons, parsed.skipped) == ([], {reason: 1})
