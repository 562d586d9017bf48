"""Chooses a night's method and Plan: fewest rows, rates, epochs, batch sizes, LoRA rank, beta.

The shape of the rows decides (training split only; the holdout is never counted):

- too few rows of any kind: no run, with the reason;
- SFT rows and pairs (corrections give both): SFT. Its cross-entropy on the corrections is what
  fixes an answer; a DPO stage after it is there to be asked for (``sft+dpo``). The measurements
  are in ``docs/training-defaults.md``;
- pairs alone (A/B choices): DPO with the SFT term;
- SFT rows alone: SFT;
- unpaired thumbs alone: KTO, when both directions are there.

Every night trains a fresh adapter on the base from all curated rows so far. It costs little, and
a fault that training put into one night's adapter is not handed down to the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pawl.errors import PawlError
from pawl.files import read_json, sha256_json
from pawl.schemas import TrainingRow
from pawl.settings import Settings, TrainSettings
from refine.mixture import check_mixture

Method = Literal["none", "sft", "dpo", "kto", "sft+dpo"]
StageKind = Literal["sft", "dpo", "kto"]
Tuning = Literal["lora", "rslora", "dora", "full"]
KINDS: tuple[StageKind, ...] = ("sft", "dpo", "kto")  # in the order of a plan's stages
ROW_KINDS: dict[StageKind, str] = {"sft": "sft", "dpo": "pair", "kto": "unpaired"}

# Fewer rows than this and the night says so instead of fitting noise. Written answers or pairs; a
# correction counts as both.
MIN_ROWS = 8
MIN_UNPAIRED = 16
MIN_PER_LABEL = 4  # KTO needs both directions

# Replay prompts in an epoch for each row to be learned, and at least; SFT goes over its replay once
# in so many epochs. Measured: docs/training-defaults.md.
REPLAY_RATIO = 0.5
MIN_REPLAY_ROWS = 64
REPLAY_EPOCHS = 8
# A row of replay costs about 0.6 s of a night: 70 tokens trained at 150 a second (2 cores, a model
# of 135M parameters), and the engine writes 32 of them in a tenth.
REPLAY_ROWS_PER_MINUTE = 56
BATCH_SIZES = {"sft": 8, "dpo": 16, "kto": 16}
MIN_KTO_BATCH = 4  # KTO estimates its KL term inside each pass
MAX_EPOCHS = {"sft": 20.0, "dpo": 4.0, "kto": 3.0}


@dataclass(frozen=True, slots=True)
class Stage:
    """One run of one trainer. ``learning_rate`` is the peak, ``batch_size`` counts rows; SFT stops
    before ``n_epochs`` when its rows are learned (``refine/trainer.py``)."""

    kind: StageKind
    learning_rate: float
    n_epochs: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be trained and how; ``method`` "none" when there is nothing to learn from.

    ``max_length_tokens`` None: the model's own maximum, 4,096 at most. ``n_replay_rows`` is how
    many replay prompts are drawn; SFT takes them in ``REPLAY_EPOCHS`` parts. ``beta`` is the
    strength of DPO's and KTO's pull to the reference. ``patience_evals``: with enough
    validation rows (``refine.trainer``) DPO and KTO stop after as many evaluations (one an epoch)
    without a better loss of these. ``max_minutes`` bounds all stages together; of what is left of
    it each has an equal share with those that follow. ``trainer``: of an installed package, which
    changes how the stages train (``pawl/protocols.py``). ``start`` "champion": from the job's,
    where it has its shape. ``served_rank``: of the LoRA that what was trained is served as, where
    it is none itself (``refine/weights.py``).
    """

    method: Method
    reason: str
    counts: dict[str, int]
    stages: tuple[Stage, ...] = ()
    n_replay_rows: int = 0
    max_minutes: float = 20.0
    max_length_tokens: int | None = None
    mixture: dict[str, float] = field(default_factory=dict)
    domain_weighting: bool = False
    trainer: str | None = None
    tuning: Tuning = "lora"
    start: str = "base"
    served_rank: int | None = None
    last_layers: int | None = None
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    neftune_alpha: float = 0.0
    beta: float = 0.1
    patience_evals: int = 2
    n_threads: int | None = None
    seed: int = 0
    load_in_4bit: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Plan:
        """The plan that ``as_json`` wrote; unknown keys are a PawlError."""
        try:
            stages = tuple(Stage(**stage) for stage in value.pop("stages", ()))
            return cls(stages=stages, **value)
        except TypeError as err:
            raise PawlError(
                "the training plan has another shape",
                str(err),
                "Make the plan again with this version",
            ) from err


SERVED_AS_LORA = ("dora", "full")  # tunings that leave no LoRA

# What a plan has as it is set.
AS_SET = sorted(
    ({one.name for one in fields(Plan)} & TrainSettings.model_fields.keys())
    - {"method", "n_replay_rows", "mixture"}
)


def choose(
    rows: Sequence[TrainingRow], settings: Settings, *, hidden_size: int | None = None
) -> Plan:
    """Choose method and hyper-parameters for the rows of a snapshot.

    Args:
        rows: all rows of the snapshot; only the training split is counted.
        settings: ``settings.train`` overrides what is chosen here.
        hidden_size: the base's width, for the learning rate (``hidden_size_of``); 2,048 if not
            given.

    Raises:
        PawlError: ``settings.train.method`` forces a method that these rows can't support, or
            another setting has no meaning in the method, or ``train.mixture`` does not fit the
            rows.
    """
    counts = _count(rows)
    forced = settings.train.method
    if forced == "auto":
        method, reason = _by_shape(counts)
    else:
        problem = _lacks(forced, counts)
        if problem:
            raise PawlError(
                f"training method {forced!r} was asked for",
                problem,
                "Gather more feedback, or set train.method to 'auto'",
            )
        method, reason = forced, "train.method asks for it"
    if method == "none":
        return Plan("none", reason, counts, seed=settings.train.seed)
    kinds = [kind for kind in KINDS if kind in method.split("+")]
    train = settings.train
    _check_stages(train, kinds, method)
    for kind in kinds if train.mixture else []:
        trained = [row for row in rows if row.split == "train" and row.kind == ROW_KINDS[kind]]
        check_mixture(trained, train.shares)
    n_replay = train.n_replay_rows
    return Plan(
        method,
        reason,
        counts,
        stages=tuple(_stage(kind, settings, hidden_size or 2048) for kind in kinds),
        n_replay_rows=(
            _replay_rows(kinds[0], counts, train.max_minutes) if n_replay is None else n_replay
        ),
        mixture=train.shares,
        served_rank=settings.engine.max_lora_rank if train.tuning in SERVED_AS_LORA else None,
        **{name: getattr(train, name) for name in AS_SET},
    )


def _check_stages(train: TrainSettings, kinds: Sequence[StageKind], method: str) -> None:
    """Raises PawlError: a setting has no meaning in any stage of this method, or in its tuning."""
    if train.tuning == "full" and train.lora_dropout:
        raise PawlError(
            f"train.lora_dropout = {train.lora_dropout:g} was asked for",
            "train.tuning 'full' trains the layers themselves, and only a LoRA has it",
            "Set it to 0, or train.tuning to 'lora'",
        )
    if train.start == "champion" and train.tuning in SERVED_AS_LORA:
        raise PawlError(
            f"train.start = 'champion' was asked for with train.tuning = {train.tuning!r}",
            "the champion is served as a LoRA, of which no such training can begin",
            "Set train.start to 'base', or train.tuning to 'lora' or 'rslora'",
        )
    if train.load_in_4bit and train.tuning in SERVED_AS_LORA:
        raise PawlError(
            f"train.load_in_4bit was asked for with train.tuning = {train.tuning!r}",
            "what it leaves is measured against the layers' own weights, which 4 bits round",
            "Set train.tuning to 'lora' or 'rslora', or train.load_in_4bit to false",
        )
    for name in ("label_smoothing", "neftune_alpha"):
        value = getattr(train, name)
        if value and "sft" not in kinds:
            raise PawlError(
                f"train.{name} = {value:g} was asked for",
                f"these rows are trained by {method}, and only SFT has it",
                "Set it to 0, or train.method to 'sft'",
            )
    if "kto" in kinds and train.batch_size is not None and train.batch_size < MIN_KTO_BATCH:
        raise PawlError(
            f"train.batch_size = {train.batch_size} was asked for",
            f"these rows are trained by kto, which estimates its KL term inside a batch: "
            f"{MIN_KTO_BATCH} rows are the fewest",
            f"Set it to {MIN_KTO_BATCH} or more, or leave it out",
        )


def hidden_size_of(model_dir: Path) -> int:
    """The width of the model in this folder, from its ``config.json``."""
    return int(_text_config(model_dir)["hidden_size"])


def n_layers_of(model_dir: Path) -> int:
    """How many layers the model in this folder has."""
    return int(_text_config(model_dir)["num_hidden_layers"])


def _text_config(model_dir: Path) -> dict[str, Any]:
    config = read_json(model_dir / "config.json")
    return dict(config.get("text_config") or config)


def _count(rows: Sequence[TrainingRow]) -> dict[str, int]:
    """Rows of the training and validation split by kind, synthetic ones aside; unpaired ones also
    by label, and of the pairs how many are a choice alone, not the twin of a correction's written
    answer."""
    found: Counter[str] = Counter()
    written = {
        sha256_json([row.prompt, row.completion])
        for row in rows
        if row.kind == "sft" and row.split == "train"
    }
    for row in rows:
        if row.is_synthetic or (row.has_tools and row.kind != "sft"):
            continue  # DPO and KTO leave tools out (refine.datasets)
        if row.split == "train":
            found[row.kind] += 1
            if row.kind == "pair":
                found["choice"] += sha256_json([row.prompt, row.chosen]) not in written
            if row.kind == "unpaired":
                found["liked" if row.label else "disliked"] += 1
        elif row.split == "validation":
            found["validation"] += 1
    keys = ("sft", "pair", "choice", "unpaired", "liked", "disliked", "validation")
    return {key: found[key] for key in keys}


def _by_shape(counts: dict[str, int]) -> tuple[Method, str]:
    n_sft, n_pairs = counts["sft"], counts["pair"]
    if n_sft >= MIN_ROWS:
        unused = (
            f"; {counts['choice']} preference pairs without a written answer are not used "
            "(train.method 'sft+dpo' takes all pairs too)"
            if counts["choice"]
            else ""
        )
        return "sft", f"{n_sft} written answers to learn from{unused}"
    if n_pairs >= MIN_ROWS:
        return "dpo", f"{n_pairs} preference pairs and only {n_sft} written answers"
    if not _lacks("kto", counts):
        return (
            "kto",
            f"{counts['liked']} liked and {counts['disliked']} disliked answers, no written ones; "
            "the gate needs corrections or preferences in the holdout to promote what comes of it",
        )
    return "none", (
        f"nothing to learn from: {n_sft} written answers and {n_pairs} preference pairs "
        f"({MIN_ROWS} of either are needed), {counts['liked']} liked and {counts['disliked']} "
        f"disliked answers ({MIN_UNPAIRED} together, {MIN_PER_LABEL} of each, are needed)"
    )


def _lacks(method: str, counts: dict[str, int]) -> str:
    """Why the rows can't support the method; empty when they can."""
    if method in ("sft", "sft+dpo") and counts["sft"] < MIN_ROWS:
        return f"the snapshot has {counts['sft']} written answers, {MIN_ROWS} are needed"
    if method in ("dpo", "sft+dpo") and counts["pair"] < MIN_ROWS:
        return f"the snapshot has {counts['pair']} preference pairs, {MIN_ROWS} are needed"
    if method == "kto":
        fewer = min(counts["liked"], counts["disliked"])
        if counts["unpaired"] < MIN_UNPAIRED or fewer < MIN_PER_LABEL:
            return (
                f"the snapshot has {counts['liked']} liked and {counts['disliked']} disliked "
                f"answers, {MIN_UNPAIRED} together and {MIN_PER_LABEL} of each are needed"
            )
    return ""


def _stage(kind: StageKind, settings: Settings, hidden_size: int) -> Stage:
    train = settings.train
    return Stage(
        kind,
        learning_rate=(
            _learning_rate(kind, hidden_size, train.tuning)
            if train.learning_rate is None
            else train.learning_rate
        ),
        n_epochs=MAX_EPOCHS[kind] if train.n_epochs is None else train.n_epochs,
        batch_size=BATCH_SIZES[kind] if train.batch_size is None else train.batch_size,
    )


def _learning_rate(kind: StageKind, hidden_size: int, tuning: Tuning) -> float:
    """Peak learning rate on a model of this width.

    5e-5 * 10 * (2000 / hidden_size) ** 0.781 is the fit for Llama in "LoRA Without Regret"
    (Schulman et al., 2025). SFT takes three quarters of it: twice as much learned the same rows
    and broke more else (``docs/training-defaults.md``). Preference losses take half. Whole weights
    take a tenth (the same source).
    """
    fit = (5e-5 if tuning == "full" else 5e-4) * (2000 / hidden_size) ** 0.781
    return float(f"{0.75 * fit if kind == 'sft' else fit / 2:.2g}")


def _replay_rows(first: StageKind, counts: dict[str, int], max_minutes: float) -> int:
    """As many as the rows to be learned call for, and the time allows."""
    n_rows = {"sft": counts["sft"], "dpo": counts["pair"], "kto": counts["unpaired"]}[first]
    n_epochs = REPLAY_EPOCHS if first == "sft" else 1
    wanted = n_epochs * max(MIN_REPLAY_ROWS, round(REPLAY_RATIO * n_rows))
    return min(wanted, round(REPLAY_ROWS_PER_MINUTE * max_minutes))
