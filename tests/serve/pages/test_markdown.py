"""Answers and people's texts as HTML."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from serve.pages.conversation import Turn
from serve.pages.markdown import (
    DISPLAY,
    INLINE,
    MOST_CHARACTERS,
    answer_html,
    own_html,
    own_text,
    source_html,
)
from serve.pages.rendering import messages

HOSTILE: list[str] = yaml.safe_load((Path(__file__).parent / "hostile.yaml").read_text("utf-8"))
TAGS = set(
    "a blockquote br button code dd del details div em h2 h3 h4 h5 h6 hr input label li ol p path "
    "pre s span strong summary svg table tbody td th thead tr ul".split()
)
ATTRIBUTES = set(
    "aria-hidden checked class d dir disabled fill height hidden href rel start tabindex target "
    "title type viewbox width align style".split()
)


class Drawn(HTMLParser):
    """The tags, attributes and text of some HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.depth = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.depth += tag not in ("br", "hr", "input", "path")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.depth -= 1

    def handle_data(self, data: str) -> None:
        self.text += data


def drawn(text: str) -> Drawn:
    return Drawn(answer_html(text, True))


def test_markdown_is_drawn() -> None:
    assert answer_html("*a* **b** ~~c~~ `d`", True) == (
        '<p dir="auto"><em>a</em> <strong>b</strong> <s>c</s> <code>d</code></p>'
    )
    names = [tag for tag, _ in drawn("|a|b|\n|-|-|\n|1|2|\n\n1. x\n2. y\n\n> z\n\n---").tags]
    assert names == ("div table thead tr th th tbody tr td td ol li li blockquote p hr".split())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_text(text: str) -> None:
    turns = [
        Turn(text, answer=text, completion_id="c", version="v", state="complete",
             feedback={"thumb": "down", "categories": [text], "comment": text, "correction": text}),
        Turn(text, state="failed", error=text, calls=[text]),
    ]  # fmt: skip
    for message in messages(turns):
        for part in message["content"]:
            found = Drawn(part["text"])
            assert found.depth == 0
            for tag, attributes in found.tags:
                assert tag in TAGS | {"b", "i"}
                assert set(attributes) <= ATTRIBUTES | {"role"}
                assert re.match(r"https?://|mailto:", attributes.get("href") or "http://")
                assert not (attributes.get("style") or "").replace("text-align:", "").strip("a-z")
    question = messages(turns)[0]["content"][0]["text"]
    assert Drawn(question).text == shown_text(text)


def shown_text(text: str) -> str:
    """What stays of a text: all but what marks formulas."""
    return re.sub("[\ue000-\ue003]", "�", text)


def test_what_a_person_wrote_stays_as_it_is() -> None:
    text = "a<b and c>d\n\n  **x**\t&amp; \u202ey %%%LATEX_BLOCK_0%%%"
    html = own_html(text)
    assert not {"\n", "%"} & set(html)
    assert "<b" not in html
    assert Drawn(html).text == text
    assert own_text('<div class="pawl-own" dir="auto">a&lt;b&#10;&amp;lt;</div>') == "a<b\n&lt;"
    assert own_text("a&lt;b") == "a&lt;b"
    ((_, attributes),) = Drawn(source_html('a "b"\n<c>')).tags
    assert attributes["title"] == 'a "b"\n<c>'


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        (r"$a\,b$", r"{a\,b}"),
        (r"\(a\,b\)", r"{a\,b}"),
        (r"$$a\\b$$", r"[a\\b]"),
        (r"so \[a\,b\] it", r"[a\,b]"),
        ("\\[\na\n- b\n\\]", "[a\n- b]"),
        ("- x\n  \\[\n  a<b\n  \\]", "[a<b]"),
        ("> \\[ a \\]", "[a]"),
        ("It is $5 and $10, or US$6.", ""),
        (r"`$a$` and \$a$", ""),
        ("```\n$a$\n\\[ b \\]\n```", ""),
        (r"$\frac{1$ \(}\) $\rule{9em}{9em}$", ""),
        ("\\[\n\nnever ended", ""),
        (r"\(never ended", ""),
    ],
)
def test_formulas(text: str, tex: str) -> None:
    left, right = {"{": INLINE, "[": DISPLAY}.get(tex[:1], INLINE)
    shown = drawn(text).text
    if tex:
        assert f"{left}{tex[1:-1]}{right}" in shown
    else:
        assert not set(shown) & {*INLINE, *DISPLAY}


def test_code_has_colours_once_it_is_whole() -> None:
    text = 'So:\n\n```python\ndef f():\n\treturn "<b>"\n```'
    assert 'class="pawl-keyword"' in answer_html(text, True)
    assert 'class="pawl-keyword"' not in answer_html(text, False)
    assert drawn(text).text.endswith('def f():\n\treturn "<b>"\n')
    assert "copy_code_button" in answer_html("    indented", True)


def test_links_lead_elsewhere_and_say_where() -> None:
    shown = drawn("[bank.example](https://evil.example/x) ![pixel](http://a.example/p.png) b@c.de")
    assert [attributes["href"] for tag, attributes in shown.tags if tag == "a"] == [
        "https://evil.example/x", "http://a.example/p.png", "mailto:b@c.de",
    ]  # fmt: skip
    assert shown.text == "bank.example (evil.example) pixel (a.example) b@c.de"
    assert not [tag for tag, _ in drawn("[a](/account) [b](javascript:x) [c](//d.e)").tags[1:]]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://a.example/x", "https://a.example/x"),
        ("www.a.example", "www.a.example"),
        ("[A.example](https://www.a.example/x)", "A.example"),
        ("[https://a.example:443/y?z](https://a.example/x)", "https://a.example:443/y?z"),
        ("[https://a.example](https://a.example:8443/x)", "https://a.example"),
        ("[a.example:443](https://a.example:444)", "a.example:443 (a.example:444)"),
        ("[a.example](mailto://a.example)", "a.example"),
        ("[a.example:444](https://a.example)", "a.example:444 (a.example)"),
        ("[https://a.example](http://a.example)", "https://a.example (http://a.example)"),
        ("[b@c.de](mailto:b@c.de?cc=x@y.de)", "b@c.de (b@c.de?cc=x@y.de)"),
        (r"[k.com/$\hspace{-6em}\text{a.example}$](https://k.com)",
         "k.com/\ue000\\hspace{-6em}\\text{a.example}\ue001 (k.com)"),
        ("[a.example/\nb.example](https://a.example)", "a.example/\nb.example (a.example)"),
        ("http://[::1]/x", "http://[::1]/x"),
        ("[write](mailto:b@c.de)", "write (b@c.de)"),
        ("[a.example](https://b.example/x)", "a.example (b.example)"),
        ("[https://support.a.com](https://t.co/xyz)", "https://support.a.com (t.co)"),
        ("[www.bank.com](https://k.com/x)", "www.bank.com (k.com)"),
        ("[b.example a.example](https://a.example)", "b.example a.example (a.example)"),
        ("[b.example@a.example](https://a.example)", "b.example@a.example (a.example)"),
        ("<https://b.example@a.example>", "https://b.example@a.example (a.example)"),
        ("![https://b.example/x](https://a.example/y)", "https://b.example/x (a.example)"),
        ("![](https://a.example/y.png)", "https://a.example/y.png"),
        ("[![b.example](https://c.example/y)](https://a.example)", "b.example (a.example)"),
        ("[a.example![](https://b.example)](https://a.example)",
         "a.examplehttps://b.example (a.example)"),
    ],
)  # fmt: skip
def test_no_link_s_text_names_another_site_alone(text: str, shown: str) -> None:
    html = drawn(text)
    assert html.text == shown
    assert [tag for tag, _ in html.tags].count("a") == 1


def test_headings_leave_no_level_out() -> None:
    names = [tag for tag, _ in drawn("### a\n\n# b\n\n#### c\n\n#### d").tags]
    assert names == ["h2", "h2", "h3", "h4"]


def test_what_is_nested_deeply_is_not_left_out() -> None:
    for mark in ("> ", "- ", "1. "):
        for depth in (5, 9, 10, 19, 20, 40):
            assert "deep" in drawn(mark * depth + "deep").text


def test_a_thought_is_folded() -> None:
    def shown(answer: str, state: str) -> str:
        turn = Turn("q", answer=answer, version="v", state=state)  # type: ignore[arg-type]
        return str(messages([turn])[1]["content"][0]["text"])

    for answer in ("<think>\nhm *x*\n\ny</think>\n\nSo.", "hm *x*\n\ny</think>So."):
        html = shown(answer, "complete")
        assert html.startswith('<details class="pawl-thought">')
        assert "<em>x</em>" in html.partition("</details>")[0]
        assert '<p dir="auto">So.</p>' in html.partition("</details>")[2]
    assert "Thinking" in shown("<think>hm", "streaming")
    for answer in ("I <think> so", "It ends with `</think>`.", "<b>"):
        assert "<details" not in shown(answer, "complete")
    assert "pawl-waiting" in shown("", "waiting")


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["[" * 99_999, "*a **a " * 9_999, "> " * 9_999, "$a " * 9_999, "http:" * 9_999, "\\(" * 9_999,
     "\\[\n" * 9_999, "a|" * 200 + "\n" + "-|" * 200 + "\n" + "|\n" * 9_999,
     "```go\n" + "(" * 9_999],
)  # fmt: skip
def test_no_text_holds_the_server_up(text: str) -> None:
    began = time.process_time()
    answer_html(text[:MOST_CHARACTERS], True)
    assert time.process_time() - began < 3  # 0.6 at most where it was written
    assert answer_html("x" * MOST_CHARACTERS + "*y*", True).endswith("*y*</div>")


@pytest.mark.parametrize(
    ("first", "further"), [("", ""), ("> ", "> "), ("1. ", "   "), ("- > ", "  > ")]
)
def test_a_short_text_makes_no_table_of_a_great_many_cells(first: str, further: str) -> None:
    table = f"{first}{'a|' * 200}\n{further}{'-|' * 200}\n"
    assert "<table>" in answer_html(table, True)
    html = answer_html(table + f"{further}|\n" * 999, True)
    assert "<table>" not in html
    assert "<td" not in html
