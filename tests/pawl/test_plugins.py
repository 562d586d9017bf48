"""Plugins that are wrong: refused with their package's name before any work, or survived in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from evals.judge import Question, compare
from evals.matching import Kind, match
from evals.suites import built_in, load
from feedback.detectors import DETECTORS, detectors
from feedback.detectors.answer import Answer
from feedback.formats import FORMATS
from feedback.formats.read import MAPPED, parse
from feedback.rows import Lesson
from feedback.targets import Targets, detector_counts
from pawl import plugins
from pawl.cli import cli
from pawl.errors import PawlError
from pawl.plugins import KINDS
from pawl.schemas import TrainingRow
from pawl.settings import CurationSettings, JudgeSettings, Settings, load_settings
from refine.planner import KINDS as STAGES
from refine.trainer_plugin import configured
from tests.conftest import REPOSITORY

Bring = Callable[..., str]
GOOD = {
    "detector": "reason, unit, threshold = 'it is bad', 'share', 0.5\ndef score(answer): return 1",
    "matcher": "def applies(p, c, f, k): return True\ndef matches(a, p, c, f): return True",
    "judge": "def compare(prompt, first, second): return 'tie'",
    "suite": "folder = '/nowhere'",
    "trainer": "def configure(kind, trainer, arguments): return trainer, arguments",
    "importer": "def records(raw, name): return []",
    "notifier": "def notify(message): pass",
}


@pytest.fixture
def bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bring]:
    """Puts a package that brings a plugin of a kind onto the path, as an installer leaves it."""
    names: list[str] = []

    def make(kind: str, code: str, name: str = "mine", package: str = "acme") -> str:
        folder = tmp_path / f"site-{len(names)}"
        module = f"plugin_for_tests_{len(names)}"
        about = folder / f"{package}-1.2.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        (about / "entry_points.txt").write_text(f"[{KINDS[kind].group}]\n{name} = {module}\n")
        (folder / f"{module}.py").write_text(code)
        monkeypatch.syspath_prepend(str(folder))
        names.append(module)
        return module

    plugins.load.cache_clear()
    yield make
    plugins.load.cache_clear()
    for module in names:
        sys.modules.pop(module, None)


def test_the_names_that_are_taken_are_those_of_pawls_own_parts() -> None:
    assert KINDS["detector"].taken == {detector.name for detector in DETECTORS}
    assert KINDS["matcher"].taken == set(Kind.__args__)  # type: ignore[attr-defined]
    assert KINDS["suite"].taken >= {"auto", *built_in()}
    assert KINDS["trainer"].taken == set(STAGES)
    assert KINDS["importer"].taken == {"auto", MAPPED, *FORMATS}
    settings = load_settings({})
    assert [plugins.named(kind, settings) for kind in KINDS] == [()] * len(KINDS)


def test_the_page_names_each_kind_and_its_detector_is_one(bring: Bring) -> None:
    page = (REPOSITORY / "docs" / "plugins.md").read_text()
    for kind, about in KINDS.items():
        [row] = [line for line in page.splitlines() if f"| `{about.group}` |" in line]
        assert row.startswith(f"| {kind} |")
        assert f"`{about.setting}`" in row
    bring("detector", page.partition("```python\n")[2].partition("```")[0])
    detector = detectors(["mine"])["mine"]
    assert detector.scored(Answer("STOP IT now")) == pytest.approx(2 / 3)
    assert detector.finds(Answer("STOP IT now"))


@pytest.mark.parametrize(("kind", "code"), GOOD.items())
def test_what_has_the_shape_is_taken(kind: str, code: str, bring: Bring) -> None:
    bring(kind, code)
    assert str(plugins.load(kind, "mine")) == "mine (acme 1.2)"


@pytest.mark.parametrize(
    ("kind", "code", "problem"),
    [
        ("detector", "import no_such_module", "No module named 'no_such_module'"),
        ("judge", "raise SystemExit(1)", "SystemExit"),
        ("detector", "def score(answer): return 1", "reason is None, not a text"),
        ("detector", GOOD["detector"].replace("0.5", "'much'"), "threshold is 'much', not a fin"),
        ("detector", GOOD["detector"].replace("0.5", "True"), "threshold is True, not a finite"),
        ("matcher", "def applies(p, c, f, k): return True", "it has no function matches()"),
        ("judge", "def compare(first): return 1", "compare() is called with (prompt, first, sec"),
        ("notifier", "async def notify(message): pass", "notify() is async"),
        ("suite", "folder = 'here'", "folder is 'here', not an absolute path"),
        ("suite", "folder = 5", "folder is 5, not an absolute path"),
        (
            "judge",
            "def __getattr__(name): raise RuntimeError('boom')",
            "fails with RuntimeError: boom",
        ),
        ("trainer", "configure = 7", "it has no function configure()"),
    ],
)
def test_what_is_wrong_is_refused_by_name(kind: str, code: str, problem: str, bring: Bring) -> None:
    bring(kind, code)
    with pytest.raises(PawlError) as caught:
        plugins.load(kind, "mine")
    said = str(caught.value)
    assert f"the {kind} 'mine' of acme 1.2" in said
    assert problem in said
    assert f"take 'mine' out of {KINDS[kind].setting}" in said


def test_names_that_cannot_be(bring: Bring) -> None:
    code = GOOD["detector"]
    bring("detector", code, name="spelling", package="a")
    with pytest.raises(PawlError, match="Pawl has a detector of that name, which no package repl"):
        plugins.load("detector", "spelling")
    bring("detector", code, name="Loud One", package="b")
    with pytest.raises(PawlError, match="small letters"):
        plugins.load("detector", "Loud One")
    with pytest.raises(
        PawlError, match=r"no installed package has it .* there are: Loud One, spelling"
    ):
        plugins.load("detector", "loud")
    bring("detector", code)
    bring("detector", code, package="zeta")
    with pytest.raises(PawlError, match=r"in acme 1.2 and zeta 1.2\. Uninstall one"):
        plugins.load("detector", "mine")


def test_nothing_is_imported_that_no_setting_names(bring: Bring, tmp_path: Path) -> None:
    module = bring("detector", "import no_such_module")
    bring("suite", GOOD["suite"], package="zeta")
    line = ["--state-dir", str(tmp_path), "plugins"]
    done = CliRunner().invoke(cli, line)
    assert done.exit_code == 0, done.output
    assert "detector  mine" in done.output
    assert "acme 1.2" in done.output
    assert module not in sys.modules
    named = [*line, "--set", "curation.detectors=mine,absent"]
    done = CliRunner().invoke(cli, named)
    assert done.exit_code == 1
    assert "No module named 'no_such_module'" in done.output
    assert "names the detector 'absent'" in done.output
    with pytest.raises(PawlError, match="no_such_module"):
        plugins.check(load_settings({"curation": {"detectors": ["mine"]}}))


def test_a_suite_that_is_a_folder_too(
    bring: Bring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring("suite", f"folder = {str(tmp_path / 'absent')!r}")
    with pytest.raises(PawlError, match=r"of an installed package \(mine\)"):
        load("other")
    with pytest.raises(PawlError, match="suite 'mine' is not there"):
        load("mine")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(PawlError, match=r"can be two things.*Write \./mine for the folder"):
        load("mine")


BAD = """
reason, unit, threshold = "it is bad", "share", 0.5
def score(answer):
    if "fall" in answer.text: raise ValueError(answer.text)
    if "exit" in answer.text: raise SystemExit(answer.text)
    return float("nan") if "nan" in answer.text else float("bad" in answer.text)
"""


def test_a_detector_that_fails_rejects_where_it_is_to_reject_and_is_counted(
    bring: Bring, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bring("detector", BAD)
    prompt = [{"role": "user", "content": "How is it?"}]
    curation = CurationSettings(detectors=("mine",), reject=("mine",))
    targets = Targets.of(Settings(state_dir=tmp_path, curation=curation))
    found = {
        text: targets.reason_against(Lesson("sft", "c", prompt, completion=text))
        for text in ("It is good.", "It is bad.", "It may fall.", "It is nan.", "It may exit.")
    }
    reasons = [None if one is None else (one.reason, one.found) for one in found.values()]
    failed = ("the detector mine failed", "acme 1.2")
    assert reasons == [None, ("it is bad", "mine 1.00"), failed, failed, failed]
    assert "ValueError at plugin_for_tests_0.py:4" in caplog.text
    assert "It may" not in caplog.text  # what people wrote
    rows = [
        TrainingRow(str(n), "sft", "g", "train", prompt, completion=text)
        for n, text in enumerate(found)
    ]
    counts = detector_counts(rows, ["mine"])["mine"]
    assert (counts["n_found"], counts["n_scored"], counts["n_failed"]) == (1, 2, 3)
    assert counts["package"] == "acme 1.2"
    unnamed = Settings(state_dir=tmp_path, curation=CurationSettings(reject=("mine",)))
    for refuses in (Targets.of, plugins.check):  # the latter at the start of a server or a night
        with pytest.raises(PawlError, match=r"name it in curation\.detectors too"):
            refuses(unnamed)


def test_a_matcher_is_asked_first_and_where_it_fails_the_rules_decide(bring: Bring) -> None:
    bring(
        "matcher",
        "def applies(p, c, f, k): return 'moon' not in c\n"
        "def matches(a, p, c, f): return exit(1) if a == 'exit' else {'yes': True, 'odd': 1}[a]",
    )
    by = plugins.load_all("matcher", ["mine"])

    def asked(answer: str, correction: str = "Oslo") -> tuple[bool, str, str]:
        found = match(answer, correction, "Bergen", "Where is it?", (), by)
        return found.matches, found.kind, found.problem

    assert asked("yes") == (True, "mine", "")
    assert asked("Bergen") == (False, "mine", "")  # the flagged answer, whatever a matcher says
    rules = match("Oslo.", "Oslo", "Bergen", "Where is it?").kind
    assert asked("Oslo.") == (True, rules, "mine (acme 1.2): KeyError at plugin_for_tests_0.py:2")
    assert asked("odd") == (False, rules, "mine (acme 1.2): an answer of type int, not bool")
    assert asked("exit")[2].startswith("mine (acme 1.2): SystemExit at ")
    assert asked("yes", "the moon")[1:] == (
        match("yes", "the moon", "Bergen", "Where is it?").kind, "",
    )  # fmt: skip


def test_a_judge_that_fails_or_hangs_gives_no_verdict(bring: Bring) -> None:
    bring(
        "judge",
        "import time\n"
        "def compare(prompt, first, second):\n"
        "    if 'hang' in first + second: time.sleep(60)\n"
        "    return {'a': 'first', 'b': 'second'}[first] if 'odd' not in first + second else 1",
    )

    def ask(*pairs: tuple[str, str]) -> list[Any]:
        settings = JudgeSettings(plugin="mine", timeout_seconds=0.3, max_concurrent_requests=1)
        prompt = [{"role": "user", "content": "Which?"}]
        questions = [Question(str(n), "c", prompt, a, b) for n, (a, b) in enumerate(pairs)]
        return [one.choice or one.error for one in compare(settings, questions)]

    assert ask(("a", "b"), ("odd", "b"), ("x", "b")) == [
        "first",
        "the judge mine (acme 1.2) gave no verdict",
        "the judge mine (acme 1.2) failed: KeyError at plugin_for_tests_0.py:4",
    ]
    hung = "the judge mine (acme 1.2) did not answer within 0.3 s and was asked no more"
    assert ask(("hang", "b"), ("a", "b")) == [hung, hung]
    with pytest.raises(ValueError, match="there is one judge"):
        JudgeSettings(plugin="mine", url="http://host/v1", model="m")


def test_an_importer_may_leave_out_a_place_and_when_it_fails_adds_nothing(bring: Bring) -> None:
    bring(
        "importer",
        "def records(raw, name):\n"
        "    yield 'page 1', {'prompt': 'How many?', 'completion': raw.decode()}\n"
        "    yield 'page 2', 'torn'\n"
        "    yield 'page 3', [1]",
    )
    with pytest.raises(PawlError, match=r"importer mine \(acme 1.2\): TypeError .*after 3"):
        parse(b"Six.", "book", "mine", None, ["mine"])
    with pytest.raises(PawlError, match="installed packages bring mine"):
        parse(b"Six.", "book", "mine")
    bring("importer", "def records(raw, name): raise SystemExit(raw)", name="quits")
    with pytest.raises(PawlError, match=r"importer quits \(acme 1.2\): SystemExit .*after 0"):
        parse(b"Six.", "book", "quits", None, ["quits"])
    bring(
        "importer",
        "def records(raw, name):\n"
        "    yield 'page 1', {'prompt': 'How many?', 'completion': raw.decode()}\n"
        "    yield 'page 2', 'torn'\n"
        "    yield 'page 3', {'colour': 'red'}",
        name="other",
        package="zeta",
    )
    parsed = parse(b"Six.", "book", "other", None, ["other"])
    assert [row.completion for row in parsed.lessons] == ["Six."]
    assert parsed.lessons[0].origin["source"] == "import:other"
    assert parsed.file_format == "other"
    assert parsed.skipped == {"of no known format": 1, "torn": 1}


class _Config:
    def __init__(self, **arguments: Any) -> None:
        if "speed" in arguments:
            raise TypeError("unexpected keyword argument 'speed'")
        self.arguments = arguments


class _Trainer: ...


@pytest.mark.parametrize(
    ("gives", "problem"),
    [
        ("None", "gives None, not a trainer and a dict"),
        ("int, arguments", "no subclass of the trainer"),
        ("trainer, {'learning_rate': 1}", "sets learning_rate, which the plan and Pawl decide"),
        ("trainer, {'speed': 1}", "unexpected keyword argument 'speed'"),
        ("trainer, 1 / 0", "ZeroDivisionError"),
        ("exit('no GPU')", "SystemExit: no GPU"),
    ],
)
def test_a_trainer_that_gives_something_else_is_refused(
    gives: str, problem: str, bring: Bring
) -> None:
    bring("trainer", f"def configure(kind, trainer, arguments): return {gives}")
    with pytest.raises(PawlError) as caught:
        configured("mine", "sft", _Trainer, _Config, {"optim": "adamw"}, {"learning_rate": 0.1})
    assert "the trainer mine (acme 1.2) can't train sft" in str(caught.value)
    assert problem in str(caught.value)
