"""LangChain for Python: langchain-openai's ChatOpenAI."""

from cells import (
    ASK, BASE, KEY, KNOWS_TOOLS, LONG, MAX_TOKENS, MODEL, NO_TOOLS, TOOL, TURNS, WRONG_KEY, Refused,
    called, feature, feedback, is_call, is_weather, need, overflow, pieces, recorded, refusal, run,
    wrong_key,
)  # fmt: skip
from langchain_core.exceptions import ContextOverflowError, ModelAuthenticationError
from langchain_core.messages import ToolMessage
from langchain_openai import ChatOpenAI
from schema import Weather


def model(**fields) -> ChatOpenAI:
    return ChatOpenAI(**{"model": MODEL, "base_url": BASE, "api_key": KEY, "max_retries": 0,
                         "max_tokens": MAX_TOKENS, **fields})  # fmt: skip


def id_of(message) -> str:
    return message.response_metadata["id"]


@feature("chat")
def chat() -> str:
    answer = model().invoke(ASK)
    recorded(id_of(answer), answer.text)
    need(answer.usage_metadata["output_tokens"] > 0, answer)
    return f"{answer.usage_metadata['output_tokens']} tokens"


@feature("stream")
def stream() -> str:
    chunks = list(model().stream(ASK))
    text, words = pieces(chunk.text for chunk in chunks)
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    need(whole.text == text and whole.response_metadata["finish_reason"], whole)
    return words


@feature("turns")
def turns() -> str:
    answer = model().invoke(TURNS)
    recorded(id_of(answer), answer.text)
    n_more = (answer.usage_metadata["input_tokens"]
              - model().invoke(ASK).usage_metadata["input_tokens"])  # fmt: skip
    need(n_more > 5, f"the turns before are {n_more} tokens")
    return f"{n_more} tokens more"


@feature("json")
def structured() -> str:
    found = model().with_structured_output(Weather).invoke(ASK)
    is_weather(found.model_dump())
    # It takes JSON that its bound cut for an error; at a temperature a small model may not end.
    free = model(max_tokens=400, temperature=0).with_structured_output(Weather, method="json_mode",
                                                        include_raw=True).invoke(ASK)  # fmt: skip
    need(free["raw"].text.lstrip().startswith("{"), free)
    return "with_structured_output"


@feature("tools")
def tools() -> str | Refused:
    bound = model().bind_tools([TOOL], tool_choice="any")
    if not KNOWS_TOOLS:
        return refusal(lambda: bound.invoke(ASK), NO_TOOLS)
    answer = called(lambda: bound.invoke(ASK), lambda answer: answer.tool_calls)
    call, *_ = answer.tool_calls
    is_call(call["name"], call["args"])
    whole = None
    for chunk in model().bind_tools([TOOL], tool_choice="weather").stream(ASK):
        whole = chunk if whole is None else whole + chunk
    again, *_ = whole.tool_calls
    is_call(again["name"], again["args"])
    result = ToolMessage("rain", tool_call_id=call["id"])
    after = model().bind_tools([TOOL]).invoke([("user", ASK), answer, result])
    need(after.text or after.tool_calls, after)
    return "any, named and streamed, result sent back"


@feature("overflow")
def too_long() -> str:
    return overflow(lambda: model().invoke(LONG), ContextOverflowError)


@feature("key")
def key() -> str:
    return wrong_key(lambda: model(api_key=WRONG_KEY).invoke(ASK), ModelAuthenticationError)


@feature("feedback")
def by_id() -> str:
    return feedback(id_of(model().invoke(ASK)))


@feature("responses")
def responses() -> str:
    by_responses = model(use_responses_api=True)
    answer = by_responses.invoke(ASK)
    recorded(id_of(answer), answer.text)
    _, words = pieces(chunk.text for chunk in by_responses.stream(TURNS))
    is_weather(by_responses.with_structured_output(Weather).invoke(ASK).model_dump())
    feedback(id_of(answer))
    return f"whole, {words}, structured"


run("langchain-openai")
