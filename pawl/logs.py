"""Logging: one set-up for server and command line; log files and their size.

Every logger is ``logging.getLogger("pawl....")``. A line holds the id of the HTTP request that it
was written for, if any: the same as in the reply's ``X-Request-Id`` and in the recorded row.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import threading
import time
from contextvars import ContextVar
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

from pawl.files import make_private
from pawl.settings import LogSettings, Settings
from pawl.text import shown

FILE_BYTES = 10_000_000
N_OLD_FILES = 3
N_REPEATS, REPEAT_SECONDS = 10, 10.0  # warnings of a kind, in how long
N_KINDS = 1000
request_id: ContextVar[str] = ContextVar("request_id", default="")


def configure_logging(
    settings: LogSettings | None = None, *, file: Path | None = None, file_bytes: int = FILE_BYTES
) -> None:
    """Send this process's log to stderr and, if one is named, to a file. A second call replaces
    what the first set up.

    Args:
        settings: by default the file gets INFO and above, stderr WARNING and above, as text.
        file: put aside as ``.1`` to ``.3`` when it is larger than ``file_bytes``.
        file_bytes: size of one file.

    Raises:
        OSError: the file can't be written.
    """
    settings = settings or LogSettings()
    handlers: list[logging.Handler] = [_Stderr()]
    handlers[0].setLevel((settings.level or "warning").upper())
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(
            RotatingFileHandler(
                file, maxBytes=file_bytes, backupCount=N_OLD_FILES, encoding="utf-8",
                errors="backslashreplace",
            )
        )  # fmt: skip
        handlers[1].setLevel((settings.level or "info").upper())
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one.formatter, _Text)]:
        root.removeHandler(old)
        old.close()
    repeats = _Repeats()
    for handler in handlers:
        handler.addFilter(repeats)
        handler.setFormatter(_Json() if settings.format == "json" else _Text())
        root.addHandler(handler)
    # Other packages' loggers stay at the root's WARNING.
    logging.getLogger("pawl").setLevel(min(handler.level for handler in handlers))


def log_in_state_dir(settings: Settings, name: str) -> None:
    """``configure_logging`` to a file in ``logs/`` of the state folder, which is first made its
    owner's alone: a log may be the first file in it.

    Raises:
        OSError: the folder can't be made, or the file can't be written.
    """
    tightened = make_private(settings.state_dir)
    configure_logging(settings.log, file=settings.logs_dir / name)
    if tightened:
        logging.getLogger("pawl.logs").warning("%s", tightened)


def cut_log(file: Path, n_bytes: int = FILE_BYTES) -> None:
    """Put the content of a log that other processes append to aside as ``.1`` once it is larger
    than ``n_bytes``, and empty it. What is written at that moment may be lost.

    Raises:
        OSError: it can't be copied; it stays as it is.
    """
    if file.exists() and file.stat().st_size > n_bytes:
        shutil.copyfile(file, file.with_name(file.name + ".1"))
        os.truncate(file, 0)


class _Repeats(logging.Filter):
    """Lets through a few warnings of a kind in some seconds: a thousand clients that do the same
    must not fill the disk. The first one after a pause says how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}  # began, how many
        self._changing = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        decided = getattr(record, "is_let_through", None)  # for the handler before this one
        if decided is None:
            decided = record.is_let_through = self._decide(record)
        return bool(decided)

    def _decide(self, record: logging.LogRecord) -> bool:
        kind, now = (record.name, str(record.msg)[:60]), time.monotonic()
        with self._changing:
            began, n = self._kinds.get(kind, (now, 0))
            if now - began > REPEAT_SECONDS:
                if n > N_REPEATS:
                    left_out = f" ({n - N_REPEATS:,} more like this were left out)"
                    record.msg, record.args = record.getMessage() + left_out, ()
                began, n = now, 0
            if len(self._kinds) > N_KINDS:
                self._kinds.clear()
            self._kinds[kind] = (began, n + 1)
        return n < N_REPEATS


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what is stderr at the moment: tests and supervisors replace it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr


class _Text(logging.Formatter):
    """``2026-01-31T12:00:00.123Z INFO pawl.engine [request id]: ready``."""

    converter = time.gmtime  # type: ignore[assignment]  # as logging documents it
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))  # a traceback too, whoever else has formatted it

    def formatMessage(self, record: logging.LogRecord) -> str:
        request = f" [{found}]" if (found := request_id.get()) else ""
        at = self.formatTime(record)
        message = shown(record.message, keep="")  # one line, whatever somebody sent
        return f"{at} {record.levelname} {record.name}{request}: {message}"


class _Json(_Text):
    """One JSON object a line: ``at, level, logger, message, request_id?, error?``."""

    def format(self, record: logging.LogRecord) -> str:
        value = {"at": self.formatTime(record), "level": record.levelname.lower(),
                 "logger": record.name, "message": record.getMessage()}  # fmt: skip
        if found := request_id.get():
            value["request_id"] = found
        if record.exc_info:
            value["error"] = self.formatException(record.exc_info)
        return json.dumps(value)
