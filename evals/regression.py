"""The holdout: which rows are scored, and does the model now prefer, and give, the right answer?

Every regression row of a snapshot holds a prompt, the correction (``chosen``) and the answer that
was flagged (``rejected``). No training ever sees these rows.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.generation import greedy_answers
from pawl.chat_template import end_of_turn_id, renders_tools, with_objects
from pawl.files import sha256_json
from pawl.schemas import ItemScore, Message, TrainingRow
from pawl.text import fold, normalise

BENCHMARK = "holdout"
MAX_ANSWER_TOKENS = 256
MATCH_F1 = 0.8  # of ten words two may differ on both sides, if no fact hangs on them

# Words that may differ between two ways to say one thing. Not here: words that turn a sentence
# round (not, only, all, before, or).
_LITTLE_WORDS = frozenset(
    "is are was were be been being am do does did has have had having can could will would shall "
    "it its this that these those there they them their he she his her him we us our you your i "
    "me my who whom which what when where how why of in on at to for from by with as and so also "
    "too very really just well about please s m d ll re ve".split()
)
_NEGATIONS = frozenset(("not", "no", "never", "none", "nobody", "nothing", "without", "nor"))
_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()
    )
    if word != "one"  # mostly no number: "this one", "one can see"
}

# Pairs of token ids, prompt and answer, to (log-probability, whether greedy would write it).
Logprobs = Callable[[list[tuple[list[int], list[int]]]], list[tuple[float, bool]]]


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


def rows_hash(rows: Sequence[TrainingRow]) -> str:
    """Hex SHA-256 of what scoring reads of the rows."""
    return sha256_json(
        [[r.row_id, r.kind, r.group_id, r.prompt, r.chosen, r.rejected, *r.tools] for r in rows]
    )


def compared_words(text: str) -> list[str]:
    """The words that are compared: normalised, ``can't`` as ``can not``, ``eight`` as ``8`` and
    ``1,000`` as ``1000``."""
    text = fold(text).replace("can't", "can not").replace("cannot", "can not")
    text = re.sub(r"n't\b", " not", text.replace("won't", "will not"))
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    return [_NUMBERS.get(word, word) for word in normalise(text).split()]


def word_f1(answer: str, wanted: str) -> float:
    """Harmonic mean of precision and recall over the words that are compared, in [0, 1]."""
    given, target = compared_words(answer), compared_words(wanted)
    common = sum((Counter(given) & Counter(target)).values())
    return 2 * common / (len(given) + len(target)) if common else 0.0


def matches(answer: str, correction: str, flagged: str, prompt: str) -> bool:
    """Whether a free answer says what the correction says.

    It does when the normalised texts are equal. Else its words must agree (F1 of 0.8 or more) with
    the correction and agree less with the flagged answer, and nothing that a fact hangs on may
    differ: *12 plus 7 is 18* shares most of its words with *12 plus 7 is 19*.

    - Every number of the correction is in the answer, and no number that neither the correction
      nor the prompt has.
    - Every telling word of the correction is in the answer: each word but little ones (*of*,
      *can*, *it*) that the prompt or the flagged answer lacks. A choice (*Canberra or Sydney?*)
      names the right answer in the prompt, so the flagged answer counts too.
    - No telling word of the flagged answer is in the answer, unless the correction or the prompt
      has it: *Canberra or Sydney* is no answer.
    - Both deny or neither does; an opening *yes* or *no* may be missing, not turned round.

    What it can't see: words in another order (*dogs chase cats*). A synonym for a telling word is
    taken for another fact: a wrong no costs evidence, a wrong yes promotes a wrong answer.
    """
    if normalise(answer) == normalise(correction):
        return True
    agreement = word_f1(answer, correction)
    if agreement < MATCH_F1 or agreement <= word_f1(answer, flagged):
        return False
    (opening, words), (wanted_opening, wanted) = _opened(answer), _opened(correction)
    if opening and wanted_opening and opening != wanted_opening:
        return False
    given, wrong = set(compared_words(prompt)), set(_opened(flagged)[1])
    numbers, wanted_numbers = (Counter(w for w in x if _is_number(w)) for x in (words, wanted))
    if wanted_numbers - numbers or set(numbers) - set(wanted_numbers) - given:
        return False
    if sum(w in _NEGATIONS for w in words) != sum(w in _NEGATIONS for w in wanted):
        return False
    telling = _telling(wanted) - (given & wrong)
    return telling <= set(words) and not (_telling(list(wrong)) - set(wanted) - given) & set(words)


def _opened(text: str) -> tuple[str, list[str]]:
    """An opening yes or no that stands apart, empty if there is none, and the words after it."""
    found = re.match(r"\s*(yes|no)\b\s*(?:[,.:;!\u2013\u2014-]|$)", text, re.IGNORECASE)
    opening, end = (found[1].lower(), found.end()) if found else ("", 0)
    return opening, compared_words(text[end:])


def _is_number(word: str) -> bool:
    return any(sign.isdigit() for sign in word)


def _telling(words: Sequence[str]) -> set[str]:
    """The words that can make two sentences say different things, numbers and denials apart."""
    return {w for w in words if w not in _LITTLE_WORDS | _NEGATIONS and not _is_number(w)}


def score_rows(
    rows: Sequence[TrainingRow],
    *,
    logprobs: Logprobs,
    model: Any,
    tokenizer: Any,
    max_length_tokens: int,
    on_progress: Callable[[int, int], None],
) -> tuple[list[ItemScore], LeftOut]:
    """Score every row that can be scored, and count the others.

    A regression row's score is the mean of two marks, each 0 or 1, so 0, 0.5 or 1. Both are steps
    and not degrees: a challenger that moves every log-probability by a hair has mended nothing.

    - ``prefers``: the correction is likelier than the flagged answer, by log-probability *per
      token* (the sum would favour whichever answer is shorter).
    - ``matches``: the greedy answer (temperature 0, at most 256 tokens) says what the correction
      says (:func:`matches`).

    A preference pair has only the first: there is no one answer to match. A row that does not fit
    into the model's context, or that its chat template refuses (an imported conversation with two
    user turns in a row, say), is left out, for every adapter of this base alike: as an error it
    would forbid every verdict for ever. A log-probability that is no number, or a row without two
    answers, is an error and no score.

    Args:
        logprobs: the scorer's own, with prefixes shared only where that was checked.
    """
    fitting, left_out = _fitting(rows, tokenizer, max_length_tokens)
    whole = [(prompt, answers) for row, prompt, answers in fitting if row.chosen and row.rejected]
    scored = iter(logprobs([(prompt, answer) for prompt, both in whole for answer in both]))
    items = []
    for index, (row, prompt, answers) in enumerate(fitting):
        detail: dict[str, Any] = {
            "prompt": row.prompt,
            "correction": row.chosen,
            "flagged": row.rejected,
            "categories": row.categories,
        }
        score, error = None, None
        if not row.chosen or not row.rejected:
            error = "the row has no correction or no flagged answer"
        else:
            sums = [next(scored)[0], next(scored)[0]]
            n_tokens = [len(answer) for answer in answers]
            if not all(map(math.isfinite, sums)):
                error = "a log-probability is not a number"
            else:
                prefers = sums[0] / n_tokens[0] > sums[1] / n_tokens[1]
                score = float(prefers)
                detail |= {
                    "correction_logprob": sums[0],
                    "flagged_logprob": sums[1],
                    "correction_tokens": n_tokens[0],
                    "flagged_tokens": n_tokens[1],
                    "prefers": prefers,
                }
                if row.kind == "regression":
                    n_new = min(MAX_ANSWER_TOKENS, max_length_tokens - len(prompt))
                    [(answer, _)] = greedy_answers(model, tokenizer, [prompt], n_new)
                    question = row.prompt[-1]["content"]
                    right = matches(answer, row.chosen, row.rejected, question)
                    score = (prefers + right) / 2
                    detail |= {"matches": right, "answer": answer}
        items.append(ItemScore(BENCHMARK, row.row_id, score, row.group_id, error, detail))
        on_progress(index + 1, len(fitting))
    return items, left_out


def _fitting(
    rows: Sequence[TrainingRow], tokenizer: Any, max_length_tokens: int
) -> tuple[list[tuple[TrainingRow, list[int], list[list[int]]]], LeftOut]:
    """The rows that can be scored, each with the tokens of its prompt and of both answers."""
    fitting = []
    n_too_long = n_refused = 0
    knows_tools = any(row.has_tools for row in rows) and renders_tools(tokenizer)
    for row in rows:
        is_left_out = row.has_tools and not knows_tools
        prompt = None if is_left_out else _ids(tokenizer, row.prompt, row.tools)
        if prompt is None:
            n_refused += 1
            continue
        answers = [_answer_ids(tokenizer, text) for text in (row.chosen, row.rejected)]
        if len(prompt) + max(map(len, answers)) > max_length_tokens:
            n_too_long += 1
            continue
        fitting.append((row, prompt, answers))
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


def _answer_ids(tokenizer: Any, text: str | None) -> list[int]:
    """An answer's tokens and the end of turn: stopping is part of an answer."""
    return [*tokenizer.encode(text or "", add_special_tokens=False), end_of_turn_id(tokenizer)]
