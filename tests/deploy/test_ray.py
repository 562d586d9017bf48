"""The manifests of deploy/kubernetes/ray, against the published schemas and the code."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pawl.settings import load_settings
from serve.engine.nodes import LEAVING
from tests.conftest import REPOSITORY
from tests.deploy.test_files import DEPLOY, DOCKERFILE, documents
from tests.serve.live import eventually

RAY = DEPLOY / "kubernetes/ray"
SCHEMA = yaml.safe_load((REPOSITORY / "tests/deploy/ray_schema.yaml").read_text("utf-8"))
CLUSTER_LABEL = "ray.io/cluster"  # the operator gives it to each pod of the cluster


def cluster() -> Any:
    [found] = documents(RAY / "raycluster.yaml")
    return found


def policies() -> list[Any]:
    return documents(RAY / "network-policies.yaml")


def patch() -> Any:
    [found] = documents(RAY / "pawl-is-a-node.yaml")
    return found["spec"]["template"]["spec"]


def check(manifest: Any) -> None:
    validator = jsonschema.Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{manifest['kind']}"})
    faults = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]
    assert faults == []


def pods() -> Iterator[Any]:
    """The specs of the cluster's pods: head, then workers."""
    spec = cluster()["spec"]
    yield spec["headGroupSpec"]["template"]["spec"]
    yield from (group["template"]["spec"] for group in spec["workerGroupSpecs"])


def containers() -> Iterator[Any]:
    for pod in pods():
        yield from pod["containers"]
    yield patch()["containers"][1]  # the first is Pawl's own


def test_they_are_what_the_schemas_say() -> None:
    check(cluster())
    assert len(policies()) == 2
    for one in policies():
        check(one)


def misspell(manifest: Any) -> None:
    manifest["spec"]["workerGroupSpecs"][0]["maxReplica"] = 1


def leave_out(manifest: Any) -> None:
    del manifest["spec"]["headGroupSpec"]["template"]


def number_for_text(manifest: Any) -> None:
    manifest["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0


def misspell_deep(manifest: Any) -> None:
    pod = manifest["spec"]["headGroupSpec"]["template"]["spec"]
    pod["containers"][0]["securityContext"]["readonlyRootFilesystem"] = True


@pytest.mark.parametrize("spoil", [misspell, leave_out, number_for_text, misspell_deep])
def test_the_schema_finds_what_is_wrong(spoil: Callable[[Any], None]) -> None:
    manifest = cluster()
    spoil(manifest)
    with pytest.raises(AssertionError):
        check(manifest)


def test_all_of_it_runs_without_rights() -> None:
    [user] = [line.split()[1] for line in DOCKERFILE.splitlines() if line.startswith("USER ")]
    for pod in pods():
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert f"{context['runAsUser']}:{context['runAsGroup']}" == user
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
    for one in containers():
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert {"/var/lib/pawl", "/tmp", "/dev/shm"} == {
            mount["mountPath"] for mount in one["volumeMounts"]
        }
        assert one["livenessProbe"]
        assert {"cpu", "memory"} <= set(one["resources"]["requests"])
        assert "memory" in one["resources"]["limits"]
        given = {each["name"]: each for each in one["env"]}
        assert given["RAY_AUTH_MODE"]["value"] == "token"
        assert given["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "pawl-ray"


def reached_by(labels: dict[str, str]) -> list[dict[str, Any]]:
    """The rules of all policies for pods with these labels."""
    found = [one["spec"] for one in policies()
             if one["spec"]["podSelector"]["matchLabels"].items() <= labels.items()]  # fmt: skip
    assert found, f"no policy is about {labels}"
    return [rule for one in found for rule in one["ingress"]]


def test_only_pawl_and_ray_reach_rays_ports() -> None:
    ray = {CLUSTER_LABEL: cluster()["metadata"]["name"]}
    pawl = {"app.kubernetes.io/name": "pawl"}
    [rule] = reached_by(ray)
    assert [one["podSelector"]["matchLabels"] for one in rule["from"]] == [ray, pawl]
    everybody, nodes = reached_by(pawl)  # it is a node itself, and serves HTTP
    assert everybody == {"ports": [{"protocol": "TCP", "port": "http"}]}
    assert [one["podSelector"]["matchLabels"] for one in nodes["from"]] == [ray]
    for manifest in documents(DEPLOY / "kubernetes/cpu/statefulset.yaml"):
        assert pawl.items() <= manifest["spec"]["template"]["metadata"]["labels"].items()


def test_pawl_finds_the_cluster_and_as_many_workers_as_replicas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pawl, node = patch()["containers"]
    for one in pawl["env"]:
        if one["name"].startswith("PAWL_"):
            monkeypatch.setenv(one["name"], one["value"])
    settings = load_settings()
    head, [workers] = cluster()["spec"]["headGroupSpec"], cluster()["spec"]["workerGroupSpecs"]
    [port] = head["template"]["spec"]["containers"][0]["ports"]
    address = f"{cluster()['metadata']['name']}-head-svc:{port['containerPort']}"
    assert settings.engine.ray_address == settings.gate.ray_address == address
    assert f"--address={address}" in node["args"]
    assert settings.engine.replicas == workers["replicas"]
    # No engine on Pawl's node or the head: they have no core for others.
    assert {"--num-cpus=0", "--num-gpus=0"} <= set(node["args"])
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert int(workers["rayStartParams"]["num-cpus"]) > 0
    [raylet] = workers["template"]["spec"]["containers"][0]["ports"]
    assert workers["rayStartParams"]["node-manager-port"] == str(raylet["containerPort"])
    assert f"--node-manager-port={node['livenessProbe']['tcpSocket']['port']}" in node["args"]


def test_pages_are_reached_while_rays_node_beside_pawl_is_down() -> None:
    """Then the pod is not ready, and its Service would send nobody there."""
    [kustomization] = documents(RAY / "kustomization.yaml")
    [change] = [one for one in kustomization["patches"] if "target" in one]
    [service] = documents(DEPLOY / "kubernetes/cpu/service.yaml")
    target = {"kind": service["kind"], "name": service["metadata"]["name"]}
    assert change["target"] == target
    added = {"op": "add", "path": "/spec/publishNotReadyAddresses", "value": True}
    assert yaml.safe_load(change["patch"]) == [added]


def test_a_worker_that_goes_waits_until_its_engines_have_ended(tmp_path: Path) -> None:
    [worker] = cluster()["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    command = worker["lifecycle"]["preStop"]["exec"]["command"]
    place = {"env": {**os.environ, "HOME": str(tmp_path)}, "timeout": 30, "check": True}
    subprocess.run(command, **place)  # it never had an engine
    folder = tmp_path / ".cache/pawl/replicas/abc-2"
    folder.mkdir(parents=True)
    (folder / "engine-2.json").touch()
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(subprocess.run, command, **place)
        eventually((folder / LEAVING).exists, "it says so")
        assert not going.done()
        (folder / "engine-2.json").unlink()
        assert going.result().returncode == 0


def test_ray_is_one_version() -> None:
    pinned = (REPOSITORY / "requirements/ray.txt").read_text("utf-8")
    assert f"ray=={cluster()['spec']['rayVersion']}\n" in pinned
    assert "requirements/ray.txt" in DOCKERFILE


def test_kubectl_builds_them() -> None:
    tool = shutil.which("kubectl")
    if tool is None:
        pytest.skip("kubectl is not installed: deploy/kubernetes/ray was NOT BUILT")
    done = subprocess.run([tool, "kustomize", str(RAY)], capture_output=True, text=True, check=True)
    built = {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}
    check(built["RayCluster"])
    spec = built["RayCluster"]["spec"]
    pod = built["StatefulSet"]["spec"]["template"]["spec"]
    assert [one["name"] for one in pod["containers"]] == ["pawl", "ray-node"]
    all_pods = [pod, *(one["template"]["spec"]
                       for one in (spec["headGroupSpec"], *spec["workerGroupSpecs"]))]  # fmt: skip
    assert built["Service"]["spec"]["publishNotReadyAddresses"] is True
    images = {one["image"] for each in all_pods for one in each["containers"]}
    assert images == {"pawl:cpu-ray"}
    named = {volume["name"] for volume in pod["volumes"]} | {"state"}
    for one in pod["containers"]:
        assert {mount["name"] for mount in one["volumeMounts"]} <= named
