"""DSPy: an LM, and a program with a typed answer."""

from typing import Literal

import dspy
from cells import (
    ASK, BASE, KEY, KNOWS_TOOLS, LONG, MAX_TOKENS, MESSAGES, MODEL, NAMED, NO_TOOLS, TOOL, TURNS,
    WRONG_KEY, Refused, feature, feedback, is_call, is_weather, need, overflow, recorded, refusal,
    run, wrong_key,
)  # fmt: skip
from dspy.lm15 import (
    AccessPolicy, ModelSupport, OpenAIChatCompat, ProviderDefinition, register_provider,
)  # fmt: skip


def model(**fields) -> dspy.LM:
    fixed = {"model": f"openai/{MODEL}", "api_base": BASE, "api_key": KEY, "cache": False}
    return dspy.LM(**{**fixed, "max_tokens": MAX_TOKENS, "num_retries": 0, **fields})


class Weather(dspy.Signature):
    """Say how the weather is."""

    question: str = dspy.InputField()
    city: Literal["Paris", "Oslo"] = dspy.OutputField()
    sunny: bool = dspy.OutputField()


@feature("chat")
def chat() -> str:
    lm = model()
    [text] = lm(ASK)
    recorded(lm.history[-1]["response"].id, text)
    return f"{lm.history[-1]['usage']['completion_tokens']} tokens"


@feature("turns")
def turns() -> str:
    lm = model()
    [text] = lm(messages=TURNS)
    recorded(lm.history[-1]["response"].id, text)
    return f"{lm.history[-1]['usage']['prompt_tokens']} tokens of prompt"


@feature("json")
def structured() -> str:
    """DSPy asks for a schema only where it is told that the server knows them: by
    ``register_provider``. Without, a model this small would have to follow its format by itself."""
    access = AccessPolicy(provider="pawl", env_keys=("PAWL_KEY",), base_url=BASE)
    definition = ProviderDefinition.chat(access, compat=OpenAIChatCompat())
    register_provider(definition, supports=ModelSupport(response_schema=True))
    lm = dspy.LM(f"pawl/{MODEL}", api_key=KEY, max_tokens=100, cache=False, num_retries=0)
    with dspy.context(lm=lm, adapter=dspy.JSONAdapter()):
        found = dspy.Predict(Weather)(question=ASK)
    is_weather({"city": found.city, "sunny": found.sunny})
    return "register_provider, JSONAdapter"


@feature("tools")
def tools() -> str | Refused:
    lm = model()
    if not KNOWS_TOOLS:
        return refusal(lambda: lm(messages=MESSAGES, tools=[TOOL]), NO_TOOLS)
    [answer] = lm(messages=MESSAGES, tools=[TOOL], tool_choice=NAMED)
    call, *_ = answer["tool_calls"]
    is_call(call["function"]["name"], call["function"]["arguments"])
    return "named"


@feature("overflow")
def too_long() -> str:
    return overflow(lambda: model()(LONG), dspy.ContextWindowExceededError)


@feature("key")
def key() -> str:
    return wrong_key(lambda: model(api_key=WRONG_KEY)(ASK))


@feature("feedback")
def by_id() -> str:
    lm = model()
    lm(ASK)
    return feedback(lm.history[-1]["response"].id)


@feature("responses")
def responses() -> str:
    lm = model(model_type="responses")
    found = lm(ASK)
    need(str(found[0]).strip(), found)
    return feedback(lm.history[-1]["response"].id)


run("dspy")
