"""Links between the repository's pages lead somewhere, headings too, and files they name exist."""

from __future__ import annotations

import re

from tests.conftest import REPOSITORY

PAGES = [*REPOSITORY.glob("*.md"), *sorted((REPOSITORY / "docs").glob("*.md"))]


def without_code(text: str) -> str:
    return re.sub(r"^\s*```.*?^\s*```$", "", text, flags=re.M | re.S)


def anchors(text: str) -> set[str]:
    """Of the headings, as Git hosts make them."""
    titles = re.findall(r"^#+ (.*)$", without_code(text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_lead_somewhere() -> None:
    dead, n_links = [], 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
            if re.match(r"https?:|mailto:", link):
                continue
            n_links += 1
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            if not target.exists() or (
                anchor and anchor not in anchors(target.read_text(encoding="utf-8"))
            ):
                dead.append(f"{page.name}: {link}")
    assert n_links > 30
    assert dead == []


def test_modules_that_security_names_exist() -> None:
    text = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    absent, room = [], ""
    for name in re.findall(r"`([\w/]+\.py)`", text):
        room = name.rpartition("/")[0] or room  # a bare name lies beside the one before it
        if not (REPOSITORY / room / name.rpartition("/")[2]).is_file():
            absent.append(name)
    assert absent == []
