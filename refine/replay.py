"""Replay rows: what the base says to prompts that are not nearly those of a correction.

Mixed into training, they hold the model where it was. Prompts come from ``replay_prompts.jsonl``
and from liked answers of the snapshot. The base answers them greedily: in the running engine
(``fill_answers`` with the server's ``/admin/generate``), else by transformers in the training
child. The answers are kept in a file for the base, so the next night generates only what is new.

A replay row that shows the fault again would undo the correction. So one is left out when its
prompt is, or nearly is, a prompt that training corrects, or when the base's answer to it nearly
is an answer that somebody flagged.
"""

from __future__ import annotations

import json
import logging
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from evals.generation import greedy_answers
from pawl.client import Client
from pawl.errors import PawlError
from pawl.files import sha256_json, write_atomic
from pawl.schemas import Message, TrainingRow
from pawl.text import fold
from refine.planner import Plan

log = logging.getLogger("pawl.replay")

PROMPTS_PATH = Path(__file__).parent / "replay_prompts.jsonl"

# Overlap from which two texts count as the same question or the same answer. Questions that
# differ in their one telling word ("capital of Austria" / "of Australia") stay far below it.
MAX_PROMPT_OVERLAP = 0.6
MAX_ANSWER_OVERLAP = 0.75
# Longer answers are cut, for the sake of more prompts; measured: docs/training-defaults.md.
MAX_ANSWER_TOKENS = 32
WATCH_EVERY = 33  # every 33rd shipped prompt is replayed by no training: its cost is watched there
PROMPTS_AT_ONCE = 64  # of one request to the server, after which the answers so far are kept

_STOP_WORDS_LINE = (
    "a an the is are was were be do does did can could will would i you me my your it its of to in "
    "on at for from by with and or that this what which who whom how why when where please tell "
    "say know about there"
)
_STOP_WORDS = frozenset(_STOP_WORDS_LINE.split())


@dataclass(frozen=True, slots=True)
class ReplayRow:
    """A prompt and what the base answers to it, or an answer that somebody liked.

    An unfinished answer was cut at ``MAX_ANSWER_TOKENS``; its end is not trained.
    """

    prompt: list[Message]
    completion: str
    is_finished: bool = True
    is_liked: bool = False
    tools: list[dict[str, Any]] = field(default_factory=list)
    weight: float = 1.0  # of a liked answer, as its row's

    @property
    def has_tools(self) -> bool:
        """Whether the prompt offers tools, or holds calls."""
        return bool(self.tools) or any(message.get("tool_calls") for message in self.prompt)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the base answered; ``text`` is empty where it could not."""

    text: str
    is_finished: bool


AnswerPrompts = Callable[[Sequence[list[Message]]], Sequence[Answer]]


def words(text: str) -> list[str]:
    """Lower-case words and numbers of a text, without a possessive 's."""
    return [word.removesuffix("'s") for word in re.findall(r"[\w']+", fold(text))]


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
    plan: Plan,
    rows: Sequence[TrainingRow],
    answers_path: Path,
    answer: AnswerPrompts,
    *,
    has_system: bool = True,
) -> tuple[list[ReplayRow], dict[str, int]]:
    """The replay rows of a training on ``rows``, and how many of what.

    Args:
        answers_path: the base's kept answers (``answers_path``), extended by what is lacking.
        answer: answers prompts that are not kept yet.
        has_system: whether the base's chat template has a system role.

    Returns:
        The rows, and counts that name what was kept and what was left out, and why.
    """
    prompts, n_near = draw_prompts(
        to_replay(has_system=has_system), rows, plan.n_replay_rows, plan.seed
    )
    answers, n_generated = fill_answers(answers_path, prompts, answer)
    answered = [
        ReplayRow(prompt, found.text, found.is_finished)
        for prompt, found in zip(prompts, answers, strict=True)
        if found.text
    ]
    n_unanswered = len(prompts) - len(answered)
    if plan.stages[0].kind != "sft":  # TRL's own tokenisation would end a cut answer
        answered = [row for row in answered if row.is_finished]
    liked = liked_rows(rows) if plan.stages[0].kind != "kto" else []
    kept, n_flagged = keep_unflagged([*liked, *answered], rows)
    return kept, {
        "n_replay": len(kept),
        "n_liked": len(liked),
        "n_generated": n_generated,
        "n_left_out_near_prompt": n_near,
        "n_left_out_unanswered": n_unanswered,
        "n_left_out_cut": len(prompts) - n_unanswered - len(answered),
        "n_left_out_flagged_answer": n_flagged,
    }


def to_replay(*, has_system: bool) -> list[list[Message]]:
    """The shipped prompts that a training may replay."""
    prompts = read_prompts(has_system=has_system)
    return [one for i, one in enumerate(prompts) if i % WATCH_EVERY]


def to_watch(
    rows: Sequence[TrainingRow], n: int, seed: int, *, has_system: bool
) -> list[list[Message]]:
    """Draw ``n`` prompts on which is looked at what a training on ``rows`` costs elsewhere: none
    replays them, however many it replays."""
    drawn, _ = draw_prompts(read_prompts(has_system=has_system)[::WATCH_EVERY], rows, n, seed)
    return drawn


def encode_answers(
    encode: Callable[..., tuple[list[int], int]],
    prompts: Sequence[list[Message]],
    answers: Sequence[Answer],
) -> list[list[int]]:
    """Token ids of prompts with the base's answers, where it had one; a cut one has no end."""
    encoded = []
    for prompt, answer in zip(prompts, answers, strict=True):
        if answer.text:
            ids, _ = encode(prompt, answer.text, [])
            encoded.append(ids if answer.is_finished else ids[:-1])
    return encoded


def generate_on_server(
    client: Client,
    plan: Plan,
    rows: Sequence[TrainingRow],
    answers_path: Path,
    on_progress: Callable[[float], None] = lambda fraction: None,
    *,
    has_system: bool,
) -> int:
    """Let the running engine answer what a training on ``rows`` will replay, as far as it is not
    kept yet; how many answers are new."""
    usable = to_replay(has_system=has_system)
    prompts, _ = draw_prompts(usable, rows, plan.n_replay_rows, plan.seed)
    return fill_answers(answers_path, prompts, ask_server(client), on_progress)[1]


def answers_path(replay_dir: Path, base_fingerprint: str) -> Path:
    """Where the greedy answers of this base are kept."""
    sampling = {"temperature": 0, "max_tokens": MAX_ANSWER_TOKENS}
    key = sha256_json({"base": base_fingerprint, "sampling": sampling})
    return replay_dir / f"{key[:16]}.jsonl"


def ask_server(client: Client, max_new_tokens: int = MAX_ANSWER_TOKENS) -> AnswerPrompts:
    """Answers by the base in the running engine, which records none of them."""

    def answer(prompts: Sequence[list[Message]]) -> list[Answer]:
        body = {"prompts": list(prompts), "max_tokens": max_new_tokens}
        found = client.post("/admin/generate", body)["answers"]
        return [Answer(one["text"], one["is_finished"]) for one in found]

    return answer


def answer_prompts(model: Any, tokenizer: Any, max_new_tokens: int) -> AnswerPrompts:
    """Answers by a transformers model, where no engine runs."""

    def answer(prompts: Sequence[list[Message]]) -> list[Answer]:
        encoded = [
            tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
            for prompt in prompts
        ]
        found = greedy_answers(model, tokenizer, encoded, max_new_tokens)
        return [Answer(text, is_finished) for text, is_finished in found]

    return answer


def fill_answers(
    path: Path,
    prompts: Sequence[list[Message]],
    answer: AnswerPrompts,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> tuple[list[Answer], int]:
    """The answer to each prompt, from ``path`` where it is kept there.

    What is lacking is asked of ``answer`` in batches and kept after each: the file is replaced as
    a whole, so that a killed night loses one batch.

    Returns:
        The answers in the order of the prompts, and how many of them are new.
    """
    known = _read_answers(path)
    keys = [sha256_json(prompt) for prompt in prompts]
    lacking = [i for i, key in enumerate(keys) if key not in known]
    for start in range(0, len(lacking), PROMPTS_AT_ONCE):
        batch = lacking[start : start + PROMPTS_AT_ONCE]
        found = answer([prompts[i] for i in batch])
        known |= {keys[i]: one for i, one in zip(batch, found, strict=True)}
        lines = (
            json.dumps({"prompt": key, "text": one.text, "is_finished": one.is_finished})
            for key, one in known.items()
        )
        write_atomic(path, "".join(f"{line}\n" for line in lines))
        on_progress((start + len(batch)) / len(lacking))
    return [known[key] for key in keys], len(lacking)


def _read_answers(path: Path) -> dict[str, Answer]:
    """Kept answers by the hash of their prompt; a damaged line counts as not there."""
    answers: dict[str, Answer] = {}
    lines = path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            kept = json.loads(line)
            answers[kept["prompt"]] = Answer(str(kept["text"]), bool(kept["is_finished"]))
        except (ValueError, KeyError, TypeError):
            log.warning("%s line %d is damaged: its prompt is answered again", path, number)
    return answers


def has_system_role(tokenizer: Any) -> bool:
    """Whether a chat template writes a system message; one that doesn't raises, or drops it."""
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
    try:
        return "Be brief." in tokenizer.apply_chat_template(prompt, tokenize=False)
    except jinja2.TemplateError:
        return False


def read_prompts(path: Path = PROMPTS_PATH, *, has_system: bool = True) -> list[list[Message]]:
    """The shipped prompts, one conversation a line: ``{"prompt": [{"role", "content"}]}``; without
    ``has_system`` those with no system message (1,895 of 2,101)."""
    try:
        lines = path.read_text("utf-8").splitlines()
        prompts: list[list[Message]] = [json.loads(line)["prompt"] for line in lines]
        return [one for one in prompts if has_system or one[0]["role"] != "system"]
    except (OSError, json.JSONDecodeError, KeyError) as err:
        raise PawlError(
            f"replay prompts {path} can't be read",
            str(err),
            "Install Pawl again",
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


def liked_rows(rows: Sequence[TrainingRow]) -> list[ReplayRow]:
    """Liked answers of the training split: the best replay there is."""
    return [
        ReplayRow(row.prompt, row.completion, is_liked=True, tools=row.tools, weight=row.weight)
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
