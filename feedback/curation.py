"""From what people said to what may be learned, or to a counted reason why not.

    correction                  -> SFT row and pair (chosen = correction, rejected = the answer);
                                   in the holdout one regression row instead
    preferred over another      -> pair
    thumb, categories           -> unpaired row (an error category without a thumb is a thumb down)
    anything else               -> a rejection with its reason

Nothing here writes but the salt, once: the same store gives the same rows. In this order:

1. What counts of a person's words on an answer: ``feedback.current``. A correction stays when the
   thumb is changed later, and under a thumb up it is a counted rejection, since the two contradict
   each other.
2. Where each prompt stands, with its near-duplicates: ``feedback.splits.places_of_prompts``. All
   rows of a prompt stand there, whichever conversation they come from.
3. What looks like the work of a brigade is put aside (``feedback.raters``, ``feedback.phrases``),
   and what a reviewer put aside (``feedback.reviews``); what was said later in a conversation
   with an answer that was put aside as private is rejected.
4. All that is left of one prompt is one story, decided by vote: ``feedback.stories``. An answer
   that ran into its token limit is not learned as it is.
5. Each content once; nobody owns more than a share of the rows, nor of those that test tonight
   (``feedback.raters.beyond_share``), and each row gets a weight (``feedback.balance``).
6. What is new tests before it is learned from: ``feedback.fresh.assign``.

Over 400 lines because the rules and their order are read in one place.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from feedback.balance import weighted
from feedback.fresh import assign, cluster_of, clusters_to_test, is_test
from feedback.phrases import suspicious_phrases
from feedback.raters import FEWEST_RATERS, Raters, beyond_share, distrusted, quarantined
from feedback.reviews import REASONS, Answered
from feedback.rows import Lesson, problem_of, problem_of_prompt, same_text
from feedback.splits import Place, places_of_prompts, prompt_key
from feedback.store import Store
from feedback.stories import Story, folded
from feedback.targets import Targets, cut_off, usual_words_of
from pawl.schemas import PLAIN_ROLES, Completion, Feedback, Message, Split, TrainingRow
from pawl.settings import Settings

Rejection = tuple[str, dict[str, Any]]  # reason, origin
Aside = tuple[str, str]  # why something is put aside, and the figures of it
Answers = dict[tuple[str, int], Completion]
Voiced = tuple[Feedback, Completion, str]  # with the key of the prompt
_NOWHERE = Place(None, "")
UNLEARNED = "a conversation that is not to be learned from"
CALLS = "the answer calls a tool, and only texts are learned"
TWO_SIDES = "near-duplicates of this prompt stand on two sides of the split"
DISTRUSTED = "quarantine: this rater disagrees with reviewers"
BASE_ANSWERS = "another base's fault: this one answers as corrected"
PRIVATE = "the conversation holds an answer that a reviewer put aside as private"
CHANGED = "its record says something else in a newer file"
OVER_SHARE = "more than one rater's share of the rows"


@dataclass(frozen=True, slots=True)
class Curated:
    """Training rows with unique content, and what was left out with its reason and origin.

    ``places`` and ``stories``, by the key of the prompt, are what decided."""

    rows: list[TrainingRow]
    rejected: list[Rejection]
    places: Mapping[str, Place] = field(default_factory=dict, compare=False)
    stories: Mapping[str, Story] = field(default_factory=dict, compare=False)

    @property
    def rejections(self) -> dict[str, int]:
        """How many were left out, by reason."""
        return dict(sorted(Counter(reason for reason, _ in self.rejected).items()))


def curate(
    store: Store,
    settings: Settings,
    *,
    released: Collection[str] = (),
    without: Collection[str] = (),
    mended: Collection[str] = (),
    known: Collection[str] = (),
) -> Curated:
    """Turn all current feedback and all imported rows into training rows.

    Feedback comes before imports and earlier before later: of exact duplicates the first stays.

    Args:
        released: keys (``feedback.splits.prompt_key``) of prompts that the gate has tested on for
            the last time, or that training has seen: their clusters are learned from.
        without: raters that are left out as if they had never said anything.
        mended: ``row_id`` of pairs of a correction that the base has no need of: it answers so.
        known: keys of prompts that are no fresh evidence; of the others some test first, and what
            else is said of these waits (``feedback.fresh``).
    """
    salt = store.split_salt(settings.split_salt)
    raters = Raters.of(store.access, settings.curation.front_ends)
    said = [
        row for row in store.current_feedback(include_retracted=True) if row.rater_id not in without
    ]
    answers = _answers(store, said)
    unlearned = store.conversations.unlearned()
    keys = {place: _key(answer.messages) for place, answer in answers.items()}
    imported = [
        (_key(lesson.prompt), lesson, counts)
        for lesson, counts in store.all_imported()
        if lesson.origin.get("rater_id") not in without
    ]
    lessons = [(key, lesson) for key, lesson, counts in imported if counts]
    # Read last: whatever came in meanwhile, each lesson's prompt is among these.
    in_order = _in_order(store, answers, keys, [row[:2] for row in imported], without)
    placed = {} if without else store.places()
    stand = places_of_prompts(in_order, salt, released, placed)
    places = defaultdict(lambda: _NOWHERE, stand)
    treatments = {one.key: one.treatment for one in store.categories()}
    rejected: list[Rejection] = [
        (CHANGED, _left_out(lesson, "")) for _, lesson, counts in imported if not counts
    ]
    voiced: list[Voiced] = []
    for feedback in said:
        answer = answers.get(_answer_of(feedback))
        reason = _says_nothing(feedback, answer, treatments)
        if reason is None and unlearned and _is_unlearned(feedback, answers, unlearned):
            reason = UNLEARNED
        if reason is not None or answer is None:
            rejected.append((reason or "unknown completion", _origin(feedback)))
        else:
            voiced.append((feedback, answer, keys[_answer_of(feedback)]))
    aside = _put_aside(voiced, places, raters)
    by_reviewers = store.reviews.put_aside()
    for feedback, _, _ in voiced:
        if _answer_of(feedback) in by_reviewers:
            why, by = by_reviewers[_answer_of(feedback)]
            aside[feedback.feedback_id] = f"put aside by a reviewer: {REASONS[why]}", by
    private = _private(store, by_reviewers)
    # Preferring another answer to one that was put aside teaches nothing of it either.
    compared = {one: answer for one, answer in answers.items() if one not in by_reviewers}
    stories = _stories(voiced, aside, compared, lessons, raters)
    aside |= _distrusted(voiced, stories, raters)
    proposed: list[tuple[str, Lesson]] = []
    for feedback, answer, key in voiced:
        reason, found = aside.get(feedback.feedback_id, (None, ""))
        reason = reason or _teaches_nothing(feedback, answer, treatments, places[key].split)
        if reason is None and feedback.correction is not None:
            reason = stories[key].against_correction(answer.completion, feedback.correction)
        if reason is not None:
            rejected.append((reason, _origin(feedback) | ({"found": found} if found else {})))
            continue
        lessons_of = _lessons(feedback, answer, answers, by_reviewers, places[key].split)
        if any(isinstance(one, Lesson) and one.row_id in mended for one in lessons_of):
            rejected.append((BASE_ANSWERS, _origin(feedback)))
            continue
        for lesson in lessons_of:
            if isinstance(lesson, str):
                rejected.append((lesson, _origin(feedback)))
            else:
                proposed.append((key, lesson))
    targets = Targets.of(settings)
    targets.usual_words = usual_words_of(
        one for one in answers.values() if (one.conversation_id, one.rater_id) not in unlearned
    )
    kept: dict[str, _Kept] = {}
    for key, lesson in [*proposed, *lessons]:
        reason, found = problem_of(lesson), ""
        if reason is None and _carries(lesson.prompt, private):
            reason = PRIVATE
        if reason is None:
            reason = TWO_SIDES if places[key].split is None else stories[key].against(lesson)
        if reason is None and (finding := targets.reason_against(lesson)) is not None:
            reason, found = finding.reason, finding.found
        if reason is None and lesson.row_id in kept:
            kept[lesson.row_id].lessons.append(lesson)
            reason = "an exact duplicate"
        if reason is None:
            kept[lesson.row_id] = _Kept(places[key], [lesson])
        else:
            rejected.append((reason, _left_out(lesson, found)))
    most = settings.curation.max_share
    over_share, tested = _beyond_share(kept, raters, most, salt, known)
    for row_id in over_share:
        gone = kept.pop(row_id)
        found = f"rows that only {', '.join(sorted(gone.voters))} says; a share is {most:.0%}"
        rejected.append((OVER_SHARE, _left_out(gone.lessons[0], found)))
    owners = [raters.owner_of(one.voters) for one in kept.values()]
    rows, waiting = assign(weighted([one.row for one in kept.values()], owners), tested)
    return Curated(rows, rejected + waiting, stand, stories)


def _left_out(lesson: Lesson, found: str) -> dict[str, Any]:
    """The origin of a rejected lesson; ``row_id``: which row it would be, or is already."""
    return {**lesson.origin, "row_id": lesson.row_id} | ({"found": found} if found else {})


@dataclass(frozen=True, slots=True)
class _Kept:
    """A content that is learned, where it stands, and all lessons that say it."""

    place: Place
    lessons: list[Lesson]

    @property
    def voters(self) -> set[str]:
        """The raters who say it; none where an import does, which somebody chose to trust."""
        if any("feedback_id" not in lesson.origin for lesson in self.lessons):
            return set()
        return {str(lesson.origin["rater_id"]) for lesson in self.lessons}

    @property
    def row(self) -> TrainingRow:
        assert self.place.split is not None
        names = (name for lesson in self.lessons for name in lesson.categories)
        lesson = replace(self.lessons[0], categories=list(dict.fromkeys(names)))
        return replace(lesson.in_split(self.place.split), cluster=self.place.cluster)


def _key(prompt: list[Message]) -> str:
    """The prompt's key; empty where the messages can't be trained on."""
    return prompt_key(prompt) if problem_of_prompt(prompt) is None else ""


def _answer_of(feedback: Feedback) -> tuple[str, int]:
    return feedback.completion_id, feedback.choice_index


def _answers(store: Store, said: Sequence[Feedback]) -> Answers:
    wanted = {one.completion_id for one in said}
    wanted |= {one.preferred_over for one in said if one.preferred_over}
    found = store.completions(completion_ids=sorted(wanted)) if wanted else []
    answers: Answers = {}
    for one in found:
        answers.setdefault((one.completion_id, one.choice_index), one)
    return answers


def _in_order(
    store: Store,
    answers: Answers,
    keys: Mapping[tuple[str, int], str],
    lessons: Sequence[tuple[str, Lesson]],
    without: Collection[str],
) -> Iterator[tuple[str, str, list[Message]]]:
    """Group, key and prompt of every row ever appended, the first first."""
    imported = {(one.row_id, one.origin.get("rater_id")): (key, one) for key, one in lessons}
    for rater_id, row_id, choice_index in store.first_mentions():
        if rater_id in without:
            continue
        if choice_index is None:
            key, lesson = imported.get((row_id, rater_id), ("", None))
            if lesson is not None and key:  # else it came meanwhile, or can't be trained on
                yield lesson.group_id, key, lesson.prompt
        elif key := keys.get((row_id, choice_index), ""):
            answer = answers[row_id, choice_index]
            yield answer.conversation_id, key, answer.messages


def _is_unlearned(
    feedback: Feedback, answers: Answers, unlearned: Collection[tuple[str, str]]
) -> bool:
    """Whether the answer, or the one it was preferred to, is of a conversation whose person said
    that nothing is to be learned from it."""
    places = [_answer_of(feedback)]
    if feedback.preferred_over is not None:
        places.append((feedback.preferred_over, feedback.preferred_over_choice_index))
    found = (answers.get(place) for place in places)
    return any(
        one is not None and (one.conversation_id, one.rater_id) in unlearned for one in found
    )


def _says_nothing(
    feedback: Feedback, answer: Completion | None, treatments: dict[str, str]
) -> str | None:
    """Why this feedback is no vote either; None when it is one."""
    if feedback.retracted:
        return "retracted"
    if answer is None:
        return "unknown completion"
    if any(message.get("role") in PLAIN_ROLES for message in answer.messages):
        return "a plain completion, not a chat"
    if feedback.thumb == "up" and feedback.correction is not None:
        return "thumb up and a correction contradict each other"
    if feedback.thumb == "up" and feedback.categories:
        return "thumb up and an error category contradict each other"
    if feedback.correction is not None and not feedback.correction.strip():
        return "the correction is empty"
    if feedback.correction is not None and same_text(feedback.correction, answer.completion):
        return "the correction equals the answer"
    if any(treatments.get(key) == "ignore" for key in feedback.categories):
        return "a category that is ignored"
    if _is_lone(feedback) and _good(feedback) is None:
        return "a comment alone"
    return None


def _teaches_nothing(
    feedback: Feedback, answer: Completion, treatments: dict[str, str], split: Split | None
) -> str | None:
    """Why nothing is learned from a vote; None when something may be."""
    if answer.status != "complete":
        return f"the answer was cut short ({answer.status})"
    wanted = {treatments.get(key, "review") for key in feedback.categories}
    if "holdout_only" in wanted and split != "holdout":
        return "a category for the holdout only, in a training group"
    if "review" in wanted and feedback.correction is None:
        return "a category that needs a correction first"
    # Whoever liked it did not like where it breaks off; whoever did not may have meant just that.
    if _is_lone(feedback) and (reason := cut_off(answer)) is not None:
        return reason
    problem = problem_of_prompt(answer.messages)
    return TWO_SIDES if problem is None and split is None else problem


def _is_lone(feedback: Feedback) -> bool:
    return feedback.correction is None and feedback.preferred_over is None


def _good(feedback: Feedback) -> bool | None:
    """Whether this person finds the answer good; None when they did not say."""
    if feedback.thumb == "up":
        return True
    is_flag = feedback.thumb == "down" or feedback.categories or feedback.correction
    return False if is_flag else None


def _put_aside(
    voiced: Sequence[Voiced], places: Mapping[str, Place], raters: Raters
) -> dict[str, Aside]:
    """What looks like the work of few for many, by ``feedback_id``."""
    if len({feedback.rater_id for feedback, _, _ in voiced}) < FEWEST_RATERS:
        return {}
    asked = [row for row in voiced if row[2]]
    corrections = [
        (feedback, places[key].cluster) for feedback, _, key in asked if feedback.correction
    ]
    texts = [
        (feedback.rater_id, key, (_asked(answer.messages), feedback.correction or ""))
        for feedback, answer, key in asked
    ]
    aside = {
        asked[i][0].feedback_id: (f"quarantine: few raters write {phrase!r} under many prompts", "")
        for i, phrase in suspicious_phrases(texts).items()
        if asked[i][0].rater_id not in raters.reviewers
    }
    return aside | quarantined(corrections, raters)


def _asked(messages: Sequence[Mapping[str, Any]]) -> str:
    """All of a prompt but the model's own answers."""
    return "\n".join(one["content"] for one in messages if one["role"] != "assistant")


def _private(store: Store, by_reviewers: Mapping[Answered, tuple[str, str]]) -> dict[str, set[str]]:
    """Answers that were put aside as private, by what they answer, both ``folded``: as they are,
    and as clients send them back that leave out what was thought before."""
    places = {place for place, (reason, _) in by_reviewers.items() if reason == "private"}
    private: dict[str, set[str]] = defaultdict(set)
    for one in store.completions(completion_ids=sorted({name for name, _ in places})):
        if (one.completion_id, one.choice_index) in places and one.messages:
            texts = (one.completion, one.completion.rpartition("</think>")[2])
            private[folded(one.messages[-1].get("content"))] |= {folded(text) for text in texts}
    return private


def _carries(prompt: list[Message], private: Mapping[str, Collection[str]]) -> bool:
    """Whether one of the private answers stands in a conversation."""
    return any(
        message["role"] == "assistant"
        and folded(message["content"]) in private.get(folded(before["content"]), ())
        for before, message in pairwise(prompt)
    )


def _stories(
    voiced: Sequence[Voiced],
    aside: Mapping[str, Aside],
    answers: Answers,
    imported: Iterable[tuple[str, Lesson]],
    raters: Raters,
) -> dict[str, Story]:
    """All that counts of what was said, by prompt."""
    stories: dict[str, Story] = defaultdict(lambda: Story(raters))
    for feedback, answer, key in voiced:
        if not key or feedback.feedback_id in aside:
            continue
        story, good = stories[key], _good(feedback)
        if feedback.correction is not None:
            story.correct(feedback.rater_id, answer.completion, feedback.correction)
        elif good is not None:
            story.judge(feedback.rater_id, answer.completion, good)
        other = answers.get((feedback.preferred_over or "", feedback.preferred_over_choice_index))
        if other is not None and other.messages == answer.messages:
            story.prefer(feedback.rater_id, answer.completion, other.completion)
    for key, lesson in imported:
        voter = str(lesson.origin.get("rater_id") or lesson.origin.get("source"))
        if lesson.completion is not None:
            stories[key].judge(voter, lesson.completion, lesson.label is not False)
        elif lesson.chosen is not None and lesson.rejected is not None:
            stories[key].prefer(voter, lesson.chosen, lesson.rejected)
    return stories


def _distrusted(
    voiced: Sequence[Voiced], stories: Mapping[str, Story], raters: Raters
) -> dict[str, Aside]:
    """The words of raters who disagree with reviewers, by ``feedback_id``; no story counts them."""
    opinions = (opinion for story in stories.values() for opinion in story.opinions())
    rater_ids = distrusted(opinions, raters)
    if rater_ids:
        for story in stories.values():
            story.forget(set(rater_ids))
    return {
        feedback.feedback_id: (DISTRUSTED, rater_ids[feedback.rater_id])
        for feedback, _, _ in voiced
        if feedback.rater_id in rater_ids
    }


def _lessons(
    feedback: Feedback,
    answer: Completion,
    answers: Answers,
    by_reviewers: Collection[Answered],
    split: Split | None,
) -> list[Lesson | str]:
    """What this feedback teaches; a text is the reason why a part of it teaches nothing."""
    base = Lesson(
        "sft", answer.conversation_id, answer.messages, categories=feedback.categories,
        origin=_origin(feedback), tools=answer.tools,
    )  # fmt: skip
    made: list[Lesson | str] = []
    if feedback.correction is not None:
        pair = replace(base, kind="pair", chosen=feedback.correction, rejected=answer.completion)
        if split != "holdout":
            made.append(replace(base, completion=feedback.correction))
        if answer.tool_calls:
            made.append(CALLS)
        else:
            made.append(replace(pair, kind="regression") if split == "holdout" else pair)
    if feedback.preferred_over is not None:
        place = (feedback.preferred_over, feedback.preferred_over_choice_index)
        other = answers.get(place)
        if other is None:
            made.append("unknown completion in preferred_over")
        elif place in by_reviewers:
            made.append("the other answer was put aside by a reviewer")
        elif other.status != "complete":
            made.append(f"the answer was cut short ({other.status})")
        elif (other.messages, other.tools) != (answer.messages, answer.tools):
            made.append("the two answers are to different prompts")
        elif (reason := cut_off(answer)) is not None:
            made.append(reason)
        elif answer.tool_calls or other.tool_calls:
            made.append(CALLS)
        else:
            made.append(
                replace(base, kind="pair", chosen=answer.completion, rejected=other.completion)
            )
    if _is_lone(feedback):
        if answer.tool_calls:
            made.append(CALLS)
        else:
            label = _good(feedback)
            made.append(replace(base, kind="unpaired", completion=answer.completion, label=label))
    return made


def _beyond_share(
    kept: Mapping[str, _Kept],
    raters: Raters,
    max_share: float,
    salt: str,
    known: Collection[str],
) -> tuple[list[str], set[str]]:
    """The rows that go so that nobody owns more than a share, of all rows and of tonight's holdout;
    and the clusters that stand there because they are new. Which of somebody's rows stay is drawn
    by cluster, with the store's salt."""

    def drawn(row_id: str) -> tuple[str, str]:
        cluster = kept[row_id].place.cluster
        return hashlib.sha256(f"{salt}\0share\0{cluster}".encode()).hexdigest(), row_id

    voters = {row_id: kept[row_id].voters for row_id in sorted(kept, key=drawn)}
    gone = beyond_share(voters, raters, max_share)
    rows = {row_id: one.row for row_id, one in kept.items() if row_id not in gone}
    tested = clusters_to_test(list(rows.values()), known, salt)
    tests = {
        row_id: who
        for row_id, who in voters.items()
        if row_id in rows and is_test(rows[row_id], tested)
    }
    gone |= beyond_share(tests, raters, max_share, among=voters)
    left = {cluster_of(rows[row_id]) for row_id in tests.keys() - gone}
    return sorted(gone), tested & left  # nothing waits for a test that went


def _origin(feedback: Feedback) -> dict[str, Any]:
    return {
        "feedback_id": feedback.feedback_id,
        "completion_id": feedback.completion_id,
        "choice_index": feedback.choice_index,
        "rater_id": feedback.rater_id,
        "source": feedback.source,
        "created_at": feedback.created_at,
    }
