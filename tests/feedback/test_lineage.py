"""From a flag to the version that fixed it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feedback.lineage import Trained, counts_of, flags
from feedback.splits import prompt_key
from feedback.store import Store
from pawl.schemas import TrainingRow, utc_now
from tests.feedback.examples import make_completion, wait_all

ONE, TWO = Trained("pawl@1", "run-1", "s1"), Trained("pawl@2", "run-2", "s2")
BOTH = [ONE, TWO]


def row(name: str, kind: str, split: str, **more: Any) -> TrainingRow:
    prompt = [{"role": "user", "content": f"Where is the {name}?"}]
    text = {"chosen": f"The {name} is here.", "rejected": "Nowhere."}
    if kind != "regression":
        text = {"completion": f"The {name} is here."}
    origin = {"feedback_id": f"fb-{name}", "completion_id": f"c-{name}", "rater_id": "ann",
              "created_at": f"2026-05-0{len(name)}"}  # fmt: skip
    return TrainingRow(f"{kind}-{name}", kind, name, split, prompt, origin=origin,  # type: ignore[arg-type]
                       **text, **more)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Two nights: the first tested on the lamp and learned the cup, the second learned both."""
    path: Path = tmp_path_factory.mktemp("lineage") / "state" / "pawl.duckdb"
    with Store.open(path) as one:
        wait_all([one.append_completion(make_completion(
            completion_id="c-lamp", completion="In the sea.", version="base"))])  # fmt: skip
        first = [row("lamp", "regression", "holdout"), row("cup", "sft", "train"),
                 row("spoon", "unpaired", "train", label=False),
                 row("plate", "unpaired", "train", label=True)]  # fmt: skip
        second = [row("lamp", "sft", "train"), row("cup", "sft", "train"),
                  row("kettle", "regression", "holdout")]  # fmt: skip
        for name, rows in (("s1", first), ("s2", second)):
            manifest = {"snapshot_id": name, "content_sha256": name, "created_at": utc_now()}
            one.append_snapshot(manifest, rows).result()
        for run, snapshot, words in (
            ("run-1", "s1", {"lamp": "fixed"}), ("run-2", "s2", {"kettle": "broken"}),
        ):  # fmt: skip
            prompts = {prompt_key([{"role": "user", "content": f"Where is the {name}?"}]): word
                       for name, word in words.items()}  # fmt: skip
            look = {"snapshot_id": snapshot, "attempt": 1, "alpha": 0.01, "prompts": prompts}
            one.append_verdict(run, {"outcome": "promote", "look": look}).result()
        yield one


def names(found: Any) -> list[str]:
    return [flag.flag_id.removeprefix("fb-") for flag in found.flags]


def test_a_version_counts_what_it_learned_and_what_its_gate_found(store: Store) -> None:
    counts = counts_of(store, BOTH)
    assert counts["pawl@1"].model_dump() == {
        "n_trained": 2, "n_fixed": 1, "n_same": 0, "n_broken": 0,
    }  # fmt: skip
    assert (counts["pawl@2"].n_trained, counts["pawl@2"].n_broken) == (2, 1)


def test_a_flag_has_its_way(store: Store) -> None:
    found = flags(store, BOTH, of=BOTH, outcome=None)
    assert found.n_found == 4
    assert names(found) == ["kettle", "spoon", "lamp", "cup"]  # the newest first, no liked answer
    lamp = found.flags[2]
    assert (lamp.answered_by, lamp.flagged, lamp.correction) == (
        "base", "In the sea.", "The lamp is here.",
    )  # fmt: skip
    assert [(one.version, one.outcome) for one in lamp.verdicts] == [("pawl@1", "fixed")]
    assert (lamp.trained_since, lamp.side) == ("pawl@2", "train")
    cup, kettle = found.flags[3], found.flags[0]
    assert (cup.trained_since, cup.answered_by, cup.flagged) == ("pawl@1", None, None)
    assert (kettle.trained_since, kettle.side, kettle.flagged) == (None, "holdout", "Nowhere.")


def test_flags_of_one_version_by_what_became_of_them_and_by_words(store: Store) -> None:
    assert names(flags(store, BOTH, of=[ONE], outcome="fixed")) == ["lamp"]
    assert names(flags(store, BOTH, of=[TWO], outcome="fixed")) == []
    assert names(flags(store, BOTH, of=[TWO], outcome="broken")) == ["kettle"]
    assert names(flags(store, BOTH, of=[ONE], outcome="trained")) == ["spoon", "cup"]
    assert names(flags(store, BOTH, of=BOTH, outcome=None, search="LAMP where")) == ["lamp"]
    assert names(flags(store, BOTH, of=BOTH, outcome=None, search="c-cup")) == ["cup"]
    assert names(flags(store, BOTH, of=[], outcome=None)) == []
    page = flags(store, BOTH, of=BOTH, outcome=None, offset=1, limit=2)
    assert (page.n_found, names(page)) == (4, ["spoon", "lamp"])
