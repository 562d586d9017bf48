"""Engines on the nodes of a Ray cluster: three nodes on this machine, and one of them is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest

from evals.cluster import _score
from pawl.adapters import MANIFEST
from pawl.errors import PawlError
from pawl.files import sha256_file
from pawl.settings import EngineSettings, Settings
from serve.engine.child import Start
from serve.engine.nodes import LEAVING, LOG_SECONDS, N_ON_NODE, NodeActor, RayNodes, _RayChild
from serve.engine.reach import Reach
from tests.adapters_for_tests import light_adapter, light_base
from tests.conftest import REPOSITORY
from tests.ray_cluster import REASON, node, ray_cluster
from tests.serve.live import Operator, eventually, fake_command
from tests.serve.pages.composed import Composed, composed

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
CHAT = "/v1/chat/completions"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with ray_cluster(tmp_path, monkeypatch) as running:
        yield running


@pytest.fixture
def server(cluster: Any, tmp_path: Path) -> Iterator[Composed]:
    engine = {"replicas": 3, "ray_address": cluster.address}
    settings = Settings(state_dir=tmp_path / "state", engine=engine)
    with composed(settings, pages=False, wait=False) as running:
        eventually(lambda: running.engine.n_serving == 3, "three replicas answer", 120)
        yield running


def promote(server: Composed, tmp_path: Path, seed: int) -> dict[str, Any]:
    folder = light_adapter(tmp_path / f"a{seed}", server.base, seed=seed)
    answer = httpx.post(
        f"{server.url}/admin/promotions", json={"adapter_dir": str(folder), "force": True},
        auth=Operator(server.settings.state_dir), timeout=120,
    )  # fmt: skip
    return dict(answer.raise_for_status().json())


def ask(server: Composed, text: str, conversation: str) -> httpx.Response:
    body = {"model": "pawl", "messages": [{"role": "user", "content": text}]}
    headers = {"X-Pawl-Conversation": conversation}
    return httpx.post(server.url + CHAT, json=body, headers=headers, timeout=60)


@pytest.mark.cluster
def test_a_node_that_is_lost_is_a_replica_that_is_lost(
    cluster: Any, server: Composed, tmp_path: Path
) -> None:
    replicas = server.engine.replicas
    nodes = {one._child._node_id for one in replicas}
    assert len(nodes) == 3
    moved = promote(server, tmp_path, 1)
    assert moved["outcome"] == "live", moved
    name = sha256_file(server.settings.adapters_dir / "pawl@1" / MANIFEST)
    kept = list((tmp_path / "home" / ".cache" / "pawl" / "replicas").glob(f"*/adapters/{name}"))
    assert len(kept) == 3
    for n in range(12):
        answer = ask(server, f"{n}", f"talk-{n}")
        assert answer.json()["model"] == "pawl@1", answer.text
    log = server.settings.logs_dir / "engine-2.log"
    eventually(lambda: log.exists() and "Resolved architecture" in log.read_text("utf-8"), "a log")

    victim = next(one for one in replicas if one._child._node_id != cluster.head_node.node_id)
    lost = next(one for one in cluster.worker_nodes if one.node_id == victim._child._node_id)
    engine = psutil.Process(victim.pid)
    body = {"model": "pawl", "stream": True,
            "messages": [{"role": "user", "content": "hold midway"}]}  # fmt: skip
    headers = {"X-Pawl-Conversation": own(server, victim)}
    with httpx.stream("POST", server.url + CHAT, json=body, headers=headers, timeout=120) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("data: ")
        cluster.remove_node(lost, allow_graceful=False)
        rest = [line for line in lines if line.startswith("data: ")]
    assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == "engine_lost"
    eventually(lambda: victim.state != "ready", "the loss is seen")
    eventually(lambda: not engine.is_running(), "nothing of it is left")
    cluster.add_node(**node("127.0.0.6", 0))  # which is for Ray's own processes
    for n in range(12):
        assert ask(server, "still there?", f"talk-{n}").status_code == 200
    moved = promote(server, tmp_path, 2)
    assert moved["outcome"] == "live", moved
    eventually(lambda: "waiting for a node" in server.engine.detail, "it waits for a node")
    cluster.add_node(**node("127.0.0.5"))
    eventually(lambda: server.engine.n_serving == 3, "it is back on another node", 120)
    assert set(victim.loaded) == {"pawl@1", "pawl@2"}
    assert server.engine.detail == "3 of 3 replicas answer"


@pytest.mark.cluster
def test_a_node_that_is_about_to_go_ends_with_its_last_answer(
    cluster: Any, server: Composed, tmp_path: Path
) -> None:
    assert promote(server, tmp_path, 1)["outcome"] == "live"
    goes = server.engine.replicas[1]
    node_id = goes._child._node_id
    body = {"model": "pawl", "stream": True, "messages": [{"role": "user", "content": "count 20"}]}
    headers = {"X-Pawl-Conversation": own(server, goes)}
    [note] = (tmp_path / "home/.cache/pawl/replicas").glob("*/engine-2.json")
    with httpx.stream("POST", server.url + CHAT, json=body, headers=headers, timeout=120) as stream:
        lines = stream.iter_lines()
        next(lines)
        (note.parent / LEAVING).touch()
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    eventually(lambda: "waiting for a node" in server.engine.detail, "it has no place to go")
    assert not note.exists()
    assert server.engine.n_serving == 2
    for n in range(12):
        assert ask(server, "still there?", f"talk-{n}").status_code == 200
    cluster.add_node(**node("127.0.0.5"))
    eventually(lambda: server.engine.n_serving == 3, "it is on another node", 120)
    assert goes._child._node_id != node_id
    assert set(goes.loaded) == {"pawl@1"}


def own(server: Composed, replica: Any) -> str:
    """A conversation of a replica."""
    for n in range(1000):
        with server.engine.routed("pawl@1", f"own-{n}") as one:
            if one is replica:
                return f"own-{n}"
    raise AssertionError("none of a thousand")


@pytest.mark.cluster
def test_a_node_that_is_cut_off_is_given_up_and_comes_back(tmp_path: Path) -> None:
    """The benchmark's one round, with its bars, in a process that has a network of its own."""
    pytest.importorskip("ray", reason=REASON)
    words = ["--moves", "0", "--cuts", "1", "--no-record"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.nodes", *words], cwd=REPOSITORY, text=True,
        capture_output=True, timeout=1000, check=False,
    )  # fmt: skip
    if "no network namespace may be made" in done.stdout:
        pytest.skip("NOT TESTED a node that is cut off: no network namespace may be made here")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "of them lost, twice: 0, 0" in done.stdout


def test_what_arrives_damaged_is_refused_and_sent_again(tmp_path: Path) -> None:
    adapter = light_adapter(tmp_path / "a", light_base(tmp_path / "base"))
    files = {one.name: one.read_bytes() for one in adapter.iterdir()}
    name = sha256_file(adapter / MANIFEST)
    actor = NodeActor(str(tmp_path / "node"), EngineSettings())
    assert actor._keep(name, None) is None
    with pytest.raises(PawlError, match="damaged"):
        actor._keep(name, {**files, "adapter_model.safetensors": b"half"})
    assert actor._keep(name, None) is None
    for spoil in (MANIFEST, "adapter_config.json"):
        path = actor._keep(name, files)
        assert path is not None
        assert Path(path).name == name
        assert actor._keep(name, None) == path
        (Path(path) / spoil).write_text("half" if spoil == MANIFEST else "")
        with pytest.raises(PawlError, match="damaged"):
            actor._keep(name, None)
    Path(path, "adapter_config.json").unlink()  # by who tidies up there
    assert actor._keep(name, files) == path
    for seed in range(2, N_ON_NODE + 3):
        other = light_adapter(tmp_path / f"a{seed}", light_base(tmp_path / "base"), seed=seed)
        sent = {one.name: one.read_bytes() for one in other.iterdir()}
        assert actor._keep(sha256_file(other / MANIFEST), sent)
        assert actor._keep(name, None) == path  # it is in use
    assert len(list(Path(path).parent.iterdir())) == N_ON_NODE
    for seed in range(2, N_ON_NODE + 3):  # it is loaded, and the others come and go
        other = tmp_path / f"a{seed}"
        sent = {one.name: one.read_bytes() for one in other.iterdir()}
        assert actor._keep(sha256_file(other / MANIFEST), sent, [name])
    assert Path(path, MANIFEST).exists()


def test_a_node_with_another_base_under_the_same_path_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    here = light_base(tmp_path / "base")
    there = replace(here, model_dir=light_base(tmp_path / "other", seed=1).model_dir)
    actor = NodeActor(str(tmp_path / "node"), EngineSettings())
    assert actor._model(here) == here
    with pytest.raises(PawlError, match="the base is another one"):
        actor._model(there)
    arguments = ["--model", str(there.model_dir), "--model-fingerprint", there.fingerprint]
    with pytest.raises(PawlError, match="the base is another one"):
        _score(arguments, {}, 1, {})


@pytest.mark.cluster
def test_a_head_that_is_started_again_is_another_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    """Ray itself would end the server at its next question."""
    head = {"gcs_server_port": free_port, "others": ()}
    settings = Settings(
        state_dir=tmp_path / "state", engine={"ray_address": f"127.0.0.2:{free_port}"}
    )
    with (
        ray_cluster(tmp_path, monkeypatch, **head) as first,
        composed(settings, pages=False) as server,
    ):
        for processes in first.head_node.all_processes.values():
            for one in processes:
                one.process.kill()
        assert ask(server, "is anybody there?", "talk").status_code == 200
        with ray_cluster(tmp_path, monkeypatch, **head):
            engine = server.engine
            psutil.Process(engine.pid).children()[0].kill()
            eventually(lambda: engine.n_restarts == 1 and engine.state == "ready", "it is back", 90)
            assert ask(server, "and now?", "talk").status_code == 200
            server.call(engine.stop())


def test_without_ray_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    settings = Settings(state_dir=tmp_path / "state", engine={"ray_address": "auto"})
    with composed(settings, pages=False, wait=False) as server:
        eventually(lambda: server.engine.state == "failed", "it has failed")
        assert "Ray is not installed" in server.engine.detail
        assert "pip install 'pawl-chat[ray]'" in str(server.engine.failure)


@pytest.mark.cluster
def test_it_waits_for_a_cluster_that_is_not_there_yet(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason=REASON)
    settings = Settings(state_dir=tmp_path / "state", engine={"ray_address": "127.0.0.1:9"})
    with composed(settings, pages=False, wait=False) as server:
        eventually(
            lambda: "no Ray cluster answers at 127.0.0.1:9" in server.engine.detail, "it says so"
        )
        answer = ask(server, "hello", "talk")
        assert answer.status_code == 503
        assert "no Ray cluster answers" in answer.text


class Near:
    """An actor without Ray: the same object in this process, asked as Ray's are."""

    def __init__(self, actor: NodeActor) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Any:
        def remote(*words: Any) -> Any:
            return asyncio.ensure_future(getattr(self._actor, name)(*words))

        return SimpleNamespace(remote=remote)


class RayWithoutHead:
    """What is asked of Ray's module when an engine ends."""

    exceptions = SimpleNamespace(RayError=ConnectionError, RayTaskError=ConnectionError)

    def __init__(self, nodes: Sequence[dict[str, Any]]) -> None:
        self._nodes = nodes
        self.killed: list[Any] = []

    def nodes(self) -> Sequence[dict[str, Any]]:
        return self._nodes

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(gcs_address="127.0.0.1:9")  # nobody listens

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)


def test_an_engine_ends_while_the_head_is_away_and_leaves_room_on_its_node(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        nodes, child = await near(tmp_path)
        assert await nodes._node(2) is None  # its node has no room
        began = time.monotonic()
        await child.end()
        assert time.monotonic() - began < 10
        assert await child.wait() == 0
        assert nodes._ray.killed == []  # which would ask the head
        assert not [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
        assert await nodes._node(2) is not None

    asyncio.run(scenario())


def test_a_log_that_cannot_be_written_for_a_while_is_followed_again(tmp_path: Path) -> None:
    """As on a full disk; and that the node is about to go is still noticed."""

    def written(word: str) -> None:
        with (tmp_path / "node" / "logs" / "engine.log").open("a") as log:
            log.write(word)

    async def scenario() -> None:
        _, child = await near(tmp_path)
        child._log_path.mkdir(parents=True)
        written("lost")
        await asyncio.sleep(3 * LOG_SECONDS)
        child._log_path.rmdir()
        written("kept")
        (tmp_path / "node" / LEAVING).touch()
        await asyncio.wait_for(child.leaving(), 20)
        assert "kept" in child._log_path.read_text("utf-8")
        child._following.cancel()  # so that it is the end that brings the last words
        child._log_path.unlink()
        child._log_path.mkdir()
        written("lost, too")
        os.kill(psutil.Process(child.pid).children()[0].pid, signal.SIGKILL)
        assert await asyncio.wait_for(child.wait(), 20) == 128 + signal.SIGKILL
        await child.end()

    asyncio.run(scenario())


async def near(tmp_path: Path) -> tuple[RayNodes, Any]:
    """Nodes, of which there is one, and an engine on it."""
    place = {"NodeID": "a", "NodeManagerAddress": "127.0.0.1", "NodeManagerPort": 9, "Alive": True,
             "Resources": {"CPU": 1}}  # fmt: skip
    settings = Settings(state_dir=tmp_path / "state", engine={"ray_address": "127.0.0.1:9"})
    nodes = RayNodes(settings)
    nodes._ray = RayWithoutHead([place])
    assert await nodes._node(1) == place
    start = Start(settings, light_base(tmp_path / "base"), fake_command(), "key")
    actor = Near(NodeActor(str(tmp_path / "node"), settings.engine))
    started = await actor.start.remote(start.model, start.command, start.key, 1, "127.0.0.1")
    return nodes, _RayChild(nodes, nodes._ray, actor, start, place, Reach("127.0.0.1", 9), *started)
