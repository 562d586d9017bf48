"""From what people said to what may be learned, or to a counted reason why not.

    correction                  -> SFT row and pair (chosen = correction, rejected = the answer);
                                   in the holdout one regression row instead
    preferred over another      -> pair
    thumb, categories           -> unpaired row (an error category without a thumb is a thumb down)
    anything else               -> a rejection with its reason

Nothing here writes: the same store gives the same rows. What counts of a person's words on an
answer is in ``feedback.current``: a correction stays when the thumb is changed later, and under a
thumb up it is a counted rejection, since the two contradict each other. Where people disagree, the
side with more people counts and the other is a counted rejection; with as many on both sides
neither thumbs nor comparisons count. An answer that ran into its token limit is not learned as it
is. The group of a row is its
conversation; a prompt is used in one split only, that of the group in which it came first
(``feedback.splits.splits_of_prompts``).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from feedback.rows import Lesson, problem_of, problem_of_prompt, same_text
from feedback.splits import prompt_key, split_of, splits_of_prompts
from feedback.store import Store
from feedback.targets import Targets, cut_off, usual_words_of
from pawl.schemas import PLAIN_ROLES, Completion, Feedback, Split, TrainingRow
from pawl.settings import Settings

Rejection = tuple[str, dict[str, Any]]  # reason, origin
Answers = dict[tuple[str, int], Completion]
CALLS = "the answer calls a tool, and only texts are learned"
Votes = dict[bool, set[str]]  # who finds an answer good, who finds it bad


@dataclass(frozen=True, slots=True)
class Curated:
    """Training rows with unique content, and what was left out with its reason and origin."""

    rows: list[TrainingRow]
    rejected: list[Rejection]

    @property
    def rejections(self) -> dict[str, int]:
        """How many were left out, by reason."""
        return dict(sorted(Counter(reason for reason, _ in self.rejected).items()))


def curate(store: Store, settings: Settings) -> Curated:
    """Turn all current feedback and all imported rows into training rows.

    Feedback comes before imports and earlier before later: of exact duplicates the first stays.
    """
    said = store.current_feedback(include_retracted=True)
    answers = _answers(store, said)
    treatments = {one.key: one.treatment for one in store.categories()}
    opinions = _opinions(said, answers)
    lessons: list[tuple[Lesson, Split]] = []
    rejected: list[Rejection] = []
    for one in said:
        split = (
            "train"
            if (answer := answers.get((one.completion_id, one.choice_index))) is None
            else split_of(answer.conversation_id, settings.split_salt)
        )
        origin = _origin(one)
        reason = _reason_against(one, answer, treatments, split)
        if reason is None and answer is not None:
            reason = _outvoted(one, opinions[_answer_key(answer)])
        if reason is not None or answer is None:
            rejected.append((reason or "unknown completion", origin))
            continue
        made = _lessons(one, answer, answers, split, origin)
        rejected += [(why, origin) for why in made if isinstance(why, str)]
        lessons += [(lesson, split) for lesson in made if isinstance(lesson, Lesson)]
    for lesson in store.imported():
        lessons.append((lesson, split_of(lesson.group_id, settings.split_salt)))
    # Read last: whatever came in meanwhile, each lesson's prompt is among these.
    sides = splits_of_prompts(store.prompts_in_order(), settings.split_salt)
    lessons, contradicted = _without_contradictions(lessons)
    targets = Targets.of(settings)
    targets.usual_words = usual_words_of(answers.values())
    lessons, unfit = targets.fit(lessons)
    rows, twins = _without_duplicates(lessons, sides)
    return Curated(rows, rejected + contradicted + unfit + twins)


def _answers(store: Store, said: Sequence[Feedback]) -> Answers:
    wanted = {one.completion_id for one in said}
    wanted |= {one.preferred_over for one in said if one.preferred_over}
    found = store.completions(completion_ids=sorted(wanted)) if wanted else []
    answers: Answers = {}
    for one in found:
        answers.setdefault((one.completion_id, one.choice_index), one)
    return answers


def _reason_against(
    one: Feedback,
    answer: Completion | None,
    treatments: dict[str, str],
    split: Split,
) -> str | None:
    """Why nothing at all is learned from this feedback; None when something may be."""
    if one.retracted:
        return "retracted"
    if answer is None:
        return "unknown completion"
    if answer.status != "complete":
        return f"the answer was cut short ({answer.status})"
    if any(message.get("role") in PLAIN_ROLES for message in answer.messages):
        return "a plain completion, not a chat"
    if one.thumb == "up" and one.correction is not None:
        return "thumb up and a correction contradict each other"
    if one.thumb == "up" and one.categories:
        return "thumb up and an error category contradict each other"
    if one.correction is not None and not one.correction.strip():
        return "the correction is empty"
    if one.correction is not None and same_text(one.correction, answer.completion):
        return "the correction equals the answer"
    wanted = {treatments.get(key, "review") for key in one.categories}
    if "ignore" in wanted:
        return "a category that is ignored"
    if "holdout_only" in wanted and split != "holdout":
        return "a category for the holdout only, in a training group"
    if "review" in wanted and one.correction is None:
        return "a category that needs a correction first"
    lone = one.correction is None and one.preferred_over is None
    if lone and _good(one) is None:
        return "a comment alone"
    # Whoever liked it did not like where it breaks off; whoever did not may have meant just that.
    return cut_off(answer) if lone else None


def _outvoted(one: Feedback, votes: Votes) -> str | None:
    """Why an opinion on an answer does not count beside other people's; None when it does."""
    good = _good(one)
    if good is None:
        return None
    n_same, n_other = len(votes[good]), len(votes[not good])
    if n_same < n_other:
        return f"most people find this answer {'bad' if good else 'good'}"
    lone = one.correction is None and one.preferred_over is None
    return "people disagree about this answer" if lone and n_same == n_other else None


def _good(one: Feedback) -> bool | None:
    """Whether this person finds the answer good; None when they did not say."""
    if one.thumb == "up":
        return True
    return False if one.thumb == "down" or one.categories or one.correction else None


def _answer_key(answer: Completion) -> tuple[str, str]:
    """The same for the same answer to the same prompt, however often it was given."""
    if problem_of_prompt(answer.messages) is None:
        return prompt_key(answer.messages), " ".join(answer.completion.split())
    return answer.completion_id, str(answer.choice_index)


def _opinions(said: Iterable[Feedback], answers: Answers) -> dict[tuple[str, str], Votes]:
    """Who finds each answer good, and who finds it bad."""
    opinions: dict[tuple[str, str], Votes] = defaultdict(lambda: {True: set(), False: set()})
    for one in said:
        good, answer = _good(one), answers.get((one.completion_id, one.choice_index))
        if not one.retracted and good is not None and answer is not None:
            opinions[_answer_key(answer)][good].add(one.rater_id)
    return opinions


def _lessons(
    one: Feedback, answer: Completion, answers: Answers, split: Split, origin: dict[str, Any]
) -> list[Lesson | str]:
    """What this feedback teaches; a text is the reason why a part of it teaches nothing."""
    base = Lesson(
        "sft", answer.conversation_id, answer.messages, categories=one.categories, origin=origin,
        tools=answer.tools,
    )  # fmt: skip
    made: list[Lesson] = []
    problems: list[Lesson | str] = []
    if one.correction is not None:
        pair = replace(base, kind="pair", chosen=one.correction, rejected=answer.completion)
        if answer.tool_calls:
            problems.append(CALLS)
        elif split == "holdout":
            made.append(replace(pair, kind="regression"))
        else:
            made.append(pair)
        if split != "holdout":
            made.insert(0, replace(base, completion=one.correction))
    if one.preferred_over is not None:
        other = answers.get((one.preferred_over, one.preferred_over_choice_index))
        if other is None:
            problems.append("unknown completion in preferred_over")
        elif other.status != "complete":
            problems.append(f"the answer was cut short ({other.status})")
        elif (other.messages, other.tools) != (answer.messages, answer.tools):
            problems.append("the two answers are to different prompts")
        elif reason := cut_off(answer):
            problems.append(reason)
        elif answer.tool_calls or other.tool_calls:
            problems.append(CALLS)
        else:
            made.append(
                replace(base, kind="pair", chosen=answer.completion, rejected=other.completion)
            )
    if one.correction is None and one.preferred_over is None:
        if answer.tool_calls:
            problems.append(CALLS)
        else:
            label = _good(one)
            made.append(replace(base, kind="unpaired", completion=answer.completion, label=label))
    return problems + [problem_of(lesson) or lesson for lesson in made]


def _without_contradictions(
    lessons: Iterable[tuple[Lesson, Split]],
) -> tuple[list[tuple[Lesson, Split]], list[Rejection]]:
    """Without comparisons of which as many people or more said the reverse, and without the answer
    that was written for one."""
    lessons = list(lessons)
    voters: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for lesson, _ in lessons:
        if (key := _comparison(lesson)) is not None:
            voters[key].add(str(lesson.origin.get("rater_id") or lesson.origin.get("source")))

    def is_contradicted(lesson: Lesson) -> bool:
        key = _comparison(lesson)
        reverse = voters.get((key[0], key[2], key[1])) if key is not None else None
        return bool(key and reverse and len(reverse) >= len(voters[key]))

    out = {
        (lesson.origin.get("feedback_id"), lesson.chosen)
        for lesson, _ in lessons
        if is_contradicted(lesson)
    }
    kept: list[tuple[Lesson, Split]] = []
    rejected: list[Rejection] = []
    for lesson, split in lessons:
        feedback_id = lesson.origin.get("feedback_id")
        written_for_it = lesson.kind == "sft" and (feedback_id, lesson.completion) in out
        if is_contradicted(lesson) or (feedback_id and written_for_it):
            rejected.append(("people disagree about which answer is better", lesson.origin))
        else:
            kept.append((lesson, split))
    return kept, rejected


def _comparison(lesson: Lesson) -> tuple[str, str, str] | None:
    """Prompt, better and worse answer, white space folded; None where nothing is compared."""
    if lesson.chosen is None or lesson.rejected is None:
        return None
    return (
        prompt_key(lesson.prompt),
        " ".join(lesson.chosen.split()),
        " ".join(lesson.rejected.split()),
    )


def _without_duplicates(
    lessons: Iterable[tuple[Lesson, Split]], sides: dict[str, Split]
) -> tuple[list[TrainingRow], list[Rejection]]:
    """The first of each content; and no prompt in another split than its own (``sides``)."""
    rows: list[TrainingRow] = []
    rejected: list[Rejection] = []
    seen: set[str] = set()
    for lesson, split in lessons:
        side = sides[prompt_key(lesson.prompt)]
        if side != split:
            rejected.append((f"the same prompt came first in the {side} split", lesson.origin))
        elif lesson.row_id in seen:
            rejected.append(("an exact duplicate", lesson.origin))
        else:
            seen.add(lesson.row_id)
            rows.append(lesson.in_split(split))
    return rows, rejected


def _origin(one: Feedback) -> dict[str, Any]:
    return {
        "feedback_id": one.feedback_id,
        "completion_id": one.completion_id,
        "choice_index": one.choice_index,
        "rater_id": one.rater_id,
        "source": one.source,
    }
