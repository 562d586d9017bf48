"""One night: snapshot, plan, train, score, verdict, report, promote.

    with connect(settings) as client:
        run_night(client, settings)

Each step leaves a finished output (its manifest is written last), and a step whose output is
there is skipped. So a night that was killed is carried on by the next call, where it stopped. A
step that fails because of the machine (a killed child, a server that is gone) is tried again by
the next call, three times at most; one that would fail again ends the run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.suites import Suite
from feedback.champion import BASE_VERSION
from pawl.adapters import MANIFEST, read_manifest, validate_adapter
from pawl.client import Client
from pawl.errors import PawlError
from pawl.files import hold_lock, read_json, sha256_json, write_json
from pawl.models import BaseModel, resolve_model
from pawl.schemas import ItemScore
from pawl.settings import Settings
from refine.night.checks import check_settings
from refine.night.progress import NightResult, Progress, Say, describe_counts
from refine.night.state import Run, newest_runs, promotion_of, what_became_of
from refine.planner import Plan, choose, hidden_size_of
from refine.replay import answers_path, generate_on_server
from refine.training import train

MAX_ATTEMPTS = 3
ROLES = ("champion", "anchor", "challenger")


def run_night(client: Client, settings: Settings, *, say: Say = lambda line: None) -> NightResult:
    """Run a night, or carry on the one that was interrupted.

    Args:
        client: of the running server, or of the same app in this process.
        say: takes one line of progress at a time.

    Raises:
        PawlError: another night is running, or a step failed; the run's folder and record say
            which.
    """
    lock = settings.state_dir / "nightly.lock"
    with hold_lock(lock, "another night is running", "Wait for it to end"):
        status = client.get("/admin/status")
        base = resolve_model(
            settings.model, settings.model_revision, cache_dir=settings.state_dir, tell=say
        )
        if base.fingerprint != status["base"]["fingerprint"]:
            raise PawlError(
                f"the night would train {base.name}, the server runs {status['base']['name']}",
                "an adapter fits one base only",
                "Give the night the server's model: "
                f"pawl --set model={status['base']['name']} nightly",
            )
        check_settings(settings, base)
        run = _carry_on(client, settings, status, say) or Run.start(
            settings.runs_dir,
            client,
            champion=status["champion"],
            base_fingerprint=base.fingerprint,
        )
        night = Night(client, settings, run, base, status["engine"]["state"] != "off", say)
        try:
            return night.run()
        except PawlError as err:
            if not err.retryable or run.state.n_attempts >= MAX_ATTEMPTS:
                run.move("failed", reason=str(err))
                night.report(note=f"the night failed: {err}")
            raise


def _is_plan(value: dict[str, Any] | None, plan: Plan) -> bool:
    """Is what a recipe recorded this plan? What an older version did not write has its default."""
    try:
        return value is not None and Plan.from_json(dict(value)) == plan
    except PawlError:
        return False


def _carry_on(client: Client, settings: Settings, status: dict[str, Any], say: Say) -> Run | None:
    """The interrupted run, unless the champion or the base changed under it."""
    run = Run.unfinished(settings.runs_dir, client)
    if run is None:
        return None
    state = run.state
    promoted = promotion_of(client, state.run_id)
    if promoted is None and (state.champion, state.base_fingerprint) != (
        status["champion"],
        status["base"]["fingerprint"],
    ):
        run.move(
            "failed",
            reason=f"interrupted, and meanwhile {status['champion']} answers "
            f"instead of {state.champion}",
        )
        return None
    if state.n_attempts >= MAX_ATTEMPTS:
        run.move("failed", reason=f"interrupted {state.n_attempts} times after '{state.status}'")
        return None
    run.keep(n_attempts=state.n_attempts + 1)
    say(f"carrying on {state.run_id} after '{state.status}'")
    return run


@dataclass(slots=True)
class Night:
    """The steps of one run, in their order."""

    client: Client
    settings: Settings
    state: Run
    base: BaseModel
    beside_engine: bool
    say: Say

    @property
    def run_dir(self) -> Path:
        return self.state.run_dir

    @property
    def adapter_dir(self) -> Path:
        return self.run_dir / "adapter"

    def run(self) -> NightResult:
        snapshot_dir = self.snapshot()
        plan = self.plan(snapshot_dir)
        nothing_new = self.nothing_new(snapshot_dir, plan)
        if plan.method == "none" or nothing_new:
            return self.no_run(nothing_new or plan.reason)
        self.train(snapshot_dir, plan)
        champion, anchor, challenger = self.score(snapshot_dir)
        verdict = self.decide(champion, anchor, challenger)
        if verdict["outcome"] != "promote":
            return self.finish(verdict)
        return self.promote(verdict)

    def snapshot(self) -> Path:
        """Freeze what was said so far."""
        if not self.state.is_before("snapshot"):
            return Path(self.state.state.detail["snapshot_dir"])
        manifest = self.client.post("/admin/snapshots", {})
        self.state.move(
            "snapshot",
            snapshot_dir=str(manifest["dir"]),
            snapshot_id=manifest["snapshot_id"],
            counts=manifest["counts"],
            rejections=manifest.get("rejections", {}),
        )
        self.say(f"snapshot {manifest['snapshot_id']}: {describe_counts(manifest['counts'])}")
        return Path(manifest["dir"])

    def plan(self, snapshot_dir: Path) -> Plan:
        """Choose the method; what was chosen once holds for the rest of the run."""
        from feedback.snapshots import read_rows

        path = self.run_dir / "plan.json"
        if not path.exists():
            plan = choose(
                read_rows(snapshot_dir),
                self.settings,
                hidden_size=hidden_size_of(self.base.model_dir),
            )
            write_json(path, plan.as_json())
        plan = Plan.from_json(read_json(path))
        if self.state.is_before("planned"):
            self.state.move(
                "planned",
                method=plan.method,
                plan_reason=plan.reason,
                inputs_sha256=self._inputs(snapshot_dir, plan),
            )
            self.say(f"method: {plan.method} ({plan.reason})")
        return plan

    def _inputs(self, snapshot_dir: Path, plan: Plan) -> str:
        """A hash of everything that decides how a night ends."""
        return sha256_json(
            {
                "snapshot": read_json(snapshot_dir / "manifest.json")["content_sha256"],
                "plan": plan.as_json(),
                "base": self.base.fingerprint,
                "champion": self.state.state.champion,
                "gate": self.settings.gate.model_dump(mode="json"),
            }
        )

    def nothing_new(self, snapshot_dir: Path, plan: Plan) -> str:
        """Why training would only repeat an earlier night; empty when it would not."""
        champion_dir = self.champion_dir(self.state.state.champion)
        if champion_dir is not None:
            recipe = read_manifest(champion_dir).recipe
            content = read_json(snapshot_dir / "manifest.json")["content_sha256"]
            same_rows = recipe.get("snapshot", {}).get("content_sha256") == content
            if same_rows and _is_plan(recipe.get("plan"), plan):
                return f"{champion_dir.name} was trained on exactly these rows"
        mine = self.state.state
        for state in newest_runs(self.settings.runs_dir):
            same = state.detail.get("inputs_sha256") == mine.detail.get("inputs_sha256")
            outcome = state.detail.get("outcome", "no_run")
            if (
                same
                and state.run_id != mine.run_id
                and state.status == "finished"
                and outcome not in ("no_run", "no_verdict")
            ):
                ended = f"'{outcome.replace('_', ' ')}'"
                promotion = promotion_of(self.client, state.run_id)
                if promotion is not None:
                    ended += f"; {what_became_of(promotion, state.run_id)}"
                return f"nothing new since {state.run_id}, which ended with {ended}"
        return ""

    def champion_dir(self, version: str) -> Path | None:
        return None if version == BASE_VERSION else self.settings.adapters_dir / version

    def replay(self, snapshot_dir: Path, plan: Plan) -> None:
        """Let the running engine answer the replay prompts; without one the training child does."""
        from feedback.snapshots import read_rows

        if not self.beside_engine or (self.adapter_dir / MANIFEST).exists():
            return
        started = time.monotonic()
        rows = [row for row in read_rows(snapshot_dir) if row.split in ("train", "validation")]
        path = answers_path(self.settings.replay_dir, self.base.fingerprint)
        progress = Progress(self.say)
        n_new = generate_on_server(
            self.client, plan, rows, path, lambda f: progress({"stage": "replay", "fraction": f})
        )
        self.took("replay", started)
        self.say(f"replay: {n_new} answers generated, the rest kept from earlier nights")

    def train(self, snapshot_dir: Path, plan: Plan) -> None:
        """Train the challenger in a child process, and check what it left."""
        self.replay(snapshot_dir, plan)
        started = time.monotonic()
        train(
            snapshot_dir=snapshot_dir,
            plan_path=self.run_dir / "plan.json",
            base=self.base,
            out_dir=self.adapter_dir,
            work_dir=self.run_dir / "train",
            replay_dir=self.settings.replay_dir,
            champion_dir=self.champion_dir(self.state.state.champion),
            n_threads=plan.n_threads,
            beside_engine=self.beside_engine,
            on_event=Progress(self.say),
        )
        manifest = validate_adapter(
            self.adapter_dir, base=self.base, max_rank=self.settings.engine.max_lora_rank
        )
        if self.state.is_before("trained"):
            self.took("train", started)
            self.state.move("trained", challenger_fingerprint=manifest.fingerprint)
            self.say(f"trained in {manifest.recipe['seconds']:.0f} s: {self.adapter_dir}")

    def score(
        self, snapshot_dir: Path
    ) -> tuple[list[ItemScore], list[ItemScore] | None, list[ItemScore]]:
        """Champion, anchor and challenger on the same items; earlier scores are taken over."""
        champion_version = self.state.state.champion
        anchor_version = self.settings.gate.anchor
        champion = self._score_one("champion", self.champion_dir(champion_version), snapshot_dir)
        anchor = None
        if anchor_version != champion_version:
            # The gate asks of the anchor what it knows in general, nothing of the holdout.
            anchor = self._score_one("anchor", self.champion_dir(anchor_version), None)
        challenger = self._score_one("challenger", self.adapter_dir, snapshot_dir)
        if self.state.is_before("scored"):
            for role in ("champion", "challenger") if anchor is None else ROLES:
                self.client.post(
                    f"/admin/runs/{self.state.state.run_id}/scores",
                    {"role": role, "dir": str(self.run_dir / "scores" / role)},
                )
            self.state.move("scored")
        return champion, anchor, challenger

    def suite(self) -> Suite:
        """The suite of this night: chosen once, so that a night carried on keeps it."""
        from evals.suites import choose, load

        detail = self.state.state.detail
        if "suite" in detail:
            return load(detail["suite"])
        suite, why = choose(self.settings.gate)
        self.say(why)
        self.state.keep(detail={**detail, "suite": str(suite.folder)})
        return suite

    def _score_one(
        self, role: str, adapter_dir: Path | None, snapshot_dir: Path | None
    ) -> list[ItemScore]:
        from evals.gate import items_per_benchmark
        from evals.runner import read_scores, score

        out_dir = self.run_dir / "scores" / role
        if (out_dir / "manifest.json").exists():
            return read_scores(out_dir).items
        gate, suite = self.settings.gate, self.suite()
        progress, started = Progress(self.say), time.monotonic()
        scores = score(
            self.base,
            adapter_dir,
            suite=suite,
            scores_dir=self.settings.scores_dir,
            n_items=items_per_benchmark(gate, suite),
            data_dir=gate.data_dir,
            snapshot_dir=snapshot_dir,
            out_dir=out_dir,
            beside_engine=self.beside_engine,
            on_event=lambda event: progress(
                event | ({"stage": f"score {role}: {event['stage']}"} if "stage" in event else {})
            ),
        )
        self.took(f"score {role}", started)
        reused = ", earlier scores taken over" if scores.manifest.get("reused") else ""
        self.say(f"scored {role}: {len(scores.items)} items{reused}")
        return scores.items

    def decide(
        self,
        champion: list[ItemScore],
        anchor: list[ItemScore] | None,
        challenger: list[ItemScore],
    ) -> dict[str, Any]:
        """The gate's verdict."""
        from evals.gate import decide, gate_rules, write_verdict

        path = self.run_dir / "verdict.json"
        if not path.exists():
            gate, version = self.settings.gate, self.state.state.champion
            suite = self.suite()
            write_verdict(
                path,
                decide(champion, challenger, gate_rules(gate, suite), anchor),
                champion_version=version,
                champion_fingerprint=self._fingerprint(version),
                challenger_fingerprint=read_manifest(self.adapter_dir).fingerprint,
                suite=suite.name,
            )
        verdict = read_json(path)
        if self.state.is_before("decided"):
            self.client.post(f"/admin/runs/{self.state.state.run_id}/verdict", verdict)
            self.state.move("decided", outcome=verdict["outcome"])
            self.say(f"verdict: {verdict['outcome'].replace('_', ' ')}")
        return dict(verdict)

    def _fingerprint(self, version: str) -> str | None:
        adapter_dir = self.champion_dir(version)
        return read_manifest(adapter_dir).fingerprint if adapter_dir else None

    def promote(self, verdict: dict[str, Any]) -> NightResult:
        """Ask the server to let the challenger in; a promotion already made is not asked again."""
        promotion = promotion_of(self.client, self.state.state.run_id)
        if promotion is None:
            started = time.monotonic()
            promotion = self.client.post(
                "/admin/promotions",
                {"run_dir": str(self.run_dir), "run_id": self.state.state.run_id},
            )
            self.took("promote", started)
        self.say(f"promotion of {promotion['version']}: {promotion['outcome']}")
        return self.finish(verdict, promotion)

    def finish(
        self, verdict: dict[str, Any], promotion: dict[str, Any] | None = None
    ) -> NightResult:
        reason = " ".join(verdict["reasons"])
        if promotion is not None and promotion["outcome"] in ("refused", "indistinguishable"):
            reason = f"{reason} But {what_became_of(promotion, self.state.state.run_id)}."
        self.report(promotion=promotion)
        result = NightResult(
            self.state.state.run_id,
            self.run_dir,
            verdict["outcome"],
            reason,
            promotion["outcome"] if promotion else None,
            promotion["version"] if promotion else None,
        )
        self.state.move(
            "finished",
            outcome=result.outcome,
            reason=result.reason,
            promotion=result.promotion,
            version=result.version,
        )
        return result

    def no_run(self, reason: str) -> NightResult:
        """End without training; the record and the report say why."""
        self.report(note=f"no run tonight: {reason}")
        self.state.move("finished", outcome="no_run", reason=reason)
        return NightResult(self.state.state.run_id, self.run_dir, "no_run", reason)

    def report(self, *, note: str = "", promotion: dict[str, Any] | None = None) -> None:
        """Write the report on what the run's folder holds by now."""
        from evals.report.report import write_report

        state = self.state.state
        plan = self.run_dir / "plan.json"
        write_report(
            self.run_dir,
            snapshot={
                key: state.detail.get(key, {}) for key in ("snapshot_id", "counts", "rejections")
            },
            plan=read_json(plan) if plan.exists() else None,
            promotion=promotion,
            seconds=state.detail.get("seconds"),
            note=note,
        )

    def took(self, step: str, started: float) -> None:
        """Keep how long a step took."""
        detail = self.state.state.detail
        seconds = {**detail.get("seconds", {}), step: round(time.monotonic() - started, 3)}
        self.state.keep(detail={**detail, "seconds": seconds})
