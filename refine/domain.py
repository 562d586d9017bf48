"""Domain weighting: training rows count by how like the traffic of late they are.

A weight is the density ratio p(traffic) / p(rows) at a row's prompt, as a logistic regression tells
the two apart that sees the base's own features (Sugiyama, Suzuki and Kanamori 2012, *Density Ratio
Estimation in Machine Learning*, chapter 4): the mean of the last layer's hidden states over the
prompt's tokens, on ``N_COMPONENTS`` principal components. A row is judged by a regression that did
not see its prompt (cross-validation), the ratio is clipped to ``LEAST`` and ``MOST``, and then
divided by its mean. Where rows and traffic are alike nothing can be told apart, and the weights are
near 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pawl.chat_template import with_objects
from pawl.client import Client
from pawl.errors import PawlError
from pawl.files import sha256_json, write_atomic
from pawl.schemas import Message, TrainingRow

TRAFFIC = "traffic.jsonl"  # in a run's folder
N_PROMPTS = 500
FEWEST = 16  # prompts of either, from which on rows are weighted
N_COMPONENTS = 16
N_FOLDS = 5
LEAST, MOST = 0.25, 4.0
MAX_TOKENS = 512  # of a prompt, its last


def keep_traffic(client: Client, run_dir: Path, rows: Sequence[TrainingRow]) -> Path:
    """Ask the server for the newest prompts, once for a run; where they are kept, a line each:
    ``{"prompt": [...]}``. Those of held-out rows are left out."""
    path = run_dir / TRAFFIC
    if not path.exists():
        held_out = {sha256_json(row.prompt) for row in rows if row.split == "holdout"}
        found = client.get("/admin/traffic", {"newest": N_PROMPTS})["newest"]
        lines = [json.dumps({"prompt": one}) for one in found if sha256_json(one) not in held_out]
        write_atomic(path, "".join(f"{line}\n" for line in lines))
    return path


def read_traffic(path: Path) -> list[list[Message]]:
    """The prompts that ``keep_traffic`` wrote."""
    return [json.loads(line)["prompt"] for line in path.read_text("utf-8").split("\n") if line]


def weigh(
    rows: Sequence[TrainingRow],
    traffic: Sequence[list[Message]],
    model: Any,
    tokenizer: Any,
    seed: int,
) -> tuple[list[TrainingRow], dict[str, Any]]:
    """The rows, those of the training split with their weight times their likeness to ``traffic``.

    Returns:
        rows, and what the recipe says: ``{"n_rows", "n_traffic", "auc", "least", "most"}``; ``auc``
        says how well the regression tells rows it did not see from traffic (0.5: not at all).
        ``{"problem": ...}`` where there are too few prompts, and the rows are as they were.
    """
    mine = [row for row in rows if row.split == "train"]
    own = _features([row.prompt for row in mine], model, tokenizer)
    theirs = _features(traffic, model, tokenizer)
    by_place = [i for i, one in enumerate(own) if one is not None]
    of_rows = [one for one in own if one is not None]
    of_traffic = [one for one in theirs if one is not None]
    n_prompts = len({sha256_json(row.prompt) for row in mine})
    if min(n_prompts, len(of_traffic)) < FEWEST:
        problem = (
            f"{n_prompts} prompts of rows and {len(of_traffic)} of traffic; {FEWEST} are needed"
        )
        return list(rows), {"problem": problem}
    names = [sha256_json(mine[i].prompt) for i in by_place]
    asked = [
        sha256_json(prompt) for prompt, one in zip(traffic, theirs, strict=True) if one is not None
    ]
    ratios, auc = _ratios(of_rows, of_traffic, [*names, *asked], seed)
    factors = {mine[i].row_id: ratio for i, ratio in zip(by_place, ratios, strict=True)}
    weighted = [
        replace(row, weight=round(row.weight * factors[row.row_id], 3))
        if row.row_id in factors and row.split == "train"
        else row
        for row in rows
    ]
    return weighted, {
        "n_rows": len(of_rows),
        "n_traffic": len(of_traffic),
        "auc": round(auc, 3),
        "least": round(min(ratios), 3),
        "most": round(max(ratios), 3),
    }


def _ratios(
    rows: Sequence[Any], traffic: Sequence[Any], prompts: Sequence[str], seed: int
) -> tuple[list[float], float]:
    """Clipped density ratios of the rows, 1 on average, and the area under the curve.

    Args:
        prompts: names of the prompts of rows and traffic; equal ones are judged together.
    """
    import numpy as np
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = np.stack([*rows, *traffic])
    is_traffic = np.array([0] * len(rows) + [1] * len(traffic))
    n_components = min(N_COMPONENTS, len(features) // 2, features.shape[1])
    regression = make_pipeline(
        StandardScaler(),
        PCA(n_components, svd_solver="full"),
        LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000),
    )
    folds = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed)
    log_odds = cross_val_predict(
        regression, features, is_traffic, groups=prompts, cv=folds, method="decision_function"
    )
    clipped = np.exp(np.clip(log_odds[: len(rows)], math.log(LEAST), math.log(MOST)))
    ratios = clipped / clipped.mean()
    return [float(one) for one in ratios], float(roc_auc_score(is_traffic, log_odds))


def _features(prompts: Sequence[list[Message]], model: Any, tokenizer: Any) -> list[Any]:
    """Of each prompt the mean of the last layer's hidden states, a vector as wide as the model;
    None where the chat template refuses it."""
    import torch

    found: dict[str, Any] = {}
    names = [sha256_json(prompt) for prompt in prompts]
    for name, prompt in zip(names, prompts, strict=True):
        if name in found:
            continue
        try:
            ids = tokenizer.apply_chat_template(
                with_objects(prompt), add_generation_prompt=True, return_dict=False
            )[-MAX_TOKENS:]
        except Exception:  # a chat template may raise anything, jinja2.TemplateError mostly
            found[name] = None
            continue
        with torch.no_grad():
            inputs = torch.tensor([ids], device=model.device)
            hidden = model.base_model(input_ids=inputs, use_cache=False).last_hidden_state
        found[name] = hidden[0].float().mean(0).cpu().numpy()
    return [found[name] for name in names]


def needs_traffic() -> PawlError:
    """What a training says that was given none."""
    return PawlError(
        "train.domain_weighting was asked for",
        "this training was given no traffic to weigh by",
        "Begin it with 'pawl nightly' or 'pawl train', which ask the store for its newest prompts",
    )
