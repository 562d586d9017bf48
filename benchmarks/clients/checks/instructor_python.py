"""instructor: structured answers, by JSON schema and by tools (its default)."""

import instructor
import openai
from cells import (
    ASK, BASE, KEY, KNOWS_TOOLS, LONG, MAX_TOKENS, MESSAGES, MODEL, NO_TOOLS, WRONG_KEY, Refused,
    feature, feedback, is_weather, overflow, refusal, run, wrong_key,
)  # fmt: skip
from instructor.exceptions import InstructorRetryException
from schema import Weather

client = openai.OpenAI(base_url=BASE, api_key=KEY, max_retries=0)


def ask(mode: instructor.Mode, *, text: str = ASK, with_client: openai.OpenAI = client):
    wrapped = instructor.from_openai(with_client, mode=mode)
    return wrapped.chat.completions.create(
        model=MODEL, response_model=Weather, max_retries=0, max_tokens=MAX_TOKENS,
        messages=[{"role": "user", "content": text}],
    )  # fmt: skip


@feature("json")
def structured() -> str:
    is_weather(ask(instructor.Mode.JSON_SCHEMA).model_dump())
    return "Mode.JSON_SCHEMA"


@feature("stream")
def stream() -> str:
    wrapped = instructor.from_openai(client, mode=instructor.Mode.JSON_SCHEMA)
    parts = list(wrapped.chat.completions.create_partial(
        model=MODEL, response_model=Weather, messages=MESSAGES, max_tokens=MAX_TOKENS,
    ))  # fmt: skip
    is_weather(parts[-1].model_dump())
    return f"create_partial, {len(parts)} states"


@feature("tools")
def tools() -> str | Refused:
    if not KNOWS_TOOLS:
        return refusal(lambda: ask(instructor.Mode.TOOLS), NO_TOOLS)
    is_weather(ask(instructor.Mode.TOOLS).model_dump())
    return "Mode.TOOLS"


@feature("overflow")
def too_long() -> str:
    return overflow(
        lambda: ask(instructor.Mode.JSON_SCHEMA, text=LONG), openai.BadRequestError,
        InstructorRetryException,
    )  # fmt: skip


@feature("key")
def key() -> str:
    wrong = client.with_options(api_key=WRONG_KEY)
    return wrong_key(
        lambda: ask(instructor.Mode.JSON_SCHEMA, with_client=wrong), openai.AuthenticationError,
        InstructorRetryException,
    )  # fmt: skip


@feature("feedback")
def by_id() -> str:
    wrapped = instructor.from_openai(client, mode=instructor.Mode.JSON_SCHEMA)
    _, raw = wrapped.chat.completions.create_with_completion(
        model=MODEL, response_model=Weather, messages=MESSAGES, max_tokens=MAX_TOKENS
    )
    return feedback(raw.id)


run("instructor")
