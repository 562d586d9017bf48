"""Rows of other projects' formats: in, out and back again; what is unusable is counted.

Over 400 lines: each format goes through the same tests.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from feedback.curation import curate
from feedback.formats import WRITERS, Exchange, Parsed, export_file, import_rows, parse
from feedback.formats.write import render
from feedback.rows import Lesson
from feedback.service import take_snapshot
from feedback.store import Store
from pawl.errors import PawlError
from pawl.schemas import Message, RowKind, TrainingRow
from pawl.settings import Settings
from tests.feedback.examples import answered, conversation_in, said

USER = {"role": "user", "content": "Capital of Australia?"}
ANSWER = {"role": "assistant", "content": "Canberra."}
WRONG = {"role": "assistant", "content": "Sydney."}
SYSTEM = {"role": "system", "content": "Be brief."}


def _parse(path: Path, file_format: str = "auto") -> Parsed:
    return parse(path.read_bytes(), path.name, file_format)


def _import(store: Store, path: Path, file_format: str = "auto") -> dict[str, Any]:
    return import_rows(store, path.read_bytes(), path.name, file_format)


def _export(store: Store, path: Path, file_format: str, settings: Settings) -> dict[str, Any]:
    return export_file(store, Exchange(path.parent, 10**9), path.name, file_format, settings)


def _write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in records), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("record", "file_format", "kind", "fields"),
    [
        (
            {"messages": [SYSTEM, USER, ANSWER]},
            "sft",
            "sft",
            {"prompt": [SYSTEM, USER], "completion": "Canberra."},
        ),
        (
            {"prompt": [USER], "completion": [ANSWER]},
            "sft",
            "sft",
            {"prompt": [USER], "completion": "Canberra."},
        ),
        (
            {"prompt": [USER], "chosen": [ANSWER], "rejected": [WRONG]},
            "preference",
            "pair",
            {"prompt": [USER], "chosen": "Canberra.", "rejected": "Sydney."},
        ),
        (
            {"chosen": [USER, ANSWER], "rejected": [USER, WRONG]},
            "preference",
            "pair",
            {"prompt": [USER], "chosen": "Canberra.", "rejected": "Sydney."},
        ),
        (
            {"prompt": [USER], "completion": [WRONG], "label": False},
            "unpaired",
            "unpaired",
            {"prompt": [USER], "completion": "Sydney.", "label": False},
        ),
        (
            {
                "conversations": [
                    {"from": "system", "value": "Be brief."},
                    {"from": "human", "value": "Capital of Australia?"},
                ],
                "chosen": {"from": "gpt", "value": "Canberra."},
                "rejected": {"from": "gpt", "value": "Sydney."},
            },
            "sharegpt-dpo",
            "pair",
            {"prompt": [SYSTEM, USER], "chosen": "Canberra.", "rejected": "Sydney."},
        ),
        (
            {"messages": [USER, ANSWER], "label": True},
            "sharegpt-kto",
            "unpaired",
            {"prompt": [USER], "completion": "Canberra.", "label": True},
        ),
    ],
)
def test_formats_are_told_and_read(
    tmp_path: Path, record: dict[str, Any], file_format: str, kind: str, fields: dict[str, Any]
) -> None:
    parsed = _parse(_write(tmp_path / "rows.jsonl", record))
    assert (parsed.file_format, parsed.skipped) == (file_format, {})
    (lesson,) = parsed.lessons
    assert lesson.kind == kind
    assert {name: getattr(lesson, name) for name in fields} == fields
    assert lesson.origin == {
        "source": f"import:{file_format}",
        "file": "rows.jsonl",
        "place": "line 1",
    }
    layouts = (
        json.dumps([record], indent=1),
        json.dumps(record, indent=1),
        json.dumps({"object": "list", "data": [record], "has_more": False}),
        "\ufeff" + json.dumps(record) + "\r\n",
    )
    for text in layouts:
        (tmp_path / "rows.json").write_text(text, encoding="utf-8")
        for named in ("auto", file_format):
            (again,) = _parse(tmp_path / "rows.json", named).lessons
            assert again.row_id == lesson.row_id


def test_a_file_is_not_written_with_another_split(
    tmp_path: Path, store: Store, settings: Settings
) -> None:
    answer = answered(store, conversation_id=conversation_in("holdout"))
    said(store, answer, correction="Secret.")
    assert _export(store, tmp_path / "out.jsonl", "sft", settings)["n_written"] == 0
    for n in range(40):  # among so many salts some would put the conversation into train
        other = settings.model_copy(update={"split_salt": f"other {n}"})
        with pytest.raises(PawlError, match="split_salt") as err:
            _export(store, tmp_path / f"{n}.jsonl", "sft", other)
        assert err.value.code == "split_salt_changed"
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["out.jsonl"]


@pytest.mark.parametrize("replies", [5, "text", {"a": 1}, True])
def test_a_tree_whose_replies_are_no_list(tmp_path: Path, replies: Any) -> None:
    broken = {"message_tree_id": "t", "prompt": {**_question("Q"), "replies": replies}}
    whole = {"message_tree_id": "u", "prompt": _question("Q", _reply("a", 0), _reply("b", 1))}
    parsed = _parse(_write(tmp_path / "t.jsonl", broken, whole))
    assert [(row.chosen, row.rejected) for row in parsed.lessons] == [("a", "b")]
    assert parsed.skipped == {"replies is not a list": 1}


def _reply(text: str, rank: int | None, *replies: Any, **more: Any) -> dict[str, Any]:
    return {"text": text, "role": "assistant", "rank": rank, "replies": list(replies), **more}


def _question(text: str, *replies: Any) -> dict[str, Any]:
    return {"text": text, "role": "prompter", "rank": None, "replies": list(replies)}


def test_ranked_trees_are_pairs_of_the_best_against_the_others(tmp_path: Path) -> None:
    tree = {
        "message_tree_id": "t",
        "prompt": _question(
            "Q1",
            _reply("second", 1),
            _reply("best", 0, _question("Q2", _reply("worse", 2), _reply("better", 1))),
            _reply("third", 2),
            _reply("deleted", 3, deleted=True),
            _reply("unranked", None, _question("Q3")),
        ),
    }
    parsed = _parse(_write(tmp_path / "t.jsonl", tree))
    assert [(len(row.prompt), row.chosen, row.rejected) for row in parsed.lessons] == [
        (1, "best", "second"),
        (1, "best", "third"),
        (3, "better", "worse"),
    ]
    assert parsed.lessons[2].prompt == [
        {"role": "user", "content": "Q1"},
        {"role": "assistant", "content": "best"},
        {"role": "user", "content": "Q2"},
    ]
    assert {row.group_id for row in parsed.lessons} == {"import:oasst:t"}
    assert parsed.skipped == {"a question without replies": 1}


def test_unusable_rows_are_counted_and_named(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "rows.jsonl"
    good = {"prompt": [USER], "chosen": [ANSWER], "rejected": [WRONG]}
    bad = [
        "{not json",
        json.dumps([1]),
        json.dumps({**good, "prompt": 7}),
        json.dumps({**good, "chosen": [WRONG]}),
        json.dumps({**good, "rejected": []}),
        json.dumps({**good, "prompt": []}),
        json.dumps({**good, "prompt": [ANSWER]}),
        json.dumps({**good, "prompt": [{"role": "tool", "content": "x"}]}),
        json.dumps({**good, "chosen": [{"role": "assistant", "content": None}]}),
        json.dumps({**good, "chosen": [{"role": "assistant", "content": "\ud83d"}]}),
        json.dumps(good),
    ]
    path.write_text("\n".join([json.dumps(good), "", *bad]) + "\n")
    counts = _import(store, path)
    assert (counts["n_records"], counts["n_added"]) == (12, 1)
    assert sum(counts["skipped"].values()) == 11
    assert counts["skipped"] == {
        "not JSON": 1,
        "not an object": 1,
        "prompt is not a list of messages": 1,
        "both answers are the same": 1,
        "rejected is not one message of the assistant": 1,
        "no prompt": 1,
        "the prompt does not end with the user": 1,
        "a message has another role than system, user, assistant": 1,
        "an answer is not text": 1,
        "half a surrogate pair in the text": 1,
        "an exact duplicate in the file": 1,
    }
    assert counts["problems"][0].startswith("line 3: not JSON (")
    assert "line 13: an exact duplicate in the file" in counts["problems"]
    assert [row.chosen for row in store.imported()] == ["Canberra."]


def test_every_reason_has_an_example(tmp_path: Path, store: Store) -> None:
    bad = [{"messages": [USER, WRONG], "label": "perhaps"}] * 30 + [{"messages": 7}]
    good = {"messages": [USER, ANSWER]}
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([good, *bad], indent=0))
    counts = _import(store, path)
    assert counts["skipped"] == {
        "messages is not a list of messages": 1, "the label is not true or false": 30,
    }  # fmt: skip
    named = [problem.partition(": ") for problem in counts["problems"]]
    assert {reason for *_, reason in named} == set(counts["skipped"])
    lines = path.read_text().splitlines()
    for place, _, reason in named:
        number = int(place.removesuffix(")").rpartition(" ")[2])
        assert lines[number - 1] == "{"
        assert ("perhaps" in "".join(lines[number:][:25])) == reason.startswith("the label")


def test_a_dry_run_counts_and_adds_nothing(tmp_path: Path, store: Store) -> None:
    raw = json.dumps({"messages": [USER, ANSWER]}).encode()
    counts = import_rows(store, raw, "rows.jsonl", is_dry_run=True)
    assert (counts["n_rows"], counts["n_added"], counts["dry_run"]) == (1, 0, True)
    assert "1 rows would be added" in counts["message"]
    assert store.counts()["imported"] == 0
    assert import_rows(store, raw, "rows.jsonl")["n_added"] == 1


def test_the_same_thumb_of_two_raters_is_two_rows(store: Store) -> None:
    record = {"prompt": [USER], "completion": [ANSWER], "label": True}
    raters = [{**record, "rater": name} for name in ("ann", "bob", "ann", 7)]
    raw = json.dumps(raters).encode()
    counts = import_rows(store, raw, "rows.json")
    assert (counts["n_added"], counts["n_raters"]) == (3, 3)
    assert counts["skipped"] == {"an exact duplicate in the file": 1}
    assert [row.origin["rater_id"] for row in store.imported()] == [
        "import:unpaired/ann", "import:unpaired/bob", "import:unpaired/7",
    ]  # fmt: skip
    assert import_rows(store, raw, "rows.json")["n_already_there"] == 3


def test_categories_come_along_where_the_store_has_them(
    tmp_path: Path, store: Store, settings: Settings
) -> None:
    record = {"prompt": [USER], "completion": [ANSWER], "categories": ["tone", "no such"]}
    import_rows(store, json.dumps(record).encode(), "rows.jsonl")
    assert store.imported()[0].categories == ["tone"]


def test_importing_twice_adds_nothing(tmp_path: Path, store: Store) -> None:
    path = _write(tmp_path / "rows.jsonl", {"messages": [USER, ANSWER]})
    assert _import(store, path)["n_added"] == 1
    again = _import(store, path)
    assert (again["n_added"], again["n_already_there"]) == (0, 1)
    assert "1 were there already" in again["message"]
    other = _write(
        tmp_path / "more.jsonl", {"messages": [USER, ANSWER]}, {"messages": [USER, WRONG]}
    )
    assert _import(store, other)["n_added"] == 1
    assert store.counts()["imported"] == 2


@pytest.mark.parametrize(
    ("content", "file_format", "words"),
    [
        (b"", "auto", "no records"),
        (b"hello\n", "auto", "not JSON"),
        (b'[{"a": 1},\n {"b"]', "auto", "line 2"),
        (b'{"text": "x"}\n', "auto", "has the keys text"),
        (b'{"text": "\xff"}\n', "auto", "line 1"),
        (b'[{"a": 1}, {"b": 1} {"c": 1}]', "auto", "comma"),
        (b'[{"a": 1}] more', "auto", "end the file"),
        (b'[{"messages": []},', "auto", "line 1"),
        (b"[" * 10_000, "auto", "can't be read as JSON|is not JSON"),
        (b'{"messages": []}\n', "parquet", "format 'parquet'"),
    ],
)
def test_files_of_no_use(
    tmp_path: Path, store: Store, content: bytes, file_format: str, words: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(PawlError, match=words):
        _import(store, path, file_format)
    assert store.counts()["imported"] == 0


def _fill(store: Store) -> None:
    for n in range(6):
        prompt = (
            [SYSTEM, {"role": "user", "content": f"Question {n}\u2028?"}]
            if n == 0
            else [
                {"role": "user", "content": f"Question {n}"},
                ANSWER,
                {"role": "user", "content": "And then?"},
            ]
        )
        answer = answered(store, conversation_id=conversation_in("train"), messages=prompt)
        said(store, answer, correction=f"Right {n}")
        said(store, answer, correction=f"Right as well {n}", rater_id="bob")
        said(
            store,
            answered(
                store,
                conversation_id=conversation_in("validation"),
                messages=[{"role": "user", "content": f"More {n}"}],
            ),
            thumb="up" if n % 2 else "down",
        )
    said(store, answered(store, conversation_id=conversation_in("holdout")), correction="Secret.")
    said(store, answered(store, conversation_id=conversation_in("holdout")), thumb="up")


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
@pytest.mark.parametrize("file_format", WRITERS)
def test_what_goes_out_comes_back(
    tmp_path: Path, store: Store, settings: Settings, file_format: str, suffix: str
) -> None:
    _fill(store)
    kind = {"sft": "sft", "unpaired": "unpaired", "sharegpt-kto": "unpaired"}.get(
        file_format, "pair"
    )
    path = tmp_path / f"out{suffix}"
    counts = _export(store, path, file_format, settings)
    rows = [
        row for row in curate(store, settings).rows if row.kind == kind and row.split != "holdout"
    ]
    if file_format == "oasst":  # it has no system messages
        rows = [row for row in rows if row.prompt[0]["role"] != "system"]
    assert rows
    assert counts["n_written"] == len(rows)
    assert counts["skipped"]["kept for testing"] == 2
    assert "Secret." not in path.read_text()
    parsed = _parse(path)
    assert parsed.file_format == file_format
    assert {row.row_id for row in parsed.lessons} == {row.row_id for row in rows}
    with Store.open(tmp_path / "other" / "pawl.duckdb") as other:
        assert _import(other, path)["n_added"] == len(rows)
        assert {row.row_id for row in other.imported()} == {row.row_id for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["sft", "preference", "unpaired"])
def test_rows_with_tools_come_back_whole(file_format: str) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    prompt = [SYSTEM, {**USER, "name": "ann"},
              {"role": "assistant", "content": "", "tool_calls": [call, {"id": "c", **call}]},
              {"role": "tool", "content": "x", "tool_call_id": "c"}]  # fmt: skip
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    kind = WRITERS[file_format][0]
    answers: dict[str, Any] = {
        "sft": {"completion": "A."}, "unpaired": {"completion": "A.", "label": False},
        "pair": {"chosen": "A.", "rejected": "B."},
    }[kind]  # fmt: skip
    more: dict[str, Any] = {"categories": ["tone"], "origin": {"task": "support"}}
    lesson = Lesson(kind, "g", prompt, tools=tools, **more, **answers)
    text, *_ = render([lesson.in_split("train")], file_format, as_array=False)
    (again,) = parse(text.encode(), "rows.jsonl").lessons
    assert again.row_id == lesson.row_id
    assert (again.tools, again.categories) == (tools, ["tone"])
    assert again.in_split("train").task == "support"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file_format", "kind", "n_records", "n_rows"),
    [
        ("dpo_en_demo.json", "sharegpt-dpo", "pair", 300, 295),
        ("kto_en_demo.json", "sharegpt-kto", "unpaired", 300, 300),
        ("oasst_en_100_tree.jsonl", "oasst", "pair", 100, 429),
    ],
)
def test_real_files(
    shared_dir: Path,
    store: Store,
    settings: Settings,
    name: str,
    file_format: str,
    kind: str,
    n_records: int,
    n_rows: int,
) -> None:
    path = shared_dir / "feedback" / name
    if not path.exists():
        pytest.skip(f"{path} is absent: NOT TESTED on this real file")
    counts = _import(store, path)
    assert (counts["format"], counts["n_records"]) == (file_format, n_records)
    assert counts["n_added"] == n_rows
    assert _import(store, path)["n_added"] == 0
    curated = curate(store, settings)
    rows = curated.rows
    assert len(rows) + len(curated.rejected) == n_rows
    assert len(rows) > 0.95 * n_rows, curated.rejections
    assert {row.kind for row in rows} == {kind}
    assert {row.split for row in rows} == {"train", "validation", "holdout"}
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(row.group_id, set()).add(row.split)
    assert all(len(side) == 1 for side in sides.values())


def test_a_lesson_knows_its_content() -> None:
    row = Lesson("sft", "g", [USER], completion="x", origin={"a": 1})
    assert row.row_id == Lesson("sft", "h", [USER], completion="x", categories=["tone"]).row_id
    assert row.row_id != Lesson("sft", "g", [USER], completion="x ").row_id
    assert row.in_split("train").row_id == row.row_id


def test_rows_with_tools_are_written_whole_or_left_out() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    prompt = [USER, {"role": "assistant", "content": "", "tool_calls": [call]},
              {"role": "tool", "content": "x", "tool_call_id": "c"}]  # fmt: skip
    tools = [{"type": "function", "function": {"name": "f"}}]
    kinds: tuple[RowKind, ...] = ("sft", "pair", "unpaired")
    rows = [TrainingRow("1", kind, "g", "train", prompt, tools=tools) for kind in kinds]
    for name in WRITERS:
        text, n_written, skipped = render(rows, name, as_array=False)
        whole = name in ("sft", "preference", "unpaired")
        assert n_written == whole
        assert skipped.get(f"tools do not exist in {name}") == (None if whole else 1)
        for record in map(json.loads, text.splitlines()):
            assert (record["prompt"], record["tools"]) == (prompt, tools)


def test_trees_have_no_system_messages_anywhere() -> None:
    """One in mid-conversation would be written as an assistant's."""
    prompts: list[list[Message]] = [[SYSTEM, USER], [USER, ANSWER, SYSTEM, USER], [USER]]
    rows = [
        TrainingRow(str(n), "pair", "g", "train", prompt, chosen="a", rejected="b")
        for n, prompt in enumerate(prompts)
    ]
    text, n_written, skipped = render(rows, "oasst", as_array=False)
    assert (n_written, skipped) == (1, {"oasst has no system messages": 2})
    assert SYSTEM["content"] not in text


def test_what_tests_the_next_challenger_stays_here(
    tmp_path: Path, store: Store, settings: Settings
) -> None:
    """Once a look was made, tests come from the train split, too."""
    said(store, answered(store, conversation_id=conversation_in("train")), correction="Old.")
    paid = {"snapshot_id": take_snapshot(store, settings)["snapshot_id"], "attempt": 1,
            "alpha": 0.01, "prompts": {}}  # fmt: skip
    store.append_verdict("r1", {"outcome": "reject", "look": paid}).result()
    for n in range(20):
        answer = answered(store, conversation_id=conversation_in("train"))
        said(store, answer, correction=f"Right {n}.")
    rows = store.snapshot_rows(take_snapshot(store, settings)["snapshot_id"])
    tested = {row.chosen for row in rows if row.split == "holdout"}
    assert 0 < len(tested) < 20
    for file_format, field in (("sft", "completion"), ("preference", "chosen")):
        path = tmp_path / f"{file_format}.jsonl"
        counts = _export(store, path, file_format, settings)
        records = map(json.loads, path.read_text().splitlines())
        written = {record[field][0]["content"] for record in records}
        assert written == {"Old.", *(f"Right {n}." for n in range(20))} - tested
        assert counts["skipped"]["kept for testing"] == 2 * len(tested)


def test_odd_characters_are_kept_and_found_again(store: Store) -> None:
    text = 'a\0b\u2028c\u202e"rater_id": "x"'
    record = {"prompt": text, "completion": text, "label": True, "rater": text, "comment": text}
    raw = json.dumps(record).encode()
    assert import_rows(store, raw, "rows.jsonl")["n_added"] == 1
    assert import_rows(store, raw, "rows.jsonl")["n_already_there"] == 1
    (row,) = store.imported()
    assert (row.completion, row.origin["comment"]) == (text, text)
    assert row.origin["rater_id"].isprintable()


def test_votes_of_imported_raters_are_one_row(store: Store, settings: Settings) -> None:
    records = [
        {"messages": [USER, ANSWER], "label": True, "rater": name} for name in ("ann", "bob")
    ]
    import_rows(store, json.dumps(records).encode(), "rows.json")
    curated = curate(store, settings)
    assert len(curated.rows) == 1
    assert curated.rejections == {"an exact duplicate": 1}
