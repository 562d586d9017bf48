"""The steps of a night, in their order: ``STEPS``, at the end of this file.

A step reads the outputs of earlier ones and leaves its own in the run's folder. It is done when it
was recorded and its output is there (``Run.is_done``); a step that was interrupted is worked again
and finds what its child finished.

Over 400 lines because a night is read from top to bottom in one place.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.suites import Suite
from feedback.champion import BASE_VERSION
from pawl.adapters import read_manifest, snapshots_of, validate_adapter
from pawl.client import Client
from pawl.errors import PawlError
from pawl.files import read_json, sha256_json, write_json
from pawl.jobs import Event
from pawl.models import BaseModel
from pawl.runs import STAGE_WORDS
from pawl.schemas import TrainingRow
from pawl.settings import Settings
from refine.augment import augment
from refine.night import evidence
from refine.night.asked import Asked, asked_of, asking, is_prompt_only
from refine.night.asked import read as read_asked
from refine.night.budget import REST_MINUTES, Budget, plan_time
from refine.night.progress import Progress
from refine.night.recheck import mended_by_base
from refine.night.state import Run, RunState, newest_runs, promotion_of, what_became_of
from refine.planner import SERVED_AS_LORA, Plan, choose, hidden_size_of
from refine.replay import answers_path, generate_on_server
from refine.train import Job, train, trained_rows

if TYPE_CHECKING:
    from evals.gate import Verdict

Say = Callable[[str], None]


@dataclass(slots=True)
class Night:
    """What the steps of one run work with. ``peak_memory_bytes`` is the last child's; ``until`` is
    when the night's time is over, on the monotonic clock (None: never). ``now`` says to others
    where the night is."""

    client: Client
    settings: Settings
    run: Run
    base: BaseModel
    suite: Suite
    beside_engine: bool
    say: Say
    now: Progress
    peak_memory_bytes: int | None = None
    until: float | None = None
    min_new_rows: int = 0

    def path(self, name: str) -> Path:
        return self.run.run_dir / name

    def adapter_of(self, asked: Asked) -> Path | None:
        """The adapter of a version, the run's own of one that is made now; None for the base."""
        if asked.weights is None:
            return self.path("adapter")
        return None if asked.weights == BASE_VERSION else self.settings.adapters_dir / asked.weights

    @property
    def compared(self) -> tuple[Asked, Asked]:
        """How champion and challenger are asked."""
        return read_asked(self.run.run_dir, self.run.state.champion)

    @property
    def champion_dir(self) -> Path | None:
        return self.adapter_of(self.compared[0])

    @property
    def snapshot_dir(self) -> Path:
        return Path(read_json(self.path("snapshot.json"))["dir"])

    @property
    def current_plan(self) -> Plan:
        return Plan.from_json(read_json(self.path("plan.json")))

    def progress(self, step: str) -> Callable[[Event], None]:
        """Takes a child's events: says every new stage and every tenth of it, keeps its memory."""
        seen: tuple[str, int] | None = None

        def on_event(event: Event) -> None:
            nonlocal seen
            self.peak_memory_bytes = event.get("peak_memory_bytes", self.peak_memory_bytes)
            stage = str(event.get("stage", "done"))
            if "note" in event:
                self.say(f"  {step}: {STAGE_WORDS.get(stage, stage)} {event['note']}")
                return
            if stage != "done":
                self.now.stage(stage, event.get("fraction"))
            if stage == "done" or ("fraction" not in event and seen and seen[0] == stage):
                return
            tenths = int(float(event.get("fraction", 0.0)) * 10)
            if seen != (stage, tenths):
                seen = (stage, tenths)
                share = f": {tenths * 10} %" if "fraction" in event else ""
                self.say(f"  {step}: {STAGE_WORDS.get(stage, stage)}{share}")

        return on_event


@dataclass(frozen=True, slots=True)
class Result:
    """What a step did: a few words for people, and what the run's detail gets of it."""

    summary: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One step. ``output`` is a path in the run's folder, written last. ``applies`` tells from the
    run so far whether the step has anything to do."""

    name: str
    output: str
    work: Callable[[Night], Result]
    applies: Callable[[RunState], bool] = lambda state: True


def retention(night: Night) -> Result:
    """Erase what is too old, before a snapshot freezes it once more."""
    try:
        counts = night.client.post("/admin/retention", {"of_night": True})
    except PawlError as err:
        if err.code != "locked":  # else a long backup holds it: no reason to lose a night
            raise
        write_json(night.path("retention.json"), {})
        return Result(f"nothing is erased by age tonight: {err.what}")
    write_json(night.path("retention.json"), counts)
    if not counts["n_answers"] and not counts["n_feedback"]:
        return Result("nothing is erased by age")
    said = f"{counts['n_answers']:,} answers and {counts['n_feedback']:,} rows of feedback"
    return Result(f"{said} were too old and are erased", {"erased_by_age": counts})


def snapshot(night: Night) -> Result:
    """Freeze the feedback so far."""
    manifest = night.client.post("/admin/snapshots", {})
    if mended := mended_by_base(night, manifest):
        manifest = night.client.post("/admin/snapshots", {"mended": mended})
    found, more = evidence.collect(
        night.client,
        night.settings,
        manifest,
        seed=night.run.state.run_id,
        champion=night.run.state.champion,
        base_fingerprint=night.run.state.base_fingerprint,
    )
    evidence.write(night.run.run_dir, found, more)
    write_json(night.path("snapshot.json"), manifest)
    counts = [
        f"{n} {kind} {split}"
        for split, kinds in manifest["counts"].items()
        for kind, n in kinds.items()
        if n
    ]
    detail = {key: manifest[key] for key in ("snapshot_id", "counts", "rejections")}
    detail |= {"best": found.best, "power": found.power}
    rows = f"{manifest['snapshot_id']}: {', '.join(counts) or 'no rows'}"
    return Result(f"{rows}. {found.power}" if found.n_flagged_prompts else rows, detail)


def plan(night: Night) -> Result:
    """Choose the method and share the time, or end the night because there is nothing (new) to
    learn, or no time for it."""
    from feedback.snapshots import read_rows

    rows = read_rows(night.snapshot_dir)
    hidden_size = hidden_size_of(night.base.model_dir)
    start = start_of(night.settings, night.run.state.champion, night.champion_dir)

    def choice(settings: Settings) -> Plan:
        return replace(choose(rows, settings, hidden_size=hidden_size), start=start)

    chosen = choice(night.settings)
    content = read_json(night.path("snapshot.json"))["content_sha256"]
    train = night.settings.train
    phrasings = {"augment": [train.augment, train.max_synthetic_share]} if train.augment else {}
    inputs = sha256_json(
        {
            **phrasings,
            "snapshot": content,
            "plan": chosen.as_json(),
            "base": night.base.fingerprint,
            "champion": night.run.state.champion,
            "gate": night.settings.gate.model_dump(mode="json"),
            "suite": str(night.suite.folder),
        }
    )
    detail: dict[str, Any] = {
        "method": chosen.method,
        "plan_reason": chosen.reason,
        "start": start,
        "inputs_sha256": inputs,
    }
    budget = None if night.until is None else _share_time(night, night.until)
    is_whole = budget is None or budget.train >= math.floor(chosen.max_minutes)
    ended = (
        chosen.reason if chosen.method == "none" else _nothing_new(night, chosen, inputs, is_whole)
    )
    ended = ended or _too_few_new(night, rows, chosen, is_whole)
    said = ""
    if not ended and budget is not None:
        ended, said = budget.problem, f". {budget}"
        detail |= {"budget": asdict(budget)}
        chosen = choice(budget.applied(night.settings))
    write_json(night.path("plan.json"), chosen.as_json())
    if ended:
        return Result(f"no run: {ended}", detail | {"outcome": "no_run", "reason": ended})
    return Result(f"{chosen.method} ({chosen.reason}){said}", detail)


def start_of(settings: Settings, champion: str, champion_dir: Path | None) -> str:
    """What a training begins from, "base" or "champion": by ``train.start``, and by what the gate
    measured of the newest challenger that began from this champion. Never from one that learned
    from a snapshot of which somebody was erased, or that is not there to tell.

    Args:
        champion_dir: its adapter; None where it has none.
    """
    from feedback.snapshots import ERASED_SNAPSHOT

    train = settings.train
    if champion_dir is None or train.start == "base" or train.tuning in SERVED_AS_LORA:
        return "base"
    for name in snapshots_of(read_manifest(champion_dir).recipe):
        folder = settings.snapshots_dir / name
        if not folder.exists() or (folder / ERASED_SNAPSHOT).exists():
            return "base"
    for state in newest_runs(settings.runs_dir) if train.start == "auto" else ():
        path = settings.runs_dir / state.run_id / "verdict.json"
        began_here = state.detail.get("start") == "champion" and state.champion == champion
        if began_here and path.exists():
            verdict = read_json(path)
            rows = [*verdict["benchmarks"], *verdict["anchor"]]
            return "champion" if all(row["passed"] for row in rows) else "base"
    return "champion"


def _share_time(night: Night, until: float) -> Budget:
    state = night.run.state
    earlier = alike(night.run, night.settings.runs_dir)
    steps = [step.name for step in STEPS if step.applies(state)]
    return plan_time((until - time.monotonic()) / 60, night.settings, steps, earlier)


def alike(run: Run, runs_dir: Path) -> list[RunState]:
    """Runs on the same base, suite and items, newest first."""
    state = run.state
    return [
        other
        for other in newest_runs(runs_dir)
        if other.detail.get("suite") == state.detail.get("suite")
        and other.settings.get("gate", {}).get("n_items_per_benchmark")
        == state.settings["gate"]["n_items_per_benchmark"]
        and other.base_fingerprint == state.base_fingerprint
    ]


def _last_trained(night: Night) -> RunState | None:
    """The newest run on this base that came to a verdict."""
    for state in newest_runs(night.settings.runs_dir):
        trained = state.detail.get("outcome", "no_run") not in ("no_run", "no_verdict")
        trained &= "challenger" not in state.detail
        is_ours = state.base_fingerprint == night.base.fingerprint
        if trained and is_ours and state.status == "finished":
            return state
    return None


def _too_few_new(night: Night, rows: Sequence[TrainingRow], chosen: Plan, is_whole: bool) -> str:
    """Why it is too early, under ``schedule.min_new_rows``; empty when it is not, and where tonight
    has the time (``is_whole``) that the last training from these rows lacked."""
    from feedback.snapshots import ERASED_SNAPSHOT, read_rows

    if night.min_new_rows == 0:
        return ""
    last = _last_trained(night)
    known: set[str] = set()
    if last is not None:
        is_same = last.detail.get("snapshot_id") == night.snapshot_dir.name
        if is_whole and is_same and _was_cut(night.settings.runs_dir, last, chosen):
            return ""
        folder = night.settings.snapshots_dir / str(last.detail.get("snapshot_id"))
        if folder.exists() and not (folder / ERASED_SNAPSHOT).exists():
            try:
                known = {row.row_id for row in read_rows(folder)}
            except (PawlError, OSError, TypeError) as err:  # TypeError: rows of another version
                night.say(f"  all rows count as new, those of {last.run_id} can't be read: {err}")
    n_new = sum(row.row_id not in known for row in rows)
    if n_new >= night.min_new_rows:
        return ""
    since = f" since {last.run_id}" if last is not None else ""
    return f"{n_new} new rows{since}, {night.min_new_rows} are needed (schedule.min_new_rows)"


def _nothing_new(night: Night, chosen: Plan, inputs_sha256: str, is_whole: bool) -> str:
    """Why training would only repeat an earlier night, or come too early; empty when neither.

    Args:
        is_whole: tonight the training has all of ``train.max_minutes``.
    """
    for row in night.client.get("/admin/history"):
        if row["outcome"] == "canary":
            return f"{row['version']} answers a share of the conversations, until that is decided"
    if night.champion_dir is not None and not night.settings.train.augment:
        recipe = read_manifest(night.champion_dir).recipe
        content = read_json(night.path("snapshot.json"))["content_sha256"]
        same_rows = recipe.get("snapshot", {}).get("content_sha256") == content
        same_rows &= recipe.get("system_prompt") == night.compared[1].system_prompt
        if same_rows and _is_plan(recipe, chosen):
            return f"{night.champion_dir.name} was trained on exactly these rows"
    found = evidence.read(night.run.run_dir)
    # What decided is learned from, so the rows differ; but nothing is there to test another one.
    is_untested = found.n_flagged_prompts == 0 and found.n_decided_before > 0
    for state in newest_runs(night.settings.runs_dir):
        outcome = state.detail.get("outcome", "no_run")
        is_same = state.detail.get("inputs_sha256") == inputs_sha256
        is_repeat = is_same and not (is_whole and _was_cut(night.settings.runs_dir, state, chosen))
        if (
            (is_untested or is_repeat)
            and state.run_id != night.run.state.run_id
            and state.status == "finished"
            and "challenger" not in state.detail  # it tested a version without training
            and outcome not in ("no_run", "no_verdict")
        ):
            if state.base_fingerprint != night.base.fingerprint:
                return (
                    "nothing is left to test a challenger by: all held-out prompts "
                    f"({found.n_decided_before}) have decided in earlier nights. Some of the "
                    "corrections from now on will be held out"
                )
            ended = f"'{outcome.replace('_', ' ')}'"
            promotion = promotion_of(night.client, state.run_id)
            if promotion is not None:
                champion = night.run.state.champion
                ended += f"; {what_became_of(promotion, state.run_id, champion)}"
            return f"nothing new since {state.run_id}, which ended with {ended}"
    return ""


def _was_cut(runs_dir: Path, state: RunState, plan: Plan) -> bool:
    """Did a night's time end its training before ``train.max_minutes`` did?"""
    planned = state.detail.get("budget", {}).get("train", math.inf)
    if planned >= math.floor(plan.max_minutes):  # a budget is of whole minutes
        return False
    try:
        return _is_out_of_time(read_manifest(runs_dir / state.run_id / "adapter").recipe)
    except PawlError:  # it is gone, or damaged
        return False


def _is_out_of_time(recipe: dict[str, Any]) -> bool:
    return any(stage["stopped_because"] == "out of time" for stage in recipe.get("stages", ()))


def _is_plan(recipe: dict[str, Any], plan: Plan) -> bool:
    """Is what a recipe recorded this plan? What an older version did not write has its default. A
    night with less time that needed no more did the same."""
    try:
        trained = Plan.from_json(dict(recipe["plan"]))
    except (PawlError, KeyError):
        return False
    if not _is_out_of_time(recipe):
        trained = replace(trained, max_minutes=plan.max_minutes)
    return replace(trained, start=plan.start) == plan


def replay(night: Night) -> Result:
    """Let the running engine answer the replay prompts that no earlier night asked; without an
    engine the training child does."""
    n_generated, summary = None, "no engine runs: the training generates what is lacking"
    if night.beside_engine:
        on_event = night.progress("replay")
        n_generated = generate_on_server(
            night.client,
            night.current_plan,
            trained_rows(night.snapshot_dir),
            answers_path(night.settings.replay_dir, night.base.fingerprint),
            lambda fraction: on_event({"stage": "replay", "fraction": fraction}),
            has_system=night.base.check.supports_system,
        )
        kept = ", the rest kept from earlier nights"
        has_kept = n_generated < night.current_plan.n_replay_rows
        summary = f"{n_generated} answers generated{kept if has_kept else ''}"
    write_json(night.path("replay.json"), {"n_generated": n_generated})
    return Result(summary)


def train_challenger(night: Night) -> Result:
    """Train in a child process, here or on a cluster, and check what it left."""
    settings = night.settings
    job = Job.in_run(
        night.run.run_dir,
        night.base,
        augment(night.client, settings.train, night.base.fingerprint, night.snapshot_dir),
        night.current_plan,
        night.settings.replay_dir,
        night.champion_dir,
        night.compared[1].system_prompt,
        night.run.state.today,
    ).reporting_to(night.settings.monitoring.report_to, night.settings.state_dir / "monitoring")
    job = job.weighing(night.client)
    train(
        job,
        beside_engine=night.beside_engine,
        on_event=night.progress("train"),
        ray_address=settings.train.ray_address,
        n_workers=settings.train.n_workers,
    )
    manifest = validate_adapter(
        job.out_dir, base=night.base, max_rank=night.settings.engine.max_lora_rank
    )
    counts = [
        f"{kind}: {rows['train'] + rows['validation']} rows, {rows.get('replay', 0)} of them replay"
        for kind, rows in manifest.recipe["rows"].items()
    ]
    return Result("; ".join(counts), {"challenger_fingerprint": manifest.fingerprint})


def score_role(role: str, night: Night) -> Result:
    """Score one of them on the same items; earlier scores of the same model are taken over."""
    from evals.gate import gate_rules, items_per_benchmark
    from evals.runner import read_scores, score

    gate = night.settings.gate
    champion, challenger = night.compared
    known = {"champion": champion, "challenger": challenger}
    for name, applies, version in (
        ("anchor", _has_anchor, gate.anchor),
        ("best", _has_best, night.run.state.detail.get("best")),
    ):
        if applies(night.run.state):
            known[name] = asked_of(night.client, str(version))
    others = [one for name, one in known.items() if name in ("anchor", "best")]
    scored, tested = night.adapter_of(known[role]), night.adapter_of(challenger)
    of_people: dict[str, Any] = {
        "snapshot_dir": night.snapshot_dir,
        "more_rows": night.path(evidence.MORE_ROWS),
    }
    if role in ("anchor", "best"):
        # What they know in general and of prompts that were fixed once, nothing of the holdout.
        kept = evidence.read(night.run.run_dir).n_kept
        of_people = {"more_rows": night.path(evidence.KEPT_ROWS)} if kept else {}
    elif role == "champion":
        of_people["n_placebos"] = gate.n_placebos
        if tested != scored:
            of_people["placebo_of"] = tested or "base"
    elif not is_prompt_only(champion, challenger):  # else the benchmarks are the champion's own
        of_people["watch"] = evidence.write_watch(
            night.run.run_dir,
            gate_rules(gate, night.suite),
            anchors=[
                role
                for role, applies in (("anchor", _has_anchor), ("best", _has_best))
                if applies(night.run.state)
            ],
        )
    out_dir = night.path(f"scores/{role}")
    scores = (
        read_scores(out_dir)
        if (out_dir / "manifest.json").exists()
        else score(
            night.base,
            scored,
            suite=night.suite,
            scores_dir=night.settings.scores_dir,
            n_items=items_per_benchmark(gate, night.suite),
            data_dir=gate.data_dir,
            bias=gate.bias_audit,
            matchers=gate.matchers,
            today=night.run.state.today,
            # Each night draws anew: no challenger is chosen by items that chose another one.
            seed=int(sha256_json(night.run.state.run_id)[:8], 16),
            asking=asking(known[role], champion, challenger, others, gate.n_placebos),
            **of_people,
            out_dir=out_dir,
            beside_engine=night.beside_engine,
            on_event=night.progress(f"score {role}"),
            ray_address=gate.ray_address,
        )
    )
    night.client.post(
        f"/admin/runs/{night.run.state.run_id}/scores", {"role": role, "dir": str(out_dir)}
    )
    reused = ", earlier scores taken over" if scores.manifest.get("reused") else ""
    failed = "".join(
        f"; {n} answers compared by Pawl's own rules instead of {problem}"
        for problem, n in scores.manifest.get("matcher_problems", {}).items()
    )
    return Result(f"{len(scores.items):,} items{reused}{failed}")


def decide(night: Night) -> Result:
    """The gate's verdict. One that was written before a kill stands: the ledger may have it, a
    judge may say something else by now, and its suite may be gone."""
    path = night.path("verdict.json")
    if not path.exists():
        _write_verdict(night, path)
    verdict = read_json(path)
    night.client.post(f"/admin/runs/{night.run.state.run_id}/verdict", verdict)
    outcome = verdict["outcome"]
    detail = {"outcome": outcome, "reason": " ".join(verdict["reasons"])}
    return Result(outcome.replace("_", " "), detail)


def _write_verdict(night: Night, path: Path) -> None:
    from evals.gate import decide as decide_gate
    from evals.gate import gate_rules, write_verdict
    from evals.runner import read_scores

    found = evidence.read(night.run.run_dir)
    champion, challenger = night.compared

    def items(role: str, applies: bool = True) -> Any:
        return read_scores(night.path(f"scores/{role}")).items if applies else None

    decided = decide_gate(
        items("champion"),
        items("challenger"),
        replace(
            gate_rules(night.settings.gate, night.suite),
            attempt=found.attempt,
            controls_per_flag=found.controls_per_flag,
            n_decided_before=found.n_decided_before,
            is_prompt_only=is_prompt_only(*night.compared),
        ),
        items("anchor", _has_anchor(night.run.state)),
        items("best", _has_best(night.run.state)),
    )
    decided = _judged(night, decided, items("champion"), items("challenger"))
    write_verdict(
        path,
        decided,
        look=_look(found, decided),
        base_fingerprint=night.run.state.base_fingerprint,
        champion_version=night.run.state.champion,
        champion_fingerprint=_fingerprint(night, champion),
        challenger_fingerprint=_fingerprint(night, challenger),
        suite=night.suite.name,
    )


def _fingerprint(night: Night, asked: Asked) -> str | None:
    """Of all that decides what a version answers; None of the base."""
    adapter = night.adapter_of(asked)
    return asked.fingerprint or (read_manifest(adapter).fingerprint if adapter else None)


def _judged(night: Night, verdict: Verdict, champion: Any, challenger: Any) -> Verdict:
    """The verdict after the judge, if one is set; what it said stays in ``judge.json``."""
    if not night.settings.judge.is_set:
        return verdict
    from evals.judge import judge_night, veto

    report = judge_night(night.settings.judge, champion, challenger)
    write_json(night.path("judge.json"), report.as_json())
    return veto(verdict, report, night.settings.gate.alpha)


def _look(found: evidence.NightEvidence, verdict: Verdict) -> dict[str, Any] | None:
    """The entry of the ledger, if people's prompts decided."""
    if not verdict.prompts or verdict.holdout is None:
        return None
    return {
        "snapshot_id": found.snapshot_id,
        "attempt": found.attempt,
        "alpha": verdict.holdout.alpha,
        "prompts": verdict.prompts,
    }


def promote(night: Night) -> Result:
    """Ask the server to let the challenger in; a promotion already made is not asked again."""
    run_id = night.run.state.run_id
    promotion = promotion_of(night.client, run_id) or night.client.post(
        "/admin/promotions", {"run_dir": str(night.run.run_dir), "run_id": run_id}
    )
    write_json(night.path("promotion.json"), promotion)
    version, outcome = promotion["version"], promotion["outcome"]
    detail = {"promotion": outcome, "version": version}
    if outcome in ("refused", "indistinguishable"):
        reason = night.run.state.detail["reason"]
        detail["reason"] = f"{reason} But {what_became_of(promotion, run_id)}."
    return Result(f"{version}: {outcome}", detail)


def why(night: Night) -> Result:
    """Rank the rows by their influence on what broke. A night is over without it, too."""
    from refine.influence import SUSPECTS, find_suspects

    try:
        found = find_suspects(
            night.run.run_dir,
            night.base,
            minutes=min(night.settings.gate.suspects_minutes, _minutes_left(night)),
            n_threads=night.current_plan.n_threads,
            beside_engine=night.beside_engine,
            on_event=night.progress("why"),
        )
    except PawlError as err:
        found = {"note": str(err)}
        write_json(night.path(SUSPECTS), found)
    if "note" in found:
        return Result(found["note"])
    first = found["rows"][0] if found["rows"] else {}
    return Result(
        f"{found['n_compared']:,} rows compared with {found['n_items']} items that got worse; the "
        f"first suspect is {first.get('row_id')} of {first.get('rater_id') or 'nobody named'}"
    )


def _minutes_left(night: Night) -> float:
    if night.until is None:
        return math.inf
    return max(0.0, (night.until - time.monotonic()) / 60 - REST_MINUTES)


def report(night: Night) -> Result:
    """Write the report on the night as it ended."""
    from evals.report.report import write_report

    return Result(str(write_report(night.run.run_dir)))


def _plans(state: RunState) -> bool:
    """A challenger is to be trained, and does not stand already."""
    return "challenger" not in state.detail


def _scores(state: RunState) -> bool:
    return state.detail.get("outcome") != "no_run"


def _trains(state: RunState) -> bool:
    return _plans(state) and _scores(state)


def _has_anchor(state: RunState) -> bool:
    return _scores(state) and state.settings["gate"]["anchor"] != state.champion


def _has_best(state: RunState) -> bool:
    return _scores(state) and state.detail.get("best") is not None


def _promotes(state: RunState) -> bool:
    return state.detail.get("outcome") == "promote"


def _is_kept_out(state: RunState) -> bool:
    ranks = state.settings["gate"].get("suspects_minutes", 0.0) > 0
    is_out = state.detail.get("outcome") in ("reject", "not_enough_evidence")
    return _plans(state) and ranks and is_out


def _scoring(role: str, applies: Callable[[RunState], bool]) -> Step:
    output = f"scores/{role}/manifest.json"
    return Step(f"score {role}", output, partial(score_role, role), applies)


STEPS = (
    Step("retention", "retention.json", retention),
    Step("snapshot", "snapshot.json", snapshot),
    Step("plan", "plan.json", plan, _plans),
    Step("replay", "replay.json", replay, _trains),
    Step("train", "adapter/manifest.json", train_challenger, _trains),
    _scoring("champion", _scores),
    _scoring("anchor", _has_anchor),
    _scoring("best", _has_best),
    _scoring("challenger", _scores),
    Step("decide", "verdict.json", decide, _scores),
    Step("promote", "promotion.json", promote, _promotes),
    Step("why", "suspects.json", why, _is_kept_out),
    Step("report", "report.html", report),
)
