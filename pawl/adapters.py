"""LoRA adapters on disk: an immutable folder whose manifest, written last, makes it whole.

adapter_config.json         PEFT's own
adapter_model.safetensors   PEFT's own
probe.json                  what this adapter answers, to recognise it when it is live
manifest.json               base, recipe, hashes; written last
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pawl.errors import PawlError, short
from pawl.files import open_regular, parse_json, read_regular, sha256_file, sha256_json, write_json
from pawl.models import BaseModel
from pawl.schemas import utc_now
from pawl.weights import read_weights

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
PROBE = "probe.json"
MANIFEST = "manifest.json"
CHECKPOINTS = "checkpoints"  # of a training that is not done: a folder in its work folder
FORMAT = 1
FILES = (CONFIG, WEIGHTS, PROBE, MANIFEST)  # all that an adapter is; anything else stays behind

# Features of PEFT that the engine ignores or refuses: with them it would serve another model than
# the one that was scored (vLLM 0.32, vllm/lora/peft_helper.py).
_UNSERVED = (
    "modules_to_save", "use_dora", "lora_bias", "alora_invocation_tokens", "layer_replication",
    "use_bdlora", "use_qalora", "rank_pattern", "alpha_pattern", "target_parameters",
    "trainable_token_indices", "fan_in_fan_out",
)  # fmt: skip
# Starting weights that leave the base as it is; others (PiSSA, OLoRA, LoftQ) change it in training.
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal")
# By dtype: an integer as wide, the bits of the exponent (all set in NaN and infinity), and the
# least exponent of a number that no training writes: 65,536, beyond float16. Products of such
# numbers overflow in the engine, and one NaN spoils every answer of its batch.
_EXPONENTS = {
    "F32": ("<u4", 0x7F800000, (127 + 16) << 23),
    "F16": ("<u2", 0x7C00, 0x7C00),
    "BF16": ("<u2", 0x7F80, (127 + 16) << 7),
}
_MOST_ALPHA = 65_536
_MOST_JSON_BYTES = 64_000_000  # of probe, manifest, configuration
_MOST_HEADER_BYTES = 16_000_000  # a tensor takes some 150
_CHUNK_BYTES = 16_000_000  # of weights in memory at once
# What is wrong with the file itself; any other error is the disk's, and may pass.
_FILES_OWN_ERRORS = (errno.ENOENT, errno.EINVAL, errno.EFBIG, errno.ELOOP, errno.ENOTDIR)

Refuse = Callable[..., PawlError]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ProbePosition:
    """One next-token distribution after a fixed prefix.

    ``logprobs`` are the adapter's natural-log probabilities by token id (the 20 likeliest under
    the adapter), as transformers + PEFT computed them at the end of training;
    ``base_logprobs`` the base's for the same ids.
    """

    prefix_ids: list[int]
    logprobs: dict[int, float]
    base_logprobs: dict[int, float]


@dataclass(frozen=True, slots=True)
class AdapterManifest:
    """What an adapter is and how it came to be."""

    base_model: str
    base_fingerprint: str
    rank: int
    target_modules: list[str]
    files_sha256: dict[str, str]
    created_at: str
    recipe: dict[str, Any] = field(default_factory=dict)  # snapshot, method, settings, versions...
    format: int = FORMAT
    probe_next_sha256: str | None = None  # while positions are erased from the probe record

    @property
    def fingerprint(self) -> str:
        """``sha256:...`` over the weights and the PEFT configuration."""
        return "sha256:" + sha256_json({k: self.files_sha256[k] for k in (CONFIG, WEIGHTS)})


def snapshots_of(recipe: Mapping[str, Any]) -> list[str]:
    """The snapshots that an adapter learned from: those of the champion from which its training
    began, oldest first, and its own."""
    own = (recipe.get("snapshot") or {}).get("snapshot_id")
    before = (recipe.get("start") or {}).get("snapshots") or []
    return [str(one) for one in (*before, own) if one]


def write_probe(adapter_dir: Path, positions: list[ProbePosition]) -> None:
    """Write ``probe.json`` (before the manifest, which hashes it); at least one position."""
    assert positions, "an adapter without a record is not told from its base"
    write_json(adapter_dir / PROBE, [asdict(position) for position in positions])


def read_probe(adapter_dir: Path) -> list[ProbePosition]:
    """Read ``probe.json``; one with other things than numbers is refused. It has no positions where
    all came after texts that were erased since."""
    try:
        positions = [
            ProbePosition(
                [int(one) for one in entry["prefix_ids"]],
                {int(k): float(v) for k, v in entry["logprobs"].items()},
                {int(k): float(v) for k, v in entry["base_logprobs"].items()},
            )
            for entry in _entries(adapter_dir / PROBE)
        ]
        for one in positions:
            if not one.prefix_ids or min(one.prefix_ids) < 0:
                raise ValueError("a prefix is empty or holds a negative token id")
            if not one.logprobs or one.logprobs.keys() != one.base_logprobs.keys():
                raise ValueError("adapter and base have not the same token ids")
            if not all(map(math.isfinite, [*one.logprobs.values(), *one.base_logprobs.values()])):
                raise ValueError("a log-probability is not finite")
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError) as err:
        why = f"{type(err).__name__}: {err}"
        raise _bad(f"adapter {adapter_dir.name}: {PROBE} can't be used", why) from err
    return positions


def _entries(path: Path) -> list[dict[str, Any]]:
    entries = _read(path)
    if not isinstance(entries, list):
        raise ValueError("it is no list of positions")
    return entries


def write_manifest(
    adapter_dir: Path, *, base_model: str, base_fingerprint: str, recipe: dict[str, Any]
) -> AdapterManifest:
    """Hash the folder's files and write the manifest: from here on the adapter is whole."""
    config = _read(adapter_dir / CONFIG)
    modules = config["target_modules"]
    manifest = AdapterManifest(
        base_model=base_model,
        base_fingerprint=base_fingerprint,
        rank=int(config["r"]),
        target_modules=[modules] if isinstance(modules, str) else sorted(modules),
        files_sha256={n: sha256_file(adapter_dir / n) for n in (CONFIG, WEIGHTS, PROBE)},
        created_at=utc_now(),
        recipe=recipe,
    )
    write_json(adapter_dir / MANIFEST, asdict(manifest))
    return manifest


def read_manifest(adapter_dir: Path) -> AdapterManifest:
    """Read the manifest; an adapter without one was never finished."""
    if not (adapter_dir / MANIFEST).exists():
        why = "its training never finished, or the folder is no adapter of Pawl's"
        raise _bad(f"adapter {adapter_dir.name} has no manifest", why)
    try:
        manifest = AdapterManifest(**_read(adapter_dir / MANIFEST))
        if set(manifest.files_sha256) != {CONFIG, WEIGHTS, PROBE}:
            raise TypeError(f"files_sha256 must name {CONFIG}, {WEIGHTS} and {PROBE}")
        if not isinstance(manifest.base_fingerprint, str) or not isinstance(manifest.recipe, dict):
            raise TypeError("base_fingerprint must be text and recipe an object")
    except (TypeError, PawlError) as err:
        if isinstance(err, PawlError) and err.retryable:
            raise
        what = f"adapter {adapter_dir.name} has a manifest that can't be read"
        raise _bad(what, str(err), "Train it again with this version") from err
    if manifest.format != FORMAT:
        what = f"adapter {adapter_dir.name} has manifest format {manifest.format}"
        raise _bad(what, f"this version reads format {FORMAT}")
    return manifest


def validate_adapter(adapter_dir: Path, *, base: BaseModel, max_rank: int) -> AdapterManifest:
    """Check all that can be checked before an engine sees the adapter.

    Plain files in a plain folder, manifest and hashes, base, PEFT configuration, rank, keys (an A
    and a B for each module, nothing else), shapes against the base's own weights, every number
    finite, a probe that can be used. vLLM loads an adapter of NaN or of a wrong shape without a
    word and answers nonsense.

    Args:
        adapter_dir: the folder.
        base: the base model that the server runs.
        max_rank: the engine's ``--max-lora-rank``.

    Raises:
        PawlError: the first check that failed (``code="bad_adapter"``), or the disk did
            (``retryable``).
        OSError: the disk failed.
    """

    def refuse(what: str, why: str, do: str = "Train it again") -> PawlError:
        return PawlError(f"adapter {adapter_dir.name}: {what}", why, do, code="bad_adapter")

    if adapter_dir.is_symlink() or not adapter_dir.is_dir():
        raise refuse(
            "it is no folder of its own",
            "links and files can change behind one's back",
            "Give the folder itself",
        )
    for name in FILES:
        path = adapter_dir / name
        if path.is_symlink() or (path.exists() and not stat.S_ISREG(path.lstat().st_mode)):
            raise refuse(
                f"{name} is no plain file",
                "it can change behind one's back",
                "Copy the files themselves into the folder",
            )
    manifest = read_manifest(adapter_dir)
    if manifest.base_fingerprint != base.fingerprint:
        raise refuse(
            f"it was trained on {manifest.base_model} ({manifest.base_fingerprint[:19]})",
            f"the server runs {base.name} ({base.fingerprint[:19]})",
            "Start the server with that base, or train on this one",
        )
    weights = read_weights(base.model_dir)
    if weights.broken or weights.missing:
        why = "; ".join([*weights.missing, *weights.broken.values()])
        raise _unreadable(f"the weights of {base.name} can't be read", why)
    layers = weights.shapes
    largest = sum(4 * max_rank * sum(one) for one in layers.values() if len(one) == 2)
    for name, expected in manifest.files_sha256.items():
        path = adapter_dir / name
        if not path.exists():
            raise refuse(f"{name} is missing", "the manifest names it")
        most = largest + _MOST_HEADER_BYTES if name == WEIGHTS else _MOST_JSON_BYTES
        if (size := path.stat().st_size) > most:  # before it is read at all
            raise refuse(
                f"{name} has {size:,} bytes", f"no adapter of {base.name} has over {most:,}"
            )
        next_one = manifest.probe_next_sha256 if name == PROBE else None
        if sha256_file(path) not in (expected, next_one):
            raise refuse(f"{name} has changed", "its hash is not the manifest's")
    rank = _check_config(adapter_dir, max_rank, refuse)
    with open_regular(adapter_dir / WEIGHTS) as file:
        tensors = _read_header(file, refuse)
        _check_shapes({key: one.shape for key, one in tensors.items()}, rank, layers, base, refuse)
        _check_numbers(file, tensors, refuse)
    read_probe(adapter_dir)
    return manifest


def _check_config(adapter_dir: Path, max_rank: int, refuse: Refuse) -> int:
    """Check PEFT's configuration; its rank."""
    config = _read(adapter_dir / CONFIG)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise refuse("it is not a LoRA", "the engine serves LoRA weights only")
    unserved = [name for name in _UNSERVED if config.get(name)]
    if config.get("bias", "none") != "none":
        unserved.append("bias")
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower() not in _PLAIN_STARTS:
        unserved.append("init_lora_weights")
    if unserved:
        raise refuse(
            f"it uses {', '.join(unserved)}",
            "the engine serves plain LoRA only",
            "Train it without",
        )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise refuse(f"rank {short(rank)}", "a rank is a whole number above 0")
    is_number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
    if not is_number or alpha is None or not 0 < alpha <= _MOST_ALPHA:
        why = f"it must be a number above 0, {_MOST_ALPHA:,} at most"
        raise refuse(f"lora_alpha {short(alpha)}", why)
    if rank > max_rank:
        raise refuse(
            f"rank {short(rank)}",
            f"the engine was started with at most {max_rank}",
            "Raise engine.max_lora_rank or train with a lower train.lora_rank",
        )
    return rank


def _check_shapes(
    shapes: dict[str, Shape], rank: int, layers: dict[str, Shape], base: BaseModel, refuse: Refuse
) -> None:
    """Every tensor is half of a pair that fits a linear layer of the base."""
    if not shapes:
        raise refuse("it holds no weights", "there is nothing to add to the base")
    for key, shape in shapes.items():
        side = next((one for one in ("lora_A", "lora_B") if key.endswith(f".{one}.weight")), None)
        if side is None:
            raise refuse(f"unexpected tensor {key}", "only lora_A and lora_B weights belong here")
        layer = key.removeprefix("base_model.model.").replace(f".{side}.weight", ".weight")
        if ".layers." not in layer or len(layers.get(layer, ())) != 2:
            raise refuse(
                f"{key} belongs to no linear layer of {base.name}",
                f"the base has no {layer} that an adapter may change",
            )
        n_out, n_in = layers[layer]
        expected = (rank, n_in) if side == "lora_A" else (n_out, rank)
        if shape != expected:
            raise refuse(f"{key} has shape {list(shape)}", f"the base needs {list(expected)}")
        other = "lora_B" if side == "lora_A" else "lora_A"
        if key.replace(side, other) not in shapes:
            raise refuse(f"{key} has no {other}", "A and B come in pairs")


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor's dtype and shape, and where its bytes begin and end in the file."""

    dtype: str
    shape: Shape
    begin: int
    end: int


def _read_header(file: BinaryIO, refuse: Refuse) -> dict[str, _Tensor]:
    """What a safetensors file holds: 8 bytes of the header's length, the header in JSON, then the
    tensors without a gap. Reads the header only."""
    size = os.fstat(file.fileno()).st_size
    try:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _MOST_HEADER_BYTES):
            raise ValueError(f"a header of {length:,} bytes")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        tensors = {key: _tensor(one, 8 + length) for key, one in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        why = f"{type(err).__name__}: {err}"
        raise refuse(f"{WEIGHTS} is not whole safetensors", why) from err
    place = 8 + length
    for key, one in sorted(tensors.items(), key=lambda item: item[1].begin):
        if one.begin != place:
            raise refuse(f"{WEIGHTS} is not whole safetensors", f"{short(key)} lies elsewhere")
        place = one.end
    if place != size:
        why = f"its tensors end at {place:,}, the file at {size:,} bytes"
        raise refuse(f"{WEIGHTS} is not whole safetensors", why)
    return tensors


def _tensor(entry: Any, first: int) -> _Tensor:
    """Raises ValueError, KeyError or TypeError: the header's entry makes no sense."""
    (begin, end), shape = entry["data_offsets"], tuple(entry["shape"])
    if not all(type(one) is int and one >= 0 for one in (begin, end, *shape)):
        raise ValueError("a size that is no whole number")
    n_bytes = int(_EXPONENTS[entry["dtype"]][0][2:])
    if end - begin != n_bytes * math.prod(shape):
        raise ValueError("a tensor with more or fewer bytes than its shape says")
    return _Tensor(entry["dtype"], shape, first + begin, first + end)


def _check_numbers(file: BinaryIO, tensors: dict[str, _Tensor], refuse: Refuse) -> None:
    """Every number is finite and of a size that training writes. A chunk at a time; numpy knows no
    bfloat16, so the numbers' exponents are looked at."""
    import numpy as np

    for key, one in tensors.items():
        integer, exponent, least_odd = _EXPONENTS[one.dtype]
        file.seek(one.begin)
        for left in range(one.end - one.begin, 0, -_CHUNK_BYTES):
            numbers = np.frombuffer(file.read(min(left, _CHUNK_BYTES)), dtype=integer) & exponent
            largest = int(numbers.max(initial=0))
            if largest == exponent:
                raise refuse(f"{key} holds NaN or infinity", "it would answer nonsense")
            if largest >= least_odd:
                raise refuse(f"{key} holds numbers of 65,536 and more", "it would overflow")


def _bad(what: str, why: str, do: str = "Train it again") -> PawlError:
    return PawlError(what, why, do, code="bad_adapter")


def _unreadable(what: str, why: str) -> PawlError:
    """The disk's fault, which may pass."""
    do = "Mend the disk or its mount; the adapter itself may be whole"
    return PawlError(what, why, do, code="adapter_unreadable", retryable=True)


def _read(path: Path) -> Any:
    """A JSON file of an adapter, in bounded memory."""
    try:
        return parse_json(read_regular(path, _MOST_JSON_BYTES), path)
    except (OSError, PawlError) as err:
        why = err.why if isinstance(err, PawlError) else err.strerror or str(err)
        what = f"adapter {path.parent.name}: {path.name} can't be read"
        if isinstance(err, OSError) and err.errno not in _FILES_OWN_ERRORS:
            raise _unreadable(what, why) from err
        raise _bad(what, why) from err
