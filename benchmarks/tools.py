"""A scripted agent calls tools through the real engine; the embedded model, without any, refuses.

    python -m benchmarks.tools [--conversations 25]

A tiny base of random weights is made, whose template and parser know tools, and served by vLLM. In
each conversation the agent asks, is called back twice (``tool_choice`` required, then by name; in
turn streamed and whole), answers in the role ``tool``, and gets a text at the end. Each call is
held against its schema, and at the end against what the store kept. What is called with what is
noise: that the model chooses well isn't asked.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measurements import finish
from pawl.server import serving, start_server, stop_server, wait_ready
from pawl.settings import Settings, load_settings


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties),
            "additionalProperties": False}  # fmt: skip


WORD = {"type": "string", "maxLength": 8}
SCHEMAS: dict[str, dict[str, Any]] = {
    "look_up": _object(city={"enum": ["Köln", "Bonn", "京都"]}, days={"type": "integer",
                       "minimum": 1, "maximum": 99}),
    "book": _object(guests={"type": "array", "items": _object(name=WORD, is_child={
                    "type": "boolean"}), "minItems": 1, "maxItems": 2}, note=WORD),
    "stop": _object(),
}  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": name, "description": f"To {name}.",
                                           "parameters": schema}}
         for name, schema in SCHEMAS.items()]  # fmt: skip
MAX_TOKENS = 1200
COMMA_BIAS = 2.0  # after a call: makes another one about as likely as the end


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _joined(chunks: Iterable[Any]) -> tuple[str, str, list[dict[str, Any]], str | None]:
    """A streamed answer's id, text, calls and end, put together as OpenAI's guide does it."""
    completion_id, text, finish = "", "", None
    calls: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        completion_id = chunk.id
        delta, finish = chunk.choices[0].delta, chunk.choices[0].finish_reason
        text += delta.content or ""
        for part in delta.tool_calls or []:
            if part.index not in calls:
                calls[part.index] = _call(part.id, part.function.name, "")
            calls[part.index]["function"]["arguments"] += part.function.arguments or ""
    return completion_id, text, list(calls.values()), finish


@dataclass
class Turn:
    """One answer as the client has it."""

    completion_id: str
    messages: list[dict[str, Any]]  # what was asked
    calls: list[dict[str, Any]]
    text: str
    is_streamed: bool
    is_call: bool
    is_cut: bool  # by its tokens
    seconds: float


@dataclass
class Agent:
    """Talks through the unchanged client of OpenAI."""

    client: Any
    comma_id: int
    n_cut: int = 0  # answers that ran into their tokens, and were asked for again
    turns: list[Turn] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def converse(self, number: int) -> None:
        """One conversation: two answers that call tools, and a text."""
        name = ["look_up", "book"][number % 2]
        messages: list[dict[str, Any]] = [{"role": "user", "content": f"Plan trip {number}."}]
        named = {"type": "function", "function": {"name": name}}
        for step, choice in enumerate(("required", named, "none")):
            is_streamed = (number + step) % 2 == 0
            more: dict[str, Any] = {"seed": number, "parallel_tool_calls": number % 3 > 0}
            if choice == "required":  # of random weights, hardly any would call a second one
                more["logit_bias"] = {str(self.comma_id): COMMA_BIAS}
            turn = self.ask(messages, choice, is_streamed, **more)
            if turn.is_cut and more.pop("logit_bias", None):  # one call after the other
                self.n_cut += 1
                turn = self.ask(messages, choice, is_streamed, **more)
            answer: dict[str, Any] = {"role": "assistant", "content": turn.text or None}
            if choice == "none":
                if turn.calls:
                    self.problems.append(f"{turn.completion_id} calls a tool unasked")
                return
            if not turn.calls:
                self.problems.append(f"{turn.completion_id} calls no tool ({choice})")
                return
            if number % 3 == 0 and len(turn.calls) > 1:
                self.problems.append(f"{turn.completion_id} calls several tools at once")
            messages = [*messages, {**answer, "tool_calls": turn.calls}]
            for call in turn.calls:
                self.check(turn, call, None if choice == "required" else name)
                messages.append({"role": "tool", "content": "Done: ✓", "tool_call_id": call["id"]})

    def ask(
        self, messages: list[dict[str, Any]], choice: Any, is_streamed: bool, **more: Any
    ) -> Turn:
        began = time.monotonic()
        asked: dict[str, Any] = {
            "model": "pawl", "messages": messages, "tools": TOOLS, "tool_choice": choice,
            "max_tokens": 8 if choice == "none" else MAX_TOKENS, "temperature": 1.0, **more,
        }  # fmt: skip
        if is_streamed:
            completion_id, text, calls, finish = _joined(self.client.chat.completions.create(
                **asked, stream=True))  # fmt: skip
        else:
            answer = self.client.chat.completions.create(**asked)
            message = answer.choices[0].message
            completion_id, text = answer.id, message.content or ""
            finish = answer.choices[0].finish_reason
            calls = [_call(call.id, call.function.name, call.function.arguments)
                     for call in message.tool_calls or []]  # fmt: skip
        turn = Turn(completion_id, messages, calls, text, is_streamed, choice != "none",
                    finish == "length", time.monotonic() - began)  # fmt: skip
        self.turns.append(turn)
        return turn

    def check(self, turn: Turn, call: dict[str, Any], name: str | None) -> None:
        """Hold a call against its schema."""
        import jsonschema

        function = call["function"]
        if name not in (None, function["name"]):
            self.problems.append(f"{turn.completion_id} calls {function['name']}, not {name}")
        try:
            jsonschema.validate(json.loads(function["arguments"]), SCHEMAS[function["name"]])
        except (ValueError, KeyError, jsonschema.ValidationError) as error:
            self.problems.append(f"{turn.completion_id}: {str(error)[:200]}")


def compare(settings: Settings, turns: list[Turn]) -> list[str]:
    """Where the store has something else than the client got or sent, or training would see
    another prompt than the engine, by the number of its tokens."""
    from feedback.store import Store
    from pawl.chat_template import end_of_turn_id, load_tokenizer
    from refine.datasets import encode_answer

    problems = []
    tokenizer = load_tokenizer(Path(settings.model))
    end_id = end_of_turn_id(tokenizer)
    with Store.open(settings.database_path, wait_seconds=60) as store:
        for turn in turns:
            row = store.get_completion(turn.completion_id)
            if row is None:
                problems.append(f"{turn.completion_id} is not in the store")
                continue
            asked = [{**message, "content": message["content"] or ""} for message in turn.messages]
            pairs = {"calls": (row.tool_calls, turn.calls), "text": (row.completion, turn.text),
                     "prompt": (row.messages, asked), "tools": (row.tools, TOOLS),
                     "number of tokens": (row.n_prompt_tokens, encode_answer(
                         tokenizer, row.messages, "Done.", end_id, row.tools)[1])}  # fmt: skip
            problems += [f"{turn.completion_id}: another {name}: {kept} is kept, not {got}"
                         for name, (kept, got) in pairs.items() if kept != got]  # fmt: skip
    return problems


def with_tools(root: Path, n_conversations: int) -> tuple[Agent, list[str]]:
    """The agent's conversations with a base that knows tools."""
    import openai

    from tests.tiny_bases import calls_tools, tokens

    base = calls_tools(root / "base")
    settings = load_settings({"state_dir": root / "state", "model": str(base), "port": 0,
                              "engine": {"kv_cache_gib": 0.25}})  # fmt: skip
    with serving(settings, say=print) as server, openai.OpenAI(
        base_url=server.url + "/v1", api_key="any", max_retries=0, timeout=120
    ) as client:  # fmt: skip
        agent = Agent(client, tokens().index(","))
        for number in range(n_conversations):
            agent.converse(number)
    return agent, compare(settings, agent.turns)


def without_tools(root: Path) -> str:
    """What the embedded model answers to a request with tools. (It is refused before the engine is
    asked, so nobody waits for that one.)"""
    import httpx

    settings = load_settings({"state_dir": root / "plain", "port": 0})
    child = start_server(settings)
    try:
        server = wait_ready(settings, child, engine=False)
        body = {"model": "pawl", "messages": [{"role": "user", "content": "Hi"}], "tools": TOOLS}
        answer = httpx.post(server.url + "/v1/chat/completions", json=body, timeout=60)
    finally:
        stop_server(child)
    return f"{answer.status_code}: {answer.json()['error']['message']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=25, help="of two calling answers each")
    parser.add_argument("--no-record", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pawl-tools-") as folder:
        agent, differences = with_tools(Path(folder), args.conversations)
        refusal = without_tools(Path(folder))
    called = [turn for turn in agent.turns if turn.is_call and not turn.is_cut]
    n_calls = sum(len(turn.calls) for turn in called)
    seconds = [turn.seconds for turn in called]
    n_streamed = sum(turn.is_streamed for turn in called)
    problems = agent.problems + differences
    if not refusal.startswith("400: ") or "smollm2-135m" not in refusal:
        problems.append(f"the embedded model answered {refusal}")
    for problem in problems[:20]:
        print(problem)
    finish(
        "tools", "Tools: a scripted agent on the real engine",
        {
            "answers that had to call a tool": f"{len(called)} ({n_streamed} streamed), "
            f"{n_calls} calls in them, {max(len(turn.calls) for turn in called)} at most in one",
            f"other answers, cut after {MAX_TOKENS} tokens and asked for again": agent.n_cut,
            "calls, or answers without, that are not by their schema or choice":
            f"{len(agent.problems)}",
            "answers whose calls, text, prompt or tools differ between client and store, or their "
            "prompt's length between engine and training":
            f"{len(differences)} of {len(agent.turns)}",
            "an answer that calls, median": f"{statistics.median(seconds):.2f} s",
            "the embedded model": refusal,
        },
        missed=problems[:3],
        note="A base of random weights with a template like Qwen2.5's, vLLM's parser `hermes`, the "
        "unchanged `openai` client; `tool_choice` required and by name, then answers in the role "
        "`tool`.",
        keep=not args.no_record,
    )  # fmt: skip


if __name__ == "__main__":
    main()
