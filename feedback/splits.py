"""Which rows are learned from and which are tested on, for ever; which prompts are one."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from feedback.near_duplicates import UnionFind, comparable, neighbours
from pawl.files import sha256_json
from pawl.schemas import Message, Split
from pawl.text import bare_words

TRAIN_FRACTION = 0.8
VALIDATION_FRACTION = 0.1  # the rest is the holdout
# A last turn of fewer words and characters ("Why?", "Go on") says nothing without what came before.
_WORDS_THAT_STAND_ALONE, _CHARACTERS_THAT_STAND_ALONE = 4, 20
# Scripts without blanks, or of a syllable or a word a character, and by how much more than a letter
# of the Latin alphabet one of their characters says.
_DENSE_SCRIPTS = (
    (re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"), 2.0),  # Chinese characters
    (re.compile("[\u3040-\u30ff\uac00-\ud7a3]"), 1.0),  # kana, hangul
    (re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"), 0.5),  # Thai, Lao, Burmese, Khmer
)


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


def question_of(prompt: list[Message]) -> str:
    """What near-duplicates of a prompt are told by: its last turn of the user, whatever system
    prompt and history stand before it. A turn of a few words in mid-conversation is taken with all
    turns before it."""
    at = max((i for i, one in enumerate(prompt) if one["role"] == "user"), default=0)
    text = comparable(prompt[at]["content"]) if prompt else ""
    if _stands_alone(text) or not any(one["role"] == "assistant" for one in prompt[:at]):
        return text
    return comparable(
        " ".join(one["content"] for one in prompt[: at + 1] if one["role"] in ("user", "assistant"))
    )


def _stands_alone(text: str) -> bool:
    n_letters = len(text) + sum(more * len(one.findall(text)) for one, more in _DENSE_SCRIPTS)
    return len(text.split()) >= _WORDS_THAT_STAND_ALONE or n_letters >= _CHARACTERS_THAT_STAND_ALONE


@dataclass(frozen=True, slots=True)
class Place:
    """Where a prompt stands. ``split`` None: its near-duplicates stand on two sides, so it may
    stand on none. ``cluster``: the same for near-duplicates, 16 hex digits."""

    split: Split | None
    cluster: str


def places_of_prompts(
    prompts: Iterable[tuple[str, str, list[Message]]],
    salt: str,
    released: Collection[str] = (),
    placed: Mapping[str, Split | None] | None = None,
) -> dict[str, Place]:
    """The place of each prompt, by ``prompt_key``.

    A prompt stands where the near-duplicates before it stand, the first of a cluster in the split
    of its group. For a test never to be trained on, that side must never change. So it rests on
    nothing that can: what people say is reworded and retracted, and goes to the end of the list by
    that, but what came first of all that was ever appended stays the first, and what comes later
    changes no place. A prompt that joins clusters of two sides is left out, and no later one is
    placed by it.

    Args:
        prompts: (group_id, ``prompt_key``, prompt) of every row ever appended, the first first;
            retracted and reworded ones too.
        released: keys of prompts that have been tested on for the last time, or that training has
            seen: all their cluster is learned from.
        placed: where prompts stood in an earlier snapshot, by key. There they stay, since what
            came before them may have been erased. But where prompts that stood on different sides
            are one by now, or near each other (an earlier version told them by other texts), all
            their clusters are learned from.
    """
    placed = placed or {}
    stood: defaultdict[int, set[Split | None]] = defaultdict(set)  # by text
    keys: dict[str, int] = {}  # which text a prompt is told by
    texts: dict[str, int] = {}
    firsts: list[tuple[str, str]] = []  # of each text: group and key of the prompt it came in first
    for group_id, key, prompt in prompts:
        if key not in keys:
            text = question_of(prompt)
            if text not in texts:
                texts[text] = len(firsts)
                firsts.append((group_id, key))
            keys[key] = texts[text]
            if key in placed:
                stood[texts[text]].add(placed[key])
    mixed: set[int] = set()
    sides: list[Split | None] = []
    clusters = UnionFind(len(firsts))
    for i, near in enumerate(neighbours(list(texts))):
        split = beside = {sides[j] for j in near} - {None}
        if i in stood:
            split = stood[i] - {None}
            if split and len(split | beside) > 1:
                mixed.add(i)
                split = {"train"}
        elif not beside:
            split = {split_of(firsts[i][0], salt)}
        sides.append(next(iter(split)) if len(split) == 1 else None)
        if sides[i] is not None:
            for j in near:
                if sides[j] == sides[i] or (sides[j] is not None and mixed & {i, j}):
                    clusters.join(i, j)
    cluster = [clusters.first(i) for i in range(len(firsts))]
    learned = {cluster[keys[key]] for key in released if key in keys}
    learned |= {cluster[i] for i in mixed}
    found: dict[str, Place] = {}
    for key, i in keys.items():
        side = placed[key] if key in placed else sides[i]
        if side is not None and cluster[i] in learned:
            side = "train"
        found[key] = Place(side, firsts[cluster[i]][1][:16])
    return found
