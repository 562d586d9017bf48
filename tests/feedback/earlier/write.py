"""Write a store and settings by the code of an earlier version, and what that code reads of it.

    git archive COMMIT | tar -x -C OLD
    PYTHONPATH=OLD python tests/feedback/earlier/write.py FOLDER

Made the archives beside it, once for each schema. It ends without closing the store, as a kill
does, so that rows stand in DuckDB's log or in the journal. FOLDER/expected.json holds what the
store's methods gave; pawl.toml each setting with its default.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from feedback.store import Store
from pawl.settings import Settings

try:
    records = importlib.import_module("pawl.records")  # the first stage's name
except ImportError:
    records = importlib.import_module("pawl.schemas")


def made(kind: Any, /, **values: Any) -> Any:
    """A record of the fields that this version has."""
    fields = {one.name for one in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in fields})


def completion(n: int) -> Any:
    return made(
        records.Completion, completion_id=f"chatcmpl-{n}", choice_index=0,
        conversation_id=f"talk-{n}", rater_id="ann", created_at=f"2026-11-2{n}T10:00:00.000000Z",
        asked_model="pawl", version="base", base_model="smollm2-135m",
        base_fingerprint="sha256:" + 64 * "a",
        messages=[{"role": "user", "content": f"Wie spät ist es? {n} 🕐"}],
        completion=f"It is {n} o'clock.", finish_reason="stop", status="complete",
        sampling={"temperature": 0.5, "seed": n}, n_prompt_tokens=7, n_completion_tokens=5,
        first_token_seconds=0.25, total_seconds=1.5, streamed=True, request_id=f"r-{n}",
    )  # fmt: skip


def feedback(n: int, **values: Any) -> Any:
    return made(
        records.Feedback, **{
            "feedback_id": f"f-{n}", "idempotency_key": f"k-{n}", "completion_id": f"chatcmpl-{n}",
            "choice_index": 0, "rater_id": "ann", "created_at": f"2026-11-2{n}T11:00:00.000000Z",
            "thumb": "down", "categories": ["wrong_fact"], "comment": "no",
            "correction": "Noon.", "preferred_over": None, "retracted": False, "source": "api",
            **values,
        },
    )  # fmt: skip


def write(store: Any) -> None:
    for n in (1, 2, 3):
        store.append_completion(completion(n)).result(timeout=60)
    store.append_feedback(feedback(1)).result(timeout=60)
    store.append_feedback(
        feedback(2, thumb="up", categories=[], comment=None, correction=None)
    ).result(timeout=60)
    store.append_feedback(feedback(3, preferred_over="chatcmpl-2", thumb=None)).result(timeout=60)
    number = store.next_version()
    store.append_promotion(made(
        records.Promotion, promotion_id="p-1", created_at="2026-11-25T10:00:00.000000Z",
        version=f"pawl@{number}", previous_version="base", run_id="run-1", outcome="live",
        reason="the probe found it", probe={"outcome": "live"}, kind="promote",
    )).result(timeout=60)  # fmt: skip
    if hasattr(store, "append_category"):
        store.append_category(made(
            records.Category, key="too_old", definition="It was true once.", example="2019",
            treatment="correct", label="Too old", name="Too old",
        )).result(timeout=60)  # fmt: skip


def read(store: Any) -> dict[str, Any]:
    champion = store.champion() if callable(store.champion) else store.champion
    return {
        "completions": [dataclasses.asdict(one) for one in store.completions()],
        "feedback": [dataclasses.asdict(one) for one in store.current_feedback()],
        "promotions": [dataclasses.asdict(one) for one in store.promotions()],
        "champion": champion,
        "categories": [dataclasses.asdict(one) for one in store.categories()],
        "counts": store.counts(),
    }


def settings_file() -> str:
    """Each setting that has a default, as TOML."""
    groups: dict[str, dict[str, Any]] = {"": {}}
    for name, value in Settings().model_dump(mode="json").items():
        if isinstance(value, dict):
            groups[name] = value
        else:
            groups[""][name] = value
    lines = []
    for name, values in groups.items():
        lines += [f"[{name}]"] if name else []
        lines += [f"{key} = {json.dumps(one)}" for key, one in values.items()
                  if one is not None and not isinstance(one, dict)]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    (folder / "pawl.toml").write_text(settings_file(), encoding="utf-8")
    store = Store.open(folder / "pawl.duckdb")
    write(store)
    then = read(store)
    last, said = completion(4), feedback(4)
    then["completions"].append(dataclasses.asdict(last))
    then["feedback"].append(dataclasses.asdict(said))
    for name in ("completions", "feedback", "feedback_rows", "conversations"):
        if name in then["counts"]:
            then["counts"][name] += 1
    text = json.dumps(then, ensure_ascii=False, indent=1, sort_keys=True, default=str)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")
    store.append_completion(last).result(timeout=60)
    store.append_feedback(said).result(timeout=60)
    os._exit(0)  # acknowledged; DuckDB may not have the last two yet, where there is a journal


if __name__ == "__main__":
    main()
