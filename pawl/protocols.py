"""What plugins have to be: a protocol for each of the seven kinds, with shapes, units and errors.

A plugin is what an entry point gives: a module, or an object, with the names below
(``pawl/plugins.py`` finds and checks it). Arguments are passed in their order. Texts are whatever
people and models wrote, so no length and no language may be taken for granted.

What is raised is never the end of a night, a server or an import of other files; each protocol says
what comes of it. Logs get the kind of an error and the line that raised it, not its message, which
may hold what people wrote. No call is cut off in its midst but where a time is named: a plugin that
can hang bounds itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Protocol

from pawl.schemas import Message


class Answer(Protocol):
    """What a detector looks at."""

    @property
    def text(self) -> str:
        """The answer."""

    @property
    def prompt(self) -> str:
        """The last message of the user; may be empty."""

    @property
    def usual_words(self) -> float | None:
        """Median words of answers to such prompts; None where too few are known."""

    @property
    def public(self) -> frozenset[str]:
        """``curation.public_contacts``, in small letters."""

    @property
    def regions(self) -> tuple[str, ...]:
        """``curation.phone_regions``."""


class Detector(Protocol):
    """Says how much of a fault an answer has. Group ``pawl.detectors``, named by
    ``curation.detectors``; ``curation.reject`` may name it too, then what it finds is not learned.

    Its findings are counted in data cards, shown to reviewers, and where they reject told by ``pawl
    curate --explain``. It runs in the server, in several threads, for each answer concerned: a
    millisecond each is slow.
    """

    reason: str  # in the words of a counted rejection: "the answer shouts"
    threshold: float  # in the unit; a score at or above it is a finding
    unit: str  # "share of words"

    def score(self, answer: Answer) -> float:
        """The score, in ``unit``; the same for the same answer.

        What is raised, and what is no finite number, is a failure on this answer: counted in the
        card, and where the detector is to reject, the answer is not learned.
        """


class Matcher(Protocol):
    """Says whether an answer says what a correction says. Group ``pawl.matchers``, named by
    ``gate.matchers``; the first of these that applies decides, else ``evals/matching.py`` does.

    A wrong yes promotes a wrong answer, a wrong no costs evidence. An answer equal to the flagged
    one is wrong and one equal to the correction is right before any matcher is asked. Reports say
    ``compared by NAME``. It runs in the scoring child. Scores are kept from night to night, by the
    package's version too: raise it when a matcher decides otherwise.
    """

    def applies(
        self, prompt: str, correction: str, flagged: str, categories: Sequence[str]
    ) -> bool:
        """Whether it is for this correction, whatever is answered: champion and challenger are
        compared by the same rule.

        Args:
            prompt: the last message of the user.
            correction: what a person wrote as the right answer.
            flagged: the answer that was wrong.
            categories: what was wrong with it, as keys (``pawl categories``).
        """

    def matches(self, answer: str, prompt: str, correction: str, flagged: str) -> bool:
        """Whether the answer says what the correction says.

        What is raised, by either method, and what is no bool, leaves this answer to Pawl's own
        matcher; the scores' manifest and the report count it.
        """


class Judge(Protocol):
    """Says which of two answers is better. Group ``pawl.judges``, named by ``judge.plugin``, in
    place of ``judge.url``.

    All else is as with an address: each pair is asked in both orders, its word counts from
    ``judge.least_kappa`` of agreement with people's own choices on, and it can only forbid. The
    report names it with its package. It runs in the night's process, in
    ``judge.max_concurrent_requests`` threads.
    """

    def compare(
        self, prompt: Sequence[Message], first: str, second: str
    ) -> Literal["first", "second", "tie"]:
        """Which answer to the conversation ``prompt`` (``{"role", "content"}``, ...) is better.

        What is raised, what is none of the three, and what takes longer than
        ``judge.timeout_seconds`` is no verdict on this pair and stands in the report. After a call
        that took longer it is not asked again this night.
        """


class Suite(Protocol):
    """Brings a suite: what a model is scored on. Group ``pawl.suites``, named by ``gate.suite`` or
    ``pawl eval --suite``.

    Only the folder's path is taken; ``evals/suites`` reads it as any other folder, so its faults
    are told as those of a company's own suite, at the start of the command. Task files may name
    Python functions, which lm-eval then calls in the scoring child.
    """

    folder: str | PathLike[str]  # absolute; holds suite.yaml, task files and data


class Trainer(Protocol):
    """Changes how a method trains. Group ``pawl.trainers``, named by ``train.trainer``.

    Rows, plan, checkpoints, time, probe and gate stay Pawl's: what it trains is let in only by the
    same gate. The recipe in the adapter's manifest, and so the report, names it with its package.
    It runs in the training child; from a checkpoint of another version of the package no training
    goes on.
    """

    def configure(
        self, kind: Literal["sft", "dpo", "kto"], trainer: type, arguments: dict[str, Any]
    ) -> tuple[type, dict[str, Any]]:
        """The trainer and its arguments for a stage.

        Args:
            kind: of the stage.
            trainer: Pawl's subclass of TRL's trainer.
            arguments: of TRL's config (``SFTConfig``, ``DPOConfig``, ``KTOConfig``) that may be
                changed. Whatever the schedule, SFT lowers the rate over its last steps.

        Returns:
            ``trainer`` or a subclass of it; the arguments, changed or with more of the config's
            own. Those that the plan or Pawl's checkpoints decide (learning rate in its peak,
            epochs, batch, folders, saving, evaluation) are refused.

        What is raised ends the training, and so the night, before its first step: the champion
        goes on answering, and the night says which plugin it was.
        """


class Importer(Protocol):
    """Reads a file of a format of its own. Group ``pawl.importers``, named by
    ``exchange.importers``; then ``pawl import --format NAME`` reads by it, never ``auto``.

    It runs in the server, with the file in memory.
    """

    def records(self, raw: bytes, name: str) -> Iterable[tuple[str, Mapping[str, Any] | str]]:
        """The records of a file, in their order.

        Args:
            raw: the file's bytes, ``exchange.max_file_bytes`` of them at most.
            name: the file's.

        Returns:
            pairs of a place ("line 3") and a record of one of Pawl's formats
            (``{"prompt", "chosen", "rejected"}``, ...), which is checked as any other; or instead
            of it the reason why that place can't be used, a few words to count by.

        What is raised stops this import before anything is added; the answer says after how many
        records.
        """


class Notifier(Protocol):
    """Is told what the webhook is told. Group ``pawl.notifiers``, named by ``webhook.notifiers``.

    Each has its own place in the store's rows (``notifier-NAME.json``): one that fails holds up no
    other, and what happened while no server ran is told by the next. It runs in the server, in a
    thread, one call at a time.
    """

    def notify(self, message: Mapping[str, Any]) -> None:
        """Take ``{"id", "type", "timestamp", "data"}``, as ``docs/api.md`` has it of the webhook.
        The same id may come again.

        An OSError (the network is down, a disk is full) is tried again after growing pauses for
        three days. Anything else that is raised, and a call that takes over 10 s, five times; then
        the message is given up, with a line in the log. While such a call goes on no other begins.
        """
