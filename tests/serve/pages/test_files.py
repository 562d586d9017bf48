"""Files attached to a message."""

from __future__ import annotations

import asyncio
import codecs
import resource
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from pawl.errors import PawlError
from serve.pages.files import MOST_BYTES, MOST_CHARACTERS, PdfReader, block_of, parts_of
from serve.pages.markdown import own_html
from tests.serve.pages.composed import Composed
from tests.serve.pages.tab import Tab, ids, recorded
from tests.serve.pages.test_behaviour import picture

CSV = "item,price\nnails,3.20\nPläne,7\n"


def block(name: str, content: bytes) -> str:
    return asyncio.run(block_of(name, content, PdfReader(), "ann"))


def pdf(text: str, encrypt: str | None = None, a: str = "") -> bytes:
    """A PDF of one page that says ``text``; its "a" stands for ``a``, in hex of UTF-16."""
    import io

    from pypdf import PdfReader, PdfWriter

    drawn = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode() if text else b""
    meant = f"1 begincodespacerange <00> <ff> endcodespacerange 1 beginbfchar <61> <{a}> endbfchar"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica%s >>"
        % (b" /ToUnicode 6 0 R" * bool(a)),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(meant), meant.encode()),
    ]
    out, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    rows = b"".join(b"%010d 00000 n \n" % place for place in places)
    table = b"xref\n0 7\n0000000000 65535 f \n%s" % rows
    out += b"%strailer << /Size 7 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (table, len(out))
    if encrypt is None:
        return out
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(out)))
    writer.encrypt(encrypt, algorithm="RC4-128")
    kept = io.BytesIO()
    writer.write(kept)
    return kept.getvalue()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (CSV.encode(), CSV),
        (codecs.BOM_UTF8 + CSV.encode(), CSV),
        (CSV.encode("utf-16"), CSV),
        (CSV.encode("cp1252"), CSV),
        (CSV.replace("\n", "\r\n").encode(), CSV),
    ],
)
def test_a_text_stands_in_the_message_as_it_is(content: bytes, text: str) -> None:
    message = block("C:\\lists\\prices.csv", content) + "\n\nWhat do nails cost?"
    assert message == f"File: prices.csv\n```csv\n{text}```\n\nWhat do nails cost?"
    assert list(parts_of(message)) == [("prices.csv", text.strip()), (None, "What do nails cost?")]


def test_fences_of_a_file_end_nothing() -> None:
    text = "before\n```\nFile: other\n````\nafter"
    assert list(parts_of("and\n" + block("a.md", text.encode()))) == [(None, "and"), ("a.md", text)]


@pytest.mark.parametrize(
    "text", ["File: a\n", "File: a\n```\nno end", "```\nFile: a\n```", "\n\na\n"]
)
def test_what_is_no_file_stays_as_it_was_typed(text: str) -> None:
    assert list(parts_of(text)) == [(None, text)]


def test_many_files_without_an_end_are_read_in_no_time() -> None:
    text = "\n".join(f"File: a\n{'`' * (3 + n % 50)}x" for n in range(20_000))
    assert [name for name, _ in parts_of(text)] == [None]


def test_nothing_of_a_file_is_drawn_but_text() -> None:
    html = own_html(block("<b>.html", b"<script>alert(1)</script>\n\n# head") + "\n<i>x</i>")
    assert "&lt;b&gt;.html</summary>" in html
    assert "<script" not in html
    assert "<i>" not in html
    assert "\n" not in html  # else Markdown would begin


def test_a_pdf_is_read_page_by_page() -> None:
    assert "\n```\nThe tide comes at nine.\n```" in block(
        "tides.pdf", pdf("The tide comes at nine.")
    )
    assert "nine" in block("tides.pdf", pdf("nine", encrypt=""))  # protected against printing only


@pytest.mark.parametrize(("a", "text"), [("00e4", "ä"), ("d83dde00", "😀"), ("d83d", "�")])
def test_of_a_pdf_only_whole_characters_are_taken(a: str, text: str) -> None:
    assert f"\n```\nt{text}n\n```" in block("tan.pdf", pdf("tan", a=a))


def test_a_pdf_that_the_server_has_no_room_for_is_said() -> None:
    async def test() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with pytest.raises(PawlError, match="no room for that now"):
                await block_of("a.pdf", pdf_content, PdfReader(), "ann")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    pdf_content = pdf("x")
    asyncio.run(test())


def test_ones_pdfs_keep_nobody_else_waiting() -> None:
    slow = pdf(") Tj (".join("x" for _ in range(30_000)))

    async def test() -> None:
        pdfs = PdfReader()
        anns = [asyncio.create_task(block_of("a.pdf", slow, pdfs, "ann")) for _ in range(3)]
        await asyncio.sleep(0.1)
        assert "nine" in await block_of("b.pdf", pdf("nine"), pdfs, "bob")
        assert sum(one.done() for one in anns) < 2  # else bob waited for them
        for one in anns:
            assert "xxx" in await one

    asyncio.run(test())


def test_who_has_many_pdfs_read_waits() -> None:
    async def test() -> None:
        pdfs = PdfReader(an_hour=2)
        for _ in range(2):
            with pytest.raises(PawlError, match="could not be read"):
                await block_of("cut.pdf", pdf("x")[:200], pdfs, "ann")
        with pytest.raises(PawlError, match="2 PDFs an hour are allowed"):
            await block_of("a.pdf", pdf("x"), pdfs, "ann")
        assert "notes" in await block_of("notes.txt", b"notes", pdfs, "ann")
        assert "nine" in await block_of("b.pdf", pdf("nine"), pdfs, "bob")

    asyncio.run(test())


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n", r"a\.png is a picture.*in words"),
        ("a.docx", b"PK\x03\x04\0\0", r"a\.docx is no text.*PDF can be read"),
        ("empty.txt", b" \n", r"empty\.txt holds no text"),
        ("a.txt", b"a" * (MOST_CHARACTERS + 1), r"more than 100,000 characters.*the part"),
        ("a.txt", b"a" * (MOST_BYTES + 1), r"a\.txt has 2,500,001 bytes"),
        ("cut.pdf", pdf("x")[:200], r"cut\.pdf could not be read"),
        ("scan.pdf", pdf(""), r"scan\.pdf could not be read: its pages hold no text"),
        ("mine.pdf", pdf("x", encrypt="secret"), r"protected by a password"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_said(name: str, content: bytes, words: str) -> None:
    with pytest.raises(PawlError, match=words):
        block(name, content)


@pytest.mark.browser
def test_a_file_goes_with_a_message_and_is_folded_there(
    server: Composed, browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "prices.csv").write_text(CSV, "utf-8")
    (tmp_path / "tides.pdf").write_bytes(pdf("High tide at nine."))
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for size in ({"width": 1280, "height": 800}, {"width": 390, "height": 844}):
        context = browser.new_context(viewport=size)
        tab = Tab(context.new_page())
        tab.open(server.url)
        tab.box.fill("What do nails cost?")

        def attach(tab: Tab, *names: str) -> None:
            with tab.page.expect_file_chooser() as chosen:
                tab.button("Attach a file").click()
            chosen.value.set_files([tmp_path / name for name in names])

        attach(tab, "photo.png")
        expect(tab.page.get_by_text("photo.png is a picture")).to_be_visible()
        expect(tab.box).to_have_value("What do nails cost?")
        tab.page.route("**/queue/join*", _too_large)
        attach(tab, "tides.pdf")
        expect(tab.page.get_by_text("tides.pdf could not be read here.")).to_be_visible()
        tab.page.unroute("**/queue/join*")
        attach(tab, "prices.csv", "tides.pdf")
        first = "File: tides.pdf\n```\nHigh tide at nine.\n```"
        message = f"{first}\n\nFile: prices.csv\n```csv\n{CSV}```\n\nWhat do nails cost?"
        expect(tab.box).to_have_value(message)
        picture(tab, f"attached-{size['width']}")
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        n = len(ids(server))
        tab.box.press("Enter")
        expect(tab.answers).to_have_count(1)
        expect(tab.page.get_by_text("The file stands in your message.")).to_have_count(0)
        [asked] = recorded(server, 1, *ids(server)[:n])[-1:]
        assert _said(asked) == message
        own: Any = tab.page.locator("[data-testid=user]")
        expect(own.locator("summary")).to_have_text(["tides.pdf", "prices.csv"])
        expect(own.get_by_text("Pläne,7")).not_to_be_visible()
        picture(tab, f"files-{size['width']}")
        own.locator("summary").nth(1).press("Enter")
        expect(own.get_by_text("Pläne,7")).to_be_visible()
        own.hover()
        tab.page.get_by_role("button", name="Edit").first.click()
        expect(tab.page.get_by_label("Edit your message")).to_have_value(message)
        tab.page.route("**/queue/join*", _cut_off)
        attach(tab, "prices.csv")
        expect(tab.page.get_by_text("prices.csv could not be read here.")).to_be_visible()
        context.close()


def _too_large(route: Route) -> None:
    """As a proxy answers that takes no such body."""
    is_file = "attach" in (route.request.post_data or "")
    route.fulfill(status=413, body="too large") if is_file else route.continue_()


def _cut_off(route: Route) -> None:
    """As a proxy does that ends the connection over such a body."""
    is_file = "attach" in (route.request.post_data or "")
    route.abort("connectionreset") if is_file else route.continue_()


def _said(completion: Any) -> str:
    return str(completion.messages[-1]["content"])
