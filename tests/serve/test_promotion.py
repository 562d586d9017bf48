"""A champion moves only when the engine serves what was trained; it moves back as surely.

Over 400 lines: every way in which a promotion may fail has its test here, on one toy server.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from feedback.champion import BASE_VERSION, champion_stack
from feedback.store import Store
from pawl.adapters import WEIGHTS
from pawl.errors import PawlError
from pawl.files import sha256_file
from pawl.schemas import Promotion, PromotionRequest, VersionSettings, utc_now
from serve.api.errors import status_of
from tests.adapters_for_tests import SPOILT, approved_run, light_adapter
from tests.feedback.examples import make_promotion
from tests.serve.toy_world import World, toy_settings, toy_world, until


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 120))


def force(adapter_dir: Path) -> PromotionRequest:
    return PromotionRequest(adapter_dir=str(adapter_dir), force=True)


async def still_serves(world: World, champion: str) -> None:
    """The champion is the one it was, and the engine answers under its name."""
    from serve.engine.probe import read_live

    assert world.store.champion() == champion
    assert world.engine is not None
    assert await read_live(world.engine, champion, [[1, 2, 3]])


# ---- the rule of who is champion ----


def move(kind: Any, version: str, outcome: Any = "live") -> Promotion:
    return Promotion(
        f"p-{kind}-{version}-{outcome}", "2026-01-01T00:00:00Z", version, "?", outcome, kind
    )


@pytest.mark.parametrize(
    ("moves", "stack"),
    [
        ([], ["base"]),
        ([move("promote", "pawl@1"), move("promote", "pawl@2")], ["base", "pawl@1", "pawl@2"]),
        (
            [
                move("promote", "pawl@1"),
                move("promote", "pawl@2", "refused"),
                move("promote", "pawl@3", "indistinguishable"),
                move("promote", "pawl@4", "pending"),
            ],
            ["base", "pawl@1"],
        ),
        (
            [move("promote", "pawl@1"), move("promote", "pawl@2"), move("rollback", "pawl@1")],
            ["base", "pawl@1"],
        ),
        (
            [
                move("promote", "pawl@1"),
                move("promote", "pawl@2"),
                move("rollback", "pawl@1"),
                move("rollback", "base"),
            ],
            ["base"],
        ),
        (
            [
                move("promote", "pawl@1"),
                move("promote", "pawl@2"),
                move("rollback", "base"),
                move("rollback", "pawl@2"),
            ],
            ["base", "pawl@2"],
        ),
        (
            [
                move("promote", "pawl@1"),
                move("promote", "pawl@2"),
                move("rollback", "pawl@1"),
                move("promote", "pawl@3"),
            ],
            ["base", "pawl@1", "pawl@3"],
        ),
    ],
)
def test_who_is_champion_and_who_was_before(moves: list[Promotion], stack: list[str]) -> None:
    assert champion_stack(moves) == stack


def test_the_store_and_the_stack_name_the_same_champion(tmp_path: Path) -> None:
    with Store.open(tmp_path / "pawl.duckdb") as store:
        for one in (
            move("promote", "pawl@1"),
            move("promote", "pawl@2", "pending"),
            move("promote", "pawl@2", "refused"),
            move("promote", "pawl@3"),
            move("rollback", "pawl@1"),
            move("promote", "pawl@4", "pending"),
            move("rollback", "base"),
        ):
            store.append_promotion(one).result(10)
            assert store.champion() == champion_stack(store.promotions())[-1]


# ---- promotions ----


def test_an_adapter_let_through_by_the_gate_goes_live(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path) as world:
            made = world.adapter("one", seed=1)
            run_dir = approved_run(world.settings.runs_dir, "run-1", made, "base")
            moved = await world.promoter.promote(PromotionRequest(run_dir="run-1"))
            assert (moved.outcome, moved.version, moved.previous_version, moved.run_id) == (
                "live",
                "pawl@1",
                "base",
                "run-1",
            ), moved.reason
            assert moved.probe["distances"]["live"] < 0.001 < moved.probe["distances"]["base"]
            assert world.promoter.offered == {"pawl@1"}
            await still_serves(world, "pawl@1")
            served = world.settings.adapters_dir / "pawl@1"
            assert sha256_file(served / WEIGHTS) == sha256_file(run_dir / "adapter" / WEIGHTS)
            assert sorted(one.name for one in world.settings.adapters_dir.iterdir()) == ["pawl@1"]
            # what the server keeps does not depend on the run's folder
            shutil.rmtree(run_dir)
            await still_serves(world, "pawl@1")
            assert [one.outcome for one in world.promoter.history()] == ["live"]
            assert [one.outcome for one in world.store.promotions()] == ["pending", "live"]

    run(test())


NOT_LET_THROUGH: list[tuple[dict[str, Any], str]] = [
    (
        {"outcome": "reject", "reasons": ["everyday_arc fell by 9 points"]},
        "everyday_arc fell by 9 points",
    ),
    ({"outcome": "not_enough_evidence"}, "not_enough_evidence"),
    ({"outcome": "no_verdict"}, "no_verdict"),
    ({"challenger_fingerprint": "sha256:another"}, "another adapter"),
    ({"champion_version": "pawl@7"}, "the champion is base now"),
]


def test_what_the_gate_did_not_let_through_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path) as world:
            runs_dir, made = world.settings.runs_dir, world.adapter("one", 1)
            for n, (changes, words) in enumerate(NOT_LET_THROUGH):
                approved_run(runs_dir, f"run-{n}", made, "base", **changes)
                moved = await world.promoter.promote(PromotionRequest(run_dir=f"run-{n}"))
                assert moved.outcome == "refused", changes
                assert words in moved.reason
            run_dir = approved_run(runs_dir, "without", made, "base")
            (run_dir / "verdict.json").unlink()
            moved = await world.promoter.promote(PromotionRequest(run_id="without"))
            assert moved.outcome == "refused"
            assert "no verdict" in moved.reason
            assert not any(world.settings.adapters_dir.glob("*"))
            await still_serves(world, "base")
            # the person who knows better may force the same run
            forced = await world.promoter.promote(PromotionRequest(run_dir="run-0", force=True))
            assert (forced.outcome, forced.version) == ("live", "pawl@7")

    run(test())


@pytest.mark.slow
def test_spoilt_adapters_are_refused_and_the_champion_stays(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path) as world:
            good = await world.promoter.promote(force(world.adapter("good", 1)))
            assert good.outcome == "live"
            used = {"pawl@1"}
            for seed, (name, (spoil, words)) in enumerate(SPOILT.items(), start=2):
                bad = world.adapter(name, seed)
                spoil(bad)
                approved_run(world.settings.runs_dir, name, bad, "pawl@1")
                for body in (force(bad), PromotionRequest(run_dir=name)):
                    moved = await world.promoter.promote(body)
                    assert moved.outcome == "refused", name
                    assert words in moved.reason, name
                    assert moved.version not in used
                    used.add(moved.version)
                await still_serves(world, "pawl@1")
            assert [one.name for one in world.settings.adapters_dir.iterdir()] == ["pawl@1"]
            over = light_adapter(tmp_path / "over", world.base, seed=50, rank=32)
            moved = await world.promoter.promote(force(over))
            assert moved.outcome == "refused"
            assert "rank 32" in moved.reason
            await still_serves(world, "pawl@1")

    run(test())


def test_requests_that_make_no_sense_are_errors_and_leave_no_trace(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path) as world:
            good = world.adapter("good", 1)
            approved_run(world.settings.runs_dir, "run-1", good, "base")
            outside = approved_run(tmp_path / "elsewhere", "run-2", good, "base")
            (world.settings.runs_dir / "link").symlink_to(outside)
            (tmp_path / "linked").symlink_to(good)
            bad: list[tuple[dict[str, Any], int]] = [
                ({}, 400),
                ({"run_dir": "run-1", "adapter_dir": str(good)}, 400),
                ({"run_dir": "no-such-run"}, 404),
                ({"run_id": "no-such-run"}, 404),
                ({"run_dir": str(outside)}, 400),
                ({"run_dir": "../../elsewhere/run-2"}, 400),
                ({"run_dir": "link"}, 400),
                ({"run_dir": "."}, 400),
                ({"run_dir": "run-1/adapter"}, 400),
                ({"adapter_dir": str(good)}, 400),
                ({"adapter_dir": str(tmp_path / "none"), "force": True}, 404),
            ]
            for body, status in bad:
                with pytest.raises(PawlError) as caught:
                    await world.promoter.promote(PromotionRequest(**body))
                assert status_of(caught.value) == status, body
            assert world.promoter.history() == []
            linked = await world.promoter.promote(force(tmp_path / "linked"))
            assert linked.outcome == "refused"
            await still_serves(world, "base")

    run(test())


def test_an_adapter_like_the_base_or_the_champion_is_indistinguishable(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path) as world:
            zero = await world.promoter.promote(force_not(world, "zero", strength=0.0))
            assert zero.outcome == "indistinguishable"
            await still_serves(world, "base")
            one = world.adapter("one", seed=3)
            assert (await world.promoter.promote(force(one))).outcome == "live"
            approved_run(world.settings.runs_dir, "again", one, "pawl@2")
            again = await world.promoter.promote(PromotionRequest(run_dir="again"))
            assert again.outcome == "indistinguishable"
            await still_serves(world, "pawl@2")
            assert world.engine is not None
            assert set(world.engine.loaded) == {"pawl@2"}
            forced = await world.promoter.promote(force(one))
            assert (forced.outcome, forced.version) == ("live", "pawl@4")
            assert "forced" in forced.reason

    def force_not(world: World, name: str, strength: float) -> PromotionRequest:
        approved_run(world.settings.runs_dir, name, world.adapter(name, 2, strength), "base")
        return PromotionRequest(run_dir=name)

    run(test())


def test_what_the_engine_serves_wrongly_or_not_at_all_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path, "--impostor", "pawl@2", "--deaf", "pawl@3") as world:
            assert (await world.promoter.promote(force(world.adapter("one", 1)))).outcome == "live"
            for seed, words in ((2, "something else answers"), (3, "no room")):
                moved = await world.promoter.promote(force(world.adapter(f"a{seed}", seed)))
                assert (moved.outcome, moved.version) == ("refused", f"pawl@{seed}")
                assert words in moved.reason
                assert world.promoter.offered == {"pawl@1"}
                assert world.engine is not None
                assert set(world.engine.loaded) == {"pawl@1"}
                await still_serves(world, "pawl@1")
            for to, status in (("pawl@2", 404), ("pawl@9", 404), ("../x", 404), ("pawl@1", 409)):
                with pytest.raises(PawlError) as caught:  # never champion, or champion already
                    await world.promoter.rollback(to)
                assert status_of(caught.value) == status
            assert world.store.champion() == "pawl@1"
            last = await world.promoter.promote(force(world.adapter("a4", 4)))
            assert (last.outcome, last.version) == ("live", "pawl@4")

    run(test())


@pytest.mark.slow
def test_an_adapter_that_kills_the_engine_is_refused_at_the_second_try(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path, "--suicide", "pawl@2") as world:
            engine, promoter = world.engine, world.promoter
            assert engine is not None
            assert (await promoter.promote(force(world.adapter("one", 1)))).outcome == "live"
            n_restarts = engine.n_restarts
            moved = await promoter.promote(force(world.adapter("two", 2)))
            assert moved.outcome == "pending"
            assert "engine went away" in moved.reason
            await until(lambda: promoter.history()[-1].outcome == "refused")
            await until(lambda: engine.n_restarts >= n_restarts + 2 and engine.state == "ready")
            assert world.promoter.offered == {"pawl@1"}
            await still_serves(world, "pawl@1")

    run(test())


# ---- rollbacks ----


def test_rolling_back_goes_one_champion_back_each_time(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path) as world:
            promoter = world.promoter
            for seed in (1, 2, 3):
                await promoter.promote(force(world.adapter(f"a{seed}", seed)))
            assert world.store.champion() == "pawl@3"
            for expected in ("pawl@2", "pawl@1", "base"):
                moved = await promoter.rollback()
                assert (moved.kind, moved.outcome, moved.version) == ("rollback", "live", expected)
                await still_serves(world, expected)
            with pytest.raises(PawlError) as caught:
                await promoter.rollback()
            assert caught.value.code == "no_earlier_champion"
            ahead = await promoter.rollback("pawl@3")
            assert (ahead.outcome, ahead.previous_version) == ("live", "base")
            await still_serves(world, "pawl@3")
            await promoter.rollback(BASE_VERSION)
            await still_serves(world, "base")

    run(test())


@pytest.mark.slow
def test_a_rollback_to_a_broken_folder_is_refused_and_the_base_stays_open(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path) as world:
            for seed in (1, 2, 3):
                await world.promoter.promote(force(world.adapter(f"a{seed}", seed)))
            with (world.settings.adapters_dir / "pawl@2" / WEIGHTS).open("r+b") as file:
                file.truncate(100)
            moved = await world.promoter.rollback()
            assert moved.outcome == "refused"
            assert "has changed" in moved.reason
            await still_serves(world, "pawl@3")
            assert (await world.promoter.rollback("base")).outcome == "live"
            await still_serves(world, "base")

    run(test())


def test_old_versions_leave_the_engine_only_when_their_last_answer_has_ended(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        async with toy_world(tmp_path) as world:
            engine, promoter = world.engine, world.promoter
            assert engine is not None
            await promoter.promote(force(world.adapter("a1", 1)))
            with world.in_flight.running("pawl@1"):
                for seed in (2, 3, 4):
                    await promoter.promote(force(world.adapter(f"a{seed}", seed)))
                await until(lambda: set(engine.loaded) == {"pawl@1", "pawl@3", "pawl@4"})
                assert promoter.offered == {"pawl@3", "pawl@4"}
            await until(lambda: set(engine.loaded) == {"pawl@3", "pawl@4"})
            # brought back while on its way out: it stays
            with world.in_flight.running("pawl@3"):
                await promoter.promote(force(world.adapter("a5", 5)))
                await promoter.promote(force(world.adapter("a6", 6)))
                assert "pawl@3" not in promoter.offered
                await promoter.rollback("pawl@3")
            await until(lambda: world.in_flight.counts["pawl@3"] == 0)
            await asyncio.gather(*(promoter.rollback(one) for one in ("pawl@6",)))
            await still_serves(world, "pawl@6")
            assert "pawl@3" in engine.loaded
            assert sorted(one.name for one in world.settings.adapters_dir.iterdir()) == [
                f"pawl@{n}" for n in range(1, 7)
            ]

    run(test())


def test_moves_asked_for_at_once_happen_one_after_the_other(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path) as world:
            made = [world.adapter(f"a{seed}", seed) for seed in range(1, 7)]
            moved = await asyncio.gather(*(world.promoter.promote(force(one)) for one in made))
            assert sorted(one.version for one in moved) == [f"pawl@{n}" for n in range(1, 7)]
            assert all(one.outcome == "live" for one in moved)
            before = [one.previous_version for one in sorted(moved, key=lambda one: one.version)]
            assert before == ["base", *(f"pawl@{n}" for n in range(1, 6))]

    run(test())


@pytest.mark.slow
def test_a_move_whose_asker_hangs_up_is_carried_through(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path) as world:
            asked = asyncio.create_task(world.promoter.promote(force(world.adapter("a", 1))))
            await until(lambda: bool(world.store.promotions()))
            asked.cancel()
            await until(lambda: world.store.champion() == "pawl@1")

    run(test())


# ---- without an engine, and after a crash ----


def test_without_an_engine_a_promotion_waits_and_the_next_start_probes_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path, with_engine=False) as world:
            approved_run(world.settings.runs_dir, "r", world.adapter("one", 1), "base")
            waits = await world.promoter.promote(PromotionRequest(run_dir="r"))
            assert waits.outcome == "pending"
            assert world.store.champion() == "base"
            zero = await world.promoter.promote(force(world.adapter("bad", 2)))
            assert zero.outcome == "pending"
        async with toy_world(tmp_path, "--impostor", "pawl@2") as world:
            assert [(one.version, one.outcome) for one in world.promoter.history()] == [
                ("pawl@1", "live"),
                ("pawl@2", "refused"),
            ]
            await still_serves(world, "pawl@1")

    run(test())


@pytest.mark.slow
def test_a_pending_promotion_is_refused_when_the_champion_has_changed(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path, with_engine=False) as world:
            for name, seed in (("r1", 1), ("r2", 2)):
                approved_run(world.settings.runs_dir, name, world.adapter(name, seed), "base")
                assert (
                    await world.promoter.promote(PromotionRequest(run_dir=name))
                ).outcome == "pending"
        async with toy_world(tmp_path) as world:
            first, second = world.promoter.history()
            assert (first.outcome, second.outcome) == ("live", "refused")
            assert "let through against base" in second.reason

    run(test())


@pytest.mark.slow
def test_a_pending_promotion_does_not_undo_a_rollback_that_came_after_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path) as world:
            await world.promoter.promote(force(world.adapter("one", 1)))
        async with toy_world(tmp_path, with_engine=False) as world:
            waits = await world.promoter.promote(force(world.adapter("two", 2)))
            assert waits.outcome == "pending"
            assert (await world.promoter.rollback()).version == "base"
        async with toy_world(tmp_path) as world:
            _, second, back = world.promoter.history()
            assert (second.outcome, back.outcome) == ("refused", "live")
            assert second.reason == "base was chosen after it"
            assert world.store.champion() == "base"

    run(test())


@pytest.mark.slow
def test_without_an_engine_a_rollback_moves_the_pointer(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path) as world:
            for seed in (1, 2):
                await world.promoter.promote(force(world.adapter(f"a{seed}", seed)))
        async with toy_world(tmp_path, with_engine=False) as world:
            moved = await world.promoter.rollback()
            assert (moved.outcome, moved.version) == ("live", "pawl@1")
            assert world.store.champion() == "pawl@1"
        async with toy_world(tmp_path) as world:
            assert world.promoter.offered == {"pawl@1"}
            await still_serves(world, "pawl@1")

    run(test())


def test_a_prompt_that_was_made_for_another_base_is_not_offered(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path, with_engine=False) as world:
            for version, base in (("pawl@1", "sha256:other"), ("pawl@2", world.base.fingerprint)):
                prompt = VersionSettings(version, utc_now(), "ann", BASE_VERSION, base, "Be brief.",
                                         {}, f"sha256:{version}")  # fmt: skip
                world.store.append_version_settings(prompt).result()
                made = make_promotion(version, "made", promotion_id=version)
                world.store.append_promotion(made).result()
        async with toy_world(tmp_path) as world:
            assert world.promoter.offered == {"pawl@2"}

    run(test())


@pytest.mark.slow
def test_a_rollback_moves_the_pointer_where_the_champion_took_the_engine_with_it(
    tmp_path: Path,
) -> None:
    """Also before anybody noticed that it is gone."""

    async def test() -> None:
        async with toy_world(tmp_path) as world:
            for seed in (1, 2):
                await world.promoter.promote(force(world.adapter(f"a{seed}", seed)))
            os.kill(world.engine.pid, signal.SIGKILL)
            assert world.engine.is_ready
            moved = await world.promoter.rollback()
            assert (moved.outcome, moved.version) == ("live", "pawl@1")
            await until(lambda: world.engine.state == "ready")
            await until(lambda: world.promoter.offered == {"pawl@1"})
            await still_serves(world, "pawl@1")

    run(test())


@pytest.mark.slow
def test_a_champion_that_can_not_be_served_any_more_is_rolled_back_with_the_reason(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        async with toy_world(tmp_path) as world:
            for seed in (1, 2):
                await world.promoter.promote(force(world.adapter(f"a{seed}", seed)))
        shutil.rmtree(toy_settings(tmp_path).adapters_dir / "pawl@2")
        async with toy_world(tmp_path) as world:
            await still_serves(world, "pawl@1")
            last = world.promoter.history()[-1]
            assert (last.kind, last.version, last.previous_version) == (
                "rollback",
                "pawl@1",
                "pawl@2",
            )
            assert "pawl@2 can't be served" in last.reason
            assert world.promoter.offered == {"pawl@1"}

    run(test())


def test_a_restarted_engine_serves_the_champion_again(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path) as world:
            engine = world.engine
            assert engine is not None
            for seed in (1, 2):
                await world.promoter.promote(force(world.adapter(f"a{seed}", seed)))
            await _kill(world)
            await until(lambda: engine.n_restarts == 1 and engine.state == "ready")
            assert [one.outcome for one in world.promoter.history()] == ["live", "live"]
            assert world.promoter.offered == {"pawl@1", "pawl@2"}
            await still_serves(world, "pawl@2")

    run(test())


@pytest.mark.slow
def test_what_a_crash_leaves_behind_is_carried_on_or_swept(tmp_path: Path) -> None:
    """The states that a kill can leave: a half-made copy; a whole folder that no row names; a
    pending row."""

    async def test() -> None:
        settings = toy_settings(tmp_path)
        async with toy_world(tmp_path, with_engine=False) as world:
            await world.promoter.promote(force(world.adapter("one", 1)))  # a pending row
            half = settings.adapters_dir / "pawl@8.tmp"
            half.mkdir()
            (half / WEIGHTS).write_bytes(b"half")
            assert world.store.next_version() == 2  # its copy was made, its row was not
            shutil.copytree(settings.adapters_dir / "pawl@1", settings.adapters_dir / "pawl@2")
        async with toy_world(tmp_path) as world:
            await still_serves(world, "pawl@1")
            assert not half.exists()
            moved = await world.promoter.promote(force(world.adapter("two", 2)))
            assert (moved.outcome, moved.version) == ("live", "pawl@3")

    run(test())


async def _kill(world: World) -> None:
    """End the engine's own process, as a crash would."""
    import os
    import signal

    import psutil

    assert world.engine is not None
    port = int(world.engine.base_url.rpartition(":")[2])
    for process in psutil.Process().children(recursive=True):
        if any(one.laddr.port == port for one in process.net_connections("tcp")):
            os.kill(process.pid, signal.SIGKILL)
            return
    raise AssertionError("the engine's process was not found")
