"""Chat templates, rendered as transformers renders them but without importing it.

Transformers takes four seconds and torch to import; a server and ``pawl doctor`` only have to know
what a template writes. The environment is that of ``transformers.utils.chat_template_utils``
(5.19): the sandbox, its filters and its ``{% generation %}`` block.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from pawl.files import read_json

THOUGHTS_OFF = "{%- set enable_thinking = false %}"
TURN = [{"role": "user", "content": "Aachen"}, {"role": "assistant", "content": "Bochum"}]
TOKEN_NAMES = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token")


def read_template(model_dir: Path) -> str | None:
    """The chat template of a model folder; None when it has none.

    Where a tokenizer has several, the one named "default" counts, as for transformers.
    """
    path = model_dir / "chat_template.jinja"
    if path.exists():
        return path.read_text("utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        path = model_dir / name
        template = read_json(path).get("chat_template") if path.exists() else None
        if isinstance(template, list):
            template = {each["name"]: each["template"] for each in template}
        if isinstance(template, dict):
            template = template.get("default")
        if template:
            return str(template)
    return None


def read_special_tokens(model_dir: Path) -> dict[str, str]:
    """The named tokens that a template may use: ``{"eos_token": "</s>", ...}``."""
    found: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        path = model_dir / file
        values = read_json(path) if path.exists() else {}
        for name in TOKEN_NAMES:
            token = values.get(name)
            if isinstance(token, dict):
                token = token.get("content")
            if token:
                found[name] = str(token)
    return found


class ChatTemplate:
    """A compiled chat template.

    Args:
        text: the template, Jinja.
        special_tokens: the named tokens that it may use.

    Raises:
        jinja2.TemplateError: it is no template.
    """

    def __init__(self, text: str, special_tokens: dict[str, str]) -> None:
        self._compiled = _environment().from_string(text)
        self._special_tokens = special_tokens

    def render(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        ask: bool = False,
        tools: Sequence[dict[str, Any]] | None = None,
    ) -> str:
        """The conversation as text; with ``ask`` up to where the next answer begins. Arguments of
        ``tool_calls`` are objects.

        Raises:
            jinja2.TemplateError: the template refuses the conversation.
        """
        return str(
            self._compiled.render(
                messages=[dict(message) for message in messages],
                tools=list(tools) if tools else None,
                documents=None,
                add_generation_prompt=ask,
                **self._special_tokens,
            )
        )


def with_objects(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages as templates want them: the arguments of calls as objects, not as their JSON.

    Raises:
        ValueError: the arguments of a call are no JSON.
    """
    return [
        {**message, "tool_calls": [
            {**call, "function": {**call["function"],
                                  "arguments": json.loads(call["function"]["arguments"])}}
            for call in message["tool_calls"]]}
        if message.get("tool_calls") else message
        for message in messages
    ]  # fmt: skip


def settle(text: str, special_tokens: dict[str, str]) -> str:
    """The template that serving, training and scoring use.

    It is the given one, but with thoughts switched off where the template has the usual switch for
    them (``enable_thinking``) and would put an answer that was given elsewhere than where it asks
    for one: what people correct holds no thoughts.
    """
    if "enable_thinking" not in text or is_consistent(ChatTemplate(text, special_tokens)):
        return text
    switched_off = THOUGHTS_OFF + text
    return switched_off if is_consistent(ChatTemplate(switched_off, special_tokens)) else text


def is_consistent(template: ChatTemplate) -> bool:
    """Does an answer begin at the same place when it is asked for and when it was given?"""
    asked = template.render(TURN[:1], ask=True)
    return asked == template.render(TURN).partition(TURN[1]["content"])[0]


def prints_date(text: str) -> bool:
    """Whether a template writes today's date into prompts."""
    return "strftime_now" in text


def load_tokenizer(model_dir: Path, today: str | None = None) -> Any:
    """Transformers' tokenizer of a base, with the settled template; it can pad.

    Args:
        today: the date (ISO 8601) that a template writes where it writes today's, so that prompts
            are the same after midnight; None: the clock's.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model_dir))
    text = read_template(model_dir)
    if text is not None:
        tokenizer.chat_template = settle(text, read_special_tokens(model_dir))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if today is not None:  # the template sees it instead of transformers' own function
        tokenizer.apply_chat_template = partial(
            tokenizer.apply_chat_template, strftime_now=datetime.fromisoformat(today).strftime
        )
    return tokenizer


def renders_tools(tokenizer: Any) -> bool:
    """Whether a transformers tokenizer's template writes tools, their calls and answers whole."""
    from pawl.tool_support import problem_of_template

    if tokenizer.chat_template is None:
        return False
    marks = {name: str(value) for name in TOKEN_NAMES if (value := getattr(tokenizer, name, None))}
    return problem_of_template(ChatTemplate(tokenizer.chat_template, marks)) is None


def first_mark(tokenizer: Any, text: str) -> int | None:
    """The id of the added token that a text begins with, white space aside.

    Args:
        tokenizer: a ``tokenizers.Tokenizer``.
        text: what a template writes after an answer, say.
    """
    marks = tokenizer.get_added_tokens_decoder()
    encoding = tokenizer.encode(text, add_special_tokens=False)
    for token_id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        if text[start:end].strip():
            return int(token_id) if token_id in marks else None
    return None


def end_of_turn_id(tokenizer: Any) -> int | None:
    """The token that ends an assistant's turn, for code that holds a transformers tokenizer.

    It is the one after the answer by the chat template, as ``pawl.base_checks`` finds it; the
    tokenizer's own end where there is no template or it writes none.
    """
    try:
        text = str(tokenizer.apply_chat_template(TURN, tokenize=False))
    except Exception:  # there is none, or it refuses this turn; a template may raise anything
        return tokenizer.eos_token_id
    found = first_mark(tokenizer.backend_tokenizer, text.rpartition(TURN[1]["content"])[2])
    return found if found is not None else tokenizer.eos_token_id


def stop_ids(model: Any, tokenizer: Any) -> list[int]:
    """All tokens that end an answer of a transformers model, as the engine has them."""
    ends = model.generation_config.eos_token_id
    named = [*(ends if isinstance(ends, list) else [ends])]
    named += [tokenizer.eos_token_id, end_of_turn_id(tokenizer)]
    return sorted({int(i) for i in named if i is not None})


def _environment() -> Any:
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}`` marks what the assistant wrote; here its content just stands."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            call = self.call_method("_as_it_is")
            return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

        def _as_it_is(self, caller: Any) -> str:
            return str(caller())

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent,
                          separators=separators, sort_keys=sort_keys)  # fmt: skip

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda text: datetime.now().strftime(text)
    return environment
