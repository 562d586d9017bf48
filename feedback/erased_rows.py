"""Which of the store's rows are a person's, or too old, and what becomes of each.

Over 400 lines because what an erasing takes from each table is in one place.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from feedback.erased_files import Theirs
from feedback.imported import RATER
from feedback.redaction import HOLDOUT, SHORTEST_ID, SHORTEST_TEXT, Redactor, is_plain
from feedback.rewriting import Changes, TableChanges
from feedback.rows import problem_of_prompt
from feedback.splits import prompt_key
from feedback.store import LEARNED_PROMPT, Store
from feedback.tables import Row, table_columns
from pawl.errors import PawlError
from pawl.schemas import Message, utc_now
from pawl.text import texts_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ROWS_AT_ONCE = 1_000  # of answers, each with all that was said before it
# Tables of which whole rows go, or rows that name a row of the person's; of all others every value
# is looked at.
_BY_ROW = (
    "completions",
    "feedback",
    "reviews",
    "curated",
    "rejections",
    "imported",
    "scores",
    "places",
    "conversation_notes",
    "presets",
)
_ORIGINS = (("curated", "origin_json"), ("rejections", "origin_json"), ("imported", "row_json"),
            ("reviews", "origin_json"))  # fmt: skip
_NOT_LOOKED_AT = ("created_at", "changed_at", "used_at", "run_id", "benchmark", "role", "outcome")
# Whose a row is; of others' rows this is not looked at, since a client's id may be their name.
_CALLER = {"accounts": "name", "keys": "name", "sessions": "account"}
# Of the others, those in which texts of people may stand; elsewhere words are the program's own.
_WITH_TEXTS = ("scores", "verdicts", "runs")
# Of everybody: nothing in them is a person's (of ``facts`` see ``_prompts_of_nobody``).
_EVERYBODYS = ("facts", "categories", "version_numbers", "gateway_frames")
_MOST_SYSTEM_PROMPTS = 20
# Conditions on notes and presets that go with any erasing: those before a deletion.
BEFORE_DELETION = {
    "conversation_notes": "EXISTS (SELECT 1 FROM main.conversation_notes later"
    " WHERE later.seq > conversation_notes.seq"
    " AND later.deleted_at >= conversation_notes.changed_at"
    " AND later.rater_id = conversation_notes.rater_id"
    " AND later.conversation_id = conversation_notes.conversation_id)",
    "presets": "EXISTS (SELECT 1 FROM main.presets later WHERE later.seq > presets.seq"
    " AND later.deleted_at IS NOT NULL AND later.rater_id = presets.rater_id"
    " AND later.name = presets.name)",
}
_MADE_HERE = re.compile(r"(?:(?:conv|chat|fb|req)-)?[0-9a-f]{24,32}")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which answers go, and feedback beside that on them.

    ``names``: what stands under one of these, with ``until`` only what is not newer, ISO 8601.
    ``completion_ids``: these answers. ``before``: what is older; with ``keeps_rated`` only answers
    that nobody said anything about.
    """

    names: tuple[str, ...] = ()
    before: str | None = None
    keeps_rated: bool = False
    completion_ids: tuple[str, ...] = ()
    until: str | None = None

    def has(self, name: str, at: str) -> bool:
        """Whether a row of this name and time is one."""
        return name in self.names and (self.until is None or at <= self.until)

    @property
    def completions(self) -> tuple[str, list[Any]]:
        """A condition on the answers' rows, and its values."""
        if self.names:
            condition = "rater_id IN (SELECT unnest(?::VARCHAR[]))"
            if self.until is None:
                return condition, [list(self.names)]
            return f"{condition} AND created_at <= ?", [list(self.names), self.until]
        if self.before is None:
            condition = "completion_id IN (SELECT unnest(?::VARCHAR[]))"
            return condition, [list(self.completion_ids)]
        unrated = (
            " AND completion_id NOT IN (SELECT completion_id FROM main.feedback)"
            " AND completion_id NOT IN (SELECT preferred_over FROM main.feedback"
            " WHERE preferred_over IS NOT NULL)"
        )
        return f"created_at < ?{unrated if self.keeps_rated else ''}", [self.before]

    @property
    def feedback(self) -> tuple[str, list[Any]]:
        """Likewise on feedback's; what is on erased answers goes anyway."""
        is_by_answer = not self.names and self.before is None
        return ("false", []) if self.keeps_rated or is_by_answer else self.completions

    @property
    def notes(self) -> tuple[str, list[Any]]:
        """Likewise on ``conversation_notes``; those before a deletion go anyway."""
        condition, values = self.completions
        if self.names:
            return condition.replace("created_at", "changed_at"), values
        if self.before is None:
            return "false", []
        left = f"SELECT conversation_id, rater_id FROM main.completions WHERE NOT ({condition})"
        return f"changed_at < ? AND (conversation_id, rater_id) NOT IN ({left})", [
            self.before, *values,
        ]  # fmt: skip

    @property
    def presets(self) -> tuple[str, list[Any]]:
        """Likewise on presets, which have no age; those that were deleted go anyway."""
        return self.notes if self.names else ("false", [])

    @property
    def reviews(self) -> tuple[str, list[Any]]:
        """Likewise on reviewers' decisions."""
        condition, values = self.feedback
        return condition.replace("rater_id", "reviewer"), values


def names_of(store: Store, user: str) -> tuple[str, ...]:
    """The names that a person's rows stand under; of an account or key also those that it named.

    Raises:
        PawlError: nothing is kept under the name (``unknown_user``).
    """
    callers = [one.name for one in store.access.accounts.all_accounts()]
    callers += [one.name for one in store.access.all_keys()]
    name = next((one for one in callers if one.lower() == user.lower()), None)
    sql = (
        "SELECT rater_id FROM main.completions UNION SELECT rater_id FROM main.feedback"
        " UNION SELECT reviewer AS rater_id FROM main.reviews"
        " UNION SELECT rater_id FROM main.conversation_notes"
        " UNION SELECT rater_id FROM main.presets"
        f" UNION SELECT {RATER} AS rater_id FROM main.imported"
        " WHERE rater_id IS NOT NULL"
    )
    with store.rewriter.database.reading() as cursor:
        raters = {str(rater) for (rater,) in cursor.execute(sql).fetchall()}
    found = {user} & raters
    if name is not None:
        found |= {name} | {rater for rater in raters if rater.startswith(f"{name}/")}
    if not found:
        raise PawlError(
            f"nothing is kept under {user!r}",
            "no answer, feedback, account or key has that name",
            "A person behind a front end is KEY/PERSON; --conversation ID names the owner by one; "
            "where their first answer is under way, wait for its end",
            code="unknown_user",
            param="user",
        )
    return tuple(sorted(found))


def newest_of(cursor: DuckDBPyConnection, name: str) -> str:
    """The newest time of a row under this name, ISO 8601; empty where there is none."""
    sql = (
        "SELECT max(created_at) FROM (SELECT created_at, rater_id FROM main.completions"
        " UNION ALL SELECT created_at, rater_id FROM main.feedback"
        " UNION ALL SELECT created_at, reviewer FROM main.reviews"
        " UNION ALL SELECT changed_at, rater_id FROM main.presets"
        " UNION ALL SELECT changed_at, rater_id FROM main.conversation_notes) WHERE rater_id = ?"
    )
    [(newest,)] = cursor.execute(sql, [name]).fetchall()
    return newest or ""


def owner_of(store: Store, conversation_id: str) -> str:
    """Whose conversation it is, also where they deleted it and it waits for its erasing. Raises
    PawlError: nobody's, or several people's."""
    rows = store.read(
        "SELECT DISTINCT rater_id FROM completions WHERE conversation_id = ?", [conversation_id]
    )
    owners = sorted(rater_id for (rater_id,) in rows)
    if len(owners) == 1:
        return owners[0]
    raise PawlError(
        f"the conversation {conversation_id!r} has {len(owners)} owners",
        f"they are {', '.join(owners)}" if owners else "no answer was recorded in it",
        "Name the person with --user",
        code="unknown_user",
        param="conversation_id",
    )


def read_theirs(
    cursor: DuckDBPyConnection, selection: Selection, is_whole: bool = True
) -> tuple[Theirs, Counter[str]]:
    """What the store has of a person, and how much of what.

    Args:
        is_whole: the person goes, so the names are looked for too; else what they asked and said.
    """
    theirs, n = Theirs(names=set(selection.names) if is_whole else set()), Counter[str]()
    parts: set[tuple[str, str]] = set()  # of conversations, each one person's
    system: set[str] = set()
    condition, values = selection.completions
    for completion_id, conversation_id, rater_id, request_id, messages, calls in _rows(
        cursor,
        "SELECT completion_id, conversation_id, rater_id, request_id, messages_json,"
        f" tool_calls_json FROM main.completions WHERE {condition}",
        values,
    ):
        n["answers"] += 1
        theirs.completion_ids.add(completion_id)
        theirs.ids |= {completion_id, request_id or completion_id}
        parts.add((conversation_id, rater_id))
        theirs.words |= set(_arguments(json.loads(calls or "[]")))
        for message in json.loads(messages):
            content, role = str(message.get("content") or ""), message.get("role")
            if role in ("system", "developer"):
                system.add(content)
            elif role not in ("assistant", "tool"):  # a tool returns the same to others
                theirs.words.add(content)
            theirs.words |= set(_arguments(message.get("tool_calls") or []))
    conversations = {conversation_id for conversation_id, _ in parts}
    n["conversations"] = len(conversations)
    left = set(_rows(
        cursor,
        f"SELECT DISTINCT conversation_id, rater_id FROM main.completions WHERE NOT ({condition})"
        " AND conversation_id IN (SELECT unnest(?::VARCHAR[]))", [*values, sorted(conversations)],
    ))  # fmt: skip
    others = {conversation_id for conversation_id, _ in left}
    n["conversations that others wrote in too"] = len(conversations & others)
    theirs.ids |= conversations - others  # of one that others wrote in the id is theirs as well
    for conversation_id, rater_id, at, title, settings in _rows(
        cursor,
        "SELECT conversation_id, rater_id, changed_at, title, settings_json"
        " FROM main.conversation_notes",
    ):
        is_named = selection.has(rater_id, at)
        if is_named or (not selection.names and (conversation_id, rater_id) in parts - left):
            theirs.words |= {title} if title else set()
            system.add(json.loads(settings).get("system_prompt", ""))
    for rater_id, at, settings in _rows(
        cursor, "SELECT rater_id, changed_at, settings_json FROM main.presets"
    ):
        if selection.has(rater_id, at):
            n["presets"] += 1
            system.add(json.loads(settings).get("system_prompt", ""))
    taken_over, own = _read_reviews(cursor, selection, theirs, n)
    for feedback_id, key, at, completion_id, choice, rater_id, over, source, *texts in _rows(
        cursor,
        "SELECT feedback_id, idempotency_key, created_at, completion_id, choice_index,"
        " rater_id, preferred_over, source, comment, correction FROM main.feedback",
    ):
        place = rater_id, completion_id, choice
        if source == "review" and place in taken_over and (*place, at) not in own:
            theirs.taken_over.add(feedback_id)
        elif selection.has(rater_id, at):
            n["feedback of theirs"] += 1
        elif completion_id in theirs.completion_ids:
            n["feedback of others on their answers"] += 1
        elif over in theirs.completion_ids:  # stays, without naming their answer
            n["preferences of others over their answers"] += 1
            theirs.feedback_ids.add(feedback_id)
            continue
        else:
            continue
        theirs.feedback_ids.add(feedback_id)
        theirs.ids |= {feedback_id, key}
        theirs.words |= {text for text in texts if text}
    read_rows(cursor, theirs)
    _read_imported(cursor, theirs, n)
    theirs.words |= _own_system_prompts(cursor, selection, system)
    _leave_others_words(cursor, selection, theirs)
    ours = theirs.completion_ids | theirs.feedback_ids
    theirs.ids -= _ids_of_others(cursor, selection, theirs, theirs.ids - ours)
    theirs.chosen = {one for one in theirs.ids - ours if not _MADE_HERE.fullmatch(one)}
    theirs.ids = (theirs.ids - theirs.chosen) | theirs.names
    return theirs, n


def _read_reviews(
    cursor: DuckDBPyConnection, selection: Selection, theirs: Theirs, n: Counter[str]
) -> tuple[set[tuple[str, str, int]], set[tuple[str, str, int, str]]]:
    """Add what is theirs of reviewers' decisions.

    Returns:
        reviewer, completion and choice of each decision that took over a correction of theirs. And
        of each other decision that stands, with its time, which the reviewer's words have too: what
        else these reviewers said of these answers repeats the correction, or is undone.
    """
    taken_over: set[tuple[str, str, int]] = set()
    own: set[tuple[str, str, int, str]] = set()
    condition, values = selection.feedback
    said = {one for (one,) in _rows(
        cursor, f"SELECT feedback_id FROM main.feedback WHERE {condition}", values
    )}  # fmt: skip
    for review_id, at, completion_id, choice, reviewer, correction, origin, stands in _rows(
        cursor,
        "SELECT review_id, created_at, completion_id, choice_index, reviewer, correction,"
        " origin_json, decision <> 'undo' AND batch_id NOT IN (SELECT undoes FROM main.reviews"
        " WHERE undoes IS NOT NULL) FROM main.reviews",
    ):
        taken = json.loads(origin)
        is_theirs = taken.get("rater_id") in theirs.names or taken.get("feedback_id") in said
        if stands and not is_theirs:
            own.add((reviewer, completion_id, choice, at))
        if is_theirs:
            n["decisions that took over a correction of theirs"] += 1
            taken_over.add((reviewer, completion_id, choice))
        elif selection.has(reviewer, at):
            n["decisions of theirs as a reviewer"] += 1
        elif completion_id in theirs.completion_ids:
            n["decisions of reviewers on their answers"] += 1
        else:
            continue
        theirs.ids.add(review_id)
        theirs.words |= {correction} if correction else set()
    return taken_over, own


def _read_imported(cursor: DuckDBPyConnection, theirs: Theirs, n: Counter[str]) -> None:
    """Add imported rows of theirs, and what they wrote in them."""
    own: dict[str, dict[str, Any]] = {}
    for row_id, row in _rows(cursor, "SELECT row_id, row_json FROM main.imported"):
        lesson = json.loads(row)
        if theirs.owns(lesson.get("origin") or {}):
            n["imported rows"] += 1
            own[row_id] = lesson
            theirs.words |= _words_of(lesson)
    theirs.rows |= own
    names = (name.partition("/")[2] for name in theirs.names if name.startswith("import:"))
    theirs.written_names |= set(filter(_is_telling, names))
    ids = (lesson["origin"].get("record_id", "") for lesson in own.values())
    theirs.record_ids |= set(filter(_is_telling, ids))


def _is_telling(name: str) -> bool:
    """Whether an id stands for nothing else, as short ones, plain words and numbers do."""
    return len(name) >= SHORTEST_ID and not is_plain(name) and not name.isdigit()


def _words_of(lesson: dict[str, Any]) -> set[str]:
    """What its rater wrote. The answer is a model's, but for a correction of Langfuse's (an ``sft``
    row, with a pair that has the same answer): raters of other formats choose among answers, or
    stand in the same record."""
    origin = lesson.get("origin") or {}
    words = [one.get("content") for one in lesson["prompt"] if one.get("role") == "user"]
    words.append(origin.get("comment"))
    if lesson["kind"] == "sft" and origin.get("source") == "import:langfuse":
        words.append(lesson["completion"])
    return set(filter(None, words))


def _leave_others_words(cursor: DuckDBPyConnection, selection: Selection, theirs: Theirs) -> None:
    """Take out of their words what stands as a whole in what others asked, were answered and said,
    or in the house's own texts: two people ask the same, and whoever knows a text may send it."""
    theirs.words = {one for one in theirs.words if len(one) >= SHORTEST_TEXT}
    for text in _others_texts(cursor, selection, theirs):
        if not theirs.words:
            return
        theirs.words.discard(text)


def _ids_of_others(
    cursor: DuckDBPyConnection, selection: Selection, theirs: Theirs, ids: set[str]
) -> set[str]:
    """Those of the ids that rows which stay have as well: a client may name its requests, its
    feedback and its conversations by whatever it read of others."""
    condition, values = selection.completions
    answers = f"FROM main.completions WHERE NOT ({condition})"
    held = _rows(
        cursor,
        "SELECT DISTINCT id FROM ("
        f"SELECT unnest([completion_id, conversation_id, request_id]) AS id {answers}"
        " UNION ALL SELECT unnest([feedback_id, idempotency_key]) FROM main.feedback"
        " WHERE feedback_id NOT IN (SELECT unnest(?::VARCHAR[]))"
        ") WHERE id IN (SELECT unnest(?::VARCHAR[]))",
        [*values, sorted(theirs.feedback_ids | theirs.taken_over), sorted(ids)],
    )
    return {one for (one,) in held}


def _others_texts(
    cursor: DuckDBPyConnection, selection: Selection, theirs: Theirs
) -> Iterator[str]:
    """Every whole text of the rows that stay."""
    condition, values = selection.completions
    for messages, answer, calls in _rows(
        cursor,
        "SELECT messages_json, completion, tool_calls_json FROM main.completions"
        f" WHERE NOT ({condition})",
        values,
    ):
        yield answer
        yield from _arguments(json.loads(calls or "[]"))
        for message in json.loads(messages):
            yield str(message.get("content") or "")
            yield from _arguments(message.get("tool_calls") or [])
    said = theirs.ids | theirs.taken_over
    for sql in (
        "SELECT feedback_id, comment, correction FROM main.feedback",
        "SELECT review_id, correction, NULL FROM main.reviews",
    ):
        for row_id, *texts in _rows(cursor, sql):
            if row_id not in said:
                yield from filter(None, texts)
    for (written,) in _rows(cursor, "SELECT row_json FROM main.imported"):
        lesson = json.loads(written)
        if not theirs.owns(lesson.get("origin") or {}):
            yield from texts_of(lesson)
    for row in _rows(
        cursor,
        "SELECT system_prompt, NULL FROM main.version_settings"
        " UNION ALL SELECT definition, example FROM main.categories",
    ):
        yield from filter(None, row)


def read_rows(cursor: DuckDBPyConnection, theirs: Theirs) -> None:
    """Add the training rows, of all snapshots, that are made of what is theirs, and the keys of the
    prompts that they, or others of them, said something about: a row that two people said stands
    under the first one's name."""
    rated = _rows(
        cursor,
        "SELECT DISTINCT messages_json FROM main.completions WHERE completion_id IN"
        " (SELECT completion_id FROM main.feedback WHERE feedback_id IN"
        " (SELECT unnest(?::VARCHAR[])) OR completion_id IN (SELECT unnest(?::VARCHAR[])))",
        [sorted(theirs.feedback_ids), sorted(theirs.completion_ids)],
    )
    theirs.prompts |= _prompt_keys(json.loads(messages) for (messages,) in rated)
    for snapshot_id, row_id, split, origin, row in _rows(
        cursor, "SELECT snapshot_id, row_id, split, origin_json, row_json FROM main.curated"
    ):
        if theirs.owns(json.loads(origin)):
            theirs.n_trained.setdefault(snapshot_id, 0)
            theirs.n_trained[snapshot_id] += split != "holdout"
            if row_id not in theirs.rows:
                theirs.rows[row_id] = json.loads(row)


def _arguments(calls: list[dict[str, Any]]) -> Iterator[str]:
    for call in calls:
        yield str((call.get("function") or {}).get("arguments") or "")


def _own_system_prompts(
    cursor: DuckDBPyConnection, selection: Selection, prompts: set[str]
) -> set[str]:
    """Those that nobody else's requests and no version have; of many, none: a program wrote
    them."""
    long = {text for text in prompts if len(text) >= SHORTEST_TEXT}
    condition, values = selection.completions
    own = set()
    for text in long if len(long) <= _MOST_SYSTEM_PROMPTS else ():
        written = json.dumps(text, ensure_ascii=False)
        [(n,)] = cursor.execute(
            f"SELECT count(*) FROM main.completions WHERE NOT ({condition})"
            " AND contains(messages_json, ?)", [*values, written],
        ).fetchall()  # fmt: skip
        [(n_versions,)] = cursor.execute(
            "SELECT count(*) FROM main.version_settings WHERE system_prompt = ?", [text]
        ).fetchall()
        own |= set() if n or n_versions else {text}
    return own


def changes_of(
    selection: Selection, redactor: Redactor, theirs: Theirs
) -> Callable[[DuckDBPyConnection, int, int], Changes]:
    """What ``feedback.rewriting`` leaves out and changes.

    Args:
        redactor, theirs: for what other tables say of it.
    """

    def find(cursor: DuckDBPyConnection, first: int, last: int) -> Changes:
        between = f"seq > {first} AND seq <= {last}"
        columns = table_columns(cursor)
        changes = _dropped(cursor, selection, columns["feedback"], between)
        for table, column in _ORIGINS:
            found = _rows(cursor, f"SELECT seq, {column} FROM main.{table} WHERE {between}")
            changes.setdefault(table, TableChanges()).dropped.update(
                seq for seq, value in found if theirs.owns(_origin(column, json.loads(value)))
            )
        taken_over = _rows(
            cursor,
            f"SELECT seq FROM main.feedback WHERE {between} AND feedback_id IN"
            " (SELECT unnest(?::VARCHAR[]))",
            [sorted(theirs.taken_over)],
        )
        changes["feedback"].dropped.update(int(seq) for (seq,) in taken_over)
        named = sorted(theirs.ids)
        scores = _rows(
            cursor,
            f"SELECT * FROM main.scores WHERE {between} AND (item_id IN"
            " (SELECT unnest(?::VARCHAR[])) OR (starts_with(benchmark, ?)"
            " AND cluster IN (SELECT unnest(?::VARCHAR[]))))",
            [named, HOLDOUT, named],
        )
        changes["scores"] = TableChanges(replaced={
            int(row[0]): _redacted("scores", columns["scores"], row, redactor, theirs)
            for row in scores
        })  # fmt: skip
        changes |= _prompts_of_nobody(cursor, selection, theirs, between)
        for table in sorted(columns.keys() - set(_BY_ROW) - set(_EVERYBODYS)):
            if "seq" in columns[table]:
                rows = _rows(cursor, f"SELECT * FROM main.{table} WHERE {between} ORDER BY seq")
                changes[table] = _of_table(table, columns[table], rows, redactor, theirs)
        return changes

    return find


def _dropped(
    cursor: DuckDBPyConnection, selection: Selection, columns: list[str], between: str
) -> Changes:
    """The answers and the feedback that go; feedback that names an erased answer as the worse one
    stays without it."""
    condition, values = selection.completions
    own, own_values = selection.feedback
    gone = f"SELECT completion_id FROM main.completions WHERE {condition}"
    answers = _rows(
        cursor, f"SELECT seq FROM main.completions WHERE {between} AND ({condition})", values
    )
    completions = TableChanges({int(seq) for (seq,) in answers})
    said = _rows(
        cursor,
        f"SELECT seq FROM main.feedback WHERE {between} AND ({own} OR completion_id IN ({gone}))",
        [*own_values, *values],
    )
    feedback = TableChanges({int(seq) for (seq,) in said})
    own, own_values = selection.reviews
    decisions = _rows(
        cursor,
        f"SELECT seq FROM main.reviews WHERE {between} AND ({own} OR completion_id IN ({gone}))",
        [*own_values, *values],
    )
    reviews = TableChanges({int(seq) for (seq,) in decisions})
    place = columns.index("preferred_over")
    for row in _rows(
        cursor,
        f"SELECT * FROM main.feedback WHERE {between} AND preferred_over IN ({gone})",
        values,
    ):
        if int(row[0]) not in feedback.dropped:
            feedback.replaced[int(row[0])] = (*row[:place], None, *row[place + 1 :])
    noted, noted_values = selection.notes
    notes = _rows(
        cursor,
        f"SELECT seq FROM main.conversation_notes WHERE {between}"
        f" AND ({noted} OR {BEFORE_DELETION['conversation_notes']})",
        noted_values,
    )
    kept, kept_values = selection.presets
    presets = _rows(
        cursor,
        f"SELECT seq FROM main.presets WHERE {between}"
        f" AND ({kept} OR {BEFORE_DELETION['presets']})",
        kept_values,
    )
    return {
        "completions": completions,
        "feedback": feedback,
        "reviews": reviews,
        "conversation_notes": TableChanges({int(seq) for (seq,) in notes}),
        "presets": TableChanges({int(seq) for (seq,) in presets}),
    }


def _prompts_of_nobody(
    cursor: DuckDBPyConnection, selection: Selection, theirs: Theirs, between: str
) -> Changes:
    """The rows that say of a prompt which nobody has any more where it stands, or that training saw
    it."""
    places = list(_rows(cursor, f"SELECT seq, prompt_key FROM main.places WHERE {between}"))
    learned = list(_rows(
        cursor, f"SELECT seq, value FROM main.facts WHERE {between} AND name = ?", [LEARNED_PROMPT]
    ))  # fmt: skip
    held = prompts_of_others(cursor, selection, theirs) if places or learned else set()
    return {
        table: TableChanges({int(seq) for seq, key in rows if key not in held})
        for table, rows in (("places", places), ("facts", learned))
    }


def prompts_of_others(cursor: DuckDBPyConnection, selection: Selection, theirs: Theirs) -> set[str]:
    """Keys of the prompts that somebody else said something about, or that stay for another
    reason: what the ledger and verdicts say of them stays too."""
    (condition, values), (own, own_values) = selection.completions, selection.feedback
    rated = _rows(
        cursor,
        f"SELECT DISTINCT messages_json FROM main.completions WHERE NOT ({condition})"
        f" AND completion_id IN (SELECT completion_id FROM main.feedback WHERE NOT ({own}))",
        [*values, *own_values],
    )
    held = _prompt_keys(json.loads(messages) for (messages,) in rated)
    lessons = (json.loads(row) for (row,) in _rows(cursor, "SELECT row_json FROM main.imported"))
    held |= _prompt_keys(
        one["prompt"] for one in lessons if not theirs.owns(one.get("origin") or {})
    )
    return held


def _prompt_keys(prompts: Iterable[list[Message]]) -> set[str]:
    return {prompt_key(prompt) for prompt in prompts if problem_of_prompt(prompt) is None}


def _origin(column: str, value: dict[str, Any]) -> dict[str, Any]:
    return value if column == "origin_json" else value.get("origin") or {}


def _of_table(
    table: str, columns: list[str], rows: Iterator[Row], redactor: Redactor, theirs: Theirs
) -> TableChanges:
    """Sessions go; of an account or key one row stays, so that the server stays closed."""
    changes = TableChanges()
    newest: dict[str, int] = {}
    for row in rows:
        value = dict(zip(columns, row, strict=True))
        seq = int(value["seq"])
        if table == "sessions" and value["account"] in theirs.names:
            changes.dropped.add(seq)
            continue
        redacted = _redacted(table, columns, row, redactor, theirs)
        if redacted == row:
            continue
        changes.replaced[seq] = redacted
        if table in ("accounts", "keys") and value["name"] in theirs.names:
            key = str(value.get("key_id", value["name"]))
            if key in newest:
                changes.dropped.add(newest[key])
                del changes.replaced[newest[key]]
            newest[key] = seq
    return changes


def _redacted(table: str, columns: list[str], row: Row, redactor: Redactor, theirs: Theirs) -> Row:
    """A row without what is the person's."""
    value = dict(zip(columns, row, strict=True))
    if table in ("accounts", "keys") and value["name"] in theirs.names:
        ended = "removed_at" if table == "accounts" else "revoked_at"
        value |= {"role": "user", ended: value[ended] or utc_now()}
        value |= (
            {"password_hash": None, "subject": None, "must_change": False}
            if table == "accounts"
            else {"secret_hash": "", "may_name_raters": False}
        )
    elif table == "audit" and value["caller"] in theirs.names:
        value["address"] = ""
    for name, item in value.items():
        is_other = _CALLER.get(table) == name and item not in theirs.names
        is_other |= table == "version_settings" and name != "made_by"  # it is the house's
        if isinstance(item, str) and name not in _NOT_LOOKED_AT and not is_other:
            value[name] = _redacted_text(name, item, redactor, table)
    return tuple(value.values())


def _redacted_text(column: str, text: str, redactor: Redactor, table: str) -> str:
    """A column's value, which may be JSON; the same text where nothing in it is the person's."""
    words = table in _WITH_TEXTS
    if not column.endswith("_json") and column != "target":
        return str(redactor.json(text, key=column, words=words))
    try:
        before = json.loads(text)
    except ValueError:  # an audit entry's target may be cut
        return redactor.text(text, words=words)
    after = redactor.json(before, table == "scores", column, words=words)
    return text if after == before else json.dumps(after, ensure_ascii=False, separators=(",", ":"))


def _rows(cursor: DuckDBPyConnection, sql: str, values: list[Any] | None = None) -> Iterator[Row]:
    found = cursor.execute(sql, values or [])
    while batch := found.fetchmany(_ROWS_AT_ONCE):
        yield from batch
