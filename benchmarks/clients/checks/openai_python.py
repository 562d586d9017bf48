"""openai for Python."""

import openai
from cells import (
    ASK, BASE, KEY, KNOWS_TOOLS, LONG, MAX_TOKENS, MESSAGES, MODEL, NAMED, NO_TOOLS, TOOL,
    TOOL_SCHEMA, TURNS, WRONG_KEY, Refused, called, feature, feedback, is_call, is_weather, need,
    overflow, pieces, recorded, refusal, run, wrong_key,
)  # fmt: skip
from schema import Weather

client = openai.OpenAI(base_url=BASE, api_key=KEY, max_retries=0)


def create(**fields):
    return client.chat.completions.create(
        **{"model": MODEL, "messages": MESSAGES, "max_tokens": MAX_TOKENS, **fields}
    )


@feature("chat")
def chat() -> str:
    answer = create()
    recorded(answer.id, answer.choices[0].message.content)
    need(answer.choices[0].finish_reason in ("stop", "length"), answer)
    need(answer.usage.completion_tokens > 0 and answer.usage.prompt_tokens > 0, answer.usage)
    models = client.models.list().data
    need(client.models.retrieve(models[0].id).id == models[0].id, models)
    return f"{answer.usage.completion_tokens} tokens"


@feature("stream")
def stream() -> str:
    chunks = list(create(stream=True, stream_options={"include_usage": True}))
    text, words = pieces(c.choices[0].delta.content for c in chunks if c.choices)
    recorded(chunks[0].id, text)
    need([c for c in chunks if c.choices][-1].choices[0].finish_reason, chunks[-2:])
    need(chunks[-1].usage.completion_tokens > 0, chunks[-1])
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
    answer = client.chat.completions.parse(
        model=MODEL, messages=MESSAGES, max_tokens=100, response_format=Weather
    )
    recorded(answer.id, answer.choices[0].message.content)
    is_weather(answer.choices[0].message.parsed.model_dump())
    free = create(response_format={"type": "json_object"}, max_tokens=200)
    need(free.choices[0].message.content.lstrip().startswith("{"), free)
    return "parse, json_object"


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
    chunks = list(create(tools=[TOOL], tool_choice=NAMED, stream=True))
    parts = [t for c in chunks if c.choices for t in c.choices[0].delta.tool_calls or []]
    is_call("".join(t.function.name or "" for t in parts),
            "".join(t.function.arguments or "" for t in parts))  # fmt: skip
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    after = create(tools=[TOOL], messages=[*MESSAGES, answer.choices[0].message, result])
    need(after.choices[0].message.content or after.choices[0].message.tool_calls, after)
    answer = client.responses.create(
        model=MODEL, input=ASK, tool_choice={"type": "function", "name": "weather"},
        tools=[{"type": "function", "name": "weather", "parameters": TOOL_SCHEMA}],
    )  # fmt: skip
    item, *_ = [item for item in answer.output if item.type == "function_call"]
    is_call(item.name, item.arguments)
    return "required, named and streamed, result sent back; Responses"


@feature("overflow")
def too_long() -> str:
    call = lambda: create(messages=[{"role": "user", "content": LONG}])  # noqa: E731
    try:
        call()
    except openai.BadRequestError as error:
        need(error.code == "context_length_exceeded", error)
    return overflow(call, openai.BadRequestError) + ", its code"


@feature("key")
def key() -> str:
    wrong = client.with_options(api_key=WRONG_KEY)
    return wrong_key(
        lambda: wrong.chat.completions.create(model=MODEL, messages=MESSAGES),
        openai.AuthenticationError,
    )


@feature("feedback")
def by_id() -> str:
    return feedback(create().id)


@feature("responses")
def responses() -> str:
    answer = client.responses.create(model=MODEL, input=ASK, max_output_tokens=MAX_TOKENS)
    recorded(answer.id, answer.output_text)
    need(answer.usage.output_tokens > 0, answer.usage)
    events = list(
        client.responses.create(model=MODEL, input=TURNS, max_output_tokens=MAX_TOKENS, stream=True)
    )
    text, words = pieces(e.delta for e in events if e.type == "response.output_text.delta")
    final = events[-1].response
    need(final.output_text == text, final)
    recorded(final.id, text)
    parsed = client.responses.parse(model=MODEL, input=ASK, text_format=Weather)
    is_weather(parsed.output_parsed.model_dump())
    feedback(answer.id)
    return f"whole, {words}, parse, feedback"


@feature("completions")
def completions() -> str:
    answer = client.completions.create(model=MODEL, prompt="A lighthouse is", max_tokens=16)
    recorded(answer.id, answer.choices[0].text)
    ids = client.completions.create(model=MODEL, prompt=[5, 6, 7, 8], max_tokens=16)
    recorded(ids.id, ids.choices[0].text)
    return "text and token ids"


run("openai")
