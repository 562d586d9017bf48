"""The report for every outcome, as a person and as a program read it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from evals.gate import decide, write_verdict
from evals.judge import Agreement, JudgeReport, WinRate
from evals.reasons import GateRules
from evals.report.report import write_report
from pawl.files import write_json
from pawl.schemas import ItemScore
from tests.evals.conftest import placebos_of


def scores_of(right: int, mended: int) -> list[ItemScore]:
    rows = [
        ItemScore(
            "everyday_arc",
            str(i),
            float(i < right),
            str(i),
            None,
            {
                "prompt": f"Question: which <b>number</b> is {i}?\nAnswer:",
                "choices": ["one", "two"],
                "target": 0,
                "chosen": int(i >= right),
                "logprobs": [-1.0, -2.0 - right],
            },
        )
        for i in range(400)
    ]
    return rows + [
        ItemScore(
            "holdout",
            f"h{i}",
            float(i < mended),
            f"g{i}",
            None,
            {
                "prompt": [{"role": "user", "content": f"What is {i}?"}],
                "correction": f"right {i}",
                "flagged": "wrong",
                "answer": f"right {i}" if i < mended else "wrong",
                "categories": ["incorrect"] if i % 2 else ["verbose", "tone"],
            },
        )
        for i in range(12)
    ]


def make_run(run_dir: Path, before: list[ItemScore], after: list[ItemScore]) -> None:
    for who, items in (("champion", before), ("challenger", after)):
        folder = run_dir / "scores" / who
        folder.mkdir(parents=True)
        (folder / "items.jsonl").write_text(
            "".join(json.dumps(item.as_json()) + "\n" for item in items)
        )
        write_json(folder / "manifest.json", {"suite": "everyday", "seed": 0, "n_errors": 0})
    write_verdict(
        run_dir / "verdict.json",
        decide([*before, *placebos_of(before)], after, GateRules(0.03, 0.06), None),
        champion_version="pawl@3",
        champion_fingerprint="sha256:a",
        challenger_fingerprint="sha256:b",
        suite="everyday",
    )


class Text(HTMLParser):
    """The page's text, and whether every tag that is opened is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.open, self.links = "", [""], list[str]()
        self.feed(page)
        self.text = " ".join(self.text.split())  # as a browser shows it
        assert self.open == [""], self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href")]
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def report(run_dir: Path, **files: Any) -> tuple[dict[str, Any], Text]:
    """Report on a run whose folder holds these files (without ``.json``) too."""
    for name, value in files.items():
        write_json(run_dir / f"{name}.json", value)
    path = write_report(run_dir)
    assert path == run_dir / "report.html"
    page = Text(path.read_text())
    assert all(link.startswith("#") for link in page.links)  # nothing is loaded from elsewhere
    return json.loads((run_dir / "report.json").read_text()), page


def test_a_rejection_names_the_rows_that_may_have_done_it(tmp_path: Path) -> None:
    run_dir = tmp_path / "run-1"
    make_run(run_dir, scores_of(300, 5), scores_of(200, 5))
    row = {
        "rank": 1, "score": 0.25, "row_id": "0123abcd", "kind": "sft", "rater_id": "troll",
        "feedback_id": "fb-1", "prompt": "Is <b>1</b> right?", "answer": "No & never.",
        "item": {"benchmark": "everyday_arc", "item_id": "7", "prompt": "which number is 7?"},
    }  # fmt: skip
    suspects = {
        "than": "champion", "failed": True, "slices": {"everyday_arc": 100}, "n_items": 48,
        "n_rows": 1200, "n_compared": 1198, "n_left_out": {"row": 2}, "seconds": 9.0, "rows": [row],
        "n_not_learned": 25,
    }  # fmt: skip
    found, page = report(run_dir, suspects=suspects)
    assert found["suspects"] == suspects
    for text in ("troll", "0123abcd", "Is <b>1</b> right?", "No & never.", "+0.250", "1,198 of",
                 "Left out: 25"):  # fmt: skip
        assert text in page.text
    _, page = report(run_dir, suspects={"note": "ranking the rows ended with signal 9"})
    assert "ranking the rows ended with signal 9" in page.text


def test_a_promotion_says_what_was_added_improved_and_broke_and_how_to_go_back(
    tmp_path: Path,
) -> None:
    run_dir = tmp_path / "run-1"
    make_run(run_dir, scores_of(300, 1), scores_of(298, 10))
    promotion = {
        "version": "pawl@4",
        "previous_version": "pawl@3",
        "outcome": "live",
        "reason": "",
        "probe": {"distance_adapter": 0.0012, "n_positions": 16},
    }
    snapshot = {
        "snapshot_id": "abc",
        "counts": {"train": {"pair": 64}},
        "rejections": {"exact_duplicate": 2},
    }
    value, page = report(
        run_dir,
        snapshot=snapshot,
        promotion=promotion,
        plan={"method": "dpo", "reason": "64 pairs"},
        run={"status": "promote", "steps": {"train": {"seconds": 12.0}}, "detail": {}},
    )
    assert value["outcome"] == "promote"
    assert value["changes"]["everyday_arc"]["n_broke"] == 2
    assert value["changes"]["everyday_arc"]["broke"][0]["champion_chose"] == 0
    assert len(value["complaints"]["mended"]) == 5
    assert value["complaints"]["by_category"][0] == {
        "category": "incorrect",
        "n": 6,
        "champion": 0.0,
        "challenger": pytest.approx(5 / 6),
    }
    for said in (
        "Promoted: pawl@4 answers now",
        "pawl rollback",
        "back to pawl@3",
        "9 of 12 held-out questions got better",
        "2: exact duplicate",
        "dpo",
        "everyday_arc: 2 broke, 0 improved of 400",
        "What is 1?",
        "right 1",
        "which <b>number</b> is 298?",
        "distance adapter",
        "0.0012",
    ):
        assert said in page.text, said
    svg = (run_dir / "report.html").read_text()
    assert len(re.findall("<svg ", svg)) == 2


@pytest.mark.parametrize(
    ("outcome", "title"),
    [
        ("indistinguishable", "Passed the gate, not promoted: indistinguishable"),
        ("refused", "Passed the gate, refused by the server"),
        ("pending", "Promoted, waiting for the engine"),
    ],
)
def test_a_passed_gate_is_not_called_live_when_it_is_not(
    tmp_path: Path, outcome: str, title: str
) -> None:
    run_dir = tmp_path / "run-2"
    make_run(run_dir, scores_of(300, 1), scores_of(300, 10))
    _, page = report(
        run_dir,
        promotion={
            "version": "pawl@4",
            "previous_version": "pawl@3",
            "outcome": outcome,
            "reason": "why not",
        },
    )
    assert title in page.text
    assert "why not" in page.text


def test_rejection_not_enough_evidence_and_no_verdict(tmp_path: Path) -> None:
    before = scores_of(300, 1)
    broken = [*before[:-1], replace(before[-1], score=None, error="a log-probability is NaN")]
    for name, after, title, reason in (
        ("rejected", scores_of(250, 12), "Rejected", "everyday_arc is worse than the champion"),
        ("open", scores_of(301, 2), "Not enough evidence", "No improvement on people's prompts"),
        ("none", broken, "No verdict", "a log-probability is NaN"),
    ):
        make_run(tmp_path / name, before, after)
        value, page = report(tmp_path / name)
        assert title in page.text
        assert reason in page.text
        assert "the champion answers as before" in page.text
        assert value["how_to_go_back"].startswith("Nothing was changed")


def test_a_night_without_a_run_has_a_report_with_the_reason(tmp_path: Path) -> None:
    detail = {"outcome": "no_run", "reason": "3 rows are too few to learn."}
    value, page = report(tmp_path / "quiet", run={"status": "promote", "detail": detail})
    assert value["outcome"] == "no_run"
    assert "no run tonight: 3 rows are too few to learn." in page.text


def test_a_night_that_failed_is_not_called_quiet(tmp_path: Path) -> None:
    run_dir = tmp_path / "run-9"
    run_dir.mkdir()
    value, page = report(run_dir, run={"status": "failed", "detail": {"reason": "disk full"}})
    assert value["outcome"] == "failed"
    assert "The night failed" in page.text
    assert "disk full" in page.text
    assert "No run" not in page.text


def test_a_promotion_that_waits_has_moved_nothing_yet(tmp_path: Path) -> None:
    run_dir = tmp_path / "run-2"
    make_run(run_dir, scores_of(300, 1), scores_of(300, 10))
    promotion = {"version": "pawl@4", "previous_version": "pawl@3", "outcome": "pending"}
    value, page = report(run_dir, promotion=promotion)
    assert "Nothing has moved yet: pawl@4 answers from the engine's next start" in page.text
    assert "pawl rollback" not in value["how_to_go_back"]


def test_left_out_holdout_rows_are_counted_where_people_look(tmp_path: Path) -> None:
    run_dir = tmp_path / "run-3"
    make_run(run_dir, scores_of(300, 1), scores_of(300, 10))
    for who in ("champion", "challenger"):
        left_out = {"n_holdout_left_out": {"too_long": 3, "refused": 1}}
        write_json(run_dir / "scores" / who / "manifest.json", {"suite": "everyday"} | left_out)
    value, page = report(run_dir)
    assert value["scoring"]["challenger"]["n_holdout_left_out"] == {"too_long": 3, "refused": 1}
    assert "left out: 3 longer than the model's context, 1 refused by the model's" in page.text


def test_how_much_was_replayed_and_how_little_was_learned_is_said(tmp_path: Path) -> None:
    make_run(tmp_path / "run", scores_of(300, 1), scores_of(300, 10))
    rows = {"sft": {"train": 1200, "validation": 30, "replay": 64}}
    stage = {"kind": "sft", "n_steps": 5, "max_steps": 180, "stopped_because": "out of time"}
    adapter = {"base_model": "tiny", "recipe": {"rows": rows, "stages": [stage]}}
    write_json(tmp_path / "run" / "adapter" / "manifest.json", adapter)
    plan = {"method": "sft", "reason": "many rows", "max_minutes": 20.0}
    _, page = report(tmp_path / "run", plan=plan)
    assert "SFT: 1,200 rows to train on, 30 to validate; 64 of them replay" in page.text
    assert "The SFT training came to 5 of 180 steps: its 20 minutes were over." in page.text


def test_how_a_training_went_is_plotted_over_its_steps(tmp_path: Path) -> None:
    path = tmp_path / "train" / "steps.jsonl"
    path.parent.mkdir()
    events = [
        {"stage": "dpo", "step": i, "loss": 1 / i, "rewards/accuracies": 0.5} for i in range(1, 999)
    ]
    events += [{"stage": "dpo", "step": 998, "eval_loss": 0.25, "eval_rewards/margins": 1.5}]
    path.write_text("\n".join(map(json.dumps, events)) + '\n{"stage": "dpo", "st', "utf-8")
    written, page = report(tmp_path)
    assert written["outcome"] == "no_run"
    loss, accuracy, margin = written["training"]
    assert (loss["train"][0], loss["train"][-1]) == ([1, 1.0], [998, 1 / 998])
    assert len(loss["train"]) < 400
    assert loss["validation"] == [[998, 0.25]]
    assert (accuracy["metric"], accuracy["validation"]) == ("preference accuracy", [])
    assert margin["train"] == []
    assert "DPO: metrics over steps" in (tmp_path / "report.html").read_text("utf-8")
    assert "preference accuracy" in page.text


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    make_run(tmp_path / "run", scores_of(300, 1), scores_of(298, 10))
    first = write_report(tmp_path / "run").read_text()
    again = write_report(tmp_path / "run").read_text()
    clock = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"
    assert re.sub(clock, "", first) == re.sub(clock, "", again)


def test_what_the_judge_said_and_how_far_people_agree_with_it_is_shown(tmp_path: Path) -> None:
    make_run(tmp_path, scores_of(60, 1), scores_of(60, 3))
    agreement = Agreement(30, 25, observed=0.9, expected=0.5, kappa=0.8, lower=0.55, upper=0.95)
    rate = WinRate(n=12, raw=0.7, controlled=0.61, lower=0.41, upper=0.78, length_weight=0.4,
                   p_better=0.2, p_worse=0.8)  # fmt: skip
    judged = JudgeReport(model="judge-1", agreement=agreement, least_kappa=0.4, counts=True,
                         win_rate=rate,
                         choices={"a": "tie"}, n_ties_by_order=2, n_same=3)  # fmt: skip
    _, page = report(tmp_path, run={"status": "finished"}, judge=judged.as_json())
    for text in ("judge-1", "kappa = 0.80 (0.55 to 0.95)", "61.0 %", "counts"):
        assert text in page.text
