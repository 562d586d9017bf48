"""The holdout: does the model now prefer, and give, the answer that a person wrote?

Every regression row of a snapshot holds a prompt, the correction (``chosen``) and the answer that
was flagged (``rejected``). No training ever sees these rows.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pawl.errors import PawlError
from pawl.files import sha256_json
from pawl.records import ItemScore, TrainingRow

BENCHMARK = "holdout"
MAX_ANSWER_TOKENS = 256
MATCH_F1 = 0.8  # one word of ten may differ on both sides


def scored_rows(snapshot_dir: Path) -> list[TrainingRow]:
    """The holdout rows that say which of two answers is better.

    Regression rows test whether a flagged answer was mended; preference pairs (a choice between
    two answers, or imported) whether the model shares the person's preference.
    """
    from feedback.snapshots import read_rows

    return [
        row
        for row in read_rows(snapshot_dir)
        if row.kind in ("regression", "pair") and row.split == "holdout"
    ]


def rows_hash(rows: Sequence[TrainingRow]) -> str:
    """Hex SHA-256 of what scoring reads of the rows."""
    return sha256_json(
        [[r.row_id, r.kind, r.group_id, r.prompt, r.chosen, r.rejected] for r in rows]
    )


def normalise(text: str) -> str:
    """Text for comparing answers: NFKC, lower case, no punctuation or articles, single blanks.

    As SQuAD's exact match (Rajpurkar et al. 2016), which also drops articles. Signs inside
    numbers stay: ``-3.5`` is not ``35``.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    text = re.sub(r"(?<!\d)[.,](?=\d)|(?<=\d)[.,](?!\d)|(?<!\d)[.,](?!\d)", " ", text)
    text = re.sub(r"-(?!\d)|[^\w\s.,-]", " ", text)
    return " ".join(word for word in text.split() if word not in ("a", "an", "the"))


def word_f1(answer: str, wanted: str) -> float:
    """Harmonic mean of precision and recall over normalised words, in [0, 1]."""
    said, target = normalise(answer).split(), normalise(wanted).split()
    common = sum((Counter(said) & Counter(target)).values())
    return 2 * common / (len(said) + len(target)) if common else 0.0


def matches(answer: str, correction: str, flagged: str) -> bool:
    """Whether a free answer says what the correction says.

    It does when the normalised texts are equal, or when its words agree (F1 of 0.8 or more) with
    the correction and agree less with the flagged answer: *Sydney is the capital* shares most of
    its words with *Canberra is the capital*, but more with the wrong answer.
    """
    if normalise(answer) == normalise(correction):
        return True
    agreement = word_f1(answer, correction)
    return agreement >= MATCH_F1 and agreement > word_f1(answer, flagged)


def score_rows(
    rows: Sequence[TrainingRow],
    *,
    model: Any,
    tokenizer: Any,
    max_length_tokens: int,
    row_tokens: int,
    on_progress: Callable[[int, int], None],
) -> list[ItemScore]:
    """Score every row.

    A regression row's score is the mean of two marks, each 0 or 1, so 0, 0.5 or 1. Both are steps
    and not degrees: a challenger that moves every log-probability by a hair has mended nothing.

    - ``prefers``: the correction is likelier than the flagged answer, by log-probability *per
      token* (the sum would favour whichever answer is shorter).
    - ``matches``: the greedy answer (temperature 0, at most 256 tokens) says what the correction
      says (:func:`matches`).

    A preference pair has only the first: there is no one answer to match. A row that does not fit
    into the model's context is left out, for every adapter of this base alike, and the caller
    counts it: as an error it would forbid every verdict for ever. A log-probability that is no
    number, or a row without two answers, is an error and no score.
    """
    from evals.tree import continuation_logprobs  # torch

    rows = [row for row in rows if _n_tokens(tokenizer, row) <= max_length_tokens]
    prompts = [_ids(tokenizer, row.prompt) for row in rows]
    pairs: list[tuple[list[int], list[int]]] = []
    errors: dict[int, str] = {}
    for index, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
        answers = [_answer_ids(tokenizer, text) for text in (row.chosen, row.rejected)]
        if not row.chosen or not row.rejected:
            errors[index] = "the row has no correction or no flagged answer"
        else:
            pairs += [(prompt, answer) for answer in answers]
    scored = iter(continuation_logprobs(model, pairs, max_tokens=row_tokens))
    items = []
    for index, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
        detail: dict[str, Any] = {
            "prompt": row.prompt,
            "correction": row.chosen,
            "flagged": row.rejected,
            "categories": row.categories,
        }
        error = errors.get(index)
        score = None
        if error is None:
            sums = [next(scored)[0], next(scored)[0]]
            n_tokens = [len(_answer_ids(tokenizer, text)) for text in (row.chosen, row.rejected)]
            if not all(map(math.isfinite, sums)):
                error = "a log-probability is not a number"
            else:
                prefers = sums[0] / n_tokens[0] > sums[1] / n_tokens[1]
                score = float(prefers)
                detail |= {
                    "correction_logprob": sums[0],
                    "flagged_logprob": sums[1],
                    "correction_tokens": n_tokens[0],
                    "flagged_tokens": n_tokens[1],
                    "prefers": prefers,
                }
                if row.kind == "regression":
                    answer = _greedy(model, tokenizer, prompt, max_length_tokens)
                    right = matches(answer, row.chosen or "", row.rejected or "")
                    score = (prefers + right) / 2
                    detail |= {"matches": right, "answer": answer}
        items.append(ItemScore(BENCHMARK, row.row_id, score, row.group_id, error, detail))
        on_progress(index + 1, len(rows))
    return items


def _n_tokens(tokenizer: Any, row: TrainingRow) -> int:
    """Tokens of the prompt with the longer of the two answers."""
    answers = (len(_answer_ids(tokenizer, text)) for text in (row.chosen, row.rejected))
    return len(_ids(tokenizer, row.prompt)) + max(answers)


def _ids(tokenizer: Any, prompt: list[dict[str, str]]) -> list[int]:
    """The prompt as the server would send it: chat template, generation prompt at the end."""
    if len(prompt) == 1 and prompt[0]["role"] == "prompt":  # from /v1/completions
        return list(tokenizer.encode(prompt[0]["content"])) or [tokenizer.bos_token_id]
    try:
        text = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    except Exception as err:  # jinja raises what the template says
        raise PawlError(
            "a holdout prompt does not fit the model's chat template",
            str(err),
            "Use the base model that the feedback was given on",
        ) from err
    return list(tokenizer.encode(text, add_special_tokens=False))


def _answer_ids(tokenizer: Any, text: str | None) -> list[int]:
    """An answer's tokens and the end of turn: stopping is part of an answer."""
    return [*tokenizer.encode(text or "", add_special_tokens=False), tokenizer.eos_token_id]


def _greedy(model: Any, tokenizer: Any, prompt: list[int], max_length_tokens: int) -> str:
    import torch

    ids = torch.tensor([prompt], device=model.device)
    n_new = min(MAX_ANSWER_TOKENS, max_length_tokens - len(prompt))
    if n_new <= 0:
        return ""
    with torch.no_grad():
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=n_new,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=tokenizer.eos_token_id,
        )
    return str(tokenizer.decode(output[0, len(prompt) :], skip_special_tokens=True)).strip()
