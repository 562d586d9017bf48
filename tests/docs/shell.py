"""A terminal of the tests': types what a page shows, and looks at what comes."""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from pawl.cli import cli
from tests.conftest import REPOSITORY

ADDRESS = "http://127.0.0.1:8000"  # of the pages


@dataclass(frozen=True, slots=True)
class Step:
    """A command as a page has it, and what it is expected to print.

    Attributes:
        command: the page's words.
        says: a pattern of its output, stderr after stdout.
        instead: what stands in the place of the page's names (RUN, FILE), by these; ``{fact}`` is
            what an earlier step learned.
        learns: facts: a pattern for each, whose group is found in the output.
        then: lines that look at what it left, typed after it in the same shell.
        stdin: what comes from a pipe.
        answers: what is typed at a terminal.
        serves: it runs until it printed ``says``; then Ctrl-C ends it.
        environment: what is set besides.
    """

    command: str
    says: str
    instead: Mapping[str, str] = field(default_factory=dict)
    learns: Mapping[str, str] = field(default_factory=dict)
    then: str = ""
    stdin: str = ""
    answers: str = ""
    serves: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


class Shell:
    """bash in a folder where ``pawl`` is on the path, as after ``make install``. A line of
    ``pawl`` that needs nothing of bash is read by ``pawl`` in this process."""

    def __init__(self, folder: Path, url: str = ADDRESS, **settings: str) -> None:
        self.folder, self.settings = folder, settings
        self.facts = {"url": url, "folder": str(folder), "python": sys.executable}
        programs = folder / ".venv" / "bin"
        programs.mkdir(parents=True, exist_ok=True)
        for name, words in {"pawl": "-m pawl.cli ", "python": "", "python3": ""}.items():
            (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words}"$@"\n')
            (programs / name).chmod(0o755)
        (folder / "examples").mkdir(exist_ok=True)
        for name in ("suite", "plugins"):  # pip builds in the folder that it is given
            shutil.copytree(REPOSITORY / "examples" / name, folder / "examples" / name,
                            dirs_exist_ok=True)  # fmt: skip
        site = folder / "site"
        self.environment = os.environ | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{site}", "HF_HUB_OFFLINE": "1",
            **settings,
        }  # fmt: skip

    def script(self, step: Step) -> str:
        """What is typed: the page's command with real names in place of the page's."""
        line = re.sub(r"^(?:[\d*]\S*(?: +\S+){4} +|sudo -u \w+ )?/opt/pawl/", "", step.command)
        for name, value in step.instead.items():
            assert name in line, f"{name!r} is not in {line!r}"
            line = line.replace(name, value.format(**self.facts))
        if line.startswith("from "):
            line = f"python - <<'END'\n{line}END"
        line = line.replace(ADDRESS, self.facts["url"])
        return "\n".join(filter(None, [line, step.then.format(**self.facts) if step.then else ""]))

    def type(self, step: Step) -> str:
        """Type it; its output. Fails where it ends with another code than 0, or says less."""
        script = self.script(step)
        if step.serves:
            output = self._serve(step, script)
        elif step.answers:
            output = self._at_a_terminal(step, script)
        elif re.fullmatch(r"pawl [^$|>;&*\n]+", script) and not (step.stdin or step.environment):
            output = self._in_this_process(script)
        else:
            done = subprocess.run(input=step.stdin, timeout=600, check=False, capture_output=True,
                                  **self._bash(step, script))  # fmt: skip
            output = done.stdout + done.stderr
            assert done.returncode == 0, f"{script}\nended with {done.returncode}:\n{output}"
        says = re.sub(r"\{([a-z]+)\}", lambda one: re.escape(self.facts[one[1]]), step.says)
        assert re.search(says, output, re.M), f"{script}\nlacks {says!r}:\n{output}"
        for name, pattern in step.learns.items():
            found = re.search(pattern, output, re.M)
            assert found, f"{script}\nlacks {pattern!r}:\n{output}"
            self.facts[name] = found[1]
        return output

    def _bash(self, step: Step, script: str) -> dict[str, Any]:
        more = {name: value.format(**self.facts) for name, value in step.environment.items()}
        return {"args": ["bash", "-euo", "pipefail", "-c", script], "cwd": self.folder,
                "env": self.environment | more, "text": True}  # fmt: skip

    def _in_this_process(self, script: str) -> str:
        """A second less a command than in one of its own."""
        with chdir(self.folder):
            done = CliRunner().invoke(cli, shlex.split(script)[1:], env=self.settings)
        told = f"{script}\nended with {done.exit_code}, {done.exception}:\n{done.output}"
        assert done.exit_code == 0, told
        return str(done.output)

    def _at_a_terminal(self, step: Step, script: str) -> str:
        ours, theirs = pty.openpty()
        try:
            with subprocess.Popen(stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  **self._bash(step, script)) as child:  # fmt: skip
                os.write(ours, step.answers.encode())
                output = str(child.communicate(timeout=600)[0])
        finally:
            os.close(ours)
            os.close(theirs)
        assert child.returncode == 0, f"{script}\nended with {child.returncode}:\n{output}"
        return output

    def _serve(self, step: Step, script: str) -> str:
        from tests.serve.live import eventually  # which imports the server

        path = self.folder / "served.log"
        with (
            path.open("w", encoding="utf-8") as log,
            subprocess.Popen(stdout=log, stderr=log, **self._bash(step, f"exec {script}")) as child,
        ):
            try:
                eventually(lambda: re.search(step.says, path.read_text("utf-8"))
                           or child.poll() is not None, f"{script} says it", 600)  # fmt: skip
                child.send_signal(signal.SIGINT)
                child.wait(120)
            finally:
                child.kill()
        output = path.read_text("utf-8")
        assert child.returncode == 0, f"{script}\nended with {child.returncode}:\n{output}"
        return output
