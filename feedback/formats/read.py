"""Files of other projects to lessons. What can't be used is counted with a reason and a place."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from feedback.formats.chats import Placed
from feedback.formats.collect import Collector
from feedback.formats.detect import FORMATS, LABEL, format_of
from feedback.formats.mapping import check_mapping, column_of, read_mapped, table_record
from feedback.formats.records import Ambiguous, Unusable
from feedback.rows import Lesson
from pawl import plugins
from pawl.errors import PawlError, short
from pawl.plugins import Plugin

MAPPED = "map"  # the format of rows that a mapping reads
_MOST_CHARACTERS = 10_000_000  # of a cell
_BLANK = re.compile(r"[ \t\n\r]*")
_ENVELOPE = {"object", "data", "items", "meta", "total", "first_id", "last_id", "has_more"}

# NaN, as Python's own json writes a value that isn't there, counts as null.
_DECODER = json.JSONDecoder(parse_constant=lambda text: None)

Found = tuple[str, Any, str | None]  # the place, the value, what is wrong with it


@dataclass(slots=True)
class Parsed:
    """What a file holds. ``skipped`` counts by reason, ``problems`` names the first places of each.
    ``silent`` has a ``silence`` of each record that says nothing, or nothing any more.

    ``file_format``: of its records; several are joined with ``+``.
    """

    file_format: str
    n_records: int = 0
    lessons: list[Lesson] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    silent: list[Lesson] = field(default_factory=list)


def parse(
    raw: bytes,
    name: str,
    file_format: str = "auto",
    mapping: Mapping[str, str] | None = None,
    importers: Collection[str] = (),
) -> Parsed:
    """Read and check every record of a file, one after the other.

    Args:
        raw: its bytes.
        name: for the rows' origin and for messages; ``.csv`` and ``.tsv`` are tables.
        file_format: one of ``FORMATS`` or of ``importers``; ``auto`` tells it from each record's
            keys.
        mapping: a column for each field (``mapping.FIELDS``), for records of no known format.
        importers: of installed packages, that may be asked for (``exchange.importers``).

    Raises:
        PawlError: the file as a whole is of no use, a record fits two formats, its labels are on a
            scale (``not_a_thumb``), or an importer can't be loaded or failed.
    """
    if file_format not in ("auto", *FORMATS, *importers):
        of_packages = sorted({one.name for one in plugins.installed("importer")} - {*importers})
        more = f"; installed packages bring {', '.join(of_packages)}" if of_packages else ""
        raise PawlError(
            f"format {short(file_format)} is not known",
            f"there are {', '.join(('auto', *FORMATS, *importers))}{more}",
            "Use one of them" + (", or name another in exchange.importers" if more else ""),
            param="format",
        )
    importer = None if file_format in ("auto", *FORMATS) else plugins.load("importer", file_format)
    mapping = mapping or {}
    if mapping:
        check_mapping(mapping, file_format)
    is_mapped = bool(mapping) and file_format == "auto"
    collected = Collector(name)
    joined: dict[str, list[Placed]] = {}
    formats: set[str] = set()
    n_records, first_keys, first_problem = 0, None, ""
    found_records = (
        _unwrapped(_records(raw, name, is_mapped))
        if importer is None
        else _imported(importer, raw, name)
    )
    for place, value, broken in found_records:
        n_records += 1
        if broken is not None or not isinstance(value, dict):
            collected.add(place, file_format, broken or "not an object")
            first_problem = first_problem or broken or ""
            continue
        if first_keys is None:
            first_keys = _keys(value)
        told = record_format = MAPPED if is_mapped else file_format
        try:
            if importer or told == "auto":
                record_format = _format_of(value, place, name)
            told = importer.name if importer else record_format
            formats.add(told)
            if is_mapped:
                if "label" in mapping and "chosen" not in mapping:
                    label = mapping["label"]
                    collected.check_label(place, label, column_of(value, label))
                lessons = read_mapped(value, mapping)
            elif (read := FORMATS[record_format].read) is not None:
                if FORMATS[record_format].says == LABEL:
                    collected.check_label(place, "label", value.get("label"))
                lessons = read(value)
            else:
                joined.setdefault(record_format, []).append((place, value))
                continue
            for lesson in lessons:
                collected.add(place, told, lesson)
        except Unusable as err:
            collected.add(place, told, str(err))
        except RecursionError:
            collected.add(place, told, "nested too deeply")
    for record_format, placed in joined.items():
        join = FORMATS[record_format].join
        assert join is not None
        for place, found in join(placed, mapping):
            collected.add(place, importer.name if importer else record_format, found)
    if first_keys is None:
        raise PawlError(
            f"{name} holds no records",
            "not one JSON object could be read" + (f" ({first_problem})" if first_problem else ""),
            "One JSON object a line, one array of them, or a table whose name ends in .csv",
            param="path",
        )
    if not formats:
        raise PawlError(
            f"the format of {name} can't be told",
            f"its first record has the keys {first_keys}",
            f"Give the format ({', '.join(FORMATS)}), or name its columns: "
            "--map prompt=COLUMN,completion=COLUMN",
            param="format",
        )
    return Parsed(
        "+".join(sorted(formats)),
        n_records,
        collected.lessons,
        dict(sorted(collected.skipped.items())),
        collected.problems,
        collected.silent,
    )


def _keys(record: dict[str, Any]) -> str:
    return ", ".join(short(key) for key in sorted(record)[:10]).replace("'", "") or "none"


def _format_of(record: dict[str, Any], place: str, name: str) -> str:
    try:
        found = format_of(record)
    except Ambiguous as err:
        choices = ", ".join(f"--format {choice}" for choice in err.formats)
        raise PawlError(
            f"{place} of {name} fits {' and '.join(err.formats)}",
            err.why,
            f"Say how to read it ({choices}), or name its columns with --map",
            code="ambiguous_format",
            param="format",
        ) from None
    if found is None:
        raise Unusable(f"of no known format (its keys are {_keys(record)})")
    return found


# ---- bytes to records ----


def _imported(importer: Plugin, raw: bytes, name: str) -> Iterator[Found]:
    """The records that a package's importer makes of a file. Raises PawlError: it failed."""
    n_records = 0
    try:
        for place, record in importer.part.records(raw, name):
            n_records += 1
            if isinstance(record, str):
                yield str(place), None, record
            else:  # whatever it holds, these are values of JSON
                yield str(place), _DECODER.decode(json.dumps(dict(record))), None
    except (Exception, SystemExit) as err:
        raise PawlError(
            f"{name} can't be read by the importer {importer}",
            f"{plugins.place_of(err)}, after {n_records:,} records",
            "Mend that place of the file, or the package; nothing was added",
            param="format",
        ) from err


def _unwrapped(found: Iterator[Found]) -> Iterator[Found]:
    """The records inside of an API's answer (``{"data": [...], "meta": ...}``)."""
    for place, value, broken in found:
        inside = None
        if isinstance(value, dict) and value.keys() <= _ENVELOPE:
            inside = next(
                (value[key] for key in ("data", "items") if isinstance(value.get(key), list)), None
            )
        if inside is None:
            yield place, value, broken
        else:
            for number, record in enumerate(inside, start=1):
                yield f"{place}, item {number}", record, None


def _records(raw: bytes, name: str, is_mapped: bool) -> Iterator[Found]:
    """The records of an array, of JSON Lines, of objects over several lines, or of a table."""
    start = len(codecs.BOM_UTF8) if raw.startswith(codecs.BOM_UTF8) else 0
    head = raw[start : start + 4096].lstrip()[:1]
    if name.lower().endswith((".csv", ".tsv")) or (is_mapped and head not in (b"[", b"{")):
        return _table(_text(raw, name), name)
    if head == b"[":
        return _array(_text(raw, name), name)
    if head == b"{" and _is_over_lines(raw, start):
        return _objects(_text(raw, name), name)
    return _lines(raw, start, name)


def _is_over_lines(raw: bytes, start: int) -> bool:
    """Whether the first object goes on after its line."""
    end = raw.find(b"\n", raw.index(b"{", start))
    if end < 0 or raw[:end].rstrip().endswith(b"}"):
        return False
    try:
        text = raw[start:].decode().lstrip(" \t\r\n")
        return "\n" in text[: _DECODER.raw_decode(text)[1]]
    except (ValueError, RecursionError):
        return False


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise _no_utf8(name, raw[: err.start].count(b"\n") + 1) from None


def _no_utf8(name: str, line: int) -> PawlError:
    return PawlError(
        f"{name} is not UTF-8", f"line {line} has a byte that is none", "Save it as UTF-8",
        param="path",
    )  # fmt: skip


def _lines(raw: bytes, start: int, name: str) -> Iterator[Found]:
    """One line after the other: neither the text nor the values of the whole file are kept."""
    # Not splitlines(): a text may hold U+2028, which is no end of a line in JSON Lines.
    for number, line in enumerate(io.BytesIO(raw[start:] if start else raw), start=1):
        try:
            text = line.decode().strip(" \t\r\n")
        except UnicodeDecodeError:
            raise _no_utf8(name, number) from None
        if text:
            try:
                yield f"line {number}", _DECODER.decode(text), None
            except (ValueError, RecursionError) as err:
                yield f"line {number}", None, f"not JSON ({err})"


def _objects(text: str, name: str) -> Iterator[Found]:
    """One object after the other, each over several lines."""
    position, line, counted = _after_blank(text, 0), 1, 0
    while position < len(text):
        line, counted = line + text.count("\n", counted, position), position
        value, position = _decoded(text, position, name)
        yield f"line {line}", value, None
        position = _after_blank(text, position)


def _array(text: str, name: str) -> Iterator[Found]:
    """The values of an array, one at a time."""
    position = _after_blank(text, _after_blank(text, 0) + 1)
    number, line, counted = 0, 1, 0
    is_first = True
    while is_first or text[position : position + 1] == ",":
        if is_first and text[position : position + 1] == "]":
            break
        if not is_first:
            position = _after_blank(text, position + 1)
        is_first = False
        number += 1
        line, counted = line + text.count("\n", counted, position), position
        value, position = _decoded(text, position, name)
        yield f"record {number} (line {line})", value, None
        position = _after_blank(text, position)
    if text[position : position + 1] != "]" or _after_blank(text, position + 1) != len(text):
        line = text.count("\n", 0, position) + 1
        raise PawlError(
            f"{name} is not JSON",
            f"line {line}: the array does not go on with a comma, or does not end the file",
            "Mend it there",
            param="path",
        )


def _after_blank(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    return found.end() if found else position


def _decoded(text: str, position: int, name: str) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as err:
        raise PawlError(
            f"{name} is not JSON",
            f"line {err.lineno}, column {err.colno}: {err.msg}",
            "Mend it there",
            param="path",
        ) from None
    except (ValueError, RecursionError) as err:  # a number of thousands of digits; nesting
        raise PawlError(
            f"{name} can't be read as JSON", str(err), "Give one JSON object a line", param="path"
        ) from None


def _table(text: str, name: str) -> Iterator[Found]:
    """The rows of a table, whose first line names the columns: with commas, semicolons or tabs."""
    first_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=first_line.count)
    csv.field_size_limit(_MOST_CHARACTERS)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            place, line = f"line {line}", reader.line_num + 1
            if not any(cells):
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                if len(set(header)) < len(header):
                    raise PawlError(
                        f"{name} has two columns of one name",
                        "which of them is meant can't be told",
                        "Rename one in its first line",
                        param="path",
                    )
            elif len(cells) != len(header):
                yield place, None, "a row with more or fewer cells than the first line"
            else:
                try:
                    yield place, table_record(dict(zip(header, cells, strict=True))), None
                except Unusable as err:
                    yield place, None, str(err)
    except csv.Error as err:
        raise PawlError(
            f"{name} can't be read as a table",
            f"line {reader.line_num}: {err}",
            "Put texts with commas or line ends into quotes, and double the quotes inside",
            param="path",
        ) from None
