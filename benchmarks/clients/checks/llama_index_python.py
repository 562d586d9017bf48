"""LlamaIndex: OpenAILike, with tools."""

from typing import Literal

import openai
from cells import (
    ASK, BASE, KEY, KNOWS_TOOLS, LONG, MAX_TOKENS, MODEL, NO_TOOLS, TURNS, WRONG_KEY, Refused,
    called, feature, feedback, is_call, is_weather, need, overflow, pieces, recorded, refusal, run,
    wrong_key,
)  # fmt: skip
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike, OpenAILikeResponses
from schema import Weather

MESSAGES = [ChatMessage(role="user", content=ASK)]


def model(kind=OpenAILike, **fields):
    fields = {"model": MODEL, "api_base": BASE, "api_key": KEY, "max_retries": 0,
              "max_tokens": MAX_TOKENS, "is_chat_model": True, **fields}  # fmt: skip
    return kind(**fields)


def weather(city: Literal["Paris", "Oslo"]) -> str:
    """The weather of a city."""
    return "rain"


@feature("chat")
def chat() -> str:
    answer = model().chat(MESSAGES)
    recorded(answer.raw.id, answer.message.content)
    plain = model(is_chat_model=False).complete("A lighthouse is")
    recorded(plain.raw.id, plain.text)
    return "chat, complete"


@feature("stream")
def stream() -> str:
    chunks = list(model().stream_chat(MESSAGES))
    text, words = pieces(chunk.delta or "" for chunk in chunks)
    recorded(chunks[0].raw.id, text)
    return words


@feature("turns")
def turns() -> str:
    answer = model().chat([ChatMessage(**turn) for turn in TURNS])
    recorded(answer.raw.id, answer.message.content)
    n_more = answer.raw.usage.prompt_tokens - model().chat(MESSAGES).raw.usage.prompt_tokens
    need(n_more > 5, f"the turns before are {n_more} tokens")
    return f"{n_more} tokens more"


@feature("json")
def structured() -> str:
    found = model(should_use_structured_outputs=True).structured_predict(Weather, _prompt())
    is_weather(found.model_dump())
    return "structured_predict"


def _prompt():
    from llama_index.core.prompts import PromptTemplate

    return PromptTemplate(ASK)


@feature("tools")
def tools() -> str | Refused:
    llm, tool = model(is_function_calling_model=True), FunctionTool.from_defaults(weather)
    if not KNOWS_TOOLS:
        return refusal(lambda: llm.chat_with_tools([tool], user_msg=ASK), NO_TOOLS)
    answer = called(
        lambda: llm.chat_with_tools([tool], user_msg=ASK, tool_required=True),
        llm.get_tool_calls_from_response,
    )
    call, *_ = llm.get_tool_calls_from_response(answer)
    is_call(call.tool_name, call.tool_kwargs)
    ran = called(
        lambda: llm.predict_and_call([tool], user_msg=ASK, tool_required=True),
        lambda answer: answer.sources,
    )
    need(ran.sources[0].content == "rain", ran)
    return "tool_required, predict_and_call"


@feature("overflow")
def too_long() -> str:
    return overflow(
        lambda: model().chat([ChatMessage(role="user", content=LONG)]), openai.BadRequestError
    )


@feature("key")
def key() -> str:
    return wrong_key(lambda: model(api_key=WRONG_KEY).chat(MESSAGES), openai.AuthenticationError)


@feature("feedback")
def by_id() -> str:
    return feedback(model().chat(MESSAGES).raw.id)


@feature("responses")
def responses() -> str:
    llm = OpenAILikeResponses(model=MODEL, api_base=BASE, api_key=KEY, max_retries=0,
                              max_output_tokens=MAX_TOKENS)  # fmt: skip
    answer = llm.chat(MESSAGES)
    recorded(answer.raw.id, answer.message.content)
    _, words = pieces(chunk.delta or "" for chunk in llm.stream_chat(MESSAGES))
    return f"whole, {words}"


run("llama-index-llms-openai-like")
