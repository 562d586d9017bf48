"""The dashboard: what people ask and flag, how fast it is answered, what waits.

All of it is read from ``GET /admin/dashboard`` and ``GET /metrics`` and drawn as HTML. The figures
of now are drawn anew every few seconds, the tables only when asked for, so that an open one stays
open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import gradio as gr
from markupsafe import Markup

from pawl.errors import PawlError
from serve.api.auth import caller_of
from serve.api.metrics import Load, load_of
from serve.pages.blocks import PageBlocks
from serve.pages.categories import api_of
from serve.pages.layout import plain
from serve.pages.plots import bars, csv_text, curve
from serve.pages.rendering import category_name, html_parts

POLL_SECONDS = 10.0  # how often the figures of now are drawn anew
DAYS = [("24 hours", "1"), ("7 days", "7"), ("30 days", "30"), ("90 days", "90"), ("a year", "366")]
NOTHING = "Nothing in this time."
_html: Any = html_parts("board.html")


@dataclass(frozen=True, slots=True)
class Panel:
    """A plot with its data. ``name``: of its file. ``drawn``: HTML, or empty."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    drawn: str = ""
    note: str = ""
    empty: str = NOTHING

    @property
    def csv(self) -> str:
        """The rows as an address that a link can save."""
        return "data:text/csv;charset=utf-8," + quote(csv_text(self.columns, self.rows))


class DashboardPage:
    """The page as Gradio mounts it (``blocks``), and its handlers."""

    def __init__(self) -> None:
        with PageBlocks(title="Dashboard · Pawl", analytics_enabled=False) as self.blocks:
            self.timer = gr.Timer(POLL_SECONDS)
            with gr.Row(elem_id="board-head"):
                gr.Markdown("# Dashboard", elem_id="board-title")
                self.who = plain("board-who")
            self.now = plain("board-now")
            with gr.Row(elem_id="board-choice"):
                self.days = gr.Dropdown(DAYS, value="30", label="Time shown", filterable=False)
                self.refresh = gr.Button("Refresh", size="sm", min_width=90)
            self.body = plain("board-body")
            common: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden",
                                      "concurrency_limit": None}  # fmt: skip
            self.blocks.load(self._begin, [self.days], [self.who, self.now, self.body], **common)
            self.days.input(self._show, [self.days], [self.body], **common)
            self.refresh.click(self._show, [self.days], [self.body], **common)
            self.timer.tick(self._look, [], [self.now], **common)
        self.blocks.queue(api_open=False, default_concurrency_limit=None)

    async def _begin(self, days: str, request: gr.Request) -> list[str]:
        who = str(_html.who(caller_of(request.request.scope).name))
        return [who, await self._look(request), await self._show(days, request)]

    async def _look(self, request: gr.Request) -> str:
        """How the engine and its queue are now."""
        api = api_of(request)
        try:
            health = await api.get("/health")
            return now(health, load_of(await api.text("/metrics")))
        except PawlError as err:
            return str(_html.notice(f"The server's counters could not be read: {err}"))

    async def _show(self, days: str, request: gr.Request) -> str:
        """All figures of the last days."""
        api = api_of(request)
        try:
            found = await api.get("/admin/dashboard", days=days)
            history = await api.get("/admin/history")
        except PawlError as err:
            return str(_html.notice(f"The figures could not be read: {err}"))
        waiting = [one["version"] for one in history if one["outcome"] == "waiting"]
        parts = [tiles(found, waiting), *(_html.panel(one) for one in panels(found))]
        return "".join(str(one) for one in parts)


def now(health: dict[str, Any], load: Load) -> str:
    """The figures of this moment, and those since the server began that the counters have."""
    engine, values = health["engine"], load.values
    held, cache = values.get("pawl_places_held", 0), values.get("pawl_engine_kv_cache_fraction")
    refused = sum(load.counts.get("pawl_refusals", {}).values())
    requests = load.counts.get("pawl_requests", {})
    rows = [
        ("Version that answers", health["champion"], _since(health)),
        ("Engine", engine["state"], f"{engine['n_restarts']} restarts"),
        *([("Replicas", engine["detail"], "")] if "replicas answer" in engine["detail"] else []),
        ("Answering", f"{held:.0f}", f"{values.get('pawl_queue_length', 0):.0f} wait"),
        ("In the engine", _whole(values.get("pawl_engine_requests_running")),
         f"{_whole(values.get('pawl_engine_requests_waiting'))} wait there"),
        ("Engine's cache in use", "?" if cache is None else f"{100 * cache:.0f} %", ""),
        ("Wait for the engine", *_median(load, "pawl_queue_seconds")),
        ("First token", *_median(load, "pawl_first_token_seconds")),
        ("Whole answer", *_median(load, "pawl_request_seconds")),
        ("Requests", f"{sum(requests.values()):,}",
         f"{requests.get('error', 0):,} broken off, {refused:,} refused for quota or queue"),
    ]  # fmt: skip
    return str(_html.tiles("Now, and since the server began", rows))


def _since(health: dict[str, Any]) -> str:
    if not health["champion_served"]:
        return "not loaded"
    since = health["champion_since"]
    return f"since {since[:16].replace('T', ' ')} UTC" if since else "nothing was promoted yet"


def _whole(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"


def _median(load: Load, name: str) -> tuple[str, str]:
    found = load.quantiles.get(name)
    return (f"{found[0]:.2f} s", f"95 of 100: {found[1]:.2f} s") if found else ("none yet", "")


def tiles(found: dict[str, Any], waiting: list[str]) -> str:
    """What came and what waits, as figures; ``waiting``: challengers that a person must sign."""
    total, rate, backlog = found["total"], found["total"]["rate"], found["backlog"]
    training = found["training"]
    oldest = backlog["oldest_at"]
    per = "none" if rate["per_1000"] is None else f"{rate['per_1000']:g}"
    since = f"since {training['since'][:10]}" if training["since"] else "no night had a verdict yet"
    came = [
        ("Answers", f"{total['n_answers']:,}",
         f"{total['n_conversations']:,} conversations, {total['n_people']:,} people"),
        ("Thumbs", f"{total['n_up']:,} up, {total['n_down']:,} down", ""),
        ("Flags per 1,000 answers", per,
         f"95 %: {rate['lower']:g} to {rate['upper']:g}; {total['n_flagged']:,} flagged"
         if total["n_answers"] else ""),
        ("Broken off", f"{total['n_errors']:,}", ""),
    ]  # fmt: skip
    waits = [
        ("Flags for a reviewer", f"{backlog['n_waiting']:,}",
         f"the oldest since {oldest[:10]}" if oldest else ""),
        ("Corrections to learn from", f"{training['n_corrections']:,}", since),
        ("Preferences to learn from", f"{training['n_preferences']:,}",
         f"{training['n_imported']:,} imported"),
        ("Thumbs to learn from",
         f"{training['n_thumbs_up']:,} up, {training['n_thumbs_down']:,} down",
         "down without a correction"),
        ("Flags that need a correction", f"{training['n_uncorrected']:,}", "by their category"),
        ("Challengers for a signature", f"{len(waiting)}", ", ".join(waiting)),
    ]  # fmt: skip
    return "".join([
        "<h2>What came</h2>", str(_html.tiles("What came", came)),
        "<h2>What waits</h2>", str(_html.tiles("What waits", waits)),
    ])  # fmt: skip


def panels(found: dict[str, Any]) -> list[Panel]:
    """The plots of ``GET /admin/dashboard``, with their data."""
    times = found["by_time"]
    names = [one["name"] + (":00" if found["is_hourly"] else "") for one in times]
    when = "hour" if found["is_hourly"] else "day"
    has_any = any(one["n_answers"] for one in times)

    def over_time(
        name: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]],
        drawn: dict[str, Any], note: str = "",
    ) -> Panel:  # fmt: skip
        rows = [[when_, *row] for when_, row in zip(names, rows, strict=True)] if has_any else []
        return Panel(name, title, [f"{when} (UTC)", *columns], rows, _drawn("curve", drawn), note)

    def of_rates(name: str, title: str, first: str, note: str = "", empty: str = "") -> Panel:
        lines = found[f"by_{first}"]
        shown = [category_name(one["name"]) if first == "category" else one["name"]
                 for one in lines]  # fmt: skip
        rates = [one["rate"] for one in lines]
        rows = [[one["name"], one["n_answers"], one["n_people"], one["n_flagged"],
                 *_rate(one)] for one in lines]  # fmt: skip
        drawn = _drawn("bars", bars(shown, rates, f"Flags per 1,000 answers by {first}"))
        columns = [first, "answers", "people", "flagged", *_RATE]
        return Panel(name, title, columns, rows, drawn, note, empty or NOTHING)

    def values(name: str) -> list[Any]:
        return [one[name] for one in times]

    def seconds(name: str, which: int) -> list[float | None]:
        return [(one[name] or [None, None])[which] for one in times]

    def latency(name: str, field: str, title: str) -> Panel:
        series = [("median", "solid", seconds(field, 0)),
                  ("95th percentile", "dashed", seconds(field, 1))]  # fmt: skip
        return over_time(
            name, title, ["median, s", "95th percentile, s"],
            list(zip(series[0][2], series[1][2], strict=True)), curve(names, series, title),
        )  # fmt: skip

    rates = [one["rate"] if one["n_answers"] else None for one in times]
    return [
        over_time(
            "answers", f"Answers by {when}",
            ["answers", "people", "conversations", "broken off", "tokens"],
            [[one[name] for name in ("n_answers", "n_people", "n_conversations", "n_errors",
                                     "n_tokens")] for one in times],
            curve(names, [("answers", "box", values("n_answers"))], f"Answers by {when}"),
        ),
        over_time(
            "thumbs", f"Thumbs by {when}", ["up", "down"],
            [[one["n_up"], one["n_down"]] for one in times],
            curve(names, [("up", "solid", values("n_up")), ("down", "dashed", values("n_down"))],
                  f"Answers with a thumb by {when}"),
            "Answers that somebody marked good or bad, at the time of the answer.",
        ),
        over_time(
            "flags", f"Flags per 1,000 answers by {when}", ["answers", "flagged", *_RATE],
            [[one["n_answers"], one["n_flagged"], *_rate(one)] for one in times],
            curve(names, [("flags", "solid", [one and one["per_1000"] for one in rates])],
                  f"Flags per 1,000 answers by {when}",
                  [one and (one["lower"], one["upper"]) for one in rates]),
            "A flag is a thumb down, a category or a correction by a person; reviewers' decisions "
            "are not counted. The thin lines are 95 % intervals (Wilson), as if answers were "
            "independent of each other: where few people flag much, they are too narrow.",
        ),
        of_rates("versions", "Flags by version", "version",
                 "Versions answer at different times and to different people: a difference here is "
                 "no proof; the gate's is."),
        of_rates("categories", "Flags by category", "category",
                 "Of all answers. One that is flagged for two reasons stands twice.",
                 "Nobody flagged anything in this time."),
        of_rates("words", "Flags by word of the question", "word",
                 f"Nobody gives questions a topic, so this counts words: of the newest "
                 f"{found['n_read']:,} answers, those whose question holds the word. Shown are the "
                 "words with the highest lower ends, so chance makes them look worse than they "
                 "are; words of one person alone are left out.",
                 "No word stands in three flagged questions of two people."),
        Panel(
            "complaints", "The same complaint again",
            ["question", "flagged answers", "people", "categories"],
            [[one["question"], one["n_answers"], one["n_people"],
              ", ".join(category_name(name) for name in one["categories"])]
             for one in found["complaints"]],
            note="Flagged answers of this time whose questions are nearly the same, by their "
            "characters; of the newest 300.",
            empty="No two flagged questions are nearly the same.",
        ),
        latency("first-token", "first_token_seconds", f"Seconds to the first token by {when}"),
        latency("whole-answer", "total_seconds", f"Seconds of a whole answer by {when}"),
    ]  # fmt: skip


_RATE = ("per 1,000", "from", "to")


def _rate(line: dict[str, Any]) -> list[Any]:
    rate = line["rate"]
    has_any = rate["per_1000"] is not None
    return [rate["per_1000"], *((rate["lower"], rate["upper"]) if has_any else (None, None))]


def _drawn(kind: str, plot: dict[str, Any]) -> Any:
    return Markup(getattr(_html, kind)(plot))
