"""Whether a free answer says what the correction says. One function: :func:`match`.

Matchers of installed packages (``gate.matchers``) are asked first; what follows is Pawl's own.

A wrong yes promotes a wrong answer, a wrong no costs evidence: so whatever the rules can't see to
be the same is not the same. The flagged answer never matches.

Two ideas carry it. *What separates the correction from the flagged answer counts*: accents and
endings are ignored unless the two differ in nothing else, likewise case, order and punctuation.
And *the prompt may be left out*: "Paris." says "The capital of France is Paris." where France's
capital was asked for.

How an answer is compared follows from prompt, correction, flagged answer and categories
(:func:`kind_of`):

- ``code``: Python by its syntax tree, other languages by their tokens, with lines and indentation
  where these make the blocks; in a fence if there is one.
- ``format``: JSON by value, tables by cells, lists by items and marks, and by the items' order
  where they are numbered, the prompt asks for one, or the flagged answer has another.
- ``exact``: the whole text. For spelling, and where only order, case or signs are at stake.
- ``choice``, ``number``, ``contains``: the same facts and no others (:func:`evals.facts.says`). Of
  a choice yes or no alone, or the option's letter, will do where that was at stake.
- ``judge``: a long free text. A judge would see more; here as ``contains``, so that the answer must
  say every word that the correction adds to the prompt.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from evals.facts import OPTION, Item, is_inside, opened, says
from evals.forms import FENCE, SPAN, json_value, list_items, same_code, same_format, table_cells
from evals.signs import same_signs
from evals.words import (
    COPULAS,
    EXCEPTING,
    FAULTY,
    KEYS,
    NO,
    REFUTING,
    YES,
    Token,
    is_denial,
    is_filler,
    is_little,
    same,
    tokens,
)
from pawl.plugins import Plugin, place_of

Kind = Literal["exact", "contains", "number", "choice", "format", "code", "judge"]
MOST_WORDS = 8  # that a correction adds to its prompt, before only a judge can compare freely

_QUOTED = re.compile(
    r"[\"“”«»„‹›]\s*([^\"“”«»„‹›\n]+?)\s*[\"“”«»„‹›]"
    r"|(?<!\w)['‘]([^'‘’\n]+)['’](?!\w)"
)
_LETTER = re.compile(r"(?<![\w'])([A-H])(?![\w'])|^\s*\(?([a-h])\)?[.)]?\s*$")
_NAMES_OPTION = re.compile(
    r"\b(answer|option|choice|letter|réponse|lettre|opción|respuesta|letra|opção|resposta|opzione|"
    r"risposta|lettera)\s+$",
    re.IGNORECASE,
)
_REASONS = frozenset(("as", "because", "car", "perché", "porque", "since"))
_CODE_ASKED = re.compile(
    r"\b(python|javascript|typescript|java|sql|bash|shell|regex|regular expression|regexp|html|css|"
    r"function|funktion|command|befehl|operator|one-liner|code|script|query|git|rust|c\+\+|php|"
    r"fonction|commande|función|comando|código)\b|代码|函数|命令|正则",
    re.IGNORECASE,
)
_CODE_SIGNS = re.compile(
    r"[{}();=<>\[\]\\$|]|==|->|\bdef \b|^\s*(?:git|docker|pip|npm|ls|cd|sudo) "
)
_SENTENCE = re.compile(r"[^.!?？。！\n]+[.!?？。！]*")
_REFUTED = re.compile(
    r"\b(not|n't|never|wrong|incorrect\w*|instead of|falsch|nicht|kein\w*|faux|pas|non|no)\b"
    r"|错|不|误(?!后)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Match:
    """Whether the answer says what the correction says, and how they were compared: a ``Kind``, or
    a matcher's name. ``problem``: of a matcher that failed."""

    matches: bool
    kind: str
    problem: str = ""


def match(
    answer: str,
    correction: str,
    flagged: str,
    prompt: str,
    categories: Sequence[str] = (),
    matchers: Sequence[Plugin] = (),
) -> Match:
    """Compare an answer with the correction; ``prompt`` is the last user message."""
    problem = ""
    for matcher in matchers:
        try:
            if matcher.part.applies(prompt, correction, flagged, categories):
                found = _obvious(answer, correction, flagged)
                if found is None:
                    found = matcher.part.matches(answer, prompt, correction, flagged)
                if isinstance(found, bool):
                    return Match(found, matcher.name)
                problem = f"{matcher}: an answer of type {type(found).__name__}, not bool"
        except (Exception, SystemExit) as err:
            problem = f"{matcher}: {place_of(err)}"
        if problem:  # whether the others apply depends on it
            break
    found_by_rules = _by_rules(answer, correction, flagged, prompt, categories)
    return replace(found_by_rules, problem=problem)


def _obvious(answer: str, correction: str, flagged: str) -> bool | None:
    """What holds whoever compares; None where that is to be seen."""
    if not answer.strip() or answer.strip() == flagged.strip():
        return False
    return True if answer.strip() == correction.strip() else None


def _by_rules(
    answer: str, correction: str, flagged: str, prompt: str, categories: Sequence[str]
) -> Match:
    kind = kind_of(prompt, correction, flagged, categories)
    if (obvious := _obvious(answer, correction, flagged)) is not None:
        return Match(obvious, kind)
    if kind == "code":
        return Match(same_code(answer, correction, flagged), kind)
    if kind == "format":
        return Match(same_format(answer, correction, flagged, prompt), kind)
    item = Item.of(prompt, correction, flagged)
    if kind == "exact":
        return Match(_is_exactly(answer, item, categories), kind)
    if kind == "choice":
        return Match(_chooses(answer, item), kind)
    return Match(says(answer, item), kind)


def kind_of(prompt: str, correction: str, flagged: str, categories: Sequence[str] = ()) -> Kind:
    """How an answer to this prompt is compared; the first rule that fits."""
    if FENCE.search(correction) or (_CODE_ASKED.search(prompt) and _CODE_SIGNS.search(correction)):
        return "code"
    if (
        json_value(correction) is not None
        or table_cells(correction)
        or len(list_items(correction)) > 1
    ):
        return "format"
    if "spelling_or_grammar" in categories:
        return "exact"
    if "format" in categories:
        return "exact"
    item = Item.of(prompt, correction, flagged)
    if item.key is None:
        return "exact"
    if item.options or item.opening is not None:
        return "choice"
    added = item.added()
    if any(token.is_number for token in added):
        return "number"
    if not added:
        return "choice"
    return "judge" if len(added) > MOST_WORDS else "contains"


def _chooses(answer: str, item: Item) -> bool:
    if item.options:
        chosen, named = _option_of(item.correction_text, item), _option_of(answer, item)
        return named is not None and named == chosen and not _is_refuted(answer, named, item)
    if item.opening is None:
        return says(answer, item)
    opening, rest = opened(answer, item.language)
    if opening is not None and opening != item.opening:
        return False
    given = tokens(rest, item.language)
    if opening is not None and item.turns_on_opening():
        if not given:
            return True
        if any(t.folded in YES | NO for t in given) and not item.correction:
            return False
        if not item.telling(given) and item.opening and not any(map(is_denial, given)):
            return True  # "Yes, it is."
    return bool(item.correction) and says(answer, item)


def _option_of(text: str, item: Item) -> str | None:
    """The letter of the one option that the text names, by its letter, its words or both."""
    found = [
        (letter, _may_be_word(place, item.language))
        for place in _LETTER.finditer(text)
        if (letter := (place[1] or place[2]).upper()) in item.options
    ]
    letters = {letter for letter, _ in found}
    given = tokens(text, item.language)
    plain = [t.folded for t in given]
    named = {
        letter
        for letter, option in item.options.items()
        for words in [tokens(option, item.language)]
        if is_inside([t.folded for t in words], plain) and same_signs(given, words, KEYS[1])
    }
    both = letters | named
    if len(both) != 1 or any(map(is_denial, given)):
        return None
    if not named and all(may_be_word for _, may_be_word in found):
        return None
    return both.pop()


def _is_refuted(answer: str, letter: str, item: Item) -> bool:
    """Whether an answer may say that its option isn't it: *A is wrong*, *all but A*, and *A, but
    ...*, which can't be told from that. Not where the wrong one is asked for (*Which is false?
    Which isn't true? Find the mistake.*); words of the option itself (*B) False*) are none of
    this."""

    def words(text: str) -> Counter[str]:
        return Counter(t.folded for t in tokens(text, item.language))

    told = (words(answer) - words(item.options[letter])).keys()
    return bool(told & EXCEPTING) or (bool(told & REFUTING) and not _asks_for_wrong(item))


def _asks_for_wrong(item: Item) -> bool:
    """Whether the question asks so; a prompt without a question mark is one as a whole."""
    sentences = _SENTENCE.findall(OPTION.sub("", item.prompt_text))
    asking = [s for s in sentences if s.rstrip().endswith(("?", "？"))] or sentences
    asked = [t for sentence in asking for t in tokens(sentence, item.language)]
    return any(t.folded in FAULTY or is_denial(t) for t in asked)


def _may_be_word(found: re.Match[str], language: str) -> bool:
    """Whether the letter may be a word of the language, as the article of *A parrot*, and names no
    option (*Option A fits*, *A is right*)."""
    if found[0] not in ("A", "E") or not is_little(tokens(found[0], language)[0], language):
        return False
    after = re.match(r"[^\S\n]+(\w+)", found.string[found.end() :])
    if after is None or after[1].casefold() in COPULAS | _REASONS:
        return False
    return not _NAMES_OPTION.search(found.string[: found.start()])


def _is_exactly(answer: str, item: Item, categories: Sequence[str]) -> bool:
    """Whether the answer is the correction, at the loosest level at which the flagged answer isn't.

    Words without case, then with it, then every sign. Spelling counts case but for the first
    letter, a form that was asked for counts its signs. What introduces the text (*The right form
    is: ...*, quotation marks) does not count. Where the sentence itself isn't at stake, neither
    does what repeats the prompt (*It is spelled restaurant*).
    """
    language, is_form = item.language, "format" in categories
    whole, wrong = tokens(item.correction_text, language), tokens(item.flagged_text, language)
    level = next((level for level in (1, 2) if not same(whole, wrong, KEYS[level])), 3)
    if level == 3 or is_form:
        right = _signs(item.correction_text, level, is_form)
        return any(_signs(text, level, is_form) == right for text in _candidates(answer))
    is_strict = level == 2 or "spelling_or_grammar" in categories

    def sides(found: Sequence[Token]) -> list[tuple[str, str | None]]:
        return [
            (t.zeros if t.is_code else KEYS[2 if is_strict and (i or level == 2) else 1](t), t.unit)
            for i, t in enumerate(found)
        ]

    texts = [tokens(text, language) for text in _candidates(answer)]
    if any(sides(text) == sides(whole) for text in texts):
        return True
    asked, needed = {t.stem for t in item.prompt}, item.telling(whole)
    is_reordered = Counter(t.stem for t in whole) == Counter(t.stem for t in wrong)
    n_asked = sum(t.stem in asked for t in needed)
    stems, prompt = [t.stem for t in whole], [t.stem for t in item.prompt]
    is_quoted = any(is_inside(stems[i : i + 3], prompt) for i in range(len(stems) - 2))
    if is_reordered or is_quoted or n_asked > max(1, len(needed) / 2):
        return False  # the sentence itself is at stake

    def core(found: Sequence[Token]) -> list[tuple[str, str | None]]:
        kept = item.telling(found)
        while kept and (kept[0].stem in asked or is_filler(kept[0], language)):
            kept = kept[1:]
        return sides(kept)

    return any(core(text) == core(whole) != [] and not any(map(is_denial, text)) for text in texts)


def _signs(text: str, level: int, is_form: bool) -> str:
    """The text with its signs, blanks alike; of a form without a full stop at its end."""
    text = " ".join(text.replace("\u2019", "'").split())
    text = text.rstrip(".!") if is_form and level < 3 else text
    return text.casefold() if level == 1 else text


def _candidates(answer: str) -> Iterator[str]:
    """The answer, what follows its introduction, and what it quotes if it quotes one text."""
    text = answer.strip()
    yield text
    introduced = re.match(r"([^:：\n]{1,60})[:：]\s*(\S.*)", text, re.DOTALL)
    quoted = [a or b for a, b in _QUOTED.findall(text)] + SPAN.findall(text)
    for before, part in (
        introduced.groups() if introduced else ("", ""),
        (text.replace(quoted[0], ""), quoted[0]) if len(quoted) == 1 else ("", ""),
    ):
        if part and not _REFUTED.search(before):
            yield part.strip()
