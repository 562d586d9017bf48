"""The runs page: what each night did, and the moves of the champion, each asked twice.

Each handler changes the ``OpenRuns`` of its session and draws it anew; of what is drawn only that
is sent which changed, so that what somebody reads or has opened stays while a night goes on. Every
action is a call of the route that the command line calls, with the session's token: so the audit
log has it under who is signed in.

Over 400 lines because the parts of the page and their handlers are read together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import gradio as gr

from feedback.champion import champion_stack
from pawl.errors import PawlError
from pawl.runs import apart_from_verdict, moved, rehearsed, standing
from pawl.schemas import Promotion
from serve.api.auth import caller_of
from serve.pages.api import Api
from serve.pages.blocks import PageBlocks
from serve.pages.categories import api_of
from serve.pages.layout import plain
from serve.pages.rendering import html_parts

RUNS, STATUS = "/admin/runs", "/admin/status"
N_SHOWN = 50  # nights, and as many more with each press
POLL_SECONDS = 3.0
MOVE_SECONDS = 600.0  # loading an adapter on a slow machine
MOST_REPORT = 5_000_000  # characters that are shown
WORDS = {"promote": "passed the gate", "reject": "rejected", "no_run": "no run",
         "not_enough_evidence": "not enough evidence", "no_verdict": "no verdict"}  # fmt: skip
MOVES = {"live": "promoted", "waiting": "waits for approval", "canary": "on its canary",
         "pending": "waits for the engine", "refused": "refused by the server",
         "indistinguishable": "indistinguishable"}  # fmt: skip
REPORT_POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'unsafe-inline'; img-src data:\">"
)
_html: Any = html_parts("runs.html")


@dataclass(frozen=True, slots=True)
class Asked:
    """An action that waits for its second word.

    ``champion``: who answered when it was asked for. ``target``: the version that a rollback goes
    to. ``yes``: the text of the button.
    """

    action: str
    champion: str
    text: str
    yes: str
    run_id: str = ""
    target: str = ""


@dataclass
class OpenRuns:
    """What one open page shows.

    ``run``: the chosen one, as ``GET /admin/runs/{run_id}`` has it. ``sent``: what the browser was
    sent last, by component.
    """

    runs: list[dict[str, Any]] = field(default_factory=list)
    n_shown: int = N_SHOWN
    has_more: bool = False
    chosen: str = ""
    run: dict[str, Any] = field(default_factory=dict)
    suspects: dict[str, Any] = field(default_factory=dict)
    report: str = ""
    curves: list[dict[str, Any]] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)
    status: dict[str, Any] = field(default_factory=dict)
    stack: list[str] = field(default_factory=list)
    asked: Asked | None = None
    notice: str = ""
    sent: dict[int, Any] = field(default_factory=dict)
    # One handler at a time, so that what is drawn is one state.
    working: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __deepcopy__(self, memo: Any) -> OpenRuns:
        return OpenRuns()  # Gradio copies the first value for each session

    @property
    def actions(self) -> set[str]:
        """What can be done now."""
        promotion = self.run.get("promotion") or {}
        outcome = promotion.get("outcome")
        found = {"back", "drill"} if len(self.stack) > 1 else set()
        if outcome in ("waiting", "canary"):
            found |= {"approve", "reject"}
        passed = (self.run.get("detail") or {}).get("outcome") == "promote"
        if passed and outcome in (None, "refused", "indistinguishable"):
            found.add("promote")
        return found


class RunsPage:
    """The page as Gradio mounts it (``blocks``), and its handlers."""

    def __init__(self) -> None:
        with PageBlocks(title="Runs · Pawl", analytics_enabled=False) as self.blocks:
            self._lay_out()
            self._wire()
        self.blocks.queue(api_open=False, default_concurrency_limit=None)

    def _lay_out(self) -> None:
        self.page = gr.State(OpenRuns())
        self.timer = gr.Timer(POLL_SECONDS)
        with gr.Row(elem_classes="op-head"):
            gr.Markdown("# Runs", elem_classes="op-title")
            self.who = plain("op-who")
        self.state = plain("runs-state")
        # What concerns the version that answers, whichever night is chosen, stands beside it.
        with gr.Row(elem_id="runs-live"):
            live = _buttons({"back": "Roll back", "drill": "Rehearse a rollback"})
        with gr.Row(elem_id="runs-body"):
            with gr.Column(scale=1, min_width=260, elem_id="runs-side"):
                self.nights = gr.Radio([], label="Nights, newest first", elem_id="runs-nights")
                self.more = gr.Button("Show older nights", visible=False, size="sm")
            with gr.Column(scale=3, min_width=320):
                self.detail = plain("runs-detail")
                with gr.Accordion("Report", open=True, visible=False) as self.report_part:
                    self.report = plain("runs-report")
                with gr.Accordion("Training curves", open=False, visible=False) as self.curve_part:
                    self.curves = plain("runs-curves")
                with gr.Accordion("Log", open=False, visible=False) as self.log_part:
                    self.logs = plain("runs-logs")
        with gr.Column(elem_id="op-foot"):
            with gr.Column(visible=False, elem_id="op-ask") as self.ask:
                self.question = plain("op-question")
                with gr.Row():
                    self.yes = gr.Button("Yes", variant="primary", size="sm", elem_id="op-yes")
                    self.no = gr.Button("No, leave it as it is", size="sm", elem_id="op-no")
            self.notice = plain("op-notice")
            with gr.Row(elem_id="runs-night"):
                night = _buttons({"approve": "Approve", "reject": "Reject", "promote": "Promote"})
        self.buttons = {**night, **live}
        self.drawn = [
            self.state, self.nights, self.more, self.detail, self.report_part, self.report,
            self.curve_part, self.curves, self.log_part, self.logs, self.ask, self.question,
            self.yes, self.notice, *self.buttons.values(),
        ]  # fmt: skip

    def _wire(self) -> None:
        common: dict[str, Any] = {
            "api_visibility": "private",
            "show_progress": "hidden",
            "concurrency_limit": None,
        }
        self.blocks.load(self._begin, [self.page], [*self.drawn, self.who], **common)
        self.timer.tick(self._look, [self.page], self.drawn, **common)
        self.nights.input(self._choose, [self.page, self.nights], self.drawn, **common)
        self.more.click(self._more, [self.page], self.drawn, **common)
        self.no.click(self._leave, [self.page], self.drawn, **common)
        self.yes.click(self._do, [self.page], self.drawn, **common)
        for name, button in self.buttons.items():
            button.click(self._asking(name), [self.page], self.drawn, **common)

    # -- handlers

    async def _begin(self, page: OpenRuns, request: gr.Request) -> list[Any]:
        async with page.working:
            page.chosen = str(request.query_params.get("run", ""))
            await self._read(page, request)
            return [*self._changed(page), str(_html.who(caller_of(request.request.scope).name))]

    async def _look(self, page: OpenRuns, request: gr.Request) -> list[Any]:
        """Whether something happened, and how far the night is."""
        if page.working.locked():
            return [gr.skip()] * len(self.drawn)
        async with page.working:
            api = api_of(request)
            try:
                status = await api.get(STATUS)
                newest = await api.get(RUNS, limit="1")
            except PawlError:  # the next look tries again
                return [gr.skip()] * len(self.drawn)
            if _sign(status, newest) != _sign(page.status, page.runs) or page.run.get("progress"):
                await self._read(page, request)
            return self._changed(page)

    async def _choose(self, page: OpenRuns, run_id: str | None, request: gr.Request) -> list[Any]:
        async with page.working:
            if run_id is not None and run_id != page.chosen:
                page.chosen, page.notice, page.asked = run_id, "", None
                await self._read_chosen(page, api_of(request))
            return self._changed(page)

    async def _more(self, page: OpenRuns, request: gr.Request) -> list[Any]:
        async with page.working:
            page.n_shown += N_SHOWN
            await self._read(page, request)
            return self._changed(page)

    def _asking(self, action: str) -> Any:
        async def ask(page: OpenRuns, request: gr.Request) -> list[Any]:
            async with page.working:
                await self._read(page, request)
                page.asked, page.notice = None, ""
                if action not in page.actions:
                    page.notice = "That can't be done any more: something moved meanwhile."
                elif action == "back" and (canary := page.status.get("canary")):
                    page.notice = (
                        f"{canary['version']} answers a share of the conversations beside "
                        f"{canary['champion']}, which a rollback would move. End that first: "
                        f"choose {canary['run_id']}, then Reject or Approve."
                    )
                else:
                    page.asked = _asked(action, page)
                return self._changed(page)

        return ask

    async def _leave(self, page: OpenRuns) -> list[Any]:
        async with page.working:
            page.asked, page.notice = None, "Nothing was done."
            return self._changed(page)

    async def _do(self, page: OpenRuns, request: gr.Request) -> AsyncIterator[list[Any]]:
        async with page.working:
            asked, page.asked = page.asked, None
            if asked is None:  # pressed twice
                yield self._changed(page)
                return
            page.notice = "Working: this may take a minute ..."
            yield self._changed(page)
            api = api_of(request)
            try:
                champion = (await api.get(STATUS))["champion"]
                if champion != asked.champion:
                    page.notice = f"Nothing was done: {champion} answers by now."
                else:
                    page.notice = await _done(api, asked)
            except PawlError as err:
                page.notice = f"Not done: {err}"
            await self._read(page, request)
            yield self._changed(page)

    # -- reading and drawing

    async def _read(self, page: OpenRuns, request: gr.Request) -> None:
        api = api_of(request)
        try:
            page.status = await api.get(STATUS)
            runs = await api.get(RUNS, limit=str(page.n_shown + 1))
            history = await api.get("/admin/history")
        except PawlError as err:
            page.notice = f"The runs could not be read: {err}"
            return
        page.runs, page.has_more = runs[: page.n_shown], len(runs) > page.n_shown
        page.stack = champion_stack([Promotion(**row) for row in history])
        if not page.chosen and runs:
            page.chosen = runs[0]["run_id"]
        await self._read_chosen(page, api)

    async def _read_chosen(self, page: OpenRuns, api: Api) -> None:
        page.run, page.suspects, page.report, page.curves, page.logs = {}, {}, "", [], []
        if not page.chosen:
            return
        path = f"{RUNS}/{_part(page.chosen)}"
        try:
            page.run = await api.get(path)
            page.suspects = await api.get(f"{path}/suspects")
            page.curves = await api.get(f"{path}/curves")
            page.logs = await api.get(f"{path}/logs")
            page.report = await api.text(f"{path}/report")
        except PawlError as err:
            if err.code != "not_found":  # else it has no report, or no folder any more
                page.notice = str(err)

    def _values(self, page: OpenRuns) -> list[Any]:
        """What ``drawn`` shows."""
        can, asked = page.actions, page.asked
        choices = [(_label(run, page.stack), run["run_id"]) for run in page.runs]
        known = page.chosen if page.chosen in [run["run_id"] for run in page.runs] else None
        is_long = len(page.report) > MOST_REPORT
        report = "" if is_long else page.report.replace("<head>", f"<head>{REPORT_POLICY}", 1)
        return [
            str(_html.state(page)),
            {"choices": choices, "value": known, "visible": bool(choices)},
            {"visible": page.has_more},
            str(_detail(page) if page.run else _html.nothing(page)),
            {"visible": bool(page.report)},
            str(_html.report(page.chosen, report)) if page.report else "",
            {"visible": bool(page.curves)},
            str(_html.curves(_plots(page.curves))) if page.curves else "",
            {"visible": bool(page.logs)},
            str(_html.logs(page.logs)) if page.logs else "",
            {"visible": asked is not None},
            str(_html.asked(asked)) if asked else "",
            {"value": asked.yes if asked else "Yes"},
            str(_html.notice(page.notice)),
            *({"visible": name in can} for name in self.buttons),
        ]

    def _changed(self, page: OpenRuns) -> list[Any]:
        """The update of each component, or none where it shows this already."""
        updates: list[Any] = []
        for n, value in enumerate(self._values(page)):
            if page.sent.get(n) == value:
                updates.append(gr.skip())
            else:
                page.sent[n] = value
                updates.append(gr.update(**value) if isinstance(value, dict) else value)
        return updates


def _buttons(texts: dict[str, str]) -> dict[str, gr.Button]:
    """A button for each action, shown where it can be done (``OpenRuns.actions``)."""
    return {
        name: gr.Button(text, size="sm", min_width=110, visible=False, elem_classes="op-action")
        for name, text in texts.items()
    }


def _detail(page: OpenRuns) -> str:
    return str(_html.detail(page.run, standing(apart_from_verdict(page.run)), page.suspects))


async def _done(api: Api, asked: Asked) -> str:
    """Do what was asked for, and answered with yes; what became of it, in words."""
    run = f"{RUNS}/{_part(asked.run_id)}"
    path, body = {
        "approve": (f"{run}/approve", {}),
        "reject": (f"{run}/reject", {}),
        "promote": ("/admin/promotions", {"run_dir": asked.run_id}),
        "back": ("/admin/rollback", {"to": asked.target}),
        "drill": ("/admin/drill", {}),
    }[asked.action]
    answer = await api.post(path, body, MOVE_SECONDS)
    return "\n".join(rehearsed(answer)) if asked.action == "drill" else moved(answer)


def _asked(action: str, page: OpenRuns) -> Asked:
    champion, run_id = page.status["champion"], page.chosen
    version = (page.run.get("promotion") or {}).get("version", "")
    target = page.stack[-2] if len(page.stack) > 1 else ""
    text, yes = {
        "approve": (f"Let {version} of {run_id} answer instead of {champion}?",
                    f"Yes, let {version} in"),
        "reject": (f"Refuse {version} of {run_id}? {champion} goes on answering.",
                   f"Yes, refuse {version}"),
        "promote": (f"Bring the adapter of {run_id} in, which its gate let through? {champion} "
                    "answers now.", "Yes, promote it"),
        "back": (f"Go back from {champion} to {target}? It answers everybody from then on.",
                 f"Yes, go back to {target}"),
        "drill": (f"Rehearse going back from {champion} to {target}? {champion} goes on answering; "
                  "the engine is busy for a moment.", "Yes, rehearse it"),
    }[action]  # fmt: skip
    return Asked(action, champion, text, yes, run_id, target)


def _sign(status: dict[str, Any], runs: Sequence[dict[str, Any]]) -> tuple[Any, ...]:
    """Differs when there is something new to show."""
    canary = status.get("canary") or {}
    newest = [(run["run_id"], run["status"], run["at"]) for run in runs[:1]]
    return (
        status.get("champion"),
        (status.get("engine") or {}).get("state"),
        [row["promotion_id"] for row in status.get("waiting", [])],
        [canary.get(name) for name in ("version", "n_conversations", "reason")],
        (status.get("night") or {}).get("run_id"),
        newest,
    )


def _label(run: dict[str, Any], stack: Sequence[str]) -> str:
    """A night in the list: when it began, and what became of it.

    Args:
        stack: the champion and the versions that rollbacks go to.
    """
    detail, promotion = run.get("detail") or {}, run.get("promotion") or {}
    if run.get("progress"):
        word = "runs now"
    elif run["status"] == "finished":
        outcome = str(detail.get("outcome") or "finished")
        word = MOVES.get(promotion.get("outcome", ""), WORDS.get(outcome, outcome))
        if version := promotion.get("version"):
            is_gone = promotion["outcome"] == "live" and version not in stack
            word = f"{version} rolled back" if is_gone else f"{version} {word}"
    elif run["status"] in ("failed", "given_up"):
        word = run["status"].replace("_", " ")
    else:
        word = "interrupted"
    return f"{run['started_at'][:16].replace('T', ' ')} · {word}"


def _plots(curves: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each curve with its points in a box of 100 by 100, and its values by step."""
    return [{**curve, **_plot(curve["train"], curve["validation"])} for curve in curves]


def _plot(train: list[Any], validation: list[Any]) -> dict[str, Any]:
    points = [*train, *validation]
    steps, values = [step for step, _ in points], [value for _, value in points]
    first, last, low, high = min(steps), max(steps), min(values), max(values)

    def placed(series: list[Any]) -> str:
        found = [
            (100 * (step - first) / ((last - first) or 1), 100 - 100 * (value - low) / (high - low))
            if high > low
            else (100 * (step - first) / ((last - first) or 1), 50.0)
            for step, value in series
        ]
        # A point alone is a line of no length, which round ends show.
        return " ".join(f"{x:.2f},{y:.2f}" for x, y in (found * 2 if len(found) == 1 else found))

    rows: dict[float, list[float | None]] = {step: [None, None] for step in sorted(set(steps))}
    for side, series in enumerate((train, validation)):
        for step, value in series:
            rows[step][side] = value
    return {
        "first": f"{first:g}", "last": f"{last:g}", "low": f"{low:.4g}", "high": f"{high:.4g}",
        "train_line": placed(train), "validation_line": placed(validation),
        "rows": [(f"{step:g}", *(_short(one) for one in pair)) for step, pair in rows.items()],
    }  # fmt: skip


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _part(run_id: str) -> str:
    """A run's id as a part of a route's path."""
    return quote(run_id, safe="").replace(".", "%2E") or "%2E"
