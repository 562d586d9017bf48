"""Broken format: code fences, JSON where JSON was asked for, tables, formulas, marks of emphasis."""

from __future__ import annotations

import json
import re

from feedback.detectors.answer import Answer

_FENCE = re.compile(r"^[ ]{0,12}(`{3,}|~{3,})(.*)$", re.M)
_WANTS_JSON = re.compile(
    r"(?i)\b(as|in|valid|output|return|reply with|respond only in|answer with|give me|convert this to|please answer as|provide\b.*\bas"
    r"|als|un|en|the|a|extract\b.*\bas|format\b.*\bas)\s*:?\s+(an?\s+|valid\s+|einem?\s+)?json\b"
    r"|\bjson (please|only|object|array|list|config)\b|^\W*(json|output json)\b"
)
_ABOUT_JSON = re.compile(
    r"(?i)\b(what is json|who invented|better|why|how (do|can|to)|is this|explain|should i|read|parse|invalid|stream)\b"
)
_EMPHASIS = re.compile(r"(?<![\w*\\])\*\*(?=\S)|(?<=\S)\*\*(?![\w*])")


def faults(answer: Answer) -> float:
    """How many things of the answer's form are broken."""
    text, n_fence_faults = _without_fences(answer.text)
    n = n_fence_faults
    n += _wants_json(answer.prompt) and not _has_json(answer.text)
    n += sum(not _is_json(body) for body in _fenced(answer.text, "json"))
    n += _table_faults(text)
    n += text.count("$$") % 2 if "\\" in text else 0
    n += text.count("\\[") != text.count("\\]")
    n += text.count("\\(") != text.count("\\)")
    for paragraph in re.split(r"\n\s*\n", text):
        n += bool(re.search(r"(?<!\\)`", paragraph)) and _is_odd(paragraph)
        bare = re.sub(r"`[^`]*`", " ", paragraph)
        n += len(_EMPHASIS.findall(bare)) % 2
    return float(n)


def _is_odd(paragraph: str) -> bool:
    """Whether a backtick opens code that nothing ends."""
    return len(re.findall(r"(?<!\\)`+", paragraph)) % 2 == 1


def _without_fences(text: str) -> tuple[str, int]:
    """The text outside of fenced code, and 1 where a fence is not closed (CommonMark 4.5)."""
    outside, fence = [], ""
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if match and not fence:
            fence = match[1]
        elif match and match[1].startswith(fence) and not match[2].strip():
            fence = ""
        elif not fence:
            outside.append(line)
    return "\n".join(outside), int(bool(fence))


def _fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


def _wants_json(prompt: str) -> bool:
    return bool(_WANTS_JSON.search(prompt)) and not _ABOUT_JSON.search(prompt)


def _has_json(text: str) -> bool:
    """Whether the answer holds JSON: as a whole, a fenced part, a line or what braces enclose."""
    parts = [text, *re.findall(r"```\w*\n(.*?)```", text, re.S), *text.split("\n\n")]
    parts += [line for line in text.split("\n") if line.strip().startswith(("{", "["))]
    begin, end = re.search(r"[{\[]", text), max(text.rfind("}"), text.rfind("]"))
    if begin and begin.start() < end:
        parts.append(text[begin.start() : end + 1])
    return any(_is_json(part) for part in parts)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _table_faults(text: str) -> int:
    """Rows of Markdown tables with another number of cells than the line beneath the head."""
    n, width = 0, 0
    lines = text.split("\n")
    for i, line in enumerate(lines):
        cells = _cells(line)
        if re.fullmatch(r"\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)+\|?", line.strip()):
            width = cells
            n += i > 0 and _cells(lines[i - 1]) != width
        elif width and "|" in line:
            n += cells != width or (line.strip().startswith("|") != line.strip().endswith("|"))
        else:
            width = 0
    rows = [bool(re.fullmatch(r"\|.*\|", line.strip())) for line in lines]
    has_rule = any(re.search(r"-\s*\|", line) for line in lines)
    return n + (sum(rows) >= 3 and all(rows) and not has_rule)


def _cells(line: str) -> int:
    return len(re.split(r"(?<!\\)\|", line.strip().strip("|")))
