"""Conversations of the store: read in order, listed, searched, and what people note of theirs.

A conversation is a person's part of one ``conversation_id``; what stands under another ``rater_id``
is another's. Titles, pins, *don't learn from this*, settings and deletions are rows of
``conversation_notes``: appended, the newest counts; so are presets of settings, by their name. A
deletion hides at once what was asked until then (``ALIVE``); ``feedback.retention`` takes it out of
the files.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from feedback.tables import (
    NOTE_COLUMNS,
    PRESET_COLUMNS,
    Row,
    latest,
    newest,
    record_from,
    row_of,
)
from feedback.writer import GroupWriter, Write
from pawl.schemas import Completion, ConversationNote, Message, Preset, utc_now

TITLE_CHARACTERS = 300
MOST_SEARCHED_BYTES = 64_000_000  # of the newest conversations
_NEWEST = latest("conversation_notes", "conversation_id, rater_id")
_THIS = (
    "note.conversation_id = completions.conversation_id AND note.rater_id = completions.rater_id"
)
# Conditions on rows of ``completions``.
ALIVE = (
    f"NOT EXISTS (SELECT 1 FROM conversation_notes note WHERE {_THIS}"
    " AND note.deleted_at >= completions.created_at)"
)
LEARNED = (
    f"{ALIVE} AND NOT EXISTS (SELECT 1 FROM ({_NEWEST}) note WHERE {_THIS} AND NOT note.learn)"
)


@dataclass(frozen=True, slots=True)
class Summary:
    """A conversation as a list shows it. ``title`` is its own or its first question, cut."""

    conversation_id: str
    title: str
    updated_at: str | None  # of the newest answer; None before the first
    n_answers: int
    pinned: bool
    learn: bool


class Conversations:
    """Reads and writes them for one store. Reads see every note whose future was resolved."""

    def __init__(
        self, read: Callable[[str, Sequence[Any]], list[Row]], writer: GroupWriter
    ) -> None:
        self._read, self._writer = read, writer
        self._changing = threading.Lock()  # from the note that is read to the one in its place

    def note(self, conversation_id: str, rater_id: str) -> ConversationNote:
        """What counts of this person's conversation; the defaults where nothing was noted."""
        rows = self._read(
            f"SELECT {NOTE_COLUMNS} FROM conversation_notes"
            " WHERE conversation_id = ? AND rater_id = ? ORDER BY seq DESC LIMIT 1",
            [conversation_id, rater_id],
        )
        if rows:
            return record_from(ConversationNote, rows[0])
        return ConversationNote(conversation_id, rater_id, utc_now())

    def keep(self, *notes: ConversationNote) -> Future[None]:
        """Append notes, as of now."""
        rows = [row_of(replace(one, changed_at=utc_now())) for one in notes]
        return self._writer.submit(Write({"conversation_notes": rows}))

    def change(
        self,
        conversation_id: str,
        rater_id: str,
        changed: Callable[[ConversationNote], ConversationNote],
    ) -> ConversationNote:
        """Append what ``changed`` makes of what counts now, if it is another; waits for the commit.
        No other change falls between."""
        with self._changing:
            before = self.note(conversation_id, rater_id)
            note = changed(before)
            if note != before:
                self.keep(note).result()
            return note

    def delete(self, conversation_ids: Sequence[str], rater_id: str) -> None:
        """Hide what was asked in these conversations until now, and forget what was noted; waits
        for the commit. Where the clock stepped back, what is newer than now goes too."""
        with self._changing:
            now, ids = utc_now(), list(conversation_ids)
            which = "rater_id = ? AND conversation_id IN (SELECT unnest(?::VARCHAR[]))"
            rows = self._read(
                "SELECT conversation_id, max(changed_at) FROM ("
                f"SELECT conversation_id, created_at AS changed_at FROM completions WHERE {which}"
                " UNION ALL"
                f" SELECT conversation_id, changed_at FROM conversation_notes WHERE {which}"
                ") GROUP BY conversation_id",
                [rater_id, ids, rater_id, ids],
            )
            until = {one: max(now, newest) for one, newest in rows}
            notes = (
                ConversationNote(one, rater_id, now, deleted_at=until.get(one, now)) for one in ids
            )
            self.keep(*notes).result()

    def dismissed(self, rater_id: str) -> set[str]:
        """The completions of this person's that they want no word of any more."""
        rows = self._read(
            f"SELECT dismissed_json FROM ({_NEWEST}) WHERE rater_id = ? AND dismissed_json <> '[]'",
            [rater_id],
        )
        return {one for (text,) in rows for one in json.loads(text)}

    def dismiss(self, answer: Completion) -> None:
        """Note that this answer is not to be said back again; waits for the commit."""

        def dismissed(note: ConversationNote) -> ConversationNote:
            names = dict.fromkeys([*note.dismissed, answer.completion_id])
            return replace(note, dismissed=list(names))

        self.change(answer.conversation_id, answer.rater_id, dismissed)

    def unlearned(self) -> set[tuple[str, str]]:
        """(conversation_id, rater_id) of those that nothing is to be learned from."""
        rows = self._read(f"SELECT conversation_id, rater_id FROM ({_NEWEST}) WHERE NOT learn", [])
        return {(conversation_id, rater_id) for conversation_id, rater_id in rows}

    def of(
        self,
        rater_id: str,
        *,
        search: str = "",
        begins_with: str = "",
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[list[Summary], int]:
        """A page of a person's conversations, pinned ones first, then the newest; and how many
        there are in all.

        Args:
            search: words that stand in the title, the questions or the answers as the conversation
                has them now, in any case. Of very much (``MOST_SEARCHED_BYTES``) the newest.
            begins_with: what their ids begin with.
        """
        rows = self._read(
            "WITH own AS (SELECT conversation_id, min(seq) AS first_seq, max(seq) AS last_seq,"
            "  max(created_at) AS updated_at, count(*) AS n FROM completions"
            f"  WHERE rater_id = ? AND starts_with(conversation_id, ?) AND {ALIVE}"
            "  GROUP BY conversation_id)"
            " SELECT own.conversation_id, first_seq, last_seq, updated_at, n, note.title,"
            " coalesce(note.pinned, false) AS is_pinned, coalesce(note.learn, true)"
            f" FROM own LEFT JOIN ({_NEWEST}) note"
            " ON note.conversation_id = own.conversation_id AND note.rater_id = ?"
            " ORDER BY is_pinned DESC, last_seq DESC",
            [rater_id, begins_with, rater_id],
        )
        if search.strip():
            found = self._holding(search.strip(), [row[2] for row in rows])
            folded = search.strip().lower()
            rows = [row for row in rows if row[2] in found or folded in (row[5] or "").lower()]
        page = rows[offset : offset + limit]
        questions = self._first_questions([row[1] for row in page if row[5] is None])
        return [
            Summary(
                conversation_id,
                cut(title if title is not None else questions.get(first_seq, "")),
                updated_at,
                n,
                pinned,
                learn,
            )
            for conversation_id, first_seq, _, updated_at, n, title, pinned, learn in page
        ], len(rows)

    def presets(self, rater_id: str) -> list[Preset]:
        """A person's presets, by name."""
        rows = self._read(
            f"SELECT {PRESET_COLUMNS} FROM ({latest('presets', 'name', ' WHERE rater_id = ?')})"
            " WHERE deleted_at IS NULL ORDER BY lower(name), name",
            [rater_id],
        )
        return [record_from(Preset, row) for row in rows]

    def keep_preset(self, preset: Preset) -> Future[None]:
        """Append a preset, or that it is deleted."""
        return self._writer.submit(Write({"presets": [row_of(preset)]}))

    def delete_presets(self, rater_id: str) -> None:
        """Hide all presets of a person; waits for the commits."""
        now = utc_now()
        for one in self.presets(rater_id):
            self.keep_preset(Preset(rater_id, one.name, now, deleted_at=now)).result()

    def ids_of(self, rater_id: str) -> list[str]:
        """Every conversation that this person has rows in, and each that they noted anything of."""
        rows = self._read(
            "SELECT conversation_id FROM completions WHERE rater_id = ?"
            " UNION SELECT conversation_id FROM conversation_notes WHERE rater_id = ?",
            [rater_id, rater_id],
        )
        return sorted(conversation_id for (conversation_id,) in rows)

    def _holding(self, search: str, last_seqs: list[int]) -> set[int]:
        """Which of these rows hold a text, in their messages or their answer."""
        written = json.dumps(search, ensure_ascii=False)[1:-1]
        wanted = "SELECT * FROM completions WHERE seq IN (SELECT unnest(?::BIGINT[]))"
        seqs = newest(wanted, MOST_SEARCHED_BYTES, "messages_json", "completion")
        # Materialized, so that only these rows' texts are looked at: a third of the time.
        rows = self._read(
            "WITH newest AS MATERIALIZED (SELECT seq, messages_json, completion FROM completions"
            f"  WHERE seq IN ({seqs}))"
            " SELECT seq FROM newest WHERE contains(lower(messages_json), lower(?))"
            " OR contains(lower(completion), lower(?))",
            [last_seqs, written, search],
        )
        return {seq for (seq,) in rows}

    def _first_questions(self, seqs: list[int]) -> dict[int, str]:
        rows = self._read(
            "SELECT seq, messages_json FROM completions WHERE seq IN (SELECT unnest(?::BIGINT[]))",
            [seqs],
        )
        return {seq: first_question(json.loads(messages)) for seq, messages in rows}


def first_question(messages: Sequence[Message]) -> str:
    """What a conversation is called by: the first message of its user."""
    asked = (str(one.get("content") or "") for one in messages if one.get("role") == "user")
    return next(asked, "") or next((str(one.get("content") or "") for one in messages), "")


def cut(title: str) -> str:
    """A title on one line, ``TITLE_CHARACTERS`` at most."""
    line = " ".join(title[: 4 * TITLE_CHARACTERS].split())
    return line if len(line) <= TITLE_CHARACTERS else line[: TITLE_CHARACTERS - 1] + "…"


def markdown(title: str, messages: Sequence[Any]) -> str:
    """A conversation as a Markdown file: a heading for each message, answers as they were written,
    everybody else's words quoted.

    Args:
        messages: ``pawl.schemas.ConversationMessage``.
    """
    names = {"user": "You", "assistant": "Assistant"}
    parts = [f"# {_plain(cut(title) or 'Conversation')}"]
    for message in messages:
        parts.append(f"## {names.get(message.role, message.role.capitalize())}")
        is_answer = message.role == "assistant"
        parts.append(message.content if is_answer else _quoted(message.content))
        for call in message.tool_calls or []:
            parts.append(f"Calls `{call['function']['name']}`:")
            parts.append(_quoted(call["function"]["arguments"]))
        if message.feedback is not None:
            parts.append(_said(message.feedback))
    return "\n\n".join(part for part in parts if part) + "\n"


def _said(feedback: Any) -> str:
    words = {"up": "good", "down": "bad"}
    said = [f"Marked {words[feedback.thumb]}."] if feedback.thumb else []
    said += [f"Wrong with it: {', '.join(feedback.categories)}."] if feedback.categories else []
    said += [f"Comment: {feedback.comment}"] if feedback.comment else []
    said += [f"It should have said: {feedback.correction}"] if feedback.correction else []
    return _quoted("\n\n".join(said))


def _plain(line: str) -> str:
    """Text in which Markdown finds no mark of its own."""
    return "".join(f"\\{one}" if one in "\\`*_{}[]<>#|~&" else one for one in line)


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())
