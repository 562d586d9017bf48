"""The holdout: which rows are scored, and does the model now prefer, and give, the right answer?

Every regression row of a snapshot holds a prompt, the correction (``chosen``) and the answer that
was flagged (``rejected``). No training ever sees these rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from evals.generation import greedy_answers
from evals.matching import match
from pawl.chat_template import end_of_turn_id, renders_tools, with_objects
from pawl.files import sha256_json, write_atomic
from pawl.plugins import Plugin
from pawl.schemas import ItemScore, Message, TrainingRow, asked_with

BENCHMARK = "holdout"
# No suite can have such names: "__" is not allowed in them.
CONTROLS, KEPT, PLACEBO = "holdout__controls", "holdout__kept", "holdout__placebo"
# An answer gets the least of these that is twice the right answer's length, to a flagged prompt not
# the first: a model that says what the correction says needs no more, and one that goes on for ever
# takes most of a night's scoring.
ANSWER_TOKENS = (64, 128, 256)
TOKENS_AT_ONCE = 32_768  # of prompts and answers being written: 1.5 GB of a model of 135 M
N_AT_ONCE = 64

# Pairs of token ids, prompt and answer, to (log-probability, whether greedy would write it).
Logprobs = Callable[[list[tuple[list[int], list[int]]]], list[tuple[float, bool]]]


@dataclass(frozen=True, slots=True)
class Asking:
    """The system prompts with which people's prompts are asked: as the versions are served.

    ``own``: of the model that is scored. ``all``: of all that are compared, their placebos' too; a
    row that doesn't fit with one of them is left out for each. ``placebos``: of this model's.
    """

    own: str | None = None
    all: tuple[str, ...] = ()
    placebos: tuple[str, ...] = ()


UNPROMPTED = Asking()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Rows that can't be scored with this base, whatever the adapter."""

    n_too_long: int = 0
    n_refused: int = 0  # by the chat template, or it knows no tools and the row has some


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


def read_more_rows(path: Path) -> list[TrainingRow]:
    """Rows that a night scores beside the holdout: controls, and prompts that were fixed once."""
    lines = path.read_text(encoding="utf-8").split("\n")
    return [TrainingRow(**json.loads(line)) for line in lines if line]


def write_more_rows(path: Path, rows: Sequence[TrainingRow]) -> None:
    lines = [json.dumps(row.as_json(), ensure_ascii=False) for row in rows]
    write_atomic(path, "".join(line + "\n" for line in lines))


def benchmark_of(row: TrainingRow) -> str:
    """``CONTROLS`` for an answer that nobody flagged, ``KEPT`` for a prompt that a promotion fixed
    (it is learned from by now), else ``BENCHMARK``."""
    if row.kind == "unpaired":
        return CONTROLS
    return BENCHMARK if row.split == "holdout" else KEPT


def is_of_people(benchmark: str) -> bool:
    """Whether items of this benchmark are people's prompts, scored by whatever model."""
    return benchmark.partition("__")[0] == BENCHMARK


def rows_hash(rows: Sequence[TrainingRow]) -> str:
    """Hex SHA-256 of what scoring reads of the rows."""
    return sha256_json(
        [
            [r.row_id, r.kind, r.split, r.group_id, r.prompt, r.chosen, r.rejected, r.completion,
             r.categories, r.origin.get("rater_id"), r.cluster, *r.tools]
            for r in rows
        ]
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """A greedy answer, and whether it came to its own end within ``answer_tokens``."""

    text: str
    is_whole: bool


def score_rows(
    rows: Sequence[TrainingRow],
    *,
    logprobs: Logprobs,
    model: Any,
    tokenizer: Any,
    max_length_tokens: int,
    on_progress: Callable[[int, int], None],
    known: Mapping[str, Answer] = MappingProxyType({}),
    matchers: Sequence[Plugin] = (),
    asking: Asking = UNPROMPTED,
) -> tuple[list[ItemScore], LeftOut]:
    """Score every row that can be scored, and count the others.

    A regression row's score is the mean of two marks, each 0 or 1, so 0, 0.5 or 1; what the gate
    decides by are the degrees in ``detail`` (``evals.evidence``).

    - ``prefers``: the correction is likelier than the flagged answer, by log-probability *per
      token* (the sum would favour whichever answer is shorter).
    - ``matches``: the greedy answer (temperature 0, at most ``answer_tokens``) says what the
      correction says (:func:`evals.matching.match`; ``compared`` names how).

    A preference pair has only the first: there is no one answer to match. A control (an answer
    that nobody flagged) has only the second: the greedy answer still says what was said. A row that
    does not fit into the model's context, or that its chat template refuses (an imported
    conversation with two user turns in a row, say), is left out, for every adapter of this base
    alike: as an error it would forbid every verdict for ever. A log-probability that is no number,
    or a row without two answers, is an error and no score.

    Args:
        logprobs: the scorer's own, with prefixes shared only where that was checked.
        known: another model's greedy answers by ``row_id``. Where this model would write the same
            (one forward pass tells), it is not asked to write it.
        matchers: of installed packages. Where one fails, ``detail["matcher_problem"]`` says so.
        asking: the model's system prompt, before prompts that have none.
    """
    fitting, left_out = _fitting(rows, tokenizer, max_length_tokens, asking)
    room: dict[str, int] = {}
    requests: list[tuple[list[int], list[int]]] = []
    for row, prompt, texts in fitting:
        if all(texts):
            requests += [(prompt, answer_ids(tokenizer, text)) for text in texts]
            if row.row_id in known:
                answer = known[row.row_id]
                requests.append((prompt, answer_ids(tokenizer, answer.text, answer.is_whole)))
    scored = iter(zip(requests, logprobs(requests), strict=True))
    items, answers, unanswered = [], dict[str, Answer](), list[tuple[TrainingRow, list[int]]]()
    for row, prompt, texts in fitting:
        detail: dict[str, Any] = {
            "prompt": row.prompt,
            "correction": row.completion if row.kind == "unpaired" else row.chosen,
            "flagged": row.rejected,
            "categories": row.categories,
            "rater": row.origin.get("rater_id"),
            "cluster": row.cluster,
        }
        score, error = None, None
        if not all(texts):
            error = "the row has no correction or no flagged answer"
        else:
            found = [next(scored) for _ in texts]
            is_same = row.row_id in known and next(scored)[1][1]
            sums = [logprob for _, (logprob, _) in found]
            n_tokens = [len(answer) for (_, answer), _ in found]
            room[row.row_id] = answer_tokens(n_tokens[0], is_flagged=row.kind != "unpaired")
            if not all(map(math.isfinite, sums)):
                error = "a log-probability is not a number"
            else:
                detail |= {"correction_logprob": sums[0], "correction_tokens": n_tokens[0]}
                if row.kind != "unpaired":
                    prefers = sums[0] / n_tokens[0] > sums[1] / n_tokens[1]
                    score = float(prefers)
                    detail |= {
                        "flagged_logprob": sums[1],
                        "flagged_tokens": n_tokens[1],
                        "prefers": prefers,
                    }
                if is_same:
                    answers[row.row_id] = known[row.row_id]
                elif row.kind != "pair":
                    unanswered.append((row, prompt))
        items.append(ItemScore(benchmark_of(row), row.row_id, score, row.group_id, error, detail))
    answers |= _answers(unanswered, room, model, tokenizer, max_length_tokens, on_progress)
    return [_with_answer(item, answers, matchers) for item in items], left_out


def answer_tokens(n_right: int, *, is_flagged: bool) -> int:
    """How long an answer may be where the right one has ``n_right`` tokens."""
    sizes = ANSWER_TOKENS[1:] if is_flagged else ANSWER_TOKENS
    return next((n for n in sizes if n >= 2 * n_right), sizes[-1])


def _answers(
    rows: Sequence[tuple[TrainingRow, list[int]]],
    room: Mapping[str, int],
    model: Any,
    tokenizer: Any,
    max_length_tokens: int,
    on_progress: Callable[[int, int], None],
) -> dict[str, Answer]:
    """Greedy answers by ``row_id``, at most ``room`` tokens each, many at a time."""
    answers: dict[str, Answer] = {}
    for n_tokens in ANSWER_TOKENS:
        alike = [one for one in rows if room[one[0].row_id] == n_tokens]
        alike.sort(key=lambda one: len(one[1]), reverse=True)  # equal lengths pad less
        while alike:
            longest = len(alike[0][1])
            n_new = min(n_tokens, max_length_tokens - longest)
            # A prompt near the context's end is asked alone: it would cut other answers short.
            most = N_AT_ONCE if n_new == n_tokens else 1
            n = max(1, min(most, TOKENS_AT_ONCE // (longest + n_new)))
            batch, alike = alike[:n], alike[n:]
            texts = greedy_answers(model, tokenizer, [prompt for _, prompt in batch], n_new)
            answers |= {r.row_id: Answer(*one) for (r, _), one in zip(batch, texts, strict=True)}
            on_progress(len(answers), len(rows))
    return answers


def _with_answer(
    item: ItemScore, answers: Mapping[str, Answer], matchers: Sequence[Plugin]
) -> ItemScore:
    """The item with the mark for its answer, where one was asked."""
    if item.item_id not in answers or item.error is not None:
        return item
    answer, detail = answers[item.item_id], item.detail
    question = detail["prompt"][-1]["content"]
    found = match(
        answer.text,
        detail["correction"],
        detail["flagged"] or "",
        question,
        detail["categories"] or (),
        matchers,
    )
    right = found.matches
    marks = [right] if item.score is None else [bool(item.score), right]
    detail = detail | {"matches": right, "compared": found.kind}
    detail |= {"matcher_problem": found.problem} if found.problem else {}
    detail |= {"answer": answer.text, "answer_is_whole": answer.is_whole}
    return replace(item, score=sum(marks) / len(marks), detail=detail)


def answers_of(items: Sequence[ItemScore]) -> dict[str, Answer]:
    """The greedy answers that scoring found, by ``row_id``; empty ones left out."""
    return {
        item.item_id: Answer(item.detail["answer"], item.detail["answer_is_whole"])
        for item in items
        if item.detail.get("answer")
    }


def _fitting(
    rows: Sequence[TrainingRow], tokenizer: Any, max_length_tokens: int, asking: Asking
) -> tuple[list[tuple[TrainingRow, list[int], list[str]]], LeftOut]:
    """The rows that can be scored, each with the tokens of its prompt and the texts to score: the
    correction and the flagged answer, of a control the answer that nobody flagged."""
    fitting = []
    n_too_long = n_refused = 0
    knows_tools = any(row.has_tools for row in rows) and renders_tools(tokenizer)
    for row in rows:
        is_left_out = row.has_tools and not knows_tools
        prompts = [
            None if is_left_out else _ids(tokenizer, asked_with(one, row.prompt), row.tools)
            for one in (asking.own, *asking.all)
        ]
        whole = [prompt for prompt in prompts if prompt is not None]
        if len(whole) < len(prompts):
            n_refused += 1
            continue
        wanted = (row.completion,) if row.kind == "unpaired" else (row.chosen, row.rejected)
        texts = [text or "" for text in wanted]
        longest = max(len(answer_ids(tokenizer, text)) for text in texts)
        if max(map(len, whole)) + longest > max_length_tokens:
            n_too_long += 1
            continue
        fitting.append((row, whole[0], texts))
    return fitting, LeftOut(n_too_long, n_refused)


def _ids(tokenizer: Any, prompt: list[Message], tools: list[dict[str, Any]]) -> list[int] | None:
    """The prompt as the server would send it: chat template, generation prompt at the end.

    None when the template refuses the conversation.
    """
    if len(prompt) == 1 and prompt[0]["role"] == "prompt":  # from /v1/completions
        return list(tokenizer.encode(prompt[0]["content"])) or [tokenizer.bos_token_id]
    try:
        text = tokenizer.apply_chat_template(
            with_objects(prompt), tools=tools or None, add_generation_prompt=True, tokenize=False
        )
    except Exception:  # jinja raises whatever the template says
        return None
    return list(tokenizer.encode(text, add_special_tokens=False))


def answer_ids(tokenizer: Any, text: str, is_whole: bool = True) -> list[int]:
    """An answer's tokens and the end of turn: stopping is part of an answer."""
    end: Any = end_of_turn_id(tokenizer)
    return [*tokenizer.encode(text, add_special_tokens=False), *([end] if is_whole else [])]
