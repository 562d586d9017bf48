"""What the checks in Python share. A check is a function for one feature of one client:

    @feature("chat")
    def chat() -> str:
        answer = client.chat.completions.create(...)
        return recorded(answer.id, answer.choices[0].message.content)

It returns what shows that the feature works, or what :func:`refusal` returns; whatever it raises
is a failure. ``run()`` prints one line of JSON for each feature that the command line names.
Only the standard library is imported: every client's environment has it.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

URL = os.environ["PAWL_URL"]
BASE = URL + "/v1"
KEY = os.environ["PAWL_KEY"]  # of this client alone, role user
WRONG_KEY = "pawl_wrong"
KNOWS_TOOLS = os.environ.get("PAWL_KNOWS_TOOLS") == "1"
MODEL = "pawl"
ASK = "Say in one sentence what a lighthouse is for."
MESSAGES = [{"role": "user", "content": ASK}]
TURNS = [
    {"role": "system", "content": "You are a keeper of a lighthouse."},
    *MESSAGES,
    {"role": "assistant", "content": "It warns ships of rocks."},
    {"role": "user", "content": "And by day?"},
]
LONG = "word " * 20_000  # tokens, about: no base that is served here has such a context
MAX_TOKENS = 1000 if KNOWS_TOOLS else 48  # a base that writes a byte a token, at random
TRIES = 8  # of a base of random weights
NAMED = {"type": "function", "function": {"name": "weather"}}  # a choice of TOOL
CITIES = ("Paris", "Oslo")
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": list(CITIES)}, "sunny": {"type": "boolean"}},
    "required": ["city", "sunny"],
    "additionalProperties": False,
}
TOOL_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": list(CITIES)}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather of a city",
                 "parameters": TOOL_SCHEMA},
}  # fmt: skip
NO_TOOLS = "was not taught to call tools"  # the true reason, for a base that knows none


@dataclass(frozen=True)
class Refused:
    """The server refused, and the client showed its reason. ``code``: of the error."""

    code: str


_features: dict[str, Callable[[], str | Refused]] = {}
_answers: list[dict[str, str]] = []


def feature(name: str) -> Callable[[Callable[[], str | Refused]], Callable[[], str | Refused]]:
    """Register a check for a column of the table."""

    def register(check: Callable[[], str | Refused]) -> Callable[[], str | Refused]:
        _features[name] = check
        return check

    return register


def need(condition: object, what: object) -> None:
    """``assert`` that python -O keeps."""
    if not condition:
        raise AssertionError(str(what)[-500:])


def recorded(answer_id: str | None, text: str | None) -> None:
    """The client read this answer; the runner holds it against the store once the server ended."""
    need(answer_id, "the client has no id of the answer")
    need(text is not None and text.strip(), f"the answer is {text!r}")
    _answers.append({"id": str(answer_id), "text": str(text)})


def words_of(error: BaseException) -> str:
    """All that an error of a client says, with its causes."""
    texts, seen = [], set[int]()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        texts += [type(current).__name__, str(current), str(getattr(current, "body", ""))]
        current = current.__cause__ or current.__context__
    return "\n".join(texts)


def raised(call: Callable[[], object], *kinds: type[BaseException]) -> BaseException:
    """The error of a call, which must be one of ``kinds``."""
    try:
        result = call()
    except Exception as error:
        if kinds:
            need(isinstance(error, kinds), f"{type(error).__name__} instead of "
                 f"{' or '.join(kind.__name__ for kind in kinds)}: {error}")  # fmt: skip
        return error
    raise AssertionError(f"it was answered: {str(result)[:300]}")


def refusal(call: Callable[[], object], words: str, code: str = "unsupported_parameter") -> Refused:
    """The call is refused for the true reason, which the client shows."""
    error = raised(call)
    need(words in words_of(error), f"{type(error).__name__} without the reason: {error}")
    return Refused(code)


def overflow(call: Callable[[], object], *kinds: type[BaseException]) -> str:
    """A prompt that is too long raises the client's own class for it."""
    error = raised(call, *kinds)
    text = words_of(error)
    need("maximum context length" in text or "too long" in text, text)
    return type(error).__name__


def wrong_key(call: Callable[[], object], *kinds: type[BaseException]) -> str:
    """A wrong key raises the client's own class for it."""
    return type(raised(call, *kinds)).__name__


def pieces(stream: Iterator[str]) -> tuple[str, str]:
    """A stream's text, and in words how many pieces it came in: two or more, or it is none."""
    parts = [piece for piece in stream if piece]
    need(len(parts) > 1, f"the stream came as {parts!r}")
    return "".join(parts), f"{len(parts)} pieces"


def is_weather(value: Any) -> str:
    """The structured answer of :data:`SCHEMA`, as a dict or its JSON."""
    found = json.loads(value) if isinstance(value, str) else dict(value)
    need(set(found) == {"city", "sunny"}, found)
    need(found["city"] in CITIES and isinstance(found["sunny"], bool), found)
    return json.dumps(found, separators=(",", ":"))


def is_call(name: str, arguments: Any) -> None:
    """A call of :data:`TOOL`, its arguments as a dict or their JSON."""
    found = json.loads(arguments) if isinstance(arguments, str) else dict(arguments)
    need(name == "weather" and set(found) == {"city"} and found["city"] in CITIES, (name, found))


def called(call: Callable[[], Any], calls_of: Callable[[Any], Any]) -> Any:
    """The answer of a call with tools of which one must be called. A base of random weights may
    write on beyond the call until its tokens are used up: then it is asked again, at most so often.

    Args:
        calls_of: the calls in an answer; none, or an error, if there are none.
    """
    for n_left in reversed(range(TRIES)):
        try:
            answer = call()
            need(calls_of(answer), "no tool was called")
            return answer
        except Exception:
            if not n_left:
                raise
    raise AssertionError("not reached")


def ask(method: str, path: str, body: Any = None) -> Any:
    """A call that no client has a method for."""
    request = urllib.request.Request(
        URL + path, json.dumps(body).encode() if body is not None else None, method=method,
        headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )  # fmt: skip
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        return json.load(answer)


def feedback(answer_id: str | None) -> str:
    """Feedback by the id that the client shows is stored and counts."""
    need(answer_id, "the client has no id of the answer")
    ask("POST", "/v1/feedback", {"completion_id": answer_id, "thumb": "up"})
    rows = ask("GET", f"/v1/feedback?completion_id={answer_id}")
    need('"up"' in json.dumps(rows), rows)
    return str(answer_id).partition("-")[0].partition("_")[0] + " id"


def run(package: str) -> None:
    """Check the features that the command line names; ``package``: whose version is told."""
    for name in sys.argv[1:]:
        if name not in _features:
            continue
        _answers.clear()
        line: dict[str, Any] = {"feature": name, "version": version(package)}
        try:
            result = _features[name]()
            line |= {"outcome": "refuses", "detail": result.code} if isinstance(
                result, Refused) else {"outcome": "works", "detail": result}  # fmt: skip
        except Exception as error:
            traceback.print_exc()
            what = f"{type(error).__name__}: {error}"
            line |= {"outcome": "fails", "detail": " ".join(what.split())[:300]}
        print("\n" + json.dumps({**line, "answers": _answers}), flush=True)
