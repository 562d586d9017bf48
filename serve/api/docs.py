"""``/docs``: the routes and their bodies as one page without scripts, made of ``/openapi.json``.

FastAPI's own page loads its parts from another host, which this server's pages never do.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def docs_page(openapi: dict[str, Any], root_path: str) -> str:
    """HTML of every route below ``root_path``: what it does, what it takes, what it answers."""
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup, escape

    def code(text: str) -> Markup:
        return Markup(re.sub("(`+)(.+?)\\1", r"<code>\2</code>", str(escape(text))))

    templates = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"),
                            autoescape=True)  # fmt: skip
    templates.filters["code"] = code
    return templates.get_template("docs.html").render(openapi, root=root_path)
