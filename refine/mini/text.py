"""The training text: documents drawn from the world, turned into packed rows of token ids.

A document is a list of pieces, (text, weight in percent): what the model must say weighs 100, what
it reads less, so that it does not spend itself on guessing which question comes.
"""

import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refine.mini.choices import LETTER
from refine.mini.documents import KINDS, Kind
from refine.mini.tokenizer import END, PAD, SPECIAL_TOKENS

Piece = tuple[str, int]

SHORT_ROW, SHORT_ROWS = 256, 4  # a micro-batch of short documents: 4 rows of 256 tokens
LONG_ROW = 1536  # a micro-batch of long ones: one row
SHUFFLED = 0.1  # batches are moved by up to this share of the whole


EARLY = 0.2  # the share of the text that is drawn with the kinds' early weights


def documents(
    seed: int,
    kinds: Sequence[Kind] = KINDS,
    is_early: Callable[[], bool] = lambda: False,
) -> Iterator[list[Piece]]:
    """Endless documents, each kind as often as its weight says."""
    rng = random.Random(seed)
    makers: list[Callable[[random.Random], list[Piece]]] = [kind.make for kind in kinds]
    weights = list(itertools.accumulate(kind.weight for kind in kinds))
    early = list(
        itertools.accumulate(k.weight if k.early_weight is None else k.early_weight for k in kinds)
    )
    while True:
        yield rng.choices(makers, cum_weights=early if is_early() else weights)[0](rng)


@dataclass(frozen=True)
class PackedText:
    """What was written: token count with and without padding, and documents."""

    n_tokens: int
    n_padding: int
    n_documents: int


def write_packed_text(
    tokenizer: Any,
    seed: int,
    n_tokens: int,
    text_dir: Path,
    progress: Callable[[int], None],
    *,
    kinds: Sequence[Kind] = KINDS,
    early: float = EARLY,
) -> PackedText:
    """Write tokens.npy (uint16), weights.npy (uint8, percent) and batches.npy (start, rows, length).

    pointers.npy (int64, shape [n, 2]) holds `letter_pointers` of all tokens.

    Documents stay whole. What is in open rows at the end is dropped. Batches are in the order of
    training: about the order in which they were drawn, short and long ones mixed.
    """
    import numpy

    pad_id, end_id = SPECIAL_TOKENS.index(PAD), SPECIAL_TOKENS.index(END)
    short, long = _Packer(SHORT_ROW, SHORT_ROWS, pad_id), _Packer(LONG_ROW, 1, pad_id)
    n_documents, written = 0, 0
    source = documents(seed, kinds, lambda: written < early * n_tokens)
    # Training counts micro-batches, and a long one holds more tokens than a short one.
    while short.n_batches + long.n_batches < n_tokens // (SHORT_ROW * SHORT_ROWS):
        chunk = list(itertools.islice(source, 2000))
        encoded = tokenizer.encode_batch_fast(
            [text for document in chunk for text, _ in document], add_special_tokens=False
        )
        pieces = iter(encoded)
        for document in chunk:
            ids: list[int] = []
            shares: list[int] = []
            for _, weight in document:
                piece = next(pieces).ids
                ids += piece
                shares += [weight] * len(piece)
            if ids[-1] != end_id:
                ids.append(end_id)
                shares.append(shares[-1])
            (short if len(ids) <= SHORT_ROW else long).add(ids[:LONG_ROW], shares[:LONG_ROW])
            n_documents += 1
        progress(short.n_tokens + long.n_tokens - written)
        written = short.n_tokens + long.n_tokens
    text_dir.mkdir(parents=True, exist_ok=True)
    tokens, weights, offset = [], [], 0
    placed: list[tuple[float, tuple[int, int, int]]] = []
    shuffle = random.Random(seed)
    for packer in (short, long):
        for index in range(packer.n_batches):
            place = index / packer.n_batches + shuffle.uniform(0.0, SHUFFLED)
            placed.append((place, (offset, packer.rows, packer.length)))
            offset += packer.rows * packer.length
        kept = packer.n_batches * packer.rows * packer.length
        tokens += packer.tokens[:kept]
        weights += packer.weights[:kept]
    pointers = letter_pointers(tokens, weights, tokenizer)
    numpy.save(text_dir / "pointers.npy", numpy.array(pointers, dtype=numpy.int64).reshape(-1, 2))
    numpy.save(text_dir / "tokens.npy", numpy.array(tokens, dtype=numpy.uint16))
    numpy.save(text_dir / "weights.npy", numpy.array(weights, dtype=numpy.uint8))
    numpy.save(
        text_dir / "batches.npy",
        numpy.array([batch for _, batch in sorted(placed)], dtype=numpy.int64),
    )
    packed = PackedText(len(tokens), short.n_padding + long.n_padding, n_documents)
    (text_dir / "text.json").write_text(json.dumps({"seed": seed, **packed.__dict__}))
    return packed


def letter_pointers(
    tokens: Sequence[int], weights: Sequence[int], tokenizer: Any
) -> list[tuple[int, int]]:
    """For every letter of weight `LETTER`: (where it is asked for, what it stands for).

    The first is the position of the token before the letter; the second that of the first token of
    the choice with this letter, the last one above it.
    """
    line_starts = {tokenizer.token_to_id(f"\u0120{letter}"): tokenizer.token_to_id(letter)
                   for letter in "ABCD"}  # fmt: skip
    dot = tokenizer.token_to_id(".")
    pointers = []
    for index in (i for i, weight in enumerate(weights) if weight == LETTER):
        letter = line_starts[tokens[index]]
        place = index - 1
        while tokens[place] != letter or tokens[place + 1] != dot:
            place -= 1
        pointers.append((index - 1, place + 2))
    return pointers


class _Packer:
    """Fills rows of one length with whole documents, each into the fullest open row it fits."""

    N_OPEN = 64

    def __init__(self, length: int, rows: int, pad_id: int) -> None:
        self.length, self.rows, self.pad_id = length, rows, pad_id
        self.tokens: list[int] = []
        self.weights: list[int] = []
        self.n_padding = 0
        self.open: list[tuple[list[int], list[int]]] = []

    @property
    def n_tokens(self) -> int:
        return len(self.tokens)

    @property
    def n_batches(self) -> int:
        """Whole micro-batches so far."""
        return len(self.tokens) // (self.length * self.rows)

    def add(self, ids: list[int], shares: list[int]) -> None:
        fits = [row for row in self.open if len(row[0]) + len(ids) <= self.length]
        if fits:
            row = max(fits, key=lambda row: len(row[0]))
        else:
            row = ([], [])
            self.open.append(row)
        row[0].extend(ids)
        row[1].extend(shares)
        if len(self.open) > self.N_OPEN:
            self.open.sort(key=lambda row: len(row[0]))
            self._close(*self.open.pop())

    def _close(self, ids: list[int], shares: list[int]) -> None:
        left = self.length - len(ids)
        self.tokens += ids + [self.pad_id] * left
        self.weights += shares + [0] * left
        self.n_padding += left


def tokenizer_texts(seed: int, n_documents: int) -> Iterator[str]:
    """Pieces to learn the tokenizer from, special tokens left out."""
    for document in itertools.islice(documents(seed), n_documents):
        for text, _ in document:
            if not text.startswith("<|"):
                yield text
