"""Base models on disk: where the weights are, which ones exactly, and whether they can chat."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pawl.errors import PawlError
from pawl.files import read_json, sha256_file, sha256_json, write_json

# Beside the weights: what turns a chat into token ids, and what the engine takes for defaults.
_DECIDING = (
    "config.json", "generation_config.json", "chat_template.jinja", "chat_template.json",
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model that was found whole.

    ``fingerprint`` is ``sha256:...`` over all in a folder that decides what a chat is answered
    (weights, tokenizer, chat template, configuration), or ``hub:ID@COMMIT`` for a model of the
    hub, whose commit names its content.
    """

    name: str
    model_dir: Path
    revision: str | None
    fingerprint: str
    architecture: str
    max_length_tokens: int


def resolve_model(
    name: str, revision: str | None = None, *, cache_dir: Path, download: bool = True
) -> BaseModel:
    """Find a base model: a folder or a model of the hub (downloaded once).

    Args:
        name: a folder or a hub id ``owner/name``.
        revision: hub branch, tag or commit; only for hub ids.
        cache_dir: where the hashes of large weight files are remembered, if it is there.
        download: whether a model of the hub that is not on this machine yet may be fetched.

    Raises:
        PawlError: absent, without weights, without a chat template, or not a causal model.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise PawlError(
                f"model folder {name} with revision {revision!r}",
                "revisions belong to hub ids",
                "Leave --model-revision out",
            )
        return _inspect(name, folder.resolve(), None, None, cache_dir)
    if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise PawlError(
            f"model {name!r} is not there",
            "it is neither a folder nor a hub id of the form owner/name",
            "Give --model a folder that holds config.json, or a hub id",
        )
    path = _download(name, revision, only_look=not download)
    return _inspect(name, path, revision, f"hub:{name}@{path.name}", cache_dir)


def _download(name: str, revision: str | None, only_look: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
    try:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=patterns, local_files_only=only_look
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as err:
        if only_look:
            raise PawlError(
                f"model {name!r} is not on this machine yet",
                "it was never fetched from the hub, and this command fetches nothing",
                f"'pawl up --model {name}' fetches it",
                code="model_not_here",
            ) from err
        first = str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__
        raise PawlError(
            f"model {name!r} could not be fetched from the hub",
            first,
            "Check the id and the network, or give a folder",
        ) from err


def _inspect(
    name: str, model_dir: Path, revision: str | None, hub: str | None, cache_dir: Path
) -> BaseModel:
    config_path = model_dir / "config.json"
    if not config_path.exists():
        raise PawlError(
            f"model folder {model_dir} has no config.json",
            "it holds no model in Hugging Face's layout",
            "Point --model at the folder that does",
        )
    config = read_json(config_path)
    names = config.get("architectures") or []
    architecture = str(names[0]) if names else ""
    if not architecture.endswith("ForCausalLM"):
        raise PawlError(
            f"model {name!r} has the architecture {architecture or 'none'}",
            "chat needs a causal language model (...ForCausalLM)",
            "Choose an instruct model",
        )
    weights = sorted(model_dir.glob("*.safetensors"))
    if not weights:
        raise PawlError(
            f"model folder {model_dir} has no .safetensors",
            "weights in other formats can run code when loaded",
            "Convert the weights to safetensors",
        )
    if not _has_chat_template(model_dir):
        raise PawlError(
            f"model {name!r} has no chat template",
            "a conversation could not be turned into a prompt",
            "Choose an instruct model, or put a chat_template.jinja into the folder",
        )
    length = int(config.get("max_position_embeddings") or 2048)
    fingerprint = hub or _fingerprint(model_dir, weights, cache_dir)
    return BaseModel(name, model_dir, revision, fingerprint, architecture, length)


def _has_chat_template(model_dir: Path) -> bool:
    if (model_dir / "chat_template.jinja").exists() or (model_dir / "chat_template.json").exists():
        return True
    path = model_dir / "tokenizer_config.json"
    return path.exists() and bool(read_json(path).get("chat_template"))


def _fingerprint(model_dir: Path, weights: list[Path], cache_dir: Path) -> str:
    """Hash the folder's content; a file's hash is remembered by path, size and time."""
    cache_path = cache_dir / "weight-hashes.json"
    cache = read_json(cache_path) if cache_path.exists() else {}
    parts: dict[str, str] = {}
    changed = False
    for path in [*weights, *(model_dir / name for name in _DECIDING)]:
        if not path.exists():
            continue
        stat = path.stat()
        key = f"{path}:{stat.st_size}:{stat.st_mtime_ns}"
        if key not in cache:
            cache[key] = sha256_file(path)
            changed = True
        parts[path.name] = cache[key]
    if changed and cache_dir.is_dir():  # who only looks leaves no folder behind
        write_json(cache_path, cache)
    return f"sha256:{sha256_json(parts)}"
