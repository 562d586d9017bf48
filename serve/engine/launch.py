"""The command that starts vLLM, its flags from ``engine.*`` settings, and its log on the way up."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path

from pawl.chat_template import THOUGHTS_OFF
from pawl.engine_support import dtype_for, runs_on_cpu
from pawl.files import read_json, write_atomic, write_json
from pawl.jobs import (
    child_environment,
    module_command,
    n_cores,
    thread_environment,
    user_environment,
)
from pawl.logs import cut_log
from pawl.models import BaseModel
from pawl.settings import EngineSettings, Settings

# llguidance compiles a schema in milliseconds, within bounds of its own, where xgrammar took 165 s
# for an enum of 1 MB; serve.api.structured checks every schema with the same library. Blanks
# between values are off: a small model in JSON mode may write nothing else.
STRUCTURED_OUTPUTS = '{"backend": "guidance", "disable_any_whitespace": true}'
# What vLLM 0.32 writes on its way up, and how far that is: measured on 2 cores, a small model.
STAGES: tuple[tuple[str, float, str], ...] = (
    ("non-default args", 0.45, "reading the model's configuration"),
    ("Resolved architecture", 0.47, "starting the engine's core"),
    ("Initializing a V1 LLM engine", 0.85, "starting the engine's worker"),
    ("Starting to load model", 0.90, "loading the weights"),
    ("KV cache size", 0.94, "warming up"),
    ("Starting vLLM server", 0.98, "opening the engine's port"),
)
N_TAIL_LINES = 25
NO_REASON = "its log does not say why"


# From which on vLLM's own processes and threads are left as they are: it binds its worker's threads
# to cores, and leaves one.
MANY_CORES = 8
MOST_SOCKET_FOLDER = 70  # bytes: a socket's path has at most 107, its name takes 37


def vllm_command(settings: Settings, model: BaseModel, port: int) -> list[str]:
    """The command that serves ``model`` as ``base`` on loopback with LoRA switched on.

    Where the model's own settings lack the token that ends a turn, a file with it is written.
    """
    engine = settings.engine
    ranks = [8, 16, 32, 64, 128, 256, 320, 512]  # the values that vLLM takes
    # Room for those who have no answer under way, and for the watchdog's token.
    n_sequences = engine.max_concurrent_requests + engine.n_reserved_places + 1
    rank = next((size for size in ranks if size >= engine.max_lora_rank), ranks[-1])
    command = [
        *module_command("vllm.entrypoints.openai.api_server"),
        "--model", str(model.model_dir), "--served-model-name", "base",
        "--host", "127.0.0.1", "--port", str(port),
        "--dtype", dtype_for(model.model_dir, engine.dtype, engine.most_replicas),
        "--enable-lora", "--max-loras", str(engine.max_loras), "--max-lora-rank", str(rank),
        "--max-num-seqs", str(n_sequences),
        "--structured-outputs-config", STRUCTURED_OUTPUTS,
        "--disable-uvicorn-access-log",
        "--middleware", "serve.engine.key.KeyRequired",
    ]  # fmt: skip
    if model.check.tools.parser is not None:
        command += ["--enable-auto-tool-choice", "--tool-call-parser", model.check.tools.parser]
    if engine.max_model_len_tokens is not None:
        command += ["--max-model-len", str(engine.max_model_len_tokens)]
    if model.check.adds_stop:
        command += ["--generation-config", str(_write_defaults(settings, model))]
    if model.check.template.startswith(THOUGHTS_OFF):
        path = settings.state_dir / "engine" / "chat_template.jinja"
        write_atomic(path, model.check.template)
        command += ["--chat-template", str(path)]
    if runs_on_cpu():
        kv_bytes = int(engine.kv_cache_gib * 2**30)
        command += ["--enforce-eager", "--kv-cache-memory-bytes", str(kv_bytes)]
        # Without it the base answers as an adapter once all slots were used: see that module.
        command += ["--worker-extension-cls", "serve.engine.cpu_lora.WorkerExtension"]
        if _shares_cores(engine):
            # The worker in the core's process. vLLM's own choice, two processes, has the core wait
            # for the worker in a busy loop: on 2 cores that takes one of them.
            command += ["--distributed-executor-backend",
                        "vllm.v1.executor.uniproc_executor.UniProcExecutor"]  # fmt: skip
    else:
        command += ["--gpu-memory-utilization", str(engine.gpu_memory_fraction)]
    return command


def _write_defaults(settings: Settings, model: BaseModel) -> Path:
    """A folder with the model's generation_config.json, with all the tokens that end an answer.

    vLLM stops at these and at the tokenizer's own end. (``--override-generation-config`` changes
    the sampling only.)
    """
    path = model.model_dir / "generation_config.json"
    values = read_json(path) if path.exists() else {}
    folder = settings.state_dir / "engine"
    write_json(folder / path.name, {**values, "eos_token_id": list(model.check.stop_ids)})
    return folder


def _shares_cores(engine: EngineSettings) -> bool:
    """Whether vLLM's own choice of processes and threads, each bound to a core, would not do."""
    return n_cores() < MANY_CORES or engine.most_replicas > 1


def engine_environment(settings: Settings, key: str, number: int = 1) -> dict[str, str]:
    """What the child's environment needs beyond ours. Whoever asks the engine for an answer or
    brings an adapter needs ``key`` as a bearer token, whatever our environment says.

    Args:
        number: of the replica, where there are several: each has its share of the cores, or a GPU.
    """
    n_replicas = settings.engine.most_replicas
    values = {
        "VLLM_API_KEY": key,  # not on the command line, which everybody can read
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_NO_USAGE_STATS": "1",
        # Else forced tool calls are structural tags of xgrammar, which llguidance refuses.
        "VLLM_ENFORCE_STRICT_TOOL_CALLING": "0",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",  # the model is a folder by now, and adapters always are
        "PYTHONUNBUFFERED": "1",
    }
    values |= user_environment()
    # so that it finds serve.engine.key and cpu_lora wherever it is started from
    values |= {k: v for k, v in child_environment().items() if k == "PYTHONPATH"}
    if len(tempfile.gettempdir()) > MOST_SOCKET_FOLDER and os.access("/tmp", os.W_OK | os.X_OK):
        values["VLLM_RPC_BASE_PATH"] = "/tmp"  # sockets of vLLM's processes to each other
    if runs_on_cpu():
        n = max(1, n_cores() // n_replicas)
        if _shares_cores(settings.engine):
            values |= thread_environment(n if n <= 2 else n - 1)
            # Between two products of a step threads wait awake (about 250 us): asleep they cost a
            # third of the tokens.
            values["GOMP_SPINCOUNT"] = "50000"
            values |= {k: v for k, v in os.environ.items() if k == "OMP_NUM_THREADS"}
        # vLLM compiles its log-probability kernel on first use: 18 s in which nobody is answered,
        # and the engine's death where there is no C++ compiler.
        values["TORCHDYNAMO_DISABLE"] = "1"
    elif n_replicas > 1 and (gpus := _gpus()):
        values["CUDA_VISIBLE_DEVICES"] = gpus[(number - 1) % len(gpus)]
    return values


def _gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [one.strip() for one in allowed.split(",") if one.strip()]
    n_gpus = sum(one.name[6:].isdecimal() for one in Path("/dev").glob("nvidia*"))
    return [str(n) for n in range(n_gpus)]


_EXCEPTION = re.compile(r"(^|[\s.])\w*(Error|Exception)(:|$)|[Ee]rror: |Value error,")
# Said because another process of the engine, or an earlier line, failed for a reason of its own.
_CONSEQUENCES = (
    "Engine core initialization failed", "validation error for", "stack trace", "root cause",
    "BrokenPipeError", "ConnectionResetError", "EOFError", "CancelledError", "EngineDeadError",
    "Found ulimit of",  # vLLM's advice on its way up
)  # fmt: skip
_PREFIX = re.compile(r"^\(\w[\w-]* pid=\d+\)\s*([A-Z]+ \S+ \S+ \[[^\]]*\])?\s*|^\s*Value error,\s*")


def reason_in_log(lines: list[str]) -> str | None:
    """The line that says why vLLM ended: the last error, in the process that failed first, that is
    no mere consequence of another.

    vLLM is two or three processes, and each writes its pid before its lines: the error of a worker
    of its own is repeated by the engine's core as "see stack trace", the core's by the API server
    as "Engine core initialization failed". ``(APIServer pid=9) ... ValidationError: 1 validation
    error`` stands above the line that says what is wrong, which begins with ``Value error,``.
    """
    found: dict[int, str] = {}
    for line in lines:
        if _EXCEPTION.search(line) and not any(mark in line for mark in _CONSEQUENCES):
            depth = 0 if line.startswith("(Worker") else 1 if line.startswith("(EngineCore") else 2
            found[depth] = line
    return _PREFIX.sub("", found[min(found)]).strip()[:500] if found else None


class EngineLog:
    """What the engine has written since it was started the last time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def begin(self) -> None:
        """The engine is about to be started."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # it grows on, and pawl up says so
            cut_log(self._path)
        self._offset = self._path.stat().st_size if self._path.exists() else 0

    def text(self) -> str:
        if not self._path.exists():
            return ""
        if self._path.stat().st_size < self._offset:  # it was put aside (cut_log)
            self._offset = 0
        with self._path.open("rb") as file:
            file.seek(self._offset)
            return file.read().decode(errors="replace")

    def stage(self) -> tuple[str, float]:
        """How far the start is: in words, and as a fraction."""
        text = self.text()
        found = [(stage, fraction) for mark, fraction, stage in STAGES if mark in text]
        return found[-1] if found else ("importing vLLM", 0.02)

    def reason(self) -> str | None:
        """The line that says why the engine ended, if one does."""
        return reason_in_log(self.text().splitlines())

    def tail(self) -> str:
        lines = [line for line in self.text().splitlines() if line.strip()]
        last = "\n".join(f"    {line[:300]}" for line in lines[-N_TAIL_LINES:])
        return f"Last lines of {self._path}:\n{last}\n"
