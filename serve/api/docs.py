"""``/docs``: the routes and their bodies as one page without scripts, made of ``/openapi.json``.

FastAPI's own page loads its parts from another host, which this server's pages never do.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "h2{border-top:1px solid #8886;padding-top:1em}code{background:#8882;padding:0 .2em}"
    "table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;padding:0 1em 0 0}"
)


def docs_page(openapi: dict[str, Any]) -> str:
    """HTML of every route: what it does, what it takes, what it answers."""
    info = openapi["info"]
    parts = [f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
             f"<p>{escape(info.get('description', ''))} "
             "<a href='/openapi.json'>openapi.json</a></p>"]  # fmt: skip
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2>")
            parts.append(f"<p>{_text(route)}</p>")
            rows = [_row(field["name"], field["schema"], field["required"], field["in"])
                    for field in route.get("parameters", ())]  # fmt: skip
            if rows:
                parts.append(_table("Parameters", rows))
            if "requestBody" in route:
                parts.append(_body("Body", route["requestBody"]["content"]))
            parts.append(_body("Answer", route["responses"]["200"].get("content", {})))
    parts.append("<h1>Bodies</h1>")
    for name, schema in openapi["components"]["schemas"].items():
        parts.append(f"<h2 id='{escape(name)}'>{escape(name)}</h2>")
        parts.append(f"<p>{_text(schema)}</p>")
        required = schema.get("required", ())
        rows = [_row(field, kind, field in required, kind.get("description", ""))
                for field, kind in schema.get("properties", {}).items()]  # fmt: skip
        parts.append(_table("", rows) if rows else "")
    head = f"<meta charset=utf-8><title>{escape(info['title'])}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>"


def _text(described: dict[str, Any]) -> str:
    text = escape(described.get("description", ""))
    return re.sub("(`+)(.+?)\\1", r"<code>\2</code>", text)


def _body(title: str, content: dict[str, Any]) -> str:
    kinds = [f"{_type(body.get('schema', {}))} <small>{escape(kind)}</small>"
             for kind, body in content.items()]  # fmt: skip
    return f"<p>{title}: {', '.join(kinds)}</p>"


def _table(title: str, rows: list[str]) -> str:
    return f"<table><caption>{title}</caption>{''.join(rows)}</table>"


def _row(name: str, schema: dict[str, Any], is_required: bool, note: str) -> str:
    need = "required" if is_required else "optional"
    return (f"<tr><td><code>{escape(name)}</code></td><td>{_type(schema)}</td><td>{need}</td>"
            f"<td>{escape(note)}</td></tr>")  # fmt: skip


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words: ``array of Feedback``, ``string or null``, ``"up" or "down"``."""
    if name := schema.get("$ref", "").rpartition("/")[2]:
        return f"<a href='#{escape(name)}'>{escape(name)}</a>"
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"&quot;{escape(str(value))}&quot;" for value in schema["enum"])
    if "const" in schema:
        return f"&quot;{escape(str(schema['const']))}&quot;"
    kind = escape(str(schema.get("type", "anything")))
    return f"{kind} of {_type(schema['items'])}" if "items" in schema else kind
