"""The pages' own HTML with hostile texts in each place where a text of people's can stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from serve.pages.conversation import Turn
from serve.pages.rendering import html_parts
from tests.serve.pages.test_markdown import Drawn

LINK = "[Show](javascript:alert(1))"
HOSTILE = f'x" onclick="y">\n\n{LINK}\r\r{LINK}\r\n\r\n<i>'
review, chat = html_parts("review.html"), html_parts("chat.html")
said_back = html_parts("said_back.html")
MARK = {"rater_id": HOSTILE, "thumb": "down", "categories": [HOSTILE], "created_at": HOSTILE,
        "comment": HOSTILE, "correction": HOSTILE}  # fmt: skip
DECISION = {"reviewer": HOSTILE, "decision": "reject", "reason": "fine", "created_at": HOSTILE,
            "correction": HOSTILE}  # fmt: skip
FINDING = {"name": HOSTILE, "reason": HOSTILE, "score": 1, "unit": HOSTILE, "threshold": 1}
MESSAGE = {"role": HOSTILE, "content": HOSTILE}
ITEM: dict[str, Any] = {
    "item_id": HOSTILE, "answers": [{"prompt": HOSTILE, "completion": HOSTILE}] * 2,
    "messages": [MESSAGE] * 3, "completion": HOSTILE, "version": HOSTILE, "created_at": HOSTILE,
    "status": HOSTILE, "marks": [MARK, {**MARK, "thumb": "up"}], "findings": [FINDING],
    "decisions": [DECISION], "n_hidden_decisions": 1,
}  # fmt: skip
VERDICT = {"version": None, "run_id": HOSTILE, "outcome": "fixed"}
DECIDED = {**ITEM, **DECISION, "categories": [HOSTILE], "answered_at": HOSTILE,
           "outcome": {"verdicts": [VERDICT], "trained_since": HOSTILE}}  # fmt: skip
PAIR = {"reviewers": [HOSTILE, HOSTILE], "kappa": None, "n_same": 1, "n_answers": 1}
PAGE = {"notice": HOSTILE, "queue": {"n_reviewers": 2},
        "agreement": {"n_decided": {HOSTILE: 1, "b": 2}, "pairs": [PAIR]}}  # fmt: skip
TURN = Turn(HOSTILE, HOSTILE, HOSTILE, HOSTILE, "failed", HOSTILE, HOSTILE, calls=[HOSTILE],
            feedback={"thumb": "up", "categories": [HOSTILE], "comment": HOSTILE,
                      "correction": HOSTILE})  # fmt: skip
CHANGED = {**dict.fromkeys(("day", "since", "question", "flagged_version", "flagged", "answered_by",
                            "answer", "tested", "completion_id"), HOSTILE),
           "is_whole": False, "says_the_correction": True}  # fmt: skip
ENGINE = {"state": HOSTILE, "detail": HOSTILE, "progress_fraction": None}
CATEGORY = {"key": HOSTILE, "definition": HOSTILE, "example": HOSTILE}


@pytest.mark.parametrize("draw", [
    lambda: review.who(HOSTILE), lambda: review.counts(PAGE),
    lambda: review.item(ITEM, {"fine": HOSTILE}),
    lambda: review.decided(DECIDED, {"fine": HOSTILE}),
    lambda: review.guidelines(HOSTILE),
    lambda: review.decided_head({"notice": HOSTILE}),
    lambda: review.alternatives({"texts": [HOSTILE], "version": HOSTILE}),
    lambda: chat.signed_in(HOSTILE), lambda: chat.held(TURN),
    lambda: chat.under(TURN, 0, None, False),
    lambda: chat.never_came(TURN, 0, None, False),
    lambda: chat.sides([(HOSTILE, HOSTILE)] * 2, True, HOSTILE),
    lambda: said_back.said_back([CHANGED], 1),
    lambda: chat.about(TURN, "form-", True), lambda: chat.banner(ENGINE),
    lambda: chat.suggested([HOSTILE]),
    lambda: chat.meanings([CATEGORY]), lambda: chat.difference([("insert", HOSTILE, HOSTILE)]),
])  # fmt: skip
def test_no_text_ends_the_block_that_it_stands_in(draw: Callable[[], Any]) -> None:
    html = str(draw())
    assert "\r" not in html
    assert all(line.startswith("<") for line in html.split("\n"))
    found = Drawn(html)
    assert found.depth == 0
    assert not any("onclick" in attributes for _, attributes in found.tags)
    links = {attributes["href"] for tag, attributes in found.tags if tag == "a"}
    assert links <= {"account", "../account"}
    whole = found.text + " ".join(str(value) for _, named in found.tags for value in named.values())
    assert LINK in whole
