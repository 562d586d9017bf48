"""Nights on disk and in the store, as the pages of operators show them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from evals.report.report import write_report
from feedback.splits import prompt_key
from pawl.files import write_json
from pawl.schemas import RowKind, Split, TrainingRow, utc_now
from tests.feedback.examples import make_completion
from tests.serve.console import Console

STEPS = {"snapshot": {"seconds": 0.4}, "train": {"seconds": 312.4, "peak_memory_bytes": 2.1e9}}


def night(console: Console, run_id: str, champion: str = "base", **detail: Any) -> None:
    """A night that passed the gate, with all that it leaves."""
    console.passed(run_id, champion)
    told = {"outcome": "promote", "reason": "Better.", "snapshot_id": "s1", "steps": STEPS}
    told |= detail
    console.post(
        "/admin/runs", {"run_id": run_id, "status": "finished", "detail": told}
    ).raise_for_status()
    folder = console.server.settings.runs_dir / run_id
    verdict = json.loads((folder / "verdict.json").read_text())
    console.post(f"/admin/runs/{run_id}/verdict", verdict).raise_for_status()
    (folder / "train").mkdir()
    steps = [{"stage": "sft", "step": n, "loss": 3 / n, "token_accuracy": n / 20}
             for n in range(1, 11)]  # fmt: skip
    steps.append({"stage": "sft", "step": 10, "eval_loss": 0.5})
    lines = "".join(json.dumps(step) + "\n" for step in steps)
    (folder / "train" / "steps.jsonl").write_text(lines)
    (folder / "train" / "train.log").write_text("loading\ntraining\n")
    write_json(folder / "run.json", {"status": "finished", "detail": told, "steps": STEPS})
    write_report(folder)


def rejected_night(
    console: Console,
    run_id: str,
    reasons: Sequence[str],
    suspected: Sequence[str | None],
    **told: Any,
) -> None:
    """A night that the gate rejected, with the rows that it suspects.

    Args:
        suspected: the feedback that each row is made of, None of an imported one.
        told: in place of what each row says.
    """
    reason = " ".join(reasons)
    detail = {"outcome": "reject", "reason": reason, "snapshot_id": "s1", "steps": STEPS}
    console.post("/admin/runs", {"run_id": run_id, "status": "finished", "detail": detail})
    console.post(f"/admin/runs/{run_id}/verdict", {"outcome": "reject", "reasons": list(reasons)})
    rows = [
        {"rank": n, "score": 0.5, "row_id": f"row-{n}", "kind": "sft", "rater_id": "troll",
         "feedback_id": feedback_id, "prompt": f"Where is {n}?", "answer": f"At {n}.",
         "item": {"benchmark": "people", "item_id": "i", "prompt": "Where is it?"}, **told}
        for n, feedback_id in enumerate(suspected, 1)
    ]  # fmt: skip
    found = {"than": "champion", "slices": {"people": 2}, "n_items": 2, "n_rows": 90,
             "n_compared": 80, "rows": rows}  # fmt: skip
    write_json(console.server.settings.runs_dir / run_id / "suspects.json", found)


def flagged_night(
    console: Console, run_id: str, champion: str, trained: Sequence[str], tested: dict[str, str]
) -> None:
    """A night that passed the gate, with the flags that it learned and those that tested it."""
    store = console.server.store
    rows = [_flag(word, "sft", "train") for word in trained]
    rows += [_flag(word, "regression", "holdout") for word in tested]
    for word in {*trained, *tested}:
        if store.get_completion(f"c-{word}") is None:
            store.append_completion(
                make_completion(completion_id=f"c-{word}", completion=f"No {word} anywhere.",
                                messages=question(word))
            ).result()  # fmt: skip
    snapshot = {"snapshot_id": f"s-{run_id}", "content_sha256": run_id, "created_at": utc_now()}
    store.append_snapshot(snapshot, rows).result()
    night(console, run_id, champion, snapshot_id=f"s-{run_id}")
    prompts = {prompt_key(question(word)): outcome for word, outcome in tested.items()}
    look = {"snapshot_id": f"s-{run_id}", "attempt": 1, "alpha": 0.01, "prompts": prompts}
    verdict = {"outcome": "promote", "look": look}
    console.post(f"/admin/runs/{run_id}/verdict", verdict).raise_for_status()


def question(word: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"Where is the {word}?"}]


def _flag(word: str, kind: RowKind, split: Split) -> TrainingRow:
    said = f"The {word} is here."
    more = {"completion": said} if kind == "sft" else {"chosen": said, "rejected": "Nowhere."}
    origin = {"feedback_id": f"fb-{word}", "completion_id": f"c-{word}", "rater_id": "ann",
              "created_at": "2026-05-03T02:17:00+00:00"}  # fmt: skip
    return TrainingRow(f"{kind}-{word}", kind, word, split, question(word), origin=origin,
                       categories=["incorrect"], **more)  # type: ignore[arg-type]  # fmt: skip
