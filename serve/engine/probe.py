"""Is the adapter that the engine serves under a name the one that was trained?

vLLM answers 200 to the loading of an adapter that it then ignores or serves wrongly. So after a
load a handful of next-token distributions are read through ``/v1/completions`` and compared with
those that training wrote down (``probe.json``), with the base's and with the champion's.

The distance of two lists of log-probabilities is the mean absolute difference in nats over all
positions and token ids. Measured on 4-million-parameter Llamas on CPU:

    an honest adapter, bf16 engine against transformers + PEFT   0.0006 to 0.0015 (0.030 at most)
    an honest adapter served in bf16, recorded in float32        0.011 (its base: 0.002)
    an honest adapter far from its base (tests' markers)         0.003 to 0.020 (base: 0.0017)
    the base served in the adapter's place                       0.4 to 3.9
    an honest weak adapter (ten DPO steps) from its base         0.005
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pawl.adapters import ProbePosition
from pawl.errors import PawlError

if TYPE_CHECKING:
    from serve.engine.supervisor import Engine

N_LOGPROBS = 20  # vLLM's --max-logprobs unless told otherwise
NOISE = 0.0015  # nats: the largest honest mean in one precision
FARTHEST = 0.2  # nats: half of the smallest wrong one, 10 times the largest honest one
LOUDEST = 0.2  # nats: an engine whose base is this far off serves another base
# Instead of a record whose positions were all erased: single tokens that every vocabulary has.
NEUTRAL_PREFIXES = tuple([n] for n in range(1, 17))
STEP_TOKENS = 128  # 16 streams on 2 cores stand still for 0.4 s longer with them
PROBE_TIMEOUT_SECONDS = 120.0  # three at most must fit into pawl/client.py:ANSWER_SECONDS

Logprobs = dict[int, float]
ProbeOutcome = Literal["live", "indistinguishable", "failed"]


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What the probe found. ``distances`` are in nats: from what training recorded to what
    answers now (``live``), to the base and to the champion; ``noise`` is the engine's own."""

    outcome: ProbeOutcome
    reason: str
    distances: dict[str, float] = field(default_factory=dict)


def judge(
    recorded: Sequence[ProbePosition],
    live: Sequence[Logprobs],
    base: Sequence[Logprobs],
    champion: Sequence[Logprobs] | None,
    noise: float = NOISE,
) -> ProbeResult:
    """Compare what an adapter answers now with what it answered when it was trained. Pure.

    The noise is ``noise``, or the base's own distance between training and now where that is
    larger (another precision, another device). With *gap* the recorded distance to the nearer of
    base and champion:

    - failed: the live distance is above twice the noise, and above half the gap or ``FARTHEST``:
      something else answers under the name. Or the noise is above ``LOUDEST``.
    - live: the live distance is below half the gap, and the gap at least twice the noise.
    - indistinguishable: neither; the adapter answers as base or champion do, near enough.

    Without a record (its positions were erased): live where the adapter answers otherwise than base
    and champion by twice the noise, failed where one of them answers in its place to a tenth of it.

    Args:
        recorded: the positions of ``probe.json``.
        live: what the engine answers now under the adapter's name, one mapping a position.
        base: what it answers now under the base's name.
        champion: what it answers now under the champion's name; None when the base is champion.
        noise: smallest noise assumed, in nats.
    """
    everything = [*live, *base, *(champion or [])]
    if not all(one and all(map(math.isfinite, one.values())) for one in everything):
        return ProbeResult("failed", "the engine answered without finite log-probabilities")
    if not recorded:
        gap = min(distance(live, other) for other in (base, champion) if other is not None)
        measured = f"its probe record was erased; base or champion {gap:.4f} nats away"
        if gap >= 2 * noise:
            return ProbeResult("live", measured)
        return ProbeResult("failed" if gap < noise / 10 else "indistinguishable", measured)
    answered = [one.logprobs for one in recorded]
    distances = {
        "live": distance(answered, live),
        "base": distance(answered, base),
        "noise": max(noise, distance([one.base_logprobs for one in recorded], base)),
    }
    if champion is not None:
        distances["champion"] = distance(answered, champion)
    near = distances["live"]
    gap = min(distances["base"], distances.get("champion", math.inf))
    twice = 2 * distances["noise"]
    measured = f"{near:.4f} nats from what training recorded, base or champion {gap:.4f}"
    if distances["noise"] > LOUDEST:
        why = f"the base answers {distances['noise']:.4f} nats from what training recorded of it"
        return ProbeResult("failed", why, distances)
    if near > max(twice, min(FARTHEST, gap / 2)):
        return ProbeResult("failed", f"something else answers in its place: {measured}", distances)
    if gap >= twice and near < gap / 2:
        return ProbeResult("live", f"It answers as it was trained to: {measured}.", distances)
    return ProbeResult(
        "indistinguishable", f"it answers like the base or the champion: {measured}", distances
    )


def distance(one: Sequence[Logprobs], other: Sequence[Logprobs]) -> float:
    """Mean absolute difference in nats over positions and token ids.

    ``other`` lists the likeliest tokens only: an id that it lacks is no likelier there than its
    last, and counts with the least that it can then differ.
    """
    if len(one) != len(other):
        raise ValueError(f"{len(one)} positions against {len(other)}")
    differences = []
    for ours, theirs in zip(one, other, strict=True):
        floor = min(theirs.values())
        for token_id, value in ours.items():
            if token_id in theirs:
                differences.append(abs(value - theirs[token_id]))
            else:
                differences.append(max(0.0, value - floor))
    return sum(differences) / len(differences)


async def read_live(engine: Engine, model: str, prefixes: Sequence[list[int]]) -> list[Logprobs]:
    """The likeliest next tokens after each prefix, as the engine serves ``model`` now.

    A few prefixes at a time, one new token each: the engine reads a request's prompts in one step,
    and people's streams stand still for as long. (Two requests in a batch that ask for *prompt*
    log-probabilities kill vLLM's CPU engine; those of new tokens don't.)

    Args:
        engine: the one that is asked.
        model: the name inside the engine: ``base`` or ``pawl@3``.
        prefixes: token ids of each prefix.

    Raises:
        PawlError: the engine refused or did not answer (``code="probe_failed"``).
    """

    def fail(why: str) -> PawlError:
        return PawlError(
            f"the engine could not be probed as {model}",
            why,
            "Look at the engine's log",
            retryable=True,
            code="probe_failed",
        )

    live: list[Logprobs] = []
    until = time.monotonic() + PROBE_TIMEOUT_SECONDS
    for group in _few_at_a_time(prefixes):
        body = {
            "model": model,
            "prompt": group,
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": N_LOGPROBS,
            "return_tokens_as_token_ids": True,
        }
        left = max(1.0, until - time.monotonic())
        status, text = await engine.request("POST", "/v1/completions", body, seconds=left)
        if status != 200:
            raise fail(f"it answered {status}: {text[:300]}" if status else text)
        try:
            choices = sorted(json.loads(text)["choices"], key=lambda choice: choice["index"])
            found = [_top_logprobs(choice) for choice in choices]
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as err:
            why = f"its answer has no log-probabilities ({type(err).__name__}: {err})"
            raise fail(why) from err
        if len(found) != len(group):
            raise fail(f"it answered {len(found)} of {len(group)} prefixes")
        live += found
    return live


def _few_at_a_time(prefixes: Sequence[list[int]]) -> Iterator[list[list[int]]]:
    """In their order, ``STEP_TOKENS`` in all or a single one."""
    group: list[list[int]] = []
    for prefix in prefixes:
        if group and sum(map(len, group)) + len(prefix) > STEP_TOKENS:
            yield group
            group = []
        group.append(prefix)
    if group:
        yield group


def _top_logprobs(choice: dict[str, Any]) -> Logprobs:
    """From ``{"logprobs": {"top_logprobs": [{"token_id:17": -0.2, ...}]}}``."""
    (top,) = choice["logprobs"]["top_logprobs"]
    return {int(key.removeprefix("token_id:")): float(value) for key, value in top.items()}
