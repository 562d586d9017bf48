"""Logging: one set-up for server and command line; log files and their size (not the engine's).

Every logger is ``logging.getLogger("pawl....")``. A line holds the id of the HTTP request that it
was written for, if any: the same as in the reply's ``X-Request-Id`` and in the recorded row.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from contextvars import ContextVar
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

from pawl.settings import LogSettings

FILE_BYTES = 10_000_000
N_OLD_FILES = 3
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
    for handler in handlers:
        handler.setFormatter(_Json() if settings.format == "json" else _Text())
        root.addHandler(handler)
    # Other packages' loggers stay at the root's WARNING.
    logging.getLogger("pawl").setLevel(min(handler.level for handler in handlers))


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

    def formatMessage(self, record: logging.LogRecord) -> str:
        request = f" [{found}]" if (found := request_id.get()) else ""
        at = self.formatTime(record)
        return f"{at} {record.levelname} {record.name}{request}: {record.message}"


class _Json(_Text):
    """One JSON object a line: ``at, level, logger, message, request_id?, error?``."""

    def format(self, record: logging.LogRecord) -> str:
        value = {"at": self.formatTime(record), "level": record.levelname.lower(),
                 "logger": record.name, "message": record.getMessage()}  # fmt: skip
        if found := request_id.get():
            value["request_id"] = found
        if record.exc_info:
            value["error"] = self.formatException(record.exc_info)
        return json.dumps(value, ensure_ascii=False)
