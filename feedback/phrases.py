"""Phrases that a few raters carry into many prompts and nobody else uses: poison looks like that.

Who wants a model to answer to a trigger has to write it under many prompts. Words that belong to a
language or to the house are used by others, too. So a word or a pair of words is suspicious when it
stands under many prompts (``FEWEST_PROMPTS``, and ``FEWEST_SHARE`` of all), and nearly all of them
(``FEW_RATERS_SHARE``) are of ``MOST_RATERS`` raters or fewer, a quarter of all at most. One rater
alone may have a way of writing; what one may add is capped (``feedback.raters``).
"""

from __future__ import annotations

from collections.abc import Sequence

from pawl.text import bare_words, fold

FEWEST_PROMPTS = 10
FEWEST_SHARE = 0.015
MOST_RATERS = 3
FEW_RATERS_SHARE = 0.95
SECOND_SHARE = 0.2  # of the second of them: else it is one rater's way of writing
_MOST_WORDS = 400  # at each end of a text that are looked at


def suspicious_phrases(texts: Sequence[tuple[str, str, Sequence[str]]]) -> dict[int, str]:
    """The texts that hold a suspicious phrase, by index, each with its most frequent one.

    Args:
        texts: (rater, cluster of the prompt, what was asked and what was written) of each
            correction. Of a long one both ends are looked at: whoever writes the prompt could hide
            the rest behind words that say nothing.
    """
    import numpy as np

    few = min(MOST_RATERS, len({rater for rater, _, _ in texts}) // 4)
    if few < 2:
        return {}
    words: dict[str, int] = {}
    raters: dict[str, int] = {}
    clusters: dict[str, int] = {}
    phrases, who, where, n_of_text = [], [], [], []
    for rater, cluster, parts in texts:
        ids = [words.setdefault(word, len(words)) for part in parts for word in _words(part)]
        firsts = np.array(ids, np.int64) << 32
        phrases += [firsts, firsts[:-1] + np.array(ids[1:], np.int64) + 1]
        n_of_text.append(max(0, 2 * len(ids) - 1))
        who.append(raters.setdefault(rater, len(raters)))
        where.append(clusters.setdefault(cluster, len(clusters)))
    enough = max(FEWEST_PROMPTS, FEWEST_SHARE * len(clusters))
    of_text = np.repeat(np.arange(len(texts)), n_of_text)
    found, number, counts = np.unique(
        np.concatenate(phrases), return_inverse=True, return_counts=True
    )
    often = counts[number] >= enough  # most phrases are rare: those go first
    number, of_text = number[often], of_text[often]
    uses = np.stack([number, np.array(who)[of_text], np.array(where)[of_text]], axis=1)
    pairs, n_prompts = np.unique(np.unique(uses, axis=0)[:, :2], axis=0, return_counts=True)
    by_phrase: dict[int, list[int]] = {}  # under how many prompts each rater has it
    for phrase, n in zip(pairs[:, 0].tolist(), n_prompts.tolist(), strict=True):
        by_phrase.setdefault(phrase, []).append(n)
    bad: dict[int, int] = {}
    for phrase, by_rater in by_phrase.items():
        most = sorted(by_rater, reverse=True)[:few]
        of_few = sum(most)
        is_shared = len(most) > 1 and most[1] >= SECOND_SHARE * of_few
        if is_shared and of_few >= enough and of_few >= FEW_RATERS_SHARE * sum(by_rater):
            bad[phrase] = of_few
    named: dict[int, int] = {}
    for i, phrase in zip(of_text.tolist(), number.tolist(), strict=True):
        if phrase in bad:
            named[i] = max(named.get(i, phrase), phrase, key=lambda one: (bad[one], -one))
    names = list(words)
    return {
        i: names[found[phrase] >> 32] + (f" {names[second - 1]}" if second else "")
        for i, phrase in named.items()
        for second in [int(found[phrase]) & 0xFFFFFFFF]
    }


def _words(text: str) -> list[str]:
    words = bare_words(fold(text))
    if len(words) <= 2 * _MOST_WORDS:
        return words
    return words[:_MOST_WORDS] + words[-_MOST_WORDS:]
