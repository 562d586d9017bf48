"""Plugins: parts that other packages bring, by entry points, loaded where settings name them.

A package has an entry point in one of the groups of ``KINDS``; a setting names it. What no setting
names is listed (``pawl plugins``) and never imported, since a plugin runs with all of Pawl's
rights. What is named is loaded and checked when a server, a night or a training begins (``check``).
A name of Pawl's own always means Pawl's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import re
import threading
import traceback
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from os import PathLike
from pathlib import Path
from typing import Any

from pawl import protocols
from pawl.errors import PawlError
from pawl.settings import BUILT_IN, Settings

# A plugin's name goes into file names and into lists with commas.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PAGE = "docs/plugins.md"


@dataclass(frozen=True, slots=True)
class Kind:
    """``setting`` names plugins of the kind; ``taken`` are names of Pawl's own."""

    name: str
    group: str
    setting: str
    protocol: type
    taken: frozenset[str] = frozenset()


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "detector", "pawl.detectors", "curation.detectors", protocols.Detector,
            frozenset("personal_data secrets verbose repetitive refusal language spelling "
                      "format".split()),
        ),
        Kind(
            "matcher", "pawl.matchers", "gate.matchers", protocols.Matcher,
            frozenset("exact contains number choice format code judge".split()),
        ),
        Kind("judge", "pawl.judges", "judge.plugin", protocols.Judge),
        Kind("suite", "pawl.suites", "gate.suite", protocols.Suite, frozenset(BUILT_IN)),
        Kind(
            "trainer", "pawl.trainers", "train.trainer", protocols.Trainer,
            frozenset("sft dpo kto".split()),
        ),
        Kind(
            "importer", "pawl.importers", "exchange.importers", protocols.Importer,
            frozenset(
                "auto map oasst openai-preference sharegpt-dpo preference ranked arena open-webui "
                "librechat langfuse unpaired sharegpt-kto sft sharegpt alpaca openai-log".split()
            ),
        ),
        Kind(
            "notifier", "pawl.notifiers", "webhook.notifiers", protocols.Notifier,
            frozenset(["webhook"]),
        ),
    )
}  # fmt: skip
OF_NIGHTS = ("detector", "matcher", "judge", "suite", "trainer")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin that was loaded and has its kind's shape. ``package``: "acme-pawl 1.2"."""

    name: str
    package: str
    part: Any

    def __str__(self) -> str:
        return f"{self.name} ({self.package})"


def installed(kind: str) -> list[EntryPoint]:
    """The entry points of a kind's group, by name. Nothing is imported."""
    found = entry_points(group=KINDS[kind].group)
    return sorted(found, key=lambda entry: (entry.name, package_of(entry)))


def package_of(entry: EntryPoint) -> str:
    """Name and version of the distribution that brings it."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"


def named(kind: str, settings: Settings) -> tuple[str, ...]:
    """The plugins of a kind that the settings name."""
    group, key = KINDS[kind].setting.split(".")
    value = getattr(getattr(settings, group), key)
    if kind == "suite":  # a name of Pawl's own and a folder's path are no plugins
        return (value,) if is_suite(value) else ()
    return tuple(dict.fromkeys((value,) if isinstance(value, str) else value or ()))


def is_suite(value: str) -> bool:
    """Whether this names the suite of an installed package.

    Raises:
        PawlError: it is the path of a folder too.
    """
    if value in BUILT_IN or value not in {entry.name for entry in installed("suite")}:
        return False
    if Path(value).exists():
        raise PawlError(
            f"suite {value!r} can be two things",
            f"an installed package has one of that name, and {Path(value).absolute()} is there",
            f"Write ./{value} for the folder, or give the folder another name",
        )
    return True


def suite_folder(value: str) -> Path | None:
    """The folder of an installed package's suite; None where this names none.

    Raises:
        PawlError: as :func:`is_suite` and :func:`load`.
    """
    return Path(load("suite", value).part.folder) if is_suite(value) else None


def check(settings: Settings, kinds: Collection[str] = tuple(KINDS)) -> None:
    """Load all that the settings name, so that its faults are told now.

    Raises:
        PawlError: as :func:`load`, or as :func:`check_rejecting`.
    """
    check_rejecting(settings)
    for kind in kinds:
        load_all(kind, named(kind, settings))


def check_rejecting(settings: Settings) -> None:
    """Raises: PawlError where ``curation.reject`` names no detector of Pawl's own or of
    ``curation.detectors``."""
    known = KINDS["detector"].taken | set(settings.curation.detectors)
    if unknown := sorted(set(settings.curation.reject) - known):
        raise PawlError(
            f"curation.reject names {', '.join(unknown)}",
            "there is no such detector",
            f"Choose from {', '.join(sorted(known))}; of a package's own, name it in "
            "curation.detectors too",
            code="unknown_detector",
        )


def load_all(kind: str, names: Collection[str]) -> tuple[Plugin, ...]:
    """As :func:`load`, for each name once, in their order."""
    return tuple(load(kind, name) for name in dict.fromkeys(names))


@cache
def load(kind: str, name: str) -> Plugin:
    """The plugin of this name, imported and checked.

    Raises:
        PawlError: no package or more than one has it, the name is one of Pawl's own, it can't be
            imported, or it lacks something of its kind's protocol. Code ``plugin``.
    """
    what = KINDS[kind]
    out = f"take {name!r} out of {what.setting}"
    found = [entry for entry in installed(kind) if entry.name == name]
    if not found:
        there = ", ".join(entry.name for entry in installed(kind)) or "none"
        raise _refused(
            f"{what.setting} names the {kind} {name!r}",
            f"no installed package has it (of the group {what.group} there are: {there})",
            f"Install its package into Pawl's environment, correct the name, or {out}",
        )
    packages = sorted({package_of(entry) for entry in found})
    if len(found) > 1:
        raise _refused(
            f"{what.setting} names the {kind} {name!r}",
            f"more than one entry point has that name, in {' and '.join(packages)}",
            "Uninstall one of them, or have one renamed",
        )
    which = f"the {kind} {name!r} of {packages[0]}"
    if name in what.taken:
        raise _refused(
            f"{which} can't be used",
            f"Pawl has a {kind} of that name, which no package replaces",
            f"Rename the entry point in that package, or {out}",
        )
    if not _NAME.fullmatch(name):
        raise _refused(
            f"{which} can't be used",
            "a name has small letters, digits, '-' and '_', 64 at most",
            f"Rename the entry point in that package, or {out}",
        )
    try:
        part = found[0].load()
    except (Exception, SystemExit) as err:
        raise _refused(
            f"{which} can't be loaded",
            f"{found[0].value} fails with {type(err).__name__}: {err}",
            f"Install what it needs or another version of it, or {out}",
        ) from err
    try:
        problem = fault(part, what.protocol)
    except Exception as err:  # a property of its own, for one
        problem = f"looking at it fails with {type(err).__name__}: {err}"
    if problem:
        raise _refused(
            f"{which} is no {kind}",
            f"{found[0].value}: {problem}",
            f"Mend that package ({_PAGE} says what a {kind} has), or {out}",
        )
    return Plugin(name, packages[0], part)


def _refused(what: str, why: str, do: str) -> PawlError:
    return PawlError(what, why, do, code="plugin")


def fault(part: Any, protocol: type) -> str:
    """What a part lacks of a protocol; empty: nothing."""
    if isinstance(part, type):
        return "it is a class; give an instance, or a module"
    for name, about in inspect.get_annotations(protocol).items():
        value = getattr(part, name, None)
        if about == "float":
            if not is_number(value):
                return f"{name} is {value!r}, not a finite number"
        elif about == "str":
            if not isinstance(value, str) or not value.strip():
                return f"{name} is {value!r}, not a text"
        elif not isinstance(value, str | PathLike) or not Path(value).is_absolute():
            return f"{name} is {value!r}, not an absolute path"
    for name, method in _methods(protocol):
        own = getattr(part, name, None)
        if not callable(own):
            return f"it has no function {name}()"
        if inspect.iscoroutinefunction(own):
            return f"{name}() is async; Pawl calls it in a thread"
        names = list(inspect.signature(method).parameters)[1:]  # without self
        try:
            inspect.signature(own).bind(*names)
        except TypeError as err:
            return f"{name}() is called with ({', '.join(names)}): {err}"
        except ValueError:  # of a builtin, which doesn't say what it takes
            continue
    return ""


def is_number(value: Any) -> bool:
    """Whether it is a finite int or float; a bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _methods(protocol: type) -> Iterator[tuple[str, Any]]:
    return (
        (name, value)
        for name, value in vars(protocol).items()
        if inspect.isfunction(value) and not name.startswith("_")
    )


def in_thread(call: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
    """What a call in a thread of its own comes to. The thread is a daemon: one that hangs keeps
    neither the loop nor the process from ending, as one of a pool would."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())  # else it is logged

    def tell(value: Any, error: BaseException | None) -> None:
        if not future.done():  # given up meanwhile
            future.set_result(value) if error is None else future.set_exception(error)

    def work() -> None:
        value, error = None, None
        try:
            value = call(*args)
        except BaseException as err:
            error = err
            if isinstance(err, TimeoutError):  # not to be taken for the caller's own
                error = OSError(str(err))
            elif isinstance(err, StopIteration) or not isinstance(err, Exception):
                error = RuntimeError(type(err).__name__)  # no future takes these, no loop should
            error.__traceback__ = err.__traceback__
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, value, error)

    threading.Thread(target=work, name="pawl-plugin", daemon=True).start()
    return future


def place_of(error: BaseException) -> str:
    """What went wrong where: ``ValueError at shouting.py:12``. Not the error's own text, which may
    hold what people wrote."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" at {Path(last[0].filename).name}:{last[0].lineno}" if last else ""
    return type(error).__name__ + where
