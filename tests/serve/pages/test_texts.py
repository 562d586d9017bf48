"""Texts of the pages: each language has the same, all are used, no other text is on the page."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Scope

from feedback.categories import DEFAULT_CATEGORIES
from pawl.errors import PawlError
from pawl.settings import PageSettings
from serve.engine.launch import STAGES
from serve.pages import ASSETS, mount, rendering, texts
from serve.pages.blocks import PageBlocks
from serve.pages.chat_settings import label
from serve.pages.conversation import Turn
from serve.pages.language import preferred
from serve.pages.layout import Layout
from serve.pages.said_back import day_of
from serve.pages.texts import (
    ENGLISH,
    FOLDER,
    LANGUAGES,
    OF_THE_SERVER,
    checked,
    places,
    read,
    say,
    speak,
    told,
)
from tests.serve.live import REPOSITORY

OTHERS = [language for language in LANGUAGES if language != ENGLISH]
TONE = next(one for one in DEFAULT_CATEGORIES if one.key == "tone")
PAGES = REPOSITORY / "serve" / "pages"
# Of the chat page and of signing in; the pages for reviewers and administrators are in English.
TEMPLATES = ("chat", "chats", "said_back", "sign_in", "account", "forbidden", "form", "starting")
SHOWN = ("label", "placeholder", "value", "info", "submit_btn", "stop_btn")


def of(language: str) -> dict[str, str]:
    return texts._TEXTS[language]


def own(language: str) -> dict[str, str]:
    """What the pages say by themselves."""
    return {key: one for key, one in of(language).items() if not key.startswith(OF_THE_SERVER)}


@pytest.mark.parametrize("language", OTHERS)
def test_each_language_has_the_same_texts_with_the_same_places_for_values(language: str) -> None:
    assert own(language).keys() == own(ENGLISH).keys()
    for key, text in own(language).items():
        assert places(text) == places(own(ENGLISH)[key]), key
        assert text.strip() == text, key
        assert text.count("\n") == own(ENGLISH)[key].count("\n"), key
    assert len(say("months").split()) == len(of(language)["months"].split()) == 12


@pytest.mark.parametrize("language", OTHERS)
def test_what_a_language_says_for_the_server_is_something_that_the_server_says(
    language: str,
) -> None:
    assert own(ENGLISH) == of(ENGLISH)  # the server's own words are English
    sources = "".join(
        path.read_text("utf-8") for room in ("pawl", "serve", "feedback") for path in
        (REPOSITORY / room).rglob("*.py")
    )  # fmt: skip
    stages = {stage for *_, stage in STAGES}
    known = {one.key for one in DEFAULT_CATEGORIES}
    for key in of(language).keys() - own(language).keys():
        table, _, name = key.partition(".")
        if table == "errors":
            assert f'"{name}"' in sources, key
        elif table == "engine":
            assert name in stages or f'"{name}"' in sources, key
        elif table == "categories":
            assert name.partition(".")[0] in known, key
    assert {f"categories.{key}.name" for key in known} <= of(language).keys()
    assert {f"engine.{stage}" for stage in stages} <= of(language).keys()


def test_the_settings_suggestions_are_those_that_are_translated() -> None:
    said = [text for key, text in of(ENGLISH).items() if key.startswith("suggestions.")]
    assert tuple(said) == PageSettings().suggestions


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_laid_out_in_html_needs_no_escape(language: str) -> None:
    for key in ("page.suggestions", "page.attach", "page.language"):
        assert not re.search('["<>&]', of(language)[key])
    for key in (key for key in of(language) if key.startswith("suggestions.")):
        assert not re.search('["<>&]', of(language)[key])


def sources() -> str:
    """All that the pages are made of."""
    paths = [path for kind in ("*.py", "assets/*.js", "assets/*.html") for path in PAGES.glob(kind)]
    return "".join(path.read_text("utf-8") for path in paths)


def uses() -> set[str]:
    """The keys that the pages name; of a key that is put together, all that begin as it does."""
    source = sources()
    named = set(re.findall(r"""["'`](\w+\.\w+)["'`]""", source))
    begun = re.findall(r"""["'`](\w+\.)(?:\{|\$\{|["'] ~)""", source)
    top = {key for key in of(ENGLISH) if f'say("{key}"' in source}
    return named | top | {key for key in of(ENGLISH) for begin in begun if key.startswith(begin)}


def test_no_text_is_unused_and_none_is_missing() -> None:
    used = uses()
    unused = own(ENGLISH).keys() - used - {"language", "thousands"}
    # Of Gradio's all go to the browser.
    assert {key for key in unused if not key.startswith(texts.GRADIO)} == set()
    asked = re.findall(r"""(?:say|mark|said|pawlText)\(\s*["'](\w+\.\w+)["']""", sources())
    assert set(asked) - own(ENGLISH).keys() == set()


def test_gradio_s_own_words_are_as_gradio_has_them() -> None:
    """Style sheets and scripts find its parts by them."""
    import gradio

    assets = Path(gradio.__file__).parent / "templates" / "frontend" / "assets"
    sources = "".join(path.read_text("utf-8") for path in assets.glob("*.js"))
    for key, word in own(ENGLISH).items():
        if key.startswith(texts.GRADIO) and key != "gradio.copy":  # the title of our own button
            assert re.search(f"""[`"'>]{re.escape(word)}[`"'<]""", sources), key


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from strings(one)


async def laid_out() -> PageBlocks:
    """In a loop: Gradio opens one that it never closes where none runs."""
    with PageBlocks() as blocks:
        Layout()
    return blocks


def test_the_layout_holds_no_text_of_one_language() -> None:
    blocks = asyncio.run(laid_out())
    config = blocks.get_config_file()
    found = [
        text
        for component in config["components"]
        if component["props"].get("visible") != "hidden"
        for name in SHOWN
        for text in strings(component["props"].get(name))
    ]
    assert any("\ue010page.send\ue011" in text for text in found)
    left = {re.sub("[\ue010\ue012][^\ue011]*\ue011|<[^>]*>", "", text).strip() for text in found}
    words = {text for text in left if re.search("[A-Za-z]", text)}
    assert words - {"".join(LANGUAGES.values())} == {"# Pawl", "pawl"}
    for language in LANGUAGES:
        speak(language)
        sent = json.dumps(blocks.config, default=str, ensure_ascii=False)
        assert of(language)["form.save"] in sent
        assert "\ue010" not in sent
    speak(ENGLISH)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_holds_no_text_of_one_language(name: str) -> None:
    html = (ASSETS / f"{name}.html").read_text("utf-8")
    html = re.sub(r"(?s)\{#.*?#\}|<style>.*?</style>", "", html)
    named = re.findall(r'(?:title|aria-label|placeholder)="([^"{]+)', html)
    drawn = re.sub(r"(?s)\{\{.*?\}\}|\{%.*?%\}|<code>.*?</code>|<[^>]*>", " ", html)
    left = set(re.findall(r"[^\W\d_]{2,}", drawn))
    assert (named, left - {"Pawl"}) == ([], set())


def test_a_script_holds_no_text_of_one_language() -> None:
    for path in ASSETS.glob("*.js"):
        if path.name in ("review.js", "operate.js", "board.js", "review.html"):
            continue  # of pages in English
        source = re.sub(r"(?m)//.*$|^\s*\*.*$", "", path.read_text("utf-8"))
        for text in re.findall(r"""["'`]([^"'`\n]*)["'`]""", source):
            words = re.sub(r"\$\{[^}]*\}", "", text)
            assert not re.search(r"\b[A-Z][a-z]+ [a-z]+|^[A-Z][a-z]+$", words) or re.fullmatch(
                r"Enter|Escape|Event|Like|Files|Pawl|ArrowUp|ArrowDown", words
            ), (path.name, text)


@pytest.mark.parametrize(
    ("headers", "language"),
    [
        ({}, "en"),
        ({"accept-language": "fr"}, "en"),
        ({"accept-language": "en-US,en;q=0.9,xx;q=0.8"}, "en"),
        ({"accept-language": ";;;q=,,q=x"}, "en"),
        ({"cookie": "pawl_language=../xx"}, "en"),
        ({"accept-language": "de"}, "de"),
        ({"accept-language": "DE-at"}, "de"),
        ({"accept-language": "fr, en;q=0.3, de;q=0.7"}, "de"),
        ({"accept-language": "en-US,en;q=0.9,de;q=0.8"}, "en"),
        ({"accept-language": "de;q=0, fr"}, "en"),
        ({"accept-language": "de", "cookie": "a=b; pawl_language=en"}, "en"),
        ({"accept-language": "en", "cookie": "pawl_language=de"}, "de"),
    ],
)
def test_the_language_is_one_that_is_there(headers: dict[str, str], language: str) -> None:
    assert preferred(scope_of(headers)) == language


def scope_of(headers: dict[str, str]) -> Scope:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "headers": pairs}


def test_what_the_server_says_stands_where_a_language_has_no_words_for_it() -> None:
    err = PawlError("the disk is on fire", "", "Leave the room", code="no_such_code")
    for language in LANGUAGES:
        speak(language)
        assert told(err) == "the disk is on fire. Leave the room."
    speak(ENGLISH)
    assert say("files.most_bytes", most=2_500_000) == "2,500,000 can be read"
    assert sorted(LANGUAGES) == sorted(path.stem for path in FOLDER.glob("*.toml"))


def test_parts_of_the_page_are_drawn_in_german() -> None:
    speak("de")
    try:
        engine = {"state": "starting", "detail": "loading the weights", "progress_fraction": 0.5}
        assert "Das Modell wird geladen." in rendering.banner(engine)
        assert "die Gewichte werden geladen" in rendering.banner(engine)
        assert "Was sich ändert" in rendering.difference("one two", "one three")
        models = {"data": [{"id": "pawl", "version": "pawl@3"}]}
        assert rendering.version_choices(models, "pawl@1") == [
            ("jetzt pawl@3 (pawl)", "pawl"), ("pawl@1 (nicht geladen)", "pawl@1"),
        ]  # fmt: skip
        assert label({"temperature": 0.5}) == "Einstellungen: Temperatur 0.5"
        rows = [{"key": "tone", "definition": "Never shout.", "example": TONE.example}]
        meant = rendering.meanings(rows)
        assert "Ton" in meant
        assert "Never shout." in meant  # the house's own words stand
        assert TONE.example not in meant
        assert rendering.category_name("our_own") == "our own"
        assert day_of("2026-05-03T10:00:00+00:00") == "3. Mai 2026"
        assert say("files.most_bytes", most=2_500_000) == "2.500.000 können gelesen werden"
        full = PawlError("this conversation is too long", code="context_length_exceeded")
        assert told(full) == "Die Unterhaltung ist länger, als das Modell lesen kann."
        refused = rendering.messages([Turn("Warum?", state="failed", error=told(full))])
        assert "länger, als das Modell lesen kann" in refused[1]["content"][0]["text"]
    finally:
        speak(ENGLISH)
    assert "What changes" in rendering.difference("one two", "one three")


def test_a_third_language_is_one_file_more(tmp_path: Path) -> None:
    """In a copy of the folder; what the file lacks is said in English."""
    folder = tmp_path / "texts"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "fr.toml").write_text('language = "Français"\n[page]\nsend = "Envoyer"\n', "utf-8")
    spec = spec_from_file_location("texts_copy", folder / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    copy = module_from_spec(spec)
    spec.loader.exec_module(copy)
    assert copy.LANGUAGES == {"en": "English", "de": "Deutsch", "fr": "Français"}
    copy.speak("fr")
    assert (copy.say("page.send"), copy.say("page.stop")) == ("Envoyer", "Stop")
    laid_out = {"head": [copy.mark("page.send"), copy.mark("page.stop"), copy.BROWSER_TEXTS]}
    send, stop, scripts = copy.unmarked(laid_out, "fr")["head"]
    assert (send, stop, json.loads(scripts)["language"]) == ("Envoyer", "Stop", "fr")


def test_what_a_translator_writes_ends_no_html_and_no_json(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The parts of the chat page that are laid out once, and the manifest."""
    text = 'Un <img src=x onerror="go()"> & "deux"\n100 %'
    path = tmp_path / "fr.toml"
    keys = [f"page.{name}" for name in ("attach", "suggestions", "language", "description")]
    keys += [f"suggestions.{name}" for name in ("first", "second", "third", "fourth")]
    lines = [f"{key} = {json.dumps(text)}\n" for key in keys]
    path.write_text("".join(['language = "<b>"\n', *lines]), "utf-8")
    monkeypatch.setitem(texts._TEXTS, "fr", checked(path, read(path), of(ENGLISH)))
    drawn = (
        rendering.attach() + rendering.languages() + rendering.suggested(PageSettings().suggestions)
    )
    found = Elements()
    found.feed(texts.unmarked(drawn, "fr"))
    assert "img" not in found.names
    assert found.texts.count(text) == 5
    for name, n in (("aria-label", 2), ("data-text", 4)):
        assert [dict(each)[name] for each in found.attributes if name in dict(each)] == [text] * n
    speak("fr")
    try:
        manifest = mount._served("manifest.json", "application/manifest+json")(None)  # type: ignore[arg-type]
    finally:
        speak(ENGLISH)
    assert json.loads(bytes(manifest.body))["description"] == text


class Elements(HTMLParser):
    """What a browser would make of HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.names, self.attributes, self.texts = set[str](), list[Any](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[Any]) -> None:
        self.names.add(tag)
        self.attributes.append(attrs)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("language = Français", "can't be read: Invalid value"),
        ('[page]\nsend = "Envoyer"', "does not say what its language is called"),
        ('language = "F"\n[page]\naccount = "{nom}"', "page.account names nom: it has no such"),
        ('language = "F"\n[page]\naccount = "{name"', "page.account can't be read: expected"),
        ('language = "F"\n[page]\naccount = "{name:d}"', "page.account can't be read: Unknown"),
        ('language = "F"\n[page]\naccount = 5', "page.account is 5, no text"),
        ('language = " "', "does not say what its language is called"),
    ],
)
def test_a_file_that_can_t_be_used_says_why(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "fr.toml"
    path.write_text(content, "utf-8")
    with pytest.raises(PawlError, match=re.escape(said)):
        checked(path, read(path), of(ENGLISH))


def test_no_handler_of_the_chat_page_says_a_text_of_one_language() -> None:
    for name in ("chat", "chat_list", "chat_settings", "conversation", "files", "layout",
                 "rendering", "said_back", "side_by_side"):  # fmt: skip
        source = (PAGES / f"{name}.py").read_text("utf-8")
        begun = r'(?:warn|Info|Warning|Error|problem": |error = )\(?\s*f?"(?:\{[^"}]*\})? ?[A-Za-z]'
        said = re.findall(begun + '[^"]*', source)
        assert said == [], name
