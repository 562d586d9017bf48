"""``pawl up`` with the fake engine in vLLM's place.

python -m tests.serve.run_up STATE_DIR MODEL_DIR PORT [OPTION OF THE ENGINE...]

Other settings come from ``PAWL_*`` in the environment. The splits are the same in every run: with
a salt of the store's own, a test's only row stands in the holdout once in ten runs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pawl.errors import PawlError
from pawl.settings import Settings
from serve.up import run_server
from tests.serve.live import fake_command

if __name__ == "__main__":
    os.environ.setdefault("PAWL_SPLIT_SALT", "pawl")
    state_dir, model_dir, port, *options = sys.argv[1:]
    settings = Settings(state_dir=Path(state_dir), model=model_dir, port=int(port))
    try:
        run_server(
            settings, lambda line: print(line, flush=True), fake_command("--with-child", *options)
        )
    except PawlError as error:
        sys.exit(f"Error: {error}")
