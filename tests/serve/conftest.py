"""One real vLLM engine for all tests of the session that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pawl.models import resolve_model
from pawl.settings import Settings
from serve.engine.launch import vllm_command
from tests.serve.live import Live, live
from tests.serve.tiny_llama import make_adapter, make_tiny_llama


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway before vLLM with a tiny base and two adapters, loaded again after a restart."""
    root = tmp_path_factory.mktemp("real")
    model_dir = make_tiny_llama(root / "model")
    adapters = {f"pawl@{n}": make_adapter(model_dir, root / f"pawl@{n}", n) for n in (1, 2)}
    settings = Settings(state_dir=root / "state", model=str(model_dir),
                        engine={"kv_cache_gib": 0.25, "max_concurrent_requests": 16})  # fmt: skip
    base = resolve_model(settings.model, cache_dir=settings.state_dir)
    with live(settings, base=base, command=vllm_command, wait=False) as one:

        async def load_adapters() -> None:
            for version, folder in adapters.items():
                await one.engine.load_adapter(version, folder)

        one.engine.on_ready = load_adapters
        one.call(one.engine.wait_ready())
        yield one
