"""pawl backup, restore and forget as they are typed, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from feedback.store import Store
from pawl.files import read_json
from pawl.settings import Settings
from tests.adapters_for_tests import light_base
from tests.feedback.examples import answered, said
from tests.pawl.test_cli_keys import typed

pytestmark = pytest.mark.slow


def test_a_backup_is_restored_and_a_person_forgotten(tmp_path: Path) -> None:
    base = light_base(tmp_path / "base")
    settings = Settings(state_dir=tmp_path / "state", model=str(base.model_dir))
    with Store.open(settings.database_path) as store:
        for rater in ("ann", "bob"):
            said(store, answered(store, rater_id=rater), rater_id=rater, correction="no")
    file, certificate = tmp_path / "pawl.backup", tmp_path / "certificate.json"
    assert "SHA-256" in typed(settings, f"backup {file}")[0]
    preview = typed(settings, "forget --user ann --dry-run")
    assert any("ann" in line for line in preview)
    typed(settings, f"forget --user ann --yes --certificate {certificate}")
    assert read_json(certificate)["counts"]["answers"] == 1
    assert "1 answers" in typed(settings, "forget --list")[-1]
    again = Settings(state_dir=tmp_path / "again", model=str(base.model_dir))
    assert "as they were" in typed(again, f"restore {file}")[0]
    raters = []
    for one in (settings, again):
        with Store.open(one.database_path) as store:
            raters.append(sorted(row.rater_id or "" for row in store.completions()))
    assert raters == [["bob"], ["ann", "bob"]]
