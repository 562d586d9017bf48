"""anthropic for Python: the Messages API."""

import anthropic
from cells import (
    ASK, KEY, KNOWS_TOOLS, LONG, MAX_TOKENS, MESSAGES, MODEL, NO_TOOLS, TOOL_SCHEMA, URL, WRONG_KEY,
    Refused, called, feature, feedback, is_call, need, overflow, pieces, recorded, refusal, run,
    wrong_key,
)  # fmt: skip

client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)
TOOLS = [{"name": "weather", "description": "The weather of a city", "input_schema": TOOL_SCHEMA}]


def create(**fields):
    return client.messages.create(
        **{"model": MODEL, "messages": MESSAGES, "max_tokens": MAX_TOKENS, **fields}
    )


def text_of(message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@feature("messages")
def chat() -> str:
    answer = create()
    recorded(answer.id, text_of(answer))
    need(answer.stop_reason in ("end_turn", "max_tokens"), answer)
    need(answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0, answer.usage)
    return f"{answer.usage.output_tokens} tokens"


@feature("stream")
def stream() -> str:
    with client.messages.stream(model=MODEL, messages=MESSAGES, max_tokens=MAX_TOKENS) as events:
        text, words = pieces(events.text_stream)
        final = events.get_final_message()
    need(text_of(final) == text and final.stop_reason, final)
    recorded(final.id, text)
    return words


@feature("turns")
def turns() -> str:
    history = [*MESSAGES, {"role": "assistant", "content": "It warns ships."},
               {"role": "user", "content": [{"type": "text", "text": "And by day?"}]}]  # fmt: skip
    answer = create(system="You keep a lighthouse.", messages=history)
    recorded(answer.id, text_of(answer))
    n_more = answer.usage.input_tokens - create().usage.input_tokens
    need(n_more > 5, f"the turns before are {n_more} tokens")
    return f"{n_more} tokens more"


@feature("tools")
def tools() -> str | Refused:
    def ask():
        return create(tools=TOOLS, tool_choice={"type": "any"})

    if not KNOWS_TOOLS:
        return refusal(ask, NO_TOOLS)
    answer = called(
        ask, lambda answer: [block for block in answer.content if block.type == "tool_use"]
    )
    call = next(block for block in answer.content if block.type == "tool_use")
    is_call(call.name, call.input)
    need(answer.stop_reason == "tool_use", answer)
    with client.messages.stream(
        model=MODEL, messages=MESSAGES, max_tokens=MAX_TOKENS, tools=TOOLS,
        tool_choice={"type": "tool", "name": "weather"},
    ) as events:  # fmt: skip
        final = events.get_final_message()
    streamed = next(block for block in final.content if block.type == "tool_use")
    is_call(streamed.name, streamed.input)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
    after = create(tools=TOOLS, messages=[*MESSAGES,
                   {"role": "assistant", "content": answer.content},
                   {"role": "user", "content": [result]}])  # fmt: skip
    need(after.content, after)
    return "any, named and streamed, result sent back"


@feature("overflow")
def too_long() -> str:
    long = [{"role": "user", "content": LONG}]
    return overflow(lambda: create(messages=long), anthropic.BadRequestError)


@feature("key")
def key() -> str:
    wrong = client.with_options(api_key=WRONG_KEY)
    return wrong_key(
        lambda: wrong.messages.create(model=MODEL, messages=MESSAGES, max_tokens=8),
        anthropic.AuthenticationError,
    )


@feature("feedback")
def by_id() -> str:
    return feedback(create(messages=[{"role": "user", "content": ASK}]).id)


run("anthropic")
