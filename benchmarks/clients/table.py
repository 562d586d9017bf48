"""The table of ``docs/clients.md``: a client by feature, and what each check saw."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measurements import machine_in_words
from pawl.files import write_atomic

PAGE = Path(__file__).resolve().parents[2] / "docs" / "clients.md"
COMMAND = "python -m benchmarks.clients"
BEGIN, END = "<!-- clients -->", "<!-- /clients -->"
CALLED = "called"  # the feature "tools" on the base that knows them
# Features in the table's order, with their columns' heads.
FEATURES = {
    "chat": "chat", "stream": "stream", "turns": "turns", "json": "structured",
    "tools": "tools: embedded model", CALLED: "tools: a base that knows them",
    "overflow": "too long", "key": "wrong key", "feedback": "feedback", "responses": "Responses",
    "messages": "Messages", "completions": "completions",
    "loglikelihood": "", "foreign": "",  # of one client alone: told below the table
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """``outcome``: works, refuses or fails; ``detail``: what shows it, the code, or what failed."""

    outcome: str
    detail: str

    def mark(self) -> str:
        if self.outcome == "refuses":
            return f"refused: `{self.detail}`"
        return "works" if self.outcome == "works" else "**fails**"


@dataclass
class Row:
    """A client. ``n_kept`` of the ``n_read`` answers that it read stand in the store as it did."""

    name: str
    version: str = ""
    cells: dict[str, Cell] = field(default_factory=dict)
    n_read: int = 0
    n_kept: int = 0


def keep(rows: Sequence[Row], path: Path) -> dict[str, Row]:
    """Put rows into the file in the place of their clients' last ones; all rows that it has."""
    from pydantic import TypeAdapter

    adapter = TypeAdapter(dict[str, Row])
    kept = adapter.validate_json(path.read_bytes()) if path.exists() else {}
    kept |= {row.name: row for row in rows}
    write_atomic(path, adapter.dump_json(kept).decode())
    return kept


def markdown(rows: Sequence[Row]) -> str:
    """The table and the lines below it."""
    shown = [name for name, head in FEATURES.items() if head]
    lines = [
        f"`{COMMAND}` · {datetime.now(UTC):%Y-%m-%d} · {machine_in_words()}",
        "",
        "| client | " + " | ".join(FEATURES[name] for name in shown) + " | recorded |",
        "| --- " * (len(shown) + 2) + "|",
    ]
    for row in rows:
        marks = [row.cells[name].mark() if name in row.cells else "–" for name in shown]
        kept = f"{row.n_kept} of {row.n_read}" if row.n_read else "–"
        lines.append(f"| {row.name} {row.version} | " + " | ".join([*marks, kept]) + " |")
    lines += ["", "What the checks saw:", ""]
    for row in rows:
        details = [f"{(FEATURES[name] or name).replace(': ', ', ')}: {_safe(cell)}"
                   for name, cell in sorted(row.cells.items(), key=_order)]  # fmt: skip
        lines.append(f"- {row.name}: " + "; ".join(details))
    return "\n".join(lines)


def _order(item: tuple[str, Cell]) -> int:
    return list(FEATURES).index(item[0])


def _safe(cell: Cell) -> str:
    """A detail as text of one line: nothing in it is markup, and no path or port is shown."""
    text = re.sub(r"(/[\w.-]+){3,}", "...", " ".join(cell.detail.split()))
    text = re.sub(r"127\.0\.0\.1:\d+", "the server", text)[:200]
    return f"`{text.replace('`', chr(39))}`" if cell.outcome == "fails" else text


def write(rows: Sequence[Row], path: Path = PAGE) -> None:
    """Put the table between the page's marks."""
    text = path.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    write_atomic(path, f"{before}{BEGIN}\n{markdown(rows)}\n{END}{after}")
