"""Branches of a conversation: the paths through all that was asked in it, asked again and edited.

A conversation is recorded as completions with their prompts. Prompts that begin alike share their
messages; where they part there are branches. A *turn* is a message of a user with all that follows
up to the next one; its *variants* are the turns that were asked at the same place: again, or
edited. What a program or a person set before it all (a system prompt) makes no other branch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pawl.schemas import Completion, Message

MOST_TRIED = 100  # answers of the same text, for where a shortened prompt goes on
MOST_COMPARED = 2_000_000  # messages of theirs, over all prompts of a conversation: 0.5 s
_SET_BEFORE = ("system", "developer")


class Entry(NamedTuple):
    """A message of a path."""

    message: Message
    row: Completion | None = None  # of an answer that was recorded here
    variant: int | None = None  # of a turn's first message with variants: its place, from 1
    n_variants: int | None = None


class Branch(NamedTuple):
    """A path beside another one: ``entries`` in place of that one's from ``at`` on."""

    of: int  # which other: 0 the tree's path, n the n-th branch
    at: int
    entries: list[Entry]


@dataclass(slots=True, eq=False)
class _Said:
    """A message after those before it."""

    message: Message
    before: _Said | None
    first: int  # the row that it came with, counted
    row: Completion | None = None
    newest: int = -1  # the newest row that holds it
    set_before: list[Message] = field(default_factory=list)  # in the midst, by the newest row
    following: list[_Said] = field(default_factory=list)

    @property
    def is_asked(self) -> bool:
        return bool(self.message.get("role") == "user")

    @property
    def is_blank(self) -> bool:
        """Whether it is an answer that never came."""
        message = self.message
        return self.row is not None and not (message["content"] or "").strip() and not (
            message.get("tool_calls")
        )  # fmt: skip


class _Step(NamedTuple):
    key: bytes
    message: Message
    set_before: list[Message]


class Tree:
    """All paths of a conversation.

    An answer of a prompt is that of the newest completion that gave it to these messages; where
    none was recorded here it has no row. A prompt that begins in the midst of an earlier one (a
    conversation that had become too long) goes on from there.

    Args:
        completions: those of one conversation, in the order they came.
    """

    def __init__(self, completions: Sequence[Completion]) -> None:
        self._root = _Said({}, None, -1)
        self._places: dict[bytes, _Said] = {}  # by a message and all before it in its prompt
        self._answers: dict[bytes, list[_Said]] = {}  # by their text, whatever stands before
        self._earlier: dict[bytes, Completion] = {}  # by a shortened prompt's first message
        self._ends: dict[tuple[str, int], _Said] = {}
        self._n_compared = 0
        self._all: list[_Said] = []  # each after what stands before it
        for n, row in enumerate(completions):
            self._add(n, row)
        for said in reversed(self._all):
            if said.before is not None:
                said.before.newest = max(said.before.newest, said.newest)

    def path_to(self, row: Completion) -> list[Entry]:
        """What led to this answer, and the answer; before it what was set before the path's
        first prompt."""
        return [*map(Entry, self._leading(row)), *_entries(self._segments(self._line(row)))]

    def branches(self, row: Completion) -> list[Branch]:
        """All that was asked and answered beside the path to this answer, each once: each variant
        with what followed it last. A branch comes after the one that it leaves."""
        paths = [(self._segments(self._line(row)), len(self._leading(row)), 0)]
        found: list[Branch] = []
        for of, (segments, n_before, n_shared) in enumerate(paths):  # grows
            at = n_before
            for n, segment in enumerate(segments):
                for end in segment.variants if n >= n_shared else ():
                    if end is segment.said[-1]:
                        continue
                    turn = _up_to(end, segment.said[0].before)
                    others = self._segments([*turn, *_newest_after(end)], segment.variants)
                    found.append(Branch(of, at, _entries(others)))
                    paths.append((others, at, 1))
                at += len(_entries([segment]))
        return found

    def _add(self, n: int, row: Completion) -> None:
        *steps, (key, message, set_before) = _steps(row)
        if len(steps) > 1 and steps[0].key not in self._places:
            self._go_on_from_the_midst(steps)
        said = self._root
        for i, step in enumerate(steps):
            place = self._places.get(step.key)
            if place is None:
                place = self._places[step.key] = _Said(step.message, said, n)
                said.following.append(place)
                self._all.append(place)
            said = place
            if i:
                said.set_before = step.set_before
        answer = self._places[key] = _Said(message, said, n, row, n, set_before)
        said.following.append(answer)
        self._all.append(answer)
        self._answers.setdefault(_keys([message])[0], []).append(answer)
        self._ends[row.completion_id, row.choice_index] = answer

    def _go_on_from_the_midst(self, steps: list[_Step]) -> None:
        """Find the newest path that ends as this prompt begins, up to its last message."""
        kept = steps[:-1]
        for answer in self._answers.get(_keys([kept[-1].message])[0], [])[: -MOST_TRIED - 1 : -1]:
            self._n_compared += len(kept)
            if self._n_compared > MOST_COMPARED:
                return
            line = _up_to(answer, None, len(kept))
            if [one.message for one in line] == [step.message for step in kept]:
                self._places |= {step.key: one for step, one in zip(kept, line, strict=True)}
                assert answer.row is not None
                self._earlier[steps[0].key] = answer.row
                return

    def _leading(self, row: Completion) -> list[Message]:
        """What was set before the first message of the path to this answer."""
        while (begun := _begin(row)) is not None:
            earlier = self._earlier.get(_keys([row.messages[begun]])[0])
            if earlier is None:
                break
            row = earlier
        return row.messages[:begun]

    def _line(self, row: Completion) -> list[_Said]:
        return _up_to(self._ends[row.completion_id, row.choice_index], self._root)

    def _segments(self, line: list[_Said], known: dict[_Said, int] | None = None) -> list[_Segment]:
        """The turns of a path, and before them what came before the first question.

        Args:
            known: the first one's variants.
        """
        segments: list[_Segment] = []
        for said in line:
            if said.is_asked or not segments:
                segments.append(_Segment([], {}))
            segments[-1].said.append(said)
        for n, (all_, variants) in enumerate(segments):
            first, last = all_[0], all_[-1]
            if n == 0 and known is not None:
                segments[0] = _Segment(all_, known)
            elif first.is_asked and first.before is not None:
                ends = [end for end in _ends_after(first.before) if end is last or not end.is_blank]
                ends.sort(key=lambda end: end.first)
                variants |= {end: place for place, end in enumerate(ends, 1)}
        return segments


class _Segment(NamedTuple):
    said: list[_Said]
    variants: dict[_Said, int]  # the last message of each, in the order they came: its place


def n_left_out(path: Sequence[Entry], row: Completion) -> int:
    """How many of the first messages of the path to an answer its prompt no longer held. What was
    set in the midst does not count: the path has it as another prompt may have set it."""
    said = [at for at, one in enumerate(path) if one.message["role"] not in _SET_BEFORE]
    first = len(said) - len(_steps(row))
    return said[first] if first > 0 else 0


def newest_of(completions: Sequence[Completion]) -> Completion:
    """The newest answer; of several choices the first."""
    last = completions[-1].completion_id
    return first_choice(completions, last) or completions[-1]


def first_choice(completions: Sequence[Completion], completion_id: str) -> Completion | None:
    """The first of a completion's choices."""
    choices = (row for row in completions if row.completion_id == completion_id)
    return min(choices, key=lambda row: row.choice_index, default=None)


def _entries(segments: list[_Segment]) -> list[Entry]:
    entries: list[Entry] = []
    for said, variants in segments:
        place = variants.get(said[-1]) if len(variants) > 1 else None
        for one in said:
            entries += map(Entry, one.set_before)
            told = (place, len(variants)) if place and one is said[0] else ()
            entries.append(Entry(one.message, one.row, *told))
    return entries


def _ends_after(said: _Said) -> Iterator[_Said]:
    """The last message of each turn that was asked after this one."""
    turns = [one for one in said.following if one.is_asked]
    while turns:
        one = turns.pop()
        going_on = [other for other in one.following if not other.is_asked]
        if len(going_on) == 0 or len(going_on) < len(one.following):
            yield one
        turns += going_on


def _newest_after(end: _Said) -> list[_Said]:
    """What followed a turn last, to its end."""
    line, following = [], [one for one in end.following if one.is_asked]
    while following:
        line.append(max(following, key=lambda one: one.newest))
        following = line[-1].following
    return line


def _up_to(end: _Said, before: _Said | None, most: int | None = None) -> list[_Said]:
    """The messages after ``before`` up to ``end``, at most ``most``."""
    line: list[_Said] = []
    said: _Said | None = end
    while said is not before and said is not None and said.message and len(line) != most:
        line.append(said)
        said = said.before
    return line[::-1]


def _begin(row: Completion) -> int | None:
    """Where a prompt begins after what was set before it; None: nowhere."""
    roles = enumerate(message["role"] for message in row.messages)
    return next((at for at, role in roles if role not in _SET_BEFORE), None)


def _steps(row: Completion) -> list[_Step]:
    """A prompt's messages and its answer, each with what was set before it in the midst."""
    steps: list[_Step] = []
    pending: list[Message] = []
    messages = [*row.messages, row.answer]
    for message, key in zip(messages, _keys(messages), strict=True):
        if message["role"] in _SET_BEFORE:
            pending.append(message)
        else:
            steps.append(_Step(key, message, pending if steps else []))
            pending = []
    return steps


def _keys(messages: Sequence[Message]) -> list[bytes]:
    """Of each message, what stands for it and all that was said before it. Takes time in proportion
    to their length, however many there are."""
    keys, whole = [], hashlib.sha256()
    for message in messages:
        if message["role"] not in _SET_BEFORE:
            text = json.dumps(message, ensure_ascii=False)
            whole.update(f"{len(text)} {text}".encode())
        keys.append(whole.digest())
    return keys
