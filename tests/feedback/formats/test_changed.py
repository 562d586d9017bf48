"""What records of exports say, when a later or an earlier export says something else of them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from feedback.curation import CHANGED, curate
from feedback.erasing import forget
from feedback.formats import OLDER, import_rows, parse
from feedback.formats.records import time_of
from feedback.store import Store
from pawl.settings import Settings
from tests.feedback.formats.test_chats import DISLIKED, LIKED, QUESTION, message, open_webui
from tests.feedback.formats.test_logs import TRACE, score


def take(store: Store, *records: Any, **more: Any) -> dict[str, Any]:
    """Import an export of these records."""
    return import_rows(store, json.dumps(list(records)).encode(), "export.json", **more)


def labels(store: Store) -> list[bool | None]:
    return [row.label for row in store.imported()]


def rated_at(rating: int | None, at: int | None, **data: Any) -> dict[str, Any]:
    """A record of Open WebUI's that was changed last at this time."""
    record = {**open_webui(rating), "updated_at": at}
    return {**record, "data": {**record["data"], **data}}


def answer(**more: Any) -> dict[str, Any]:
    """LibreChat's message, whose feedback may be absent."""
    return message("2", "1", "The Danube.", user="u", **more)


ASKED_BY_U = {**QUESTION, "user": "u"}


# ---- an opinion that was taken back ----


@pytest.mark.parametrize("without", [answer(), answer(feedback=None), answer(feedback={})])
def test_a_thumb_that_was_taken_back_is_learned_no_longer(
    store: Store, settings: Settings, without: dict[str, Any]
) -> None:
    assert take(store, ASKED_BY_U, answer(**LIKED))["n_added"] == 1
    assert take(store, ASKED_BY_U, without, is_dry_run=True)["n_taken_back"] == 1
    assert labels(store) == [True]
    counts = take(store, ASKED_BY_U, without)
    assert (counts["n_added"], counts["n_taken_back"]) == (0, 1)
    assert "1 opinions were taken back" in counts["message"]
    assert store.imported() == []
    assert (curate(store, settings).rows, curate(store, settings).rejections) == ([], {CHANGED: 1})
    assert store.counts()["imported"] == 1
    # Neither the same again nor the file before it changes anything; a later opinion does.
    assert take(store, ASKED_BY_U, without, {})["n_taken_back"] == 0
    assert take(store, ASKED_BY_U, answer(**LIKED))["n_added"] == 0
    assert labels(store) == []
    assert take(store, ASKED_BY_U, answer(**DISLIKED))["n_added"] == 1
    assert labels(store) == [False]
    assert len(curate(store, settings).rows) == 1


def test_a_thumb_may_be_taken_back_in_the_same_file() -> None:
    for states, is_liked in (([LIKED, {}], []), ([LIKED, {}, DISLIKED], [False])):
        lines = [ASKED_BY_U, *(answer(**state) for state in states)]
        parsed = parse("\n".join(map(json.dumps, lines)).encode(), "messages.jsonl")
        assert [row.label for row in parsed.lessons] == is_liked
        assert len(parsed.silent) == (not is_liked)
        assert parsed.skipped["an earlier state of a record that the file has again"] == 1


def test_what_nobody_rated_leaves_nothing_in_the_store(store: Store) -> None:
    counts = take(store, ASKED_BY_U, answer())
    assert (counts["n_taken_back"], counts["skipped"]) == (0, {"an answer without feedback": 1})
    assert store.read("SELECT * FROM imported") == []


def test_other_programs_records_may_say_nothing_any_more(store: Store) -> None:
    take(store, open_webui(1))
    assert take(store, open_webui(None))["n_taken_back"] == 1
    liked = {**score(), "id": "s", "dataType": "CATEGORICAL", "stringValue": "up"}
    assert take(store, TRACE, liked)["n_added"] == 1
    assert take(store, TRACE, {**liked, "stringValue": "unsure"})["n_taken_back"] == 1
    assert labels(store) == []


def test_a_person_who_took_an_opinion_back_is_forgotten_whole(
    store: Store, settings: Settings
) -> None:
    take(store, open_webui(1))
    take(store, {**open_webui(None), "user_id": "u-1"})
    assert len(store.read("SELECT * FROM imported")) == 2
    forget(store, settings, "import:open-webui/u-1", "the operator")
    assert store.read("SELECT * FROM imported") == []


# ---- other words, reasons, categories ----


def test_other_words_take_the_place_of_the_first(store: Store, settings: Settings) -> None:
    """The content and the rater are the same."""
    take(store, rated_at(-1, None, comment="No.", reason="too_verbose"), open_webui(1, "d"))
    later = rated_at(-1, None, comment="It is longer.", reason="being_lazy")
    assert take(store, later, open_webui(1, "d"))["n_added"] == 1
    row, _ = store.imported()
    assert (row.origin["comment"], row.categories) == ("It is longer.", ["incomplete"])
    assert curate(store, settings).rejections == {}
    assert [one.categories for one in curate(store, settings).rows] == [["incomplete"], []]
    assert take(store, later)["n_added"] == 0  # where it stands in a file is no change


# ---- files read again, and older ones ----


@pytest.mark.parametrize("times", [(None, None, None), (1, 2, 3)])
def test_all_exports_imported_again_and_again_change_nothing(
    store: Store, times: tuple[int | None, ...]
) -> None:
    other = open_webui(1, "d")
    ratings = (-1, -1, 1)
    exports = [[rated_at(rating, at), other] for rating, at in zip(ratings, times, strict=True)]
    exports[1].append({})  # the second says the same as the first, where there are no times
    for export in exports:
        take(store, *export)
    rows = store.read("SELECT * FROM imported")
    said = labels(store)
    assert sorted(map(str, said)) == ["True", "True"]
    for _ in range(3):
        for export in exports:
            assert take(store, *export)["n_added"] == 0
            assert labels(store) == said
    assert store.read("SELECT * FROM imported") == rows


def test_an_older_export_that_was_never_read_changes_nothing(store: Store) -> None:
    take(store, rated_at(-1, 20))
    counts = take(store, rated_at(1, 10))
    assert (counts["n_added"], counts["n_already_there"]) == (0, 0)
    assert counts["skipped"] == {OLDER: 1}
    assert counts["problems"] == [f"record 1 (line 1): {OLDER}"]
    assert labels(store) == [False]
    assert take(store, rated_at(None, 15))["n_taken_back"] == 0
    assert labels(store) == [False]
    assert take(store, rated_at(None, 30))["n_taken_back"] == 1
    assert take(store, rated_at(None, 40))["n_taken_back"] == 0
    assert take(store, rated_at(1, 25))["n_added"] == 0
    assert take(store, rated_at(1, 50))["n_added"] == 1
    assert labels(store) == [True]


def test_another_mapping_reads_more_of_a_file_that_was_read_before(store: Store) -> None:
    records = [TRACE, {**score(name="quality"), "id": "s"}]
    assert take(store, *records)["n_added"] == 0
    more = {"file_format": "langfuse", "mapping": {"label": "quality"}}
    assert take(store, *records, **more)["n_added"] == 1


@pytest.mark.parametrize(
    ("value", "at"),
    [
        (1767225600, "2026-01-01T00:00:00.000000+00:00"),
        ("1767225600", "2026-01-01T00:00:00.000000+00:00"),
        (1767225600500, "2026-01-01T00:00:00.500000+00:00"),
        (1767225600 * 10**9, "2026-01-01T00:00:00.000000+00:00"),
        ("2026-01-01T01:00:00.5+01:00", "2026-01-01T00:00:00.500000+00:00"),
        ("2026-01-01 00:00:00", "2026-01-01T00:00:00.000000+00:00"),
        ({"$date": "2026-01-01T00:00:00Z"}, "2026-01-01T00:00:00.000000+00:00"),
        ({"$date": {"$numberLong": "1767225600000"}}, "2026-01-01T00:00:00.000000+00:00"),
        *((value, None) for value in (None, True, "", "soon", [], {}, "0001-01-01T00:00+01:00",
                                      -1e11, float("nan"))),
    ],
)  # fmt: skip
def test_times_are_told_however_they_are_written(value: Any, at: str | None) -> None:
    assert time_of(value) == at


def test_a_file_that_is_imported_several_times_at_once_is_there_once(store: Store) -> None:
    lines = [json.dumps({"prompt": f"Question {n}?", "completion": f"{n}."}) for n in range(200)]
    raw = "\n".join(lines).encode()
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda n: import_rows(store, raw, f"{n}.jsonl"), range(4)))
    assert sorted(one["n_added"] for one in done) == [0, 0, 0, 200]
    assert store.counts()["imported"] == 200
