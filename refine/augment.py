"""Augmentation: corrections under more phrasings of their question, which the base itself writes.

    paraphrase         the base is asked to say the question in other words
    back-translation   the base translates it into German, and that into English

The answer stays the one that somebody wrote. A new row is marked (``origin``: ``synthetic`` says
how it was made, ``of`` which row it is made of) and stands in the training split, in the group and
the cluster of its row: no test, no validation and no fold of a cross-validation is made of it. The
rows with the new ones are a snapshot of their own, so a recipe names it and ``pawl forget`` deletes
it; which one it is stands beside the first one's rows (``augmented.json``).

A phrasing is dropped when it says nothing new, when it has lost numbers or most of the words that
tell, or when it is nearly a prompt that tests.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from feedback.curation import Curated
from feedback.snapshots import MANIFEST, freeze, read_rows
from pawl.client import Client
from pawl.errors import PawlError
from pawl.files import read_json, sha256_json, write_json
from pawl.schemas import TrainingRow
from pawl.settings import TrainSettings
from refine.replay import MAX_PROMPT_OVERLAP, AnswerPrompts, Overlap, ask_server, words

AUGMENTED = "augmented.json"
LEAST_OVERLAP = 0.3  # of a phrasing with its question, see refine.replay.Overlap
MOST_TIMES_AS_LONG = 2.5
MAX_TOKENS = 128
PROMPTS_AT_ONCE = 64
REPHRASE = (
    "Say the following message in other words. Keep its meaning, its names and its numbers. Answer "
    "with the new message alone.\n\n{0}"
)
TO_GERMAN = "Translate the following message into German. Answer with the translation alone.\n\n{0}"
TO_ENGLISH = (
    "Translate the following message into English. Answer with the translation alone.\n\n{0}"
)

Ask = Callable[[Sequence[str]], Sequence[str]]
"""What the base answers to messages, each alone; empty where it came to no end."""


def augment(
    client: Client, train: TrainSettings, base_fingerprint: str, snapshot_dir: Path
) -> Path:
    """The snapshot to train on: with new phrasings where ``train.augment`` names some ways. One
    that has some already stays as it is.

    Raises:
        PawlError: no engine with this base runs, which would write them.
    """
    if not train.augment:
        return snapshot_dir
    key = sha256_json([base_fingerprint, train.augment, train.max_synthetic_share, train.seed])
    path = snapshot_dir / AUGMENTED
    known = read_json(path) if path.exists() else {}
    if key not in known or not (snapshot_dir.parent / known[key] / MANIFEST).exists():
        rows = read_rows(snapshot_dir)
        if any(row.is_synthetic for row in rows):
            return snapshot_dir
        _check_engine(client, base_fingerprint)
        new = phrasings(rows, train, asking(ask_server(client, MAX_TOKENS)))
        known[key] = freeze(Curated([*rows, *new], []), snapshot_dir.parent)["snapshot_id"]
        write_json(path, known)
    return snapshot_dir.parent / str(known[key])


def phrasings(rows: Sequence[TrainingRow], train: TrainSettings, ask: Ask) -> list[TrainingRow]:
    """New rows, ``train.max_synthetic_share`` of the written answers at most; which ones is drawn
    by the seed."""
    written = [row for row in rows if row.split == "train" and row.kind == "sft"
               and not row.has_tools and row.prompt[-1]["role"] == "user"]  # fmt: skip
    share = train.max_synthetic_share
    most = math.floor(share / (1 - share) * len(written))
    drawn = sorted(written, key=lambda row: row.row_id)
    random.Random(train.seed).shuffle(drawn)
    tests = sorted({row.prompt[-1]["content"] for row in rows if row.split != "train"})
    overlap = Overlap([*(row.prompt[-1]["content"] for row in written), *tests])
    known = {sha256_json(row.prompt) for row in rows}
    new: list[TrainingRow] = []
    tries = [(row, way) for row in drawn for way in train.augment]
    for start in range(0, len(tries), PROMPTS_AT_ONCE):
        for way in train.augment:
            batch = [row for row, own in tries[start : start + PROMPTS_AT_ONCE] if own == way]
            said = _WAYS[way]([row.prompt[-1]["content"] for row in batch], ask) if batch else []
            for row, text in zip(batch, said, strict=True):
                prompt = [*row.prompt[:-1], {**row.prompt[-1], "content": text}]
                name = sha256_json(prompt)
                if (
                    len(new) < most
                    and name not in known
                    and _fits(row.prompt[-1]["content"], text, tests, overlap)
                ):
                    known.add(name)
                    new.append(_synthetic(row, prompt, way))
        if len(new) >= most:
            break
    return new


def _synthetic(row: TrainingRow, prompt: list[dict[str, str]], way: str) -> TrainingRow:
    return replace(
        row,
        row_id=sha256_json(["synthetic", way, row.row_id, prompt])[:16],
        prompt=prompt,
        origin={**row.origin, "synthetic": way, "of": row.row_id},
    )


def _fits(asked: str, text: str, tests: Sequence[str], overlap: Overlap) -> bool:
    """Whether a phrasing says the same otherwise, and is nearly no prompt that tests."""
    if words(text) == words(asked) or _numbers(text) != _numbers(asked):
        return False
    if not 1 / MOST_TIMES_AS_LONG <= len(text) / max(1, len(asked)) <= MOST_TIMES_AS_LONG:
        return False
    if overlap.of(asked, text) < LEAST_OVERLAP:
        return False
    return overlap.nearest(text, tests) < MAX_PROMPT_OVERLAP


def _numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d+", text))


def _paraphrased(texts: Sequence[str], ask: Ask) -> Sequence[str]:
    return ask([REPHRASE.format(text) for text in texts])


def _translated_back(texts: Sequence[str], ask: Ask) -> Sequence[str]:
    german = ask([TO_GERMAN.format(text) for text in texts])
    places = [i for i, text in enumerate(german) if text]
    english = ask([TO_ENGLISH.format(german[i]) for i in places]) if places else []
    back = dict(zip(places, english, strict=True))
    return [back.get(i, "") for i in range(len(texts))]


_WAYS = {"paraphrase": _paraphrased, "back-translation": _translated_back}


def asking(answer: AnswerPrompts) -> Ask:
    """What a base that answers prompts so says to messages, each alone."""

    def ask(messages: Sequence[str]) -> list[str]:
        found = answer([[{"role": "user", "content": text}] for text in messages])
        return [one.text.strip().strip('"') if one.is_finished else "" for one in found]

    return ask


def _check_engine(client: Client, base_fingerprint: str) -> None:
    status = client.get("/admin/status")
    if (status["engine"]["state"], status["base"]["fingerprint"]) != ("ready", base_fingerprint):
        raise PawlError(
            "train.augment was asked for",
            "the base writes the phrasings in the running engine, and none runs with this base",
            "Start 'pawl up', or take train.augment out",
            code="no_engine",
        )
