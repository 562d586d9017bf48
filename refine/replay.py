"""Replay rows: what the base says today about everything that nobody complained about.

Prompts come from ``replay_prompts.jsonl`` (everyday chat and simple knowledge, written by
``refine/write_replay_prompts.py``) and from liked answers of the snapshot. The base answers them
itself, greedily, in the training child. Mixed into training, they hold the model where it was.

Chat alone would hold the model's chat only, while benchmarks are plain text. So the base also
writes plain text of its own, from nothing but its start-of-text token: pseudo-rehearsal (Robins
1995, "Catastrophic forgetting, rehearsal and pseudorehearsal").

A replay row that shows the fault again would undo the correction. So one is left out when its
prompt is, or nearly is, a prompt that training corrects, or when the base's answer to it nearly
is an answer that somebody flagged; and a text when a part of it nearly is the one or the other.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pawl.errors import PawlError
from pawl.schemas import Message, TrainingRow
from refine.generation import generate, write_text
from refine.planner import Plan

PROMPTS_PATH = Path(__file__).parent / "replay_prompts.jsonl"

# Overlap from which two texts count as the same question or the same answer. Questions that
# differ in their one telling word ("capital of Austria" / "of Australia") stay far below it.
MAX_PROMPT_OVERLAP = 0.6
MAX_ANSWER_OVERLAP = 0.75
MAX_ANSWER_TOKENS = 256

_STOP_WORDS_LINE = (
    "a an the is are was were be do does did can could will would i you me my your it its of to in "
    "on at for from by with and or that this what which who whom how why when where please tell "
    "say know about there"
)
_STOP_WORDS = frozenset(_STOP_WORDS_LINE.split())


@dataclass(frozen=True, slots=True)
class ReplayRow:
    """A prompt and what the base answers to it, or an answer that somebody liked."""

    prompt: list[Message]
    completion: str
    is_liked: bool = False


def words(text: str) -> list[str]:
    """Lower-case words and numbers of a text, without a possessive 's."""
    return [word.removesuffix("'s") for word in re.findall(r"[\w']+", text.lower())]


@dataclass(frozen=True, slots=True)
class _Read:
    """A text's words in their order, those that weigh something, and what they weigh."""

    order: list[str]
    telling: frozenset[str]
    weight: float


class Overlap:
    """Weighted word overlap: rare words say what a question is about, common ones do not.

    The weight of a word is ln(1 + N / n) with n of the N ``texts`` that hold it (inverse document
    frequency); stop words weigh nothing. ``of`` is the weighted Jaccard index, 0 to 1.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._read: dict[str, _Read] = {}  # each text is compared with thousands of others
        sets = [set(words(text)) for text in texts]
        counts = Counter(word for one in sets for word in one)
        self._n = max(1, len(sets))
        self._counts = counts

    def _weight(self, word: str) -> float:
        if word in _STOP_WORDS:
            return 0.0
        return math.log(1 + self._n / max(1, self._counts[word]))

    def _of(self, text: str) -> _Read:
        if text not in self._read:
            order = words(text)
            telling = frozenset(order) - _STOP_WORDS
            self._read[text] = _Read(order, telling, self._sum(telling))
        return self._read[text]

    def _sum(self, some: Iterable[str]) -> float:
        # Sorted: the order of a sum changes its last digit, and that of a set every run.
        return sum(self._weight(word) for word in sorted(some))

    def of(self, one: str, other: str) -> float:
        """Overlap of two texts; 1.0 for texts that are equal but for case and punctuation."""
        a, b = self._of(one), self._of(other)
        common = a.telling & b.telling
        if not common:
            return float(a.order == b.order)
        if a.order == b.order:
            return 1.0
        shared = self._sum(common)
        return shared / (a.weight + b.weight - shared)

    def nearest(self, text: str, others: Iterable[str]) -> float:
        """The largest overlap of ``text`` with any of ``others``; 0 when there are none."""
        return max((self.of(text, other) for other in others), default=0.0)


def make_replay(
    plan: Plan, base: Any, tokenizer: Any, rows: Sequence[TrainingRow]
) -> tuple[list[ReplayRow], list[list[int]], dict[str, int]]:
    """The replay of a training on ``rows``: chat, texts as token ids, and how many of what.

    The counts name what was kept and what was left out, and why.
    """
    prompts, n_near = draw_prompts(read_prompts(), rows, plan.n_replay_rows, plan.seed)
    answers, n_unfinished = answer(base, tokenizer, prompts)
    liked = liked_rows(rows) if plan.stages[0].kind != "kto" else []
    kept, n_flagged = keep_unflagged([*liked, *answers], rows)
    texts = write_text(base, tokenizer, plan.n_text_rows, plan.seed)
    said = [tokenizer.decode(ids, skip_special_tokens=True) for ids in texts]
    places, n_flagged_texts = keep_unflagged_texts(said, rows)
    return (
        kept,
        [texts[i] for i in places],
        {
            "n_replay": len(kept),
            "n_text": len(places),
            "n_liked": len(liked),
            "n_left_out_near_prompt": n_near,
            "n_left_out_unfinished": n_unfinished,
            "n_left_out_flagged_answer": n_flagged,
            "n_left_out_flagged_text": n_flagged_texts,
            # All texts where the base's start of text is not known.
            "n_text_not_written": plan.n_text_rows - len(texts),
        },
    )


def read_prompts(path: Path = PROMPTS_PATH) -> list[list[Message]]:
    """The shipped prompts, one conversation a line: ``{"prompt": [{"role", "content"}]}``."""
    try:
        return [json.loads(line)["prompt"] for line in path.read_text().splitlines()]
    except (OSError, json.JSONDecodeError, KeyError) as err:
        raise PawlError(
            f"replay prompts {path} can't be read",
            str(err),
            "Write them again: python -m refine.write_replay_prompts",
        ) from err


def draw_prompts(
    prompts: Sequence[list[Message]], rows: Sequence[TrainingRow], n: int, seed: int
) -> tuple[list[list[Message]], int]:
    """Draw ``n`` prompts, leaving out those that nearly equal a corrected prompt of ``rows``.

    Returns:
        The prompts, and how many were left out for being too near.
    """
    corrected = sorted({_last_user(row.prompt) for row in rows if _corrects(row)})
    overlap = Overlap([*(_last_user(prompt) for prompt in prompts), *corrected])
    kept: list[list[Message]] = []
    n_near = 0
    order = list(range(len(prompts)))
    random.Random(seed).shuffle(order)
    for i in order:
        if len(kept) == n:
            break
        if overlap.nearest(_last_user(prompts[i]), corrected) >= MAX_PROMPT_OVERLAP:
            n_near += 1
        else:
            kept.append(prompts[i])
    return kept, n_near


def keep_unflagged(
    replay: Sequence[ReplayRow], rows: Sequence[TrainingRow]
) -> tuple[list[ReplayRow], int]:
    """Leave out replay rows whose answer nearly equals a flagged answer of ``rows``.

    Returns:
        The rows that stay, and how many were left out.
    """
    flagged = sorted({text for row in rows for text in _flagged_answers(row)})
    overlap = Overlap([*(row.completion for row in replay), *flagged])
    kept = [row for row in replay if overlap.nearest(row.completion, flagged) < MAX_ANSWER_OVERLAP]
    return kept, len(replay) - len(kept)


def answer(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[Message]],
    *,
    max_new_tokens: int = MAX_ANSWER_TOKENS,
) -> tuple[list[ReplayRow], int]:
    """Let ``model`` (transformers) answer each prompt greedily.

    Returns:
        The finished answers in the order of the prompts, and how many were left out because they
        were empty or did not end within ``max_new_tokens``: a cut answer teaches to stop early.
    """
    found = generate(model, tokenizer, prompts, max_new_tokens=max_new_tokens)
    rows = [
        ReplayRow(prompt, text)
        for prompt, (text, ended) in zip(prompts, found, strict=True)
        if ended and text
    ]
    return rows, len(prompts) - len(rows)


@dataclass(frozen=True, slots=True)
class _Unwanted:
    """What a text must not nearly say: in as many sentences as it has itself."""

    text: str
    n_sentences: int
    overlap: float


def keep_unflagged_texts(
    texts: Sequence[str], rows: Sequence[TrainingRow]
) -> tuple[list[int], int]:
    """Leave out texts of which a part nearly is a flagged answer or a corrected prompt.

    A short answer ("Sydney.") is looked for together with its prompt too.

    Returns:
        The places of the texts that stay, and how many were left out.
    """
    unwanted = sorted(_unwanted(rows), key=lambda one: (one.text, one.overlap))
    sentences = [_sentences(text) for text in texts]
    overlap = Overlap([*(part for parts in sentences for part in parts),
                       *(one.text for one in unwanted)])  # fmt: skip
    by_word: dict[str, set[int]] = defaultdict(set)
    for i, one in enumerate(unwanted):
        for word in set(words(one.text)) - _STOP_WORDS:
            by_word[word].add(i)

    def is_unwanted(sentence: str, following: Sequence[str]) -> bool:
        found: set[int] = set().union(*(by_word.get(word, ()) for word in words(sentence)))
        return any(
            overlap.of(" ".join([sentence, *following[: one.n_sentences - 1]]), one.text)
            >= one.overlap
            for one in (unwanted[i] for i in sorted(found))
        )

    kept = []
    for i, parts in enumerate(sentences):
        places = range(len(parts))
        if not any(is_unwanted(parts[k], parts[k + 1 :]) for k in places):
            kept.append(i)
    return kept, len(texts) - len(kept)


def _unwanted(rows: Sequence[TrainingRow]) -> set[_Unwanted]:
    found = set()
    for row in rows:
        prompt = _last_user(row.prompt)
        if _corrects(row):
            found.add(_Unwanted(prompt, len(_sentences(prompt)), MAX_PROMPT_OVERLAP))
        for answer in _flagged_answers(row):
            n = len(_sentences(answer))
            found.add(_Unwanted(answer, n, MAX_ANSWER_OVERLAP))
            found.add(_Unwanted(f"{prompt} {answer}", n, MAX_ANSWER_OVERLAP))
    return found


def _sentences(text: str) -> list[str]:
    """The parts between full stops, question and exclamation marks, colons and line ends."""
    return [part for part in re.split(r"[.!?:]\s|\n", text) if part.strip()]


def liked_rows(rows: Sequence[TrainingRow]) -> list[ReplayRow]:
    """Liked answers of the training split: the best replay there is."""
    return [
        ReplayRow(row.prompt, row.completion, is_liked=True)
        for row in rows
        if row.kind == "unpaired" and row.label and row.split == "train" and row.completion
    ]


def _corrects(row: TrainingRow) -> bool:
    return row.kind in ("sft", "pair") or (row.kind == "unpaired" and not row.label)


def _flagged_answers(row: TrainingRow) -> list[str]:
    if row.kind == "pair":
        return [row.rejected or ""]
    if row.kind == "unpaired" and not row.label:
        return [row.completion or ""]
    return []


def _last_user(prompt: Sequence[Message]) -> str:
    return next((m["content"] for m in reversed(prompt) if m["role"] == "user"), "")
