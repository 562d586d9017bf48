"""openai-agents: its default is the Responses API; the chat API by a setting."""

import asyncio
from typing import Literal

import openai
from agents import (
    Agent, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool,
    set_tracing_disabled,
)  # fmt: skip
from cells import (
    ASK, BASE, KEY, KNOWS_TOOLS, LONG, MAX_TOKENS, MODEL, NO_TOOLS, TURNS, WRONG_KEY, Refused,
    feature, feedback, is_weather, need, overflow, pieces, recorded, refusal, run, wrong_key,
)  # fmt: skip
from schema import Weather

set_tracing_disabled(True)
KIND = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}
called: list[str] = []


@function_tool
def weather(city: Literal["Paris", "Oslo"]) -> str:
    """The weather of a city."""
    called.append(city)
    return "rain"


def agent(kind: str = "chat", key: str = KEY, **fields) -> Agent:
    client = openai.AsyncOpenAI(base_url=BASE, api_key=key, max_retries=0)
    # It takes an answer of the Responses API that its bound cut for an error: room to end in.
    bounds = {"max_tokens": MAX_TOKENS if kind == "chat" else 1000, "temperature": 0}
    settings = ModelSettings(**bounds, **fields.pop("settings", {}))
    model = KIND[kind](model=MODEL, openai_client=client)
    return Agent(name="keeper", instructions="You keep a lighthouse.", model=model,
                 model_settings=settings, **fields)  # fmt: skip


def ask(who: Agent, text=ASK, **fields):
    return asyncio.run(Runner.run(who, text, **fields))


def streamed(who: Agent) -> tuple[str, str, str]:
    async def deltas() -> tuple[list[str], str]:
        result = Runner.run_streamed(who, ASK)
        parts = [event.data.delta async for event in result.stream_events()
                 if event.type == "raw_response_event"
                 and event.data.type == "response.output_text.delta"]  # fmt: skip
        return parts, result.final_output

    parts, final = asyncio.run(deltas())
    text, words = pieces(iter(parts))
    need(text == final, (text, final))
    return text, words, final


@feature("chat")
def chat() -> str:
    result = ask(agent())
    need(result.final_output.strip(), result)
    return f"{result.context_wrapper.usage.output_tokens} tokens"


@feature("stream")
def stream() -> str:
    return streamed(agent())[1]


@feature("turns")
def turns() -> str:
    first = ask(agent())
    second = ask(agent(), [*first.to_input_list(), {"role": "user", "content": "And by day?"}])
    need(second.final_output.strip(), second)
    need(ask(agent(), TURNS[1:]).final_output.strip(), "no answer")
    return "to_input_list"


@feature("json")
def structured() -> str:
    return "output_type " + is_weather(ask(agent(output_type=Weather)).final_output.model_dump())


def with_tool(kind: str) -> str | Refused:
    who = agent(kind, tools=[weather], settings={"tool_choice": "weather"})
    if not KNOWS_TOOLS:
        return refusal(lambda: ask(who), NO_TOOLS)
    called.clear()
    result = ask(who)
    need(called and result.final_output is not None, (called, result))
    return "named, run, result sent back; both APIs"


@feature("tools")
def tools() -> str | Refused:
    by_chat, by_responses = with_tool("chat"), with_tool("responses")
    need(type(by_chat) is type(by_responses), (by_chat, by_responses))
    return by_chat


@feature("overflow")
def too_long() -> str:
    return overflow(lambda: ask(agent(), LONG), openai.BadRequestError)


@feature("key")
def key() -> str:
    return wrong_key(lambda: ask(agent(key=WRONG_KEY)), openai.AuthenticationError)


@feature("responses")
def responses() -> str:
    result = ask(agent("responses"))
    answer_id = result.raw_responses[0].response_id
    recorded(answer_id, result.final_output)
    words = streamed(agent("responses"))[1]
    second = ask(agent("responses"),
                 [*result.to_input_list(), {"role": "user", "content": "And by day?"}])  # fmt: skip
    need(second.final_output.strip(), second)
    is_weather(ask(agent("responses", output_type=Weather)).final_output.model_dump())
    feedback(answer_id)
    return f"whole, {words}, turns, output_type"


run("openai-agents")
