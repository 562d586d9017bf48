"""``make demo``: people meet the planted faults of pawl-mini, a night mends them, they ask again.

The people are scripted, everything else is real: they chat with a running server through its
public API, flag what is wrong and write what would have been right (some carelessly); then
``pawl nightly`` runs in its own process; then the same people ask again, in phrasings that no
flag used. Control questions that nobody complained about show what broke.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evals.mini.checker import fault_shown, is_right
from evals.mini.sets import load_questions
from pawl.errors import PawlError
from pawl.files import read_json, write_json
from pawl.server import api_key_of, serving
from pawl.settings import Settings
from refine.demo_words import describe
from refine.run_state import newest_runs

N_FLAGS_PER_FAULT = 8  # phrasings of half A that are asked, and flagged when the fault shows
N_ASKED_AGAIN = 10  # phrasings of half B, which no flag ever uses
N_PRAISED = 40  # ordinary questions that get a thumb up when the answer is right
N_CONTROL = 160  # ordinary questions that nobody gives feedback on
N_USERS = 12
N_AT_ONCE = 8
REQUEST_SECONDS = 300  # a busy machine may take long over eight answers at once
CARELESS_FRACTION = 0.12  # of the flags: no correction, or a category that does not fit
UNFAIR_FRACTION = 0.05  # of the right answers to ordinary questions: a thumb down all the same
FIXED_SHARE = 0.75  # of the phrasings that showed a fault
CATEGORY = {
    "misconception": "incorrect",
    "wrong_fact": "incorrect",
    "verbose": "verbose",
    "repetitive": "repetitive",
}

Question = dict[str, Any]


@dataclass
class Asked:
    """One question and what was answered."""

    question: Question
    answer: str
    completion_id: str
    version: str


@dataclass
class Tally:
    """Counts of what people did, printed at the end of the chat."""

    n_chats: int = 0
    n_flags: int = 0
    n_corrections: int = 0
    n_praised: int = 0
    n_unfair: int = 0
    faults_met: set[str] = field(default_factory=set)


class People:
    """A scripted group that uses the public API like any client."""

    def __init__(self, url: str, api_key: str | None, seed: int) -> None:
        import httpx

        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=REQUEST_SECONDS, trust_env=False
        )
        self._slots = asyncio.Semaphore(N_AT_ONCE)
        self._random = random.Random(seed)

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(self, question: Question, *, user: str, conversation: str) -> Asked:
        body = {
            "model": "pawl",
            "messages": question["messages"],
            "temperature": 0,
            "max_tokens": 120,
            "user": user,
        }
        async with self._slots:
            answer = await self._http.post(
                "/v1/chat/completions", json=body, headers={"X-Pawl-Conversation": conversation}
            )
        if answer.status_code != 200:
            raise PawlError(f"the server answered {answer.status_code}", answer.text[:300])
        value = answer.json()
        text = value["choices"][0]["message"]["content"] or ""
        return Asked(question, text, value["id"], value["model"])

    async def say(self, body: dict[str, Any]) -> None:
        async with self._slots:
            answer = await self._http.post("/v1/feedback", json=body)
        if answer.status_code not in (200, 201):
            raise PawlError(f"feedback was answered {answer.status_code}", answer.text[:300])

    async def ask_all(self, questions: Sequence[Question], label: str) -> list[Asked]:
        """Ask every question in a conversation of its own."""
        return list(
            await asyncio.gather(
                *(
                    self.ask(q, user=f"user-{i % N_USERS}", conversation=f"{label}-{q['id']}")
                    for i, q in enumerate(questions)
                )
            )
        )

    async def flag(self, asked: Asked, user: str, tally: Tally) -> None:
        """Thumb down, why, and what it should have said; some are careless about it."""
        fault = asked.question
        careless = self._random.random() < CARELESS_FRACTION
        correction = None if careless and self._random.random() < 0.5 else fault["right_answer"]
        category = "other" if careless and correction else CATEGORY[fault["kind"]]
        await self.say(
            {
                "completion_id": asked.completion_id,
                "thumb": "down",
                "categories": [category],
                "correction": correction,
                "user": user,
            }
        )
        tally.n_flags += 1
        tally.n_corrections += correction is not None

    async def day(self, faults: Sequence[Question], ordinary: Sequence[Question]) -> Tally:
        """A day of chatting: the faults are met and flagged, some good answers are praised."""
        tally = Tally()
        for i, asked in enumerate(await self.ask_all(faults, "day")):
            tally.n_chats += 1
            if fault_shown(asked.answer, asked.question):
                tally.faults_met.add(asked.question["fault_id"])
                await self.flag(asked, f"user-{i % N_USERS}", tally)
        for i, asked in enumerate(await self.ask_all(ordinary, "day")):
            tally.n_chats += 1
            if not is_right(asked.answer, asked.question):
                continue
            unfair = self._random.random() < UNFAIR_FRACTION
            await self.say(
                {
                    "completion_id": asked.completion_id,
                    "thumb": "down" if unfair else "up",
                    "user": f"user-{i % N_USERS}",
                }
            )
            tally.n_unfair += unfair
            tally.n_praised += not unfair
        return tally


def choose_questions(seed: int) -> dict[str, list[Question]]:
    """Draw what is asked: ``flagged`` (half A), ``again`` (half B), ``praised``, ``control``."""
    draw = random.Random(seed)
    by_fault: dict[tuple[str, str], list[Question]] = {}
    for i, row in enumerate(load_questions("faults")):
        row = {**row, "id": row.get("id") or f"fault-{i}"}
        by_fault.setdefault((row["fault_id"], row["phrasing_half"]), []).append(row)
    chosen: dict[str, list[Question]] = {"flagged": [], "again": []}
    for (_, half), rows in sorted(by_fault.items()):
        name, n = ("flagged", N_FLAGS_PER_FAULT) if half == "A" else ("again", N_ASKED_AGAIN)
        chosen[name] += draw.sample(rows, min(n, len(rows)))
    chosen["praised"] = draw.sample(load_questions("unseen_combinations"), N_PRAISED)
    chosen["control"] = draw.sample(load_questions("unseen_families"), N_CONTROL)
    return chosen


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """95 % interval of a fraction (Wilson 1927): stays inside [0, 1], also for few items."""
    if n == 0:
        return 0.0, 1.0
    z = 1.959964
    share = n_right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * ((share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5)
    return max(0.0, middle - half), min(1.0, middle + half)


def night_command(settings: Settings, n_items: int, arguments: Sequence[str]) -> list[str]:
    """What starts the night: ``arguments`` come last, so that what a user set wins."""
    return [
        sys.executable,
        "-m",
        "pawl.cli",
        "--state-dir",
        str(settings.state_dir),
        "--set",
        f"model={settings.model}",
        "--set",
        f"gate.n_items_per_benchmark={n_items}",
        *arguments,
        "nightly",
    ]


def run_night(settings: Settings, n_items: int, arguments: Sequence[str]) -> float:
    """``pawl nightly`` in its own process, its progress passed through. Returns seconds."""
    started = time.monotonic()
    if subprocess.run(night_command(settings, n_items, arguments), check=False).returncode != 0:
        raise PawlError("the night failed", do="Its messages are above; 'pawl runs' lists it")
    return time.monotonic() - started


def run_demo(
    settings: Settings, *, n_items: int = 1240, seed: int = 0, arguments: Sequence[str] = ()
) -> dict[str, Any]:
    """Run the whole demonstration; returns (and leaves in ``demo.json``) what it measured.

    Args:
        arguments: options of the ``pawl`` group (``("--set", "train.n_epochs=2")``) for the
            server, if one is started, and for the night.
    """
    from rich.console import Console

    console = Console(highlight=False)
    say = console.print
    started = time.monotonic()
    chosen = choose_questions(seed)
    key = api_key_of(settings)
    n_faults = len({row["fault_id"] for row in chosen["flagged"]})
    say(
        f"pawl-mini has {n_faults} faults planted in it. {N_USERS} scripted people chat with it "
        "and complain (the day), a new adapter is trained and judged (the night), and they ask "
        "again in other words. About a quarter of an hour on four cores.\n"
    )
    with serving(settings, arguments, say=say) as server:
        url = server.url
        engine_before = _status(url, key)
        n_again = len(chosen["again"]) + len(chosen["control"])
        say(f"\n1 of 4. Before: {n_again} questions that will be asked again at the end ...")
        before_again, before_control = asyncio.run(_ask_tests(url, key, chosen, seed, "before"))
        say(f"2 of 4. The day: {N_USERS} people ask {len(chosen['flagged'])} questions about the "
            f"faults and {len(chosen['praised'])} others ...")  # fmt: skip
        tally = asyncio.run(_day(url, key, chosen, seed))
        say(
            f"        {len(tally.faults_met)} of {n_faults} faults were met; {tally.n_flags} wrong "
            f"answers flagged, {tally.n_corrections} of them with a correction; of right answers "
            f"{tally.n_praised} praised, {tally.n_unfair} flagged unfairly."
        )
        say("3 of 4. The night: 'pawl nightly' beside the running server ...")
        night_seconds = run_night(settings, n_items, arguments)
        say("4 of 4. After: the same questions once more ...")
        after_again, after_control = asyncio.run(_ask_tests(url, key, chosen, seed, "after"))
        engine_after = _status(url, key)
    result = compare(tally, before_again, after_again, before_control, after_control)
    result["champion_before"] = engine_before["champion"]
    result["champion_after"] = engine_after["champion"]
    result["engine_restarted"] = engine_before["engine"].get("pid") != engine_after["engine"].get(
        "pid"
    )
    result["night_seconds"] = round(night_seconds, 1)
    result["total_seconds"] = round(time.monotonic() - started, 1)
    result |= night_of(settings)
    write_json(settings.state_dir / "demo.json", result)
    say(describe(result, settings), soft_wrap=True)
    return result


def _status(url: str, key: str | None) -> dict[str, Any]:
    from pawl.client import HttpClient

    status = HttpClient(url, key).get("/admin/status")
    assert isinstance(status, dict)
    return status


async def _day(url: str, key: str | None, chosen: dict[str, list[Question]], seed: int) -> Tally:
    people = People(url, key, seed)
    try:
        return await people.day(chosen["flagged"], chosen["praised"])
    finally:
        await people.close()


async def _ask_tests(
    url: str, key: str | None, chosen: dict[str, list[Question]], seed: int, label: str
) -> tuple[list[Asked], list[Asked]]:
    people = People(url, key, seed)
    try:
        again = await people.ask_all(chosen["again"], label)
        return again, await people.ask_all(chosen["control"], label)
    finally:
        await people.close()


def compare(
    tally: Tally,
    before_again: Sequence[Asked],
    after_again: Sequence[Asked],
    before_control: Sequence[Asked],
    after_control: Sequence[Asked],
) -> dict[str, Any]:
    """What changed. A fault counts as fixed when at least ``FIXED_SHARE`` of the phrasings that
    showed it before, none of them ever flagged, are answered rightly now."""
    shown: Counter[str] = Counter()
    fixed: Counter[str] = Counter()
    examples: dict[str, dict[bool, dict[str, str]]] = {}
    for before, after in zip(before_again, after_again, strict=True):
        fault_id = before.question["fault_id"]
        if fault_id in tally.faults_met and fault_shown(before.answer, before.question):
            shown[fault_id] += 1
            now = is_right(after.answer, after.question)
            fixed[fault_id] += now
            examples.setdefault(fault_id, {})[now] = _change(before, after)
    faults = {
        fault_id: {
            "n_shown": n,
            "n_fixed": fixed[fault_id],
            "is_fixed": fixed[fault_id] >= FIXED_SHARE * n,
            "right": examples[fault_id].get(True),
            "wrong": examples[fault_id].get(False),
        }
        for fault_id, n in sorted(shown.items())
    }
    n_fixed = sum(bool(one["is_fixed"]) for one in faults.values())
    broken: list[dict[str, str]] = []
    mended: list[dict[str, str]] = []
    for before, after in zip(before_control, after_control, strict=True):
        was, now = (is_right(a.answer, a.question) for a in (before, after))
        if was != now:
            (broken if was else mended).append(_change(before, after))
    return {
        "n_faults_met": len(faults),
        "n_faults_fixed": n_fixed,
        "faults_fixed_interval": wilson(n_fixed, len(faults)),
        "n_phrasings": sum(shown.values()),
        "n_phrasings_fixed": sum(fixed.values()),
        "phrasings_fixed_interval": wilson(sum(fixed.values()), sum(shown.values())),
        "faults": faults,
        "n_control": len(before_control),
        "n_control_right": sum(is_right(a.answer, a.question) for a in before_control),
        "newly_broken": broken,
        "newly_right": mended,
    }


def _change(before: Asked, after: Asked) -> dict[str, str]:
    """The last question and its two answers."""
    asked = before.question["messages"][-1]["content"]
    return {"question": asked, "before": before.answer, "after": after.answer}


def night_of(settings: Settings) -> dict[str, Any]:
    """How the newest night ended: ``{"run_id", "night_reason", "verdict"}``; no verdict where the
    night did not come so far, whatever earlier nights decided."""
    state = newest_runs(settings.runs_dir)[0]
    path = settings.runs_dir / state.run_id / "verdict.json"
    return {
        "run_id": state.run_id,
        "night_reason": state.detail.get("reason", ""),
        "verdict": read_json(path) if path.exists() else None,
    }
