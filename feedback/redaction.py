"""Takes what is one person's out of JSON and HTML, and finds in bytes what is left of it."""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import re
from collections.abc import Iterable
from typing import Any

ERASED = "[erased]"
HOLDOUT = "holdout"  # begins the names of the benchmarks that are people's prompts
HEAD_BYTES = 16  # of a text, by which it is found
SHORTEST_TEXT = 24  # characters; shorter ones may well be somebody else's
QUOTED = 80  # characters: what reasons of a verdict quote of a prompt at most, in '"'
SHORTEST_ID, SHORTEST_NAME = 6, 3  # characters; shorter ones are found only where ids stand
# Values of these keys are words of Pawl's own, whoever is called so.
_OWN_WORDS = frozenset(
    "action base_fingerprint base_model benchmark categories category challenger_fingerprint "
    "champion_fingerprint champion_version content_sha256 dtype fingerprint format kind method "
    "model outcome role source split stage status suite thumb type version".split()
)
# Under these a plain word is somebody's name.
_NAME_KEYS = frozenset(
    "account asked_by caller cluster conversation_id group_id made_by name owner rater rater_id "
    "raters subject user".split()
)
# Under these stands what people wrote, and what they were answered.
_TEXT_KEYS = frozenset(
    "answer broken chosen comment completion content correction flagged prompt rejected "
    "text".split()
)
# What the program says of itself, under whatever key: a name, a hash, a path, a number; and why,
# where people's words stand in quotation marks alone.
_OWN_VALUE = re.compile(r"[A-Za-z0-9_.:/@+=-]+")
_OWN_SENTENCES = frozenset(("reason", "reasons"))
# Names that stand in texts for something else.
_COMMON_NAMES = frozenset(
    "admin administrator anonymous assistant base pawl prompt reviewer system tool user".split()
)
_TOKEN = re.compile(rb"[A-Za-z0-9_.:@+-]{%d,}" % SHORTEST_ID)
_TEXT_NODE = re.compile(r">([^<>]+)<")


def is_plain(name: str) -> bool:
    """Whether a name may as well be a word of Pawl's own (``train``, ``finished``): such a one is
    looked for in sentences and logs, and where names stand, and nowhere else."""
    return re.fullmatch("[a-z]{1,11}|[a-z_]+", name) is not None or name.lower() in _COMMON_NAMES


class Search:
    """Finds ids, names and texts in bytes, as Pawl writes them: plain, in JSON, in HTML.

    Args:
        ids: of rows, answers, conversations.
        names: of the person.
        texts: what the person wrote; those under ``SHORTEST_TEXT`` are left out. Of longer ones the
            beginning is found, too, where it is quoted.
    """

    def __init__(self, ids: Iterable[str], names: Iterable[str], texts: Iterable[str]) -> None:
        self._ids: set[bytes] = set()
        odd = [name for name in names if len(name) >= SHORTEST_NAME and name not in _COMMON_NAMES]
        for one in ids:
            if len(one) >= SHORTEST_ID:
                if _TOKEN.fullmatch(one.encode()):
                    self._ids.add(one.encode())
                else:
                    odd.append(one)
        forms = sorted({form for one in odd for form in _forms(one)}, key=len, reverse=True)
        self._names = (
            re.compile(rb"(?<![\w@+-])(?:" + b"|".join(map(re.escape, forms)) + rb")(?![\w@+-])")
            if forms
            else None
        )
        long = [text for text in texts if len(text) >= SHORTEST_TEXT]
        self._quoted = _by_head(f'"{text[:QUOTED]}"' for text in long)
        self._heads = _by_head(long)
        for head, quotations in self._quoted.items():
            self._heads[head] = self._heads.get(head, set()) | quotations

    def spans(
        self, data: bytes, *, texts: bool = True, quoted: bool = False
    ) -> list[tuple[int, int]]:
        """Where each of them begins and ends, in order; overlapping ones are joined.

        Args:
            texts: whether texts are looked for, at 15 MB a second; ids and names take a fifth.
            quoted: else, whether they are in quotation marks.
        """
        found = [match.span() for match in _TOKEN.finditer(data) if self._is_id(match[0])]
        if self._names is not None:
            found += [match.span() for match in self._names.finditer(data)]
        heads = self._heads if texts else self._quoted if quoted else {}
        if heads:
            for place in range(len(data) - HEAD_BYTES + 1):
                if (head := data[place : place + HEAD_BYTES]) in heads:
                    lengths = [len(text) for text in heads[head] if data.startswith(text, place)]
                    if lengths:
                        found.append((place, place + max(lengths)))
        joined: list[tuple[int, int]] = []
        for begin, end in sorted(found):
            if joined and begin <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((begin, end))
        return joined

    def _is_id(self, token: bytes) -> bool:
        return token in self._ids or token.rstrip(b".:") in self._ids


def _by_head(texts: Iterable[str]) -> dict[bytes, set[bytes]]:
    heads: dict[bytes, set[bytes]] = {}
    for text in texts:
        for form in _forms(text):
            heads.setdefault(form[:HEAD_BYTES], set()).add(form)
    return heads


def _forms(text: str) -> set[bytes]:
    """A text as it stands in a file: in UTF-8, in JSON's two ways, in HTML."""
    return {
        text.encode("utf-8", "surrogatepass"),
        json.dumps(text)[1:-1].encode(),
        json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass"),
        html.escape(text).encode("utf-8", "surrogatepass"),
        html.escape(text)  # as Jinja does it
        .replace("&quot;", "&#34;")
        .replace("&#x27;", "&#39;")
        .encode("utf-8", "surrogatepass"),
    }


_CHOSEN_KEYS = ("conversation_id", "group_id", "cluster", "idempotency_key", "request_id")


class Redactor:
    """Replaces a person's ids by pseudonyms, the same for the same id, and texts by ``ERASED``.

    Args:
        ids: of rows, answers, conversations, and the person's names.
        key: makes the pseudonyms; once it is gone nobody can tell whose they were.
        search: for texts and ids in the midst of other texts.
        in_sentences: likewise, for plain names too.
        chosen: ids that a client chose, which may be any word: only whole values of ids' own keys.
    """

    def __init__(
        self, ids: Iterable[str], key: bytes, search: Search, in_sentences: Search | None = None,
        chosen: Iterable[str] = (),
    ) -> None:  # fmt: skip
        self._ids, self._key, self._chosen = frozenset(ids), key, frozenset(chosen)
        self._plain = frozenset(filter(is_plain, self._ids))
        self._search, self._in_sentences = search, in_sentences or search
        self.removed: set[str] = set()  # texts that were replaced
        self._reasons: dict[str, str] = {}  # of others, and what becomes of each

    def pseudonym(self, one: str) -> str:
        digest = hmac.digest(self._key, one.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"erased-{digest.hex()[:12]}"

    def json(self, value: Any, theirs: bool = False, key: str = "", *, words: bool = True) -> Any:
        """A JSON value without what is the person's. An object that has one of the ids as a value,
        and not one that a client chose, is theirs: all its texts go. Numbers stay, and so do words
        of Pawl's own: anybody can send these in a chat, and delete it.

        Args:
            key: what the value stands under.
            words: whether texts of others are searched for the person's.
        """
        if isinstance(value, dict):
            is_of_people = str(value.get("benchmark", HOLDOUT)).startswith(HOLDOUT)
            own = () if is_of_people else ("cluster",)  # a benchmark's subject
            theirs = theirs or any(
                isinstance(item, str) and name not in own and self._is_made_id(item, name)
                for name, item in value.items()
            )
            return {
                self.pseudonym(name) if self._is_id(name, "") else name: item
                if name in own
                else self.json(
                    item,
                    theirs or (self._is_id(name, "") and not isinstance(item, str)),
                    name,
                    words=words,
                )
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self.json(item, theirs, key, words=words) for item in value]
        if not isinstance(value, str) or key in _OWN_WORDS:
            return value
        if self._is_id(value, key):
            return self.pseudonym(value)
        if theirs and value:
            self.removed.add(value)
            return ERASED
        if key in _OWN_SENTENCES:
            self._reasons[value.strip()] = reason = self.text(value, words=False, quoted=True)
            return reason
        is_own = key not in _TEXT_KEYS and _OWN_VALUE.fullmatch(value)
        return self.text(value, words=words and not is_own)

    def _is_id(self, value: str, key: str) -> bool:
        is_chosen = key in _CHOSEN_KEYS and value in self._chosen
        return is_chosen or self._is_made_id(value, key)

    def _is_made_id(self, value: str, key: str) -> bool:
        is_one = value in self._ids and key not in _OWN_WORDS
        return is_one and (value not in self._plain or key in _NAME_KEYS)

    def text(self, value: str, *, words: bool = True, quoted: bool = False) -> str:
        """A text of somebody else, without the person's ids, names and words in it; without
        ``words``, but ``quoted``, those in quotation marks."""
        data = value.encode("utf-8", "surrogatepass")
        search = self._in_sentences if " " in value.strip() else self._search
        spans = search.spans(data, texts=words, quoted=quoted)
        for begin, end in reversed(spans):
            found = data[begin:end].decode("utf-8", "surrogatepass")
            if found not in self._ids:
                self.removed.add(found)
            instead = self.pseudonym(found) if found in self._ids else ERASED
            data = data[:begin] + instead.encode() + data[end:]
        return data.decode("utf-8", "surrogatepass") if spans else value

    def html(self, page: str) -> str:
        """A page without the texts that ``json`` removed from what it was made of."""
        long = [text for text in self.removed if len(text) >= SHORTEST_TEXT // 2]

        def redacted(match: re.Match[str]) -> str:
            text = html.unescape(match[1])
            inner = text.strip()
            if inner in self._reasons:
                reason = self._reasons[inner]
                return match[0] if reason == inner else f">{html.escape(reason)}<"
            is_theirs = inner in self.removed or any(
                one in text or (len(inner) >= SHORTEST_TEXT and inner in one) for one in long
            )
            if is_theirs:
                return f">{ERASED}<"
            redacted_text = self.text(text)
            return match[0] if redacted_text == text else f">{html.escape(redacted_text)}<"

        return _TEXT_NODE.sub(redacted, page)
