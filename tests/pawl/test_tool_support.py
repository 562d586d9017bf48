"""Which bases can call tools, by what their chat templates write."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from pawl.chat_template import ChatTemplate
from pawl.engine_support import tool_parsers
from pawl.errors import PawlError
from pawl.models import resolve_model
from pawl.tool_support import FORMS, NEEDED_TOKENS, find_tool_support, with_tool_parser
from tests import tiny_bases

BEGIN = "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.content }}"
END = "{% endfor %}"
CALL = "{% for c in m.tool_calls or [] %}"
LLAMA = (
    BEGIN + "{% if m.tool_calls %}{{ '{\"name\": \"' + m.tool_calls[0].function.name + '\", ' }}"
    "{{ '\"parameters\": ' }}{{ m.tool_calls[0].function.arguments | tojson }}}{% endif %}" + END
)  # fmt: skip
CODER = (
    BEGIN + CALL + "<tool_call>\n<function={{ c.function.name }}>{% for k, v in "
    "c.function.arguments.items() %}<parameter={{ k }}>{{ v }}</parameter>{% endfor %}{% endfor %}"
    + END
)  # fmt: skip
MISTRAL = BEGIN + "{% if m.tool_calls %}[TOOL_CALLS]{{ m.tool_calls | tojson }}{% endif %}" + END


def parser_of(template: str, *tokens: str) -> str | None:
    return find_tool_support(ChatTemplate(template, {}), tokens.__contains__).parser


def test_the_form_of_a_call_names_the_parser() -> None:
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    hermes = find_tool_support(ChatTemplate(tiny_bases.CALLS_TOOLS, special), lambda token: False)
    assert (hermes.parser, hermes.forces) == ("hermes", True)
    assert parser_of(LLAMA, "<|python_tag|>") == "llama3_json"
    assert parser_of(LLAMA) is None  # the engine would not start
    assert parser_of(CODER) == "qwen3_coder"
    assert parser_of(MISTRAL) == "mistral"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "its chat template knows none"),
        ("{# no tools #}{% for m in messages %}{{ m.content }}{% endfor %}", "knows none"),
        (BEGIN + END, "leaves calls of tools or their answers out"),
        (BEGIN + CALL + "{{ raise_exception('no {calls}') }}{% endfor %}" + END, "refuses calls"),
        (BEGIN + CALL + "!{{ c | tojson }}{% endfor %}" + END, "engine.tool_call_parser"),
    ],
)
def test_why_a_base_can_not_call_tools(template: str, why: str) -> None:
    support = find_tool_support(ChatTemplate(template, {}), lambda token: False)
    assert (support.parser, support.forces) == (None, False)
    text = support.why.format(model="tiny")
    assert "tiny" in text
    assert why in text


def test_the_setting_overrules_the_template(tmp_path: Path) -> None:
    base = resolve_model(str(tiny_bases.calls_tools(tmp_path / "base")), cache_dir=tmp_path)
    assert base.check.tools.parser == "hermes"
    assert with_tool_parser(base, "auto") == base
    assert with_tool_parser(base, "glm45").check.tools.forces is False
    off = with_tool_parser(base, "none").check.tools
    assert off.parser is None
    assert "switched off" in off.why
    with pytest.raises(PawlError, match="hermes, ") as caught:
        with_tool_parser(base, "hermess")
    assert "engine.tool_call_parser" in caught.value.what


def test_the_installed_engine_has_each_parser_and_it_knows_the_form() -> None:
    found = tool_parsers()
    assert {parser for parser, _ in FORMS} <= set(found)
    assert {name: found[name] for name in ("hermes", "mistral", "glm45", "gemma4")} == {
        "hermes": True, "mistral": True, "glm45": False, "gemma4": False,
    }  # fmt: skip
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    sources = {path: path.read_text("utf-8") for folder in ("tool_parsers", "parser")
               for path in (Path(spec.origin).parent / folder).rglob("*.py")}  # fmt: skip
    for parser, form in FORMS:
        plain = re.sub(r"\\([|\[\]])", r"\1", form)
        found_mark = re.search(r"<[^>\\]+>|\[[A-Z_]+\]|<[a-z:_|]+", plain)
        mark = NEEDED_TOKENS.get(parser) or (found_mark and found_mark[0])
        assert mark, form
        assert any(mark in text for text in sources.values()), (parser, mark)
