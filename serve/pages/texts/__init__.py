"""What the pages say, in the language of who reads it: one file per language, for a translator.

    say("files.most_bytes", most=2500000)  # "2,500,000 can be read"

``en.toml`` has every text. What another file lacks is said in English. A file more in this folder
is a language more. The language is that of the request that is being answered (``speak``).

Beside the texts a file may say in its language what the rest of the server says in English:

    [errors]      what went wrong, by the error's code
    [engine]      how far a start of the engine is, by the English words
    [validation]  why a setting can't be used, by pydantic's name of the fault
    [categories]  names, meanings and examples of the categories that a store begins with
"""

from __future__ import annotations

import json
import re
import tomllib
from contextvars import ContextVar
from pathlib import Path
from string import Formatter
from typing import Any

from markupsafe import escape

from pawl.errors import PawlError

ENGLISH = "en"
FOLDER = Path(__file__).parent
SCRIPTS = "scripts."  # what the scripts say, and Gradio's own words: they go to the browser
GRADIO = "gradio."
OF_THE_SERVER = ("errors.", "engine.", "validation.", "categories.")
# A mark stands for a text in what is laid out once for everybody; \ue012 begins one within HTML.
_MARK = re.compile("([\ue010\ue012])([\\w.]*)\ue011")


def _flat(table: dict[str, Any], before: str = "") -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, value in table.items():
        key = before + name
        texts |= _flat(value, f"{key}.") if isinstance(value, dict) else {key: value}
    return texts


def read(path: Path) -> dict[str, str]:
    """The texts of a language's file. Raises PawlError: it is no TOML, has no name, or holds
    something else than texts."""
    try:
        texts = _flat(tomllib.loads(path.read_text("utf-8")))
    except ValueError as err:
        raise PawlError(f"the texts in {path} can't be read", str(err), "Correct them") from None
    for key, text in texts.items():
        if not isinstance(text, str):
            raise PawlError(f"{path}: {key} is {text!r}, no text", do="Put it into quotes")
    if not texts.get("language", "").strip():
        do = 'Begin it with a line such as language = "Français"'
        raise PawlError(f"{path} does not say what its language is called", do=do)
    return texts


def places(text: str) -> set[str]:
    """What values a text names. Raises ValueError: a brace stands alone."""
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def checked(path: Path, texts: dict[str, str], english: dict[str, str]) -> dict[str, str]:
    """These texts. Raises PawlError: one names a value that it is not given, or says how to write
    one, which is for numbers and not for texts."""
    for key in texts.keys() & english.keys():
        try:
            unknown = places(texts[key]) - places(english[key])
            if not unknown:
                texts[key].format(**dict.fromkeys(places(english[key]), ""))
        except (ValueError, LookupError) as err:
            raise PawlError(f"{path}: {key} can't be read", str(err), "Correct it") from None
        if unknown:
            raise PawlError(f"{path}: {key} names {', '.join(sorted(unknown))}",
                            "it has no such value", f"Compare it with {ENGLISH}.toml")  # fmt: skip
    return texts


_ENGLISH = read(FOLDER / f"{ENGLISH}.toml")
_TEXTS = {ENGLISH: _ENGLISH} | {
    path.stem: checked(path, read(path), _ENGLISH) for path in sorted(FOLDER.glob("*.toml"))
}
LANGUAGES = {language: texts["language"] for language, texts in _TEXTS.items()}  # their own names
_language: ContextVar[str] = ContextVar("language", default=ENGLISH)


def speak(language: str) -> None:
    """Answer this request, and what it begins, in this one of ``LANGUAGES``."""
    _language.set(language)


def language() -> str:
    """The one in which the request is answered."""
    return _language.get()


def say(key: str, **values: object) -> str:
    """The text of this key, with the values in the places that it names; whole numbers as the
    language writes them."""
    texts = _TEXTS[_language.get()]
    found = texts.get(key) or _ENGLISH[key]
    mark = texts.get("thousands") or _ENGLISH["thousands"]
    shown = {
        name: f"{value:,}".replace(",", mark) if type(value) is int else value
        for name, value in values.items()
    }
    return found.format(**shown) if shown else found


def of_the_server(table: str, key: str, otherwise: str) -> str:
    """What the server says in English (``otherwise``), in the language of this request if its file
    has that."""
    return _TEXTS[_language.get()].get(f"{table}.{key}") or otherwise


class OwnError(PawlError):
    """One that a page words itself, in the language of the request."""


def told(err: PawlError) -> str:
    """What went wrong."""
    return str(err) if isinstance(err, OwnError) else of_the_server("errors", err.code, str(err))


def engine_says(engine: dict[str, Any]) -> str:
    """How far the engine is, or what stopped it; empty: it says nothing.

    Args:
        engine: of ``GET /health``.
    """
    detail = engine.get("detail") or ""
    return of_the_server("engine", detail, detail)


def html_line(text: str) -> str:
    """A text escaped, on one line of HTML, as it may stand in an attribute too."""
    html = str(escape(text)).replace("\r", "\n").replace("\n", "&#10;")
    # Gradio's renderer puts formulas in the place of %%%LATEX_BLOCK_0%%%.
    return html.replace("%", "&#37;")


def mark(key: str, *, in_html: bool = False) -> str:
    """Stands for a text, in what is laid out once for everybody.

    Args:
        in_html: it will stand in HTML, so the text is escaped.
    """
    assert key in _ENGLISH, key
    begin = "\ue012" if in_html else "\ue010"
    return f"{begin}{key}\ue011"


# Stands for all texts of the browser's, as JSON that may stand in a script element.
BROWSER_TEXTS = "\ue010\ue011"


def unmarked(laid_out: Any, language: str) -> Any:
    """A copy of what is laid out, with texts of this language in the place of their marks."""
    if isinstance(laid_out, dict):
        return {key: unmarked(value, language) for key, value in laid_out.items()}
    if isinstance(laid_out, list | tuple):
        return [unmarked(value, language) for value in laid_out]
    if not isinstance(laid_out, str):
        return laid_out
    texts = _ENGLISH | _TEXTS[language]

    def text_of(found: re.Match[str]) -> str:
        begin, key = found.groups()
        if not key:
            return _in_browser(texts, language)
        return html_line(texts[key]) if begin == "\ue012" else texts[key]

    return _MARK.sub(text_of, laid_out)


def _in_browser(texts: dict[str, str], language: str) -> str:
    said = {key: one for key, one in texts.items() if key.startswith(SCRIPTS)}
    gradio = {own: texts[key] for key, own in _ENGLISH.items() if key.startswith(GRADIO)}
    found = {"language": language, "texts": said, "gradio": gradio}
    return json.dumps(found, ensure_ascii=False).replace("<", "\\u003c")
