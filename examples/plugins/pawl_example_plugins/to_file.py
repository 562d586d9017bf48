"""A notifier: each message as a line of the file that EXAMPLE_NOTIFIER_FILE names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def notify(message: Mapping[str, Any]) -> None:
    """Append it. A disk that is full is an OSError, which is tried again."""
    with Path(os.environ["EXAMPLE_NOTIFIER_FILE"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(message) + "\n")
