"""What travels between rooms and over the admin API: plain frozen records with JSON forms.

Times are UTC, ISO 8601 with ``Z``. Messages are OpenAI's: ``{"role": ..., "content": ...}``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

Message = dict[str, str]
Thumb = Literal["up", "down"]
Split = Literal["train", "validation", "holdout"]
RowKind = Literal["sft", "pair", "unpaired", "regression"]
Outcome = Literal["promote", "reject", "not_enough_evidence", "no_verdict"]
PromotionOutcome = Literal["live", "pending", "indistinguishable", "refused"]


def utc_now() -> str:
    """Now, as the records write it: ``2026-01-31T12:00:00.123456Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer of one choice, with everything needed to know who said it and how."""

    completion_id: str
    choice_index: int
    conversation_id: str
    rater_id: str
    created_at: str
    asked_model: str  # what the client wrote: "pawl", "pawl@3", "base"
    version: str  # who answered: "pawl@3" or "base"
    base_model: str
    base_fingerprint: str
    messages: list[Message]  # the prompt; for /v1/completions one message with role "prompt"
    completion: str
    finish_reason: str | None
    status: Literal["complete", "cancelled", "error"]
    sampling: dict[str, Any]
    n_prompt_tokens: int | None
    n_completion_tokens: int | None
    first_token_seconds: float | None
    total_seconds: float
    streamed: bool

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Feedback:
    """What one person said about one answer. Appended, never edited.

    A row adds to what this person said about the answer before: the newest value of each field
    counts. ``cleared`` names the fields it takes away, ``retracted`` takes away all of them. A
    preference names the worse answer in ``preferred_over`` and ``preferred_over_choice_index``;
    both must be recorded completions, and may be two choices of one.
    """

    feedback_id: str
    idempotency_key: str
    completion_id: str
    choice_index: int
    rater_id: str
    created_at: str
    thumb: Thumb | None = None
    categories: list[str] = field(default_factory=list)
    comment: str | None = None
    correction: str | None = None
    preferred_over: str | None = None  # completion_id of the answer this one was preferred to
    retracted: bool = False
    source: str = "api"  # "api", "chat_page", "import:<format>"
    preferred_over_choice_index: int = 0  # says nothing where preferred_over is None
    cleared: list[str] = field(default_factory=list)  # of feedback.current.CLEARABLE

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Category:
    """An error category: data, not code."""

    key: str
    definition: str
    example: str
    treatment: str  # "train" | "review" | "holdout_only" | "ignore"


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One curated row of a snapshot. Which fields are set follows from ``kind``.

    sft: ``prompt``, ``completion``. pair: ``prompt``, ``chosen``, ``rejected``.
    unpaired: ``prompt``, ``completion``, ``label``. regression (holdout only): ``prompt``,
    ``chosen`` (the correction), ``rejected`` (the flagged answer).
    """

    row_id: str
    kind: RowKind
    group_id: str
    split: Split
    prompt: list[Message]
    completion: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    label: bool | None = None
    categories: list[str] = field(default_factory=list)
    origin: dict[str, Any] = field(default_factory=dict)  # feedback_id, completion_id, source

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ItemScore:
    """One item of one benchmark under one model.

    ``score`` is in [0, 1] (accuracy of the item, or truthfulqa_mc2's mass on true answers);
    None when scoring this item met an error. ``cluster`` groups dependent items (an MMLU
    subject, a conversation); the item's own id where items are independent.
    """

    benchmark: str
    item_id: str
    score: float | None
    cluster: str
    error: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Promotion:
    """One move of the champion pointer, or one that was tried. The newest live one counts."""

    promotion_id: str
    created_at: str
    version: str  # "pawl@4" or "base"
    previous_version: str
    outcome: PromotionOutcome
    kind: Literal["promote", "rollback"]
    run_id: str | None = None
    reason: str = ""
    probe: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
