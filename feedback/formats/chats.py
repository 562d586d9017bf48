"""What chat programs export of their users' feedback: Open WebUI's and LibreChat's.

Shapes read off their sources. Open WebUI (``routers/evaluations.py``, ``models/feedbacks.py``,
``ResponseMessage.svelte``), ``GET /api/v1/evaluations/feedbacks/all/export``:

    [{"id", "user_id", "type": "rating", "data": {"rating": 1 | -1, "model_id",
      "sibling_model_ids"?, "reason"?, "comment"?, "tags"?, "details"?},
      "meta": {"arena", "chat_id", "message_id", ...}, "snapshot": {"chat": {"chat": {"history":
      {"messages": {id: {"id", "parentId", "role", "content", ...}}}}}}}]

LibreChat: the conversation as the page exports it (``useExportConversation.ts``), or the
collection ``messages`` as mongoexport writes it, one message a line (``schema/message.ts``):

    {"conversationId", "options"?: {"promptPrefix"}, "messages": [...] | "messagesTree": [...]}
    {"messageId", "conversationId", "parentMessageId", "user", "isCreatedByUser", "text",
     "content"?: [...], "feedback"?: {"rating": "thumbsUp" | "thumbsDown", "tag", "text"}}
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from feedback.formats.records import (
    Messages,
    Record,
    Unusable,
    answer_of,
    conversation_of,
    messages_of,
    opinion,
    pair,
    thumb_of,
    unpaired,
    with_system,
)
from feedback.rows import Lesson, silence

Placed = tuple[str, Record]  # where a record stands in its file, and the record

_MOST_TURNS = 10_000  # of a conversation whose messages name their parents
_NO_PARENT = "00000000-0000-0000-0000-000000000000"  # LibreChat's
# Open WebUI keeps reasoning and what tools did as HTML in the answer, and takes it out again
# before the model sees it (``removeDetails``).
_DETAILS, _DETAILS_END = '<details type="', "</details>"
_ROLES = ("assistant", "user")  # LibreChat's isCreatedByUser
# Reasons that have the meaning of one of Pawl's own categories.
_CATEGORIES = {
    "not_factually_correct": "incorrect", "too_verbose": "verbose",
    "refused_when_it_shouldnt_have": "refused_wrongly", "dont_like_the_style": "tone",
    "being_lazy": "incomplete",  # Open WebUI's
    "inaccurate": "incorrect", "bad_style": "tone", "unjustified_refusal": "refused_wrongly",
    "not_matched": "off_topic",  # LibreChat's
}  # fmt: skip


def _path(messages: dict[str, Record], wanted: Any, parent: str) -> list[Record]:
    """The messages from the first to the one that is wanted."""
    path: list[Record] = []
    while wanted not in (None, "", _NO_PARENT):
        message = messages.get(wanted) if isinstance(wanted, str) else None
        if not isinstance(message, dict):
            raise Unusable("a message of its conversation is missing")
        if len(path) == _MOST_TURNS:
            raise Unusable("the messages of its chat follow each other in a circle")
        path.append(message)
        wanted = message.get(parent)
    return path[::-1]


def _categories(reason: Any, label: bool) -> list[str]:
    """A reason against an answer as a category; ``import_rows`` drops what is none."""
    if label or not isinstance(reason, str) or not reason:
        return []
    return [_CATEGORIES.get(reason, reason)]


# ---- Open WebUI ----


def read_open_webui(record: Record) -> Iterator[Lesson | str]:
    """A rating, with the chat around it. An answer that was liked beside others to the same
    question is better than those that were not liked: so counts Open WebUI's own leaderboard."""
    data, meta, chat = _parts_of(record)
    rating = data.get("rating")
    label = thumb_of(rating, signs=True)
    origin = opinion(
        "open-webui", record.get("user_id"), record.get("id"), record.get("updated_at"),
        reason=data.get("reason"), comment=data.get("comment"), topics=data.get("tags"),
    )  # fmt: skip
    if label is None or isinstance(rating, bool) or rating in (0, "0"):
        yield silence(origin)
        yield "its rating is neither 1 nor -1"
        return
    history = chat.get("history")
    messages = history.get("messages") if isinstance(history, dict) else None
    wanted = meta.get("message_id")
    if not isinstance(messages, dict) or not isinstance(wanted, str) or wanted not in messages:
        raise Unusable("no rated message in its snapshot of the chat")
    path = _path(messages, wanted, "parentId")
    params = chat.get("params")
    system = params.get("system") if isinstance(params, dict) else chat.get("system")
    prompt, answer = conversation_of([_shown(message) for message in path], "the chat")
    lesson = replace(
        unpaired(with_system(prompt, system), answer, label),
        categories=_categories(data.get("reason"), label),
        origin=origin,
    )
    yield from _over_siblings(lesson, data, messages, path[-1]) if label else [lesson]


def _parts_of(record: Record) -> tuple[Record, Record, Record]:
    data, meta = record.get("data"), record.get("meta")
    chat: Any = record.get("snapshot")
    for name in ("chat", "chat"):
        chat = chat.get(name) if isinstance(chat, dict) else None
    if not isinstance(data, dict) or not isinstance(meta, dict):
        raise Unusable("a feedback without its rating")
    if not isinstance(chat, dict):
        raise Unusable("no snapshot of the chat")
    return data, meta, chat


def _shown(message: Record) -> Record:
    """A message as the model wrote or saw it."""
    content = message.get("content")
    if message.get("files"):
        raise Unusable("a message has files")
    if message.get("error"):
        raise Unusable("an answer that failed")
    if isinstance(content, str) and message.get("role") == "assistant":
        content = _without_details(content)
    return {"role": message.get("role"), "content": content}


def _without_details(text: str) -> str:
    kept, position = [], 0
    while (start := text.find(_DETAILS, position)) >= 0:
        if (end := text.find(_DETAILS_END, start)) < 0:
            break
        if not text.startswith(_DETAILS + 'reasoning"', start):
            raise Unusable("an answer that used tools")
        kept.append(text[position:start])
        position = end + len(_DETAILS_END)
    return "".join([*kept, text[position:]]).strip() if kept else text


def _over_siblings(
    liked: Lesson, data: Record, messages: dict[str, Record], rated: Record
) -> Iterator[Lesson | str]:
    """The liked answer against each other one that was compared with it and not liked; without
    such the thumb alone."""
    others = [
        message
        for message in messages.values()
        if isinstance(message, dict)
        and message is not rated
        and message.get("role") == "assistant"
        and message.get("parentId") == rated.get("parentId")
    ]
    n_pairs = 0
    for other in others if data.get("sibling_model_ids") else []:
        annotation = other.get("annotation")
        rating = annotation.get("rating") if isinstance(annotation, dict) else None
        if thumb_of(rating, signs=True):
            continue
        try:
            rejected = answer_of(_shown(other), "an answer beside it")
        except Unusable as err:
            yield f"{err} (of an answer beside the rated one)"
            continue
        n_pairs += 1
        compared = pair(liked.prompt, liked.completion, rejected)
        yield replace(compared, categories=liked.categories, origin=liked.origin)
    if not n_pairs:
        yield liked


# ---- LibreChat ----


def is_librechat_message(record: Record) -> bool:
    return isinstance(record.get("messageId"), str) and "isCreatedByUser" in record


def is_librechat_conversation(record: Record) -> bool:
    messages = record.get("messagesTree", record.get("messages"))
    first = messages[0] if isinstance(messages, list) and messages else None
    return isinstance(first, dict) and is_librechat_message(first)


def join_librechat(records: list[Placed]) -> Iterator[tuple[str, Lesson | str]]:
    """Whole conversations, and messages of the collection ``messages`` in any order."""
    collection: list[Placed] = []
    for place, record in records:
        if is_librechat_message(record):
            collection.append((place, record))
            continue
        options = record.get("options")
        system = options.get("promptPrefix") if isinstance(options, dict) else None
        user = record.get("user")
        messages = [
            (place, {**message, "conversationId": "", "user": message.get("user") or user})
            for message in _flat(record)
        ]
        yield from _rated_messages(messages, system)
    yield from _rated_messages(collection, None)


def _flat(record: Record) -> list[Record]:
    """The messages of a conversation: a list, or a tree with ``children``."""
    messages: list[Record] = []
    below: list[Any] = [record.get("messagesTree", record.get("messages"))]
    while below:
        found = below.pop()
        for message in found if isinstance(found, list) else []:
            if isinstance(message, dict):
                messages.append(message)
                below.append(message.get("children"))
    return messages


def _rated_messages(messages: list[Placed], system: Any) -> Iterator[tuple[str, Lesson | str]]:
    talks: dict[tuple[str, str], dict[str, Record]] = {}
    for _, message in messages:
        talks.setdefault(_talk(message), {})[_id(message.get("messageId"))] = message
    for place, message in messages:
        feedback = message.get("feedback")
        if message.get("isCreatedByUser"):
            continue
        label = thumb_of(feedback.get("rating")) if isinstance(feedback, dict) else None
        if not isinstance(feedback, dict) or label is None:
            yield place, silence(_origin(message))
            is_rated = isinstance(feedback, dict)
            yield place, ("its rating is neither thumbsUp nor thumbsDown" if is_rated
                          else "an answer without feedback")  # fmt: skip
            continue
        try:
            for lesson in _rated(message, feedback, label, talks[_talk(message)]):
                yield place, replace(lesson, prompt=with_system(lesson.prompt, system))
        except Unusable as err:
            yield place, str(err)


def _talk(message: Record) -> tuple[str, str]:
    return _id(message.get("user")), _id(message.get("conversationId"))


def _id(value: Any) -> str:
    """An id as a text; mongoexport writes some as ``{"$oid": ...}``."""
    value = value.get("$oid") if isinstance(value, dict) else value
    return value if isinstance(value, str) else ""


def _origin(message: Record, **words: Any) -> dict[str, Any]:
    user, message_id = _id(message.get("user")), message.get("messageId")
    return opinion("librechat", user, message_id, message.get("updatedAt"), **words)


def _rated(
    message: Record, feedback: Record, label: bool, talk: dict[str, Record]
) -> Iterator[Lesson]:
    if message.get("unfinished") or message.get("finish_reason") == "length":
        raise Unusable("the answer was cut short")
    path = _path(talk, message.get("messageId"), "parentMessageId")
    turns: Messages = messages_of([_turn(turn) for turn in path], "the conversation")
    tag = feedback.get("tag")
    tag = tag.get("key") if isinstance(tag, dict) else tag
    lesson = replace(
        unpaired(turns[:-1], answer_of(turns[-1:], "the last message"), label),
        categories=_categories(tag, label),
        origin=_origin(message, reason=tag, comment=feedback.get("text")),
    )
    worse = _disliked_beside(message, talk) if label else []
    for other in worse:
        compared = pair(lesson.prompt, lesson.completion, answer_of([_turn(other)], "an answer"))
        yield replace(compared, categories=lesson.categories, origin=lesson.origin)
    if not worse:
        yield lesson


def _disliked_beside(message: Record, talk: dict[str, Record]) -> list[Record]:
    """Other answers to the same message that the same person disliked."""
    return [
        other
        for other in talk.values()
        if other.get("messageId") != message.get("messageId")  # the file may have it twice
        and not other.get("isCreatedByUser")
        and other.get("parentMessageId") == message.get("parentMessageId")
        and isinstance(other.get("feedback"), dict)
        and thumb_of(other["feedback"].get("rating")) is False
    ]


def _turn(message: Record) -> Record:
    """A message as the model wrote or saw it: its text, or the text parts of its content."""
    if message.get("files"):
        raise Unusable("a message has files")
    if message.get("error"):
        raise Unusable("an answer that failed")
    text = message.get("text")
    parts = message.get("content")
    if isinstance(parts, list) and parts:
        texts = []
        for part in parts:
            kind = part.get("type") if isinstance(part, dict) else None
            value = part.get("text") if kind == "text" else None
            value = value.get("value") if isinstance(value, dict) else value
            if isinstance(value, str):
                texts.append(value)
            elif kind == "tool_call":
                raise Unusable("an answer that used tools")
            elif kind != "think":  # reasoning, which no later request holds
                raise Unusable("the conversation has parts that are not text")
        text = "".join(texts)
    return {"role": _ROLES[bool(message.get("isCreatedByUser"))], "content": text}
