"""The use cases: their data, their scores on answers made by hand, and a whole run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from examples.__main__ import main, settings_of
from examples.runner import CHOICE, FEW_SHOT, PROMPT, TUNED, run
from examples.scoring import gain, label_in, score, topic_and_keywords
from examples.use_case import HERE, Row, UseCase, load, names
from pawl.errors import PawlError
from tests.refine.tiny import ASKED, COLOURS, shared_world_model

ISSUE = {"support", "sentiment", "topics", "summaries", "extraction", "tone", "translation"}


@pytest.mark.parametrize("name", names())
def test_data_are_well_formed_and_splits_share_nothing(name: str) -> None:
    case = load(name)  # refuses test texts that nearly stand among the training's
    assert len(case.train) + len(case.test) >= 200
    for part in (case.train, case.test):
        assert len({row.text for row in part}) == len(part)
        assert all(
            row.text == row.text.strip() and row.answer == row.answer.strip() for row in part
        )
    perfect = score(case, [row.answer for row in case.test])
    assert perfect.figures[perfect.main].value >= 0.95  # some rows lack a sign of the tone
    empty = score(case, [""] * len(case.test))
    assert empty.figures[empty.main].value <= 0.05


def test_all_seven_are_there() -> None:
    assert set(names()) == ISSUE


def test_what_was_generated_is_what_its_script_generates(tmp_path: Path) -> None:
    folder = tmp_path / "extraction"
    folder.mkdir()
    for name in ("write.py", "parts.yaml"):
        (folder / name).write_bytes((HERE / "extraction" / name).read_bytes())
    subprocess.run([sys.executable, str(folder / "write.py")], check=True)
    for name in ("train.jsonl", "test.jsonl"):
        assert (folder / name).read_bytes() == (HERE / "extraction" / name).read_bytes()


def own(folder: Path, train: list[Row], test: list[Row], /, **more: object) -> Path:
    """A use case of one's own."""
    values = {"title": "Colours", "about": "", "metric": "rouge", "instruction": "{text}", **more}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "use_case.yaml").write_text(yaml.safe_dump(values), "utf-8")
    for part, rows in (("train", train), ("test", test)):
        lines = [json.dumps(row.model_dump()) + "\n" for row in rows]
        (folder / f"{part}.jsonl").write_text("".join(lines), "utf-8")
    return folder


ROW = Row(text="What colour is the old harbour crane?", answer="Green.")
OTHER = Row(text="When does the museum open on Sundays?", answer="At ten.")


def test_a_test_row_that_training_would_see_is_refused(tmp_path: Path) -> None:
    near = Row(text="what colour is the old harbour crane", answer="Green.")
    with pytest.raises(PawlError, match="has 1 texts that training would have seen"):
        load(str(own(tmp_path, [ROW, OTHER], [near])))
    assert len(load(str(own(tmp_path, [ROW], [OTHER]))).test) == 1


def test_what_is_no_use_case_says_so(tmp_path: Path) -> None:
    with pytest.raises(PawlError, match=r"is no use case.*sentiment"):
        load("sentimental")
    with pytest.raises(PawlError, match="labels belong to metric labels"):
        load(str(own(tmp_path, [ROW], [OTHER], metric="labels")))
    with pytest.raises(PawlError, match=r"must hold \{text\} once"):
        load(str(own(tmp_path, [ROW], [OTHER], instruction="Say it.")))
    with pytest.raises(PawlError, match="signs belong to metric tone"):
        load(str(own(tmp_path, [ROW], [OTHER], metric="tone")))
    with pytest.raises(PawlError, match="'we' is no regular expression: missing"):
        load(str(own(tmp_path, [ROW], [OTHER], metric="tone", signs={"we": "(we"})))
    folder = own(tmp_path, [ROW], [OTHER])
    (folder / "test.jsonl").write_text('{"text": "What?"}\n', "utf-8")
    with pytest.raises(PawlError, match=r"test.jsonl line 1 is no row.*answer"):
        load(str(folder))
    (folder / "test.jsonl").write_text("", "utf-8")
    with pytest.raises(PawlError, match=r"test.jsonl is empty"):
        load(str(folder))
    line = '{"text": "Two\u2028lines?", "answer": "Yes\u0085"}\n'  # characters, not escapes
    (folder / "test.jsonl").write_text(line, "utf-8")
    assert load(str(folder)).test == (Row(text="Two\u2028lines?", answer="Yes\u0085"),)


@pytest.mark.parametrize(
    "setting", ["augment=paraphrase", "domain_weighting=true", "ray_address=auto"]
)
def test_a_setting_that_needs_a_server_is_refused(tmp_path: Path, setting: str) -> None:
    """Before a base is read, or asked anything."""
    options = settings_of([setting])
    [name] = options
    with pytest.raises(PawlError, match=rf"train.{name} was asked for.*no server"):
        run(load("sentiment"), None, options, tmp_path, print)  # type: ignore[arg-type]


def of(metric: str, rows: list[Row], **more: object) -> UseCase:
    """A use case with these rows to test on."""
    case = load({"labels": "sentiment", "keywords": "topics", "facts": "support",
                 "fields": "extraction", "tone": "tone"}[metric])  # fmt: skip
    return replace(case, test=tuple(rows))


def test_labels_are_found_in_sentences() -> None:
    labels = ("positive", "negative", "mixed")
    assert label_in("The comment is Positive.", labels) == "positive"
    assert label_in("positive or negative", labels) is None
    assert label_in("positively", labels) is None
    rows = [Row(text=str(i), answer=answer) for i, answer in enumerate(["positive", "mixed"] * 20)]
    case = of("labels", rows)
    right = score(case, ["positive", "It is mixed."] * 20)
    assert right.figures["accuracy"].value == 1
    one_for_all = score(case, ["positive"] * 40)
    assert one_for_all.figures["macro F1"].value == pytest.approx((2 / 3) / 3)  # of three labels
    assert one_for_all.table is not None
    assert one_for_all.table.confusion[2] == (20, 0, 0, 0)


def test_topics_and_keywords_are_read_from_answers() -> None:
    assert topic_and_keywords("Topic: Roads.\nKeywords: Mill Lane, kerb.") == (
        "roads", {"mill lane", "kerb"}
    )  # fmt: skip
    assert topic_and_keywords("It is about roads") == ("it is about roads", frozenset())
    rows = [
        Row(text="a", answer="Topic: roads\nKeywords: kerb, axle, bend"),
        Row(text="b", answer="Topic: taxes\nKeywords: bill, debt, fine"),
    ]
    said = ["Topic: roads\nKeywords: kerb, axle", "topic: roads\nkeywords: none"]
    found = score(of("keywords", rows), said).figures
    assert found["F1 of keywords"].value == pytest.approx((2 * 2 / 5 + 0) / 2)
    assert found["macro F1 of topics"].value == pytest.approx((2 / 3 + 0) / 2)


def test_a_fact_is_right_when_it_says_it() -> None:
    row = Row(text="When does the office open?", answer="The office opens at 6:50 in the morning.")
    said = ["It opens at 6:50 in the morning.", "It opens at 7:50 in the morning."]
    found = score(of("facts", [row, row]), said)
    assert found.figures["right answers"].value == 0.5


def test_fields_count_when_they_are_exactly_right_and_none_is_too_many() -> None:
    row = Row(text="x", answer='{"name": "Hale", "people": 2, "place": null}')
    said = [
        row.answer,
        '```json\n{"name": "Hale", "people": "2", "place": null}\n```',
        '{"name": "Hale", "people": 2, "place": null, "phone": "1"}',
        "Hale, two people",
    ]
    case = of("fields", [row] * 4)
    found = score(case, said)
    assert found.figures["exact fields"].value == pytest.approx((1 + 2 / 3 + 3 / 4 + 0) / 4)
    assert found.figures["exact records"].value == 0.25
    assert found.figures["answers that are JSON and nothing else"].value == 0.5
    rise = gain(found, score(case, [row.answer] * 4), 4)
    assert rise.value == pytest.approx(1 - (1 + 2 / 3 + 3 / 4 + 0) / 4)
    assert 0 <= rise.lower < rise.value < rise.upper <= 1


def test_a_tone_is_known_by_its_signs() -> None:
    said = [
        "We are sorry about the crack. Could you send us a photo?",
        "globe arrived cracked, send photos",
        "Dear [Customer Name], we are sorry about the crack.",
        "I am sorry about our globe. Send it back.",
        "We are sorry. We are so sorry. We are very sorry. We will call.",
    ]
    case = of("tone", [Row(text="globe arrived cracked", answer=said[0])] * len(said))
    found = score(case, said)
    assert found.figures["in the house's tone"].value == 1 / len(said)
    notes = load("tone")
    assert score(notes, [row.text for row in notes.test]).figures[found.main].value == 0


def macro_f1(output: str, arm: str) -> float:
    """In percent, as it was printed of an arm."""
    found = re.search(rf"^{arm}:\n  macro F1 +([\d.]+) %", output, re.M)
    assert found, output
    return float(found[1])


@pytest.mark.slow
def test_a_whole_run_teaches_what_the_prompts_did_not(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    model_dir = shared_world_model(tmp_path_factory)
    things = [thing for thing in COLOURS if thing not in ("coal", "snow")]
    labels = {thing: ("black", "white")[i % 2] for i, thing in enumerate(things)}  # none it says
    taught = [asked for i, asked in enumerate(ASKED) if i not in (2, 6)]  # not nearly the third
    train = [Row(text=asked.format(thing), answer=labels[thing])
             for asked in taught for thing in things]  # fmt: skip
    test = [Row(text=ASKED[2].format(thing), answer=labels[thing]) for thing in things]
    folder = own(
        tmp_path / "colours", train, test, metric="labels", labels=["black", "white"], n_few_shot=2,
        max_new_tokens=8,
        train={"n_replay_rows": 0, "learning_rate": 4e-3, "n_epochs": 40, "seed": 1},
    )  # fmt: skip
    command = [str(folder), "--model", str(model_dir), "--work", str(tmp_path / "work")]
    assert main(command) == 0
    first = capsys.readouterr()
    assert all(f"\n{arm}:" in first.out for arm in (PROMPT, CHOICE, FEW_SHOT, TUNED))
    before, after = (macro_f1(first.out, arm) for arm in (PROMPT, TUNED))
    assert before == 0, first.out
    assert after >= 60, first.out
    assert main(command) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert "answers in" not in again.err  # all were kept
    assert main([*command, "--set", "n_epochs"]) == 1
    assert "not of the form NAME=VALUE" in capsys.readouterr().err
