"""Whatever is typed: exit code 1 and one line that says what came, why it can't be, what to do.

The tables run ``pawl``'s own entry point in this process; the tests after them start real
processes of ``python -m pawl.cli``. Wrong calls of a command (an unknown verb, a missing argument)
are click's, with exit code 2: ``tests/pawl/test_command_line.py``. Elsewhere: every way
to spoil an adapter (``tests/serve/test_promotion.py``) or a database file
(``tests/feedback/test_durability.py``), and every file that can't be imported
(``tests/feedback/formats/test_formats.py``).
"""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from feedback.store import Store
from pawl.cli import main
from tests.adapters_for_tests import approved_run, light_adapter, light_base, with_truncated_weights
from tests.bars.place import Place
from tests.conftest import REPOSITORY
from tests.feedback.examples import answered
from tests.mounts import mounted

pytestmark = pytest.mark.slow


def type_in(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """``pawl ...`` typed in ``folder``."""
    return subprocess.run(
        [sys.executable, "-m", "pawl.cli", *map(str, arguments)], cwd=folder, timeout=120,
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip


def type_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: object
) -> subprocess.CompletedProcess[str]:
    """The same without a process of its own."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["pawl", *map(str, arguments)])
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main()
    code = 0 if ended.value.code is None else ended.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(sys.argv, code, out.getvalue(), err.getvalue())


def check_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("pawl: ")
    assert lines[0].endswith((".", "!", "?"))
    assert "Traceback" not in lines[0]
    assert ".. " not in lines[0].replace("... ", "")
    for word in words:
        assert word in lines[0]
    # What pawl up found of the base before it stumbled is no part of the refusal.
    assert [line for line in done.stdout.splitlines() if not line.startswith("Base ")] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where commands are typed: files that are wrong in one way each."""
    folder = tmp_path_factory.mktemp("typed")
    light_base(folder / "base")
    for name, content in {
        "wrong.toml": b"prot = 1\n[engine]\nmax_loras = 1\n", "cut.toml": b"port = \n",
        "binary.toml": b"\xff\xfe", "cut.json": b'[{"messages": [',
        "binary.jsonl": bytes(range(256)), "empty.jsonl": b"", "text.txt": b"hello\nworld\n",
        "deep.json": b"[" * 100_000, "keys.jsonl": b'{"question": "a", "answer": "b"}\n',
        "a-file": b"in the way",
        "tree.jsonl": b'{"message_tree_id": "t", "prompt": '
                      b'{"text": "Q", "role": "prompter", "replies": 5}}\n',
    }.items():  # fmt: skip
        (folder / name).write_bytes(content)
    (folder / "broken").mkdir()
    (folder / "broken" / "server.json").write_text("[]")
    return folder


@pytest.fixture(scope="module")
def kept(folder: Path) -> Iterator[Path]:
    """A state folder with a recorded answer, which is there after all that is typed."""
    state = folder / "state"
    with Store.open(state / "pawl.duckdb") as store:
        recorded = answered(store)
    yield state
    with Store.open(state / "pawl.duckdb") as store:
        assert store.get_completion(recorded.completion_id) == recorded


WITH_SERVER: list[tuple[str, tuple[str, ...]]] = [
    ("promote nosuchrun", ("run 'nosuchrun' is not known", "no such folder", "'pawl runs'")),
    ("promote ../elsewhere", ("is not in", "Give the run's id")),
    ("rollback", ("nothing to roll back to", "the base is the champion")),
    ("rollback --to pawl@99", ("pawl@99 was never champion", "'pawl history'")),
    ("show nosuch", ("run 'nosuch' is not known", "no night of that name", "'pawl runs'")),
    ("show ..", ("run '..' is not known",)),
    ("show runs/b", ("run 'b' is not known",)),
    ("import absent.jsonl", ("absent.jsonl can't be read", "No such file", "Check the path")),
    ("import .", ("can't be read", "Is a directory")),
    ("import binary.jsonl", ("not UTF-8", "line 2", "Save it as UTF-8")),
    ("import empty.jsonl", ("holds no records", "One JSON object a line")),
    ("import text.txt", ("holds no records", "not JSON")),
    ("import cut.json", ("cut.json is not JSON", "line 1, column 16", "Mend it there")),
    ("import deep.json", ("deep.json can't be read as JSON",)),
    ("import keys.jsonl", ("can't be told", "answer, question", "Give the format")),
    ("import keys.jsonl --format csv", ("format 'csv' is not known", "sharegpt-dpo")),
    ("export /nowhere/rows.jsonl", ("the folder /nowhere is not there", "Make it")),
    ("export base", ("base is there already", "no file is overwritten", "Name another")),
    ("export text.txt", ("text.txt is there already",)),
    ("export rows.csv --format csv", ("format 'csv' is not known", "sharegpt-dpo")),
    ("up --port 0 --model base", ("a server already runs on", "process", "--state-dir")),
]

ALONE: list[tuple[str, tuple[str, ...]]] = [
    ("promote nosuchrun", ("run 'nosuchrun' is not known", "'pawl runs'")),
    ("rollback --to pawl@99", ("pawl@99 was never champion",)),
    ("show nosuch", ("run 'nosuch' is not known",)),
    ("eval nosuch", ("model 'nosuch' is not there", "owner/name", "--model")),
    ("eval base --adapter absent --suite everyday", ("adapter absent", "no manifest")),
    ("up --port 0 --model ./absent", ("model './absent' is not there", "config.json")),
    ("up --port 0 --model a-file", ("a-file is no GGUF file", "a folder")),
    ("up --port 0 --model broken", ("has no config.json", "Point --model")),
    ("up --port 99999", ("port = 99999", "65535", "'pawl settings'")),
    ("up --port 0 --host 192.0.2.1", ("cannot listen on 192.0.2.1", "--host")),
    ("--config wrong.toml status", ("prot: no such setting", "engine.max_loras = 1",
                                    "wrong.toml", "'pawl settings'")),
    ("--config cut.toml status", ("cut.toml is not TOML", "line 1", "Mend that line")),
    ("--config binary.toml status", ("binary.toml is not UTF-8", "Save it as UTF-8")),
    ("--config absent.toml status", ("absent.toml is not there", "--config")),
    ("--config . status", ("can't be read", "Is a directory")),
    ("--set engine status", ("--set engine", "KEY=VALUE")),
    ("status --set engine", ("--set engine", "KEY=VALUE")),
    ("status --config absent.toml", ("absent.toml is not there", "--config")),
    ("nightly --set gate.alpha=2", ("gate.alpha = '2'", "'pawl settings'")),
    ("--state-dir a-file status", ("a-file", "can't be written", "another state_dir")),
    ("--state-dir a-file/x up --port 0 --model base", ("a-file/x", "Check the path")),
    ("--state-dir broken status", ("server.json does not say where", "Delete it")),
]  # fmt: skip


@pytest.mark.parametrize(("line", "words"), WITH_SERVER, ids=[one[0] for one in WITH_SERVER])
def test_refused_by_a_running_server(
    running: Place, folder: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: tuple[str, ...]
) -> None:
    before = running.n_recorded()
    done = type_here(folder, monkeypatch, "--state-dir", running.state_dir, *line.split())
    check_refused(done, *words)
    assert running.n_recorded() == before
    running.check_unharmed()


@pytest.mark.parametrize(("line", "words"), ALONE, ids=[one[0] for one in ALONE])
def test_refused_where_no_server_runs(
    folder: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: tuple[str, ...]
) -> None:
    done = type_here(folder, monkeypatch, "--state-dir", kept, "--set", "model=base", *line.split())
    check_refused(done, *words)


def test_a_broken_record_is_counted_and_named(folder: Path, tmp_path: Path) -> None:
    """Whatever else the file holds could be used, so it is no error."""
    done = type_in(folder, "--state-dir", tmp_path, "--set", "model=base", "import", "tree.jsonl")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "skipped: replies is not a list: 1" in done.stdout
    assert "problems: line 1: replies is not a list" in done.stdout
    assert "n_added: 0" in done.stdout


def test_a_port_in_use(folder: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = type_in(folder, "--state-dir", tmp_path, "up", "--model", "base", "--port", port)
        check_refused(done, f"port {port} is in use", "another program", "--port (0 takes a free")
        assert not (tmp_path / "pawl.duckdb").exists()
        assert not (tmp_path / "engine.json").exists()


def test_a_corrupt_adapter_folder(running: Place, folder: Path) -> None:
    adapter = light_adapter(folder / "adapter", light_base(running.model_dir), seed=1)
    with_truncated_weights(adapter)
    approved_run(running.state_dir / "runs", "night", adapter, "base")
    done = type_in(folder, "--state-dir", running.state_dir, "promote", "night")
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    assert re.match(r"pawl@\d+ was refused, base still answers\. ", line)
    assert "adapter_model.safetensors" in line
    running.check_unharmed()
    assert running.client.get("/admin/status").json()["champion"] == "base"


def test_broken_lines_of_an_import_are_counted_and_named(running: Place, folder: Path) -> None:
    def n_imported() -> int:
        return int(running.client.get("/admin/status").json()["counts"]["imported"])

    before = n_imported()
    path = folder / "lines.jsonl"
    row = '{"prompt": [{"role": "user", "content": "%s"}], "completion": ' \
          '[{"role": "assistant", "content": "b"}]}'  # fmt: skip
    path.write_text("\n".join([row % "a", "{broken", row % r"\ud800", '{"x": ' + "9" * 5000 + "}",
                               "{" * 50_000, "[]"]))  # fmt: skip
    done = type_in(folder, "--state-dir", running.state_dir, "import", path)
    assert done.returncode == 0, done.stderr
    assert "n_added: 1" in done.stdout
    for line in ("problems: line 2: not JSON", "problems: line 3: half a surrogate pair",
                 "problems: line 4: not JSON", "problems: line 5: not JSON",
                 "problems: line 6: not an object"):  # fmt: skip
        assert line in done.stdout
    assert n_imported() == before + 1
    running.check_unharmed()


@pytest.mark.parametrize("line", ["status", "up --port 0 --model base"])
def test_a_truncated_database_file_is_refused_and_left_alone(
    folder: Path, tmp_path: Path, line: str
) -> None:
    path = tmp_path / "pawl.duckdb"
    with Store.open(path) as store:
        kept = answered(store)
    shutil.copy(path, tmp_path / "copy")
    os.truncate(path, path.stat().st_size // 2)
    cut = path.read_bytes()
    done = type_in(folder, "--state-dir", tmp_path, "--set", "model=base", *line.split())
    check_refused(done, str(path), "damaged or cut short", "left as it is", "put back a copy")
    assert path.read_bytes() == cut
    shutil.copy(tmp_path / "copy", path)
    with Store.open(path) as store:
        assert store.get_completion(kept.completion_id) == kept


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A file system that takes no writes, not even root's."""
    with mounted(tmp_path / "read-only", "ro,size=1m", "on a read-only folder") as folder:
        yield folder


@pytest.mark.parametrize("line", ["status", "up --port 0 --model base"])
def test_a_state_folder_that_cannot_be_written(folder: Path, read_only: Path, line: str) -> None:
    asked = [read_only, read_only / "state"] if line.startswith("up") else [read_only]
    for state in asked:
        done = type_in(folder, "--state-dir", state, "--set", "model=base", *line.split())
        check_refused(done, str(read_only), "Read-only file system")
