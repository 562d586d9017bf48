"""What travels: records between rooms, and bodies of HTTP calls but the completions' requests.

Records are plain frozen dataclasses, since some are made for every answer; bodies are pydantic
models, from which ``/openapi.json`` is made. The requests of the two completion calls are in
``serve.api.requests``.

Over 400 lines because everything that travels is in one place, a few lines each.

Times are UTC, ISO 8601 with ``Z``. Messages are OpenAI's: ``{"role": ..., "content": ...}``, the
content a text; an assistant's may have ``tool_calls``, a tool's has ``tool_call_id``.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, WithJsonSchema

Message = dict[str, Any]
PLAIN_ROLES = ("prompt", "token_ids")  # of a plain completion's prompt: a text, ids as JSON
MOST_COMMENT_CHARACTERS, MOST_CORRECTION_CHARACTERS = 10_000, 100_000
Thumb = Literal["up", "down"]
Split = Literal["train", "validation", "holdout"]
RowKind = Literal["sft", "pair", "unpaired", "regression"]
Outcome = Literal["promote", "reject", "not_enough_evidence", "no_verdict"]
PromotionOutcome = Literal[
    "live", "made", "waiting", "pending", "canary", "indistinguishable", "refused"
]


def utc_now() -> str:
    """Now, as the records write it: ``2026-01-31T12:00:00.123456Z``."""
    return written(datetime.now(UTC))


def written(at: datetime) -> str:
    """A time in UTC as the records write it, so that they sort as times do."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True)
class Record:
    """What all records can do."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Completion(Record):
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
    messages: list[Message]  # the prompt; for /v1/completions one message, see PLAIN_ROLES
    completion: str
    finish_reason: str | None
    status: Literal["complete", "cancelled", "error"]
    sampling: dict[str, Any]
    n_prompt_tokens: int | None
    n_completion_tokens: int | None
    first_token_seconds: float | None
    total_seconds: float
    streamed: bool
    request_id: str | None = None  # the reply's X-Request-Id; None in rows of an older Pawl
    tool_calls: list[dict[str, Any]] = field(default_factory=list)  # OpenAI's, beside the text
    stop_reason: str | None = None  # the request's stop string or token that ended it; None: none
    # Of the version's system prompt, which stood before ``messages``; None: it has none, or the
    # messages have their own.
    system_prompt_sha256: str | None = None

    @property
    def began_and_ended(self) -> tuple[datetime, datetime]:
        """When it was asked for, and when its answer was over."""
        began = datetime.fromisoformat(self.created_at)
        return began, began + timedelta(seconds=self.total_seconds)

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The tools that were offered."""
        return list(self.sampling.get("tools") or [])

    @property
    def answer(self) -> Message:
        """What was answered, as a message."""
        message: Message = {"role": "assistant", "content": self.completion}
        return {**message, "tool_calls": self.tool_calls} if self.tool_calls else message


@dataclass(frozen=True, slots=True)
class Feedback(Record):
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
    source: str = "api"  # "api", "chat_page", "import:<format>", "review"
    preferred_over_choice_index: int = 0  # says nothing where preferred_over is None
    cleared: list[str] = field(default_factory=list)  # of feedback.current.CLEARABLE


ReviewDecision = Literal["accept", "correct", "reject", "skip", "undo"]
RejectReason = Literal["fine", "unclear", "not_meant", "private"]


@dataclass(frozen=True, slots=True)
class Review(Record):
    """What one reviewer decided about one answer. Appended, never edited: a reviewer's newest
    decision counts that was not undone.

    ``accept``: the answer is wrong; ``correction`` is then the one that was there already.
    ``correct``: it is, and this is what it should have said. ``reject`` with ``fine``: the answer
    is good; with another reason: nothing that was said of it is learned. ``skip``: somebody else
    may decide. ``undo`` takes back the decisions of the batch in ``undoes``.
    """

    review_id: str
    batch_id: str  # the same for decisions that were made together
    created_at: str
    reviewer: str
    completion_id: str
    choice_index: int
    decision: ReviewDecision
    reason: RejectReason | None = None  # of a rejection
    correction: str | None = None
    categories: list[str] = field(default_factory=list)
    origin: dict[str, Any] = field(default_factory=dict)  # of the correction: "how", and from where
    undoes: str | None = None


@dataclass(frozen=True, slots=True)
class ConversationNote(Record):
    """What a person set on a conversation of theirs. Appended; the newest row counts."""

    conversation_id: str
    rater_id: str
    changed_at: str
    title: str | None = None  # None: it is called by its first question
    pinned: bool = False
    learn: bool = True  # False: nothing of it trains a version, or tests one
    deleted_at: str | None = None  # what was asked until then is nobody's to read
    settings: dict[str, Any] = field(default_factory=dict)  # those of ChatSettings that are set
    dismissed: list[str] = field(default_factory=list)  # completions not to be said back again


@dataclass(frozen=True, slots=True)
class Preset(Record):
    """Settings that a person keeps under a name. Appended; the newest row of a name counts."""

    rater_id: str
    name: str
    changed_at: str
    settings: dict[str, Any] = field(default_factory=dict)  # those of ChatSettings that are set
    deleted_at: str | None = None


@dataclass(frozen=True, slots=True)
class Category(Record):
    """An error category: data, not code."""

    key: str
    definition: str
    example: str
    treatment: str  # "train" | "review" | "holdout_only" | "ignore"


@dataclass(frozen=True, slots=True)
class TrainingRow(Record):
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
    tools: list[dict[str, Any]] = field(default_factory=list)  # that the prompt offers
    cluster: str = ""  # the same for near-duplicates of the prompt; all of one stand in one split
    weight: float = 1.0  # in training; 1 on average

    @property
    def has_tools(self) -> bool:
        """Whether the prompt offers tools, or holds calls."""
        return bool(self.tools) or any(message.get("tool_calls") for message in self.prompt)

    @property
    def task(self) -> str | None:
        """The task that an import gave it."""
        return self.origin.get("task")

    @property
    def is_synthetic(self) -> bool:
        """Whether a model wrote its prompt (``refine/augment.py``)."""
        return "synthetic" in self.origin

    def as_json(self) -> dict[str, Any]:
        """Without what says nothing, as it was before there was any: snapshots are named by it."""
        values, plain = asdict(self), {"tools": [], "cluster": "", "weight": 1.0}
        return {k: v for k, v in values.items() if k not in plain or v != plain[k]}


@dataclass(frozen=True, slots=True)
class ItemScore(Record):
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


@dataclass(frozen=True, slots=True)
class Look(Record):
    """One entry of the ledger: people's prompts decided about a challenger.

    ``attempt``: the number of this look since the champion's own, from 1. ``alpha``: the level
    that it spent. ``prompts``: what became of each prompt that decided, by its key.
    """

    run_id: str
    created_at: str
    snapshot_id: str
    attempt: int
    alpha: float
    outcome: str
    prompts: dict[str, Literal["fixed", "broken", "same"]]


@dataclass(frozen=True, slots=True)
class Promotion(Record):
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


@dataclass(frozen=True, slots=True)
class VersionSettings(Record):
    """What a version is asked with, beside the weights that answer. Made once, never changed.

    ``system_prompt`` stands before a conversation without a system message of its own;
    ``sampling`` (temperature, top_p, max_tokens) holds where a request says nothing.
    """

    version: str
    created_at: str
    made_by: str  # a caller's name
    weights: str  # "base", or the version whose adapter it is
    base_fingerprint: str
    system_prompt: str | None
    sampling: dict[str, Any]
    fingerprint: str  # "sha256:..." of all that decides an answer: base, adapter, prompt, sampling

    @property
    def system_prompt_sha256(self) -> str | None:
        if self.system_prompt is None:
            return None
        return hashlib.sha256(self.system_prompt.encode()).hexdigest()

    def asked(self, messages: list[Message]) -> list[Message]:
        """Messages as this version is asked them."""
        return asked_with(self.system_prompt, messages)


def asked_with(system_prompt: str | None, messages: list[Message]) -> list[Message]:
    """Messages with a version's system prompt before them, unless they have a system message, or
    are a plain completion's."""
    has_own = any(message["role"] in ("system", *PLAIN_ROLES) for message in messages)
    if system_prompt is None or has_own:
        return messages
    return [{"role": "system", "content": system_prompt}, *messages]


class Role(StrEnum):
    """What a caller may do. Each role of a person includes those before it, an administrator's the
    gateway's, too."""

    USER = "user"  # chat, and say something about the own answers
    REVIEWER = "reviewer"  # read everyone's conversations, feedback and runs
    ADMINISTRATOR = "administrator"  # operate the server
    GATEWAY = "gateway"  # of keys alone: bring what another gateway recorded, and hear grants

    def includes(self, role: Role) -> bool:
        if Role.GATEWAY in (self, role):
            return self in (role, Role.ADMINISTRATOR)
        return PERSONS_ROLES.index(self) >= PERSONS_ROLES.index(role)


PERSONS_ROLES = (Role.USER, Role.REVIEWER, Role.ADMINISTRATOR)


@dataclass(frozen=True, slots=True)
class Caller(Record):
    """Who sends a request: an account, a named key, the server's own key, or anybody on this
    machine while no key is asked for.

    Rows are recorded under ``name``, or ``name/rater`` where ``may_name_raters``. A caller that
    ``is_everyone`` (not a named key) speaks for any rater: rows stand under the rater alone.
    """

    name: str
    role: Role
    may_name_raters: bool = False
    is_everyone: bool = False

    def owns(self, rater_id: str) -> bool:
        """Whether what stands under ``rater_id`` was asked or said by this caller."""
        return self.is_everyone or rater_id == self.name or rater_id.startswith(f"{self.name}/")

    def sees(self, rater_id: str) -> bool:
        """Whether this caller may read and rate what was asked under ``rater_id``."""
        return self.role.includes(Role.REVIEWER) or self.owns(rater_id)


@dataclass(frozen=True, slots=True)
class Key(Record):
    """A program's key. The store keeps its rows for ever: one when it is added, one when it is
    revoked."""

    key_id: str  # stands in the secret, to look it up by
    name: str
    role: Role
    may_name_raters: bool
    secret_hash: str  # argon2id, with its salt and parameters
    created_at: str
    revoked_at: str | None = None


@dataclass(frozen=True, slots=True)
class Account(Record):
    """A person who signs in. The store keeps its rows for ever; the newest of a name counts."""

    name: str  # one account's for ever, whatever its case
    role: Role
    password_hash: str | None  # argon2id; None: the person signs in elsewhere
    must_change: bool  # the password was given out by somebody else, and works once
    subject: str | None  # who the person is elsewhere: OpenID Connect's issuer and subject
    created_at: str
    changed_at: str
    removed_at: str | None = None


@dataclass(frozen=True, slots=True)
class Session(Record):
    """A browser that is signed in. The store keeps its rows; the newest of an id counts."""

    session_id: str  # SHA-256 of the token in the cookie, in hex
    account: str
    created_at: str
    used_at: str  # to some minutes
    ended_at: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry(Record):
    """Who did what, when, to what. ``outcome`` is ``begun`` until the answer is known."""

    audit_id: str
    created_at: str
    caller: str
    address: str
    action: str
    target: str  # JSON of what was sent
    outcome: str  # "200 live pawl@3", "409 not_let_through"
    request_id: str


@dataclass(frozen=True, slots=True)
class StoredFeedback(Feedback):
    """The answer to feedback: the stored row, and whether it had been sent before."""

    duplicate: bool = False


# -- bodies that clients send. A field that is null counts as not sent.


class Body(BaseModel):
    """No other fields than these, and no value turned into another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _fits_file_systems(path: str) -> str:
    """Asked about a longer one, Linux raises instead of saying that it is not there."""
    if len(path.encode()) > 2000 or any(len(part.encode()) > 255 for part in path.split("/")):
        raise ValueError("a path has at most 2,000 bytes, and 255 in each part")
    return path


Name = Annotated[str, Field(pattern=r"^[^\x00]+$"), AfterValidator(_fits_file_systems)]
AbsolutePath = Annotated[
    str, Field(pattern=r"^/[^\x00]*$"), AfterValidator(_fits_file_systems)
]  # the server runs in its own folder


class FeedbackRequest(Body):
    """What one person says about one answer. A field that is absent leaves what the person said
    before; an empty text or list takes it away."""

    completion_id: str = Field(
        min_length=1, description="the answer's id, or its X-Pawl-Completion-Id header"
    )
    choice_index: int = Field(0, ge=0, lt=1000, description="which of n answers, counted from 0")
    thumb: Thumb | None = None
    categories: list[str] | None = Field(None, description="keys of /v1/feedback/categories")
    comment: str | None = Field(None, max_length=MOST_COMMENT_CHARACTERS)
    correction: str | None = Field(
        None, max_length=MOST_CORRECTION_CHARACTERS, description="what the answer should have said"
    )
    preferred_over: str | None = Field(None, description="completion id of the worse answer")
    preferred_over_choice_index: int | None = Field(None, ge=0, lt=1000)
    retract: bool = Field(False, description="takes back all that this person said of the answer")
    user: str | None = Field(None, description="who says so; the header X-Pawl-Rater wins")
    idempotency_key: str | None = Field(
        None, max_length=200, description="the same key of the same person is stored once"
    )


class FeedbackBatch(Body):
    """Feedback on several answers, at most 1,000 at once."""

    feedback: list[FeedbackRequest] = Field(min_length=1, max_length=1000)


class ReviewedAnswer(Body):
    completion_id: str = Field(min_length=1, max_length=1000)
    choice_index: int = Field(0, ge=0, lt=1000)


class CorrectionOrigin(Body):
    """Where a correction comes from."""

    how: Literal["written", "picked", "edited"] = Field(
        description="written by the reviewer, an alternative of the model's as it was, or changed"
    )
    version: str | None = Field(None, max_length=100, description="that wrote the alternative")
    temperature: float | None = Field(None, ge=0, le=2)


class ReviewRequest(Body):
    """A reviewer's decision, the same about several answers that are nearly one."""

    answers: list[ReviewedAnswer] = Field(min_length=1, max_length=200)
    decision: Literal["accept", "correct", "reject", "skip"]
    reason: RejectReason | None = Field(
        None, description="of a rejection: fine, unclear, not_meant (nobody meant it), private"
    )
    correction: str | None = Field(None, max_length=MOST_CORRECTION_CHARACTERS)
    categories: list[str] | None = Field(
        None, description="keys of /v1/feedback/categories; null: those that people chose"
    )
    origin: CorrectionOrigin | None = None


class UndoRequest(Body):
    """Which decision is taken back: the one that was made last where none is named."""

    batch_id: str | None = Field(None, max_length=100)


class AlternativesRequest(Body):
    """Other answers to the prompt of a recorded one, sampled from the version that answers now."""

    completion_id: str = Field(min_length=1, max_length=1000)
    choice_index: int = Field(0, ge=0, lt=1000)
    n: int = Field(3, ge=1, le=8)
    temperature: float = Field(0.8, gt=0, le=2)
    max_tokens: int = Field(400, ge=1, le=2048, description="of each")


class CategoryRequest(Body):
    """A new category, or what another of the same key says from now on."""

    key: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,39}$", description="small letters, digits and underscores"
    )
    definition: str = Field(min_length=1, max_length=500)
    example: str = Field(max_length=500)
    treatment: Literal["train", "review", "holdout_only", "ignore"] = Field(
        description="of what is flagged so: learned from; learned from once it was corrected; "
        "tested on alone; neither"
    )


class ChatSettings(Body):
    """What a person asks with on the chat page; null or absent: what the server does without."""

    system_prompt: str | None = Field(None, max_length=20_000)
    temperature: float | None = Field(None, ge=0, le=2)
    max_tokens: int | None = Field(None, ge=1, le=1_000_000, description="of an answer, at most")
    model: str | None = Field(
        None, pattern=r"^(pawl|base|pawl@[0-9]{1,9})$", description="which version answers"
    )

    def given(self) -> dict[str, Any]:
        """Those that are set."""
        values = self.model_dump(exclude_none=True)
        return {name: value for name, value in values.items() if str(value).strip()}


class PresetRequest(Body):
    name: str = Field(min_length=1, max_length=80, pattern=r"\S")
    settings: ChatSettings = ChatSettings()
    deleted: bool = Field(False, description="true: there is no such preset any more")


class ConversationChange(Body):
    """What is left out stays as it is."""

    title: str | None = Field(
        None, max_length=10_000, description="blank: it is called by its first question again"
    )
    pinned: bool | None = None
    learn: bool | None = Field(
        None, description="false: nothing of it trains a version, or tests one. It may be said "
        "before the first message",
    )  # fmt: skip
    settings: ChatSettings | None = Field(
        None, description="in place of those before; the chat page asks with them. They may be "
        "set before the first message",
    )  # fmt: skip


class OwnErasureRequest(Body):
    """One conversation, or everything that was asked and said under one's own name."""

    conversation_id: str | None = Field(None, min_length=1)
    everything: bool = False


class DismissRequest(Body):
    completion_id: str = Field(min_length=1, description="of the answer that was flagged")


Version = Annotated[str, Field(pattern=r"^(base|pawl@[0-9]{1,9})$")]


class PromotionRequest(Body):
    """A run; or any adapter, with ``force``; or a system prompt and sampling, which make a version
    of their own (with ``force`` it is promoted too); or such a ``version``, with ``force``."""

    run_dir: Name | None = Field(None, description="a folder of runs/, or a run's id")
    adapter_dir: AbsolutePath | None = Field(None, description="an absolute path; needs force")
    run_id: Name | None = None
    version: Version | None = Field(
        None, description="that was made of a system prompt and sampling; needs force"
    )
    system_prompt: str | None = Field(
        None, max_length=100_000, description="before conversations that have none of their own"
    )
    temperature: float | None = Field(None, ge=0, le=2, description="where a request has none")
    top_p: float | None = Field(None, ge=1e-6, le=1, description="where a request has none")
    max_tokens: int | None = Field(
        None, ge=1, le=1_000_000, description="of an answer, where a request has no bound"
    )
    on: Version | None = Field(
        None, description="whose weights answer: base (if absent), or a version's"
    )
    force: bool = Field(False, description="promote without a gate's verdict")

    def sampling(self) -> dict[str, Any]:
        """The defaults that are given."""
        values = {name: getattr(self, name) for name in ("temperature", "top_p", "max_tokens")}
        return {name: value for name, value in values.items() if value is not None}


class RollbackRequest(Body):
    to: Name | None = Field(None, description="a version that was champion; by default the last")


class PromptMessage(Body):
    role: str = Field(min_length=1)
    content: str


class ShadowRequest(Body):
    """The newest recorded prompts, or some of one's own, answered by two versions."""

    a: Version = Field(description="base, or pawl@3")
    b: Version
    last: int = Field(50, ge=1, le=200, description="prompts")
    max_tokens: int = Field(128, ge=1, le=1024, description="of each answer")
    show: int = Field(10, ge=1, le=200, description="of the differences, the largest")
    prompts: list[Annotated[list[PromptMessage], Field(min_length=1, max_length=100)]] | None = (
        Field(None, min_length=1, max_length=20, description="instead of recorded ones; all shown")
    )


class RunState(Body):
    """A state that a run came to."""

    run_id: str = Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$",
        description="a folder under runs/: letters, digits, dots, dashes and underscores",
    )
    status: str
    at: str | None = Field(None, description="by default now")
    detail: dict[str, Any] = {}


class ScoresRequest(Body):
    """The finished folder of scores that a run left."""

    role: Literal["champion", "challenger", "anchor", "best"]
    dir: AbsolutePath = Field(description="an absolute path under runs/ or scores/")


class LookAtPrompts(Body):
    """People's prompts decided: an entry of the ledger (``Look``)."""

    snapshot_id: str = Field(max_length=100)
    attempt: int = Field(ge=1, description="since the champion's own look")
    alpha: float = Field(gt=0, lt=1, description="the level that it spent")
    prompts: dict[str, Literal["fixed", "broken", "same"]] = Field(description="by prompt key")


class Verdict(Body):
    """The gate's verdict, as ``verdict.json`` has it."""

    model_config = ConfigDict(extra="allow")

    outcome: str
    look: LookAtPrompts | None = None


class NoFields(Body):
    """An empty object."""


class RetentionRequest(Body):
    of_night: bool = Field(
        False,
        description="a night asks, as it begins; false is refused while one runs. True from "
        "anybody else takes files from under a night that runs, and that night may fail",
    )


class SnapshotRequest(Body):
    """Of all that was said, or of all but what some raters said."""

    without: list[str] = Field(
        [], max_length=1000, description="raters; the snapshot of a store that never had them"
    )
    mended: list[str] = Field(
        [],
        max_length=100_000,
        description="row ids of pairs of corrections that the base has no need of: it answers so",
    )


CALLER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$"


class KeyRequest(Body):
    """A key for a program."""

    name: str = Field(
        pattern=CALLER_NAME,
        description="who asks with it: letters, digits and ._@+-, 64 at most",
    )
    role: Role = Field(
        strict=False, description="user, reviewer, administrator or gateway (of 'pawl gateway')"
    )
    may_name_raters: bool = Field(
        False, description="its X-Pawl-Rater and user name the people behind it"
    )


def _of_a_person(role: Role) -> Role:
    if role not in PERSONS_ROLES:
        raise ValueError(f"people are no {role}: it is a role of keys ('pawl keys add')")
    return role


PersonsRole = Annotated[
    Role,
    Field(strict=False),
    AfterValidator(_of_a_person),
    WithJsonSchema({"type": "string", "enum": [role.value for role in PERSONS_ROLES]}),
]


class AccountRequest(Body):
    """An account for a person. Without a password, a one-time password is made."""

    name: str = Field(
        pattern=CALLER_NAME, description="who signs in: letters, digits and ._@+-, 64 at most"
    )
    role: PersonsRole = Field(description="user, reviewer or administrator")
    password: SecretStr | None = Field(None, description="10 characters or more")


class AccountChange(Body):
    """What changes of an account. An empty password makes a one-time password."""

    role: PersonsRole | None = Field(None, description="user, reviewer or administrator")
    password: SecretStr | None = Field(None, description="10 characters or more")


class ErasureRequest(Body):
    """Whose rows go: ``user``, or the owner of a conversation."""

    user: str | None = Field(
        None, min_length=1, description="a rater's id (KEY/PERSON behind a front end), or the name "
        "of an account or key",
    )  # fmt: skip
    conversation_id: str | None = Field(None, min_length=1)


class GenerateRequest(Body):
    prompts: list[Annotated[list[PromptMessage], Field(min_length=1)]] = Field(
        min_length=1, max_length=256, description='[[{"role": "user", "content": "..."}], ...]'
    )
    max_tokens: int = Field(ge=1, le=1024, description="of each answer")


class ImportRequest(Body):
    path: Name = Field(description="a file of the exchange folder, by its path inside of it")
    format: str = Field(
        "auto", description="a format of feedback.formats, one of exchange.importers, or auto"
    )
    map: dict[str, str] | None = Field(
        None, max_length=20, description='a column for each field: {"prompt": "question", ...}'
    )
    dry_run: bool = Field(False, description="say what would be added, and add nothing")


class ExportRequest(Body):
    path: Name = Field(description="a new file of the exchange folder, by its path inside of it")
    format: str = Field(description="a format of feedback.formats")


class AnswerEnd(Body):
    """How an answer ended that another gateway asked the engine for."""

    completion_id: str
    status: Literal["complete", "cancelled", "error"]
    is_recorded: bool = Field(description="it has rows in that gateway's journal")
    n_prompt_tokens: int | None = None
    n_completion_tokens: int | None = None
    n_pieces: int = Field(0, description="of text that came")
    first_token_seconds: float | None = None


class ShippedFrame(Body):
    """Answers that were acknowledged together."""

    last: int = Field(ge=1, description="number of its newest row in that journal")
    rows: list[list[Any]] = Field(description="in the order of columns")


class Shipment(Body):
    """What another gateway tells the server that has the store; with nothing in it, that it is
    there."""

    version: str = Field("", description="of Pawl; has to be the server's")
    url: str = Field("", description="where it listens")
    network: str = Field("", description="what its loopback is known by; empty: not known")
    store: str = Field("", description="that the journal was recorded for; empty: not known")
    columns: list[str] = Field([], description="of the frames' rows")
    frames: list[ShippedFrame] = Field([], description="of its journal, in order")
    ended: list[AnswerEnd] = []
    is_over: bool = Field(False, description="nothing more will come under this id")


# -- answers of the server


class Answer(BaseModel):
    """A client takes fields that a newer server adds."""

    model_config = ConfigDict(extra="allow")


class ErrorDetail(Answer):
    message: str = Field(description="what came, why it can't be, what to do")
    type: str = Field(description="invalid_request_error or server_error")
    param: str | None = Field(description="the request's field at fault, if one is")
    code: str | None = Field(description="the machine-readable name; docs/api.md lists them")
    retryable: bool = Field(description="the same request may succeed later")


class ErrorAnswer(Answer):
    """An error, as OpenAI's API has it."""

    error: ErrorDetail


class FeedbackResult(Answer):
    """What became of one of a batch: either of the two."""

    feedback: StoredFeedback | None = None
    error: ErrorDetail | None = None


class FeedbackResults(Answer):
    """In the order in which they were sent."""

    results: list[FeedbackResult]
    n_stored: int
    n_refused: int


class ReviewMark(Answer):
    """What one person said of an answer."""

    rater_id: str
    created_at: str
    thumb: Thumb | None
    categories: list[str]
    comment: str | None
    correction: str | None
    completion_id: str
    choice_index: int


class ReviewFinding(Answer):
    """What a detector found in an answer."""

    name: str
    reason: str
    score: float
    threshold: float
    unit: str


class ReviewPart(Answer):
    """An answer that is decided with the one that is shown."""

    completion_id: str
    choice_index: int
    prompt: str = Field(description="its last message")
    completion: str


class ReviewItem(Answer):
    """Answers to nearly the same prompt that say nearly the same; the first is shown."""

    item_id: str
    waits: bool = Field(
        True, description="for this reviewer; else it is here since `answer` asked for it"
    )
    answers: list[ReviewPart] = Field(description="those that wait for this reviewer")
    messages: list[Message] = Field(description="the first one's prompt")
    completion: str
    version: str
    created_at: str
    conversation_id: str
    status: str
    marks: list[ReviewMark] = Field(description="of all its answers")
    findings: list[ReviewFinding] = Field(description="in the first answer")
    decisions: list[Review] = Field(
        description="earlier ones that count; while two reviewers are asked for and have not both "
        "decided, nobody else's"
    )
    n_hidden_decisions: int = 0
    severity: float = Field(description="0 to 3: by the treatment of categories, and secrets")
    repetition: float = Field(description="log2(1 + people who flagged it)")
    uncertainty: float = Field(description="0 to 1: people or reviewers disagree, or say little")
    priority: float = Field(description="severity + repetition + 2 * uncertainty")


class ReviewQueue(Answer):
    items: list[ReviewItem] = Field(description="the first ones")
    n_found: int = Field(description="items that are asked for, by `search` and the like")
    n_open: int = Field(description="items that wait for this reviewer")
    n_skipped: int = Field(description="items that this reviewer left to others")
    n_decided: int = Field(description="answers that this reviewer decided")
    n_reviewers: int = Field(description="that are asked for")
    versions: list[str] = Field(description="whose answers wait, or were skipped with `skipped`")
    guidelines: str = Field(description="`review.guidelines`")


class Alternatives(Answer):
    version: str
    temperature: float
    texts: list[str] = Field(description="each once, without the recorded answer")


class PairAgreement(Answer):
    """How far two reviewers agree on the answers that both decided."""

    reviewers: list[str]
    n_answers: int
    n_same: int
    kappa: float | None = Field(description="Cohen's; null where chance alone would agree")


class Agreement(Answer):
    """On three kinds of decision: the answer is wrong (accept, correct), it is fine, nothing is
    learned of it."""

    n_answers: int = Field(description="that two reviewers or more decided")
    alpha: float | None = Field(description="Krippendorff's, nominal; null where none can be told")
    pairs: list[PairAgreement]
    n_decided: dict[str, int] = Field(description="answers, by reviewer")


class ReviewBacklog(Answer):
    n_waiting: int = Field(description="flagged answers that no reviewer decided, or not enough")
    oldest_at: str | None = Field(description="when the first of them was flagged, as it stands")
    n_begun: int = Field(description="decided by a reviewer, and not by as many as are asked for")
    n_decided: int
    n_reviewers: int = Field(description="that decide each flagged answer")


class FlagRate(Answer):
    """Flagged answers per 1,000, with the 95 % interval of Wilson."""

    per_1000: float | None = Field(description="null where there are no answers")
    lower: float
    upper: float


class DashboardLine(Answer):
    """``name``: a day (2026-01-31), an hour (2026-01-31T12), a version, a category or a word."""

    name: str
    n_answers: int = 0
    n_people: int = Field(
        0, description="who asked; of a category: who flagged; of a word: who asked what is flagged"
    )
    n_conversations: int = 0
    n_errors: int = Field(0, description="answers that the engine broke off")
    n_up: int = 0
    n_down: int = 0
    n_flagged: int = Field(0, description="by a thumb down, a category or a correction")
    n_tokens: int = Field(0, description="of the answers")
    rate: FlagRate
    first_token_seconds: list[float] | None = Field(
        None, description="median and 95th percentile of streams"
    )
    total_seconds: list[float] | None = Field(None, description="the same, of whole answers")


class Complaint(Answer):
    """Flagged answers to nearly the same question."""

    question: str = Field(description="the newest; its last message, cut")
    n_answers: int
    n_people: int = Field(description="who flagged them")
    categories: list[str] = Field(description="the three that are named most")


class TrainingBacklog(Answer):
    """What people said since the snapshot of the newest night with a verdict. A night leaves some
    of it out, and tests on some."""

    since: str | None = Field(description="null: no night came to a verdict yet")
    n_corrections: int
    n_preferences: int
    n_thumbs_down: int = Field(description="without a correction")
    n_thumbs_up: int
    n_uncorrected: int = Field(
        description="of a category that is learned from once it was corrected, and was not"
    )
    n_imported: int


class Dashboard(Answer):
    days: int
    since: str
    until: str
    is_hourly: bool = Field(description="the lines of by_time are hours; else days, in UTC")
    total: DashboardLine
    by_time: list[DashboardLine]
    by_version: list[DashboardLine]
    by_category: list[DashboardLine]
    by_word: list[DashboardLine] = Field(
        description="words of questions whose answers are flagged most"
    )
    n_read: int = Field(description="newest answers whose questions by_word has")
    complaints: list[Complaint]
    training: TrainingBacklog
    backlog: ReviewBacklog | None = None


class ModelCard(Answer):
    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "pawl"
    version: str = Field(description="the exact version behind the name")
    base_model: str
    max_model_len: int | None = Field(
        None, description="tokens of a prompt and its answer together; null while the engine starts"
    )


class ModelList(Answer):
    object: str = "list"
    data: list[ModelCard]


class ReplicaHealth(Answer):
    """``state`` as of ``EngineHealth``."""

    number: int
    state: str
    detail: str
    is_out: bool = Field(
        description="it gets no new requests, and is off when its answers have ended"
    )
    n_answers: int = Field(description="under way")


class EngineHealth(Answer):
    """``state``: off, starting, ready, restarting (it died and comes back), failed."""

    state: str = "off"
    detail: str = "no server runs"
    progress_fraction: float = 0.0
    n_restarts: int = 0
    start_seconds: float | None = None
    replicas: tuple[ReplicaHealth, ...] = ()


class EngineStatus(EngineHealth):
    pid: int | None = None
    command: list[str] = []


class DrillStep(Answer):
    """A version brought in, as a rollback to it does."""

    version: str
    is_whole: bool = Field(description="its files are what was trained")
    answers: bool = Field(description="as it was trained to, in the engine")
    was_loaded: bool
    seconds: float
    reason: str = Field(description="what the probe found, or what is wrong")


class Drill(Answer):
    """A rollback rehearsed: to the version before the champion, and to the champion again."""

    champion: str
    back: DrillStep
    forth: DrillStep


class ShadowDifference(Answer):
    completion_id: str | None = Field(description="whose prompt it is; null: one's own")
    prompt: str = Field(description="its last message")
    a: str
    b: str
    difference: float = Field(description="from 0 (the same) to 1, by pieces of three letters")


class Shadow(Answer):
    a: str
    b: str
    n_prompts: int
    n_same: int
    n_left_out: int = Field(description="with tools, of /v1/completions, or refused by the engine")
    differences: list[ShadowDifference] = Field(
        description="the largest first; of one's own prompts in their order"
    )


class Health(Answer):
    status: str = "ok"
    champion: str
    champion_since: str | None = Field(
        description="when it went live, UTC; null: nothing was ever promoted"
    )
    champion_served: bool
    engine: EngineHealth


class BaseStatus(Answer):
    name: str
    fingerprint: str
    dir: str


CanaryOutcome = Literal["canary", "live", "refused", "waiting"]


class CanaryCount(Answer):
    """Of conversations since the canary began."""

    challenger: int
    champion: int


class CanaryStatus(Answer):
    """A challenger that answers a share of the conversations."""

    version: str
    champion: str
    run_id: str | None
    share: float
    began_at: str
    n_clients: int = Field(description="that asked in the 30 days before it began, or since")
    n_conversations: CanaryCount
    wrong: dict[str, CanaryCount] = Field(description="flagged, failed, slow")
    outcome: CanaryOutcome = Field(description="what becomes of it now; canary: it goes on")
    reason: str


class ConversationMessage(Answer):
    """The fields from ``completion_id`` to ``feedback`` are those of an answer that was recorded
    here; ``feedback`` is what counts of what the person who asks said about it."""

    role: str
    content: str
    tool_calls: list[dict[str, Any]] | None = Field(None, description="an assistant's")
    tool_call_id: str | None = Field(None, description="which call a tool answers")
    completion_id: str | None = None
    choice_index: int | None = None
    version: str | None = None
    status: str | None = None
    finish_reason: str | None = Field(
        None, description='how it ended; "length": at the most tokens that it may have'
    )
    feedback: Feedback | None = None
    variant: int | None = Field(
        None, description="of a question that was asked again or edited: which it is, from 1"
    )
    n_variants: int | None = Field(None, description="how many were asked in its place")


class ConversationSummary(Answer):
    """A conversation as a list shows it; ``title`` is its own or else its first question, cut to
    300 characters."""

    conversation_id: str
    title: str
    updated_at: str | None = Field(description="of the newest answer; null before the first")
    n_answers: int
    pinned: bool
    learn: bool = Field(description="false: nothing of it trains a version, or tests one")


class ConversationBranch(Answer):
    """Another path of a conversation: ``messages`` in place of those of path ``of`` from its
    message ``at`` on, counted from 0 over the whole path."""

    of: int = Field(
        description="0: the conversation's messages; n: the n-th branch, an earlier one"
    )
    at: int
    messages: list[ConversationMessage] = Field(description="with what followed them last")


class Conversation(ConversationSummary):
    messages: list[ConversationMessage]
    settings: ChatSettings = Field(ChatSettings(), description="none if absent")
    n_left_out: int = Field(
        0, description="of them, before those of the last answer's prompt; 0 if absent"
    )
    branches: list[ConversationBranch] = Field([], description="where they were asked for")
    beside: str | None = Field(
        None,
        description="the completion_id of another answer to what was asked last, asked for "
        "while the last one came: two to be compared; absent: none",
    )


class ConversationList(Answer):
    """Pinned ones first, then the newest."""

    conversations: list[ConversationSummary]
    n_found: int = Field(description="in all")


class NamedSettings(Answer):
    name: str
    settings: ChatSettings


class PresetList(Answer):
    """By name."""

    presets: list[NamedSettings]


class ErasedConversations(Answer):
    """``is_erased``: gone from every file. Else nobody reads it and nothing learns from it any
    more, and it goes from the files after the answer, with a later deletion or when the next
    night begins."""

    n_conversations: int
    is_erased: bool


class ChangedAnswer(Answer):
    """An answer that the caller flagged, and what a version that stands now answered to the very
    same prompt when its gate asked it, at temperature 0."""

    completion_id: str
    choice_index: int
    conversation_id: str
    flagged_at: str
    question: str
    flagged: str = Field(description="the answer that was flagged")
    flagged_version: str = Field(description="that gave it")
    correction: str | None = Field(description="the caller's own")
    since: str = Field(
        description="the first version whose answer was neither the flagged one nor that of the "
        "version before it"
    )
    answer: str = Field(description="of the newest version that was asked")
    answered_by: str = Field(description="which version that is")
    answered_at: str = Field(description="when it was let in")
    is_whole: bool = Field(description="false: the gate cut the answer")
    says_the_correction: bool = Field(
        description="the gate's matcher found in it what the caller's correction says"
    )


class AnsweredDifferently(Answer):
    """The newest flags first."""

    answers: list[ChangedAnswer]
    n_found: int = Field(description="in all")


class RunProgress(Answer):
    """Where a night is that runs now, as it wrote it last."""

    step: str
    began_at: str = Field(description="of the step")
    stage: str = Field("", description="what a training or scoring does now")
    fraction: float | None = Field(None, ge=0, le=1, description="of the stage")
    seconds_left: float | None = Field(
        None, description="of the night, by earlier ones; null: none has shown it"
    )
    at: str
    pid: int = Field(description="the night's process")


class CurveOfRun(Answer):
    """A metric of a stage of a training, over its steps."""

    stage: str
    metric: str
    train: list[tuple[float, float]] = Field(description="step and value")
    validation: list[tuple[float, float]]


class LogOfRun(Answer):
    name: str = Field(description="its path in the state folder")
    text: str = Field(description="the newest lines")
    is_cut: bool = Field(description="there are older ones")


class SuspectItem(Answer):
    benchmark: str
    item_id: str
    prompt: str


class Suspect(Answer):
    """A training row whose gradient points against what got worse; texts are cut."""

    rank: int
    score: float = Field(description="-1 (it helps) to 1")
    row_id: str
    kind: str
    rater_id: str | None
    prompt: str = Field(description="its last message")
    answer: str = Field(description="that is learned")
    item: SuspectItem = Field(description="that it makes worse the most")
    answer_id: str | None = Field(
        None, description="of the recorded answer it comes from, for `/admin/reviews?answer=`"
    )


class SuspectsOfRun(Answer):
    """The rows of a night that promoted nothing by their influence on what got worse."""

    note: str = Field("", description="why none were ranked")
    than: str = Field("", description="base or champion, which answers the items better")
    slices: dict[str, int] = Field({}, description="how many items got worse, by benchmark")
    n_items: int = Field(0, description="that rows were compared with")
    n_rows: int = Field(0, description="that were trained")
    n_compared: int = 0
    rows: list[Suspect] = []


class Run(Answer):
    """The latest state of a run; ``started_at`` is the time of its first."""

    run_id: str
    status: str
    at: str
    started_at: str
    detail: dict[str, Any]
    promotion: Promotion | None = Field(None, description="what became of its adapter last")
    progress: RunProgress | None = Field(
        None, description="null: it does not run now; unless it ended, it was interrupted"
    )


class Move(Answer):
    """A step of a promotion or a rollback, and who asked for it."""

    at: str
    kind: Literal["promote", "rollback"]
    version: str
    previous_version: str
    outcome: PromotionOutcome
    run_id: str | None
    reason: str
    by: str | None = Field(
        description="an account, a key, `the operator's key`, `the nightly job`, or `Pawl itself`; "
        "null: not recorded"
    )


class RunWithVerdict(Run):
    verdict: dict[str, Any] | None
    moves: list[Move] = Field([], description="of the versions that came of it, oldest first")


class Status(Answer):
    version: str
    base: BaseStatus
    champion: str
    engine: EngineStatus
    adapters: list[str]
    waiting: list[Promotion] = Field([], description="challengers that a person must sign")
    canary: CanaryStatus | None = Field(None, description="which the champion answers beside")
    night: Run | None = Field(None, description="that runs now")
    counts: dict[str, int]
    url: str | None
    exchange_dir: str = Field(description="what imports are read from and exports written to")
    settings: dict[str, Any] = Field(description="what a night beside this server takes over")


FlagOutcome = Literal["trained", "fixed", "same", "broken"]
VersionState = Literal[
    "champion", "before", "rolled_back", "base", "waiting", "canary", "pending", "refused",
    "indistinguishable", "made",
]  # fmt: skip


class VersionCounts(Answer):
    """Of people's flags: those it was trained on, and the prompts by which its gate decided."""

    n_trained: int = 0
    n_fixed: int = 0
    n_same: int = 0
    n_broken: int = 0


class VersionSummary(Answer):
    """``state``: ``before`` is a champion that a rollback goes to; ``made``: of a system prompt
    and sampling, not promoted yet."""

    version: str
    state: VersionState
    run_id: str | None = Field(None, description="the night that made it")
    at: str | None = Field(None, description="of the last move of it")
    previous_version: str | None = Field(None, description="which it was let through against")
    reason: str = ""
    snapshot_id: str | None = None
    counts: VersionCounts = VersionCounts()
    on: str | None = Field(None, description="whose weights it has, where they are not its own")
    system_prompt: str | None = Field(None, description="before conversations without their own")
    sampling: dict[str, Any] = Field({}, description="where a request says nothing")
    made_by: str | None = Field(None, description="who made it of a system prompt and sampling")
    fingerprint: str | None = Field(None, description="of base, adapter, prompt and sampling")
    moves: list[Move] = Field([], description="that brought it in or out, oldest first")


class FlagVerdict(Answer):
    """What a night's gate found of a prompt that no training had seen."""

    run_id: str
    version: str | None = Field(description="that came of the night; null: none")
    outcome: Literal["fixed", "broken", "same"]


class FlagLineage(Answer):
    """From a flag to what became of it; texts are cut to 600 characters."""

    flag_id: str = Field(description="of the feedback; of an imported row its own")
    completion_id: str | None
    rater_id: str | None
    created_at: str | None
    answered_by: str | None = Field(description="the version whose answer it is")
    question: str = Field(description="the prompt's last message")
    flagged: str | None = Field(description="the answer")
    correction: str | None
    categories: list[str]
    side: str = Field(description="of the split, in the newest snapshot that holds it")
    trained_since: str | None = Field(description="the first version that was trained on it")
    verdicts: list[FlagVerdict] = Field(description="oldest first")


class FlagPage(Answer):
    n_found: int
    flags: list[FlagLineage]


class DecisionOutcome(Answer):
    """What nights made of answers since they were decided."""

    n_snapshots: int = Field(description="that hold a row of them")
    side: str | None = Field(description="of the split, in the newest of these")
    trained_since: str | None = Field(description="the first version that was trained on them")
    verdicts: list[FlagVerdict] = Field(description="oldest first")


class DecidedItem(Answer):
    """Answers that a reviewer decided together, as the decision stands; the first is shown."""

    batch_id: str
    created_at: str = Field(description="when it was decided")
    decision: ReviewDecision
    reason: RejectReason | None
    correction: str | None
    categories: list[str]
    answers: list[ReviewPart]
    messages: list[Message] = Field(description="the first one's prompt")
    completion: str
    version: str
    answered_at: str
    status: str
    marks: list[ReviewMark] = Field(description="of all its answers")
    outcome: DecisionOutcome


class DecidedPage(Answer):
    n_found: int
    decisions: list[DecidedItem] = Field(description="newest first")


class StoredScores(Answer):
    run_id: str
    role: str
    n_items: int


class StoredVerdict(Answer):
    run_id: str
    outcome: str


class Traffic(Answer):
    """What a night's gate asks of the store besides the snapshot."""

    attempt: int = Field(description="number of the next look at people's prompts, from 1")
    looks: list[Look] = Field(description="the ledger, oldest first")
    n_flagged: int = Field(description="conversations that somebody found fault with")
    n_unflagged: int = Field(description="all others")
    of_other_bases: list[str] = Field(
        description="ids of answers that were corrected, and that another base than today's gave"
    )
    controls: list[TrainingRow] = Field(description="answers of unflagged conversations, at random")
    newest: list[list[dict[str, Any]]] = Field(description="prompts, newest first, each once")


class SnapshotManifest(Answer):
    snapshot_id: str
    content_sha256: str
    created_at: str
    counts: dict[str, dict[str, int]] = Field(description="rows by split and kind")
    rejections: dict[str, int] = Field(description="rows left out, by reason")
    dir: str


class Explanation(Answer):
    """Where an answer, feedback or row goes, as curated now."""

    id: str
    kind: str = Field(description="completion, feedback or row")
    note: str
    prompt: str = Field(description="its last turn")
    side: str = Field(description="train, validation, holdout; none: its cluster is on two sides")
    cluster: str
    n_cluster: int = Field(description="rows of the same near-duplicates")
    story: list[dict[str, Any]] = Field(
        description="each text of the prompt: who finds it good or bad, and its weight (above 0: "
        "good)"
    )
    rows: list[dict[str, Any]] = Field(description="what is learned or tested of it")
    left_out: list[dict[str, Any]] = Field(description="what is not, with the rule and its figures")
    snapshots: list[str] = Field(description="of a row: the recorded ones that hold it")


class Shipped(Answer):
    """The answer to a shipment: all of it is on disk."""

    ticket: str = Field(description="what that gateway's requests bring, so that it is known")
    is_open: bool = Field(description="requests are taken without a key")
    store: str = Field("", description="what this store is known by, to its copies too")
    last: int | None = Field(
        None, description="newest row of that journal that is here; None: not looked up"
    )


class GatewayInfo(Answer):
    """Another gateway, as the server that has the store sees it."""

    gateway_id: str
    url: str
    is_local: bool
    heard_seconds: float = Field(description="ago")
    n_answers: int = Field(description="under way")


class KeyInfo(Answer):
    name: str
    role: Role
    may_name_raters: bool
    key_id: str
    created_at: str
    revoked_at: str | None = None


class NewKey(KeyInfo):
    key: str = Field(description="the secret; it is not kept, so this is the only time it is seen")


class AccountInfo(Answer):
    name: str
    role: Role
    must_change: bool = Field(description="the password works once, to set another")
    subject: str | None = Field(description="where the person signs in instead, and as whom")
    created_at: str
    changed_at: str
    removed_at: str | None = None


class ChangedAccount(AccountInfo):
    one_time_password: str | None = Field(
        None, description="it is not kept, so this is the only time it is seen"
    )


class Limit(Answer):
    key: str
    value: float | None = Field(description="null: none")
    meaning: str


class CallerUse(Answer):
    """What was answered to an account or key, and the people behind it, in the last 24 hours."""

    name: str
    n_answers: int
    n_tokens: int = Field(
        description="of prompts and answers; the engine counts those of a request with several "
        "choices or prompts together, which are charged but not in here"
    )


class Quotas(Answer):
    limits: list[Limit] = Field(description="of one caller, as the settings have them")
    callers: list[CallerUse] = Field(description="those with the most tokens")


class ErasurePreview(Answer):
    names: list[str] = Field(description="what the rows stand under")
    counts: dict[str, int]
    snapshots: list[str] = Field(description="that would be deleted")
    adapters: list[str] = Field(description="that learned from their rows")
    copies: list[str] = Field(description="of the store, and checkpoints, that would be deleted")
    backups: list[dict[str, Any]]


class Erasure(Answer):
    """The certificate. ``subject_sha256`` is of ``subject_salt:NAME``, and so is each of
    ``names_sha256``: all names of the person, with a slash at the end for all that begin so."""

    erasure_id: str
    until: str | None = Field(None, description="what is newer stays; null: all of theirs went")
    asked_by: str
    begun_at: str
    finished_at: str
    subject_salt: str
    subject_sha256: str
    names_sha256: list[str] = []
    counts: dict[str, int]
    snapshots: list[dict[str, Any]]
    adapters: list[dict[str, Any]]
    files: dict[str, Any]
    searched: dict[str, Any]
    store: dict[str, Any]
    choices: list[str]
    backups: list[dict[str, Any]]


class RetentionCounts(Answer):
    n_answers: int
    n_feedback: int
    snapshots: list[str] = Field(description="that were deleted")


class StoreCopy(Answer):
    """``tables``: ``n_rows`` and ``hash`` of each."""

    dir: str
    tables: dict[str, dict[str, int]]
    duckdb_version: str


class GeneratedAnswer(Answer):
    text: str
    is_finished: bool


class GeneratedAnswers(Answer):
    answers: list[GeneratedAnswer]


class ImportCounts(Answer):
    format: str
    n_records: int
    n_rows: int
    n_added: int
    n_already_there: int
    n_taken_back: int
    n_raters: int
    dry_run: bool
    skipped: dict[str, int]
    problems: list[str]
    message: str


class ExportCounts(Answer):
    format: str
    path: str
    n_written: int
    skipped: dict[str, int]
    message: str


class Usage(Answer):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class ChatMessage(Answer):
    role: str = "assistant"
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = Field(
        None, description='[{"id", "type": "function", "function": {"name", "arguments"}}, ...]'
    )


class ChatChoice(Answer):
    index: int
    message: ChatMessage
    finish_reason: str | None = None


class ChatAnswer(Answer):
    id: str = Field(description="the completion_id that feedback names")
    model: str = Field(description="the exact version that answered")
    choices: list[ChatChoice]
    usage: Usage | None = None

    @property
    def text(self) -> str:
        """The first choice's text."""
        return self.choices[0].message.content or ""


class TextChoice(Answer):
    index: int
    text: str
    finish_reason: str | None = None


class TextAnswer(Answer):
    id: str
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None
