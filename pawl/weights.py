"""What the weight files of a model folder hold, from their headers alone."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from pawl.errors import PawlError
from pawl.files import read_json

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.safetensors")


@dataclass(slots=True)
class WeightFiles:
    """``shapes`` by tensor name; ``missing`` files; ``broken`` files with the reason."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)


def read_weights(model_dir: Path) -> WeightFiles:
    """Read the headers of all weight files, and compare them with the index if there is one."""
    weights = WeightFiles()
    wanted = _wanted_files(model_dir)
    for name in sorted(wanted):
        path = model_dir / name
        if not path.is_file():
            weights.missing.append(name)
            continue
        try:
            shapes = read_header(path)
        except PawlError as err:
            weights.broken[name] = err.why
            continue
        weights.shapes |= shapes
        absent = sorted(wanted[name] - shapes.keys())
        if absent:
            weights.broken[name] = f"the index says that it holds {absent[0]}"
    return weights


def _wanted_files(model_dir: Path) -> dict[str, set[str]]:
    """The weight files that should be there, and what the index says that each holds."""
    index = model_dir / INDEX
    files: dict[str, set[str]] = {}
    if index.exists():
        for tensor, name in read_json(index)["weight_map"].items():
            files.setdefault(name, set()).add(tensor)
        return files
    if (model_dir / SINGLE).exists():  # others beside it hold the same in another layout
        return {SINGLE: set()}
    for path in model_dir.glob("*.safetensors"):
        files[path.name] = set()
        numbered = _NUMBERED.fullmatch(path.name)
        if numbered:
            stem, _, n = numbered.groups()
            for i in range(int(n)):
                files.setdefault(f"{stem}-{i + 1:05}-of-{n}.safetensors", set())
    return files


def read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by tensor name; no weights are read. Raises PawlError: no safetensors file, or cut
    off."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as err:
        why = f"it is cut off, or no safetensors file ({err})"
        raise PawlError(f"weight file {path}", why) from err
