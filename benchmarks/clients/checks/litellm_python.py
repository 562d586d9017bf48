"""LiteLLM as a library: chat, its Responses and its Anthropic bridges."""

import asyncio

import litellm
from cells import (
    ASK, BASE, KEY, KNOWS_TOOLS, LONG, MAX_TOKENS, MESSAGES, MODEL, NAMED, NO_TOOLS, TOOL,
    TOOL_SCHEMA, TURNS, WRONG_KEY, Refused, called, feature, feedback, is_call, is_weather, need,
    overflow, pieces, recorded, refusal, run, wrong_key,
)  # fmt: skip
from schema import Weather

litellm.telemetry = False
litellm.suppress_debug_info = True
WHERE = {"api_base": BASE, "api_key": KEY, "num_retries": 0, "max_retries": 0}


def create(**fields):
    return litellm.completion(
        **{"model": f"openai/{MODEL}", "messages": MESSAGES, "max_tokens": MAX_TOKENS,
           **WHERE, **fields}
    )  # fmt: skip


@feature("chat")
def chat() -> str:
    answer = create()
    recorded(answer.id, answer.choices[0].message.content)
    need(answer.usage.completion_tokens > 0, answer.usage)
    other = create(model=f"hosted_vllm/{MODEL}")
    recorded(other.id, other.choices[0].message.content)
    return "openai/, hosted_vllm/"


@feature("stream")
def stream() -> str:
    chunks = list(create(stream=True))
    text, words = pieces(c.choices[0].delta.content for c in chunks if c.choices)
    recorded(chunks[0].id, text)
    return words


@feature("turns")
def turns() -> str:
    answer = create(messages=TURNS)
    recorded(answer.id, answer.choices[0].message.content)
    n_more = answer.usage.prompt_tokens - create().usage.prompt_tokens
    need(n_more > 5, f"the turns before are {n_more} tokens")
    return f"{n_more} tokens more"


@feature("json")
def structured() -> str:
    answer = create(response_format=Weather, max_tokens=100)
    recorded(answer.id, answer.choices[0].message.content)
    is_weather(answer.choices[0].message.content)
    return "response_format=class"


def ask_anthropic(provider: str, **fields):
    base = BASE if provider != "anthropic" else BASE.removesuffix("/v1")
    return asyncio.run(
        litellm.anthropic.messages.acreate(
            **{"model": f"{provider}/{MODEL}", "messages": MESSAGES, "api_key": KEY,
               "max_tokens": MAX_TOKENS, "api_base": base, **fields}
        )
    )  # fmt: skip


@feature("tools")
def tools() -> str | Refused:
    if not KNOWS_TOOLS:
        return refusal(lambda: create(tools=[TOOL]), NO_TOOLS)
    answer = called(
        lambda: create(tools=[TOOL], tool_choice="required"),
        lambda answer: answer.choices[0].message.tool_calls,
    )
    call, *_ = answer.choices[0].message.tool_calls
    is_call(call.function.name, call.function.arguments)
    whole = litellm.stream_chunk_builder(list(create(tools=[TOOL], tool_choice=NAMED, stream=True)))
    again, *_ = whole.choices[0].message.tool_calls
    is_call(again.function.name, again.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    after = create(tools=[TOOL], messages=[*MESSAGES, answer.choices[0].message, result])
    need(after.choices[0].message.content or after.choices[0].message.tool_calls, after)
    tool = {"name": "weather", "input_schema": TOOL_SCHEMA}
    for provider in ("openai", "hosted_vllm", "anthropic"):
        bridged = dict(
            ask_anthropic(provider, tools=[tool], tool_choice={"type": "tool", "name": "weather"})
        )
        block, *_ = [dict(b) for b in bridged["content"] if dict(b)["type"] == "tool_use"]
        # To hosted_vllm/ it leaves additionalProperties out, so that others may stand beside.
        is_call(block["name"], {"city": block["input"]["city"]})
    return "required, named and streamed, result sent back; Anthropic bridges"


@feature("overflow")
def too_long() -> str:
    long = [{"role": "user", "content": LONG}]
    return overflow(lambda: create(messages=long), litellm.ContextWindowExceededError)


@feature("key")
def key() -> str:
    return wrong_key(lambda: create(api_key=WRONG_KEY), litellm.AuthenticationError)


@feature("feedback")
def by_id() -> str:
    return feedback(create().id)


def text_of(answer) -> str:
    return "".join(part.text for item in answer.output if item.type == "message"
                   for part in item.content)  # fmt: skip


@feature("responses")
def responses() -> str:
    """``openai/`` asks for /v1/responses; ``hosted_vllm/`` is translated into chat."""
    done = []
    for provider in ("openai", "hosted_vllm"):
        fields = {"model": f"{provider}/{MODEL}", "input": ASK, "max_output_tokens": MAX_TOKENS,
                  **WHERE}  # fmt: skip
        answer = litellm.responses(**fields)
        need(text_of(answer).strip(), answer)
        events = list(litellm.responses(**fields, stream=True))
        _, words = pieces(e.delta for e in events if e.type == "response.output_text.delta")
        done.append(f"{provider}/ {words}")
    return ", ".join(done)


@feature("messages")
def messages() -> str:
    """Anthropic's calls, translated (``openai/``) or passed on (``anthropic/``)."""

    done = []
    for provider in ("openai", "hosted_vllm", "anthropic"):
        answer = ask_anthropic(provider)
        text = "".join(block.get("text", "") for block in dict(answer)["content"])
        need(text.strip(), answer)
        done.append(f"{provider}/")
    return ", ".join(done)


run("litellm")
