"""Which texts say nearly the same, by the overlap of their characters (MinHash, then exactly).

Two texts are near-duplicates when the Jaccard index of their sets of three-character shingles (of
each word, its ends included) is ``SIMILAR`` or more, with case and the punctuation around words
folded; ``SIMILAR_BUT_LONGER`` is enough where the one holds ``HELD`` of the other, as with a
greeting and thanks around it. Where their digits differ it must be ``SIMILAR_BUT_FOR_NUMBERS``,
since a number is mostly the whole difference ("12 + 5", "13 + 5"). Characters rather than words: a
typing error costs little, short words weigh less than long ones, and languages without blanks
work. The order of words does not count.

What a text is similar to depends on the texts before it alone, so texts that come later change
nothing. The signatures are datasketch's; the buckets are ours, since a library's index gives back
whole buckets, and texts made by one template would be compared each with each: here each is
compared with the first and the last ``WINDOW`` of a bucket, and exactly with the ``MOST_EXACT``
nearest, so that cost grows with the number of texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pawl.text import bare_words, fold

SIMILAR = 0.7  # "capital of France", "capital of Spain": 0.62; "..., please?": 0.77
SIMILAR_BUT_LONGER, HELD = 0.55, 0.82  # where words are changed and none added: 0.69 and 0.82
SIMILAR_BUT_FOR_NUMBERS = 0.95  # one digit in a hundred characters or more
WINDOW = 8
MOST_EXACT = 16
N_BANDS, N_ROWS = 32, 4  # a pair at 0.55 shares a bucket with probability 0.95, at 0.7 0.9998
MOST_SHINGLES = 512  # those of the smallest hashes: long texts are compared by a sample
# By the signature, whose standard error is 0.04, and which of long texts says too little: it is of
# samples that reach differently far (0.38 of one that holds 0.55 of the other). Signatures of whole
# texts would take 3 to 9 times as long at 1,000 words, and find 3 in 200 more.
_LIKELY = 0.35
_SEED = 1


def comparable(text: str) -> str:
    """A text as it is compared; never empty unless the text is."""
    return " ".join(bare_words(fold(text))) or fold(text).strip()


def neighbours(texts: Sequence[str], n_known: int = 0) -> list[list[int]]:
    """For each text the indices of earlier near-duplicates, the nearest first.

    Args:
        texts: as ``comparable`` gives them, all different.
        n_known: of the first so many none is looked for, which saves a quarter of the time.
    """
    import numpy as np
    from datasketch import MinHash

    shingles = [_shingles(text) for text in texts]
    digits = ["".join(char for char in text if char.isdigit()) for text in texts]
    signatures = np.empty((len(texts), N_BANDS * N_ROWS), dtype=np.uint32)
    hashes = MinHash.generator(shingles, num_perm=N_BANDS * N_ROWS, seed=_SEED, hashfunc=_as_it_is)
    for i, minhash in enumerate(hashes):
        signatures[i] = minhash.hashvalues
    buckets: dict[tuple[int, bytes], list[int]] = {}
    found: list[list[int]] = []
    for i in range(len(texts)):
        candidates: set[int] = set()
        for band, part in enumerate(signatures[i].reshape(N_BANDS, N_ROWS)):
            bucket = buckets.setdefault((band, part.tobytes()), [])
            if i >= n_known:
                candidates.update(bucket[:WINDOW], bucket[-WINDOW:])
            bucket.append(i)
        if i < n_known:
            found.append([])
            continue
        earlier = np.array(sorted(candidates), dtype=np.int64)
        estimates = (signatures[earlier] == signatures[i]).mean(axis=1)
        nearest = np.argsort(-estimates, kind="stable")[:MOST_EXACT]
        found.append([
            j for j in earlier[nearest[estimates[nearest] >= _LIKELY]].tolist()
            if _is_near(shingles[i], shingles[j], digits[i] == digits[j])
        ])  # fmt: skip
    return found


def clusters(texts: Sequence[str]) -> list[int]:
    """The same number for texts that are nearly one, directly or over others."""
    distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    sets = UnionFind(len(distinct))
    for i, near in enumerate(neighbours(list(distinct))):
        for j in near:
            sets.join(i, j)
    return [sets.first(distinct[text]) for text in texts]


class UnionFind:
    """Sets of the numbers below ``n``, at first each by itself."""

    def __init__(self, n: int) -> None:
        self._parents = list(range(n))

    def first(self, i: int) -> int:
        """The smallest number of the set that holds ``i``."""
        while self._parents[i] != i:
            self._parents[i] = self._parents[self._parents[i]]
            i = self._parents[i]
        return i

    def join(self, i: int, j: int) -> None:
        """Make one set of the two that hold these."""
        one, other = sorted((self.first(i), self.first(j)))
        self._parents[other] = one


def _as_it_is(value: Any) -> Any:
    return value


def _shingles(text: str) -> Any:
    """32-bit hashes of a text's shingles, each once, sorted."""
    import numpy as np

    codes = np.frombuffer(f" {text or ' '} ".encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    parts = codes[:-2], codes[1:-1], codes[2:]
    mixed = np.zeros(len(codes) - 2, dtype=np.uint64)
    for part in parts:
        mixed = (mixed ^ part) * np.uint64(0x9E3779B97F4A7C15)  # as Fibonacci hashing does
        mixed ^= mixed >> np.uint64(29)
    return np.unique(mixed[(parts[1] != ord(" ")) | (len(mixed) == 1)] >> np.uint64(32))[
        :MOST_SHINGLES
    ]


def _is_near(one: Any, other: Any, same_digits: bool) -> bool:
    import numpy as np

    for sample in (one, other):
        if len(sample) == MOST_SHINGLES:  # it knows nothing of what is above its last hash
            one, other = one[one <= sample[-1]], other[other <= sample[-1]]
    common = len(np.intersect1d(one, other, assume_unique=True))
    jaccard = common / (len(one) + len(other) - common)
    if not same_digits:
        return jaccard >= SIMILAR_BUT_FOR_NUMBERS
    held = common / max(1, min(len(one), len(other)))
    return jaccard >= SIMILAR or (jaccard >= SIMILAR_BUT_LONGER and held >= HELD)
