"""Links between the repository's pages lead somewhere, headings too, and files they name exist; the
site that is made of them is whole."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from docs.build import REPOSITORY, build, for_the_site, loads_of_others, sections
from docs.reference import commands, settings
from pawl.cli import COMMANDS
from pawl.settings import Settings, flat
from serve.api.metrics import Metrics
from serve.api.roles import RULES

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


def test_every_page_has_a_place_in_the_site() -> None:
    listed = [page for pages in sections().values() for page in pages]
    assert len(listed) == len(set(listed))
    assert set(listed) >= set(PAGES) - {REPOSITORY / "docs" / "index.md"}


def test_links_of_a_page_become_the_sites(tmp_path: Path) -> None:
    page = REPOSITORY / "README.md"
    other = REPOSITORY / "docs" / "api.md"

    def made(text: str) -> str:
        targets = {"gate.suite": "reference/settings.md#gate-suite"}
        return for_the_site(page, [page, other], targets, tmp_path, text)

    assert made("See [*the* API](docs/api.md#errors).") == "See [*the* API](api.md#errors)."
    assert made("`gate.suite` is") == "[`gate.suite`](reference/settings.md#gate-suite) is"
    for same in ("# `gate.suite`", "[`gate.suite`](#here)", "```\n[a](no.md)\n```", "`[a](no.md)`"):
        assert made(same) == same
    assert made("[file](LICENSE), [folder](deploy)") == "[file](files/LICENSE), folder"
    assert (tmp_path / "files" / "LICENSE").is_file()
    with pytest.raises(SystemExit, match=r"no\.md is not there"):
        made("[a](docs/no.md)")


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("sphinx") is None, reason="no sphinx here: THE SITE WAS NOT BUILT"
)
def test_the_site_is_whole_and_names_each_part_of_the_code(tmp_path: Path) -> None:
    site = tmp_path / "site"
    assert build(site) == 0
    pages = {path.stem: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    keys = {key for key, _ in flat(Settings().model_dump())}
    assert {name for name, _ in settings()} == keys
    for key in keys:
        assert f'id="{key.replace(".", "-").replace("_", "-")}"' in pages["settings"], key
    assert {name.split()[1] for name, _ in commands()} == set(COMMANDS)
    for name, command in commands():
        assert f'id="{name.replace(" ", "-")}"' in pages["commands"], name
        for one in command.params:
            hidden = getattr(one, "hidden", False)
            assert hidden or one.opts[-1].lower() in pages["commands"].lower(), one.opts
    text = re.sub("<[^>]+>", "", pages["routes"])
    absent = [route for route in RULES if f"{route}#" not in text]
    assert absent == ["GET /docs", "GET /openapi.json"]  # which show the same
    names = re.findall(r"^# TYPE (\w+?)(?<!_created) ", Metrics().text().decode(), re.M)
    ids = [f'id="{name.replace("_", "-")}"' for name in names]
    assert [one for one in ids if one not in pages["metrics"]] == []
    assert "canary" in (site / "searchindex.js").read_text(encoding="utf-8")
    page = site / "loads.html"
    page.write_text('<a href="https://example.org"></a><img alt="" src="//example.org/a.png">')
    [found] = loads_of_others(site)
    assert "example.org/a.png" in found


def test_modules_that_security_names_exist() -> None:
    text = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    absent, room = [], ""
    for name in re.findall(r"`([\w/]+\.py)`", text):
        room = name.rpartition("/")[0] or room  # a bare name lies beside the one before it
        if not (REPOSITORY / room / name.rpartition("/")[2]).is_file():
            absent.append(name)
    assert absent == []
