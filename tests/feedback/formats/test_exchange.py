"""Nothing outside the exchange folder is read or written, whatever a client names."""

from __future__ import annotations

import itertools
import os
import random
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from feedback.formats import Exchange
from pawl.errors import PawlError

N_TRIES = 500
N_SWAPS = 400
SECRET = b"nobody may read this"


@pytest.fixture
def exchange(tmp_path: Path) -> Exchange:
    exchange = Exchange(tmp_path / "state" / "exchange", 10_000)
    exchange.folder.mkdir(parents=True)
    return exchange


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(SECRET)
    return folder


def code_of(error: pytest.ExceptionInfo[PawlError]) -> str:
    assert error.value.param == "path"
    return error.value.code


def test_what_is_written_can_be_read_and_is_never_overwritten(exchange: Exchange) -> None:
    (exchange.folder / "march").mkdir()
    for name in ("rows.jsonl", "march/rows.jsonl", "Grüße 漢字.json"):
        exchange.write(name, b"first")
        with pytest.raises(PawlError) as error:
            exchange.write(name, b"second")
        assert code_of(error) == "file_exists"
        assert exchange.read(name) == b"first"
        assert (exchange.folder / name).stat().st_mode & 0o007 == 0
    with pytest.raises(PawlError) as error:
        exchange.read("april/rows.jsonl")
    assert code_of(error) == "file_not_found"
    left = [path.name for path in exchange.folder.rglob("*") if path.is_file()]
    assert sorted(left) == ["Grüße 漢字.json", "rows.jsonl", "rows.jsonl"]


def test_size_is_bounded_both_ways(exchange: Exchange) -> None:
    exchange.write("most", b"x" * 10_000)
    assert len(exchange.read("most")) == 10_000
    with pytest.raises(PawlError) as error:
        exchange.write("more", b"x" * 10_001)
    assert code_of(error) == "file_too_large"
    assert not (exchange.folder / "more").exists()
    with (exchange.folder / "huge").open("wb") as file:
        file.truncate(2**40)  # a terabyte that takes no room
    with pytest.raises(PawlError) as error:
        exchange.read("huge")
    assert code_of(error) == "file_too_large"


def test_names_links_and_odd_files_lead_nowhere(
    exchange: Exchange, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of every trick, spelled at random, against a folder full of traps."""
    folder = exchange.folder
    (folder / "link").symlink_to(outside / "secret")
    (folder / "dir").symlink_to(outside)
    (folder / "proc").symlink_to("/proc/self")
    (folder / "dangling").symlink_to(outside / "new")
    os.link(outside / "secret", folder / "hard")
    os.mkfifo(folder / "fifo")
    (folder / "sub").mkdir()
    os.mkfifo(folder / "sub" / "fifo")
    (folder / "sub" / "up").symlink_to("../..")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(folder)  # a socket's path is short
        listener.bind("socket")
    up = ["..", ".", "", "dir", "link", "sub", "sub/up", "proc/cwd", "proc/root", "．．", "..;",
          "%2e%2e", "\u2024\u2024", "\u202e..", "\ud800", "~", "link\0"]  # fmt: skip
    ends = ["secret", "link", "hard", "fifo", "sub/fifo", "socket", "dangling", "etc/passwd",
            "outside/secret", "proc/self/environ", "proc/environ", "new", "dir/new", "environ",
            "dev/zero", "dev/stdin", str(outside / "secret"), "/etc/passwd", "/proc/self/mem",
            "secret\0.jsonl", "secret/", "sub", "x" * 5000, "a/" * 50 + "b"]  # fmt: skip
    chance, n_written = random.Random(8), 0
    before = {path: path.lstat().st_mtime_ns for path in outside.iterdir()}
    began = time.monotonic()
    for _ in range(N_TRIES):
        separator = chance.choice(["/", "/", "//", "\\", "\u2215", "\uff0f"])
        steps = [chance.choice(up) for _ in range(chance.randrange(5))]
        name = separator.join([*steps, chance.choice(ends)])
        with pytest.raises(PawlError):
            exchange.read(name)
        with suppress(PawlError):
            exchange.write(name, b"new")
            n_written += 1  # a new name inside, however odd
            path = folder / name
            assert path.resolve() == folder.resolve() / name
            path.unlink()
    assert n_written < N_TRIES / 10
    assert time.monotonic() - began < 30, "something waited"
    assert {path: path.lstat().st_mtime_ns for path in outside.iterdir()} == before
    assert (outside / "secret").read_bytes() == SECRET
    left = {path.name for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    assert left == {"hard"}


def test_who_exchanges_names_meanwhile_gains_nothing(exchange: Exchange, outside: Path) -> None:
    """A file, both kinds of links out and a FIFO take turns under one name, a folder and a link
    under another, while the name is read and written."""
    folder, over, turns = exchange.folder, threading.Event(), [0]
    (folder / "plain").write_bytes(b"plain")
    (folder / "real").mkdir()
    (folder / "real" / "secret").write_bytes(b"plain")
    (folder / "real" / "plain").write_bytes(b"plain")

    def exchange_names() -> None:
        n = 0
        while not over.is_set():
            n += 1
            spare = folder / f"spare {n}"
            if n % 4 == 0:
                os.mkfifo(spare)
            elif n % 4 == 2:
                os.link(outside / "secret", spare)
            elif n % 4 == 1:
                spare.symlink_to(outside / "secret")
            else:
                spare.write_bytes(b"plain")
            spare.replace(folder / "victim")
            link = folder / f"dir {n}"
            link.symlink_to(outside if n % 2 else folder / "real")
            link.replace(folder / "dir") if n % 4 else link.unlink()
            (folder / "dir").unlink(missing_ok=True)
            (folder / "real").rename(folder / "dir")
            (folder / "dir").rename(folder / "real")
            turns[0] = n

    thread = threading.Thread(target=exchange_names, daemon=True)
    thread.start()
    seen: set[bytes] = set()
    written: list[str] = []
    try:
        until = time.monotonic() + 60  # a busy machine may let one thread wait for long
        for n in itertools.count():
            is_tried = b"plain" in seen and turns[0] > 100
            if n >= N_SWAPS and (is_tried or time.monotonic() > until):
                break
            for name in ("victim", "dir/secret"):
                try:
                    seen.add(exchange.read(name))
                except PawlError:
                    continue
            if n % 20 == 0:
                for name in ("victim", f"dir/new {n}"):
                    try:
                        exchange.write(name, b"mine")
                        written.append(name)
                    except PawlError:
                        continue
    finally:
        over.set()
        thread.join(30)
    assert not thread.is_alive()
    assert turns[0] > 100
    assert b"plain" in seen
    assert seen <= {b"plain", b"mine"}
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == SECRET
    assert not list(folder.rglob("*.unfinished"))


def test_a_fifo_blocks_no_thread(exchange: Exchange) -> None:
    """Nobody ever opens its other end."""
    os.mkfifo(exchange.folder / "fifo")

    def read() -> None:
        with suppress(PawlError):
            exchange.read("fifo")

    threads = [threading.Thread(target=read, daemon=True) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
