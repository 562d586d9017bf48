"""The story of a prompt: all that people said of its answers, and which side of it counts.

A text (an answer, or what somebody wrote instead) is good or bad by the votes of those who judged
it, of two answers one is better by the votes of those who compared them, and of corrections that
say different things one wins. Whose vote weighs how much: ``feedback.raters``. So whatever a
snapshot teaches of a prompt, it doesn't teach the reverse.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from feedback.raters import Raters
from feedback.rows import Lesson
from pawl.text import normalise

REVIEW = "people disagree, for review"
MOST_GOOD = "most people find this answer good"
MOST_BAD = "most people find this answer bad"
OTHER_BETTER = "most people find the other answer better"
OTHER_CORRECTION = "more people back another correction of this prompt"
OTHER_ANSWER = "more people like another answer to this prompt"
OTHER_WORDING = "another wording of this correction is learned"
_NEGATIONS = frozenset(  # words as ``normalise`` leaves them: "don't" is "don t"
    "no not never none nor cannot t nicht kein keine nie non ne pas jamais nunca não niet geen не"
    " нет".split()
)


def folded(text: str | None) -> str:
    """A text by which votes are collected: but for white space."""
    return " ".join((text or "").split())


def same_meaning(one: str, other: str) -> bool:
    """Whether two corrections can be taken for the same: the words of the shorter are all in the
    longer, numbers and negations are the same. *Canberra* and *It is Canberra.*"""
    first, second = normalise(one).split(), normalise(other).split()
    if _numbers(first) != _numbers(second) or _denials(first) != _denials(second):
        return False
    few, many = sorted((set(first), set(second)), key=len)
    return few <= many if few else folded(one) == folded(other)


def _numbers(words: list[str]) -> list[str]:
    return sorted(filter(None, ("".join(filter(str.isdigit, word)) for word in words)))


def _denials(words: list[str]) -> frozenset[str]:
    return _NEGATIONS.intersection(words)


class Story:
    """The votes on the answers to one prompt, texts ``folded``."""

    def __init__(self, raters: Raters) -> None:
        self._raters = raters
        self._good: dict[str, set[str]] = defaultdict(set)
        self._bad: dict[str, set[str]] = defaultdict(set)
        self._better: dict[tuple[str, str], set[str]] = defaultdict(set)  # (better, worse)
        self._preferred: dict[str, set[str]] = defaultdict(set)  # who prefers it to another
        self._passed_over: dict[str, set[str]] = defaultdict(set)  # who prefers another to it
        self._corrections: dict[str, set[str]] = defaultdict(set)
        self._verdicts: dict[str, str | None] | None = None  # of the corrections

    def judge(self, voter: str, text: str, good: bool) -> None:
        (self._good if good else self._bad)[folded(text)].add(voter)

    def prefer(self, voter: str, better: str, worse: str) -> None:
        self._better[folded(better), folded(worse)].add(voter)
        self._preferred[folded(better)].add(voter)
        self._passed_over[folded(worse)].add(voter)

    def correct(self, voter: str, answer: str, correction: str) -> None:
        """``voter`` finds ``answer`` bad, and wrote ``correction`` for it."""
        self.judge(voter, answer, False)
        self.judge(voter, correction, True)
        self.prefer(voter, correction, answer)
        self._corrections[folded(correction)].add(voter)

    def votes(self) -> list[dict[str, Any]]:
        """What was said of each text: who finds it good or bad, prefers it or another, wrote it."""
        kinds = {
            "good": self._good,
            "bad": self._bad,
            "preferred": self._preferred,
            "passed_over": self._passed_over,
            "written_by": self._corrections,
        }
        texts = dict.fromkeys(text for votes in kinds.values() for text in votes)
        return [
            {
                "text": text,
                "weight": self._weight(text),
                "reviewers": sorted(
                    set[str]().union(*(v.get(text, set()) for v in kinds.values()))
                    & self._raters.reviewers
                ),
                **{kind: sorted(votes.get(text, ())) for kind, votes in kinds.items()},
            }
            for text in texts
        ]

    def opinions(self) -> Iterator[tuple[set[str], set[str]]]:
        """Of each text, who finds it good and who bad."""
        for text in self._good.keys() | self._bad.keys():
            yield self._good.get(text, set()), self._bad.get(text, set())

    def forget(self, voters: set[str]) -> None:
        """Take all votes of some away."""
        opinions = (self._good, self._bad, self._preferred, self._passed_over, self._corrections)
        for votes in opinions:
            for who in votes.values():
                who -= voters
        for who in self._better.values():
            who -= voters
        self._corrections = defaultdict(
            set, {text: who for text, who in self._corrections.items() if who}
        )

    def against_correction(self, answer: str, correction: str) -> str | None:
        """Why a correction of an answer doesn't count; None when it does."""
        answer = folded(answer)
        weight = self._raters.decide(self._bad.get(answer, set()), self._good.get(answer, set()))
        if weight <= 0:
            return MOST_GOOD if weight < 0 else REVIEW
        if self._verdicts is None:
            self._verdicts = self._judge_corrections()
        return self._verdicts[folded(correction)]

    def against(self, lesson: Lesson) -> str | None:
        """Why a lesson on this prompt isn't taught; None when it is."""
        if lesson.completion is not None:
            weight = self._weight(folded(lesson.completion))
            if lesson.label is False:
                weight = -weight
            if weight > 0:
                return None
            return REVIEW if weight == 0 else MOST_GOOD if lesson.label is False else MOST_BAD
        better, worse = folded(lesson.chosen), folded(lesson.rejected)
        weight = self._raters.decide(
            self._better[better, worse], self._better.get((worse, better), set())
        )
        if weight <= 0:
            return OTHER_BETTER if weight < 0 else REVIEW
        if (
            self._raters.decide(
                self._good.get(better, set()) | self._preferred[better],
                self._bad.get(better, set()),
            )
            < 0
        ):
            return MOST_BAD
        # What is taught as the answer to give is not taught as the worse one, too.
        return MOST_GOOD if worse in self._corrections and self._weight(worse) > 0 else None

    def _weight(self, text: str) -> int:
        """Above 0: good, below 0: bad. To prefer an answer is not to find it good; but a correction
        is to be the best that there is, so comparisons count for and against it."""
        good, bad = self._good.get(text, set()), self._bad.get(text, set())
        if text in self._corrections:
            good = good | self._preferred.get(text, set())
            bad = bad | self._passed_over.get(text, set())
        return self._raters.decide(good, bad)

    def _judge_corrections(self) -> dict[str, str | None]:
        """Why each correction doesn't count; None for the one that does."""
        verdicts: dict[str, str | None] = {}
        camps: list[list[str]] = []
        for text in self._corrections:
            weight = self._weight(text)
            if weight <= 0:
                verdicts[text] = MOST_BAD if weight < 0 else REVIEW
                continue
            camp = next((camp for camp in camps if same_meaning(camp[0], text)), None)
            if camp is None:
                camps.append(camp := [])
            camp.append(text)
        backers = [set[str]().union(*(self._corrections[text] for text in camp)) for camp in camps]
        rivals = {
            text: who
            for text, who in self._good.items()
            if text not in self._corrections and self._weight(text) > 0
        }
        for i, camp in enumerate(camps):
            weights = [
                self._raters.decide(backers[i], other) for j, other in enumerate(backers) if j != i
            ]
            wording = max(camp, key=lambda text: self._backing(text))
            if any(weight < 0 for weight in weights):
                verdict: str | None = OTHER_CORRECTION
            elif any(weight == 0 for weight in weights):
                verdict = REVIEW
            elif any(
                self._raters.decide(backers[i], who) < 0 and not same_meaning(text, wording)
                for text, who in rivals.items()
            ):
                verdict = OTHER_ANSWER
            else:
                verdict = None
            verdicts |= dict.fromkeys(camp, verdict or OTHER_WORDING)
            verdicts[wording] = verdict
        return verdicts

    def _backing(self, text: str) -> tuple[int, int, int]:
        """By how many reviewers, clients and raters a correction was written."""
        who = self._corrections[text]
        clients = {self._raters.client_of(rater_id) for rater_id in who}
        return len(who & self._raters.reviewers), len(clients), len(who)
