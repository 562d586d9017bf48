"""The reference, made of the code: every setting, command, route, body and metric as Markdown."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from pawl.cli import cli, common_options
from pawl.settings import Settings

BOUNDS = {
    "minimum": "{} or more",
    "exclusiveMinimum": "more than {}",
    "maximum": "{} at most",
    "exclusiveMaximum": "less than {}",
}


def reference() -> tuple[dict[str, str], dict[str, str]]:
    """The pages by their places in the site, and where each name is explained: ``gate.suite``,
    ``pawl nightly``, ``GET /v1/models``, ``pawl_requests_total``."""
    openapi = openapi_of()
    pages = {
        "reference/settings.md": settings_page(),
        "reference/commands.md": commands_page(),
        "reference/routes.md": routes_page(openapi),
        "reference/bodies.md": bodies_page(openapi),
        "reference/metrics.md": metrics_page(),
    }
    targets = {
        name: f"{place}#{anchor}"
        for place, text in pages.items()
        for name, anchor in re.findall(r"^(?:#+ |\| \[)`([^`]+)`(?:\]\{#([\w-]+)\})?", text, re.M)
    }
    return pages, {
        name: to if not to.endswith("#") else to + anchor_of(name) for name, to in targets.items()
    }


def anchor_of(heading: str) -> str:
    """Of a heading, as Git hosts and MyST make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def settings() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every setting with its JSON schema, by its full name."""
    schema = Settings.model_json_schema()
    for name, about in schema["properties"].items():
        if "$ref" not in about:
            yield name, about
            continue
        for key, part in schema["$defs"][about["$ref"].rpartition("/")[2]]["properties"].items():
            yield f"{name}.{key}", part


def settings_page() -> str:
    lines = [
        "# Settings",
        "",
        "Every setting, with its default as `pawl.toml` has it (none: it is left out) and its "
        "bounds. A value comes from the flags (`--set KEY=VALUE`), then from the environment "
        "(`PAWL_` and the key in capitals, two underscores for a dot: `PAWL_ENGINE__MAX_LORAS`), "
        "then from `pawl.toml`, then it is the default. A key that does not exist is an error. "
        "`pawl settings` prints those of a machine, each with its origin.",
    ]
    schema, section = Settings.model_json_schema(), None
    for name, about in settings():
        group = name.partition(".")[0] if "." in name else ""
        if group != section:
            section = group
            of = schema["properties"][group] if group else {}
            said = schema["$defs"][of["$ref"].rpartition("/")[2]]["description"] if group else ""
            lines += ["", f"## {f'`[{group}]`' if group else 'Of the whole'}", "", plain(said), ""]
            lines += ["| setting | default | may be | meaning |", "| --- | --- | --- | --- |"]
        default = json.dumps(about.get("default"), ensure_ascii=False).replace("null", "none")
        key = f"[`{name}`]{{#{name.replace('.', '-').replace('_', '-')}}}"
        meaning = cell(about.get("description", ""))
        lines.append(f"| {key} | `{cell(default, code=True)}` | {words_of(about)} | {meaning} |")
    return "\n".join(lines) + "\n"


def words_of(schema: dict[str, Any]) -> str:
    """A schema in a few words: "integer, 1 or more", "array of Feedback", "string or none"."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](bodies.md#{name.lower()})"
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(words_of(option) for option in options)
    if "allOf" in schema:
        return words_of(schema["allOf"][0])
    if "enum" in schema:
        return " or ".join(f"`{cell(json.dumps(value), code=True)}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    kind = {"null": "none", "array": "list"}.get(
        schema.get("type", ""), schema.get("type", "anything")
    )
    if "items" in schema:
        kind += f" of {words_of(schema['items'])}"
    bounds = [text.format(f"{schema[key]:,}") for key, text in BOUNDS.items() if key in schema]
    return ", ".join([kind, *bounds])


def cell(text: str, code: bool = False) -> str:
    """A text as a table's cell."""
    text = " ".join(text.split()).replace("|", "\\|")
    return text if code else plain(text)


def plain(text: str) -> str:
    """A text of the code as Markdown that shows it as it is, but for code."""
    parts = re.split(r"(``?[^`]+``?)", text)
    return "".join(
        part.replace("``", "`") if n % 2 else re.sub(r"([<>*_\[\]])", r"\\\1", part)
        for n, part in enumerate(parts)
    )


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and the commands of each group, by what is typed."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        yield f"pawl {name}", command
        if isinstance(command, click.Group):
            for verb, one in command.commands.items():
                yield f"pawl {name} {verb}", one


def commands_page() -> str:
    everywhere = {option.name for option in common_options()}
    lines = ["# Command line", "", "Every command takes these, before and after its name:", ""]
    lines += options_of([one for one in cli.params if one.name in everywhere], click.Context(cli))
    lines += [
        "",
        "Exit codes: 0 done, 1 an error that can be mended or a command's own *no*, 2 a wrong "
        "call, 130 stopped by Ctrl-C.",
    ]
    for name, command in commands():
        context = click.Context(command, info_name=name)
        own = [one for one in command.params if one.name not in everywhere]
        lines += ["", f"{'###' if name.count(' ') > 1 else '##'} `{name}`", ""]
        lines += ["```", " ".join([name, *command.collect_usage_pieces(context)]), "```", ""]
        lines += [plain(command.help or ""), ""]
        lines += options_of(own, context)
    return "\n".join(lines) + "\n"


def options_of(params: list[click.Parameter], context: click.Context) -> list[str]:
    rows = [found for one in params if (found := one.get_help_record(context))]
    lines = ["| option | meaning |", "| --- | --- |"]
    lines += [f"| `{cell(option, code=True)}` | {cell(text)} |" for option, text in rows]
    return lines if rows else []


def openapi_of() -> dict[str, Any]:
    """What the server says at ``/openapi.json``, of an application in a folder of its own."""
    from pawl.models import BaseModel
    from serve.api.app import build_app

    with tempfile.TemporaryDirectory() as folder:
        state_dir = Path(folder)
        base = BaseModel("base", state_dir, None, "sha256:0", "LlamaForCausalLM", 2048)
        app = build_app(Settings(state_dir=state_dir), None, base=base)
        try:
            return app.openapi()
        finally:
            app.close()


def routes_page(openapi: dict[str, Any]) -> str:
    from serve.api.roles import RULES

    lines = [
        "# Routes",
        "",
        "Every route with the role that it takes, what it is sent and what it answers. A running "
        "server shows the same at `/docs`, and for programs at `/openapi.json`; what holds for all "
        "routes is in [The HTTP API](../api.md).",
    ]
    tag = None
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            [section] = route["tags"]
            if section != tag:
                tag = section
                lines += ["", f"## {tag.capitalize()}"]
            name = f"{method.upper()} {path}"
            rule = RULES[name]
            who = f"Role: {rule.role.value}" if rule.role else "For everybody"
            noted = f"; in the audit log as *{rule.action}*" if rule.action else ""
            lines += [
                "",
                f"### `{name}`",
                "",
                plain(route["description"]),
                "",
                f"{who}{noted}.",
                "",
            ]
            if fields := route.get("parameters"):
                lines += ["| parameter | in | may be |", "| --- | --- | --- |"]
                lines += [
                    f"| `{one['name']}` | {one['in']}{', required' if one.get('required') else ''} "
                    f"| {words_of(one['schema'])} |"
                    for one in fields
                ]  # fmt: skip
                lines.append("")
            if "requestBody" in route:
                lines += [f"Body: {contents(route['requestBody'])}", ""]
            answers = route["responses"]
            rest = ", ".join(code for code in answers if code != "200")
            lines.append(f"Answer: {contents(answers['200'])}. Other statuses: {rest}.")
    return "\n".join(lines) + "\n"


def contents(body: dict[str, Any]) -> str:
    """What a body may be: its schema, with its media type."""
    return ", ".join(
        f"{words_of(one.get('schema', {}))} (`{kind}`)"
        for kind, one in body.get("content", {}).items()
    )


def bodies_page(openapi: dict[str, Any]) -> str:
    lines = [
        "# Bodies",
        "",
        "What the routes take and answer. A field that is null counts as not sent.",
    ]
    for name, schema in sorted(openapi["components"]["schemas"].items()):
        lines += ["", f"## {name}", "", plain(schema.get("description", "")), ""]
        required = schema.get("required", [])
        if fields := schema.get("properties"):
            lines += ["| field | may be | meaning |", "| --- | --- | --- |"]
        else:
            lines.append(words_of(schema))
        for field, about in (fields or {}).items():
            kind = words_of(about) + (", required" if field in required else "")
            lines.append(f"| `{field}` | {kind} | {cell(about.get('description', ''))} |")
    return "\n".join(lines).replace("](bodies.md#", "](#") + "\n"


def metrics_page() -> str:
    from serve.api.metrics import Metrics

    metrics = Metrics()
    lines = ["# Metrics", "", "What `GET /metrics` shows, in Prometheus' text form; "
             "it takes a key of the role user where the server asks for one.", "",
             "| metric | kind | labels | meaning |", "| --- | --- | --- | --- |"]  # fmt: skip
    of = metrics.registry._collector_to_names
    for collector in dict.fromkeys(metrics.registry._names_to_collectors.values()):
        [family] = collector.collect()
        name = family.name + ("_total" if family.type == "counter" else "")
        assert name in of[collector]
        labels = ", ".join(f"`{label}`" for label in collector._labelnames)
        key = f"[`{name}`]{{#{name.replace('_', '-')}}}"
        lines.append(f"| {key} | {family.type} | {labels} | {cell(family.documentation)} |")
    return "\n".join(lines) + "\n"
