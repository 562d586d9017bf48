"""Suites: what a description may say, which one is taken, which items are drawn."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from evals.suites import BUILT_IN_DIR, Suite, built_in, choose, content_hash, draw, load
from pawl.errors import PawlError
from pawl.settings import GateSettings

EVERYDAY = BUILT_IN_DIR / "everyday"
EXAMPLE = Path(__file__).parents[2] / "examples" / "suite"


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "suite.yaml").write_text(text)
    return folder


def test_the_built_in_suites_and_the_example_are_sound() -> None:
    assert built_in() == ["bias", "everyday", "official"]
    assert [b.name for b in load("official").benchmarks] == [
        "arc_easy",
        "arc_challenge",
        "hellaswag",
        "mmlu",
        "truthfulqa_mc1",
        "truthfulqa_mc2",
    ]
    assert not load("everyday").reads_hub()
    assert load("official").reads_hub()
    example = load(EXAMPLE)
    assert not example.reads_hub()
    n_items = sum(len(path.read_text().splitlines()) for path in EXAMPLE.glob("*.jsonl"))
    assert n_items >= 40


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "is not YAML"),
        ("- 1", "is no suite"),
        ("name: x\nmargin: 0.1\nmargin_anchor: 0.2\nbenchmarks: []", "benchmarks"),
        ("name: x\nmargin: 2\nmargin_anchor: 0.2\nbenchmarks: [{name: a, task: t}]", "margin = 2"),
        (
            "name: x\nmargin: 0.3\nmargin_anchor: 0.2\nbenchmarks: [{name: a, task: t}]",
            "below the margin of one night",
        ),
        (
            "name: x\nmargin: 0.1\nmargin_anchor: 0.2\n"
            "benchmarks: [{name: a, task: t, margin: 0.5}]",
            r"below the margin of one night \(0.5\)",
        ),
        (
            "name: x\nmargin: 0.1\nmargin_anchor: 0.2\nsize: 3\nbenchmarks: [{name: a, task: t}]",
            "size: no such key",
        ),
        (
            "name: x\nmargin: 0.1\nmargin_anchor: 0.2\n"
            "benchmarks: [{name: a, task: t, metric: f1}]",
            "benchmarks.a.metric = 'f1'",
        ),
        (
            "name: x\nmargin: 0.1\nmargin_anchor: 0.2\nbenchmarks: [{name: a}]",
            "give either `task`",
        ),
        (
            "name: x\nmargin: 0.1\nmargin_anchor: 0.2\nbenchmarks:\n"
            "  - {name: a, task: t}\n  - {name: a, task: u}",
            "given twice: a",
        ),
        (
            "name: x\nmargin: 0.1\nmargin_anchor: 0.2\nbenchmarks: [{name: a, yaml: b.yaml}]",
            "yaml: b.yaml is not there",
        ),
        (
            "name: x\nmargin: 0.1\nmargin_anchor: 0.2\n"
            "benchmarks: [{name: a, task: t, data: ../x.jsonl}]",
            "is not there",
        ),
    ],
)
def test_a_fault_in_a_description_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PawlError, match=said):
        load(write(tmp_path / "suite", text))


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    text = "name: x\nmargin: 2\nmargin_anchor: 0\nbenchmarks: [{name: a, task: t, cluter: c}]"
    with pytest.raises(PawlError) as caught:
        load(write(tmp_path, text))
    for fault in ("margin = 2", "margin_anchor = 0", "benchmarks.a.cluter: no such key"):
        assert fault in str(caught.value)


def test_a_suite_that_is_not_there_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(PawlError, match=r"everyday, official.*suite\.yaml"):
        load(tmp_path / "absent")


def test_the_content_hash_follows_what_decides_a_score(suite: Suite, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(suite.folder, copy)
    assert content_hash(load(copy), None) == content_hash(suite, None)
    description = (copy / "suite.yaml").read_text()
    (copy / "suite.yaml").write_text(description.replace("margin: 0.03", "margin: 0.05"))
    (copy / "README.md").write_text("words")
    assert content_hash(load(copy), None) == content_hash(suite, None)  # margins decide no score
    (copy / "suite.yaml").write_text(description.replace("acc_norm", "acc"))
    assert content_hash(load(copy), None) != content_hash(suite, None)
    (copy / "suite.yaml").write_text(description)
    with (copy / "subjects" / "sums.jsonl").open("a") as file:
        file.write("\n")
    assert content_hash(load(copy), None) != content_hash(suite, None)


def test_data_laid_out_as_the_hub_are_in_the_content_hash(tmp_path: Path) -> None:
    official = load("official")
    for name in official.hub_ids():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "test.jsonl").write_text("{}\n")
    before = content_hash(official, tmp_path)
    (tmp_path / "cais" / "mmlu" / "test.jsonl").write_text('{"a": 1}\n')
    assert before != content_hash(official, tmp_path) != content_hash(official, None)


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers every question for a data set."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing to standard error."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of something that answers as the hub."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with http.server.HTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield address
        server.shutdown()
        thread.join()


def test_auto_takes_the_official_suite_where_its_data_can_be_had(hub: str) -> None:
    suite, why = choose(GateSettings())
    assert suite.name == "official"
    assert "hub" in why


def test_auto_takes_the_embedded_suite_where_the_hub_does_not_answer(
    hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    suite, why = choose(GateSettings())
    assert suite.name == "everyday"
    assert "HF_HUB_OFFLINE" in why
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens on port 9
    suite, why = choose(GateSettings())
    assert suite.name == "everyday"
    assert "does not answer" in why


def test_auto_with_a_folder_takes_the_official_suite_or_says_what_is_missing(
    tmp_path: Path,
) -> None:
    names = load("official").hub_ids()
    with pytest.raises(PawlError, match=r"lacks benchmark data.*allenai/ai2_arc.*cais/mmlu"):
        choose(GateSettings(data_dir=tmp_path))
    for name in names:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "test.parquet").touch()
    assert choose(GateSettings(data_dir=tmp_path))[0].name == "official"


def test_a_suite_of_ones_own_is_taken_by_its_path() -> None:
    assert choose(GateSettings(suite=str(EXAMPLE)))[0].name == "kestrel-cycles"


def test_the_embedded_files_are_those_that_the_readme_describes() -> None:
    table = re.findall(r"\| `(\w+\.jsonl)` \| ([\d,]+) \| `([0-9a-f]{64})` \|",
                       (EVERYDAY / "README.md").read_text())  # fmt: skip
    files = {path.name: path.read_bytes() for path in EVERYDAY.glob("*.jsonl")}
    assert {name for name, _, _ in table} == files.keys()
    for name, n_rows, digest in table:
        assert len(files[name].splitlines()) == int(n_rows.replace(",", "")) >= 300
        assert hashlib.sha256(files[name]).hexdigest() == digest


def test_the_embedded_items_are_whole_and_none_stands_twice() -> None:
    questions: set[tuple[str, str]] = set()
    for path in sorted(EVERYDAY.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            question, choices, answer = parts_of(row)
            assert row["fact"]
            assert len(set(choices)) == len(choices) >= 2, question
            assert (question.lower(), choices[answer].lower()) not in questions, question
            questions.add((question.lower(), choices[answer].lower()))


def parts_of(row: dict[str, object]) -> tuple[str, list[str], int]:
    """Question, choices and the place of the right one, in any of the four schemas."""
    match row:
        case {"mc1_targets": {"choices": list(choices), "labels": list(labels)}}:
            assert labels == [1] + [0] * (len(choices) - 1)
            return str(row["question"]), choices, 0
        case {"endings": list(choices), "label": str(label)}:
            return str(row["ctx_a"]), choices, int(label)
        case {"answerKey": key, "choices": {"text": list(choices), "label": list(labels)}}:
            return str(row["question"]), choices, labels.index(key)
        case {"answer": int(answer), "choices": list(choices)}:
            return str(row["question"]), choices, answer
    raise AssertionError(row)


def test_a_draw_is_seeded_sorted_without_repeats_and_proportional() -> None:
    counts = {"anatomy": 130, "law": 1534, "virology": 166}
    first, again, other = (draw(counts, 200, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert {name: len(indices) for name, indices in first.items()} == {
        "anatomy": 14,
        "law": 168,
        "virology": 18,
    }
    for name, indices in first.items():
        assert indices == sorted(set(indices))
        assert indices[-1] < counts[name]


def test_a_task_that_gets_no_item_is_left_out() -> None:
    """lm-eval takes an empty list for *all items*."""
    assert draw({"large": 1000, "tiny": 1}, 10, 0).keys() == {"large"}


def test_all_items_when_there_are_fewer() -> None:
    assert draw({"a": 3, "b": 0}, 10, 0) == {"a": [0, 1, 2]}
    assert draw({"a": 3}, None, 0) == {"a": [0, 1, 2]}


def test_another_task_does_not_change_a_tasks_own_order_of_drawing() -> None:
    assert draw({"a": 50}, 10, 0)["a"] == draw({"a": 50, "b": 50}, 20, 0)["a"]
