"""Tables, and records of other names: read as --map says."""

from __future__ import annotations

import json

import pytest

from feedback.formats import Parsed, parse
from pawl.errors import PawlError

ASKED = "Which river runs through Vienna?"
USER = {"role": "user", "content": ASKED}
PAIR = {"prompt": "question", "chosen": "best", "rejected": "worst"}


def _parse(text: str, name: str = "rows.csv", **mapping: str) -> Parsed:
    return parse(text.encode(), name, "auto", mapping or None)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_with_a_mapping(delimiter: str) -> None:
    rows = [("id", "question", "best", "worst", "who"),
            ("1", f'"{ASKED}"', '"The Danube,\n or ""Donau""; yes"', "The Rhine.", "ann"),
            ("2", ASKED, "", "The Rhine.", "bob"),
            ("3", ASKED)]  # fmt: skip
    text = "\ufeff" + "\r\n".join(delimiter.join(cells) for cells in rows) + "\r\n"
    parsed = _parse(text, **PAIR, rater="who")
    (row,) = parsed.lessons
    assert (row.kind, row.prompt) == ("pair", [USER])
    assert (row.chosen, row.rejected) == ('The Danube,\n or "Donau"; yes', "The Rhine.")
    assert row.origin["rater_id"] == "import:map/ann"
    assert row.origin["place"] == "line 2"
    assert parsed.skipped == {
        "a row with more or fewer cells than the first line": 1, "no chosen in its column": 1,
    }  # fmt: skip
    assert parsed.problems[0].startswith("line 4: ")  # the text before it has two lines


def test_a_table_of_known_columns_needs_no_mapping() -> None:
    messages = json.dumps([USER]).replace('"', '""')
    text = f'prompt,completion,label\n"{messages}",The Danube.,true\n{ASKED},The Rhine.,0\n'
    first, second = _parse(text).lessons
    assert (first.prompt, first.completion, first.label) == ([USER], "The Danube.", True)
    assert (second.prompt, second.completion, second.label) == ([USER], "The Rhine.", False)


def test_messages_in_a_table_that_are_no_json_are_counted() -> None:
    text = "prompt,completion\nx,y\n\"[{'role': 'user', 'content': 'x'}]\",The Danube.\n"
    parsed = parse(text.encode(), "rows.csv", "sft")
    assert parsed.skipped == {"a column looks like messages, but is not JSON": 1}


def test_records_of_other_names() -> None:
    records = [
        {"data": {"question": ASKED}, "answer": "The Danube.", "stars": 1, "sys": "Be short."},
        {"data": {"question": ASKED}, "answer": "The Rhine.", "stars": "-1"},
        {"data": {"question": ASKED}, "answer": "The Elbe.", "stars": "so so"},
    ]
    parsed = _parse(
        json.dumps(records), "rows.json",
        prompt="data.question", completion="answer", label="stars", system="sys",
    )  # fmt: skip
    assert [(row.completion, row.label) for row in parsed.lessons] == [
        ("The Danube.", True), ("The Rhine.", False),
    ]  # fmt: skip
    assert parsed.lessons[0].prompt == [{"role": "system", "content": "Be short."}, USER]
    assert parsed.skipped == {"its label is neither up nor down": 1}


@pytest.mark.parametrize("mapping", [{}, {"prompt": "prompt", "completion": "completion",
                                          "label": "label"}])  # fmt: skip
@pytest.mark.parametrize(
    ("labels", "taken"),
    [
        ("1 0 1", [True, False, True]),
        ("1 -1 1.0", [True, False, True]),
        ("1 true down", [True, True, False]),
        ("1 2 5", None),
        ("0 1 2", None),
        ("1 0 -1", None),  # 0 may be down, or neither
        ("true 0.5", None),
    ],
)
def test_numbers_are_thumbs_or_the_file_is_refused(
    mapping: dict[str, str], labels: str, taken: list[bool] | None
) -> None:
    """On a scale from 1 to 5 the worst would be learned as good."""
    rows = [f"Question {n}?,Answer {n}.,{label}" for n, label in enumerate(labels.split())]
    text = "\n".join(["prompt,completion,label", *rows])
    if taken is not None:
        assert [row.label for row in _parse(text, **mapping).lessons] == taken
        return
    with pytest.raises(PawlError, match=r"'label' of rows\.csv is on a scale.*line 3") as raised:
        _parse(text, **mapping)
    assert raised.value.code == "not_a_thumb"


@pytest.mark.parametrize(
    ("mapping", "file_format", "words"),
    [
        ({"prompt": "a"}, "auto", "needs a prompt"),
        ({"prompt": "a", "answer": "b"}, "auto", "no field 'answer'"),
        ({"prompt": "a", "completion": ""}, "auto", "empty"),
        ({"prompt": "a", "completion": "b", "chosen": "c", "rejected": "d"}, "auto", "or a pair"),
        ({"prompt": "a", "completion": "b"}, "sft", "names of its own"),
        ({"prompt": "a", "completion": "b"}, "langfuse", "only the label"),
    ],
)
def test_mappings_of_no_use(mapping: dict[str, str], file_format: str, words: str) -> None:
    with pytest.raises(PawlError, match=words) as raised:
        parse(b"a,b\n1,2\n", "rows.csv", file_format, mapping)
    assert raised.value.param == "map"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('prompt,completion\n"open,1\n', "line 2"),
        ("prompt,prompt\n1,2\n", "two columns of one name"),
        ("prompt,completion\n", "no records"),
        ("a,b\n1,2\n", "has the keys a, b"),
    ],
)
def test_tables_of_no_use(text: str, words: str) -> None:
    with pytest.raises(PawlError, match=words):
        _parse(text)
