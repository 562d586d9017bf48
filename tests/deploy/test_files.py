"""The files of deploy/ name what exists: files, ports, commands, settings, metrics, routes."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from pawl.cli import COMMANDS, common_options
from pawl.errors import PawlError
from pawl.settings import Settings, load_settings
from serve.api.metrics import Metrics
from serve.api.roles import RULES
from tests.conftest import REPOSITORY
from tests.deploy.proxies import PROXIES, caddy_command, nginx_command, program

DEPLOY = REPOSITORY / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
DOCKERFILE = (DEPLOY / "container/Dockerfile").read_text(encoding="utf-8")
PORT = Settings.model_fields["port"].default
OPTIONS = {name for option in common_options() for name in option.opts}


def documents(path: Path) -> list[Any]:
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]


def service(name: str) -> Any:
    return documents(DEPLOY / "compose.yaml")[0]["services"][name]


def container() -> Any:
    [manifest] = documents(DEPLOY / "kubernetes/cpu/statefulset.yaml")
    [found] = manifest["spec"]["template"]["spec"]["containers"]
    return found


def test_all_yaml_can_be_read() -> None:
    paths = [path for path in DEPLOY.rglob("*") if path.suffix in (".yaml", ".yml")]
    assert len(paths) >= 10
    assert all(documents(path) for path in paths)


def test_settings_in_the_environment_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {name: value or "" for name, value in service("pawl")["environment"].items()}
    given |= dict(re.findall(r"^\s*(?:ENV )?(PAWL_\w+)=(\S+)", DOCKERFILE, re.M))
    given |= {one["name"]: one["value"] for one in container()["env"]}
    ours = {name: value for name, value in given.items() if name.startswith("PAWL_")}
    assert {"PAWL_STATE_DIR", "PAWL_HOST"} <= set(ours)
    for name, value in ours.items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-(.*)\}", r"\1", value))  # compose's defaults
    settings = load_settings()
    assert settings.host == "0.0.0.0"
    assert str(settings.state_dir).startswith("/var/lib/pawl/")


def test_what_kubernetes_would_set_is_kept_out(monkeypatch: pytest.MonkeyPatch) -> None:
    [manifest] = documents(DEPLOY / "kubernetes/cpu/statefulset.yaml")
    assert manifest["spec"]["template"]["spec"]["enableServiceLinks"] is False
    monkeypatch.setenv("PAWL_SERVICE_HOST", "10.0.0.7")
    with pytest.raises(PawlError, match="PAWL_SERVICE_HOST"):  # else it would not be needed
        load_settings()


@pytest.mark.parametrize("comments", [True, False])
def test_the_settings_file_of_the_cluster(tmp_path: Path, comments: bool) -> None:
    text = (DEPLOY / "kubernetes/cpu/settings.toml").read_text(encoding="utf-8")
    if not comments:  # what is proposed there is right, too
        text = re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.M)
    path = tmp_path / "pawl.toml"
    path.write_text(text)
    assert (load_settings(config_path=path).schedule.cron is None) == comments


def test_files_that_compose_mounts_exist() -> None:
    compose = documents(DEPLOY / "compose.yaml")[0]
    mounts = [one for each in compose["services"].values() for one in each.get("volumes", [])]
    folders = [one.split(":")[0] for one in mounts if one.startswith(".")]
    assert len(folders) == 4
    assert [one for one in folders if not (DEPLOY / one).exists()] == []
    named = {one.split(":")[0] for one in mounts if not one.startswith(".")}
    assert named == set(compose["volumes"])
    assert {one for each in compose["services"].values() for one in each.get("secrets", [])} == set(
        compose["secrets"]
    )
    build = compose["services"]["pawl"]["build"]
    assert ((DEPLOY / build["context"]).resolve() / build["dockerfile"]).is_file()
    prometheus = documents(DEPLOY / "monitoring/prometheus.yml")[0]
    [job] = prometheus["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [f"pawl:{PORT}"]
    key_file = job["authorization"]["credentials_file"]
    assert key_file.removeprefix("/run/secrets/") in compose["services"]["prometheus"]["secrets"]
    assert all((DEPLOY / "monitoring" / name).is_file() for name in prometheus["rule_files"])


def test_what_is_read_from_a_container_into_a_file_has_no_terminal() -> None:
    text = (REPOSITORY / "docs/deploy.md").read_text(encoding="utf-8")
    lines = re.findall(r"^docker compose .* exec (.*) > .*$", text, re.M)
    assert len(lines) == 1
    assert all(line.startswith("-T ") for line in lines)  # else stderr is in the file, too


def test_ports_and_users_are_those_of_the_image() -> None:
    [user] = re.findall(r"^USER (\S+)$", DOCKERFILE, re.M)
    assert service("pawl")["user"] == user
    assert service("pawl")["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert f"EXPOSE {PORT}" in DOCKERFILE
    [port] = container()["ports"]
    assert port["containerPort"] == PORT
    [manifest] = documents(DEPLOY / "kubernetes/cpu/statefulset.yaml")
    context = manifest["spec"]["template"]["spec"]["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == user
    [offered] = documents(DEPLOY / "kubernetes/cpu/service.yaml")
    assert offered["spec"]["ports"][0]["targetPort"] == port["name"]
    [ingress] = documents(DEPLOY / "kubernetes/cpu/ingress.yaml")
    [path] = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"]["name"] == offered["metadata"]["name"]
    assert path["backend"]["service"]["port"]["name"] == offered["spec"]["ports"][0]["name"]


def test_what_is_written_to_lies_on_a_volume() -> None:
    [volume] = re.findall(r"^VOLUME (\S+)$", DOCKERFILE, re.M)
    [home] = re.findall(r"\bHOME=(\S+)", DOCKERFILE)
    [state] = re.findall(r"\bPAWL_STATE_DIR=(\S+)", DOCKERFILE)
    assert home == volume
    assert state.startswith(f"{volume}/")
    places = {one["mountPath"] for one in container()["volumeMounts"] if not one.get("readOnly")}
    assert places == {volume, "/tmp", "/dev/shm"}
    assert service("pawl")["read_only"] is True
    assert service("pawl")["volumes"] == [f"state:{volume}"]


def test_health_is_asked_where_it_is() -> None:
    asked = {container()[name]["httpGet"]["path"]
             for name in ("startupProbe", "livenessProbe", "readinessProbe")}  # fmt: skip
    check = service("pawl")["healthcheck"]["test"][-1]
    [in_compose] = re.findall(r"127\.0\.0\.1:(\d+)(/\w+)", check)
    assert in_compose[0] == str(PORT)
    for path in {*asked, in_compose[1]}:
        assert RULES[f"GET {path}"].role is None


OF_PROMETHEUS = {"instance", "job"}  # the labels that it gives


def queries() -> Iterator[str]:
    board = json.loads((DEPLOY / "monitoring/grafana/dashboards/pawl.json").read_text())
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for group in documents(DEPLOY / "monitoring/alerts.yml")[0]["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def test_queries_ask_for_metrics_and_labels_that_exist() -> None:
    metrics = Metrics()
    labels: dict[str, set[str]] = {}
    for collector in set(metrics.registry._collector_to_names):
        for name in metrics.registry._collector_to_names[collector]:
            labels[name] = {"le", *collector._labelnames}  # type: ignore[attr-defined]
    asked = set()
    for query in queries():
        [*names] = re.findall(r"\bpawl_\w+", query)
        assert names or 'up{job="pawl"}' in query, query
        assert set(names) <= set(labels), query
        for name, selector in re.findall(r"\b(pawl_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(?:^|,)(\w+)=~?\"", selector)) - OF_PROMETHEUS <= labels[name]
        used = {one for group in re.findall(r"by \(([^)]*)\)", query) for one in group.split(", ")}
        assert used - OF_PROMETHEUS <= set().union(*(labels[name] for name in names)), query
        asked |= {re.sub("_(total|bucket)$", "", name) for name in names}
    exported = {family.name for family in metrics.registry.collect()}
    assert exported == asked, "each metric is on the dashboard"


def test_the_dashboard_finds_its_data() -> None:
    [source] = documents(DEPLOY / "monitoring/grafana/provisioning/datasources/prometheus.yaml")
    board = json.loads((DEPLOY / "monitoring/grafana/dashboards/pawl.json").read_text())
    targets = [target for panel in board["panels"] for target in panel["targets"]]
    asked = {target["datasource"]["uid"] for target in targets}
    assert asked == {source["datasources"][0]["uid"]}
    [provider] = documents(DEPLOY / "monitoring/grafana/provisioning/dashboards/pawl.yaml")
    mounted = [one.split(":")[1] for one in service("grafana")["volumes"]]
    assert provider["providers"][0]["options"]["path"] in mounted


def test_prometheus_reads_its_files() -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed: queries were NOT PARSED. Debian: prometheus")
    for kind, name in (("config", "prometheus.yml"), ("rules", "alerts.yml")):
        more = ["--syntax-only"] if kind == "config" else []  # its key lies in the container
        subprocess.run([tool, "check", kind, *more, str(DEPLOY / "monitoring" / name)], check=True)
    subprocess.run([tool, "test", "rules", str(Path(__file__).with_name("alerts_test.yml"))],
                   check=True)  # fmt: skip


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_commands_of_units_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for line in re.findall(r"^ExecStart=(.*)$", text, re.M):
        program_path, verb, *rest = line.split()
        assert program_path == "/opt/pawl/.venv/bin/pawl"
        assert verb in COMMANDS
        used = {one for one in rest if one.startswith("--")}
        assert used - {"--scheduled"} <= OPTIONS
        assert rest[rest.index("--state-dir") + 1].startswith("/var/lib/pawl/")
        assert "ReadWritePaths=/var/lib/pawl\n" in text
        assert "ProtectSystem=strict\n" in text
        assert "NoNewPrivileges=yes\n" in text


def test_systemd_reads_the_units(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed: deploy/systemd was NOT VERIFIED")
    pawl = Path(sys.executable).with_name("pawl")  # it must be there to be verified
    for path in UNITS:
        text = path.read_text(encoding="utf-8").replace("/opt/pawl/.venv/bin/pawl", str(pawl))
        (tmp_path / path.name).write_text(text)
    units = [str(tmp_path / path.name) for path in UNITS]
    done = subprocess.run([tool, "verify", "--man=no", *units], capture_output=True, text=True,
                          check=False)  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if "pawl" in line]
    assert done.returncode == 0, done.stderr
    assert ours == []


@pytest.mark.parametrize("name", PROXIES)
def test_proxies_read_their_files(tmp_path: Path, name: str) -> None:
    program(name)
    if name == "nginx":
        command = [*nginx_command(tmp_path, "127.0.0.1:8000", 443), "-t"]
    else:
        _, _, *options = caddy_command(tmp_path, "127.0.0.1:8000", 443)
        command = [program(name), "validate", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_kubectl_builds_the_manifests(kind: str) -> None:
    tool = shutil.which("kubectl")
    if tool is None:
        pytest.skip("kubectl is not installed: deploy/kubernetes was NOT BUILT")
    done = subprocess.run([tool, "kustomize", str(DEPLOY / "kubernetes" / kind)],
                          capture_output=True, text=True, check=True)  # fmt: skip
    built = {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}
    assert set(built) == {"ConfigMap", "Service", "StatefulSet"}
    [made] = built["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    assert made["image"] == f"pawl:{kind}"
    assert ("nvidia.com/gpu" in made["resources"]["limits"]) == (kind == "gpu")


def test_the_image_installs_as_make_does() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    [script] = re.findall(r"^install:\n\t@(\S+)$", makefile, re.M)
    assert f"{script} ${{ENGINE}}" in DOCKERFILE
    kept = [line[1:] for line in (DEPLOY / "container/Dockerfile.dockerignore")
            .read_text(encoding="utf-8").splitlines() if line.startswith("!")]  # fmt: skip
    assert [name for name in kept if not (REPOSITORY / name).exists()] == []
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    [include] = re.findall(r"^include = \[(.*)\]$", project, re.M)
    assert set(re.findall(r'"(\w+)\*"', include)) <= set(kept)
    done = subprocess.run([REPOSITORY / script, "tpu"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no lock 'tpu'" in done.stderr


def test_nothing_needs_what_the_image_takes_out() -> None:
    [listed] = re.findall(r"uninstall -y --quiet \\\n(.*?) \\\n", DOCKERFILE, re.S)
    out = set(listed.replace("\\", "").split())
    assert len(out) >= 8
    for found in importlib.metadata.distributions():
        name = found.metadata["Name"].lower()
        if name in out:
            continue
        needed = [Requirement(one) for one in found.requires or []]
        inner = {one.name.lower() for one in needed
                 if one.marker is None or one.marker.evaluate({"extra": ""})}  # fmt: skip
        assert not inner & out, name
