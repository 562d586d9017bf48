"""Shadow: the newest recorded prompts, or some of one's own, answered by two versions, and where
they differ most.

Answers are greedy, so that what differs is the versions' and not chance: of a version's own
sampling nothing is seen, its system prompt is asked with. Nobody gets them, and they are not
recorded. Prompts with tools, and those of ``/v1/completions``, are left out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from pawl.errors import PawlError
from pawl.schemas import PLAIN_ROLES, Completion, Message, Shadow, ShadowDifference, ShadowRequest
from serve.api.generate import generate
from serve.promotion import Promoter

if TYPE_CHECKING:
    from feedback.store import Store
    from serve.api.admission import Admission
    from serve.engine.replicas import AnyEngine

LIMIT_SECONDS = 540.0  # less than clients wait, so that they hear why
_N_LETTERS = 3  # of a piece that is compared


async def shadow(
    engine: AnyEngine,
    promoter: Promoter,
    store: Store,
    admission: Admission,
    request: ShadowRequest,
    limit_seconds: float = LIMIT_SECONDS,
) -> Shadow:
    """Let both answer; the differences, the largest first.

    Raises:
        PawlError: a version can't be brought into the engine, the engine is not ready, or it takes
            longer than ``limit_seconds``.
    """
    try:
        async with asyncio.timeout(limit_seconds):
            return await _shadow(engine, promoter, store, admission, request)
    except TimeoutError:
        raise PawlError(
            f"{request.a} and {request.b} did not answer within {limit_seconds:g} s",
            f"{len(request.prompts or ()) or request.last} prompts of up to {request.max_tokens} "
            "tokens each are too many for this engine",
            "Ask for fewer prompts (--last) or shorter answers (--max-tokens)",
            code="invalid_value",
            param="last",
        ) from None


async def _shadow(
    engine: AnyEngine,
    promoter: Promoter,
    store: Store,
    admission: Admission,
    request: ShadowRequest,
) -> Shadow:
    asked: list[tuple[str | None, list[Message]]]
    if request.prompts is not None:
        n_asked = len(request.prompts)
        asked = [(None, [one.model_dump() for one in prompt]) for prompt in request.prompts]
    else:
        found = await asyncio.to_thread(store.newest_prompts, request.last)
        n_asked = len(found)
        asked = [(row.completion_id, row.messages) for row in found if _is_plain_chat(row)]
    prompts = [messages for _, messages in asked]
    async with AsyncExitStack() as borrowed:
        for version in (request.a, request.b):
            result = await borrowed.enter_async_context(promoter.borrowed(version))
            if result.outcome == "failed":
                is_broken = await promoter.broken(version)
                raise PawlError(
                    f"{version} can't answer",
                    result.reason,
                    "'pawl status' and 'pawl history' list the versions",
                    code="unknown_version" if is_broken else "adapter_not_loaded",
                )
        answers = []
        for version in (request.a, request.b):
            settings, weights = store.version_settings(version), store.weights_of(version)
            asked_so = [settings.asked(one) for one in prompts] if settings else prompts
            answers.append(
                await generate(engine, asked_so, request.max_tokens, admission, model=weights)
            )
    differences = [
        ShadowDifference(
            completion_id=name, prompt=messages[-1]["content"],
            a=a["text"], b=b["text"], difference=difference(a["text"], b["text"]),
        )
        for (name, messages), a, b in zip(asked, *answers, strict=True)
        if a["text"] or b["text"]
    ]  # fmt: skip
    show = len(differences)
    if request.prompts is None:
        differences.sort(key=lambda one: -one.difference)
        show = request.show
    n_same = sum(one.difference == 0 for one in differences)
    return Shadow(
        a=request.a, b=request.b, n_prompts=len(differences), n_same=n_same,
        n_left_out=n_asked - len(differences), differences=differences[:show],
    )  # fmt: skip


def difference(a: str, b: str) -> float:
    """From 0 (the same, but for the order of their parts) to 1: one minus the Dice coefficient of
    the pieces of three letters, each as often as it occurs, with blanks folded."""
    ours, theirs = (
        Counter(text[i : i + _N_LETTERS] for i in range(max(1, len(text) - _N_LETTERS + 1)))
        for text in (" ".join(a.split()), " ".join(b.split()))
    )
    return 1 - 2 * (ours & theirs).total() / (ours.total() + theirs.total())


def _is_plain_chat(row: Completion) -> bool:
    """Whether it can be asked again by its messages alone."""
    return not row.tools and not any(
        message["role"] in (*PLAIN_ROLES, "tool") or message.get("tool_calls")
        for message in row.messages
    )
