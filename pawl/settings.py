"""Settings: what a user may set, with defaults and bounds; one frozen object, made once.

Precedence: command-line flags, then ``PAWL_*`` environment variables (``__`` between levels:
``PAWL_ENGINE__MAX_LORAS``), then ``pawl.toml``, then the defaults below. An unknown key is an
error, and all errors are reported at once.

Over 400 lines because every setting is in one place, with its bounds and what it does.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from base64 import b64decode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    SettingsConfigDict,
    SettingsError,
)

from pawl.errors import PawlError
from pawl.schedule import parse_cron, parse_quiet, parse_zone

DEFAULT_MODEL = "smollm2-135m"
BUILT_IN = (DEFAULT_MODEL, "auto", "official", "everyday", "bias")  # whatever lies in the folder


# Of the first versions, before anything was released.
RENAMED = {
    "engine.max_prompt_bytes": "engine.max_request_bytes",
    "gate.margin_mini": "gate.margin",
    "gate.margin_official": "gate.margin",
}


def _listed(value: Any) -> Any:
    """``a,b`` as well as ``["a", "b"]``."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("["):
        return json.loads(text)
    return [one.strip() for one in text.split(",") if one.strip()]


def _expanded(path: Path) -> Path:
    """With the home folder in place of ``~``."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"there is no home folder of {path.parts[0]!r}") from None


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
Folder = Annotated[Path, AfterValidator(_expanded)]


class EngineSettings(BaseModel):
    """The vLLM child."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="of the weights in the engine; auto: the model's own, but float32 on a CPU "
        "without bfloat16 where all engines take a quarter of the memory at most",
    )
    max_model_len_tokens: int | None = Field(None, ge=64, description="None: the model's own")
    max_loras: int = Field(
        4, ge=3, description="adapters live at once: champion, challenger, previous"
    )
    max_lora_rank: int = Field(16, ge=1, le=512, description="vLLM takes no rank above 512")
    max_concurrent_requests: int = Field(
        64, ge=1, description="answers that an engine generates at once; more wait (see limits)"
    )
    kv_cache_gib: float = Field(1.0, gt=0, description="CPU only: memory for the KV cache, GiB")
    gpu_memory_fraction: float = Field(
        0.85, gt=0, lt=1, description="GPU only: of its memory, for weights and KV cache"
    )
    replicas: int = Field(
        1,
        ge=1,
        le=64,
        description="engines that share the requests, each with the whole model: on a GPU of its "
        "own where there are as many, else with its share of the cores",
    )
    max_replicas: int | None = Field(
        None,
        ge=1,
        le=64,
        description="up to so many are started while answers wait; None: as many as replicas",
    )
    scale_up_seconds: float = Field(
        10, gt=0, description="an answer waits so long for a place: one replica more is started"
    )
    scale_down_seconds: float = Field(
        900,
        gt=0,
        description="half the places of one replica fewer would have done for so long: it stops",
    )
    ray_address: str | None = Field(
        None,
        min_length=1,
        description="of a Ray cluster on whose nodes the engines run: auto, or HEAD:6379; None: on "
        "this machine",
    )
    start_timeout_seconds: float = Field(
        600, gt=0, description="a start that takes longer has failed"
    )
    stuck_seconds: float = Field(
        120, ge=1, description="without any token for so long, the engine is started again"
    )
    max_request_bytes: int = Field(
        4_000_000, ge=1, description="largest body of a completion request"
    )
    tool_call_parser: str = Field(
        "auto", description="vLLM's, for the base's calls of tools; auto: by its chat template"
    )

    @model_validator(mode="after")
    def _check_replicas(self) -> EngineSettings:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(
                f"max_replicas is {self.max_replicas}, and replicas {self.replicas}: at least as "
                "many, or left out"
            )
        return self

    @property
    def most_replicas(self) -> int:
        """That can be there at once."""
        return self.max_replicas or self.replicas

    @property
    def n_places(self) -> int:
        """Answers generated at once, by all replicas that there can be."""
        return self.max_concurrent_requests * self.most_replicas

    @property
    def n_reserved_places(self) -> int:
        """Places beyond ``max_concurrent_requests``, for callers who have no answer under way."""
        return max(1, self.max_concurrent_requests // 8)


class LimitSettings(BaseModel):
    """What one caller (an account or key, else a rater, else an address) may ask of the server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_queued_requests: int = Field(
        256, ge=0, description="waiting for the engine; beyond it the longest queue loses one (503)"
    )
    max_wait_seconds: float = Field(120, gt=0, description="in that queue, then 503")
    caller_share: float = Field(
        0.25, gt=0, le=1, description="of the engine's places, while other callers are there"
    )
    requests_per_minute: int | None = Field(
        None, ge=1, description="for answers, of one caller; beyond it 429"
    )
    tokens_per_minute: int | None = Field(
        None, ge=1, description="of one caller, prompts and answers; beyond it 429"
    )
    requests_at_once: int | None = Field(
        None, ge=1, description="of one caller, waiting or answered; beyond it 429"
    )
    feedback_per_hour: int = Field(10_000, ge=1, description="rows of one caller; beyond it 429")
    reads_per_minute: int = Field(
        3_000, ge=1, description="GET requests of one caller; beyond it 429"
    )
    keep_alive_seconds: float = Field(
        15, ge=0, description="between comments in a stream that waits for its first token; 0: none"
    )
    answer_tokens: int | None = Field(
        None, ge=1, description="of an answer whose request sets no bound; None: the context's end"
    )
    start_wait_seconds: float = Field(
        0, ge=0, description="a request may wait for an engine that starts; 0: 503, try again"
    )
    max_connections: int = Field(
        2000, ge=1, description="open at once; fewer where the process may open too few files"
    )
    request_seconds: float = Field(
        20, gt=0, description="for a request's head to come, and between the parts of its body"
    )
    idle_seconds: float = Field(75, gt=0, description="between two requests of a connection")
    unread_seconds: float = Field(
        30, gt=0, description="a client may leave what was sent unread before it is cut off"
    )


class TrainSettings(BaseModel):
    """The trainer. ``None`` lets the method choose (``refine/planner.py`` says how)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["auto", "sft", "dpo", "kto", "sft+dpo"] = Field(
        "auto", description="of training; auto: by the rows that there are"
    )
    trainer: str | None = Field(
        None, description="of an installed package, which changes how a method trains"
    )
    tuning: Literal["lora", "rslora", "dora", "full"] = Field(
        "lora",
        description="what learns: an adapter (rslora counts it alpha / sqrt(rank) times), or all "
        "weights of the linear layers (full); dora and full are served as the nearest LoRA of rank "
        "engine.max_lora_rank",
    )
    start: Literal["base", "champion", "auto"] = Field(
        "base",
        description="what a night's training begins from; auto: the champion, or the base once the "
        "gate found that a training from this champion lost on a benchmark",
    )
    load_in_4bit: bool = Field(
        False,
        description="the base while a LoRA is trained (QLoRA, needs bitsandbytes): a quarter of "
        "the memory, more time",
    )
    last_layers: int | None = Field(
        None, ge=1, description="of the base that learn, the rest is frozen; None: all"
    )
    lora_rank: int = Field(16, ge=1, description="of the adapter's matrices")
    lora_alpha: int = Field(32, ge=1, description="an adapter counts alpha / rank times")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="of the LoRA's inputs, in training")
    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False, description="AdamW's")
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="SFT: of each label, spread over all tokens"
    )
    neftune_alpha: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="SFT: noise on the embeddings (NEFTune), 5 say"
    )
    beta: float = Field(
        0.1, gt=0, allow_inf_nan=False, description="DPO's and KTO's pull to the reference"
    )
    learning_rate: float | None = Field(None, gt=0, allow_inf_nan=False, description="peak")
    n_epochs: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="at most; SFT stops when its rows are learned"
    )
    batch_size: int | None = Field(None, ge=1, description="rows a step; KTO: 4 at least")
    mixture: Texts = Field(
        (), description="tasks' shares of what is trained: 'support=0.7,other=0.3'; none: as it is"
    )
    augment: Texts = Field(
        (), description="corrections under new phrasings by the base: 'paraphrase,back-translation'"
    )
    max_synthetic_share: float = Field(
        0.25, gt=0, le=0.5, description="of the written answers, by augment"
    )
    domain_weighting: bool = Field(
        False, description="rows count by how like the newest prompts of the traffic they are"
    )
    max_length_tokens: int | None = Field(
        None, ge=1, description="longer rows are counted and left out"
    )
    n_replay_rows: int | None = Field(None, ge=0, description="answers of the base's own")
    max_minutes: float = Field(
        20.0, gt=0, allow_inf_nan=False, description="time for replay and training together"
    )
    n_threads: int | None = Field(
        None, ge=1, description="None: 2 beside an engine, else all cores"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of everything random in a training")
    ray_address: str | None = Field(
        None,
        min_length=1,
        description="of a Ray cluster on a node of which it trains: auto, or HEAD:6379; None: on "
        "this machine",
    )
    n_workers: int = Field(
        1, ge=1, le=64, description="nodes of ray_address that share a training of SFT"
    )

    @field_validator("augment")
    @classmethod
    def _are_ways(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in ("paraphrase", "back-translation"):
                raise ValueError(f"{name!r} is neither 'paraphrase' nor 'back-translation'")
        return tuple(dict.fromkeys(value))

    @field_validator("mixture")
    @classmethod
    def _are_shares(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        shares = [_share(text) for text in value]
        if len(dict(shares)) < len(shares):
            raise ValueError("a task has two shares")
        total = sum(share for _, share in shares)
        if shares and abs(total - 1) > 0.001:
            raise ValueError(f"the shares make {total:g}, not 1")
        return value

    @model_validator(mode="after")
    def _workers_have_a_cluster(self) -> Self:
        if self.n_workers > 1 and self.ray_address is None:
            raise ValueError(
                f"train.n_workers = {self.n_workers} needs train.ray_address, on whose nodes they "
                "work: set it, or leave train.n_workers at 1"
            )
        return self

    @property
    def shares(self) -> dict[str, float]:
        """``mixture`` by task."""
        return dict(_share(text) for text in self.mixture)


def _share(text: str) -> tuple[str, float]:
    """A task and its share. Raises ValueError: it is of another form."""
    name, _, share = text.rpartition("=")
    try:
        number = float(share)
    except ValueError:
        number = 0.0
    if not name.strip() or not 0 < number <= 1:
        raise ValueError(f"{text!r} is not of the form TASK=SHARE, with a share from 0 to 1")
    return name.strip(), number


class GateSettings(BaseModel):
    """What a challenger must show. Margins are fractions (0.05 = 5 points)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: str = Field(
        "auto",
        min_length=1,
        description="'auto' (official where its data can be had, else everyday), 'official', "
        "'everyday', the path of a suite's folder, or the name of an installed package's suite",
    )
    matchers: Texts = Field(
        (), description="of installed packages, asked before Pawl's own whether an answer is right"
    )
    margin: float | None = Field(
        None, gt=0, lt=1, description="allowed loss of a night on each benchmark; None: the suite's"
    )
    alpha: float = Field(
        0.05, gt=0, lt=0.5, description="chance of letting in a challenger that is no better"
    )
    n_items_per_benchmark: int | Literal["all"] | None = Field(
        None, description="random items, 20 or more, or 'all'; None: as many as the suite says"
    )
    data_dir: Folder | None = Field(None, description="benchmark data laid out as the hub")
    anchor: str = Field("base", description="the version whose scores bound the sum of losses")
    margin_anchor: float | None = Field(
        None, gt=0, lt=1, description="allowed loss below the anchor; None: the suite's"
    )

    n_placebos: int = Field(
        8,
        ge=2,
        le=100,
        description="random changes, as large as the challenger, that it must beat on people's "
        "prompts",
    )
    n_controls: int = Field(
        100, ge=0, le=10_000, description="answers that nobody flagged, scored beside flagged ones"
    )
    bias_audit: bool = Field(
        False,
        description="score 500 pairs of prompts that differ in one attribute of a person, and "
        "CrowS-Pairs and BBQ where data_dir holds them",
    )
    margin_bias: float = Field(
        0.03, ge=0.03, lt=1, description="allowed loss on each benchmark of the bias audit"
    )

    ray_address: str | None = Field(
        None,
        min_length=1,
        description="of a Ray cluster on whose nodes models are scored: auto, or HEAD:6379; None: "
        "on this machine",
    )
    suspects_minutes: float = Field(
        5.0,
        ge=0,
        allow_inf_nan=False,
        description="time to rank rows by what they broke where nothing was promoted; 0: none",
    )

    @field_validator("suite")
    @classmethod
    def _is_found_from_anywhere(cls, value: str) -> str:
        return str(_expanded(Path(value))) if value.startswith("~") else value

    @field_validator("n_items_per_benchmark")
    @classmethod
    def _enough_items(cls, value: int | str | None) -> int | str | None:
        if isinstance(value, int) and value < 20:
            raise ValueError("20 items or more, or 'all'")
        return value

    @field_validator("margin_anchor")
    @classmethod
    def _no_tighter_than_one_night(cls, value: float | None, info: ValidationInfo) -> float | None:
        """The anchor bounds the sum of many nights' losses, so no less than one night's."""
        margin = info.data.get("margin")
        if value is not None and margin is not None and value < margin:
            raise ValueError(
                f"the anchor would allow less than a single night may lose "
                f"(gate.margin = {margin:g}); raise this one or lower that one"
            )
        return value


class PromotionSettings(BaseModel):
    """How a challenger that passed the gate becomes the champion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    approval: bool = Field(False, description="a person must sign: it waits for 'pawl approve RUN'")
    canary_share: float = Field(
        0.0, ge=0, le=0.5, description="of conversations, which it answers at first; 0: all at once"
    )
    canary_hours: float = Field(
        72, gt=0, description="then it answers all, or waits for a person if a sign is against it"
    )
    canary_conversations: int = Field(
        20, ge=0, description="that it answers first; after three times the hours it waits, too"
    )


class JudgeSettings(BaseModel):
    """What compares answers: a model behind an OpenAI-compatible address, or a plugin; none
    without ``url`` and ``plugin``.

    It is sent prompts and answers of the people who use this server.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/]+",
        description="up to /v1: 'http://host:9000/v1'; None: none",
    )
    plugin: str | None = Field(
        None, description="a judge of an installed package, in place of an address"
    )
    model: str = Field("", description="the name that the address knows the judge by")
    api_key: SecretStr | None = Field(None, description="that the address asks for")
    timeout_seconds: float = Field(60, gt=0, description="of one reply")
    n_tries: int = Field(3, ge=1, le=10, description="of each question; then it has no verdict")
    max_concurrent_requests: int = Field(4, ge=1, le=256, description="to the judge")
    least_kappa: float = Field(
        0.4, ge=0, le=1, description="its word counts from here on: the lower bound of Cohen's "
        "kappa with people's own choices",
    )  # fmt: skip

    @model_validator(mode="after")
    def _has_a_model(self) -> Self:
        if self.url is not None and not self.model:
            raise ValueError("judge.url needs judge.model, the name that the address knows it by")
        if self.url is not None and self.plugin is not None:
            raise ValueError("judge.url and judge.plugin are both given, but there is one judge")
        return self

    @property
    def is_set(self) -> bool:
        return self.url is not None or self.plugin is not None


class CurationSettings(BaseModel):
    """What may be learned, and whose word counts how much."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    public_contacts: Texts = Field(
        (), description="the organisation's own, which answers may name: 'help@acme.com,acme.com'"
    )
    phone_regions: Texts = Field(
        ("US", "GB", "DE", "FR", "IT"),
        description="countries (ISO 3166) whose phone numbers are found without a country code",
    )
    reject: Texts = Field(
        (), description="detectors whose findings keep an answer from being learned: 'refusal,...'"
    )
    detectors: Texts = Field(
        (), description="of installed packages, that look at answers beside Pawl's own"
    )
    max_share: float = Field(
        0.1, gt=0, le=1, description="of the rows, by one rater or client alone; 1: no cap"
    )
    front_ends: Texts = Field(
        (), description="keys whose raters are people, not one client who names them"
    )


class ReviewSettings(BaseModel):
    """The review of flagged answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reviewers: int = Field(
        1, ge=1, le=9, description="that decide each flagged answer, more where they disagree"
    )
    guidelines: str = Field(
        "", max_length=20_000, description="of the house, in Markdown, on the review page"
    )


class PageSettings(BaseModel):
    """The chat page."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suggestions: Texts = Field(
        (
            "Explain to a ten-year-old how a bicycle stays upright.",
            "Write a short, friendly e-mail that asks for a later delivery.",
            "What should I ask before I sign a contract?",
            "Give me five ideas for a dinner with what is in season.",
        ),
        max_length=8,
        description="of a first message, on the empty page; none: '[]'",
    )

    side_by_side: float = Field(
        0.0,
        ge=0,
        le=1,
        description="the share of prompts that get two answers, to choose the better one; each "
        "costs two answers",
    )
    side_by_side_with: str = Field(
        "same",
        pattern=r"^(same|base|pawl@[0-9]{1,9})$",
        description="who gives the second answer; same: the version that answers, sampled again",
    )

    @field_validator("suggestions")
    @classmethod
    def _are_short(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if not text.strip() or len(text) > 300:
                raise ValueError("a suggestion has 1 to 300 characters")
        return value


class ApiSettings(BaseModel):
    """The HTTP API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unknown_fields: Literal["ignore", "refuse"] = Field(
        "ignore", description="of a completion request; ignored ones are named in X-Pawl-Ignored"
    )
    allowed_origins: Texts = Field(
        (), description="whose pages may call the API: 'https://app.example,...'; '*': any, by key"
    )
    allowed_hosts: Texts = Field(
        (), description="names that may be asked for, beside localhost; none: any, where keys are"
    )

    root_path: str = Field(
        "", pattern=r"^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$",
        description="where a proxy in front puts the server: '/pawl'; requests may keep it or not",
    )  # fmt: skip

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and not re.fullmatch(
                r"https?://[a-z0-9.-]+(:\d+)?|https?://\[[0-9a-f:]+\](:\d+)?", origin
            ):
                raise ValueError(
                    f"{origin!r} is no origin; write it as the browser does, in small letters and "
                    "without a path: 'https://app.example' or 'http://localhost:3000'"
                )
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _are_host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"[a-z0-9.-]+|[0-9a-f:]+", name):
                raise ValueError(f"{name!r} is no host name in small letters, without a port")
        return value


class SignInSettings(BaseModel):
    """Sessions of people who sign in to the pages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    session_hours: float = Field(
        720, gt=0, le=8760, description="then one signs in again, whatever one did"
    )
    idle_hours: float = Field(168, gt=0, le=8760, description="of doing nothing on the pages")


class OidcSettings(BaseModel):
    """An OpenID Connect provider that people sign in with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str | None = Field(None, description="its address: 'https://id.example'; None: none")
    client_id: str = Field("", description="this server's, as the provider knows it")
    client_secret: SecretStr | None = Field(
        None, description="None: a public client, by PKCE alone"
    )
    scopes: Texts = Field(("openid", "profile", "email"), description="that are asked for")
    label: str = Field("", description="what the sign-in page calls it; its host's name by default")
    name_claim: str = Field("preferred_username", description="gives an account its name")
    role_claim: str | None = Field(None, description="whose values give roles: 'groups'")
    administrators: Texts = Field((), description="values that make an administrator; '*': anybody")
    reviewers: Texts = Field((), description="values that make a reviewer")
    users: Texts = Field(("*",), description="values that make a user; with none, nobody else")

    @model_validator(mode="after")
    def _can_be_trusted(self) -> Self:
        if self.issuer is None:
            return self
        if not re.fullmatch(r"https://[^/?#\s]+[^?#\s]*|http://(localhost|127\.0\.0\.1)(:\d+)?[^?#\s]*",
                            self.issuer):  # fmt: skip
            raise ValueError("oidc.issuer is an https address (http on this machine alone)")
        if not self.client_id or "openid" not in self.scopes:
            raise ValueError("oidc.issuer needs oidc.client_id, and 'openid' among oidc.scopes")
        return self


class ExchangeSettings(BaseModel):
    """The one folder that imports are read from and exports are written to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dir: Folder | None = Field(None, description="None: exchange/ in the state folder")
    max_file_bytes: int = Field(
        200_000_000,
        ge=1,
        description="of one file; reading takes 4 to 10 times as much memory, and the database up "
        "to 1.2 GB beside",
    )
    importers: Texts = Field(
        (), description="of installed packages, whose formats 'pawl import --format' takes too"
    )


class RetentionSettings(BaseModel):
    """What is erased by age, as each night begins."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unrated_days: int | None = Field(
        None, ge=1, description="answers that nobody said anything about; None: kept"
    )
    all_days: int | None = Field(
        None, ge=1, description="everything that people asked and said; None: kept"
    )


class WebhookSettings(BaseModel):
    """Whom the server tells of complaints, promotions and rejections."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr | None = Field(None, description="https://...; None: nobody is told")
    secret: SecretStr | None = Field(
        None, description="'whsec_' and 24 to 64 bytes in base64: what requests are signed with"
    )
    notifiers: Texts = Field(
        (), description="of installed packages, which are told the same in this process"
    )

    @field_validator("url")
    @classmethod
    def _is_web_address(cls, value: SecretStr | None) -> SecretStr | None:
        """Kept as a secret, since many such addresses hold one."""
        if value is not None:
            try:
                parts = urlsplit(value.get_secret_value())
                is_right = parts.scheme in ("http", "https") and bool(parts.hostname)
            except ValueError:
                is_right = False
            if not is_right:
                raise ValueError("it is no address of the form https://host/path")
        return value

    @field_validator("secret")
    @classmethod
    def _is_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            head, _, rest = value.get_secret_value().partition("_")
            try:
                n_bytes = len(b64decode(rest, validate=True)) if head == "whsec" else 0
            except ValueError:
                n_bytes = 0
            if not 24 <= n_bytes <= 64:
                raise ValueError(
                    "it is not 'whsec_' and 24 to 64 bytes in base64; make one with "
                    "echo whsec_$(head -c 32 /dev/urandom | base64)"
                )
        return value

    def check(self) -> None:
        """Raises PawlError: what sends needs the secret, which other commands need not know."""
        if self.url is not None and self.secret is None:
            raise PawlError(
                "webhook.url needs webhook.secret",
                "nobody could tell who sends it",
                "Set PAWL_WEBHOOK__SECRET, or leave webhook.url out",
            )


class ScheduleSettings(BaseModel):
    """When nights begin by themselves, and what holds for those nights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cron: str | None = Field(
        None, description="when 'pawl up' begins a night: '17 2 * * *'; None: never"
    )
    time_zone: str | None = Field(
        None, description="of all times here: 'Europe/Berlin'; None: the machine's"
    )
    quiet_hours: Texts = Field(
        (), description="in which no night begins, and before which it ends: '07:00-19:30,...'"
    )
    catch_up_hours: float = Field(
        12, ge=0.25, le=168, description="so much later a night may begin; then it says why not"
    )
    min_new_rows: int = Field(
        0, ge=0, description="rows that the last night that trained did not have; fewer: no run"
    )
    max_hours: float | None = Field(
        None, gt=0, le=168, description="time of a night; what fits is planned before it trains"
    )

    @field_validator("cron")
    @classmethod
    def _is_an_expression(cls, value: str | None) -> str | None:
        return None if value is None else parse_cron(value)

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, value: str | None) -> str | None:
        if value is not None:
            parse_zone(value)
        return value

    @field_validator("quiet_hours")
    @classmethod
    def _are_times(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_quiet(text)
        return value

    @property
    def has_times(self) -> bool:
        """Whether anything here is a time of day, in a time zone."""
        return self.cron is not None or bool(self.quiet_hours)

    @model_validator(mode="after")
    def _zone_is_known(self) -> Self:
        if self.has_times:
            parse_zone(self.time_zone)
        return self


class MonitoringSettings(BaseModel):
    """Where a training's figures go beside TensorBoard (the extras ``wandb`` and ``mlflow``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    report_to: Texts = Field(
        (), description="'wandb' (offline unless WANDB_MODE says otherwise), 'mlflow'"
    )

    @field_validator("report_to")
    @classmethod
    def _are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in ("wandb", "mlflow"):
                raise ValueError(f"{name!r} is neither 'wandb' nor 'mlflow'")
        return value


class TracingSettings(BaseModel):
    """OpenTelemetry traces of the requests (the extra ``otel``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: str | None = Field(
        None, pattern=r"^https?://", description="OTLP over HTTP: http://host:4318/v1/traces"
    )
    fraction: float = Field(
        1.0, ge=0, le=1, description="of the requests that come without a trace"
    )


class LogSettings(BaseModel):
    """What is logged, and how a line looks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal["debug", "info", "warning", "error"] | None = Field(
        None, description="of file and stderr; None: info in the file, warnings on stderr"
    )
    format: Literal["text", "json"] = Field("text", description="of a line")


class Settings(BaseSettings):
    """All settings of one Pawl. Frozen."""

    model_config = SettingsConfigDict(
        env_prefix="PAWL_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    model: str = Field(DEFAULT_MODEL, description="'smollm2-135m', a GGUF file, a folder, a hub id")
    model_revision: str | None = Field(
        None, description="branch, tag or commit of a hub model; None: what was fetched first"
    )
    state_dir: Folder = Field(Path(".pawl"), description="the folder of store, adapters and logs")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0: all")
    port: int = Field(8000, ge=0, le=65535, description="of API and pages; 0: a free one")
    api_key: SecretStr | None = Field(
        None, description="an administrator's; None: accounts and other keys alone"
    )
    split_salt: str | None = Field(
        None,
        min_length=1,
        description="fixed for the life of a store; None: the store's own secret",
    )
    engine: EngineSettings = EngineSettings()
    limits: LimitSettings = LimitSettings()
    train: TrainSettings = TrainSettings()
    gate: GateSettings = GateSettings()
    promotion: PromotionSettings = PromotionSettings()
    curation: CurationSettings = CurationSettings()
    review: ReviewSettings = ReviewSettings()
    judge: JudgeSettings = JudgeSettings()
    page: PageSettings = PageSettings()
    api: ApiSettings = ApiSettings()
    sign_in: SignInSettings = SignInSettings()
    oidc: OidcSettings = OidcSettings()
    exchange: ExchangeSettings = ExchangeSettings()
    retention: RetentionSettings = RetentionSettings()
    webhook: WebhookSettings = WebhookSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    tracing: TracingSettings = TracingSettings()
    log: LogSettings = LogSettings()

    @field_validator("model")
    @classmethod
    def _has_a_home(cls, value: str) -> str:
        _expanded(Path(value))
        return value

    @field_validator("api_key")
    @classmethod
    def _can_be_sent(cls, value: SecretStr | None) -> SecretStr | None:
        """An empty key would open the server; another than this can't stand in a header."""
        if value is not None and not re.fullmatch("[!-~]+", value.get_secret_value()):
            raise ValueError(
                "a key is one or more printable ASCII characters without blanks; "
                "leave it out for none"
            )
        return value

    @model_validator(mode="after")
    def _engine_takes_what_is_trained(self) -> Self:
        if self.train.lora_rank > self.engine.max_lora_rank:
            raise ValueError(
                f"train.lora_rank = {self.train.lora_rank} is above engine.max_lora_rank = "
                f"{self.engine.max_lora_rank}, so the engine could not load what a night trains"
            )
        return self

    @model_validator(mode="after")
    def _trackers_are_where_it_trains(self) -> Self:
        if self.train.ray_address is not None and self.monitoring.report_to:
            raise ValueError(
                f"monitoring.report_to = {', '.join(self.monitoring.report_to)} writes where a "
                "training runs, which train.ray_address puts on another machine: leave one out"
            )
        return self

    @property
    def database_path(self) -> Path:
        return self.state_dir / "pawl.duckdb"

    @property
    def adapters_dir(self) -> Path:
        return self.state_dir / "adapters"

    @property
    def snapshots_dir(self) -> Path:
        return self.state_dir / "snapshots"

    @property
    def runs_dir(self) -> Path:
        return self.state_dir / "runs"

    @property
    def scores_dir(self) -> Path:
        return self.state_dir / "scores"

    @property
    def replay_dir(self) -> Path:
        return self.state_dir / "replay"

    @property
    def exchange_dir(self) -> Path:
        """What ``import`` reads from and ``export`` writes to; absolute."""
        return (self.exchange.dir or self.state_dir / "exchange").absolute()

    @property
    def logs_dir(self) -> Path:
        return self.state_dir / "logs"

    @property
    def server_file(self) -> Path:
        """``{"url", "pid", "started_at"}`` of the running server; gone when none runs."""
        return self.state_dir / "server.json"


def load_settings(
    flags: Mapping[str, Any] | None = None,
    *,
    config_path: Path | None = None,
    only_flags: bool = False,
) -> Settings:
    """Read ``pawl.toml`` (or ``config_path``), the environment and ``flags`` into one object.

    Args:
        flags: nested mapping of what the command line said; ``None`` values are dropped.
        config_path: a file that must exist when given; ``pawl.toml`` is optional.
        only_flags: leave file and environment out.

    Raises:
        PawlError: every unknown key and every bad value, in one message.
    """
    problems = _unknown_environment()
    path, from_file = _read_file(config_path)

    class FromSources(Settings):
        @classmethod
        def settings_customise_sources(cls, settings_cls: Any, *args: Any, **sources: Any) -> Any:
            given = sources["init_settings"]
            file = InitSettingsSource(settings_cls, from_file)
            return (given,) if only_flags else (given, sources["env_settings"], file)

    try:
        settings: Settings | None = FromSources(**_without_none(flags or {}))
    except ValidationError as err:
        for fault in err.errors():
            key = ".".join(str(part) for part in fault["loc"])
            why = fault["msg"].removeprefix("Value error, ")
            if fault["type"] == "extra_forbidden":
                problems.append(f"{key}: {_unknown(key)}")
            elif not key:  # about several at once; the input is all of them, the key included
                problems.append(why)
            elif key in _secrets():  # not said back
                problems.append(f"{key}: {why}")
            else:
                problems.append(f"{key} = {fault['input']!r}: {why}")
        settings = None
    except SettingsError as err:  # a variable that is no JSON; its value is not in the words
        problems = problems or [str(err)]
        settings = None
    if problems or settings is None:
        raise PawlError(
            "settings: " + "; ".join(sorted(set(problems))),
            do=f"Look in {path}, the PAWL_* environment and the flags; "
            "'pawl settings' lists every key",
        )
    values = {name: getattr(settings, name) for name in Settings.model_fields}
    values["state_dir"] = settings.state_dir.absolute()
    return Settings.model_construct(**values)


def _secrets() -> set[str]:
    """Keys whose value may hold a secret: of a group that has one, the group too."""
    found = {"tracing", "tracing.endpoint"}  # an address with a password in it
    for name, field in Settings.model_fields.items():
        if "SecretStr" in str(field.annotation):
            found.add(name)
        for part, inner in getattr(field.annotation, "model_fields", {}).items():
            if "SecretStr" in str(inner.annotation):
                found |= {name, f"{name}.{part}"}
    return found


def _read_file(config_path: Path | None) -> tuple[Path, dict[str, Any]]:
    """The settings file and what is in it. Raises PawlError: it can't be read."""
    path = config_path or Path("pawl.toml")
    try:
        is_there = path.exists()
    except OSError:  # in a folder that may not be entered
        is_there = config_path is not None
    if not is_there:
        if config_path is None:
            return path, {}
        raise PawlError(f"settings file {path} is not there", do="Check the path after --config")
    try:
        return path, tomllib.loads(path.read_text("utf-8"))
    except OSError as err:
        raise PawlError(
            f"settings file {path} can't be read", err.strerror or str(err), "Check the path"
        ) from err
    except UnicodeDecodeError as err:
        raise PawlError(f"{path} is not UTF-8", str(err), "Save it as UTF-8") from err
    except tomllib.TOMLDecodeError as err:
        raise PawlError(f"{path} is not TOML", str(err), "Mend that line") from err


def origins(
    flags: Mapping[str, Any] | None = None, *, config_path: Path | None = None
) -> dict[str, str]:
    """Where the value of each setting comes from that has not its default, by its full key: "the
    command line", "PAWL_ENGINE__MAX_LORAS", or the file's name. Arguments as ``load_settings``."""
    path, from_file = _read_file(config_path)
    found = {key: path.name for key, _ in flat(from_file)}
    for key, _ in flat(EnvSettingsSource(Settings)()):
        found[key] = f"PAWL_{key.replace('.', '__').upper()}"
    return found | {key: "the command line" for key, _ in flat(_without_none(flags or {}))}


def shared_settings(settings: Settings) -> dict[str, Any]:
    """The settings that a night beside a server takes over from it, as JSON; no secrets, but
    whether the judge has a key; and paths are absolute, since the two may have been started in
    different folders."""
    groups = {"model", "model_revision", "split_salt", "engine", "train", "gate", "promotion",
              "curation", "schedule", "judge", "monitoring"}  # fmt: skip
    values = settings.model_dump(mode="json", include=groups, exclude={"judge": {"api_key"}})
    values["judge"]["has_api_key"] = settings.judge.api_key is not None
    for group, key in ((values, "model"), (values["gate"], "suite"), (values["gate"], "data_dir")):
        if group[key] is None or group[key] in BUILT_IN:
            continue
        path = Path(group[key]).expanduser()
        if path.exists():
            group[key] = str(path.absolute())
    return values


def flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings of a nested mapping under their full keys: ``gate.margin``."""
    for group, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{group}.{key}", sub) for key, sub in value.items())
        else:
            yield group, value


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            value = _without_none(value)
            if not value:
                continue
        if value is not None:
            kept[key] = value
    return kept


def _unknown(key: str) -> str:
    return f"it is called {RENAMED[key]} now" if key in RENAMED else "no such setting"


def _unknown_environment() -> list[str]:
    """What is wrong with variables that begin with PAWL_: they name no setting (pydantic-settings
    ignores those), or a group of settings and hold no JSON."""
    known, groups = set(), set()
    for name, field in Settings.model_fields.items():
        known.add(f"PAWL_{name}".upper())
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            groups.add(f"PAWL_{name}".upper())
            known |= {f"PAWL_{name}__{sub}".upper() for sub in field.annotation.model_fields}
    problems = []
    for key, value in os.environ.items():
        if key.upper().startswith("PAWL_") and key.upper() not in known:
            name = key.removeprefix("PAWL_").lower().replace("__", ".")
            problems.append(f"{key}: {_unknown(name)}")
        elif key.upper() in groups and not _is_json(value):
            problems.append(
                f"{key}: it names a group of settings, each of which is {key.upper()}__NAME"
            )
    return problems


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
