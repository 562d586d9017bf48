"""LoRA adapters on disk: an immutable folder whose manifest, written last, makes it whole.

adapter_config.json         PEFT's own
adapter_model.safetensors   PEFT's own
probe.json                  what this adapter answers, to recognise it when it is live
manifest.json               base, recipe, hashes; written last
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pawl.errors import PawlError
from pawl.files import read_json, sha256_file, sha256_json, write_json
from pawl.records import utc_now

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
PROBE = "probe.json"
MANIFEST = "manifest.json"
FORMAT = 1


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

    @property
    def fingerprint(self) -> str:
        """``sha256:...`` over the weights and the PEFT configuration."""
        return "sha256:" + sha256_json({k: self.files_sha256[k] for k in (CONFIG, WEIGHTS)})


def write_probe(adapter_dir: Path, positions: list[ProbePosition]) -> None:
    """Write ``probe.json`` (before the manifest, which hashes it)."""
    write_json(adapter_dir / PROBE, [asdict(position) for position in positions])


def read_probe(adapter_dir: Path) -> list[ProbePosition]:
    """Read ``probe.json``."""
    return [
        ProbePosition(
            one["prefix_ids"],
            {int(k): v for k, v in one["logprobs"].items()},
            {int(k): v for k, v in one["base_logprobs"].items()},
        )
        for one in read_json(adapter_dir / PROBE)
    ]


def write_manifest(
    adapter_dir: Path, *, base_model: str, base_fingerprint: str, recipe: dict[str, Any]
) -> AdapterManifest:
    """Hash the folder's files and write the manifest: from here on the adapter is whole."""
    config = read_json(adapter_dir / CONFIG)
    manifest = AdapterManifest(
        base_model=base_model,
        base_fingerprint=base_fingerprint,
        rank=int(config["r"]),
        target_modules=sorted(config["target_modules"]),
        files_sha256={n: sha256_file(adapter_dir / n) for n in (CONFIG, WEIGHTS, PROBE)},
        created_at=utc_now(),
        recipe=recipe,
    )
    write_json(adapter_dir / MANIFEST, asdict(manifest))
    return manifest


def read_manifest(adapter_dir: Path) -> AdapterManifest:
    """Read the manifest; an adapter without one was never finished."""
    if not (adapter_dir / MANIFEST).exists():
        raise PawlError(
            f"adapter {adapter_dir.name} has no manifest",
            "its training never finished, or the folder is no adapter of Pawl's",
            "Train it again",
            code="bad_adapter",
        )
    try:
        manifest = AdapterManifest(**read_json(adapter_dir / MANIFEST))
    except TypeError as err:
        raise PawlError(
            f"adapter {adapter_dir.name} has a manifest of another shape",
            str(err),
            "Train it again with this version",
            code="bad_adapter",
        ) from err
    if manifest.format != FORMAT:
        raise PawlError(
            f"adapter {adapter_dir.name} has manifest format {manifest.format}",
            f"this version reads format {FORMAT}",
            "Train it again",
            code="bad_adapter",
        )
    return manifest


def validate_adapter(
    adapter_dir: Path, *, base_fingerprint: str, base_config: dict[str, Any], max_rank: int
) -> AdapterManifest:
    """Check all that can be checked before an engine sees the adapter.

    Manifest and hashes, base, rank, PEFT type, keys (an A and a B for each module, nothing else),
    shapes against the base's ``config.json``, and that every number is finite. vLLM loads an
    adapter of NaN or of a wrong shape without a word and answers nonsense.

    Raises:
        PawlError: the first check that failed (``code="bad_adapter"``).
    """
    manifest = read_manifest(adapter_dir)

    def refuse(what: str, why: str, do: str = "Train it again") -> PawlError:
        return PawlError(f"adapter {adapter_dir.name}: {what}", why, do, code="bad_adapter")

    for name, expected in manifest.files_sha256.items():
        path = adapter_dir / name
        if not path.exists():
            raise refuse(f"{name} is missing", "the manifest names it")
        if sha256_file(path) != expected:
            raise refuse(f"{name} has changed", "its hash is not the manifest's")
    if manifest.base_fingerprint != base_fingerprint:
        raise refuse(
            f"it was trained on {manifest.base_model} ({manifest.base_fingerprint[:19]})",
            f"the server runs another base ({base_fingerprint[:19]})",
            "Start the server with that base, or train on this one",
        )
    config = read_json(adapter_dir / CONFIG)
    if config.get("peft_type") != "LORA" or config.get("modules_to_save"):
        raise refuse("it is not a plain LoRA", "the engine serves LoRA weights only")
    rank = int(config["r"])
    if rank > max_rank:
        raise refuse(
            f"rank {rank}",
            f"the engine was started with at most {max_rank}",
            "Raise engine.max_lora_rank or train with a lower train.lora_rank",
        )
    shapes = _read_tensors(adapter_dir / WEIGHTS, refuse)
    _check_shapes(shapes, rank, base_config, refuse)
    return manifest


def _check_shapes(
    shapes: dict[str, tuple[int, ...]], rank: int, base: dict[str, Any], refuse: Any
) -> None:
    hidden, heads = int(base["hidden_size"]), int(base["num_attention_heads"])
    head = int(base.get("head_dim") or hidden // heads)
    kv = int(base.get("num_key_value_heads") or heads) * head
    inner = int(base["intermediate_size"])
    widths = {  # module: (in, out)
        "q_proj": (hidden, heads * head),
        "k_proj": (hidden, kv),
        "v_proj": (hidden, kv),
        "o_proj": (heads * head, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }
    n_layers = int(base["num_hidden_layers"])
    pairs: dict[str, set[str]] = {}
    for key, shape in shapes.items():
        parts = key.split(".")
        side = next((p for p in parts if p in ("lora_A", "lora_B")), None)
        if side is None or parts[-1] != "weight":
            raise refuse(f"unexpected tensor {key}", "only lora_A and lora_B weights belong here")
        module = parts[parts.index(side) - 1]
        if module not in widths:
            raise refuse(f"unexpected module {module}", f"adapters live on {', '.join(widths)}")
        layer = parts[parts.index("layers") + 1] if "layers" in parts[:-1] else ""
        if not layer.isdigit() or int(layer) >= n_layers:
            raise refuse(f"tensor {key} is on no layer", f"the base has {n_layers} layers")
        n_in, n_out = widths[module]
        expected = (rank, n_in) if side == "lora_A" else (n_out, rank)
        if shape != expected:
            raise refuse(f"{key} has shape {list(shape)}", f"the base needs {list(expected)}")
        pairs.setdefault(key.replace(side, "lora_?"), set()).add(side)
    if not pairs:
        raise refuse("it holds no weights", "there is nothing to add to the base")
    for key, sides in pairs.items():
        if sides != {"lora_A", "lora_B"}:
            raise refuse(f"{key} has only {sides.pop()}", "A and B come in pairs")


def _read_tensors(path: Path, refuse: Any) -> dict[str, tuple[int, ...]]:
    """Shapes by key, after checking that every number is finite. Reads the file itself: the
    format is a length, a JSON header and raw little-endian numbers, and numpy knows no bfloat16."""
    import numpy as np

    raw = path.read_bytes()
    try:
        (n_header,) = struct.unpack("<Q", raw[:8])
        header = json.loads(raw[8 : 8 + n_header])
        header.pop("__metadata__", None)
        shapes: dict[str, tuple[int, ...]] = {}
        for key, one in header.items():
            begin, end = (8 + n_header + offset for offset in one["data_offsets"])
            width = {"F32": 4, "F16": 2, "BF16": 2}[one["dtype"]]
            if end > len(raw) or end - begin != math.prod(one["shape"]) * width:
                raise ValueError(f"{key} is cut short")
            numbers = np.frombuffer(raw[begin:end], dtype="<u2" if width == 2 else "<u4")
            mask, bits = {
                "F32": ("<u4", 0x7F800000),
                "F16": ("<u2", 0x7C00),
                "BF16": ("<u2", 0x7F80),
            }[one["dtype"]]
            exponent = np.array(bits, dtype=mask)
            if bool(((numbers & exponent) == exponent).any()):
                raise refuse(f"{key} holds NaN or infinity", "it would answer nonsense")
            shapes[key] = tuple(one["shape"])
    except (struct.error, json.JSONDecodeError, UnicodeDecodeError, KeyError, ValueError) as err:
        raise refuse(f"{path.name} is not whole safetensors", str(err)) from err
    return shapes
