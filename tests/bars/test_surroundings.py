"""Pawl where others run it: another locale's encoding, a user without a name, a home that can't be
written, long temporary paths, IPv6, proxies in the environment that are dead."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pawl.files import read_json
from tests.bars.place import CHAT, FEEDBACK, chat, place
from tests.conftest import REPOSITORY
from tests.serve.live import eventually

ROOMS = ("pawl", "feedback", "serve", "evals", "refine", "benchmarks")
TEXT = "Grüße 漢字 🙂 ไทย"
PROCESSES = ("run", "Popen", "check_output", "check_call")
DEAD = "http://127.0.0.1:9"  # nothing listens on the discard port


def use(folder: Path, *prefix: str, **environment: str) -> None:
    """Serve, chat, rate, look at the page, import and export, all in these surroundings."""
    (folder / "model").mkdir()
    with place(folder / "state", folder / "model", prefix=prefix, **environment) as server:
        if environment.get("PAWL_HOST") == "::1":
            assert "://[::1]:" in read_json(folder / "state" / "server.json")["url"]
            foreign = server.client.get("/admin/status", headers={"Host": "[2001:db8::1]:80"})
            assert foreign.status_code == 403
        answer = server.client.post(CHAT, json=chat(TEXT))
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"].startswith("base heard ")
        said = {"completion_id": answer.json()["id"], "thumb": "down", "correction": TEXT}
        assert server.client.post(FEEDBACK, json=said).json()["correction"] == TEXT
        eventually(lambda: "gradio" in server.client.get("/").text, "the page is built", 120)
        check_commands(folder, *prefix, **environment)
        log = (folder / "state" / "logs" / "gateway.log").read_text("utf-8")
        assert "Traceback" not in log
        assert "ERROR" not in log


def check_commands(folder: Path, *prefix: str, **environment: str) -> None:
    row = {"messages": [{"role": "user", "content": TEXT}, {"role": "assistant", "content": TEXT}]}
    rows = folder / "rows.jsonl"
    rows.write_text(json.dumps(row, ensure_ascii=False), "utf-8")
    for line in (f"import {rows}", f"export {folder / 'out.jsonl'} --format sft", "status", "runs",
                 "history", "settings", "doctor"):  # fmt: skip
        command = [*prefix, sys.executable, "-P", "-m", "pawl.cli", *line.split()]
        command += ["--state-dir", str(folder / "state"), "--set", f"model={folder / 'model'}"]
        done = subprocess.run(
            command, cwd=folder, timeout=120, capture_output=True, check=False,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        )  # fmt: skip
        assert done.returncode == 0 or line == "doctor", done.stderr
        assert b"Traceback" not in done.stderr
    assert TEXT in (folder / "out.jsonl").read_text("utf-8")


@pytest.mark.slow
def test_a_gbk_locale_dead_proxies_and_a_long_temporary_path(tmp_path: Path) -> None:
    """What the locale can't encode is escaped on the terminal; files are UTF-8 all the same. The
    path is longer than a socket's may be (107 bytes)."""
    where = tmp_path / "locales"
    where.mkdir()
    made = shutil.which("localedef") and subprocess.run(
        ["localedef", "-i", "zh_CN", "-f", "GBK", str(where / "zh_CN.GBK")],
        capture_output=True, check=False,
    )  # fmt: skip
    if not (where / "zh_CN.GBK").exists():
        pytest.skip(f"NOT TESTED under a GBK locale: none could be made ({made})")
    locale = {"LOCPATH": str(where), "LC_ALL": "zh_CN.GBK"}
    asked = "import locale; print(locale.getpreferredencoding(False))"
    encoding = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, env=os.environ | locale, check=True
    ).stdout
    assert encoding.strip() == b"GBK"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    proxies = dict.fromkeys(names, DEAD)
    long = tmp_path / ("t" * 100) / ("u" * 100)
    long.mkdir(parents=True)
    use(tmp_path, TMPDIR=str(long), NO_PROXY="", no_proxy="", **locale, **proxies)


@pytest.mark.slow
def test_a_user_without_a_name_a_home_that_is_read_only_and_ipv6(
    tmp_path: Path, nobody: list[str]
) -> None:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o555)
    use(tmp_path, *nobody, HOME=str(folder), PAWL_HOST="::1")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("room", ROOMS)
def test_text_is_read_and_written_with_an_explicit_encoding(room: str) -> None:
    """Ruff's PLW1514 sees only calls whose object it can tell to be a path."""
    found = []
    for path in (REPOSITORY / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            names = {keyword.arg for keyword in node.keywords}
            least = {"read_text": 1, "write_text": 2}.get(node.func.attr)
            if least is not None and len(node.args) < least and "encoding" not in names:
                found.append(f"{path.relative_to(REPOSITORY)}:{node.lineno}")
            if node.func.attr in PROCESSES and names & {"text", "universal_newlines"}:
                found.append(f"{path.relative_to(REPOSITORY)}:{node.lineno}: text=")
    assert found == []
