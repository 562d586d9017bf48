"""What feedback turns into, split by split, and the counted reasons why some teaches nothing.

Over 400 lines: one store is filled by the same helpers for every kind of feedback.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from feedback.curation import Curated, curate
from feedback.rows import Lesson
from feedback.store import Store
from pawl.schemas import Category, Split
from pawl.settings import Settings
from tests.feedback.examples import answered, conversation_in, said


def _kinds(curated: Curated) -> list[str]:
    return [row.kind for row in curated.rows]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_correction_is_an_answer_to_give_and_a_pair(
    store: Store, settings: Settings, split: Split
) -> None:
    answer = answered(store, conversation_id=conversation_in(split), completion="Sydney.")
    feedback = said(store, answer, thumb="down", categories=["incorrect"], correction="Canberra.")
    curated = curate(store, settings)
    sft, pair = curated.rows
    assert (sft.kind, sft.completion, sft.chosen, sft.label) == ("sft", "Canberra.", None, None)
    assert (pair.kind, pair.chosen, pair.rejected) == ("pair", "Canberra.", "Sydney.")
    for row in curated.rows:
        assert row.prompt == answer.messages
        assert (row.split, row.group_id) == (split, answer.conversation_id)
        assert row.categories == ["incorrect"]
        assert row.origin["feedback_id"] == feedback.feedback_id
        assert row.origin["completion_id"] == answer.completion_id
    assert curated.rejections == {}


def test_a_correction_in_the_holdout_is_a_test_and_nothing_else(
    store: Store, settings: Settings
) -> None:
    answer = answered(store, conversation_id=conversation_in("holdout"), completion="Sydney.")
    said(store, answer, correction="Canberra.")
    (row,) = curate(store, settings).rows
    assert (row.kind, row.split) == ("regression", "holdout")
    assert (row.chosen, row.rejected, row.completion) == ("Canberra.", "Sydney.", None)


@pytest.mark.parametrize("split", ["train", "holdout"])
def test_a_choice_between_two_is_a_pair(store: Store, settings: Settings, split: Split) -> None:
    worse = answered(store, conversation_id=conversation_in(split), completion="Worse.")
    better = answered(
        store, conversation_id=worse.conversation_id, messages=worse.messages, completion="Better."
    )
    said(store, better, preferred_over=worse.completion_id, thumb="up")
    (row,) = curate(store, settings).rows
    assert (row.kind, row.split) == ("pair", split)
    assert (row.chosen, row.rejected) == ("Better.", "Worse.")


@pytest.mark.parametrize(
    ("feedback", "label"),
    [
        ({"thumb": "up"}, True),
        ({"thumb": "down"}, False),
        ({"thumb": "down", "categories": ["verbose"], "comment": "too long"}, False),
        ({"categories": ["verbose"]}, False),
    ],
)
@pytest.mark.parametrize("split", ["train", "holdout"])
def test_a_lone_thumb_is_an_unpaired_row(
    store: Store, settings: Settings, feedback: dict[str, Any], label: bool, split: Split
) -> None:
    answer = answered(store, conversation_id=conversation_in(split))
    said(store, answer, **feedback)
    (row,) = curate(store, settings).rows
    assert (row.kind, row.split, row.label) == ("unpaired", split, label)
    assert row.completion == answer.completion


@pytest.mark.parametrize(
    ("answer", "feedback", "reason"),
    [
        ({}, {"thumb": "down", "correction": " \n"}, "the correction is empty"),
        (
            {"completion": "It  is\n3. "},
            {"correction": "It is 3."},
            "the correction equals the answer",
        ),
        ({"status": "cancelled"}, {"thumb": "down"}, "the answer was cut short (cancelled)"),
        ({"status": "error"}, {"correction": "x"}, "the answer was cut short (error)"),
        ({}, {"thumb": "up", "correction": "x"}, "thumb up and a correction contradict each other"),
        (
            {},
            {"thumb": "up", "categories": ["tone"]},
            "thumb up and an error category contradict each other",
        ),
        ({}, {"comment": "hm"}, "a comment alone"),
        ({}, {"retracted": True}, "retracted"),
        ({}, {"choice_index": 2, "thumb": "up"}, "unknown completion"),
        (
            {"messages": [{"role": "prompt", "content": "Once upon"}]},
            {"thumb": "up"},
            "a plain completion, not a chat",
        ),
        (
            {"messages": [{"role": "token_ids", "content": "[1,2]"}]},
            {"thumb": "up"},
            "a plain completion, not a chat",
        ),
        ({"messages": []}, {"thumb": "up"}, "no prompt"),
        (
            {"messages": [{"role": "user", "content": " "}]},
            {"thumb": "up"},
            "the question is empty",
        ),
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            {"thumb": "up"},
            "a message has another role than system, user, assistant",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            {"thumb": "up"},
            "a message is not text",
        ),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
            {"thumb": "up"},
            "the prompt does not end with the user",
        ),
        ({"completion": ""}, {"thumb": "down"}, "the answer is empty"),
        (
            {"completion": ""},
            {"preferred_over": "chatcmpl-nobody"},
            "unknown completion in preferred_over",
        ),
        (
            {},
            {"categories": ["unsafe"], "thumb": "down"},
            "a category that needs a correction first",
        ),
        ({}, {"categories": ["gone"], "thumb": "down"}, "a category that needs a correction first"),
    ],
)
def test_what_teaches_nothing_is_counted(
    store: Store, settings: Settings, answer: dict[str, Any], feedback: dict[str, Any], reason: str
) -> None:
    completion = answered(store, conversation_id=conversation_in("train"), **answer)
    row = said(store, completion, **feedback)
    curated = curate(store, settings)
    assert curated.rows == []
    assert curated.rejections == {reason: 1}
    assert curated.rejected[0][1]["feedback_id"] == row.feedback_id


def test_an_empty_answer_can_still_be_corrected(store: Store, settings: Settings) -> None:
    answer = answered(store, conversation_id=conversation_in("train"), completion="")
    said(store, answer, correction="Hello!")
    curated = curate(store, settings)
    assert _kinds(curated) == ["sft"]
    assert curated.rejections == {"the worse answer is empty": 1}


def test_preferences_that_compare_nothing(store: Store, settings: Settings) -> None:
    train = conversation_in("train")
    one = answered(store, conversation_id=train)
    same = answered(store, conversation_id=train, messages=one.messages, completion=one.completion)
    cut = answered(store, conversation_id=train, messages=one.messages, status="cancelled")
    stranger = answered(store, conversation_id=train)
    for n, worse in enumerate((same, cut, stranger)):
        said(store, one, preferred_over=worse.completion_id, rater_id=f"rater {n}")
    curated = curate(store, settings)
    assert curated.rows == []
    assert curated.rejections == {
        "both answers are the same": 1,
        "the answer was cut short (cancelled)": 1,
        "the two answers are to different prompts": 1,
    }


def test_treatments_of_categories(store: Store, settings: Settings) -> None:
    for treatment in ("ignore", "holdout_only"):
        store.append_category(Category(treatment, "…", "…", treatment)).result(timeout=60)
    train, holdout = conversation_in("train"), conversation_in("holdout")
    said(store, answered(store, conversation_id=train), categories=["ignore"], correction="x")
    said(store, answered(store, conversation_id=train), categories=["holdout_only"], correction="x")
    said(
        store, answered(store, conversation_id=holdout), categories=["holdout_only"], correction="x"
    )
    said(store, answered(store, conversation_id=train), categories=["unsafe"], correction="x")
    curated = curate(store, settings)
    assert _kinds(curated) == ["regression", "sft", "pair"]
    assert curated.rejections == {
        "a category that is ignored": 1,
        "a category for the holdout only, in a training group": 1,
    }


def test_people_who_disagree_teach_nothing_with_a_thumb(store: Store, settings: Settings) -> None:
    answer = answered(store, conversation_id=conversation_in("train"))
    said(store, answer, thumb="up", rater_id="ann")
    said(store, answer, thumb="down", rater_id="bob")
    curated = curate(store, settings)
    assert curated.rows == []
    assert curated.rejections == {"people disagree, for review": 2}
    said(store, answer, correction="It is so.", rater_id="bob")
    assert curate(store, settings).rejections == {"people disagree, for review": 2}
    said(store, answer, thumb="down", rater_id="eve")
    assert _kinds(curate(store, settings)) == ["sft", "pair", "unpaired"]
    for rater_id in ("bob", "eve"):
        said(store, answer, retracted=True, rater_id=rater_id)
    assert _kinds(curate(store, settings)) == ["unpaired"]


def test_exact_duplicates_are_out(store: Store, settings: Settings) -> None:
    answer = answered(store, conversation_id=conversation_in("train"))
    twin = answered(
        store,
        conversation_id=conversation_in("train"),
        messages=answer.messages,
        completion=answer.completion,
    )
    said(store, answer, correction="Better.", rater_id="ann")
    said(store, answer, correction="Better.", rater_id="bob")
    said(store, twin, correction="Better.")
    curated = curate(store, settings)
    assert _kinds(curated) == ["sft", "pair"]
    assert curated.rejections == {"an exact duplicate": 4}
    assert len({row.row_id for row in curated.rows}) == 2


@pytest.mark.parametrize(
    ("first", "second", "kinds"),
    [("holdout", "train", ["regression"]), ("train", "holdout", ["sft", "pair"])],
)
def test_no_prompt_stands_on_both_sides_of_the_holdout(
    store: Store, settings: Settings, first: Split, second: Split, kinds: list[str]
) -> None:
    one = answered(store, conversation_id=conversation_in(first))
    two = answered(
        store,
        conversation_id=conversation_in(second),
        messages=one.messages,
        completion="another wrong answer",
    )
    said(store, one, correction="Right.")
    said(store, two, correction="Right, in other words.")
    curated = curate(store, settings)
    assert _kinds(curated) == kinds
    assert {row.split for row in curated.rows} == {first}
    assert curated.rejections == {"another wording of this correction is learned": 1}


def _sides(store: Store, settings: Settings) -> dict[str, list[str]]:
    sides: dict[str, list[str]] = {}
    for row in curate(store, settings).rows:
        sides.setdefault(row.split, []).append(row.kind)
    return sides


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ("holdout", "train", {"holdout": ["regression"]}),
        ("train", "holdout", {"train": ["sft", "pair"]}),
        ("validation", "train", {"validation": ["sft", "pair"]}),
    ],
)
def test_a_prompt_keeps_its_side_from_night_to_night(
    store: Store, settings: Settings, first: Split, second: Split, kept: dict[str, list[str]]
) -> None:
    one = answered(store, conversation_id=conversation_in(first))
    two = answered(store, conversation_id=conversation_in(second), messages=one.messages)
    said(store, one, correction="Right.", rater_id="ann")
    said(store, two, correction="Right, in other words.", rater_id="bob")
    assert _sides(store, settings) == kept
    said(store, one, correction="Right!", rater_id="ann")  # now behind bob's
    assert _sides(store, settings) == kept
    said(store, one, retracted=True, rater_id="ann")
    assert _sides(store, settings) == kept
    said(store, two, retracted=True, rater_id="bob")
    said(store, two, correction="Something else.", rater_id="eve")
    assert _sides(store, settings) == kept


@pytest.mark.parametrize(("first", "second"), [("holdout", "train"), ("train", "holdout")])
def test_an_imported_prompt_keeps_its_side(
    store: Store, settings: Settings, first: Split, second: Split
) -> None:
    answer = answered(store, conversation_id=conversation_in(second))
    lesson = Lesson(
        "pair", conversation_in(first), answer.messages, chosen="Right.", rejected="Wrong."
    )
    store.append_imported([lesson], source_format="preference", file_sha256="0").result(timeout=60)
    assert _sides(store, settings) == {first: ["pair"]}
    said(store, answer, correction="Right, in other words.")
    assert _sides(store, settings).keys() == {first}


def test_a_prompt_in_other_case_and_punctuation_is_the_same(
    store: Store, settings: Settings
) -> None:
    def ask(split: Split, text: str) -> None:
        answer = answered(
            store,
            conversation_id=conversation_in(split),
            messages=[{"role": "user", "content": text}],
        )
        said(store, answer, correction="Right.")

    ask("holdout", "what is  y?")
    ask("train", "What is Y?")
    ask("train", "“What is y” ...")
    assert _sides(store, settings) == {"holdout": ["regression"] * 3}
    ask("holdout", "What is 2+2?")
    ask("train", "What is 2-2?")
    ask("train", "What is -2 + 2?")
    ask("train", "What is 2 + 2?")
    assert _sides(store, settings) == {
        "holdout": ["regression"] * 4,
        "train": ["sft", "pair"] * 3,
    }


def test_preferences_that_contradict_each_other_teach_nothing(
    store: Store, settings: Settings
) -> None:
    train = conversation_in("train")
    one = answered(store, conversation_id=train, completion="one")
    two = answered(store, conversation_id=train, messages=one.messages, completion="two")
    three = answered(store, conversation_id=train, messages=one.messages, completion="three")
    said(store, one, preferred_over=two.completion_id, rater_id="ann")
    said(store, two, preferred_over=one.completion_id, rater_id="bob")
    said(store, three, preferred_over=one.completion_id, rater_id="ann")
    curated = curate(store, settings)
    assert [(row.chosen, row.rejected) for row in curated.rows] == [("three", "one")]
    assert curated.rejections == {"people disagree, for review": 2}
    said(store, two, retracted=True, rater_id="bob")
    assert [row.chosen for row in curate(store, settings).rows] == ["one", "three"]


def test_choices_of_one_completion_are_compared(store: Store, settings: Settings) -> None:
    zero = answered(store, conversation_id=conversation_in("train"), completion="zero")
    for index, text in ((1, "one"), (2, "two")):
        store.append_completion(replace(zero, choice_index=index, completion=text)).result(60)
    said(
        store,
        zero,
        choice_index=1,
        preferred_over=zero.completion_id,
        preferred_over_choice_index=2,
    )
    (row,) = curate(store, settings).rows
    assert (row.chosen, row.rejected) == ("one", "two")


def test_turns_of_one_conversation_stand_together(store: Store, settings: Settings) -> None:
    for n in range(40):
        for turn in range(3):
            said(store, answered(store, conversation_id=f"talk {n}"), correction=f"{n} {turn}")
    splits: dict[str, set[str]] = {}
    for row in curate(store, settings).rows:
        splits.setdefault(row.group_id, set()).add(row.split)
    assert len(splits) == 40
    assert all(len(one) == 1 for one in splits.values())
    assert set.union(*splits.values()) == {"train", "validation", "holdout"}


def test_imported_rows_come_after_our_own(store: Store, settings: Settings) -> None:
    answer = answered(store, conversation_id=conversation_in("train"))
    lesson = Lesson(
        "sft",
        conversation_in("train"),
        [{"role": "user", "content": "Hi"}],
        completion="Hello",
        origin={"source": "import:sft"},
    )
    twin = Lesson("sft", conversation_in("train"), answer.messages, completion="Right.")
    store.append_imported([lesson, twin], source_format="sft", file_sha256="0").result(timeout=60)
    said(store, answer, correction="Right.")
    curated = curate(store, settings)
    assert [(row.kind, row.completion) for row in curated.rows] == [
        ("sft", "Right."),
        ("pair", None),
        ("sft", "Hello"),
    ]
    assert curated.rows[2].origin == {"source": "import:sft"}
    assert curated.rejections == {"an exact duplicate": 1}


def test_the_same_store_gives_the_same_rows(store: Store, settings: Settings) -> None:
    for n in range(20):
        said(store, answered(store), thumb="down", correction=f"Answer {n}")
    assert curate(store, settings) == curate(store, settings)


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
TOOLS = [{"type": "function", "function": {"name": "f", "description": "", "parameters": {}}}]
CALLED = [
    {"role": "user", "content": "How warm?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "17", "tool_call_id": "c"},
]


@pytest.mark.parametrize("split", ["train", "holdout"])
def test_a_text_in_a_conversation_with_tools_is_learned_with_all_of_it(
    store: Store, settings: Settings, split: Split
) -> None:
    answer = answered(store, conversation_id=conversation_in(split), completion="18.",
                      messages=CALLED, sampling={"tools": TOOLS})  # fmt: skip
    said(store, answer, correction="17 degrees.")
    rows = curate(store, settings).rows
    assert [row.kind for row in rows] == (["sft", "pair"] if split == "train" else ["regression"])
    for row in rows:
        assert (row.prompt, row.tools) == (CALLED, TOOLS)
        assert row.has_tools
        assert row.as_json()["tools"] == TOOLS
        without = Lesson(row.kind, row.group_id, row.prompt, row.completion, row.chosen,
                         row.rejected)  # fmt: skip
        assert without.row_id != row.row_id


@pytest.mark.parametrize("split", ["train", "holdout"])
def test_an_answer_that_calls_a_tool_is_not_learned_but_what_it_should_have_said_is(
    store: Store, settings: Settings, split: Split
) -> None:
    conversation = conversation_in(split)
    flagged, liked, worse = (
        answered(store, conversation_id=conversation, completion="", tool_calls=[CALL],
                 messages=[{"role": "user", "content": f"How warm, {n}?"}],
                 sampling={"tools": TOOLS}) for n in range(3)
    )  # fmt: skip
    text = answered(store, conversation_id=conversation, messages=worse.messages,
                    sampling=worse.sampling, completion="17.")  # fmt: skip
    said(store, flagged, correction="I don't know.")
    said(store, liked, thumb="up")
    said(store, text, preferred_over=worse.completion_id)
    curated = curate(store, settings)
    assert _kinds(curated) == (["sft"] if split == "train" else [])
    assert curated.rejections == {"the answer calls a tool, and only texts are learned": 3}


@pytest.mark.parametrize("arguments", ["", '{"a": ', "[1]", "[" * 5000])
def test_a_history_whose_calls_can_not_be_read_is_not_learned_from(
    store: Store, settings: Settings, arguments: str
) -> None:
    call = {**CALL, "function": {"name": "f", "arguments": arguments}}
    messages = [CALLED[0], {**CALLED[1], "tool_calls": [call]}, CALLED[2]]
    said(store, answered(store, messages=messages), thumb="up")
    assert curate(store, settings).rejections == {"the arguments of a call are no JSON object": 1}


def test_a_correction_that_another_base_needed_is_left_out_and_counted(
    store: Store, settings: Settings
) -> None:
    train = conversation_in("train")
    old = answered(store, conversation_id=train, base_fingerprint="sha256:old", completion="Sydney")
    new = answered(store, conversation_id=train, completion="Berne")
    liked = answered(store, conversation_id=train, base_fingerprint="sha256:old")
    said(store, old, correction="Canberra")
    said(store, new, correction="Bern")
    said(store, liked, thumb="up")
    assert store.corrected_on_other_bases("sha256:0") == [old.completion_id]
    whole = curate(store, settings)
    [pair] = [row for row in whole.rows if row.chosen == "Canberra"]
    curated = curate(store, settings, mended=[pair.row_id])
    assert curated.rejections == {"another base's fault: this one answers as corrected": 1}
    left = {pair.row_id} | {row.row_id for row in whole.rows if row.completion == "Canberra"}
    assert {row.row_id for row in curated.rows} == {row.row_id for row in whole.rows} - left
