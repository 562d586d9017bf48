"""A small working engine that speaks vLLM's protocol, for tests and for the proxy's benchmark.

    python tests/serve/fake_vllm.py PORT [--host HOST] [--fail] [--no-token] [--never-ready]
                                    [--with-child] [--hold-none] [--letters]
                                    [--speed PLACES STEP_SECONDS SECONDS_PER_ANSWER]

What it says follows from the model's name and the prompt alone. The last message may be a command:

    count N        N words
    hold first     nothing comes until the client hangs up
    hold midway    two words, then nothing until the client hangs up
    break          two words, then the connection is cut
    die            two words, then the process ends with exit code 3
    fail midway    two words, then vLLM's event that something broke inside
    core died      vLLM's answer when the process behind its API server is gone
    too long       vLLM's refusal of a prompt beyond the context
    longer ...     the same, if more than two exchanges stand before it
    freeze         from now on nobody gets a token, though /health answers
    die at once    the process ends with exit code 3
    core dies      what vLLM's API process says of a core that has died
    core ends      two words, then the same as an event of the stream
    call A B       calls of the tools A and B, if any tools are offered
    say TEXT       the text
    cut TEXT       the text, cut at the length limit
    sign TEXT      the text, and after an empty line the model's name

With ``tool_choice`` required or a name it calls the first tool, or that one. What a tool is called
with: ``{"heard": PROMPT}``.

With ``--hold-none`` it answers what it would hold.

With ``--letters`` an answer is as many letters as it may have tokens, each that of the weights that
are loaded then under the name (``letter_of``), "-" of none.

With ``--speed`` it generates at most ``PLACES`` answers at once, first come, first served, and a
token of each takes ``STEP_SECONDS`` and ``SECONDS_PER_ANSWER`` for each answer that is generated
then. (vLLM with SmolLM2-135M on 2 cores: about 0.03 and 0.002.)

A completion of token ids with logprobs is a probe: it is answered by the toy engine's arithmetic,
so that an adapter can be promoted. ``GET /seen`` tells the requests that came, how many run, and
how many were dropped by a hang-up.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

from aiohttp import web

CORE_DIED = "EngineCore encountered an issue. See stack trace (above) for the root cause."
LORA_ALLOWED = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"


@web.middleware
async def ask_for_key(request: web.Request, handler: Any) -> web.StreamResponse:
    """As vLLM does under /v1 when it is started with a key."""
    key = os.environ.get("VLLM_API_KEY")
    wrong = key and request.headers.get("Authorization") != f"Bearer {key}"
    if wrong and request.path.startswith("/v1"):
        return web.json_response({"error": "Unauthorized"}, status=401)
    answer: web.StreamResponse = await handler(request)
    return answer


class FakeVllm:
    """The routes and what was seen."""

    def __init__(self) -> None:
        self.adapters: dict[str, str] = {}
        self.bodies: list[dict[str, Any]] = []
        self.n_running = 0
        self.n_dropped = 0
        self.n_tokens = 0
        self.is_frozen = False
        self.has_letters = "--letters" in sys.argv
        places, self.step_seconds, self.seconds_per_answer = 1_000_000, 0.0, 0.0
        if "--speed" in sys.argv:
            speed = sys.argv[sys.argv.index("--speed") + 1 :]
            places, self.step_seconds = int(speed[0]), float(speed[1])
            self.seconds_per_answer = float(speed[2])
        self.places = asyncio.Semaphore(places)
        self.n_generating = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 2**20, middlewares=[ask_for_key])
        app.add_routes([
            web.get("/health", self.health), web.get("/seen", self.seen),
            web.get("/v1/models", self.models),
            web.get("/metrics", self.metrics),
            web.post("/v1/load_lora_adapter", self.load),
            web.post("/v1/unload_lora_adapter", self.unload),
            web.post("/v1/chat/completions", self.answer),
            web.post("/v1/completions", self.answer),
            web.post("/tokenize", self.tokenize),
        ])  # fmt: skip
        return app

    async def health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "base", "max_model_len": 512}]})

    async def seen(self, request: web.Request) -> web.Response:
        return web.json_response({
            "bodies": self.bodies, "n_running": self.n_running, "n_dropped": self.n_dropped,
            "adapters": self.adapters,
        })  # fmt: skip

    async def tokenize(self, request: web.Request) -> web.Response:
        """A token for each word."""
        body = await request.json()
        self.bodies.append(body)
        texts = json.dumps([message["content"] for message in body["messages"]])
        return web.json_response({"count": len(texts.split()), "max_model_len": 512, "tokens": []})

    async def metrics(self, request: web.Request) -> web.Response:
        """vLLM's counts of what it generates."""
        return web.Response(
            text=f'vllm:num_requests_running{{engine="0",model_name="base"}} {self.n_running}.0\n'
            'vllm:num_requests_waiting{engine="0",model_name="base"} 3.0\n'
            'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 7.0\n'
            'vllm:kv_cache_usage_perc{engine="0",model_name="base"} 0.25\n'
            "# TYPE vllm:generation_tokens_total counter\n"
            f'vllm:generation_tokens_total{{engine="0",model_name="base"}} {self.n_tokens}.0\n'
        )

    async def token(self) -> None:
        """Wait for the time that a token takes."""
        if self.is_frozen:
            await asyncio.Event().wait()
        if self.step_seconds:
            await asyncio.sleep(self.step_seconds + self.seconds_per_answer * self.n_generating)
        self.n_tokens += 1

    async def load(self, request: web.Request) -> web.Response:
        body = await request.json()
        if os.environ.get(LORA_ALLOWED) != "True" or not Path(body["lora_path"]).is_absolute():
            return web.json_response({"error": {"message": "not allowed"}}, status=400)
        self.adapters[body["lora_name"]] = body["lora_path"]
        return web.Response(text="Success")

    async def unload(self, request: web.Request) -> web.Response:
        name = (await request.json())["lora_name"]
        if self.adapters.pop(name, None) is None:
            return error(404, f"The lora adapter '{name}' cannot be found.")
        return web.Response(text="Success")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if "--no-token" in sys.argv:
            print("(Worker pid=7) RuntimeError: Unsupported: head_dim=24", flush=True)
            return error(500, "EngineCore encountered an issue. See stack trace")
        if body.get("prompt") != [[0]]:  # the watchdog's
            self.bodies.append(body)
        self.n_running += 1
        try:
            async with self.places:
                self.n_generating += 1
                try:
                    return await self._answer(request, body)
                finally:
                    self.n_generating -= 1
        except (asyncio.CancelledError, ConnectionResetError):
            self.n_dropped += 1
            raise
        finally:
            self.n_running -= 1

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        chat = request.path.endswith("/chat/completions")
        if body["model"] != "base" and body["model"] not in self.adapters:
            return error(404, f"The model `{body['model']}` does not exist.")
        prompt = body["messages"][-1].get("content", "") if chat else body["prompt"]
        if prompt == "freeze":
            self.is_frozen = True
        if prompt == "core dies":
            return error(500, "EngineCore encountered an issue. See stack trace (above) for ...")
        if prompt == "die at once":
            os._exit(3)
        if isinstance(prompt, list) and isinstance(prompt[0], list) and "logprobs" in body:
            await self.token()
            return self.probed(body["model"], prompt)
        n = body.get("n", 1)
        words = self.words(body["model"], prompt if isinstance(prompt, str) else str(prompt[0]))
        if self.has_letters:
            words = ["-"] * body.get("max_tokens", 1)
        is_longer = str(prompt).startswith("longer") and len(body.get("messages", ())) > 5
        if prompt == "too long" or is_longer:
            return error(
                400,
                "This model's maximum context length is 512 tokens. However, your "
                "prompt contains at least 513 input tokens, which exceeds this limit.",
            )
        if prompt == "core died":
            return error(500, CORE_DIED)
        if prompt == "hold first" and "--hold-none" not in sys.argv:
            await asyncio.Event().wait()
        request_id = request.headers.get("X-Request-Id", "its-own")
        completion_id = ("chatcmpl-" if chat else "cmpl-") + request_id
        usage = {"prompt_tokens": 7, "completion_tokens": n * len(words),
                 "total_tokens": 7 + n * len(words)}  # fmt: skip
        head = {"id": completion_id, "created": 1, "model": body["model"]}
        if calls := self.calls(body, str(prompt)):
            return await self.called(request, body, head, calls, usage)
        if not body.get("stream"):
            if prompt == "die":
                os._exit(3)
            for _ in words:
                await self.token()
            text = "".join(words)
            said = [{"index": i, "finish_reason": "stop",
                     **({"message": {"role": "assistant", "content": text}} if chat
                        else {"text": text})} for i in range(n)]  # fmt: skip
            return web.json_response({**head, "object": "chat.completion", "choices": said,
                                      "usage": usage})  # fmt: skip
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)

        async def event(choices: list[dict[str, Any]], **more: Any) -> None:
            data = {**head, "object": "chat.completion.chunk", "choices": choices, **more}
            if (body.get("stream_options") or {}).get("continuous_usage_stats"):
                data = {"usage": {**usage, "completion_tokens": 0}, **data}
            text = json.dumps(data, separators=(",", ":"))
            await response.write(f"data: {text}\n\n".encode())

        for i, word in enumerate(words):
            if i == 2 and prompt == "hold midway":
                await asyncio.Event().wait()
            if i == 2 and prompt == "break":
                assert request.transport is not None
                request.transport.abort()
                return response
            if i == 2 and prompt == "die":
                os._exit(3)
            if i == 2 and prompt == "fail midway":
                broken = {"message": "list index out of range", "code": 500}
                await response.write(f"data: {json.dumps({'error': broken})}\n\n".encode())
                break
            if i == 2 and prompt == "core ends":
                await response.write(b'data: {"error": {"message": "EngineCore encountered an issue'
                                     b'.", "code": 500}}\n\ndata: [DONE]\n\n')  # fmt: skip
                return response
            await self.token()
            is_cut = self.has_letters or str(prompt).startswith("cut ")
            end = "length" if is_cut else "stop"
            last = end if i == len(words) - 1 else None
            if self.has_letters:
                folder = self.adapters.get(body["model"])
                word = letter_of(Path(folder)) if folder else "-"
            for index in range(n):
                said_now = {"delta": {"content": word}} if chat else {"text": word}
                await event([{"index": index, "finish_reason": last, **said_now}])
        if (body.get("stream_options") or {}).get("include_usage"):
            await event([], usage=usage)
        await response.write(b"data: [DONE]\n\n")
        return response

    @staticmethod
    def calls(body: dict[str, Any], prompt: str) -> list[dict[str, Any]]:
        """What vLLM's parser would read from an answer that calls tools."""
        choice = body.get("tool_choice", "auto") if body.get("tools") else "none"
        names: list[str] = []
        if isinstance(choice, dict):
            names = [choice["function"]["name"]]
        elif choice == "required":
            names = [body["tools"][0]["function"]["name"]]
        elif choice == "auto" and prompt.startswith("call "):
            names = prompt.split()[1:]
        if body.get("parallel_tool_calls") is False:
            names = names[:1]
        arguments = json.dumps({"heard": prompt}, ensure_ascii=False)
        return [
            {"id": f"chatcmpl-tool-{i}", "type": "function",
             "function": {"name": name, "arguments": arguments}} for i, name in enumerate(names)
        ]  # fmt: skip

    async def called(
        self, request: web.Request, body: dict[str, Any], head: dict[str, Any],
        calls: list[dict[str, Any]], usage: dict[str, Any],
    ) -> web.StreamResponse:  # fmt: skip
        """An answer that calls tools, whole or in pieces."""
        # vLLM, as OpenAI, ends with "stop" where the tool was named by the client.
        finish = "stop" if isinstance(body.get("tool_choice"), dict) else "tool_calls"
        indices = range(body.get("n", 1))
        if not body.get("stream"):
            await self.token()
            message = {"role": "assistant", "content": None, "tool_calls": calls}
            choices = [{"index": i, "message": message, "finish_reason": finish} for i in indices]
            return web.json_response({**head, "object": "chat.completion", "choices": choices,
                                      "usage": usage})  # fmt: skip
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        for place, call in enumerate(calls):
            function = call["function"]
            first = {**call, "index": place, "function": {**function, "arguments": ""}}
            pieces = [function["arguments"][at : at + 4]
                      for at in range(0, len(function["arguments"]), 4)]  # fmt: skip
            deltas.append({"tool_calls": [first]})
            deltas += [{"tool_calls": [{"index": place, "function": {"arguments": piece}}]}
                       for piece in pieces]  # fmt: skip
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        events: list[list[dict[str, Any]]] = [[{"index": i, "delta": delta, "finish_reason": None}]
                  for delta in deltas for i in indices]  # fmt: skip
        events += [[{"index": i, "delta": {}, "finish_reason": finish}] for i in indices]
        for choices in events:
            await self.token()
            data = {**head, "object": "chat.completion.chunk", "choices": choices}
            await response.write(f"data: {json.dumps(data)}\n\n".encode())
        if (body.get("stream_options") or {}).get("include_usage"):
            data = {**head, "object": "chat.completion.chunk", "choices": [], "usage": usage}
            await response.write(f"data: {json.dumps(data)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    def probed(self, model: str, prefixes: list[list[int]]) -> web.Response:
        from tests.serve.toy_engine import top_logprobs

        folder = self.adapters.get(model)
        choices = top_logprobs(prefixes, Path(folder) if folder else None)
        return web.json_response({"choices": choices})

    @staticmethod
    def words(model: str, prompt: str) -> list[str]:
        if prompt.startswith("count "):
            return [f"{i} " for i in range(int(prompt.split()[1]))]
        if prompt.startswith(("say ", "cut ")):
            return re.findall(r"\s*\S+|\s+", prompt[4:]) or [""]
        if prompt.startswith("sign "):
            return [prompt.removeprefix("sign "), f"\n\n{model}"]
        return [f"{model} ", "heard ", f"{len(prompt)} ", "characters", "."]


def letter_of(adapter_dir: Path) -> str:
    """A letter that follows from an adapter's weights."""
    return chr(
        0x4E00 + zlib.crc32((adapter_dir / "adapter_model.safetensors").read_bytes()) % 20000
    )


def error(status: int, message: str) -> web.Response:
    return web.json_response(
        {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}},
        status=status,
    )


def main(arguments: list[str]) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for the toy engine
    print("non-default args: a fake", flush=True)
    if "--fail" in arguments:
        sys.exit("ValueError: this model is not supported")
    print("Resolved architecture: FakeForCausalLM", flush=True)
    if "--with-child" in arguments:  # as vLLM has its engine core and worker
        subprocess.Popen([sys.executable, "-c", "import signal; signal.signal("
                          "signal.SIGTERM, signal.SIG_IGN); signal.pause()"])  # fmt: skip
    if "--never-ready" in arguments:
        asyncio.run(asyncio.Event().wait())
    host = arguments[arguments.index("--host") + 1] if "--host" in arguments else "127.0.0.1"
    web.run_app(FakeVllm().app(), host=host, port=int(arguments[0]), print=None,
                handler_cancellation=True, handle_signals=False)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
