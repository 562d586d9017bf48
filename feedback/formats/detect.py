"""Which format a record is of. One that fits several is read as the richest where that is proven.

Proven is: the richest reading holds every other one, its prompt and its answers (a pair beside the
same conversation as messages). A reading that may say as much and turns out unusable is a counted
rejection, not the other row. Where two readings contradict each other the import stops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from feedback.formats import chats, datasets, logs
from feedback.formats.chats import Placed
from feedback.formats.datasets import LABELS, REJECTED
from feedback.formats.records import Ambiguous, Record, Unusable, is_transcript
from feedback.rows import Lesson, problem_of

Keys = frozenset[str]
Read = Callable[[Record], Iterator[Lesson | str]]
Joined = Iterator[tuple[str, Lesson | str]]

# How much a reading says, at most: an answer to learn; whether one is good; which is better.
ANSWER, LABEL, PAIR = 1, 2, 3

_OBSERVATIONS = ("GENERATION", "SPAN", "EVENT", "AGENT", "TOOL", "CHAIN", "RETRIEVER", "EVALUATOR",
                 "EMBEDDING", "GUARDRAIL")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Format:
    """``fits`` gets a record and its keys whose values are not null. Of ``read`` and ``join`` one
    is there: a record alone makes lessons, or all records of a file together (with ``--map``)."""

    says: int
    fits: Callable[[Record, Keys], bool]
    read: Read | None = None
    join: Callable[[list[Placed], Mapping[str, str]], Joined] | None = None


def _has(*needed: str) -> Callable[[Record, Keys], bool]:
    return lambda record, keys: keys.issuperset(needed)


def _is_oasst(record: Record, keys: Keys) -> bool:
    prompt = record.get("prompt")
    return isinstance(prompt, dict) and "replies" in prompt


def _is_open_webui(record: Record, keys: Keys) -> bool:
    return "data" in keys and ("snapshot" in keys or (
        record.get("type") == "rating" and "meta" in keys))  # fmt: skip


def _is_librechat(record: Record, keys: Keys) -> bool:
    return chats.is_librechat_message(record) or chats.is_librechat_conversation(record)


def _is_openai(record: Record, keys: Keys) -> bool:
    if "custom_id" in keys:
        return "body" in keys or "response" in keys or "error" in keys
    if {"request", "response"} <= keys:
        return isinstance(record["request"], dict)
    answers = isinstance(record.get("choices"), list) or record.get("object") == "response"
    return answers or logs.stored_message_key(record) is not None


def _is_langfuse(record: Record, keys: Keys) -> bool:
    if logs.is_score(record):
        return bool(keys & {"traceId", "trace_id", "observationId", "observation_id", "sessionId",
                            "session_id", "configId", "projectId", "project_id"})  # fmt: skip
    if record.get("type") in _OBSERVATIONS:
        return "traceId" in keys or "trace_id" in keys
    is_trace = {"id", "timestamp"} <= keys and bool(keys & {"input", "output"})
    return is_trace and bool(
        {"projectId", "project_id", "htmlPath", "sessionId", "session_id", "userId", "user_id",
         "observations", "scores"} & record.keys()
    )  # fmt: skip


def _is_chat(record: Record, keys: Keys) -> bool:
    """``messages`` that are a conversation by themselves."""
    return "messages" in keys and "choices" not in keys and not _is_librechat(record, keys)


def _is_sft(record: Record, keys: Keys) -> bool:
    return (
        _is_chat(record, keys)
        or {"prompt", "completion"} <= keys
        or is_transcript(record.get("text"))
    )


def _is_sharegpt_kto(record: Record, keys: Keys) -> bool:
    chat = _is_chat(record, keys) or "conversations" in keys
    return chat and not keys.isdisjoint(LABELS)


def _is_unpaired(record: Record, keys: Keys) -> bool:
    answer = {"prompt", "completion"} <= keys or {"instruction", "output"} <= keys
    return answer and not keys.isdisjoint(LABELS)


def _is_preference(record: Record, keys: Keys) -> bool:
    if {"chosen", "rejected"} <= keys:
        return "prompt" in keys or keys.isdisjoint(("conversations", "instruction"))
    return _is_chat(record, keys) and "chosen" not in keys and not keys.isdisjoint(REJECTED)


def _is_alpaca(record: Record, keys: Keys) -> bool:
    return "instruction" in keys and ("output" in keys or {"chosen", "rejected"} <= keys)


def _is_ranked(record: Record, keys: Keys) -> bool:
    asks = not keys.isdisjoint(("prompt", "instruction", "question"))
    return asks and datasets.ranked_replies(record) is not None


FORMATS: dict[str, Format] = {
    "oasst": Format(PAIR, _is_oasst, datasets.read_oasst),
    "openai-preference": Format(
        PAIR, _has("preferred_output", "non_preferred_output"), datasets.read_openai_preference
    ),
    "sharegpt-dpo": Format(
        PAIR, _has("conversations", "chosen", "rejected"), datasets.read_sharegpt_dpo
    ),
    "preference": Format(PAIR, _is_preference, datasets.read_preference),
    "ranked": Format(PAIR, _is_ranked, datasets.read_ranked),
    "arena": Format(PAIR, _has("conversation_a", "conversation_b", "winner"), datasets.read_arena),
    "open-webui": Format(PAIR, _is_open_webui, chats.read_open_webui),
    "librechat": Format(
        PAIR, _is_librechat, join=lambda records, mapping: chats.join_librechat(records)
    ),
    "langfuse": Format(PAIR, _is_langfuse, join=logs.join_langfuse),
    "unpaired": Format(LABEL, _is_unpaired, datasets.read_unpaired),
    "sharegpt-kto": Format(LABEL, _is_sharegpt_kto, datasets.read_unpaired),
    "sft": Format(ANSWER, _is_sft, datasets.read_sft),
    "sharegpt": Format(ANSWER, _has("conversations"), datasets.read_sft),
    "alpaca": Format(ANSWER, _is_alpaca, datasets.read_alpaca),
    "openai-log": Format(
        ANSWER, _is_openai, join=lambda records, mapping: logs.join_openai(records)
    ),
}


def format_of(record: Record) -> str | None:
    """The name of a record's format; None for one that is not known.

    Raises:
        Ambiguous: it fits several, and none of the readings holds all the others.
    """
    keys = frozenset(key for key, value in record.items() if value is not None)
    fitting = [name for name, known in FORMATS.items() if known.fits(record, keys)]
    if len(fitting) < 2:
        return fitting[0] if fitting else None
    reads = [FORMATS[name].read for name in fitting]
    if reads == [datasets.read_unpaired, datasets.read_sft] and _has_thumb(record):
        return fitting[0]  # both read the same answer
    readings: dict[str, list[Lesson]] = {}
    failed: list[str] = []
    for name in fitting:
        lessons = _reading(FORMATS[name], record)
        if lessons:
            readings[name] = lessons
        else:
            failed.append(name)
    if any(FORMATS[name].join for name in failed):
        raise Ambiguous(fitting, "it has the keys of each")
    richest = next(
        (
            name
            for name, lessons in readings.items()
            if all(_holds(lessons, other) for other in readings.values())
        ),
        None,
    )
    if richest is None:
        if readings:
            raise Ambiguous(readings, "they read different prompts or answers")
        return max(failed, key=lambda name: FORMATS[name].says)
    richer = [name for name in failed if FORMATS[name].says >= FORMATS[richest].says]
    if not richer:
        return richest
    if FORMATS[richer[0]].says == LABEL and "label" not in keys:
        column = next(name for name in LABELS if name in keys)
        if not _has_thumb(record):
            raise Ambiguous(
                [richest, richer[0]], f"its column {column!r} may say whether the answer is good"
            )
    return richer[0]


def _has_thumb(record: Record) -> bool:
    """Whether a column says that the answer is good or bad; or several do, and disagree."""
    try:
        return datasets.label_of(record) is not None
    except Unusable:
        return True


def _reading(known: Format, record: Record) -> list[Lesson]:
    """The lessons of a record; none where a part of it can't be used. Of answers to learn the last
    one decides: no other reading says anything of those before it."""
    if known.read is None:
        return []
    try:
        found = list(known.read(record))
    except Unusable:
        return []
    usable = [row for row in found if isinstance(row, Lesson) and problem_of(row) is None]
    if known.says == ANSWER:
        return usable if usable and usable[-1] is found[-1] else []
    return usable if len(usable) == len(found) else []


def _holds(rich: list[Lesson], poor: list[Lesson]) -> bool:
    return all(any(_tells(row, other) for row in rich) for other in poor)


def _tells(row: Lesson, other: Lesson) -> bool:
    """Whether a lesson says all that another one says. Where an answer stands without an opinion
    the label beside it in the other reading is one, but a rejected answer is not one to learn.
    Answers before the last stand in the prompt."""
    before = [*other.prompt, {"role": "assistant", "content": other.completion}]
    if other.kind == "sft" and row.prompt[: len(before)] == before:
        return True
    if row.prompt != other.prompt:
        return False
    told = _answers(row)
    if other.kind == "sft":
        return other.completion in told and not (
            row.kind == "pair" and other.completion == row.rejected
        )
    return all(told.get(answer) == good for answer, good in _answers(other).items())


def _answers(row: Lesson) -> dict[Any, bool | None]:
    """The answers of a lesson, and whether each is good; None where it doesn't say."""
    if row.kind == "pair":
        return {row.chosen: True, row.rejected: False}
    return {row.completion: row.label}
