"""Whatever a file holds, import ends with its counts or with a PawlError."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from feedback.formats import FORMATS, parse
from pawl.errors import PawlError
from tests.feedback.formats.test_chats import QUESTION, message, open_webui
from tests.feedback.formats.test_detect import PAIR, RIGHT, USER, WRONG
from tests.feedback.formats.test_logs import LOGS, TRACE, score
from tests.feedback.formats.test_records import PAIRS, WHOLE_CALL

N_FILES = 3_000

SEEDS: list[dict[str, Any]] = [
    *PAIRS.values(), *(line for lines in LOGS.values() for line in lines),
    PAIR, TRACE, score(), score(0, dataType="CORRECTION", stringValue="x"), open_webui(),
    QUESTION, message("2", "1", "x", feedback={"rating": "thumbsUp", "tag": {"key": "k"}}),
    {"conversationId": "t", "messagesTree": [{**QUESTION, "children": [QUESTION]}]},
    {"messages": [USER, WHOLE_CALL, {"role": "tool", "content": "x", "tool_call_id": "1"}, RIGHT],
     "tools": [{"type": "function", "function": {"name": "f"}}], "rater": "ann"},
    {"prompt": [USER], "completion": [WRONG], "label": False, "categories": ["tone"]},
    {"message_tree_id": "t", "prompt": {"role": "prompter", "text": "Q", "replies": [
        {"role": "assistant", "text": "a", "rank": 0, "replies": []},
        {"role": "assistant", "text": "b", "rank": 1, "replies": []}]}},
    {"instruction": "Q", "input": "", "output": "A", "history": [["q", "a"]]},
]  # fmt: skip
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2.5, 1e308, float("nan"), 10**400, "", " ", "x", "\ud800", "\0",
    "\n\nHuman: a\n\nAssistant: b", "[{\"role\": 1}]", "{", [], [[]], [None], {}, {"role": "user"},
    {"role": [], "content": {}}, [{"role": "assistant", "content": ["x", {"type": "text"}]}],
    {"id": {"id": []}}, "1", USER, [USER], [USER, RIGHT],
]  # fmt: skip


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def _changed(value: Any, random_: random.Random) -> Any:
    """A copy with one place changed: dropped, replaced, or moved to another name."""
    if random_.random() < 0.2 or not isinstance(value, dict | list) or not value:
        return random_.choice(ODD) if random_.random() < 0.97 else _nested(400)
    copy = value.copy()
    place = random_.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
    if random_.random() < 0.1:
        del copy[place]
    elif random_.random() < 0.1 and isinstance(copy, dict):
        copy[random_.choice(["label", "rating", "messages", "chosen", "\ud800"])] = copy[place]
    else:
        copy[place] = _changed(copy[place], random_)
    return copy


def _file(random_: random.Random) -> tuple[bytes, str]:
    records: list[Any] = []
    for _ in range(random_.randint(1, 4)):
        record: Any = random_.choice(SEEDS)
        for _ in range(random_.randint(0, 3)):
            record = _changed(record, random_)
        records.append(record)
    kind = random_.randrange(4)
    if kind == 0:
        raw = json.dumps(records).encode()
    elif kind == 1:
        raw = "\n".join(json.dumps(record, indent=1) for record in records).encode()
    else:
        raw = "\n".join(map(json.dumps, records)).encode()
    if random_.random() < 0.1:
        at = random_.randrange(len(raw))
        raw = raw[:at] + random_.randbytes(2) + raw[at + random_.randrange(3) :]
    return raw, "rows.csv" if random_.random() < 0.1 else "rows.jsonl"


@pytest.mark.parametrize("seed", range(3))
def test_no_file_makes_import_fail_otherwise(seed: int) -> None:
    random_ = random.Random(seed)
    n_rows = n_refused = 0
    for _ in range(N_FILES // 3):
        raw, name = _file(random_)
        file_format = random_.choice([*["auto"] * len(FORMATS), *FORMATS])
        mapping = {"prompt": "prompt", "completion": "text"} if random_.random() < 0.1 else None
        try:
            parsed = parse(raw, name, "auto" if mapping else file_format, mapping)
        except PawlError as err:
            str(err).encode()
            n_refused += 1
            continue
        n_rows += len(parsed.lessons)
        assert sum(parsed.skipped.values()) + len(parsed.lessons) >= 0
        answer = [parsed.skipped, parsed.problems, [row.as_json() for row in parsed.lessons]]
        json.dumps(answer, ensure_ascii=False).encode()
        assert bool(parsed.skipped) == bool(parsed.problems)
    assert n_rows > 50
    assert n_refused > 10
