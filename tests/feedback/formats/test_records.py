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
    "a transcript as prompt": {
        "prompt": f"\n\nHuman: {ASKED}\n\nAssistant:",
        "chosen": "The Danube.", "rejected": "The Rhine.",
    },
    "a conversation and a rejected answer": {
        "messages": [USER, RIGHT], "rejected_response": "The Rhine.",
    },
    "a conversation and a rejected conversation": {
        "messages": [USER, RIGHT], "rejected_messages": [USER, WRONG],
    },
    "ShareGPT's": {
        "conversations": [{"from": "human", "value": ASKED}],
        "chosen": {"from": "gpt", "value": "The Danube."},
        "rejected": {"from": "gpt", "value": "The Rhine."},
    },
    "a battle": {
        "question_id": "q", "model_a": "x", "model_b": "y", "winner": "model_b",
        "conversation_a": [USER, WRONG], "conversation_b": [USER, RIGHT], "turn": 1,
    },
    "UltraFeedback's": {
        "source": "s", "instruction": ASKED, "models": ["x", "y"], "completions": [
            {"model": "x", "response": "The Rhine.", "overall_score": 3.5, "fine-grained_score": 3},
            {"model": "y", "response": "The Danube.", "overall_score": 8, "fine-grained_score": 5},
        ],
    },
    "ranked answers": {
        "prompt": f"\n\nHuman: {ASKED}\n\nAssistant: ", "turns": 1,
        "answers": [{"answer": "The Rhine.", "rank": 2.0}, {"answer": "The Danube.", "rank": 1.0}],
    },
    "answers beside their scores": {
        "prompt": ASKED, "responses": ["The Danube.", "The Rhine."], "scores": ["0.9", "0.1"],
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
        {"text": f"\n\nHuman: {ASKED}\n\nAssistant: The Danube."},
        {"prompt": ASKED, "completion": "The Danube.", "messages": [USER, RIGHT]},
    ],
)  # fmt: skip
def test_answers_to_learn(record: dict[str, Any]) -> None:
    (row,) = rows_of(record)
    assert (row.kind, row.completion) == ("sft", "The Danube.")
    assert row.prompt[0]["content"].split() == ASKED.split()


CALL = {"role": "assistant", "content": "Let me look.", "tool_calls": [{"id": "1"}]}
WHOLE_CALL = {
    "role": "assistant", "content": None,
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": [{**USER, "content": [{"type": "image_url"}]}, RIGHT]},
         "messages has parts that are not text"),
        ({"messages": [{**USER, "content": [{"type": "text"}]}, RIGHT]},
         "messages has parts that are not text"),
        ({"messages": [USER, {**USER, "content": [{"type": "refusal", "refusal": "no"}]}, RIGHT]},
         "messages has parts that are not text"),
        ({"messages": [USER, CALL]}, "a call of a tool is not in OpenAI's form"),
        ({"messages": [USER, WHOLE_CALL]}, "the answer calls a tool, and only texts are learned"),
        ({"messages": [USER, CALL, {"role": "tool", "content": "x"}, RIGHT]},
         "a call of a tool is not in OpenAI's form"),
        ({"messages": [USER, {"role": "tool", "content": "x"}, USER, RIGHT]},
         "a message has another role than system, user, assistant"),
        ({"messages": [USER, RIGHT], "tools": [{"type": "function"}]},
         "its tools are not in OpenAI's form"),
        ({"messages": [USER, RIGHT], "tools": "[not JSON"}, "its tools are not JSON"),
        ({"messages": [USER, RIGHT], "functions": [{}]},
         "it offers functions in the form that OpenAI gave up"),
        ({"input": {"messages": [USER], "tools": [{}]}, "preferred_output": [RIGHT],
          "non_preferred_output": [WRONG]}, "its tools are not in OpenAI's form"),
        ({"input": "x", "preferred_output": [RIGHT], "non_preferred_output": [WRONG]},
         "input is not an object"),
        ({"messages": [USER, {**RIGHT, "weight": 0}]},
         "its answer has weight 0, so it is not to be learned"),
        ({"chosen": "The Danube.", "rejected": "The Rhine."},
         "chosen is a text without its prompt"),
        ({"chosen": [RIGHT], "rejected": [WRONG]}, "chosen and rejected come without a prompt"),
        ({"prompt": "Of what?", "chosen": [USER, RIGHT], "rejected": [USER, WRONG]},
         "chosen is a conversation that does not hold the prompt"),
        ({"question": "a"}, "of no known format"),
    ],
)  # fmt: skip
def test_what_is_no_row_is_counted(record: dict[str, Any], reason: str) -> None:
    good = {"messages": [USER, RIGHT]}
    parsed = parse(json.dumps([good, record]).encode(), "rows.json")
    assert parsed.skipped == {reason: 1}
    assert parsed.problems[0].startswith(f"record 2 (line 1): {reason}")
    assert [row.completion for row in parsed.lessons] == ["The Danube."]


def test_earlier_turns_and_system_texts_stay() -> None:
    alpaca = {"instruction": ASKED, "input": "", "output": "The Danube.", "system": "Be short.",
              "history": [["Hello", "Hi."]]}  # fmt: skip
    sharegpt = {"system": "Be short.", "conversations": [
        {"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi."},
        {"from": "human", "value": ASKED}, {"from": "gpt", "value": "The Danube."}]}  # fmt: skip
    first = parse(json.dumps(alpaca).encode(), "rows.jsonl").lessons
    second = parse(json.dumps(sharegpt).encode(), "rows.jsonl").lessons
    assert [[message["role"] for message in row.prompt] for row in first] == [
        ["system", "user"], ["system", "user", "assistant", "user"],
    ]  # fmt: skip
    assert [row.row_id for row in first] == [row.row_id for row in second]


def talk(n_answers: int, asks: str = "Question") -> list[dict[str, Any]]:
    """A conversation of so many questions and answers."""
    return [
        {"role": role, "content": f"{text} {n}."}
        for n in range(n_answers)
        for role, text in (("user", asks), ("assistant", "Answer"))
    ]


def test_every_answer_of_a_conversation_is_a_row() -> None:
    messages = talk(5)
    transcript = "".join(
        f"\n\n{'Human' if one['role'] == 'user' else 'Assistant'}: {one['content']}"
        for one in messages
    )
    sharegpt = [
        {"from": "human" if one["role"] == "user" else "gpt", "value": one["content"]}
        for one in messages
    ]
    for record in ({"messages": messages}, {"conversations": sharegpt}, {"text": transcript}):
        rows = rows_of(record)
        assert [row.completion for row in rows] == [f"Answer {n}." for n in range(5)]
        assert [row.prompt for row in rows] == [messages[: 2 * n + 1] for n in range(5)]
        assert len({row.group_id for row in rows}) == 1
    apart = {"prompt": messages[:-1], "completion": messages[-1:]}
    assert [row.completion for row in rows_of(apart)] == ["Answer 4."]


def test_answers_of_weight_0_and_those_that_call_tools_are_counted() -> None:
    messages = talk(4)
    messages[1]["weight"] = messages[7]["weight"] = 0
    messages[3]["weight"] = 1
    messages[5] = WHOLE_CALL
    messages[6] = {"role": "tool", "content": "x", "tool_call_id": "1"}
    messages += talk(1)
    parsed = parse(json.dumps({"messages": messages}).encode(), "rows.jsonl")
    assert [(row.completion, len(row.prompt)) for row in parsed.lessons] == [
        ("Answer 1.", 3), ("Answer 0.", 9),
    ]  # fmt: skip
    assert parsed.skipped == {
        "its answer has weight 0, so it is not to be learned": 2,
        "the answer calls a tool, and only texts are learned": 1,
    }


def test_a_long_conversation_has_rows_of_its_last_answers() -> None:
    """Eight times its text; where one message is most of it, fifty."""
    parsed = parse(json.dumps({"messages": talk(60)}).encode(), "rows.jsonl")
    assert [row.completion for row in parsed.lessons] == [f"Answer {n}." for n in range(52, 60)]
    assert parsed.skipped == {"an early answer of a long conversation": 52}
    for n, is_all in ((15, True), (16, False)):
        parsed = parse(json.dumps({"messages": talk(n)}).encode(), "rows.jsonl")
        assert (len(parsed.lessons) == n) == is_all
    long = {"messages": [*talk(60), {**USER, "content": ASKED * 1000}, RIGHT]}
    parsed = parse(json.dumps(long).encode(), "rows.jsonl")
    assert len(parsed.lessons) == 50
    tools = [{"type": "function", "function": {"name": "f", "description": "x" * 100_000}}]
    parsed = parse(json.dumps({"messages": talk(60), "tools": tools}).encode(), "rows.jsonl")
    assert len(parsed.lessons) == 8


def test_rows_of_a_file_of_long_conversations_are_not_much_larger_than_it() -> None:
    record = {"messages": [{**one, "content": one["content"] * 30} for one in talk(60)]}
    raw = json.dumps(record).encode()
    rows = [row.as_json() for row in parse(raw, "rows.jsonl").lessons]
    assert 5 * len(raw) < len(json.dumps(rows)) < 9 * len(raw)


def test_a_pair_beside_a_conversation_of_several_answers_is_a_pair() -> None:
    pair = {"messages": talk(3), "rejected_response": "No."}
    rated = {"messages": talk(3), "label": False}
    rows = rows_of(pair, rated)
    assert [(row.kind, row.chosen or row.completion, len(row.prompt)) for row in rows] == [
        ("pair", "Answer 2.", 5), ("unpaired", "Answer 2.", 5),
    ]  # fmt: skip


def test_ranked_replies_whose_scores_disagree_are_counted() -> None:
    replies = [
        {"response": "The Danube.", "overall_score": 9, "fine-grained_score": 4.5},
        {"response": "The Rhine.", "overall_score": 10, "fine-grained_score": 1},
        {"response": "The Elbe.", "overall_score": 9, "fine-grained_score": 4.5},
        {"response": "The Oder."},
        {"response": "The Spree.", "overall_score": 1, "fine-grained_score": 1},
    ]
    parsed = parse(json.dumps({"instruction": ASKED, "completions": replies}).encode(), "r.jsonl")
    assert [(row.chosen, row.rejected) for row in parsed.lessons] == [("The Danube.", "The Spree.")]
    assert parsed.skipped == {
        "a reply without a score": 1, "the scores of two replies disagree": 1,
        "two replies share the best rank": 1,
    }  # fmt: skip


def test_a_file_may_hold_several_formats() -> None:
    rated = {"messages": [USER, WRONG], "label": False}
    records = [PAIRS["texts"], {"messages": [USER, RIGHT]}, {"question": 1}, rated]
    parsed = parse("\n".join(map(json.dumps, records)).encode(), "mixed.jsonl")
    assert parsed.file_format == "preference+sft+sharegpt-kto"
    assert [row.kind for row in parsed.lessons] == ["pair", "sft", "unpaired"]
    assert parsed.lessons[1].origin["source"] == "import:sft"
    assert parsed.skipped == {"of no known format": 1}
