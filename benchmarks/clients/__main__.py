"""Runs the clients that people already use against ``pawl up`` and writes docs/clients.md's table.

    python -m benchmarks.clients [--only WORD...] [--cache-dir DIR] [--no-record] [--logs DIR]

Each client is checked by a small script (``checks/``) in an environment that holds it (``pins/``),
with a key of its own: first against the model that comes with Pawl, which knows no tools, then, for
tools alone, against a tiny random base that does. At the end what each client read is held against
what the store recorded. The first run downloads about 2 GB of packages.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.clients import environments, table
from benchmarks.clients.table import Cell, Row
from benchmarks.measurements import MISSED
from pawl.client import Pawl
from pawl.errors import PawlError
from pawl.server import Server, api_key_of, serving
from pawl.settings import Settings, load_settings

SECONDS = 600  # of a client's check


@dataclass(frozen=True)
class Client:
    """A row of the table. ``environment``: a file of ``pins/``, ``node``, or Pawl's own."""

    name: str
    environment: str
    script: str
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


CLIENTS = (
    Client("openai, Python", "newest", "openai_python.py"),
    Client("openai, Node", "node", "openai_node.mjs"),
    Client("Vercel AI SDK, `@ai-sdk/openai`, default call", "node", "vercel_ai.mjs",
           {"VERCEL_PROVIDER": "openai"}),
    Client("Vercel AI SDK, `@ai-sdk/openai`, `.chat()`", "node", "vercel_ai.mjs",
           {"VERCEL_PROVIDER": "openai:chat"}),
    Client("Vercel AI SDK, `openai-compatible`", "node", "vercel_ai.mjs",
           {"VERCEL_PROVIDER": "compatible"}),
    Client("Vercel AI SDK, `anthropic`", "node", "vercel_ai.mjs",
           {"VERCEL_PROVIDER": "anthropic"}),
    Client("openai-agents", "newest", "openai_agents.py"),
    Client("LangChain, Python", "newest", "langchain_python.py"),
    Client("LangChain, JavaScript", "node", "langchain_node.mjs"),
    Client("LlamaIndex, `OpenAILike`", "llama_index", "llama_index_python.py"),
    Client("LiteLLM", "newest", "litellm_python.py"),
    Client("pydantic-ai", "newest", "pydantic_ai_python.py"),
    Client("instructor", "instructor", "instructor_python.py"),
    Client("DSPy", "newest", "dspy_python.py"),
    Client("`llm`", "newest", "llm_cli.py"),
    Client("aider", "aider", "aider_cli.py"),
    Client("anthropic, Python", "newest", "anthropic_python.py"),
    Client("lm_eval", "lm_eval", "lm_eval_cli.py"),
    Client("`vllm bench serve`", environments.OWN, "vllm_bench.py"),
    Client("a page in Chromium, from another address", environments.OWN, "chromium_page.py"),
    Client("Open WebUI", "open_webui", "open_webui.py"),
)  # fmt: skip


@dataclass(frozen=True)
class Running:
    """A server that runs."""

    url: str
    admin: Pawl
    model_dir: str


def running(settings: Settings, server: Server) -> Running:
    """The server, its administration, and where its base lies."""
    admin = Pawl(server.url, api_key_of(settings))
    command = admin.get("/admin/status")["engine"]["command"]
    return Running(server.url, admin, command[command.index("--model") + 1])


def check(
    client: Client,
    server: Running,
    folder: Path,
    cache_dir: Path,
    logs: Path,
    features: Sequence[str],
    more: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Run a client's script; its lines. What it wrote besides goes to ``logs``.

    A feature on which it wrote none, though the script checks it, is a failure.
    """  # fmt: skip
    source = (environments.CHECKS / client.script).read_text("utf-8")
    checked = set(re.findall(r'feature\("(\w+)"', source)) & set(features)
    if not checked:
        return []
    key = server.admin.post("/admin/keys", {"name": client.slug, "role": "user"})["key"]
    # The checks send wrong keys from one address, which slows keys that were never right there.
    Pawl(server.url, key).get("/v1/models")
    home = folder / "homes" / client.slug
    home.mkdir(parents=True, exist_ok=True)
    is_node = client.environment == "node"
    done: subprocess.CompletedProcess[str] | None = None
    text, end = "", ""
    try:
        done = subprocess.run(
            [*environments.command(client.environment, client.script, cache_dir), *features],
            cwd=cache_dir / "node" if is_node else home, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
            timeout=SECONDS, check=False,
            env=environments.environment(home, {
                **client.more, **more, "PAWL_URL": server.url, "PAWL_KEY": key,
                "PAWL_TOKENIZER": server.model_dir,
            }),
        )  # fmt: skip
        text = done.stdout
        end = f"ended with code {done.returncode}"
    except subprocess.TimeoutExpired as error:
        text = (error.stdout or b"").decode(errors="replace")  # bytes, whatever the encoding
        end = f"not done after {SECONDS} s"
    (logs / f"{client.slug}.log").open("a", encoding="utf-8").write(text + f"\n-- {end}\n")
    lines = [json.loads(line) for line in text.splitlines() if line.startswith('{"feature"')]
    if done is None or done.returncode:
        silent = checked - {line["feature"] for line in lines}
        why = " ".join(text.split())[-200:]
        lines += [{"feature": name, "version": "", "outcome": "fails", "detail": f"{end}: {why}",
                   "answers": []} for name in sorted(silent)]  # fmt: skip
    return lines


def held_against_store(settings: Settings, answers: Sequence[Mapping[str, str]]) -> list[str]:
    """The ids of answers that the store holds otherwise than their client read them."""
    from feedback.store import Store

    wrong = []
    with Store.open(settings.database_path) as store:
        for answer in answers:
            row = store.get_completion(answer["id"])
            if row is None or row.completion.strip() != answer["text"].strip():
                wrong.append(f"{answer['id']}: read {answer['text'][:60]!r}, "
                             f"kept {row.completion[:60] if row else None!r}")  # fmt: skip
    return wrong


def run_all(
    clients: Sequence[Client], cache_dir: Path, logs: Path, folder: Path
) -> tuple[list[Row], list[str]]:
    """Every client on both servers: the rows, and what the store holds otherwise."""
    from tests import tiny_bases

    with socket.create_server(("127.0.0.1", 0)) as free:
        page_port = free.getsockname()[1]
    rows = {client.name: Row(client.name) for client in clients}
    wrong: list[str] = []
    phases: tuple[tuple[str, Settings, list[str], dict[str, str]], ...] = (
        ("embedded", load_settings({"state_dir": folder / "state"}),
         [name for name in table.FEATURES if name != table.CALLED], {}),
        ("tools", load_settings({"state_dir": folder / "tools",
                                 "model": str(tiny_bases.calls_tools(folder / "tiny"))}),
         ["tools"], {"PAWL_KNOWS_TOOLS": "1"}),
    )  # fmt: skip
    page = f"api.allowed_origins=http://127.0.0.1:{page_port}"
    for phase, settings, features, more in phases:
        answers: dict[str, list[Any]] = {}
        # The small model may not end: Open WebUI asks for titles and tags without a bound.
        options = ["--set", page, "--set", "limits.answer_tokens=512"]
        with serving(settings, options) as started:
            server = running(settings, started)
            for client in clients:
                print(f"{phase}: {client.name}", file=sys.stderr, flush=True)
                lines = check(client, server, folder, cache_dir, logs, features,
                              {**more, "PAWL_PAGE_PORT": str(page_port)})  # fmt: skip
                for line in lines:
                    name = table.CALLED if phase == "tools" else line["feature"]
                    rows[client.name].version = line["version"] or rows[client.name].version
                    rows[client.name].cells[name] = Cell(line["outcome"], line["detail"])
                    print(f"  {name}: {line['outcome']}: {line['detail']}", file=sys.stderr)
                answers[client.name] = [one for line in lines for one in line["answers"]]
        for name, read in answers.items():
            found = held_against_store(settings, read)
            rows[name].n_read += len(read)
            rows[name].n_kept += len(read) - len(found)
            wrong += [f"{name}: {one}" for one in found]
    return list(rows.values()), wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD",
                        help="clients with one of these words in their names; the others "
                        "keep what they had in this cache folder")  # fmt: skip
    parser.add_argument("--cache-dir", type=Path, default=environments.default_cache_dir())
    parser.add_argument("--logs", type=Path, help="a folder for what the clients wrote")
    parser.add_argument("--install", action="store_true", help="the environments alone")
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args()
    clients = [c for c in CLIENTS if any(word.lower() in c.name.lower() for word in args.only)]
    try:
        for name in dict.fromkeys(client.environment for client in clients):
            environments.install(name, args.cache_dir)
    except PawlError as error:
        sys.exit(f"Error: {error}")
    if args.install:
        return
    with tempfile.TemporaryDirectory(prefix="pawl-clients-") as name:
        logs = args.logs or Path(name) / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        rows, wrong = run_all(clients, args.cache_dir, logs, Path(name))
    kept = table.keep(rows, args.cache_dir / "rows.json")
    rows = [kept[client.name] for client in CLIENTS if client.name in kept]
    print(table.markdown(rows))
    for line in wrong:
        print(f"recorded otherwise: {line}", file=sys.stderr)
    if not args.no_record:
        table.write(rows)
    if wrong or any(cell.outcome == "fails" for row in rows for cell in row.cells.values()):
        sys.exit(MISSED)


if __name__ == "__main__":
    main()
