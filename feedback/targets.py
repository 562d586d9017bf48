"""What may become a training target: an answer that is learned, and the prompt it answers.

:class:`Targets` is made once for a curation; ``reason_against`` says why a lesson must not be
learned, or None. Never learned are answers that were cut off, that hold control tokens of the
base's chat template, personal data or secrets, that hold nothing to be seen or absurdly much, rows
that hold a benchmark item, and prompts in which a call of a tool has no answer. ``curation.reject``
adds detectors (``feedback.detectors``), which otherwise are only counted in the snapshot's card.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from feedback.decontamination import Index, index_of
from feedback.detectors import PERSONAL_DATA, SECRETS, Detector, detectors, personal_data, secrets
from feedback.detectors.answer import Answer
from feedback.detectors.style import kind_of
from feedback.rows import Lesson
from pawl.chat_template import read_special_tokens, read_template
from pawl.errors import PawlError
from pawl.files import read_json
from pawl.models import locate_model
from pawl.plugins import check_rejecting
from pawl.schemas import Completion, Message, TrainingRow
from pawl.settings import Settings

MAX_CHARACTERS = 50_000
MAX_WORD_CHARACTERS = 2_000  # without a blank: a file as base64, no language
MAX_INVISIBLE_FRACTION = 0.05
MIN_KNOWN_ANSWERS = 30  # of a kind of prompt, from which their own length is the usual one
MAX_SCORED_ROWS = 2_000  # for the card; detectors that reject see every row
CUT_OFF = "the answer ran into its token limit"
# Control tokens of the usual templates: ChatML and what is written like it, Llama, Gemma, Mistral,
# DeepSeek, Granite. "<s>" and the like are HTML too, so they count where the base has them.
CONTROL = re.compile(
    r"<\|/?[A-Za-z][\w▁ -]{0,40}\|>|<｜[^｜\n]{1,40}｜>|<(?:start|end)_of_turn>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|<</?SYS>>"
    r"|</?tool_(?:call|response)s?>|<(?:bos|eos|pad|unk)>|\[(?:CLS|SEP|PAD)\]"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a lesson is not learned: a reason to count by, and what was found (never the personal
    data or the secret itself)."""

    reason: str
    found: str = ""


def cut_off(answer: Completion) -> str | None:
    """Why an answer ends where its author didn't end it; None where it does."""
    if answer.finish_reason == "length":
        return CUT_OFF
    if answer.stop_reason is not None:
        return "the answer was ended by a stop string of the request"
    return None


@dataclass(slots=True)
class Targets:
    """The checks of one curation.

    Args:
        control: tokens of the base's template.
        usual_words: median words of an answer, by the kind of prompt.
    """

    index: Index
    control: re.Pattern[str] = CONTROL
    public: frozenset[str] = frozenset()
    regions: tuple[str, ...] = ()
    rejecting: tuple[Detector, ...] = ()
    usual_words: dict[str, float] = field(default_factory=dict)
    _items: dict[str, str | None] = field(default_factory=dict)
    _known: dict[tuple[str, str], Finding | None] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> Targets:
        """Raises: PawlError where ``curation.reject`` names no detector, or one of
        ``curation.detectors`` can't be loaded."""
        own = settings.curation
        check_rejecting(settings)
        known = detectors(own.detectors)
        return cls(
            index_of(settings),
            _control_tokens(settings.model, settings.model_revision, settings.state_dir),
            frozenset(contact.strip().lower() for contact in own.public_contacts),
            own.phone_regions,
            tuple(known[name] for name in own.reject if known[name] not in ALWAYS),
        )

    def reason_against(self, lesson: Lesson) -> Finding | None:
        """Why nothing may be learned from this lesson; None when it may.

        The text that is learned is checked for all; one that is only learned against (a rejected
        answer) for what would be learned by heart all the same.
        """
        if _has_open_call(lesson.prompt):
            return Finding("a tool call in the prompt has no answer")
        prompt = _asked(lesson.prompt)
        learned = _learned(lesson)
        if finding := self._against_text(learned, prompt, lesson.label is not False):
            return finding
        if lesson.rejected and (finding := self._against_text(lesson.rejected, prompt, False)):
            return finding
        asked = (str(m["content"]) for m in lesson.prompt if m["role"] == "user")
        item = next(filter(None, map(self._item_in, (*asked, learned))), None)
        return Finding(f"a benchmark item of {_dataset(item)}", item) if item else None

    def _item_in(self, text: str) -> str | None:
        if text not in self._items:
            self._items[text] = self.index.find(text)
        return self._items[text]

    def _against_text(self, text: str, prompt: str, is_target: bool) -> Finding | None:
        key = (text, prompt if is_target else "\0")
        if key not in self._known:
            self._known[key] = self._check(text, prompt, is_target)
        return self._known[key]

    def _check(self, text: str, prompt: str, is_target: bool) -> Finding | None:
        if finding := _against_form(text):
            return finding
        if match := self.control.search(text):
            return Finding("the answer holds a control token of a chat template", match[0])
        answer = self._answer(text, prompt)
        for piece in personal_data.found(answer):
            return Finding(PERSONAL_DATA.reason, piece)
        for piece in secrets.found(answer):
            return Finding(SECRETS.reason, piece)
        for detector in self.rejecting if is_target else ():
            score = detector.scored(answer)
            if score is None:  # whether it would find something nobody knows
                return Finding(f"the detector {detector.name} failed", detector.package)
            if score >= detector.threshold:
                return Finding(detector.reason, f"{detector.name} {score:.2f}")
        return None

    def _answer(self, text: str, prompt: str) -> Answer:
        usual = self.usual_words.get(kind_of(prompt))
        return Answer(text, prompt, usual, self.public, self.regions)


ALWAYS = (PERSONAL_DATA, SECRETS)


def detector_counts(
    rows: Iterable[TrainingRow], more: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """How many targets each detector finds something in, for the snapshot's card.

    Args:
        more: detectors of installed packages.

    Returns:
        ``{name: {"package": that brings it, "n_found", "n_scored", "n_failed", "threshold", "unit",
        "row_ids": the first 5}}``, of at most ``MAX_SCORED_ROWS`` rows: those with the lowest ids,
        which are hashes of the content.
    """
    targets = [row for row in rows if row.kind != "regression" and row.label is not False]
    targets = sorted(targets, key=lambda row: row.row_id)[:MAX_SCORED_ROWS]
    answers = [(row.row_id, Answer(_learned(row), _asked(row.prompt))) for row in targets]
    counts = {}
    for name, detector in detectors(more).items():
        if detector not in ALWAYS:
            scores = [(row_id, detector.scored(answer)) for row_id, answer in answers]
            scored = [(row_id, score) for row_id, score in scores if score is not None]
            found = [row_id for row_id, score in scored if score >= detector.threshold]
            counts[name] = {
                "package": detector.package or "pawl", "n_found": len(found),
                "n_scored": len(scored), "n_failed": len(scores) - len(scored),
                "threshold": detector.threshold, "unit": detector.unit, "row_ids": found[:5],
            }  # fmt: skip
    return counts


def _learned(row: TrainingRow | Lesson) -> str:
    return str(row.completion if row.chosen is None else row.chosen)


def usual_words_of(answers: Iterable[Completion]) -> dict[str, float]:
    """The median words of whole answers, by the kind of prompt, where enough are known."""
    lengths: dict[str, list[int]] = {}
    for answer in answers:
        if answer.status == "complete" and answer.completion.strip():
            lengths.setdefault(kind_of(_asked(answer.messages)), []).append(
                len(answer.completion.split())
            )
    return {kind: float(median(n)) for kind, n in lengths.items() if len(n) >= MIN_KNOWN_ANSWERS}


def _asked(prompt: list[Message]) -> str:
    """The last message of the user."""
    texts = [str(message["content"]) for message in prompt if message["role"] == "user"]
    return texts[-1] if texts else ""


def _dataset(item: str) -> str:
    """``hub/cais/mmlu/anatomy/test item 7`` to ``hub/cais/mmlu``: few enough to count by."""
    return "/".join(item.partition(" item ")[0].split("/")[:3])


def _has_open_call(prompt: list[Message]) -> bool:
    """Whether a call of a tool stands in the prompt without what the tool answered."""
    called = {call.get("id") for m in prompt for call in m.get("tool_calls") or ()}
    return bool(called - {message.get("tool_call_id") for message in prompt})


def _against_form(text: str) -> Finding | None:
    """Nothing to be seen, hidden characters, or absurdly long."""
    if len(text) > MAX_CHARACTERS:
        return Finding("the answer is absurdly long", f"{len(text):,} characters")
    if shows_nothing(text):
        return Finding("the answer holds nothing to be seen")
    hidden = len(_HIDDEN.findall(text)) if not text.isascii() or not text.isprintable() else 0
    if hidden > MAX_INVISIBLE_FRACTION * len(text):
        return Finding("the answer hides characters", f"{hidden:,} that can't be seen")
    if _TAGS.search(text):
        return Finding("the answer hides characters", "a text in tag characters")
    longest = max(map(len, text.split()), default=0)
    if longest > MAX_WORD_CHARACTERS and text.isascii():
        return Finding("the answer is absurdly long", f"{longest:,} characters without a blank")
    return None


def shows_nothing(text: str) -> bool:
    """Whether a text is empty, or of blanks and characters that can't be seen alone."""
    return all(one.isspace() or unicodedata.category(one) == "Cf" for one in _HIDDEN.sub("", text))


# Controls, zero-width characters, marks of direction that override, private ones; joiners, soft
# hyphens and the marks of right-to-left scripts are left alone.
_HIDDEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u206f\ufeff\ue000-\uf8ff]"
)
# Letters as Unicode tags are invisible; they stand behind a black flag in flags of regions alone.
_TAGS = re.compile(r"(?<![\U0001F3F4\U000E0020-\U000E007E])[\U000E0020-\U000E007E]")


def _control_tokens(model: str, revision: str | None, cache_dir: Path) -> re.Pattern[str]:
    """The usual ones alone where the base isn't on this machine yet: nothing was trained on it
    either."""
    try:
        found = locate_model(model, revision, cache_dir=cache_dir, download=False, convert=False)
    except PawlError:
        return CONTROL
    return control_tokens(found[0])


def control_tokens(model_dir: Path) -> re.Pattern[str]:
    """Finds control tokens of the usual chat templates and of this base's."""
    marks = _written_tokens(model_dir)
    return re.compile("|".join([CONTROL.pattern, *map(re.escape, marks)])) if marks else CONTROL


@lru_cache(maxsize=4)
def _written_tokens(model_dir: Path) -> tuple[str, ...]:
    """The special tokens that the base's chat template writes, and its named ones (beginning, end,
    padding)."""
    template = read_template(model_dir) or ""
    named = set(read_special_tokens(model_dir).values())
    written = {token for token in _added_tokens(model_dir) if token in template}
    return tuple(sorted(token for token in named | written if len(token) > 2))


def _added_tokens(model_dir: Path) -> set[str]:
    """Special tokens beside the vocabulary's words."""
    config, tokenizer = model_dir / "tokenizer_config.json", model_dir / "tokenizer.json"
    added = (read_json(config).get("added_tokens_decoder") or {}) if config.exists() else {}
    tokens = list(added.values())
    if not tokens and tokenizer.exists():
        tokens = read_json(tokenizer).get("added_tokens") or []
    return {str(token["content"]) for token in tokens if token.get("special")}
