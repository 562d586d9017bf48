"""The paths through a conversation in which questions were asked again and edited."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from feedback.branches import Entry, Tree, n_left_out, newest_of
from pawl.schemas import Completion, Message
from tests.feedback.examples import make_completion

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def said(*texts: str | Message) -> list[Message]:
    """Texts in turn a user's and an assistant's; messages as they are."""
    roles = ("user", "assistant")
    return [
        {"role": roles[i % 2], "content": text} if isinstance(text, str) else text
        for i, text in enumerate(texts)
    ]


def row(prompt: list[Message], answer: str, **more: Any) -> Completion:
    return make_completion(messages=prompt, completion=answer, **more)


def written(entries: list[Entry]) -> list[str]:
    """Texts, with the place of a question that has variants."""
    return [
        one.message["content"] + (f" {one.variant}/{one.n_variants}" if one.variant else "")
        for one in entries
    ]


def paths(rows: list[Completion]) -> list[tuple[int, int, list[str]]]:
    """The newest path as (0, 0, texts), then the branches."""
    tree, newest = Tree(rows), newest_of(rows)
    return [(0, 0, written(tree.path_to(newest)))] + [
        (of, at, written(entries)) for of, at, entries in tree.branches(newest)
    ]


def test_regenerated_and_edited_questions_stand_beside_each_other_at_every_depth() -> None:
    rows = [
        row(said("a"), "1"),
        row(said("a", "1", "b"), "2"),
        row(said("a", "1", "b", "2", "c"), "3"),
        row(said("a", "1", "b"), "two"),  # again
        row(said("a", "1", "B"), "zwei"),  # edited
        row(said("A"), "eins"),
        row(said("A", "eins", "b"), "2"),
        row(said("a", "1", "b", "two", "d"), "4"),  # an earlier variant goes on
    ]
    assert paths(rows) == [
        (0, 0, ["a 1/2", "1", "b 2/3", "two", "d", "4"]),
        (0, 0, ["A 2/2", "eins", "b", "2"]),
        (0, 2, ["b 1/3", "2", "c", "3"]),
        (0, 2, ["B 3/3", "zwei"]),
    ]
    tree = Tree(rows)
    assert written(tree.path_to(rows[2])) == ["a 1/2", "1", "b 1/3", "2", "c", "3"]
    assert [one.row for one in tree.path_to(rows[2])][1::2] == [rows[0], rows[1], rows[2]]
    counted = [one for _, _, entries in tree.branches(rows[2]) for one in entries if one.row]
    assert len(counted) + 3 == len(rows)  # each answer is on one path


def test_a_branch_of_a_branch_counts_over_its_whole_path() -> None:
    rows = [
        row(said("a"), "1"),
        row(said("A"), "eins"),
        row(said("A", "eins", "b"), "2"),
        row(said("A", "eins", "b"), "zwei"),
        row(said("a"), "uno"),
    ]
    assert paths(rows) == [
        (0, 0, ["a 3/3", "uno"]),
        (0, 0, ["a 1/3", "1"]),
        (0, 0, ["A 2/3", "eins", "b 2/2", "zwei"]),
        (2, 2, ["b 1/2", "2"]),
    ]


def test_the_same_answer_twice_and_several_choices_are_variants_and_an_empty_one_is_none() -> None:
    first, again = row(said("a"), "1"), row(said("a"), "1")
    cut = row(said("a"), " ", status="error")
    choice = row(said("a"), "eins", choice_index=1, completion_id=again.completion_id)
    assert paths([first, cut, again, choice]) == [
        (0, 0, ["a 2/3", "1"]),
        (0, 0, ["a 1/3", "1"]),
        (0, 0, ["a 3/3", "eins"]),
    ]
    found = Tree([first, again]).branches(again)
    assert [one.row for one in found[0].entries] == [None, first]
    assert paths([first, cut])[0] == (0, 0, ["a 2/2", " "])  # the newest is shown whatever it is


def test_calls_of_tools_belong_to_their_turn() -> None:
    called = row(said("a"), "", tool_calls=[CALL])
    result = {"role": "tool", "content": "4", "tool_call_id": "c"}
    begun = said("a", called.answer, result)
    rows = [called, row(begun, "four"), row(begun, "4!"), row(said("a"), "no tool")]
    assert paths(rows) == [
        (0, 0, ["a 3/3", "no tool"]),
        (0, 0, ["a 1/3", "", "4", "four"]),
        (0, 0, ["a 2/3", "", "4", "4!"]),
    ]
    assert [one.row for one in Tree(rows).branches(rows[-1])[0].entries] == [
        None, called, None, rows[1],
    ]  # fmt: skip


def test_a_changed_system_prompt_makes_no_variant_and_a_shortened_prompt_no_other_root() -> None:
    def under(text: str) -> list[Message]:
        return [{"role": "system", "content": text}]

    rows = [
        row([*under("Be brief."), *said("a")], "1"),
        row([*under("Be long."), *said("a", "1", "b")], "2"),
        row([*under("Be kind."), *said("b", "2", "c")], "3"),  # without the oldest
        row([*under("Be kind."), *said("b", "2", "C")], "drei"),
        row([*under("Be kind."), *said("b", "2", "C", "drei", "d")], "4"),
    ]
    assert paths(rows) == [
        (0, 0, ["Be long.", "a", "1", "b", "2", "C 2/2", "drei", "d", "4"]),
        (0, 5, ["c 1/2", "3"]),
    ]


def test_what_another_prompt_set_in_the_midst_is_not_taken_for_left_out() -> None:
    set_ = {"role": "system", "content": "Be brief."}
    plain, set_here = row(said("a", "1", "b"), "2"), row([*said("a", "1"), set_, *said("b")], "two")
    for rows in ([plain, set_here], [set_here, plain]):
        tree = Tree(rows)
        assert [n_left_out(tree.path_to(one), one) for one in rows] == [0, 0]
    cut = row([set_, *said("b", "2", "c")], "3")
    assert n_left_out(Tree([plain, cut]).path_to(cut), cut) == 2


def test_thousands_of_unlike_prompts_under_one_id_are_read_in_no_time() -> None:
    rows = [row(said(f"{n}", "same", "more"), "same") for n in range(2_000)]
    began = time.monotonic()
    assert len(Tree(rows).branches(rows[-1])) == 1_999
    again = [row(said("a"), f"{n}") for n in range(10_000)]
    assert len(Tree(again).branches(again[-1])) == 9_999
    assert time.monotonic() - began < 20


def turn(texts: list[str], answer: str, **more: Any) -> Completion:
    return row(said(*texts), answer, **more)


def thread(rows: list[Completion]) -> list[tuple[Message, Completion | None]]:
    return [(one.message, one.row) for one in Tree(rows).path_to(newest_of(rows))]


def test_what_was_asked_again_or_edited_is_left_out() -> None:
    a = turn(["one"], "eins")
    again = turn(["one"], "uno")
    b = turn(["one", "uno", "two"], "zwei")
    edited = turn(["one", "uno", "too"], "auch")
    shown = thread([a, again, b, edited])
    assert [record for _, record in shown] == [None, again, None, edited]
    assert [message["content"] for message, _ in shown] == ["one", "uno", "too", "auch"]


def test_what_a_shortened_prompt_leaves_out_stands_before_it() -> None:
    a = turn(["one"], "eins")
    b = turn(["one", "eins", "two"], "zwei")
    c = turn(["two", "zwei", "three"], "drei")
    d = turn(["two", "zwei", "three", "drei", "four"], "vier")
    e = turn(["three", "drei", "four", "vier", "five"], "cinq")
    shown = thread([a, b, c, d, e])
    assert [message["content"] for message, _ in shown] == [
        "one", "eins", "two", "zwei", "three", "drei", "four", "vier", "five", "cinq",
    ]  # fmt: skip
    assert [record for _, record in shown][1::2] == [a, b, c, d, e]
    edited = turn(["uno"], "eins")
    assert len(thread([a, b, c, edited])) == 2


def test_a_system_prompt_that_changes_or_goes_makes_no_other_conversation() -> None:
    def under(prompt: str, one: Completion) -> Completion:
        before = [{"role": "system", "content": prompt}] if prompt else []
        return replace(one, messages=[*before, *one.messages])

    a = under("Be brief.", turn(["one"], "eins"))
    b = under("", turn(["one", "eins", "two"], "zwei"))
    c = under("Be long.", turn(["two", "zwei", "three"], "drei"))  # without the oldest
    d = under("Be kind.", turn(["two", "zwei", "three", "drei", "four"], "vier"))
    shown = thread([a, b, c, d])
    assert [message["content"] for message, _ in shown] == [
        "one", "eins", "two", "zwei", "three", "drei", "four", "vier",
    ]  # fmt: skip
    assert [record for _, record in shown][1::2] == [a, b, c, d]
    shown = thread([a, b])
    assert [record for _, record in shown][1::2] == [a, b]


def test_of_the_same_text_given_twice_the_newest_counts() -> None:
    a, again = turn(["one"], "eins"), turn(["one"], "eins")
    b = turn(["one", "eins", "two"], "zwei")
    assert [record for _, record in thread([a, again, b])] == [None, again, None, b]


def test_an_answer_from_elsewhere_has_no_record_and_of_several_choices_the_first_is_taken() -> None:
    first = turn(["one", "from elsewhere", "two"], "zwei")
    other = turn(["one", "from elsewhere", "two"], "deux", choice_index=1,
                completion_id=first.completion_id)  # fmt: skip
    assert [record for _, record in thread([first, other])] == [None, None, None, first]


def test_a_conversation_of_many_messages_is_read_in_no_time() -> None:
    """A prompt that no engine takes is recorded too, when its client hangs up."""
    last = turn(["text"] * 40_001, "end")
    began = time.monotonic()
    assert len(thread([last])) == 40_002
    assert time.monotonic() - began < 10  # 20,000 prefixes of a megabyte took minutes
