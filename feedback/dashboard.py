"""What the dashboard shows of the traffic: answers, thumbs and flags by time, version, category and
word of the question; what people complain about again and again; what waits for training.

Read-only queries. A flag is a thumb down, a category or a correction by a person; what reviewers
decided is not counted. Flags stand at the time of the answer, not at their own. Conversations that
their person deleted count nowhere; the texts of those not to be learned from are not read.

Rates are per 1,000 answers with the 95 % interval of Wilson (1927), which takes answers for
independent of each other: where few people flag much it is too narrow.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from feedback.conversations import ALIVE, LEARNED
from feedback.current import current_feedback_sql
from feedback.near_duplicates import clusters, comparable
from feedback.reviews import SOURCE
from feedback.rows import SILENT
from feedback.tables import newest
from feedback.traffic import IS_FLAG
from pawl.schemas import (
    Complaint,
    Dashboard,
    DashboardLine,
    FlagRate,
    TrainingBacklog,
    written,
)
from pawl.text import bare_words

if TYPE_CHECKING:
    from feedback.store import Store

MOST_DAYS = 366
HOURLY_DAYS = 2  # up to so many days are shown by the hour
# Of the newest answers, whose questions are read for words.
MOST_READ, MOST_READ_BYTES = 10_000, 32_000_000
MOST_COMPARED = 300  # of the newest flagged answers, whose questions are compared
MOST_QUESTION_CHARACTERS = 2_000
N_WORDS, N_COMPLAINTS = 12, 10
FEWEST_FLAGS, FEWEST_PEOPLE = 3, 2  # of a word: else it would show what one person asks
_WORD = re.compile(r"[^\W\d_][\w'’-]{1,39}")
NOT_NAMED = "(none named)"  # a flag without category; no category can be called so
_QUESTION = f"left(messages_json->>'$[#-1].content', {MOST_QUESTION_CHARACTERS})"


def _with(condition: str) -> str:
    """The answers since a time that fulfil a condition, what people say of them (feedback comes
    after its answer, so none is left out), and what that comes to for each. Takes two values, the
    time both."""
    said = current_feedback_sql(f" WHERE source <> '{SOURCE}' AND created_at >= ?")
    return (
        "WITH answers AS NOT MATERIALIZED"
        f" (SELECT * FROM completions WHERE created_at >= ? AND {condition}),"
        f" said AS (SELECT *, {IS_FLAG} AS is_flag FROM ({said}) WHERE NOT retracted),"
        " marks AS (SELECT completion_id, choice_index, bool_or(coalesce(thumb, '') = 'up') AS up,"
        "  bool_or(coalesce(thumb, '') = 'down') AS down, bool_or(is_flag) AS flagged"
        "  FROM said GROUP BY ALL)"
    )


_ALL, _LEARNED = _with(ALIVE), _with(LEARNED)


def wilson(n: int, n_all: int) -> tuple[float, float]:
    """The 95 % interval of a share. scipy's is the same; its import would take half a second."""
    if not n_all:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.975)
    share, spread = n / n_all, z * z / n_all
    middle = (share + spread / 2) / (1 + spread)
    half = z * (share * (1 - share) / n_all + spread / n_all / 4) ** 0.5 / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def dashboard(store: Store, days: int, now: datetime | None = None) -> Dashboard:
    """The figures of the last ``days`` days in UTC, today included; up to ``HOURLY_DAYS`` of the
    last hours."""
    now = now or datetime.now(UTC)
    is_hourly = days <= HOURLY_DAYS
    if is_hourly:
        hour = now.replace(minute=0, second=0, microsecond=0)
        buckets = [hour - timedelta(hours=n) for n in reversed(range(24 * days))]
    else:
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        buckets = [day - timedelta(days=n) for n in reversed(range(days))]
    since = written(buckets[0])
    total, by_time, by_version = _traffic(store, since, 13 if is_hourly else 10)
    names = [written(one)[: 13 if is_hourly else 10] for one in buckets]
    return Dashboard(
        days=days,
        since=since,
        until=written(now),
        is_hourly=is_hourly,
        total=total,
        by_time=[by_time.get(name) or DashboardLine(name=name, rate=_rate(0, 0)) for name in names],
        by_version=by_version,
        by_category=_by_category(store, since, total.n_answers),
        by_word=_by_word(store, since),
        n_read=MOST_READ,
        complaints=complaints(store, since),
        training=waiting_for_training(store),
    )


def _rate(n_flagged: int, n_answers: int) -> FlagRate:
    lower, upper = wilson(n_flagged, n_answers)
    share = n_flagged / n_answers if n_answers else None
    return FlagRate(
        per_1000=None if share is None else round(1000 * share, 2),
        lower=round(1000 * lower, 2), upper=round(1000 * upper, 2),
    )  # fmt: skip


def _traffic(
    store: Store, since: str, n_characters: int
) -> tuple[DashboardLine, dict[str, DashboardLine], list[DashboardLine]]:
    """All of it, by the beginning of the time as it is written, and by version, most used first."""
    rows = store.read(
        f"{_ALL} SELECT grouping(bucket, version), bucket, version, count(*),"
        " count(DISTINCT rater_id), count(DISTINCT (rater_id, conversation_id)),"
        " count(*) FILTER (status = 'error'), count(*) FILTER (up), count(*) FILTER (down),"
        " count(*) FILTER (flagged), sum(coalesce(n_completion_tokens, 0)),"
        " quantile_cont(first_token_seconds, [0.5, 0.95]) FILTER (status = 'complete'),"
        " quantile_cont(total_seconds, [0.5, 0.95]) FILTER (status = 'complete')"
        f" FROM (SELECT *, created_at[:{n_characters}] AS bucket FROM answers)"
        " LEFT JOIN marks USING (completion_id, choice_index)"
        " GROUP BY GROUPING SETS ((), (bucket), (version)) ORDER BY count(*) DESC, version",
        [since, since],
    )
    total = DashboardLine(name="all", rate=_rate(0, 0))
    by_time: dict[str, DashboardLine] = {}
    by_version: list[DashboardLine] = []
    for which, bucket, version, n, *counts, n_tokens, first, whole in rows:
        n_people, n_conversations, n_errors, n_up, n_down, n_flagged = counts
        line = DashboardLine(
            name=str({1: bucket, 2: version}.get(which, "all")), n_answers=n, n_people=n_people,
            n_conversations=n_conversations, n_errors=n_errors, n_up=n_up, n_down=n_down,
            n_flagged=n_flagged, n_tokens=int(n_tokens or 0), rate=_rate(n_flagged, n),
            first_token_seconds=_seconds(first), total_seconds=_seconds(whole),
        )  # fmt: skip
        if which == 1:
            by_time[line.name] = line
        elif which == 2:
            by_version.append(line)
        elif n:
            total = line
    return total, by_time, by_version


def _seconds(quantiles: Sequence[float | None] | None) -> list[float] | None:
    found = [one for one in quantiles or () if one is not None]
    return [round(one, 3) for one in found] or None


def _by_category(store: Store, since: str, n_answers: int) -> list[DashboardLine]:
    rows = store.read(
        f"{_ALL} SELECT category, count(DISTINCT (completion_id, choice_index)),"
        " count(DISTINCT said.rater_id) FROM (SELECT *, unnest(CASE WHEN categories_json = '[]'"
        f" THEN ['{NOT_NAMED}'] ELSE from_json(categories_json, '[\"VARCHAR\"]') END) AS category"
        " FROM said WHERE is_flag) said JOIN (SELECT completion_id, choice_index FROM answers)"
        " USING (completion_id, choice_index) GROUP BY category ORDER BY 2 DESC, 1",
        [since, since],
    )
    return [
        DashboardLine(name=name, n_answers=n_answers, n_flagged=n, n_people=n_people,
                      rate=_rate(n, n_answers))
        for name, n, n_people in rows
    ]  # fmt: skip


def _by_word(store: Store, since: str) -> list[DashboardLine]:
    """The words of questions whose answers are flagged most, by the lower end of the interval: a
    word that a few flagged questions hold by chance is not first."""
    recent = f"SELECT seq FROM answers ORDER BY seq DESC LIMIT {MOST_READ}"
    recent = f"SELECT * FROM answers WHERE seq IN ({recent})"
    some = (
        f"SELECT * FROM answers WHERE seq IN ({newest(recent, MOST_READ_BYTES, 'messages_json')})"
    )
    rows = store.read(
        f"{_LEARNED} SELECT {_QUESTION}, rater_id, coalesce(flagged, false)"
        f" FROM ({some}) LEFT JOIN marks USING (completion_id, choice_index)",
        [since, since],
    )
    words = [(_words(text or ""), rater_id, flagged) for text, rater_id, flagged in rows]
    n_flagged: Counter[str] = Counter()
    people: defaultdict[str, set[str]] = defaultdict(set)
    for held, rater_id, flagged in words:
        if flagged:
            n_flagged.update(held)
            for word in held:
                people[word].add(rater_id)
    wanted = {word for word, n in n_flagged.items()
              if n >= FEWEST_FLAGS and len(people[word]) >= FEWEST_PEOPLE}  # fmt: skip
    n_answers: Counter[str] = Counter()
    for held, _, _ in words:
        n_answers.update(held & wanted)
    lines = [
        DashboardLine(name=word, n_answers=n_answers[word], n_flagged=n_flagged[word],
                      n_people=len(people[word]), rate=_rate(n_flagged[word], n_answers[word]))
        for word in wanted
    ]  # fmt: skip
    lines.sort(key=lambda one: (-one.rate.lower, one.name))
    return lines[:N_WORDS]


def _words(text: str) -> set[str]:
    """Those of a text that are made of letters, without what stands around them."""
    return {word for word in bare_words(text) if _WORD.fullmatch(word)}


def complaints(store: Store, since: str) -> list[Complaint]:
    """Flagged answers grouped by questions that are nearly the same, those of most people first:
    of the newest ``MOST_COMPARED``, groups of two answers or more."""
    rows = store.read(
        f"{_LEARNED}, told AS (SELECT completion_id, choice_index, list(rater_id) AS raters,"
        "  flatten(list(from_json(categories_json, '[\"VARCHAR\"]'))) AS named"
        "  FROM said WHERE is_flag GROUP BY ALL)"
        f" SELECT {_QUESTION}, raters, named FROM answers JOIN told"
        " USING (completion_id, choice_index)"
        f" ORDER BY seq DESC LIMIT {MOST_COMPARED}",
        [since, since],
    )
    asked = [(str(text), raters, named) for text, raters, named in rows if text and text.strip()]
    groups: defaultdict[int, list[tuple[str, Any, Any]]] = defaultdict(list)
    for group, one in zip(clusters([comparable(text) for text, *_ in asked]), asked, strict=True):
        groups[group].append(one)
    found = []
    for together in groups.values():
        named = Counter(name for *_, names in together for name in names)
        found.append(
            Complaint(
                question=together[0][0], n_answers=len(together),
                n_people=len({rater for _, raters, _ in together for rater in raters}),
                categories=[name for name, _ in named.most_common(3)],
            )
        )  # fmt: skip
    found = [one for one in found if one.n_answers > 1]
    found.sort(key=lambda one: (-one.n_people, -one.n_answers, one.question))
    return found[:N_COMPLAINTS]


def waiting_for_training(store: Store) -> TrainingBacklog:
    """What people said since the snapshot of the newest night that came to a verdict; all that they
    ever said, where none did."""
    [(since,)] = store.read(
        "SELECT max(s.created_at) FROM snapshots s WHERE s.snapshot_id IN (SELECT"
        " detail_json->>'$.snapshot_id' FROM runs WHERE run_id IN (SELECT run_id FROM verdicts))"
    )
    after = since or ""
    treated = [one.key for one in store.categories() if one.treatment == "review"]
    [counts] = store.read(
        "WITH said AS (SELECT * FROM (SELECT *, from_json(categories_json, '[\"VARCHAR\"]') AS"
        f" named FROM ({current_feedback_sql()})) JOIN (SELECT completion_id, choice_index FROM"
        f" completions WHERE {LEARNED}) USING (completion_id, choice_index)"
        " WHERE NOT retracted AND created_at > ?)"
        " SELECT count(*) FILTER (has_correction),"
        " count(*) FILTER (preferred_over IS NOT NULL),"
        " count(*) FILTER (thumb = 'down' AND NOT has_correction),"
        " count(*) FILTER (thumb = 'up'),"
        " count(*) FILTER (NOT has_correction AND list_has_any(named, ?::VARCHAR[]))"
        " FROM said",
        [after, treated],
    )
    [(n_imported,)] = store.read(
        "SELECT count(*) FROM imported WHERE created_at > ? AND row_id <> ?", [after, SILENT]
    )
    names = ("n_corrections", "n_preferences", "n_thumbs_down", "n_thumbs_up", "n_uncorrected")
    return TrainingBacklog(since=since, n_imported=n_imported,
                           **dict(zip(names, counts, strict=True)))  # fmt: skip
