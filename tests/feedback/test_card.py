"""A snapshot's card tells what is in it, and two snapshots what they differ in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from feedback.card import build_card, diff_snapshots, render_card
from feedback.service import take_snapshot
from feedback.store import Store
from pawl.cli import cli
from pawl.errors import PawlError
from pawl.settings import Settings
from tests.feedback.examples import answered, conversation_in, said


def _snapshot(store: Store, settings: Settings) -> Path:
    return Path(take_snapshot(store, settings)["dir"])


def _correct(store: Store, text: str, rater_id: str) -> None:
    answer = answered(store, conversation_id=conversation_in("train"))
    said(store, answer, correction=text, categories=["tone"], rater_id=rater_id)


def test_a_card_counts_rows_raters_and_reasons(store: Store, settings: Settings) -> None:
    _correct(store, "Right.", "ann")
    _correct(store, "Right & <b>bold</b>.", "<i>bob</i>")
    said(store, answered(store), comment="Hm.", rater_id="eve")
    card = build_card(_snapshot(store, settings))
    assert card["n_rows"] == sum(n for kinds in card["counts"].values() for n in kinds.values())
    assert (card["n_raters"], card["n_prompts"], card["n_rejected"]) == (2, 2, 1)
    assert card["largest_share"] == 0.5
    assert set(card["raters"]) == {"ann", "<i>bob</i>"}
    assert card["categories"] == {"tone": card["n_rows"]}
    assert card["rejections"] == {"a comment alone": 1}
    assert card["characters"]["completion"]["most"] == len("Right & <b>bold</b>.")
    page = render_card(card)
    assert "&lt;i&gt;bob" in page
    assert "<i>" not in page
    assert "Right" not in page  # no text of a row


def test_a_difference_names_rows_and_raters(store: Store, settings: Settings) -> None:
    _correct(store, "Right.", "ann")
    before = _snapshot(store, settings)
    _correct(store, "Right too.", "bob")
    after = _snapshot(store, settings)
    difference = diff_snapshots(before, after)
    n_before = build_card(before)["n_rows"]
    assert (difference["n_removed"], difference["n_moved"]) == (0, 0)
    assert difference["n_same"] + difference["n_changed"] == n_before
    assert difference["added"]["raters"] == {"bob": difference["n_added"]}
    assert {row["change"] for row in difference["rows"]} >= {"added"}
    reverse = diff_snapshots(after, before)
    assert (reverse["n_removed"], reverse["n_added"]) == (difference["n_added"], 0)
    assert diff_snapshots(after, after)["rows"] == []


def test_the_command_line_finds_a_snapshot_by_its_id(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    _correct(store, "Right.", "ann")
    name = _snapshot(store, settings).name
    state = ["--state-dir", str(settings.state_dir)]
    page = tmp_path / "card.html"
    result = CliRunner().invoke(
        cli, [*state, "snapshot", "card", name, "--json", "--html", str(page)],
        catch_exceptions=False,
    )  # fmt: skip
    assert json.loads(result.output)["snapshot_id"] == name
    assert name in page.read_text()
    result = CliRunner().invoke(
        cli, [*state, "snapshot", "diff", name, name], catch_exceptions=False
    )
    assert "n_added: 0" in result.output
    with pytest.raises(PawlError, match="is not there"):
        CliRunner().invoke(cli, [*state, "snapshot", "card", "0" * 16], catch_exceptions=False)
