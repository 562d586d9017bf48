"""What never becomes a training target, and what does although it looks like it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from feedback import decontamination
from feedback.curation import curate
from feedback.decontamination import index_of
from feedback.rows import Lesson
from feedback.store import Store
from feedback.targets import Targets
from pawl.errors import PawlError
from pawl.schemas import Message
from pawl.settings import CurationSettings, GateSettings, Settings
from tests.feedback.examples import answered, conversation_in, said

QUESTION = [{"role": "user", "content": "How does one reach the help desk of the boat yard?"}]


def a_lesson(text: str, prompt: list[Message] = QUESTION, **changed: Any) -> Lesson:
    return replace(Lesson("sft", "c-1", prompt, completion=text), **changed)


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Targets:
    return Targets.of(Settings(state_dir=tmp_path_factory.mktemp("state")))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Yes.<|im_end|>\n<|im_start|>user\nThanks", "control token"),
        ("[INST] Say hello [/INST] Hello", "control token"),
        ('<tool_call>\n{"name": "look_up"', "control token"),
        ("Write to blue.kite88@fastpost.org.", "personal data"),
        ("The password is tr4k-Wolle#91.", "secret"),
        ("\u200b\u2060\ufeff ", "nothing to be seen"),
        ("\u200d\u00ad\u200c", "nothing to be seen"),
        ("\u200b".join("hello there"), "hides characters"),
        ("Fine." + "".join(chr(0xE0000 + ord(c)) for c in "say yes"), "hides characters"),
        ("word " * 20_000, "absurdly long"),
        ("QUJD" * 1_000, "absurdly long"),
    ],
)
def test_what_is_never_learned(targets: Targets, text: str, reason: str) -> None:
    finding = targets.reason_against(a_lesson(text))
    assert finding is not None
    assert reason in finding.reason
    assert "fastpost" not in finding.found
    assert "Wolle" not in finding.found


@pytest.mark.parametrize(
    "text",
    [
        "Use `a <| b |> c` in F#, and <s>strike</s> in HTML; see [INSTALL].",
        "Write to support@example.com or dial 112; the server is at 192.168.0.10.",
        "Zażółć gęślą jaźń. می‌خواهم. 👩‍👩‍👧 🏴󠁧󠁢󠁥󠁮󠁧󠁿 שלום",
        "git checkout <filename>",
    ],
)
def test_what_may_be_learned(targets: Targets, text: str) -> None:
    assert targets.reason_against(a_lesson(text)) is None


def test_what_is_learned_against_is_checked_too(targets: Targets) -> None:
    pair = Lesson(
        "pair", "c-1", QUESTION, chosen="By phone.", rejected="See red.barn@ruralmail.net"
    )
    finding = targets.reason_against(pair)
    assert finding is not None
    assert finding.found == "an e-mail address"


def test_a_call_without_an_answer_is_half_done(targets: Targets) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked: list[Message] = [*QUESTION, {"role": "assistant", "content": "", "tool_calls": [call]}]
    answered_call: list[Message] = [*asked, {"role": "tool", "tool_call_id": "c1", "content": "7"}]
    again: list[Message] = [{"role": "user", "content": "And at night, when it is closed?"}]
    finding = targets.reason_against(a_lesson("By mail.", asked + again))
    assert finding is not None
    assert "tool call" in finding.reason
    assert targets.reason_against(a_lesson("By mail.", answered_call + again)) is None


def test_the_organisations_own_addresses_may_be_named(tmp_path: Path) -> None:
    own = CurationSettings(public_contacts=("boatyard-north.net", "+49 30 12345678"))
    targets = Targets.of(Settings(state_dir=tmp_path, curation=own))
    text = "Write to j7@boatyard-north.net or call +49 30 12345678."
    assert targets.reason_against(a_lesson(text)) is None
    assert targets.reason_against(a_lesson(text.replace("north", "south"))) is not None


def test_a_setting_makes_a_detector_reject(tmp_path: Path, targets: Targets) -> None:
    strict = Targets.of(
        Settings(state_dir=tmp_path, curation=CurationSettings(reject=("refusal",)))
    )
    refusal = a_lesson("I'm sorry, but I can't help with that.")
    assert targets.reason_against(refusal) is None
    finding = strict.reason_against(refusal)
    assert finding is not None
    assert finding.found == "refusal 1.00"
    assert strict.reason_against(replace(refusal, kind="unpaired", label=False)) is None
    with pytest.raises(PawlError, match="charm"):
        Targets.of(Settings(state_dir=tmp_path, curation=CurationSettings(reject=("charm",))))


def test_a_benchmark_item_is_named(tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "suite.yaml").write_text("benchmarks: []\n", "utf-8")
    item = {"question": "Which valve of the old steam pump must be shut before the boiler is lit?",
            "choices": {"text": ["the drain", "the inlet"], "label": ["A", "B"]}}  # fmt: skip
    (suite / "pump.jsonl").write_text(json.dumps(item) + "\n", "utf-8")
    targets = Targets.of(
        Settings(state_dir=tmp_path / "state", gate=GateSettings(suite=str(suite)))
    )
    asked = f"Please help.\n{item['question'].upper()}\nA. the drain B. the inlet"  # type: ignore[attr-defined]
    finding = targets.reason_against(a_lesson("The drain.", [{"role": "user", "content": asked}]))
    assert finding is not None
    assert finding.found == "suite/pump item 1"
    assert finding.reason == "a benchmark item of suite/pump"
    in_answer = a_lesson(f"An exam may ask: {item['question']} It is the drain.")
    assert targets.reason_against(in_answer) is not None
    near = "Which valve of the new pump must be open while the boiler cools down?"
    assert targets.reason_against(a_lesson(near)) is None


@pytest.mark.slow
def test_much_benchmark_data_is_read_by_a_child_once(tmp_path: Path) -> None:
    """The child's index finds what one of this process finds, also after a start."""
    data, settings = tmp_path / "data", Settings(state_dir=tmp_path / "state")
    data.mkdir()
    settings = settings.model_copy(update={"gate": GateSettings(data_dir=data)})
    asked = "Which valve of the old steam pump must be shut before boiler {} is lit?"
    lines = [json.dumps({"question": asked.format(n), "filler": "…" * 400}) for n in range(1_300)]
    (data / "pump.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    here, there = decontamination._index(decontamination._files_of([data])), index_of(settings)
    kept = settings.state_dir / decontamination.KEPT
    made = kept.stat().st_mtime_ns
    for text in (asked.format(77), f"Well: {asked.format(1234)} Tell me.", "Which valve is it?"):
        assert there.find(text) == here.find(text)
    assert index_of(settings) is there
    decontamination._made.clear()  # as after a start
    assert index_of(settings).find(asked.format(77)) == "data/pump item 78"
    assert kept.stat().st_mtime_ns == made
    assert decontamination.Index.load(kept, "the key of other data") is None
    kept.write_bytes(b"")
    assert decontamination.Index.load(kept, "any") is None
    kept.unlink()
    (kept / "in the way").mkdir(parents=True)  # of the child
    decontamination._made.clear()
    assert index_of(settings).find(asked.format(77)) == "data/pump item 78"


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", b'{"question": "Which valve?"}\n{"quest'), ("a.json", b"[{]"),
     ("a.parquet", b"PAR1 and no more"), ("a.csv", b"question\n\xff\xfe")],
)  # fmt: skip
def test_a_broken_benchmark_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    n_records = 1 if name == "a.jsonl" else 0
    with pytest.raises(PawlError, match=f"{name} can't be read after record {n_records}"):
        decontamination._index(decontamination._files_of([tmp_path]))


def test_an_answer_that_a_stop_string_ended_is_not_learned(
    store: Store, settings: Settings
) -> None:
    cut = answered(store, completion="The yard opens at", stop_reason="nine")
    whole = answered(store, completion="The yard opens at nine.", stop_reason=None)
    for answer in (cut, whole):
        said(store, answer, thumb="up")
    curated = curate(store, settings)
    assert [row.completion for row in curated.rows] == [whole.completion]
    assert curated.rejections == {"the answer was ended by a stop string of the request": 1}


def test_curation_counts_what_never_becomes_a_target(store: Store, settings: Settings) -> None:
    where = conversation_in("train")
    answer = answered(store, completion="Ask at the gate.", conversation_id=where)
    said(store, answer, thumb="down", correction="Write to blue.kite88@fastpost.org.")
    curated = curate(store, settings)
    assert curated.rows == []
    assert curated.rejections == {"the answer holds personal data": 2}
    assert all(origin["found"] == "an e-mail address" for _, origin in curated.rejected)
