"""Files that people attach to a message: read on the server, shown and sent as text.

An attached file is a part of the message's text: a line ``File: NAME``, then its text between
fences. So it is seen before it is sent, can be shortened there, is recorded and exported as what
the model was asked, and a client of the API can send the same.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePath

from pawl.jobs import child_environment
from serve.api.quotas import CallerQuotas, Turns
from serve.pages.texts import OwnError, say

MOST_BYTES = 2_500_000  # in base64 this fits into the largest request by default (4 MB)
MOST_CHARACTERS = 100_000
PDF_SECONDS = 40.0
SUFFIXES = (
    ".txt .md .markdown .csv .tsv .json .jsonl .yaml .yml .toml .ini .log .xml .html .css .py .js "
    ".ts .java .c .h .cpp .go .rs .rb .php .sh .sql .pdf"
).split()
_FENCE = re.compile(r"`{3,}")
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
PDFS_AT_ONCE, PDFS_AN_HOUR = 2, 60  # of all, of a person


class PdfReader:
    """Reads PDFs in processes of their own: ``PDFS_AT_ONCE``, one of a person.

    Args:
        an_hour: so many of a person.
    """

    def __init__(self, an_hour: int = PDFS_AN_HOUR) -> None:
        self._quotas = CallerQuotas("PDFs an hour", an_hour, 3600)
        self._turns = Turns(1)
        self._reading = asyncio.Semaphore(PDFS_AT_ONCE)

    async def text_of(self, name: str, content: bytes, person: str) -> str:
        """Raises PawlError: this person has had too many (``rate_limit_exceeded``), or it can't be
        read (``OwnError``)."""
        self._quotas.charge(person)
        async with self._turns.of(person), self._reading:
            return await _pdf_text(name, content)


async def block_of(name: str, content: bytes, pdfs: PdfReader, person: str) -> str:
    """What of a file stands in a message.

    Args:
        name: as the person's system calls it.
        person: who attaches it.

    Raises:
        PawlError: it can't be read, is no text, or too large (``OwnError``), or this person has
            had too many PDFs read.
    """
    name = " ".join(PurePath(name.replace("\\", "/")).name.replace("`", "'").split())[:100]
    name = name or say("files.unnamed")
    if len(content) > MOST_BYTES:
        raise OwnError(
            say("files.too_large", name=name, count=len(content)),
            say("files.most_bytes", most=MOST_BYTES),
            say("files.a_part"),
        )
    if b"%PDF-" in content[:1024]:
        text = await pdfs.text_of(name, content, person)
    else:
        text = _decoded(name, content)
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    if not text.strip():
        raise OwnError(
            say("files.empty", name=name), say("files.nothing_to_read"), say("files.another")
        )
    if len(text) > MOST_CHARACTERS:
        raise OwnError(
            say("files.too_long", name=name, most=MOST_CHARACTERS),
            say("files.most_characters"),
            say("files.a_part"),
        )
    longest = max((len(fence) for fence in _FENCE.findall(text)), default=2)
    suffix = PurePath(name).suffix.lower().removeprefix(".")
    language = suffix if suffix.isalnum() and suffix not in ("txt", "pdf", "log") else ""
    fence = "`" * max(3, longest + 1)
    return f"File: {name}\n{fence}{language}\n{text}\n{fence}"


def parts_of(message: str) -> Iterator[tuple[str | None, str]]:
    """(name of a file, its text), and (None, text) for what stands between, of a message."""
    lines = message.split("\n")
    plain: list[str] = []
    missing: set[str] = set()  # fences that no later line closes: each is looked for once
    at = 0
    while at < len(lines):
        end = None
        if lines[at].startswith("File: ") and at + 1 < len(lines):
            begun = _FENCE.match(lines[at + 1])
            if begun and begun[0] not in missing:
                with suppress(ValueError):
                    end = lines.index(begun[0], at + 2)
                if end is None:
                    missing.add(begun[0])
        if end is None:
            plain.append(lines[at])
            at += 1
            continue
        if text := "\n".join(plain).strip("\n"):
            yield None, text
        yield lines[at].removeprefix("File: "), "\n".join(lines[at + 2 : end])
        plain, at = [], end + 1
    if text := "\n".join(plain) if at == len(plain) else "\n".join(plain).strip("\n"):
        yield None, text


def _decoded(name: str, content: bytes) -> str:
    """Text in UTF-8, in UTF-16 with its mark, else as Windows writes it in western Europe."""
    if content.startswith(_PICTURES):
        raise OwnError(
            say("files.picture", name=name), say("files.text_only"), say("files.in_words")
        )
    codec = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    for one in (codec, "cp1252"):
        with suppress(UnicodeDecodeError):
            text = content.decode(one)
            if not _CONTROL.search(text):
                return text
    raise OwnError(say("files.no_text", name=name), say("files.kinds"), say("files.save_as"))


async def _pdf_text(name: str, content: bytes) -> str:
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "serve.pages.pdf_text", str(MOST_CHARACTERS),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, env=child_environment(),
        )  # fmt: skip
    except OSError as err:
        raise OwnError(
            say("files.not_read", name=name), say("files.no_process"), say("files.again")
        ) from err
    try:
        out, _ = await asyncio.wait_for(child.communicate(content), PDF_SECONDS)
    except TimeoutError:
        out = b""
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    why, pages = say("files.damaged"), []
    if child.returncode == 0:
        found = json.loads(out)
        pages = found.get("pages", [])
        why = say("files.protected" if found.get("is_protected") else "files.scanned")
    text = "\n\n".join(filter(None, pages))
    if not text:
        raise OwnError(say("files.not_read", name=name), why, say("files.as_text"))
    # Of a character that a PDF names by half, nothing could be sent.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
