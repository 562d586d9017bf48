"""Which rows are learned from and which are kept to test on: by group, for ever."""

from __future__ import annotations

import hashlib

from pawl.records import Split

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
