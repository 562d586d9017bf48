"""What programs that watch models write down: OpenAI's logs and batches, Langfuse's scores.

These records belong together across lines, so a file's are read at once. Several files are one
file's lines after the other's: ``cat requests.jsonl output.jsonl | pawl import /dev/stdin``.
Two batches that number their requests alike go into two files: in one nobody can tell which request
an answer is to, and none of them is learned.

OpenAI: pairs ``{"request": {...}, "response": {...}}``; a request with the choices of its response
beside it; the input and the output of a batch, joined by ``custom_id``; stored chat completions
(``GET /v1/chat/completions``) with their messages (``.../ID/messages``), joined by the id. Chat
completions and responses. What nobody rated is an answer to learn.

Langfuse: scores with the traces or observations that they are of, as the API answers, as the
page exports them, or as the blob storage has them (``trace_id`` for ``traceId``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from feedback.formats.chats import Placed
from feedback.formats.records import (
    Messages,
    Record,
    Unusable,
    answer_of,
    message_of,
    messages_of,
    opinion,
    pair,
    sft,
    thumb_of,
    tools_of,
    unpaired,
    with_system,
)
from feedback.rows import Lesson, silence

_STORED_MESSAGE = re.compile(r"(.+)-(\d{1,6})")  # the completion's id, and the message's number
# Names of scores by which people say whether an answer is good. Others may mean the contrary
# ("hallucination"), so they count only where ``--map label=NAME`` names them.
_THUMB_NAMES = ("userfeedback", "feedback", "thumb", "thumbs", "userrating", "userthumb", "like",
                "rating")  # fmt: skip


def _get(record: Record, name: str) -> Any:
    """A field by its name in the API, or by the one in Langfuse's blob storage."""
    value = record.get(name)
    if value is None:
        value = record.get(re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name))
    return value


def _id(record: Record, name: str) -> str:
    value = _get(record, name)
    return value if isinstance(value, str) else ""


# ---- OpenAI ----


def join_openai(records: list[Placed]) -> Iterator[tuple[str, Lesson | str]]:
    """Requests with their responses, wherever in the file each of them stands."""
    requests: dict[str, Record | None] = {}
    stored: dict[str, dict[int, Record]] = {}
    for _, record in records:
        if (request := _batch_request(record)) is not None:
            if requests.setdefault(record["custom_id"], request) != request:
                requests[record["custom_id"]] = None
        elif (key := stored_message_key(record)) is not None:
            stored.setdefault(key[0], {})[key[1]] = record
    for place, record in records:
        if _batch_request(record) is not None or stored_message_key(record) is not None:
            continue  # a part of another record
        try:
            request, response = _exchange(record, requests, stored)
            for lesson in _learned(request, response):
                yield place, lesson
        except Unusable as err:
            yield place, str(err)


def _batch_request(record: Record) -> Record | None:
    body = record.get("body")
    return body if isinstance(body, dict) and isinstance(record.get("custom_id"), str) else None


def stored_message_key(record: Record) -> tuple[str, int] | None:
    """The id of a stored completion, and which of its messages the record is."""
    found = _STORED_MESSAGE.fullmatch(record["id"]) if isinstance(record.get("id"), str) else None
    is_message = found and isinstance(record.get("role"), str) and "content" in record
    return (found[1], int(found[2])) if found and is_message else None


def _exchange(
    record: Record, requests: dict[str, Record | None], stored: dict[str, dict[int, Record]]
) -> tuple[Record, Record]:
    """The request and the response of a record.

    Args:
        requests: of batches, by ``custom_id``; None where several differ under one.
        stored: of each stored completion the messages, by their numbers.
    """
    request, response = record.get("request"), record.get("response")
    if record.get("error"):
        raise Unusable("a request that failed")
    if "custom_id" in record:
        custom_id = _id(record, "custom_id")
        request = requests.get(custom_id)
        if request is None:
            raise Unusable(
                "a batch's answer under an id of two different requests"
                if custom_id in requests
                else "a batch's answer without its request"
            )
    elif response is None:
        request, response = record, record
        if not any(record.get(name) for name in ("messages", "input")):
            kept = stored.get(_id(record, "id"), {})
            if sorted(kept) != list(range(len(kept) or 1)):
                raise Unusable("a stored completion without its messages, or some of them")
            request = {**record, "messages": [kept[number] for number in sorted(kept)]}
    request, response = (
        part["body"] if isinstance(part, dict) and isinstance(part.get("body"), dict) else part
        for part in (request, _succeeded(response))
    )
    if not isinstance(request, dict) or not isinstance(response, dict):
        raise Unusable("a request without its response")
    return request, response


def _succeeded(response: Any) -> Any:
    status = response.get("status_code", 200) if isinstance(response, dict) else 200
    if status != 200 or (isinstance(response, dict) and response.get("error")):
        raise Unusable("a request that failed")
    return response


def _learned(request: Record, response: Record) -> Iterator[Lesson | str]:
    prompt, tools = _prompt(request), tools_of(request)
    choices = response.get("choices")
    if not isinstance(choices, list):
        yield replace(sft(prompt, _response_text(response)), tools=tools)
        return
    for choice in choices:
        if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
            yield "a choice without a message"
            continue
        if choice.get("finish_reason") in ("length", "content_filter"):
            yield "the answer was cut short"
            continue
        try:
            answer = answer_of({"role": "assistant", **choice["message"]}, "the answer")
        except Unusable as err:
            yield str(err)
            continue
        yield replace(sft(prompt, answer), tools=tools)


def _prompt(request: Record) -> Messages:
    if request.get("messages") is not None:
        return messages_of(request["messages"], "messages")
    messages: Messages = []
    value = request.get("input")
    for item in value if isinstance(value, list) else [{"role": "user", "content": value}]:
        if not isinstance(item, dict) or item.get("type", "message") != "message":
            raise Unusable("its input has items that are no messages")
        messages.append(message_of(item, "input"))
    return with_system(messages, request.get("instructions"))


def _response_text(response: Record) -> str | None:
    """The text of a response of the Responses API."""
    if response.get("status", "completed") != "completed":
        raise Unusable("the answer was cut short")
    output = response.get("output")
    items = [
        item
        for item in (output if isinstance(output, list) else [])
        if not isinstance(item, dict) or item.get("type") != "reasoning"
    ]
    if not items or not all(isinstance(item, dict) for item in items):
        raise Unusable("a response without an answer")
    if any(item.get("type", "message") != "message" for item in items):
        raise Unusable("an answer that used tools")
    return answer_of([{"role": "assistant", **item} for item in items], "the answer")


# ---- Langfuse ----


def is_score(record: Record) -> bool:
    return _get(record, "dataType") is not None and isinstance(record.get("name"), str)


def join_langfuse(
    records: list[Placed], mapping: Mapping[str, str] | None = None
) -> Iterator[tuple[str, Lesson | str]]:
    """Scores as thumbs and corrections of the answers that they are of.

    Args:
        mapping: ``label`` names a score by which people say whether an answer is good.
    """
    answers: dict[str, Record] = {}
    of_trace: dict[str, list[Record]] = {}
    scores: list[Placed] = []
    for place, record in records:
        if is_score(record):
            scores.append((place, record))
            continue
        answers[_id(record, "id")] = record
        of_trace.setdefault(_id(record, "traceId"), []).append(record)
        inside = record.get("scores")
        for score in inside if isinstance(inside, list) else []:
            if isinstance(score, dict):
                trace_id = _id(score, "traceId") or _id(record, "id")
                scores.append((place, {**score, "traceId": trace_id}))
        within = record.get("observations")
        for observation in within if isinstance(within, list) else []:
            if isinstance(observation, dict):
                answers[_id(observation, "id")] = observation
                of_trace.setdefault(_id(record, "id"), []).append(observation)
    wanted = (mapping or {}).get("label")
    values = _values_by_name(score for _, score in scores)
    scored: set[int] = set()
    for place, score in scores:
        try:
            answer = _scored(score, answers, of_trace)
            scored.add(id(answer))
            for lesson in _opinions(score, answer, answers, values, wanted):
                yield place, lesson
        except Unusable as err:
            yield place, str(err)
    for place, record in records:
        is_answer = not is_score(record) and record.get("output") not in (None, "")
        if is_answer and id(record) not in scored:
            yield place, "an answer without a score of its own"


def _values_by_name(scores: Iterable[Record]) -> dict[str, set[Any]]:
    values: dict[str, set[Any]] = {}
    for score in scores:
        if isinstance(score.get("value"), int | float | str):
            values.setdefault(_id(score, "name"), set()).add(score["value"])
    return values


def _scored(score: Record, answers: dict[str, Record], of_trace: dict[str, list[Record]]) -> Record:
    """The observation or the trace that a score is of. A trace that isn't in the file, or holds
    no text itself, is its only generation, or else its outermost observation."""
    observation_id, trace_id = _id(score, "observationId"), _id(score, "traceId")
    wanted = observation_id or trace_id
    answer = answers.get(wanted) if wanted else None
    if answer is not None and all(answer.get(name) for name in ("input", "output")):
        return answer
    within = of_trace.get(trace_id, []) if trace_id and not observation_id else []
    generations = [found for found in within if found.get("type") == "GENERATION"]
    outermost = [found for found in within if not _get(found, "parentObservationId")]
    for found in (generations, outermost):
        if len(found) == 1:
            return found[0]
    raise Unusable("a score whose trace or observation is not in the file")


def _opinions(
    score: Record,
    answer: Record,
    answers: dict[str, Record],
    values: dict[str, set[Any]],
    wanted: str | None,
) -> Iterator[Lesson | str]:
    if score.get("source") == "EVAL":
        raise Unusable("a score by an evaluator, not by a person")
    kind = _get(score, "dataType")
    if kind == "TEXT":
        raise Unusable("a score that is a text")
    prompt = _langfuse_prompt(_decoded(answer.get("input")))
    text = _langfuse_answer(_decoded(answer.get("output")))
    trace = answers.get(_id(answer, "traceId"), answer)
    rater = _get(score, "authorUserId") or _get(answer, "userId") or _get(trace, "userId")
    origin = opinion(
        "langfuse", rater, _id(score, "id"), _get(score, "updatedAt"),
        reason=score.get("name"), comment=score.get("comment"),
    )  # fmt: skip
    if kind == "CORRECTION":
        corrected = _langfuse_answer(_decoded(_string(score)))
        yield replace(sft(prompt, corrected), origin=origin)
        yield replace(pair(prompt, corrected, text), origin=origin)
        return
    label = _label(score, values, wanted)
    if label is None:
        yield silence(origin)
        yield "a score that is neither up nor down"
        return
    yield replace(unpaired(prompt, text, label), origin=origin)


def _string(score: Record) -> Any:
    found = (_get(score, name) for name in ("longStringValue", "stringValue", "value"))
    return next((value for value in found if isinstance(value, str) and value), None)


def _label(score: Record, values: dict[str, set[Any]], wanted: str | None) -> bool | None:
    """Whether a score is a thumb up; None for neither up nor down.

    Raises:
        Unusable: nothing says that this score is a thumb, or its scale can't be told.
    """
    name = _id(score, "name")
    if wanted is None and re.sub(r"[\s_-]", "", name.lower()) not in _THUMB_NAMES:
        raise Unusable("a score that may mean anything; name it with --map label=NAME")
    if wanted is not None and name != wanted:
        raise Unusable("a score by another name than the one that --map names")
    if _get(score, "dataType") == "CATEGORICAL":
        label = thumb_of(_string(score))
    else:
        label = thumb_of(score.get("value"), signs=True)
        seen = values.get(name, set())
        is_scale = not seen <= {0, 1} and not seen <= {-1, 1}
        if is_scale or (seen == {1} and wanted is None and _get(score, "dataType") != "BOOLEAN"):
            raise Unusable("a score on a scale, not a thumb")
    return label


def _decoded(value: Any) -> Any:
    """The exports hold what is not a text as JSON."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{", '"'):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _langfuse_prompt(value: Any) -> Messages:
    if isinstance(value, dict):
        if value.get("messages") is not None:
            return messages_of(value["messages"], "its input")
        if "role" not in value:
            raise Unusable("its input is not a chat")
        value = [value]
    return messages_of(value, "its input")


def _langfuse_answer(value: Any) -> str | None:
    """A text, a message, the last of some messages, or the only choice of a completion."""
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        choices = value["choices"]
        if len(choices) != 1 or not isinstance(choices[0], dict):
            raise Unusable("its output has several choices")
        value = choices[0].get("message")
    if isinstance(value, dict):
        if "content" not in value:
            raise Unusable("its output is not a chat")
        return answer_of({"role": "assistant", **value}, "its output")
    return answer_of(value[-1:] if isinstance(value, list) else value, "its output")
