"""pydantic-ai: OpenAIChatModel, OpenAIResponsesModel and AnthropicModel."""

import asyncio

from cells import (
    ASK, BASE, KEY, KNOWS_TOOLS, LONG, MAX_TOKENS, MODEL, NO_TOOLS, URL, WRONG_KEY, Refused, called,
    feature, feedback, is_weather, need, overflow, pieces, recorded, refusal, run, wrong_key,
)  # fmt: skip
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.exceptions import ModelAuthenticationError, ModelContextWindowExceededError
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from schema import Weather


def agent(kind=OpenAIChatModel, key: str = KEY, **fields) -> Agent:
    if kind is AnthropicModel:
        provider = AnthropicProvider(base_url=URL, api_key=key)
    else:
        provider = OpenAIProvider(base_url=BASE, api_key=key)
    settings = {"max_tokens": MAX_TOKENS, **fields.pop("settings", {})}
    return Agent(kind(MODEL, provider=provider), model_settings=settings, retries=0,
                 instructions="You keep a lighthouse.", **fields)  # fmt: skip


def streamed(who: Agent) -> str:
    async def deltas() -> list[str]:
        async with who.run_stream(ASK) as result:
            return [part async for part in result.stream_text(delta=True, debounce_by=None)]

    return pieces(iter(asyncio.run(deltas())))[1]


@feature("chat")
def chat() -> str:
    result = agent().run_sync(ASK)
    recorded(result.response.provider_response_id, result.output)
    return f"{result.response.usage.output_tokens} tokens"


@feature("stream")
def stream() -> str:
    return streamed(agent())


@feature("turns")
def turns() -> str:
    first = agent().run_sync(ASK)
    second = agent().run_sync("And by day?", message_history=first.all_messages())
    recorded(second.response.provider_response_id, second.output)
    n_more = second.response.usage.input_tokens - first.response.usage.input_tokens
    need(n_more > 5, f"the turns before are {n_more} tokens")
    return f"{n_more} tokens more"


@feature("json")
def structured() -> str:
    found = agent(output_type=NativeOutput(Weather)).run_sync(ASK).output
    is_weather(found.model_dump())
    return "NativeOutput"


@feature("tools")
def tools() -> str | Refused:
    by_tool = agent(output_type=Weather)  # the default way to structured output is a tool

    if not KNOWS_TOOLS:
        return refusal(lambda: by_tool.run_sync(ASK), NO_TOOLS)
    answer = called(lambda: by_tool.run_sync(ASK), lambda answer: answer.output)
    is_weather(answer.output.model_dump())
    return "output_type=class, a forced tool"


@feature("overflow")
def too_long() -> str:
    return overflow(lambda: agent().run_sync(LONG), ModelContextWindowExceededError)


@feature("key")
def key() -> str:
    return wrong_key(lambda: agent(key=WRONG_KEY).run_sync(ASK), ModelAuthenticationError)


@feature("feedback")
def by_id() -> str:
    return feedback(agent().run_sync(ASK).response.provider_response_id)


@feature("responses")
def responses() -> str:
    result = agent(OpenAIResponsesModel).run_sync(ASK)
    recorded(result.response.provider_response_id, result.output)
    words = streamed(agent(OpenAIResponsesModel))
    native = agent(OpenAIResponsesModel, output_type=NativeOutput(Weather))
    is_weather(native.run_sync(ASK).output.model_dump())
    return f"whole, {words}, NativeOutput"


@feature("messages")
def messages() -> str:
    result = agent(AnthropicModel).run_sync(ASK)
    recorded(result.response.provider_response_id, result.output)
    return f"whole, {streamed(agent(AnthropicModel))}"


run("pydantic-ai-slim")
