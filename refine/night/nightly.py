"""One night, begun or carried on: checks its settings, then runs the steps of ``steps.py``.

    with connect(settings) as client:
        run_night(client, settings)

A night that was killed is carried on by the next call at the step where it stopped, with the
settings that it began with; where these can't be met any more, it ends and a new one begins. A step
that fails because of the machine (a killed child, a server that is gone) is tried again by the next
call, three times at most; one that would fail again ends the run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.gate import gate_rules
from evals.runner import is_of_now
from evals.suites import Suite, choose, load
from feedback.champion import BASE_VERSION
from pawl import plugins
from pawl.adapters import MANIFEST, read_manifest
from pawl.client import Client
from pawl.errors import PawlError
from pawl.files import hold_lock, read_json
from pawl.models import BaseModel, resolve_model
from pawl.schedule import NIGHTS_LOCK
from pawl.server import wait_ready
from pawl.settings import Settings
from pawl.tls import trusted
from refine.monitoring import check_packages
from refine.night.asked import begin as begin_asked
from refine.night.asked import check_challenger
from refine.night.budget import TimeIsOver, ends_after
from refine.night.progress import Progress, usual_seconds
from refine.night.state import Run, as_begun, promotion_of
from refine.night.steps import STEPS, Night, Say, Step, alike
from refine.weights import check_4bit

log = logging.getLogger("pawl.night")

MAX_ATTEMPTS = 3
WORDS = {
    "no_run": "No training tonight",
    "promote": "The challenger passed the gate",
    "reject": "The challenger was rejected",
    "not_enough_evidence": "Not enough evidence to promote",
    "no_verdict": "No verdict",
}


@dataclass(frozen=True, slots=True)
class NightResult:
    """How the night ended. ``outcome``: the gate's, or no_run; ``promotion``: the server's, None
    where nothing was promoted."""

    run_dir: Path
    outcome: str
    reason: str
    promotion: str | None = None
    version: str | None = None

    @property
    def run_id(self) -> str:
        return self.run_dir.name

    def describe(self) -> str:
        """One line for a person, and where the report lies."""
        after = f" {self.version}: {self.promotion}." if self.version else ""
        if self.promotion == "waiting":
            after = f" {self.version} waits for approval: 'pawl approve {self.run_id}'."
        if self.promotion == "canary":
            after = f" {self.version} answers a share of the conversations first."
        ended = f"{WORDS[self.outcome]}: {self.reason.rstrip('.')}.{after}"
        return f"{ended}\nReport: {self.run_dir / 'report.html'}"


def run_night(
    client: Client,
    settings: Settings,
    *,
    fresh: bool = False,
    minutes: float | None = None,
    min_new_rows: int = 0,
    challenger: str | None = None,
    say: Say = lambda line: None,
    on_begin: Callable[[], None] = lambda: None,
) -> NightResult:
    """Run a night, or carry on the one that was interrupted.

    Args:
        client: of the running server, or of the same app in this process.
        fresh: give up an interrupted night instead.
        minutes: its time: what fits is planned before it trains (``refine/night/budget.py``), and
            what is not done when it is over is left to the next night. None: no bound. Only in a
            process's main thread.
        challenger: a version of a system prompt that is tested, and let in, as what a night
            trains; nothing is trained.
        min_new_rows: that the last night that trained did not have; with fewer nothing is trained.
        say: takes one line of progress at a time.
        on_begin: called when no other night can run any more, before anything is done.

    Raises:
        PawlError: another night is running, the settings can't be met, a step failed, or the time
            is over (code ``OUT_OF_TIME``); the run's folder and record say which.
    """
    began = time.monotonic()
    plugins.check(settings, plugins.OF_NIGHTS)
    lock = settings.state_dir / NIGHTS_LOCK
    with (
        # Whoever looks whether a night runs holds the lock for a moment.
        hold_lock(lock, "another night is running", "Wait for it to end", wait_seconds=0.3),
        ends_after(minutes),
    ):
        on_begin()
        status = client.get("/admin/status")
        _check_judge_key(settings, status["settings"])
        if status["engine"]["state"] != "off":
            wait_ready(settings, None, say=say)
            status = client.get("/admin/status")  # a pending promotion may be live by now
        base = resolve_model(
            settings.model, settings.model_revision, cache_dir=settings.state_dir, tell=say
        )
        if base.fingerprint != status["base"]["fingerprint"]:
            raise PawlError(
                f"the night would train {base.name}, the server runs {status['base']['name']}",
                "an adapter fits one base only",
                "Leave --set model=... out: beside a server a night takes its model",
            )
        if challenger is not None:
            check_challenger(client, challenger, status)
        run = _interrupted(client, settings, status, fresh, say)
        if run is not None and challenger not in (None, run.state.detail.get("challenger")):
            raise PawlError(
                f"{run.state.run_id} is not at its end, and tests another challenger",
                "one run at a time",
                "'pawl nightly' carries it on; --fresh gives it up",
            )
        suite: Suite | None = None
        if run is not None:
            try:
                settings, suite = _go_on_with(run, settings, base, say)
            except PawlError as err:
                if err.retryable:
                    raise
                # A new run has to be possible first: settings that are wrong now end none.
                suite = _choose_suite(settings, base, say)
                _fail(run, f"interrupted, and can't go on as it began: {err}")
                say(f"{run.state.run_id} can't go on as it began: {err}. A new run begins")
                run = None
        if suite is None:
            suite = _choose_suite(settings, base, say)
        for line in base.check.lines(base.name):
            say(line)
        run = run or Run.start(
            settings,
            client,
            champion=status["champion"],
            base_fingerprint=base.fingerprint,
            suite=str(suite.folder),
            **({"challenger": challenger} if challenger is not None else {}),
        )
        if not run.state.steps:
            begin_asked(client, run.run_dir, run.state.champion, run.state.detail.get("challenger"))
        beside_engine = status["engine"]["state"] != "off"
        until = None if minutes is None else began + 60 * minutes
        now = Progress(run.run_dir, usual_seconds(alike(run, settings.runs_dir)), until)
        night = Night(
            client, settings, run, base, suite, beside_engine, say, now,
            until=until, min_new_rows=min_new_rows,
        )  # fmt: skip
        return _work(night)


def _interrupted(
    client: Client, settings: Settings, status: dict[str, Any], fresh: bool, say: Say
) -> Run | None:
    """The run to carry on; one that can't be, or must not, comes to its end here."""
    run = Run.unfinished(settings.runs_dir, client)
    if run is None:
        return None
    from feedback.snapshots import ERASED_SNAPSHOT

    state = run.state
    if fresh:
        run.end("given_up", reason=f"given up after '{state.status}' by 'pawl nightly --fresh'")
        say(f"gave up {state.run_id} after '{state.status}'")
        return None
    base = status["base"]
    if promotion_of(client, state.run_id) is None and (state.champion, state.base_fingerprint) != (
        status["champion"],
        base["fingerprint"],
    ):
        who = f"{status['champion']} answers instead of {state.champion}"
        if state.base_fingerprint != base["fingerprint"]:
            who = f"{base['name']} is served, another base"
        run.end("failed", reason=f"interrupted, and meanwhile {who}")
        return None
    if (settings.snapshots_dir / str(state.detail.get("snapshot_id")) / ERASED_SNAPSHOT).exists():
        run.end("failed", reason="interrupted, and meanwhile rows of its snapshot were erased")
        return None
    if not state.settings:
        run.end("failed", reason="interrupted, and begun by a version that kept no settings")
        return None
    if state.n_attempts >= MAX_ATTEMPTS:
        run.end("failed", reason=f"interrupted {state.n_attempts} times after '{state.status}'")
        return None
    say(f"carrying on {state.run_id} after '{state.status}'")
    return run


def _go_on_with(run: Run, settings: Settings, base: BaseModel, say: Say) -> tuple[Settings, Suite]:
    """The settings and the suite that an interrupted run began with.

    Raises:
        PawlError: as ``as_begun`` or ``check_settings``, or the suite is gone.
    """
    begun, changes = as_begun(run.state, settings)
    chosen = run.state.detail.get("suite")  # older versions did not keep it
    is_decided = (run.run_dir / "verdict.json").exists()
    try:
        suite = load(chosen) if chosen else choose(begun.gate)[0]
        check_settings(begun, base, suite)
    except PawlError:
        if not is_decided:
            raise
        suite = load("everyday")  # nothing is trained or scored any more
    if not is_decided:
        discard_scores_of_before(run)
    if changes:
        say(
            f"since {run.state.run_id} began, {'; '.join(changes)}. It goes on with what it "
            "began with; 'pawl nightly --fresh' begins anew"
        )
    return begun, suite


def discard_scores_of_before(run: Run) -> None:
    """After an upgrade: models are compared by scores of one version, so what others left is scored
    again."""
    for path in run.run_dir.glob("scores/*/manifest.json"):
        if not is_of_now(read_json(path)):
            path.unlink()


def _check_judge_key(settings: Settings, server: dict[str, Any]) -> None:
    """Raises PawlError: only the server has the key of its judge. Each question would be refused,
    and the judge have no say."""
    judge, theirs = settings.judge, server.get("judge", {})
    is_theirs = judge.url is not None and judge.url == theirs.get("url")
    if is_theirs and theirs.get("has_api_key") and judge.api_key is None:
        raise PawlError(
            "judge.api_key is not set here",
            "the server's judge asks for it",
            "Set PAWL_JUDGE__API_KEY for this command too",
        )


def _choose_suite(settings: Settings, base: BaseModel, say: Say) -> Suite:
    """The suite of a new run, once its settings are checked (``check_settings``)."""
    suite, why = choose(settings.gate)
    check_settings(settings, base, suite)
    say(why)
    return suite


def check_settings(settings: Settings, base: BaseModel, suite: Suite) -> None:
    """Say now what would otherwise end the night after hours of training.

    Raises:
        PawlError: the base can't be trained, a package is missing, a plugin can't be used, the
            judge's certificate can't be checked, the suite's margins contradict the settings, or
            ``gate.anchor`` is no version that can be scored on this base.
    """
    base.check.refuse("train", base.name)
    plugins.check(settings, plugins.OF_NIGHTS)  # one carried on may have begun with others
    check_packages(settings.monitoring.report_to)
    if settings.judge.url is not None:
        trusted(settings.judge.url)
    if settings.train.load_in_4bit:
        check_4bit()
    gate_rules(settings.gate, suite)
    anchor = settings.gate.anchor
    if anchor == BASE_VERSION:
        return
    folder = settings.adapters_dir / anchor
    if not (folder / MANIFEST).exists():
        known = sorted(path.parent.name for path in settings.adapters_dir.glob(f"*/{MANIFEST}"))
        raise PawlError(
            f"gate.anchor is {anchor!r}",
            f"{settings.adapters_dir} holds no such version",
            f"Set gate.anchor to one of: {', '.join([BASE_VERSION, *known])}",
        )
    if read_manifest(folder).base_fingerprint != base.fingerprint:
        raise PawlError(
            f"gate.anchor is {anchor!r}",
            f"it was trained on another base than {base.name}",
            f"Set gate.anchor to {BASE_VERSION!r} or to a version of this base",
        )


def _work(night: Night) -> NightResult:
    """Work every step that applies and is not done; record how the run ended."""
    run = night.run
    try:
        for step in STEPS:
            if _is_to_come(run, step):
                _work_step(night, step)
    except (PawlError, TimeIsOver) as err:
        log.warning("%s: %s", run.state.run_id, err)
        if not err.retryable or run.state.n_attempts >= MAX_ATTEMPTS:
            _fail(run, str(err))
        raise
    run.end("finished")
    result = {name: run.state.detail.get(name) for name in ("promotion", "version")}
    outcome, reason = run.state.detail["outcome"], run.state.detail["reason"]
    log.info("%s ended: %s", run.state.run_id, outcome)
    return NightResult(run.run_dir, outcome, reason, **result)


def _fail(run: Run, reason: str) -> None:
    """End a run as failed, with its report. Where that fails it is logged: why the run failed is
    what has to be told."""
    from evals.report.report import write_report

    try:
        run.end("failed", reason=reason)
        write_report(run.run_dir)
    except Exception:  # also what the files of an earlier version make of a report
        log.exception("%s: its end could not be recorded", run.state.run_id)


def _is_to_come(run: Run, step: Step) -> bool:
    return step.applies(run.state) and not run.is_done(step.name, step.output)


def _to_come(run: Run) -> list[str]:
    """Names of the steps that are not done, as far as it is known which apply."""
    return [step.name for step in STEPS if _is_to_come(run, step)]


def _work_step(night: Night, step: Step) -> None:
    run = night.run
    run.begin_step()
    night.now.begin(step.name, _to_come(run)[1:])
    night.peak_memory_bytes = None
    started = time.monotonic()
    result = step.work(night)
    figures = {"seconds": round(time.monotonic() - started, 3)}
    if night.peak_memory_bytes is not None:
        figures["peak_memory_bytes"] = night.peak_memory_bytes
    run.finish_step(step.name, figures, result.detail)
    line = describe_step(step.name, figures)
    log.info("%s: %s", run.state.run_id, line)
    night.say(f"{line}  {result.summary}")


def describe_step(name: str, figures: dict[str, Any]) -> str:
    """``train             312.4 s   2.1 GB``."""
    peak = figures.get("peak_memory_bytes")
    memory = f"{peak / 1e9:>5.1f} GB" if peak else ""
    return f"{name:<17}{figures['seconds']:>8.1f} s{memory:>10}"
