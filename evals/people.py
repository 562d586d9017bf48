"""People's prompts, from the scores of their items to the figures of the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.evidence import (
    Changes,
    Clusters,
    naive_pass_rate,
    pass_rate,
    people_test,
    prompt_weights,
)
from evals.reasons import GateRules, HoldoutVerdict, KeptVerdict
from evals.regression import ANSWER_TOKENS
from evals.statistics import Floats, alpha_left
from feedback.splits import prompt_key
from pawl.errors import PawlError
from pawl.schemas import ItemScore

Pair = tuple[ItemScore, ItemScore]  # before and after

MARGIN_KEPT = 0.1  # of the prompts that were fixed once


@dataclass(slots=True)
class PeopleEvidence:
    """Flagged prompts, then controls, as arrays: what ``evals.evidence`` compares."""

    challenger: Changes
    placebos: list[Changes]
    clusters: Clusters
    raters: list[str]
    weights: Floats
    n_flagged: int
    prompts: dict[str, str]
    is_comparable: NDArray[np.bool_]  # of flagged prompts: answer with correction

    @classmethod
    def of(
        cls, flagged: list[Pair], controls: list[Pair], placebos: list[list[ItemScore]],
        gate: GateRules,
    ) -> PeopleEvidence:  # fmt: skip
        pairs = [*flagged, *(controls if flagged and gate.controls_per_flag > 0 else [])]
        before = [a for a, _ in pairs]
        keys = [
            prompt_key(item.detail["prompt"]) if item.detail.get("prompt") else item.item_id
            for item in before
        ]
        raters = [str(item.detail.get("rater") or "nobody named") for item in before]
        places = [{item.item_id: item for item in items} for items in placebos]
        lost = sorted({a.item_id for a in before for known in places if a.item_id not in known})
        if lost:
            raise PawlError(
                f"{len(lost)} prompts were not scored by every placebo, the first {lost[0]}",
                "the challenger must beat all of them on the same prompts",
                "Score again into an empty folder",
            )
        challenger = changes(before, [b for _, b in pairs])
        return cls(
            challenger,
            [changes(before, [known[a.item_id] for a in before]) for known in places],
            Clusters.of(
                [item.cluster for item in before],
                [
                    [key, *([near] if (near := item.detail.get("cluster")) else [])]
                    for item, key in zip(before, keys, strict=True)
                ],
                raters,
                len(flagged),
            ),
            raters,
            prompt_weights(
                [i >= len(flagged) for i in range(len(pairs))], raters, gate.controls_per_flag
            ),
            len(flagged),
            {
                key: ("broken", "same", "fixed")[1 + _is_right(b) - _is_right(a)]
                for key, (a, b) in zip(keys, flagged, strict=False)
            },
            np.asarray([_is_comparable(a) for a, _ in flagged], dtype=bool),
        )


def _is_comparable(item: ItemScore) -> bool:
    """Whether an answer can be seen to say what the correction says. Not where only a judge could
    compare them, and not where the correction is longer than any answer may be, unless it is one of
    the prompt's choices with reasons."""
    compared = item.detail.get("compared")
    if "matches" not in item.detail or compared == "judge":
        return False
    n_tokens = item.detail.get("correction_tokens", 1) - 1  # without the end of turn
    return compared == "choice" or n_tokens <= ANSWER_TOKENS[-1]


def changes(before: list[ItemScore], after: list[ItemScore]) -> Changes:
    """What changed from one model to another, item by item.

    Where an answer must match, the margin counts as risen only so far as the correction itself
    became likelier: a model that was taught other wrong answers makes the flagged one unlikely too.
    """
    margins = [_margin_change(a, b) for a, b in zip(before, after, strict=True)]
    matches = [_matches(b) - _matches(a) for a, b in zip(before, after, strict=True)]
    return Changes(np.asarray(margins, dtype=np.float64), np.asarray(matches, dtype=np.float64))


def _margin_change(before: ItemScore, after: ItemScore) -> float:
    change = _margin(after) - _margin(before)
    if "matches" not in before.detail or "flagged_logprob" not in before.detail:
        return change  # a preference between two answers, or a control
    return min(change, _per_token(after, "correction") - _per_token(before, "correction"))


def _margin(item: ItemScore) -> float:
    """Log-probability per token of the correction minus the flagged answer's; 0 for a control."""
    if "flagged_logprob" not in item.detail:
        return 0.0
    return _per_token(item, "correction") - _per_token(item, "flagged")


def _per_token(item: ItemScore, which: str) -> float:
    return float(item.detail[f"{which}_logprob"] / item.detail[f"{which}_tokens"])


def _matches(item: ItemScore) -> float:
    """1 where the answer says what it should; 0 where not, and where none was asked. A score that
    came without details counts as it is."""
    if "matches" in item.detail:
        return float(item.detail["matches"])
    return 0.0 if "correction_logprob" in item.detail else float(item.score or 0.0)


def _is_right(item: ItemScore) -> bool:
    """A preference pair has no answer that could match: its preference counts."""
    detail = item.detail
    return bool(detail.get("matches", detail.get("prefers", item.score == 1.0)))


def kept_verdict(group: list[Pair], than: str) -> KeptVerdict:
    """Prompts that were fixed once: at most ``MARGIN_KEPT`` of them may be broken again on balance,
    of fewer than ten one."""
    moves = [float(_is_right(b)) - float(_is_right(a)) for a, b in group]
    n, n_fixed = len(group), sum(change > 0 for change in moves)
    broken = [a for (a, _), change in zip(group, moves, strict=True) if change < 0]
    n_allowed = max(1, math.floor(MARGIN_KEPT * n))
    passed = len(broken) - n_fixed <= n_allowed
    texts = [str((item.detail.get("prompt") or [{"content": item.item_id}])[-1]["content"])
             for item in broken]  # fmt: skip
    return KeptVerdict(
        than=than, n=n, n_fixed=n_fixed, broken=tuple(texts), n_allowed=n_allowed, passed=passed
    )


def holdout_verdict(
    figures: dict[str, Any], evidence: PeopleEvidence, gate: GateRules
) -> HoldoutVerdict:
    """``figures``: of the flagged prompts' scores, as benchmarks have them."""
    test = people_test(evidence.challenger, evidence.placebos, evidence.clusters, evidence.weights)
    n = evidence.n_flagged
    controls = evidence.challenger.matches[n:]
    alpha = gate.alpha_people
    # A model that was taught other wrong answers makes the correction likelier too, and gives none.
    comparable = evidence.challenger.matches[:n][evidence.is_comparable]
    is_mended = not len(comparable) or bool(comparable.sum() > 0)
    return HoldoutVerdict(
        n_conversations=evidence.clusters.first(n).count(),
        p_best=evidence.clusters.first(n).p_above(evidence.weights[:n]),
        n_raters=len(set(evidence.raters[:n])),
        n_controls=len(controls),
        n_controls_fixed=int((controls > 0).sum()),
        n_controls_broken=int((controls < 0).sum()),
        controls_per_flag=gate.controls_per_flag if len(controls) else 0.0,
        gain=test.gain,
        placebo_gains=test.placebo_gains,
        placebo_pass_rate=pass_rate(evidence.placebos, evidence.clusters, evidence.weights, alpha),
        placebo_naive_pass_rate=naive_pass_rate(
            evidence.placebos, evidence.clusters, n, gate.alpha
        ),
        p_better=test.p_better,
        p_worse=test.p_worse,
        p_placebo=test.p_placebo,
        attempt=gate.attempt,
        alpha=alpha,
        alpha_left=alpha_left(gate.attempt, gate.alpha),
        n_decided_before=gate.n_decided_before,
        passed=test.p <= alpha and is_mended,
        is_mended=is_mended,
        n_comparable=len(comparable),
        **figures,
    )
