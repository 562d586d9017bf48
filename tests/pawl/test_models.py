"""Base models are found whole, or said in one line why not."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pawl.errors import PawlError
from pawl.models import resolve_model
from tests.serve.live import serving


def make_model(folder: Path, **changes: object) -> Path:
    folder.mkdir()
    config = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 128, **changes}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def fetched_model(hub_cache: Path) -> str:
    """``owner/tiny`` in a cache folder as huggingface_hub lays it out; its commit."""
    cache, commit = hub_cache / "models--owner--tiny", "0123456789abcdef0123456789abcdef01234567"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(commit)
    (cache / "snapshots").mkdir()
    make_model(cache / "snapshots" / commit)
    return commit


def test_a_folder_is_named_by_its_content(tmp_path: Path) -> None:
    one = resolve_model(str(make_model(tmp_path / "one")), cache_dir=tmp_path)
    two = resolve_model(str(make_model(tmp_path / "two")), cache_dir=tmp_path)
    assert one.fingerprint == two.fingerprint
    assert one.max_length_tokens == 128
    (tmp_path / "two" / "model.safetensors").write_bytes(b"WEIGHTS, other ones")
    three = resolve_model(str(tmp_path / "two"), cache_dir=tmp_path)
    assert three.fingerprint != one.fingerprint


@pytest.mark.parametrize(
    "name",
    ["chat_template.jinja", "tokenizer_config.json", "tokenizer.model", "vocab.json", "merges.txt",
     "generation_config.json", "config.json"],
)  # fmt: skip
def test_what_decides_the_prompt_is_part_of_the_name(tmp_path: Path, name: str) -> None:
    folder = make_model(tmp_path / "one")
    before = resolve_model(str(folder), cache_dir=tmp_path).fingerprint
    path = folder / name
    path.write_text((path.read_text() if path.exists() else "{}") + "\n")
    assert resolve_model(str(folder), cache_dir=tmp_path).fingerprint != before


def test_looking_leaves_no_folder_behind(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "one")
    resolve_model(str(folder), cache_dir=tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "model.safetensors").unlink(), r"has no \.safetensors"),
        (lambda f: (f / "chat_template.jinja").unlink(), "has no chat template"),
        (lambda f: (f / "config.json").write_text('{"architectures": ["BertModel"]}'),
         "architecture BertModel"),
        (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
    ],
)  # fmt: skip
def test_a_folder_that_cannot_chat_is_refused(tmp_path: Path, spoil: object, message: str) -> None:
    folder = make_model(tmp_path / "model")
    assert callable(spoil)
    spoil(folder)
    with pytest.raises(PawlError, match=message):
        resolve_model(str(folder), cache_dir=tmp_path)


@pytest.mark.parametrize("name", ["./absent", "absent", "a/b/c", "/absent/model"])
def test_an_absent_model_is_one_clear_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(PawlError, match="nor a hub id of the form"):
        resolve_model(name, cache_dir=tmp_path)


def test_a_hub_model_comes_from_the_hubs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real download code."""
    commit = fetched_model(tmp_path / "hub")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = resolve_model("owner/tiny", cache_dir=tmp_path)
    assert found.fingerprint == f"hub:owner/tiny@{commit}"
    assert resolve_model("owner/tiny", cache_dir=tmp_path, download=False) == found
    with pytest.raises(PawlError, match="could not be fetched from the hub"):
        resolve_model("owner/other", cache_dir=tmp_path)
    with pytest.raises(PawlError, match=r"not on this machine yet.*'pawl up --model owner/other'"):
        resolve_model("owner/other", cache_dir=tmp_path, download=False)


def test_what_the_hub_has_newer_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a start after the owner's next commit would refuse the champion: another base."""
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(403)

        do_HEAD = do_GET

    commit = fetched_model(tmp_path / "hub")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serving(server := ThreadingHTTPServer(("127.0.0.1", 0), Hub)):
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        found = resolve_model("owner/tiny", cache_dir=tmp_path)
    assert found.fingerprint == f"hub:owner/tiny@{commit}"
    of_model = [path for path in asked if "/owner/tiny/" in path]
    assert of_model
    assert [path for path in of_model if commit not in path] == []


def test_a_revision_of_a_folder_is_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    with pytest.raises(PawlError, match="revisions belong to hub ids"):
        resolve_model(str(folder), "main", cache_dir=tmp_path)
