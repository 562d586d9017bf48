"""The documentation as a site: ``python docs/build.py``, or ``make docs``.

The pages are those that docs/index.md lists, each under its heading, and the reference, which is
made of the code (docs/reference.py). A link that leads nowhere, a page that no list names, and
whatever a page would load from another host end it with an error.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
INDEX = REPOSITORY / "docs" / "index.md"
LINK = re.compile(r"(\[(?:[^\[\]`]|`[^`]*`)*\])\(([^)\s]+)\)|(?<!`)`([^`\n]+)`(?!`)")
FENCE = re.compile(r"(^[ ]*```.*?^[ ]*```[ ]*$)", re.M | re.S)
# What makes a browser load: attributes of elements, and addresses in style sheets.
LOADS = re.compile(
    r"<(?:script|img|iframe|source|link(?![^>]*rel=[\"']?canonical))\b[^>]*?"
    r"\b(?:src|href)=[\"']?(?:https?:)?//[^\s\"'>]+|(?:url\(|@import)\s*[\"']?(?:https?:)?//[^\s)]+",
    re.I,
)


def sections() -> dict[str, dict[Path, str]]:
    """The pages below each heading of docs/index.md, with what they are called there."""
    found: dict[str, dict[Path, str]] = {}
    for part in INDEX.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        links = re.findall(r"^- \[([^]]+)\]\(([^)]+)\)", body, re.M)
        found[title] = {(INDEX.parent / link).resolve(): label for label, link in links}
    listed = {page for pages in found.values() for page in pages} | {INDEX}
    if left_out := [page.name for page in INDEX.parent.glob("*.md") if page not in listed]:
        raise SystemExit(f"docs/index.md does not list {', '.join(left_out)}")
    return found


def place_of(page: Path) -> str:
    """Where a page of the repository stands in the site."""
    inside = page.relative_to(REPOSITORY).as_posix()
    return inside.removeprefix("docs/").replace("README.md", "overview.md").lower()


def for_the_site(
    page: Path, pages: Iterable[Path], targets: dict[str, str], source: Path, text: str
) -> str:
    """The text of a page with its links as they are in the site: to other pages there, to copies of
    other files; and with a link to the reference from each name of ``targets``."""
    places = {one: place_of(one) for one in pages} | {INDEX: "index.md"}
    here = Path(places[page]).parent

    def link(match: re.Match[str]) -> str:
        label, target, code = match.groups()
        if code is not None:
            line = match.string[match.string.rfind("\n", 0, match.start()) + 1 : match.start()]
            words = re.match(r"pawl [a-z]+", code)
            to = targets.get(code) or (words and targets.get(words[0]))
            if not to or line.startswith("#"):
                return match[0]
            return f"[`{code}`]({os.path.relpath(to, here)})"
        name, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target) or not name:
            return match[0]
        file = (page.parent / name).resolve()
        if file.is_dir() and file / "README.md" in places:
            file /= "README.md"
        if file.is_dir():
            return label[1:-1]
        if file not in places:
            if not file.is_file():
                raise SystemExit(f"{page}: {target} is not there")
            places[file] = f"files/{file.relative_to(REPOSITORY).as_posix()}"
            copy = source / places[file]
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        return f"{label}({os.path.relpath(places[file], here)}{anchor and '#' + anchor})"

    parts = FENCE.split(text)
    return "".join(part if n % 2 else LINK.sub(link, part) for n, part in enumerate(parts))


def write_source(source: Path) -> None:
    """All pages, those of the reference and of the sections among them, as Sphinx reads them."""
    from docs.reference import reference

    found = sections()
    pages = [page for listed in found.values() for page in listed]
    made, targets = reference()
    texts = dict(made)
    for page in [*pages, INDEX]:
        text = page.read_text(encoding="utf-8")
        place = "index.md" if page == INDEX else place_of(page)
        texts[place] = for_the_site(page, pages, targets, source, text)
    head, *parts = texts["index.md"].split("\n## ")
    for n, (title, listed) in enumerate(found.items()):
        places = {place_of(page): label for page, label in listed.items()}
        if title == "Reference":
            names = {place: text.partition("\n")[0][2:] for place, text in made.items()}
            places |= names
            parts[n] += "".join(f"- [{name}]({place})\n" for place, name in names.items())
        texts[section_of(title)] = f"# {parts[n]}\n{toctree(places)}"
    contents = {section_of(title): title for title in found}
    texts["index.md"] = "\n## ".join([head, *parts]) + toctree(contents)
    for place, text in texts.items():
        path = source / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def section_of(title: str) -> str:
    return f"section-{title.lower().replace(' ', '-')}.md"


def toctree(places: dict[str, str]) -> str:
    """The menu of a page: titles by places."""
    lines = [f"{title} <{place}>" for place, title in places.items()]
    return "\n".join(["```{toctree}", ":hidden:", "", *lines, "```", ""])


def loads_of_others(site: Path) -> list[str]:
    """What the pages, styles and scripts of the site load from other hosts."""
    files = [path for kind in ("html", "css") for path in site.rglob(f"*.{kind}")]
    return [
        f"{path.relative_to(site)}: {found}"
        for path in files
        for found in LOADS.findall(path.read_text(encoding="utf-8"))
    ]


def build(folder: Path) -> int:
    """Make the site in ``folder``; the exit code."""
    from sphinx.cmd.build import build_main

    source = folder.with_name(f"{folder.name}-source")
    for old in (source, folder):
        shutil.rmtree(old, ignore_errors=True)
    source.mkdir(parents=True)
    write_source(source)
    options = ["-W", "-q", "-b", "html", "-c", str(INDEX.parent), "-d", str(source / ".doctrees")]
    code = build_main([*options, str(source), str(folder)])
    for line in loads_of_others(folder):
        print(line, file=sys.stderr)
        code = 1
    return code


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    to = Path(sys.argv[1] if len(sys.argv) > 1 else REPOSITORY / "build" / "docs").resolve()
    status = build(to)
    print(f"The site is in {to}: open {to / 'index.html'}" if status == 0 else "No site was made.")
    sys.exit(status)
