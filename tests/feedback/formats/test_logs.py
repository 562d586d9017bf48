"""OpenAI's logs and Langfuse's scores: records that belong together across a file's lines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from feedback.formats import Parsed, parse

ASKED = "Which river runs through Vienna?"
USER = {"role": "user", "content": ASKED}
RIGHT = {"role": "assistant", "content": "The Danube."}


def _parse(*lines: Any, mapping: dict[str, str] | None = None) -> Parsed:
    named = "langfuse" if mapping else "auto"
    raw = "\n".join(map(json.dumps, lines)).encode()
    return parse(raw, "log.jsonl", named, mapping)


def completion(*answers: Any, finish_reason: str = "stop") -> dict[str, Any]:
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "model": "x",
        "choices": [{"index": n, "message": answer, "finish_reason": finish_reason}
                    for n, answer in enumerate(answers)],
    }  # fmt: skip


RESPONSE = {
    "id": "resp_1", "object": "response", "status": "completed", "output": [
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant",
         "content": [{"type": "output_text", "text": "The Danube.", "annotations": []}]},
    ],
}  # fmt: skip
REQUEST = {"model": "x", "messages": [USER], "temperature": 0}
OUTPUT = {"id": "r", "custom_id": "1", "error": None,
          "response": {"status_code": 200, "body": completion(RIGHT)}}  # fmt: skip
LOGS: dict[str, list[dict[str, Any]]] = {
    "a request and its response": [{"request": REQUEST, "response": completion(RIGHT)}],
    "with bodies": [{"request": {"body": REQUEST}, "response": OUTPUT["response"]}],
    "a request with its choices": [{**REQUEST, **completion(RIGHT)}],
    "a batch, the answer first": [
        OUTPUT, {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
                 "body": REQUEST}],
    "stored completions": [
        {"object": "list", "data": [completion(RIGHT)], "has_more": False},
        {"object": "list", "data": [{"id": "chatcmpl-1-0", **USER, "name": None}]}],
    "the responses API": [{"request": {"input": ASKED}, "response": RESPONSE}],
    "a stored response": [{**RESPONSE, "input": [{"type": "message", "role": "user", "content": [
        {"type": "input_text", "text": ASKED}]}]}],
}  # fmt: skip


@pytest.mark.parametrize("lines", LOGS.values(), ids=list(LOGS))
def test_an_openai_log_gives_answers_to_learn(lines: list[dict[str, Any]]) -> None:
    parsed = _parse(*lines)
    assert (parsed.file_format, parsed.skipped) == ("openai-log", {})
    assert [(row.kind, row.prompt, row.completion) for row in parsed.lessons] == [
        ("sft", [USER], "The Danube.")
    ]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([OUTPUT], "a batch's answer without its request"),
        ([completion(RIGHT), {"id": "chatcmpl-1-0", **USER}, {"id": "chatcmpl-1-2", **USER}],
         "a stored completion without its messages, or some of them"),
        ([completion(RIGHT)], "a stored completion without its messages, or some of them"),
        ([{"request": REQUEST, "response": completion(RIGHT, finish_reason="length")}],
         "the answer was cut short"),
        ([{"request": REQUEST, "response": {"status_code": 500, "body": {}}}],
         "a request that failed"),
        ([{"request": REQUEST, "response": {"error": {"message": "no"}}}],
         "a request that failed"),
        ([{**OUTPUT, "response": None, "error": {"message": "no"}}], "a request that failed"),
        ([{"request": REQUEST, "response": completion({"content": None, "tool_calls": [
            {"id": "c", "function": {"name": "f", "arguments": "{}"}}]})}],
         "the answer calls a tool, and only texts are learned"),
        ([{"request": {"input": [{"type": "function_call_output"}]}, "response": RESPONSE}],
         "its input has items that are no messages"),
    ],
)  # fmt: skip
def test_log_entries_without_a_row_are_counted(lines: list[Any], reason: str) -> None:
    parsed = _parse(*lines)
    assert (parsed.lessons, parsed.skipped) == ([], {reason: 1})


def test_every_choice_is_a_row() -> None:
    other = {"role": "assistant", "content": "The Danube does."}
    rows = _parse({"request": REQUEST, "response": completion(RIGHT, other)}).lessons
    assert [row.completion for row in rows] == ["The Danube.", "The Danube does."]


def test_an_id_of_two_requests_answers_neither() -> None:
    """Two batches in one file, both numbered from 1: an answer would stand under the question of
    the other batch."""

    def request(custom_id: str, text: str) -> dict[str, Any]:
        body = {**REQUEST, "messages": [{"role": "user", "content": text}]}
        return {"custom_id": custom_id, "body": body}

    def answer(custom_id: str, text: str) -> dict[str, Any]:
        body = completion({"role": "assistant", "content": text})
        return {"custom_id": custom_id, "response": {"status_code": 200, "body": body}}

    first = [request("1", "First?"), answer("1", "One."), request("2", "Same?"), answer("2", "A.")]
    second = [request("1", "Second?"), answer("1", "Two."), request("2", "Same?")]
    parsed = _parse(*first, *second)
    assert [(row.prompt[0]["content"], row.completion) for row in parsed.lessons] == [
        ("Same?", "A.")
    ]
    assert parsed.skipped == {"a batch's answer under an id of two different requests": 2}


def test_a_message_of_a_stored_completion_counts_once() -> None:
    message = {"id": "chatcmpl-1-0", **USER}
    (row,) = _parse(completion(RIGHT), message, message).lessons
    assert row.prompt == [USER]


TRACE = {"id": "t", "timestamp": "2026-01-01", "projectId": "p", "userId": "end-user",
         "input": [USER], "output": RIGHT, "scores": []}  # fmt: skip


def score(value: Any = 1, **fields: Any) -> dict[str, Any]:
    return {"id": "s", "traceId": "t", "name": "user-feedback", "value": value,
            "dataType": "BOOLEAN", "source": "API", **fields}  # fmt: skip


def test_langfuse_scores_are_thumbs_of_the_answers() -> None:
    liked = score(1, comment="Yes.")
    annotated = score(0, source="ANNOTATION", authorUserId="reviewer", id="s2")
    first, second = _parse(liked, TRACE, annotated).lessons
    assert (first.kind, first.prompt, first.completion, first.label) == (
        "unpaired", [USER], "The Danube.", True,
    )  # fmt: skip
    assert (first.origin["rater_id"], first.origin["comment"]) == (
        "import:langfuse/end-user", "Yes.",
    )  # fmt: skip
    assert (second.label, second.origin["rater_id"]) == (False, "import:langfuse/reviewer")


@pytest.mark.parametrize(
    "records",
    [
        # blob storage: texts hold JSON, and only observations are there
        [{"id": "o", "trace_id": "t", "type": "GENERATION", "parent_observation_id": "r",
          "input": json.dumps([USER]), "output": json.dumps(RIGHT), "user_id": "u"},
         {"id": "r", "trace_id": "t", "type": "SPAN", "parent_observation_id": "", "input": "x",
          "output": "y"},
         {"id": "s", "trace_id": "t", "observation_id": None, "name": "user-feedback", "value": 1,
          "data_type": "BOOLEAN", "source": "API", "project_id": "p"}],
        # a score of the observation itself
        [{**TRACE, "output": "Another.", "userId": "u"},
         {"id": "o", "traceId": "t", "type": "GENERATION", "input": {"messages": [USER]},
          "output": "The Danube."},
         score(True, observationId="o")],
        # a trace with everything inside
        [{**TRACE, "userId": "u", "input": ASKED, "output": completion(RIGHT),
          "scores": [score("good", dataType="CATEGORICAL", traceId=None, stringValue="good")]}],
    ],
    ids=["blob storage", "observation", "trace with details"],
)  # fmt: skip
def test_langfuse_exports_of_each_kind(records: list[dict[str, Any]]) -> None:
    parsed = _parse(*records)
    assert parsed.file_format == "langfuse"
    (row,) = parsed.lessons
    assert (row.prompt, row.completion, row.label) == ([USER], "The Danube.", True)
    assert row.origin["rater_id"] == "import:langfuse/u"
    assert set(parsed.skipped) <= {"an answer without a score of its own"}


def test_a_langfuse_correction_is_an_answer_to_learn_and_a_pair() -> None:
    corrected = score(0, dataType="CORRECTION", stringValue="The Danube does.", name="output")
    sft, pair = _parse(TRACE, corrected).lessons
    assert (sft.kind, sft.completion) == ("sft", "The Danube does.")
    assert (pair.kind, pair.chosen, pair.rejected) == ("pair", "The Danube does.", "The Danube.")


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([score(source="EVAL")], "a score by an evaluator, not by a person"),
        ([score(dataType="TEXT", stringValue="so so")], "a score that is a text"),
        ([score(name="hallucination")],
         "a score that may mean anything; name it with --map label=NAME"),
        ([score(dataType="NUMERIC")], "a score on a scale, not a thumb"),
        ([score(4, dataType="NUMERIC"), score(1, dataType="NUMERIC")],
         "a score on a scale, not a thumb"),
        ([score(dataType="CATEGORICAL", stringValue="so so")],
         "a score that is neither up nor down"),
        ([score(traceId="elsewhere")],
         "a score whose trace or observation is not in the file"),
    ],
)  # fmt: skip
def test_langfuse_scores_that_are_no_thumbs_are_counted(scores: list[Any], reason: str) -> None:
    parsed = _parse(TRACE, *scores)
    assert parsed.lessons == []
    assert parsed.skipped[reason] == len(scores)


def test_a_langfuse_score_may_be_named() -> None:
    scores = [score(1, name="worked", dataType="NUMERIC"), score(0, name="hallucination")]
    parsed = _parse(TRACE, *scores, mapping={"label": "worked"})
    assert [row.label for row in parsed.lessons] == [True]
    assert parsed.skipped == {"a score by another name than the one that --map names": 1}
    thumbs = [score(value, dataType="NUMERIC", id=f"s{value}") for value in (1, -1)]
    assert [row.label for row in _parse(TRACE, *thumbs).lessons] == [True, False]
