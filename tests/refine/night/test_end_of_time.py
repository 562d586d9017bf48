"""A night's alarm rings once: it ends the night also where code goes on after an error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pawl.adapters import MANIFEST
from pawl.errors import PawlError
from pawl.files import write_json
from pawl.settings import Settings
from refine.night import evidence, nightly
from refine.night.budget import OUT_OF_TIME, ends_after
from refine.night.evidence import best_champion
from refine.night.nightly import _fail, _go_on_with
from refine.night.state import Run, RunState
from refine.night.steps import _is_plan
from refine.planner import Plan
from tests.adapters_for_tests import light_base

AT = "2026-01-01T00:00:00Z"


class Server:
    """Knows of one promotion, and takes its time over what is posted."""

    def get(self, path: str, query: Any = None) -> Any:
        return [{"run_id": "run-1", "version": "pawl@1", "outcome": "live", "kind": "promote"}]

    def post(self, path: str, body: Any) -> Any:
        time.sleep(60)


class SlowPlan:
    """What a recipe recorded, read from a disk that does not answer."""

    def keys(self) -> list[str]:
        time.sleep(60)
        return []


def in_a_callback() -> None:
    """Errors of a callback are logged by its event loop, which goes on."""

    async def main() -> None:
        asyncio.get_running_loop().call_soon(time.sleep, 2)
        await asyncio.sleep(0)
        raise AssertionError("the night went on")

    asyncio.run(main())


def as_ray_does() -> None:
    """It takes any KeyboardInterrupt for Ctrl-C, and raises another."""
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None


def test_it_ends_a_night_wherever_an_error_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.model_validate({"state_dir": tmp_path, "gate": {"anchor": "pawl@1"}})
    base = light_base(tmp_path / "base")
    write_json(settings.adapters_dir / "pawl@1" / MANIFEST, {})
    for module in (evidence, nightly):
        monkeypatch.setattr(module, "read_manifest", lambda folder: time.sleep(60))
    kept = {name: getattr(settings, name).model_dump(mode="json") for name in ("train", "gate")}
    state = RunState("run-1", "decide", AT, AT, "base", base.fingerprint, settings=kept,
                     detail={"suite": "everyday"})  # fmt: skip
    run_dir = settings.runs_dir / state.run_id
    write_json(run_dir / "run.json", asdict(state))
    write_json(run_dir / "verdict.json", {"anchor": [{"difference": 0.1}]})
    server: Any = Server()
    run = Run(run_dir, state, server)
    recipe: dict[str, Any] = {"plan": SlowPlan()}
    blocked: list[Callable[[], object]] = [
        lambda: best_champion(server, settings, "base", base.fingerprint),
        lambda: _go_on_with(run, settings, base, lambda line: None),  # a verdict is there
        lambda: _is_plan(recipe, Plan("sft", "", {})),
        lambda: _fail(run, "something else"),
        in_a_callback,
        as_ray_does,
    ]
    for work in blocked:
        with pytest.raises(PawlError) as stopped, ends_after(0.003):
            work()
        assert (stopped.value.code, stopped.value.retryable) == (OUT_OF_TIME, True)


def test_ctrl_c_ends_no_nights_time() -> None:
    with pytest.raises(KeyboardInterrupt), ends_after(60):
        raise KeyboardInterrupt
