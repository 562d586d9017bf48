"""Files of other projects to lessons. What can't be used is counted with a reason and a place."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from feedback.rows import Lesson, problem_of
from pawl.errors import PawlError
from pawl.files import sha256_json

_MOST_PROBLEMS = 20  # named one by one; the rest is counted only
Messages = list[dict[str, str]]
_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "system": "system"}


@dataclass(slots=True)
class Parsed:
    """What a file holds. ``skipped`` counts by reason, ``problems`` names the first places."""

    file_format: str
    n_records: int = 0
    lessons: list[Lesson] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class _Unusable(Exception):
    """A record teaches nothing; the text is the reason to count by."""


def parse_file(path: Path, file_format: str = "auto") -> Parsed:
    """Read and check every record. Raises PawlError when the file as a whole is of no use."""
    if file_format not in ("auto", *FORMATS):
        raise PawlError(
            f"format {file_format!r} is not known",
            f"there are auto, {', '.join(FORMATS)}",
            "Use one of them",
            param="format",
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as err:
        raise PawlError(
            f"{path} can't be read",
            err.strerror or str(err),
            "Check the path",
            code="file_not_found" if isinstance(err, FileNotFoundError) else "invalid_request",
            param="path",
        ) from None
    except UnicodeDecodeError as err:
        line = path.read_bytes()[: err.start].count(b"\n") + 1
        raise PawlError(
            f"{path.name} is not UTF-8",
            f"line {line} has a byte that is none",
            "Save it as UTF-8",
            param="path",
        ) from None
    records = list(_records(text, path.name))
    good = [value for _, value, _ in records if isinstance(value, dict)]
    if not good:
        raise PawlError(
            f"{path.name} holds no records",
            "not one JSON object could be read" + (f" ({records[0][2]})" if records else ""),
            "One JSON object a line, or one array of them",
            param="path",
        )
    parsed = Parsed(_detect(good[0], path.name) if file_format == "auto" else file_format)
    read = FORMATS[parsed.file_format]
    skipped: Counter[str] = Counter()
    seen: set[str] = set()
    for place, value, broken in records:
        parsed.n_records += 1
        try:
            if broken is not None:
                raise _Unusable(broken)
            lessons = list(_checked(read, value))
        except _Unusable as err:
            lessons = [str(err)]
        for lesson in lessons:
            if isinstance(lesson, Lesson) and lesson.row_id in seen:
                lesson = "an exact duplicate in the file"
            if isinstance(lesson, str):
                skipped[lesson.partition(" (")[0]] += 1
                if len(parsed.problems) < _MOST_PROBLEMS:
                    parsed.problems.append(f"{place}: {lesson}")
                continue
            seen.add(lesson.row_id)
            origin = {"source": f"import:{parsed.file_format}", "file": path.name, "place": place}
            parsed.lessons.append(replace(lesson, origin=origin))
    parsed.skipped = dict(sorted(skipped.items()))
    return parsed


def _records(text: str, name: str) -> Iterator[tuple[str, Any, str | None]]:
    """(place, value, what is wrong) of each record of an array or of JSON Lines."""
    if text.lstrip().startswith("["):
        try:
            values = json.loads(text)
        except json.JSONDecodeError as err:
            raise PawlError(
                f"{name} is not JSON",
                f"line {err.lineno}, column {err.colno}: {err.msg}",
                "Mend it there",
                param="path",
            ) from None
        except (ValueError, RecursionError) as err:  # a number of thousands of digits; nesting
            raise PawlError(
                f"{name} can't be read as JSON",
                str(err),
                "Give one JSON object a line",
                param="path",
            ) from None
        for number, value in enumerate(values, start=1):
            yield f"record {number}", value, None
        return
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines(): see U+2028
        if line.strip():
            try:
                yield f"line {number}", json.loads(line), None
            except (ValueError, RecursionError) as err:
                yield f"line {number}", None, f"not JSON ({err})"


def _checked(
    read: Callable[[dict[str, Any]], Iterator[Lesson | str]], value: Any
) -> Iterator[Lesson | str]:
    if not isinstance(value, dict):
        raise _Unusable("not an object")
    for lesson in read(value):
        if isinstance(lesson, Lesson):
            yield _invalid_unicode(lesson) or problem_of(lesson) or lesson
        else:
            yield lesson


def _invalid_unicode(lesson: Lesson) -> str | None:
    try:
        json.dumps(lesson.as_json(), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "half a surrogate pair in the text"
    return None


def _detect(record: dict[str, Any], name: str) -> str:
    keys = set(record)
    if isinstance(record.get("prompt"), dict) and "replies" in record["prompt"]:
        return "oasst"
    for needed, file_format in (
        ({"conversations", "chosen", "rejected"}, "sharegpt-dpo"),
        ({"messages", "label"}, "sharegpt-kto"),
        ({"messages"}, "sft"),
        ({"prompt", "completion", "label"}, "unpaired"),
        ({"prompt", "completion"}, "sft"),
        ({"chosen", "rejected"}, "preference"),
    ):
        if needed <= keys:
            return file_format
    raise PawlError(
        f"the format of {name} can't be told",
        f"its first record has the keys {', '.join(sorted(map(str, keys))) or 'none'}",
        f"Give the format: {', '.join(FORMATS)}",
        param="format",
    )


# ---- one function a format: a record to lessons ----


def _messages(value: Any, what: str) -> Messages:
    """A list of role and content, nothing else kept."""
    if isinstance(value, str):
        raise _Unusable(f"{what} is a text, not a list of messages")
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise _Unusable(f"{what} is not a list of messages")
    return [{"role": one.get("role"), "content": one.get("content")} for one in value]


def _answer(messages: Messages, what: str) -> str:
    """The text of the single assistant message that an answer is."""
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise _Unusable(f"{what} is not one message of the assistant")
    return messages[0]["content"]


def _group(prompt: Messages) -> str:
    """Rows whose conversations open with the same question stand together."""
    first = next((one for one in prompt if one.get("role") == "user"), None)
    return "import:" + sha256_json(first)[:16]


def _answered(record: dict[str, Any]) -> tuple[Messages, str]:
    """Prompt and answer: a whole conversation, or the two apart."""
    if "messages" in record:
        messages = _messages(record["messages"], "messages")
        return messages[:-1], _answer(messages[-1:], "the last message")
    prompt = _messages(record.get("prompt"), "prompt")
    return prompt, _answer(_messages(record.get("completion"), "completion"), "completion")


def _pair(prompt: Messages, chosen: Messages, rejected: Messages) -> Lesson:
    better, worse = _answer(chosen, "chosen"), _answer(rejected, "rejected")
    return Lesson("pair", _group(prompt), prompt, chosen=better, rejected=worse)


def _sft(record: dict[str, Any]) -> Iterator[Lesson | str]:
    prompt, completion = _answered(record)
    yield Lesson("sft", _group(prompt), prompt, completion=completion)


def _unpaired(record: dict[str, Any]) -> Iterator[Lesson | str]:
    (prompt, completion), label = _answered(record), record.get("label")
    yield Lesson("unpaired", _group(prompt), prompt, completion=completion, label=label)


def _preference(record: dict[str, Any]) -> Iterator[Lesson | str]:
    chosen = _messages(record.get("chosen"), "chosen")
    rejected = _messages(record.get("rejected"), "rejected")
    if "prompt" in record:
        prompt = _messages(record["prompt"], "prompt")
    else:  # TRL's implicit prompt: both hold the whole conversation
        prompt, chosen, before, rejected = chosen[:-1], chosen[-1:], rejected[:-1], rejected[-1:]
        if before != prompt:
            raise _Unusable("chosen and rejected do not share their prompt")
    yield _pair(prompt, chosen, rejected)


def _sharegpt_dpo(record: dict[str, Any]) -> Iterator[Lesson | str]:
    def translated(value: Any, what: str) -> Messages:
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise _Unusable(f"{what} is not a list of from and value")
        roles = [str(one.get("from")) for one in value]
        return [
            {"role": _SHAREGPT_ROLES.get(role, role), "content": one.get("value", "")}
            for role, one in zip(roles, value, strict=True)
        ]

    prompt = translated(record.get("conversations"), "conversations")
    if isinstance(record.get("system"), str) and record["system"].strip():
        prompt = [{"role": "system", "content": record["system"]}, *prompt]
    chosen = translated([record.get("chosen")], "chosen")
    yield _pair(prompt, chosen, translated([record.get("rejected")], "rejected"))


def _oasst(record: dict[str, Any]) -> Iterator[Lesson | str]:
    """At each question, the best ranked reply against every other ranked one (rank 0 is best)."""
    root, tree_id = record.get("prompt"), record.get("message_tree_id")
    if not isinstance(root, dict) or not isinstance(tree_id, str):
        raise _Unusable("not a message tree (no prompt or no message_tree_id)")
    open_nodes: list[tuple[dict[str, Any], Messages]] = [(root, [])]
    while open_nodes:
        node, before = open_nodes.pop()
        role = {"prompter": "user"}.get(str(node.get("role")), str(node.get("role")))
        path = [*before, {"role": role, "content": node.get("text")}]
        below = node.get("replies") or []
        if not isinstance(below, list):
            yield "replies is not a list"
            continue
        replies = [one for one in below if isinstance(one, dict) and not one.get("deleted")]
        open_nodes += [(one, path) for one in reversed(replies)]  # type: ignore[misc]
        if role != "user":
            continue
        ranked = sorted(
            (one for one in replies if isinstance(one.get("rank"), int)),
            key=lambda one: int(one["rank"]),
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
            yield Lesson(
                "pair",
                f"import:oasst:{tree_id}",
                path,  # type: ignore[arg-type]
                chosen=ranked[0].get("text"),
                rejected=worse.get("text"),
            )


FORMATS: dict[str, Callable[[dict[str, Any]], Iterator[Lesson | str]]] = {
    "sft": _sft,
    "preference": _preference,
    "unpaired": _unpaired,
    "sharegpt-dpo": _sharegpt_dpo,
    "sharegpt-kto": _unpaired,
    "oasst": _oasst,
}
