"""``pawl up`` with the fake engine in vLLM's place.

python -m tests.serve.run_up STATE_DIR MODEL_DIR PORT [OPTION OF THE ENGINE...]

Other settings come from ``PAWL_*`` in the environment.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pawl.errors import PawlError
from pawl.settings import Settings
from serve.up import run_server
from tests.serve.live import fake_command

if __name__ == "__main__":
    state_dir, model_dir, port, *options = sys.argv[1:]
    settings = Settings(state_dir=Path(state_dir), model=model_dir, port=int(port))
    try:
        run_server(
            settings, lambda line: print(line, flush=True), fake_command("--with-child", *options)
        )
    except PawlError as error:
        sys.exit(f"Error: {error}")
