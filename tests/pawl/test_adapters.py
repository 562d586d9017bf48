"""An adapter is offered to the engine only when every check before it has passed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pawl.adapters import (
    CONFIG,
    MANIFEST,
    PROBE,
    ProbePosition,
    read_manifest,
    read_probe,
    validate_adapter,
    write_manifest,
    write_probe,
)
from pawl.errors import PawlError
from pawl.files import read_json, write_json
from pawl.models import BaseModel
from tests.adapters_for_tests import SPOILT, light_adapter, light_base, light_tensors


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return light_base(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="module")
def whole(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return light_adapter(tmp_path_factory.mktemp("adapters") / "good", base)


@pytest.fixture
def adapter(whole: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(whole, tmp_path / "adapter"))


def refusal(adapter_dir: Path, base: BaseModel, max_rank: int = 16) -> str:
    with pytest.raises(PawlError) as caught:
        validate_adapter(adapter_dir, base=base, max_rank=max_rank)
    assert caught.value.code == "bad_adapter"
    return str(caught.value)


def test_a_good_adapter_passes_and_its_manifest_tells_its_fingerprint(
    adapter: Path, base: BaseModel
) -> None:
    manifest = validate_adapter(adapter, base=base, max_rank=4)
    assert manifest.rank == 4
    assert manifest.base_fingerprint == base.fingerprint
    assert manifest == read_manifest(adapter)
    twin = light_adapter(adapter.parent / "twin", base)
    assert read_manifest(twin).fingerprint == manifest.fingerprint
    other = light_adapter(adapter.parent / "other", base, seed=2)
    assert read_manifest(other).fingerprint != manifest.fingerprint


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_adapter_is_refused_with_its_reason(
    name: str, adapter: Path, base: BaseModel
) -> None:
    spoil, words = SPOILT[name]
    spoil(adapter)
    assert words in refusal(adapter, base)


def test_a_rank_above_the_engines_is_refused(adapter: Path, base: BaseModel) -> None:
    assert "rank 4" in refusal(adapter, base, max_rank=3)


def test_links_and_files_are_no_adapter_folders(adapter: Path, base: BaseModel) -> None:
    link = adapter.parent / "link"
    link.symlink_to(adapter)
    assert "no folder of its own" in refusal(link, base)
    assert "no folder of its own" in refusal(adapter / MANIFEST, base)
    assert "no folder of its own" in refusal(adapter.parent / "absent", base)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "probe.json"])
def test_a_missing_file_is_refused(name: str, adapter: Path, base: BaseModel) -> None:
    (adapter / name).unlink()
    assert f"{name} is missing" in refusal(adapter, base)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_type": "IA3"}, "not a LoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
        ({"alpha_pattern": {"q_proj": 64}}, "alpha_pattern"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"r": 0}, "rank 0"),
        ({"r": "4"}, "rank '4'"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"lora_alpha": float("inf")}, "lora_alpha"),
        ({"r": 8}, "the base needs"),
        ({"r": True}, "rank True"),
        ({"r": -4}, "rank -4"),
        ({"r": 10**400}, "rank 1000"),
        *(
            ({"lora_alpha": odd}, "lora_alpha")
            for odd in (1e38, -1, 0, True, 10**400, float("nan"), float("-inf"), "8", [8], 65_537)
        ),
    ],
)
def test_configurations_that_the_engine_would_serve_otherwise_are_refused(
    changes: dict[str, Any], words: str, adapter: Path, base: BaseModel
) -> None:
    write_json(adapter / CONFIG, {**read_json(adapter / CONFIG), **changes})
    manifest = read_json(adapter / MANIFEST)
    from pawl.files import sha256_file

    manifest["files_sha256"][CONFIG] = sha256_file(adapter / CONFIG)
    write_json(adapter / MANIFEST, manifest)
    assert words in refusal(adapter, base)


@pytest.mark.parametrize(
    "harm",
    [
        lambda m: m | {"format": 2},
        lambda m: m | {"surprise": 1},
        lambda m: [m],
        lambda m: m | {"files_sha256": {}},
        lambda m: m | {"files_sha256": None},
        lambda m: m | {"files_sha256": m["files_sha256"] | {"../../x": "0"}},
        lambda m: m | {"base_fingerprint": None},
        lambda m: m | {"recipe": "secret"},
        lambda m: {k: v for k, v in m.items() if k != "rank"},
    ],
)
def test_a_manifest_of_another_shape_is_refused(
    harm: Callable[[Any], Any], adapter: Path, base: BaseModel
) -> None:
    write_json(adapter / MANIFEST, harm(read_json(adapter / MANIFEST)))
    assert "manifest" in refusal(adapter, base)


def test_a_manifest_that_is_no_json_is_refused(adapter: Path, base: BaseModel) -> None:
    (adapter / MANIFEST).write_bytes(b"\xff{")
    assert "manifest" in refusal(adapter, base)


@pytest.mark.parametrize(
    "weights",
    [
        {
            "base_model.model.lm_head.lora_A.weight": (4, 128),
            "base_model.model.lm_head.lora_B.weight": (64, 4),
        },
        {"base_model.model.model.layers.0.self_attn.q_proj.weight": (128, 128)},
        {"model.layers.0.self_attn.q_proj.bias": (128,)},
        {},
    ],
)
def test_tensors_that_belong_to_no_pair_of_a_layer_are_refused(
    weights: dict[str, tuple[int, ...]], base: BaseModel, tmp_path: Path
) -> None:
    import numpy as np

    tensors = {key: np.zeros(shape, dtype=np.float32) for key, shape in weights.items()}
    adapter = light_adapter(
        tmp_path / "odd", base, tensors, probe=lambda _: [ProbePosition([1], {1: -0.1}, {1: -0.2})]
    )
    refusal(adapter, base)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_nan_and_infinity_are_found_in_every_precision(
    dtype: str, base: BaseModel, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import save_file

    odd = [] if dtype == "float16" else [1e5, -1e38]  # finite, and beyond what training writes
    for value in (float("nan"), float("inf"), float("-inf"), 1.0, -60_000.0, *odd):
        folder = light_adapter(tmp_path / f"{dtype}{value}", base)
        tensors = {
            key: torch.from_numpy(one).to(getattr(torch, dtype))
            for key, one in light_tensors().items()
        }
        next(iter(tensors.values()))[1, 2] = value
        save_file(tensors, folder / "adapter_model.safetensors")
        write_manifest(folder, base_model="b", base_fingerprint=base.fingerprint, recipe={})
        if value in odd:
            assert "65,536" in refusal(folder, base)
        elif abs(value) < float("inf"):
            assert validate_adapter(folder, base=base, max_rank=4)
        else:
            assert "NaN or infinity" in refusal(folder, base)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "probe.json", "adapter_config.json"])
def test_a_file_without_end_is_refused_before_it_is_read(
    name: str, adapter: Path, base: BaseModel
) -> None:
    import tracemalloc

    with (adapter / name).open("r+b") as file:
        file.truncate(2**40)  # a terabyte that takes no room: to hash it takes an hour
    tracemalloc.start()
    assert "bytes" in refusal(adapter, base)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize(
    "header",
    [
        b"[]", b"{}", b'{"a": 1}', b'{"a": {"dtype": "F32"}}', b"[" * 100_000, b'{"a": ' * 9,
        b'{"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 1e400]}}',
        b'{"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 4]}}',
    ],
)  # fmt: skip
def test_headers_that_make_no_sense(header: bytes, adapter: Path, base: BaseModel) -> None:
    raw = len(header).to_bytes(8, "little") + header + b"\0" * 8
    (adapter / "adapter_model.safetensors").write_bytes(raw)
    write_manifest(adapter, base_model="b", base_fingerprint=base.fingerprint, recipe={})
    assert "not whole safetensors" in refusal(adapter, base)


@pytest.mark.parametrize("name", ["probe.json", "adapter_config.json", "manifest.json"])
@pytest.mark.parametrize("raw", [b"[" * 100_000, b"9" * 5000, b"\xff", b'{"r": 1e999}'])
def test_json_that_python_cannot_take(
    raw: bytes, name: str, adapter: Path, base: BaseModel
) -> None:
    (adapter / name).write_bytes(raw)
    if name == "probe.json":
        write_manifest(adapter, base_model="b", base_fingerprint=base.fingerprint, recipe={})
    refusal(adapter, base)


def test_a_probe_comes_back_as_it_was_written(adapter: Path) -> None:
    positions = [ProbePosition([1, 2], {3: -0.5, 4: -1.25}, {3: -0.75, 4: -2.0})]
    write_probe(adapter, positions)
    assert read_probe(adapter) == positions


@pytest.mark.parametrize(
    "probe",
    [
        {},
        [{"prefix_ids": []}],
        [{"prefix_ids": [-1], "logprobs": {"1": -1}}],
        [{"prefix_ids": [1], "logprobs": {"1": -1.0}, "base_logprobs": {"2": -1.0}}],
        [{"prefix_ids": [1], "logprobs": {"1": float("nan")}, "base_logprobs": {"1": -1.0}}],
        [{"prefix_ids": [1e999], "logprobs": {"1": -1.0}, "base_logprobs": {"1": -1.0}}],
        [{"prefix_ids": ["a"], "logprobs": {"1": -1.0}, "base_logprobs": {"1": -1.0}}],
    ],
)
def test_a_probe_that_could_prove_nothing_is_refused(
    probe: Any, adapter: Path, base: BaseModel
) -> None:
    write_json(adapter / PROBE, probe)
    write_manifest(adapter, base_model="b", base_fingerprint=base.fingerprint, recipe={})
    assert "probe.json" in refusal(adapter, base)


def test_cutting_the_weights_anywhere_is_noticed(
    whole: Path, base: BaseModel, tmp_path: Path
) -> None:
    raw = (whole / "adapter_model.safetensors").read_bytes()
    for n, length in enumerate([0, 1, 7, 8, 9, 200, len(raw) // 2, len(raw) - 1]):
        cut = tmp_path / str(n)
        shutil.copytree(whole, cut)
        (cut / "adapter_model.safetensors").write_bytes(raw[:length])
        write_manifest(cut, base_model="b", base_fingerprint=base.fingerprint, recipe={})
        assert "not whole safetensors" in refusal(cut, base)
    longer = Path(shutil.copytree(whole, tmp_path / "longer"))
    (longer / "adapter_model.safetensors").write_bytes(raw + b"\0" * 4)
    write_manifest(longer, base_model="b", base_fingerprint=base.fingerprint, recipe={})
    assert "not whole safetensors" in refusal(longer, base)
