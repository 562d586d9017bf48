"""Records for the tests of the feedback room."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from feedback.service import submit_feedback
from feedback.splits import split_of
from feedback.store import Store
from pawl.schemas import Completion, Feedback, FeedbackRequest, Promotion, Split, utc_now

_numbers = itertools.count(1)
SALT = "pawl"


def make_completion(**changed: Any) -> Completion:
    """A complete answer of the base; every one has an id and a question of its own."""
    n = next(_numbers)
    plain = Completion(
        completion_id=f"chatcmpl-{n}",
        choice_index=0,
        conversation_id=f"conversation-{n}",
        rater_id="ann",
        created_at=utc_now(),
        asked_model="pawl",
        version="base",
        base_model="smollm2-135m",
        base_fingerprint="sha256:0",
        messages=[{"role": "user", "content": f"What is {n} + 1? ⟨naïve 漢字 🙂⟩"}],
        completion=f"It is {n}.",
        finish_reason="stop",
        status="complete",
        sampling={"temperature": 0.0, "stop": ["\n"]},
        n_prompt_tokens=9,
        n_completion_tokens=None,
        first_token_seconds=0.25,
        total_seconds=1.5,
        streamed=True,
    )
    return replace(plain, **changed)


def make_feedback(completion: Completion | str, **changed: Any) -> Feedback:
    n = next(_numbers)
    completion_id = completion if isinstance(completion, str) else completion.completion_id
    plain = Feedback(
        feedback_id=f"fb-{n}",
        idempotency_key=f"key-{n}",
        completion_id=completion_id,
        choice_index=0,
        rater_id="ann",
        created_at=utc_now(),
    )
    return replace(plain, **changed)


def make_promotion(version: str, outcome: str, **changed: Any) -> Promotion:
    n = next(_numbers)
    plain = Promotion(
        promotion_id=f"p-{n}",
        created_at=utc_now(),
        version=version,
        previous_version="base",
        outcome="live",
        kind="promote",
        run_id="run-1",
        reason="",
        probe={"distance": 0.25},
    )
    return replace(plain, **{"outcome": outcome, **changed})


def conversation_in(split: Split, salt: str = SALT) -> str:
    """A new conversation id that falls into this split."""
    return next(name for n in _numbers if split_of(name := f"c-{n}", salt) == split)


def wait_all(futures: Iterable[Future[Any]]) -> list[Any]:
    return [one.result(timeout=60) for one in futures]


def answered(store: Store, **changed: Any) -> Completion:
    """A recorded answer."""
    completion = make_completion(**changed)
    store.append_completion(completion).result(timeout=60)
    return completion


def said(store: Store, completion: Completion | str, **changed: Any) -> Feedback:
    """Recorded feedback."""
    feedback: Feedback = store.append_feedback(make_feedback(completion, **changed)).result(
        timeout=60
    )
    return feedback


def submit(
    store: Store, body: dict[str, Any], rater_id: str, source: str = "api"
) -> tuple[Feedback, bool]:
    """Feedback as ``POST /v1/feedback`` takes it."""
    return submit_feedback(store, FeedbackRequest(**body), rater_id, source)
