"""GGUF files as base models: converted once into a folder that engine, trainer and scorer read.

    python -m pawl.gguf FILE.gguf FOLDER

The weights are unpacked to bfloat16 and saved as safetensors, with the tokenizer, the chat template
and the end-of-turn tokens that the file holds. The conversion runs as a child process, because the
server must not keep torch in memory. A folder is named by the hash of the file's content and
``CONVERSION``, so all state folders share it and a changed file is another folder. It appears by a
rename when it is whole.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pawl.errors import PawlError
from pawl.files import hold_lock, read_json, sha256_file, sync_dir, write_json
from pawl.jobs import run_child, run_job

log = logging.getLogger("pawl.models")

CONVERSION = 1  # raise it when the same file is to give another folder
WAIT_SECONDS = 3600.0  # for another process that converts the same file
N_BYTES_PER_WEIGHT = 2  # bfloat16
# Architectures of which transformers 5.19 reads how positions are scaled beyond the first context;
# of others it makes a model that answers otherwise than the file's, in silence.
SCALED_POSITIONS = ("gpt-oss", "gpt_oss")
# Vocabularies whose digits stand alone, by the file's ``tokenizer.ggml.pre``. Transformers 5.19
# splits them as GPT-2 does, which gives "\n\n1." other tokens than the model was trained on.
SINGLE_DIGITS = ("smollm", "starcoder", "refact", "command-r")


def model_cache() -> Path:
    """Where converted models are kept: pawl/models in $XDG_CACHE_HOME, else in ~/.cache; for a
    user without a home a folder that can't be made."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:
        cache = Path("/proc/no-home")
    return cache.absolute() / "pawl" / "models"


def cache_for(path: Path, state_dir: Path, *, make: bool) -> Path:
    """The cache that holds a GGUF file's conversion, or that is to hold it: ``model_cache``, or
    ``models/`` in the state folder where that one can't be written (a user without a home).

    Args:
        path: the file.
        state_dir: the state folder.
        make: whether a folder may be made to find out.

    Raises:
        PawlError: no GGUF file.
    """
    caches = [model_cache(), state_dir / "models"]
    for cache in caches:
        if cache.is_dir() and converted_dir(path, cache).is_dir():
            return cache
    if make:
        try:
            caches[0].mkdir(parents=True, exist_ok=True)
        except OSError:
            return caches[1]
        return caches[0] if os.access(caches[0], os.W_OK | os.X_OK) else caches[1]
    return caches[0]


def content_hash(path: Path, cache_dir: Path) -> str:
    """Hex SHA-256 of a large file; remembered in ``cache_dir`` by path, size and time, if that
    folder is there. A memory that is damaged is made again."""
    stat = path.stat()
    key = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
    memory = cache_dir / "weight-hashes.json"
    known: dict[str, str] = {}
    try:
        known = dict(read_json(memory)) if memory.exists() else {}
    except (PawlError, TypeError, ValueError) as err:  # a cache: what it held is found again
        log.warning("%s can't be used and is made again: %s", memory, err)
    if key not in known:
        known[key] = sha256_file(path)
        # Who only looks leaves no folder behind.
        if cache_dir.is_dir() and os.access(cache_dir, os.W_OK):
            write_json(memory, known)
    return known[key]


def convert_gguf(
    path: Path, cache_dir: Path, tell: Callable[[str], None] = lambda line: None
) -> Path:
    """The folder of a converted GGUF file, converted now if it is not there yet.

    Args:
        path: the file.
        cache_dir: where converted models are kept, see ``model_cache``.
        tell: takes a line before and after a conversion.

    Raises:
        PawlError: no GGUF file, a kind of model that can't be read or can't chat, no room on the
            disk. No folder was left then.
    """
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise PawlError(
            f"the folder of converted models can't be made at {cache_dir}",
            str(err),
            "Let XDG_CACHE_HOME name a folder that can be written to",
        ) from err
    folder = converted_dir(path, cache_dir)
    if folder.is_dir():
        return folder
    tell(f"Converting {path.name} to bfloat16, once (about 20 s for 135 million weights) ...")
    started = time.monotonic()
    arguments = [str(path.resolve()), str(folder)]
    log_path = folder.with_suffix(".log")
    try:
        run_job("pawl.gguf", arguments, name="conversion", log_path=log_path)
    except PawlError as err:
        if err.code != "conversion_died":
            raise
        raise PawlError(
            f"{path.name} could not be converted: {err.what}",
            err.why,
            f"Give another GGUF file, or a folder with safetensors. The whole log is {log_path}",
        ) from err
    log_path.unlink(missing_ok=True)
    tell(f"Converted in {time.monotonic() - started:.0f} s.")
    return folder


def converted_dir(path: Path, cache_dir: Path) -> Path:
    """Where the converted folder of a GGUF file is, or would be. Raises PawlError: no GGUF file."""
    _check_magic(path)
    return cache_dir / f"{content_hash(path, cache_dir)[:24]}-v{CONVERSION}"


def _check_magic(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as err:
        raise PawlError(
            f"model file {path} can't be read", str(err), "Give a GGUF file that is there"
        ) from err
    if magic != b"GGUF":
        raise PawlError(
            f"model file {path} is no GGUF file",
            f"it begins with {magic!r}",
            "Give a .gguf file, a folder, or a hub id",
        )


def main() -> int:
    """Convert; the exit code. The child of :func:`convert_gguf`."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path)
    return run_child(parser, lambda args, report: _convert(args.file, args.folder))


def _convert(path: Path, folder: Path) -> None:
    lock, what = folder.with_name(f".{folder.name}.lock"), f"{path.name} is being converted"
    with hold_lock(lock, what, "Wait for it", wait_seconds=WAIT_SECONDS):
        if not folder.is_dir():
            _convert_into(path, folder)


def _convert_into(path: Path, folder: Path) -> None:
    """Make the folder beside its place, then rename it. The caller holds the folder's lock."""
    header = _read_header(path)
    _check_room(header["n_weights"], folder.parent)
    unfinished = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a conversion that was killed
    try:
        _write_folder(path, header, unfinished)
        for file in unfinished.iterdir():
            file.chmod(0o644)
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        sync_dir(unfinished)
        unfinished.replace(folder)
        sync_dir(folder.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _read_header(path: Path) -> dict[str, Any]:
    """What decides whether the file can be used, from its first kilobytes."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(str(path))
        fields = {
            key: reader.fields[key].contents()
            for key in ("general.architecture", "tokenizer.chat_template", "tokenizer.ggml.pre",
                        "split.count")
            if key in reader.fields
        }  # fmt: skip
        # How many bytes the tensors end at: a shorter file was cut off.
        end = max((int(t.data_offset) + int(t.n_bytes) for t in reader.tensors), default=0)
        n_weights = sum(int(tensor.n_elements) for tensor in reader.tensors)
        factors = [t.name for t in reader.tensors if t.name.startswith("rope_f")]
        scaling = next((str(field.contents()) for key, field in reader.fields.items()
                        if key.endswith(".rope.scaling.type")), "none")  # fmt: skip
    except (ValueError, IndexError, KeyError, OSError, OverflowError) as err:
        raise PawlError(
            f"model file {path} can't be read as GGUF",
            f"{type(err).__name__}: {err}; the file may be cut off",
            "Fetch the file again",
        ) from err
    if end > path.stat().st_size:
        raise PawlError(
            f"model file {path} is cut off",
            f"its weights end at byte {end:,}, the file at byte {path.stat().st_size:,}",
            "Fetch the file again",
        )
    if int(fields.get("split.count") or 1) > 1:
        raise PawlError(
            f"model file {path} is one part of {fields['split.count']}",
            "GGUF files in parts are not read",
            "Merge the parts with llama.cpp's llama-gguf-split --merge",
        )
    if not fields.get("tokenizer.chat_template"):
        raise PawlError(
            f"model file {path} has no chat template",
            "a conversation could not be turned into a prompt",
            "Choose the GGUF of an instruct model",
        )
    is_scaled = factors or scaling != "none"
    if is_scaled and str(fields.get("general.architecture")) not in SCALED_POSITIONS:
        raise PawlError(
            f"model file {path} scales its positions ({', '.join([scaling, *factors])})",
            "transformers doesn't read that from GGUF: the converted model would answer otherwise",
            "Give the model's folder with safetensors, or its hub id",
        )
    return {**fields, "n_weights": n_weights}


def _check_room(n_weights: int, cache_dir: Path) -> None:
    needed, free = n_weights * N_BYTES_PER_WEIGHT, shutil.disk_usage(cache_dir).free
    if needed > free:
        raise PawlError(
            f"no room for the converted model in {cache_dir}",
            f"it needs {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free",
            "Free some, or let XDG_CACHE_HOME name a folder on a larger disk",
        )


def _write_folder(path: Path, header: dict[str, Any], folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**where)
        packed = AutoModelForCausalLM.from_pretrained(
            **where, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
        )
    except (ValueError, KeyError, NotImplementedError) as err:
        raise PawlError(
            f"model file {path} can't be read",
            f"transformers says about a GGUF of {header['general.architecture']!r}: {err}",
            "Choose a file of another kind, or a folder with safetensors",
        ) from err
    if header.get("tokenizer.ggml.pre") in SINGLE_DIGITS:
        _let_digits_stand_alone(tokenizer)
    # A model that came from GGUF refuses to be saved ("quantized"), so its weights move into a
    # model that did not.
    values = packed.config.to_dict()
    values.pop("quantization_config", None)
    values.pop("_model_name_or_path", None)
    config = type(packed.config).from_dict(values)
    with torch.device("meta"):
        plain = type(packed)(config).to(torch.bfloat16)
    plain.load_state_dict(packed.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = packed.generation_config
    tokenizer.model_max_length = int(config.max_position_embeddings)
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _let_digits_stand_alone(tokenizer: Any) -> None:
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
    )


if __name__ == "__main__":
    sys.exit(main())
