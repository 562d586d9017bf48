"""Which rows are learned from and which are tested on, for ever; which prompts are one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pawl.files import sha256_json
from pawl.schemas import Message, Split
from pawl.text import bare_words

TRAIN_FRACTION = 0.8
VALIDATION_FRACTION = 0.1  # the rest is the holdout


def split_of(group_id: str, salt: str) -> Split:
    """The split of a group: 80 % train, 10 % validation, 10 % holdout.

    A salted SHA-256 of the group's id, so that the answer depends on nothing else: not on the
    order of arrival, not on what else is in the store, not on the day.
    """
    digest = hashlib.sha256(f"{salt}\0{group_id}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64  # uniform in [0, 1)
    if place < TRAIN_FRACTION:
        return "train"
    return "validation" if place < TRAIN_FRACTION + VALIDATION_FRACTION else "holdout"


def prompt_key(prompt: list[Message]) -> str:
    """The hash under which two prompts are one: the same but for case, white space and the
    punctuation around words.

    Marks inside a word and signs of arithmetic count: "2+2" is not "2-2". Where in doubt two
    prompts are one ("5!" and "5"): that can cost a row, the opposite would train on a test.
    ``prompt``: messages whose content is text.
    """
    return sha256_json([[one["role"], *bare_words(one["content"])] for one in prompt])


def splits_of_prompts(prompts: Iterable[tuple[str, list[Message]]], salt: str) -> dict[str, Split]:
    """The split of each prompt, by ``prompt_key``: that of the group in which it came first.

    A prompt may be asked in many conversations, on all sides of the split; only rows of the one
    side may be used. For a test never to be trained on, that side must never change. So it rests
    on nothing that can: what people say is reworded and retracted, and goes to the end of the
    list by that, but what came first of all that was ever appended stays the first.

    Args:
        prompts: (group_id, prompt) of every row ever appended, the first first
            (``Store.prompts_in_order``); retracted and reworded ones too.
    """
    splits: dict[str, Split] = {}
    for group_id, prompt in prompts:
        key = prompt_key(prompt)
        if key not in splits:
            splits[key] = split_of(group_id, salt)
    return splits
