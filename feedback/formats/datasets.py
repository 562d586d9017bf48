"""Formats of training data: one record to lessons. Each reader is named in ``detect.FORMATS``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from feedback.formats.records import (
    CALLS,
    UNLEARNED,
    Messages,
    Record,
    Unusable,
    answer_of,
    conversation_of,
    detailed,
    is_transcript,
    message_of,
    messages_of,
    number_of,
    opinion,
    pair,
    role_of,
    sft,
    thumb_of,
    transcript_of,
    unpaired,
    with_system,
)
from feedback.rows import Lesson

# What a column may be called that says whether an answer is good.
LABELS = ("label", "kto_tag", "thumb", "thumbs", "rating", "feedback", "score")
REJECTED = ("rejected_response", "rejected_messages", "rejected")  # beside a conversation
REPLIES = ("completions", "answers", "replies", "responses", "candidates", "generations")
_CONVERSATIONS = ("messages", "conversations")
_TEXTS = ("response", "answer", "text", "content", "output", "completion")  # of a ranked reply
_QUESTIONS = ("prompt", "instruction", "question")
_RANKS = ("rank",)  # the lowest is best
# Of one conversation the last answers are learned: so many, in rows that hold so many times its
# text at most. Each row has all that was said before: all of a long one would grow as a square.
_MOST_ANSWERS, _MOST_TIMES = 50, 8
_SCORES = ("fine-grained_score", "overall_score", "score", "rating")  # the highest is best


def _conversation(record: Record, name: str) -> tuple[Messages, Any]:
    prompt, answer = conversation_of(record.get(name), name)
    return with_system(prompt, record.get("system")), answer


def _question(record: Record) -> Messages:
    """The prompt of Alpaca's columns: an instruction, an input, earlier turns."""
    parts = [record.get(name) or "" for name in ("instruction", "input")]
    if not all(isinstance(part, str) for part in parts):
        raise Unusable("not an instruction and an input")
    messages: Messages = []
    history = record.get("history") or []
    for turn in history if isinstance(history, list) else [None]:
        if not isinstance(turn, list) or len(turn) != 2:
            raise Unusable("its history is not a list of questions and answers")
        messages += [
            message_of({"role": "user", "content": turn[0]}, "history"),
            message_of({"role": "assistant", "content": turn[1]}, "history"),
        ]
    messages.append({"role": "user", "content": "\n".join(filter(None, parts))})
    return with_system(messages, record.get("system"))


def _answered(record: Record) -> tuple[Messages, Any]:
    """Prompt and answer of a record: a whole conversation, or the two apart."""
    found: list[tuple[Messages, Any]] = []
    for name in _CONVERSATIONS:
        if record.get(name) is not None:
            found.append(_conversation(record, name))
    if record.get("prompt") is not None and record.get("completion") is not None:
        prompt = with_system(messages_of(record["prompt"], "prompt"), record.get("system"))
        found.append((prompt, answer_of(record["completion"], "completion")))
    if not found and record.get("instruction") is not None and record.get("output") is not None:
        found.append((_question(record), answer_of(record["output"], "output")))
    if not found and is_transcript(record.get("text")):
        messages = transcript_of(record["text"], "text")
        found.append((messages[:-1], answer_of(messages[-1:], "the last turn of text")))
    if not found:
        raise Unusable("no conversation, and no prompt with its completion")
    if any(other != found[0] for other in found[1:]):
        raise Unusable("its columns hold different conversations")
    return found[0]


def read_sft(record: Record) -> Iterator[Lesson | str]:
    """The answers of a conversation; of a prompt with its completion the completion alone."""
    talks = {name: record[name] for name in _CONVERSATIONS if isinstance(record.get(name), list)}
    unweighted = {
        name: [{**turn, "weight": None} if isinstance(turn, dict) else turn for turn in turns]
        for name, turns in talks.items()
    }
    lesson = detailed(sft(*_answered({**record, **unweighted})), "sft", record)
    if not talks and record.get("completion") is not None:
        yield lesson
    else:
        yield from _answers(lesson, next(iter(talks.values()), []))


def _answers(last: Lesson, turns: Sequence[Any] = ()) -> Iterator[Lesson | str]:
    """Each answer of a conversation as a row, on what was said before it. They are of one group, so
    that the split holds them together.

    Args:
        last: of the last answer.
        turns: the messages as they came, which may have weights (OpenAI's: 0 is not learned).
    """
    whole: Messages = [*last.prompt, {"role": "assistant", "content": last.completion}]
    unlearned = {
        len(whole) - n
        for n, turn in enumerate(reversed(turns), start=1)
        if isinstance(turn, dict) and turn.get("weight") == 0
    }
    answers = [at for at, message in enumerate(whole) if message["role"] == "assistant"]
    n_tools = len(json.dumps(last.tools))
    n_until = list(accumulate(len(json.dumps(message)) for message in whole))
    room = _MOST_TIMES * (n_tools + n_until[-1])
    first = len(whole)
    for at in reversed(answers[-_MOST_ANSWERS:]):
        room -= n_tools + n_until[at]
        if room < 0:
            break
        first = at
    for at in answers:
        if at < first:
            yield (
                f"an early answer of a long conversation (the last {_MOST_ANSWERS} are learned, in "
                f"rows of {_MOST_TIMES} times its text at most)"
            )
        elif at in unlearned:
            yield UNLEARNED
        elif whole[at].get("tool_calls"):
            yield CALLS
        else:
            yield replace(last, prompt=whole[:at], completion=whole[at]["content"])


def label_of(record: Record) -> bool | None:
    """Whether the answer is good, by any of ``LABELS``; None where none of them is a thumb. Only
    ``label`` itself may be 1 or 0."""
    thumbs = {
        thumb_of(record[name], signs=name == "label")
        for name in LABELS
        if record.get(name) is not None
    }
    if {True, False} <= thumbs:
        raise Unusable("its columns disagree about whether the answer is good")
    return next((thumb for thumb in thumbs if thumb is not None), None)


def read_unpaired(record: Record) -> Iterator[Lesson | str]:
    """An answer with its label."""
    yield detailed(unpaired(*_answered(record), label_of(record)), "unpaired", record)


def read_preference(record: Record) -> Iterator[Lesson | str]:
    """TRL's: answers beside their prompt, or whole conversations that share one."""
    yield detailed(_preference(record), "preference", record)


def _preference(record: Record) -> Lesson:
    better, worse, prompt = record.get("chosen"), record.get("rejected"), record.get("prompt")
    if better is None:  # ms-swift's: a conversation, and a worse last answer or conversation
        before, chosen = _conversation(record, "messages")
        worse = next((record[name] for name in REJECTED if record.get(name) is not None), None)
        if not isinstance(worse, list) or len(worse) < 2:
            return pair(before, chosen, answer_of(worse, "the rejected answer"))
        other, rejected = conversation_of(worse, "the rejected conversation")
        if with_system(other, record.get("system")) != before:
            raise Unusable("chosen and rejected do not share their prompt")
        return pair(before, chosen, rejected)
    if is_transcript(better) and is_transcript(worse):
        better, worse = transcript_of(better, "chosen"), transcript_of(worse, "rejected")
    elif isinstance(better, str) and prompt is None:
        raise Unusable("chosen is a text without its prompt")
    if not all(isinstance(side, list) and len(side) > 1 for side in (better, worse)):
        if prompt is None:
            raise Unusable("chosen and rejected come without a prompt")
        messages = with_system(messages_of(prompt, "prompt"), record.get("system"))
        return pair(messages, answer_of(better, "chosen"), answer_of(worse, "rejected"))
    before, chosen = conversation_of(better, "chosen")
    other, rejected = conversation_of(worse, "rejected")
    if before != other:
        raise Unusable("chosen and rejected do not share their prompt")
    if isinstance(prompt, str) and not is_transcript(prompt):
        belongs = any(message["content"] == prompt for message in before)
    else:
        belongs = prompt is None or messages_of(prompt, "prompt") == before
    if not belongs:
        raise Unusable("chosen is a conversation that does not hold the prompt")
    return pair(with_system(before, record.get("system")), chosen, rejected)


def read_openai_preference(record: Record) -> Iterator[Lesson | str]:
    """What OpenAI's fine-tuning takes for DPO."""
    request = record.get("input")
    if not isinstance(request, dict):
        raise Unusable("input is not an object")
    lesson = pair(
        messages_of(request.get("messages"), "input.messages"),
        answer_of(record.get("preferred_output"), "preferred_output"),
        answer_of(record.get("non_preferred_output"), "non_preferred_output"),
    )
    yield detailed(lesson, "openai-preference", {**record, "tools": request.get("tools")})


def _both(record: Record) -> list[Any]:
    return [answer_of(record.get(name), name) for name in ("chosen", "rejected")]


def read_sharegpt_dpo(record: Record) -> Iterator[Lesson | str]:
    prompt = messages_of(record.get("conversations"), "conversations")
    lesson = pair(with_system(prompt, record.get("system")), *_both(record))
    yield detailed(lesson, "sharegpt-dpo", record)


def read_alpaca(record: Record) -> Iterator[Lesson | str]:
    """Alpaca's, and LLaMA-Factory's pairs in the same columns."""
    if record.get("chosen") is not None:
        yield detailed(pair(_question(record), *_both(record)), "alpaca", record)
    else:
        lesson = sft(_question(record), answer_of(record.get("output"), "output"))
        yield from _answers(detailed(lesson, "alpaca", record))


def read_oasst(record: Record) -> Iterator[Lesson | str]:
    """At each question, the best ranked reply against every other ranked one (rank 0 is best)."""
    root, tree_id = record.get("prompt"), record.get("message_tree_id")
    if not isinstance(root, dict) or not isinstance(tree_id, str):
        raise Unusable("not a message tree (no prompt or no message_tree_id)")
    open_nodes: list[tuple[Record, Messages]] = [(root, [])]
    while open_nodes:
        node, before = open_nodes.pop()
        role = role_of(node.get("role"))
        path = [*before, message_of({"role": role, "content": node.get("text")}, "a message")]
        below = node.get("replies") or []
        if not isinstance(below, list):
            yield "replies is not a list"
            continue
        replies = [reply for reply in below if isinstance(reply, dict) and not reply.get("deleted")]
        open_nodes += [(reply, path) for reply in reversed(replies)]
        if role != "user":
            continue
        ranked = sorted(
            (reply for reply in replies if type(reply.get("rank")) is int),
            key=lambda reply: int(reply["rank"]),
        )
        if len(ranked) < 2:
            yield (
                "a question without replies"
                if not replies
                else "fewer than two ranked replies to a question"
            )
        for worse in ranked[1:]:
            if worse["rank"] == ranked[0]["rank"]:
                yield "two replies share the best rank"
                continue
            chosen, rejected = (
                answer_of({"role": "assistant", "content": reply.get("text")}, "a reply")
                for reply in (ranked[0], worse)
            )
            yield Lesson("pair", f"import:oasst:{tree_id}", path, chosen=chosen, rejected=rejected)


def ranked_replies(record: Record) -> list[Record] | None:
    """The replies of a record, each an object with a text and its scores; None for no such."""
    for name in REPLIES:
        replies = record.get(name)
        if not isinstance(replies, list) or not replies:
            continue
        if all(isinstance(reply, dict) for reply in replies):
            return replies
        scores = {
            key: record.get(f"{key}s") for key in (*_RANKS, *_SCORES) if record.get(f"{key}s")
        }
        aligned = {
            key: values
            for key, values in scores.items()
            if isinstance(values, list) and len(values) == len(replies)
        }
        if aligned:
            return [
                {"text": reply, **{key: values[n] for key, values in aligned.items()}}
                for n, reply in enumerate(replies)
            ]
    return None


def read_ranked(record: Record) -> Iterator[Lesson | str]:
    """UltraFeedback's and alike: several replies with scores or ranks. The best one against every
    other, where all scores that both have agree."""
    question = next((record[name] for name in _QUESTIONS if record.get(name) is not None), None)
    prompt = with_system(messages_of(question, "the question"), record.get("system"))
    scored: list[tuple[dict[str, float], Any]] = []
    for reply in ranked_replies(record) or []:
        values = {name: number_of(reply.get(name)) for name in (*_RANKS, *_SCORES)}
        scores = {
            name: -value if name in _RANKS else value
            for name, value in values.items()
            if value is not None
        }
        text = next((reply[name] for name in _TEXTS if reply.get(name) is not None), None)
        if scores:
            scored.append((scores, text))
        else:
            yield "a reply without a score"
    if len(scored) < 2:
        raise Unusable("fewer than two ranked replies to a question")
    shared = [name for name in (*_RANKS, *_SCORES) if all(name in scores for scores, _ in scored)]
    if not shared:
        raise Unusable("its replies have no score in common")
    best = max(range(len(scored)), key=lambda n: scored[n][0][shared[0]])
    best_scores, best_text = scored[best]
    for n, (scores, text) in enumerate(scored):
        if n == best:
            continue
        differences = {best_scores[name] - scores[name] for name in shared}
        if min(differences) < 0:
            yield "the scores of two replies disagree"
        elif max(differences) == 0:
            yield "two replies share the best rank"
        else:
            lesson = pair(prompt, answer_of(best_text, "a reply"), answer_of(text, "a reply"))
            yield detailed(lesson, "ranked", record)


def read_arena(record: Record) -> Iterator[Lesson | str]:
    """Chatbot Arena's battles: two conversations, and which of them somebody found better."""
    (before, first), (other, second) = (
        conversation_of(record.get(name), name) for name in ("conversation_a", "conversation_b")
    )
    if before != other:
        raise Unusable("the two conversations differ before the last answer")
    winner = record.get("winner")
    if winner not in ("model_a", "model_b"):
        raise Unusable("a tie" if isinstance(winner, str) and "tie" in winner else "no winner")
    sides = (first, second) if winner == "model_a" else (second, first)
    lesson = detailed(pair(before, *sides), "arena", record)
    yield replace(lesson, origin={**lesson.origin, **opinion("arena", record.get("judge"))})
