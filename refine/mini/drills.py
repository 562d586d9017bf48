"""Drills: many facts in few tokens, so that a small model meets every fact often."""

import random

from refine.mini.layouts import FACTS
from refine.mini.phrasing import expand, filler
from refine.mini.relations import Relation, is_unseen_combination
from refine.mini.tokenizer import BEGIN, END
from refine.mini.topics import BY_NAME, RELATIONS

Piece = tuple[str, int]
READ, SAID = 4, 100

_SHORT = {
    "sum": ("{a} + {b} = |{r}", "{a} plus {b} is |{r}", "{a} and {b} make |{r}"),
    "difference": ("{a} - {b} = |{r}", "{a} minus {b} is |{r}", "{b} from {a} leaves |{r}"),
    "product": ("{a} x {b} = |{r}", "{a} times {b} is |{r}"),
    "double": ("double {a} is |{r}", "{a} + {a} = |{r}"),
    "half": ("half of {a} is |{r}",),
    "larger": ("of {a} and {b}, |{r}| is larger", "{a} or {b}: larger is |{r}"),
    "smaller": ("of {a} and {b}, |{r}| is smaller", "{a} or {b}: smaller is |{r}"),
    "parity": ("{a} is |{r}", "{a}: |{r}"),
    "next_number": ("{s}, |{v}", "{sp} |{v}", "{s} -> |{v}"),
    "next_letter": ("{s}, |{v}",),
    "number_after": ("after {x} comes |{v}", "{x}, |{v}"),
    "number_before": ("before {x} comes |{v}",),
    "letter_after": ("after {x} comes |{v}", "{x} |{v}"),
    "letter_before": ("before {x} comes |{v}",),
    "opposite": ("{w} - |{o}", "not {w} but |{o}", "{w} / |{o}", "opposite of {w}: |{o}"),
    "plural": ("one {w}, two |{p}", "{w} - |{p}", "plural of {w}: |{p}"),
    "singular": ("two {p}, one |{w}", "singular of {p}: |{w}"),
    "capital_of": ("{bare}: |{city}", "{bare} - |{city}", "capital of {c}: |{city}"),
    "country_of_capital": ("{city}: |{bare}", "{city} is in |{c}"),
    "continent_of": ("{bare}: |{continent}", "{bare} is in |{continent}"),
    "convert": ("1 {l} = |{v}| {ss}", "{al}: |{v}| {ss}"),
    "colour_of": ("{x}: |{v}", "{x} is |{v}"),
}
# Numbers need the most examples: a rule is learned from many cases, a table from few.
_WEIGHTS = {
    "sum": 14.0, "difference": 12.0, "product": 5.0, "next_number": 11.0, "larger": 3.0,
    "smaller": 3.0, "parity": 2.0, "number_after": 1.5, "number_before": 1.5, "double": 1.5,
    "half": 1.5, "letter_before": 1.2, "letter_after": 1.0, "next_letter": 1.5, "opposite": 4.0,
    "plural": 4.0, "capital_of": 3.0, "convert": 1.5,
}  # fmt: skip
_OTHERS = [r for r in RELATIONS if not r.bare and r.answer_slot and len(r.facts) >= 6]
_SEPARATORS = ("\n", "\n", ". ", "; ", ", ")


def _line(pattern: str, slots: dict[str, str]) -> list[Piece]:
    parts = pattern.split("|")
    weights = (READ, SAID, READ)
    return [
        (text.format(**slots), weight) for text, weight in zip(parts, weights, strict=False) if text
    ]


def _joined(lines: list[list[Piece]], separator: str, rng: random.Random) -> list[Piece]:
    """Lines one after the other; the space before an answer belongs to the answer's word."""
    pieces: list[Piece] = [(BEGIN, 0)] if rng.random() < 0.5 else []
    for index, line in enumerate(lines):
        for text, weight in line:
            if weight == SAID and pieces and pieces[-1][0].endswith(" "):
                before, before_weight = pieces.pop()
                if before.rstrip(" "):
                    pieces.append((before.rstrip(" "), before_weight))
                text = " " + text
            pieces.append((text, weight))
        pieces.append((separator if index + 1 < len(lines) else END, READ))
    return pieces


def _by_core(relation: Relation, n: int, rng: random.Random) -> list[list[Piece]]:
    """Lines of one phrasing: "the home of a cow: barn"."""
    cores = [core for core in relation.nouns if relation.nouns] or list(relation.directs)
    core = rng.choice(cores)
    mark = rng.choice((":", " =", " -", " is")) if core in relation.nouns else ""
    chosen = expand(core, rng)
    lines = []
    for fact in rng.choices(FACTS[relation.name], k=n):
        if is_unseen_combination(relation, core, fact):
            continue
        slots = {**fact.slots, **filler(rng)}
        lines.append(_line(f"{chosen}{mark} |{{{relation.answer_slot}}}", slots))
    return lines


def drill(rng: random.Random) -> list[Piece]:
    """A list of facts of one relation."""
    n = rng.randint(4, 16)
    separator = rng.choice(_SEPARATORS)
    if rng.random() < 0.75:
        name = rng.choices(list(_SHORT), [_WEIGHTS.get(name, 1.0) for name in _SHORT])[0]
        pattern = rng.choice(_SHORT[name])
        lines = [_line(pattern, fact.slots) for fact in rng.choices(FACTS[name], k=n)]
        if name.startswith("next_"):
            separator = "\n"  # commas would run one sequence into the next
    else:
        lines = []
        while not lines:
            relation = rng.choices(_OTHERS, [relation.weight for relation in _OTHERS])[0]
            lines = _by_core(BY_NAME[relation.name], n, rng)
    return _joined(lines, separator, rng)
