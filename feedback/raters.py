"""Raters: whose word outweighs others', who counts as one client, who is kept from flooding.

Rules that need other people to compare with hold from ``FEWEST_RATERS`` raters on: in a small house
everybody knows who said what.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime

from feedback.access import Access
from pawl.schemas import Account, Feedback, Key, Role
from pawl.server import SERVER_CALLERS
from pawl.text import normalise

FEWEST_RATERS = 5
MOST_COPIES = 20  # prompts that one correction may stand under,
MOST_COPIES_FRACTION = 0.05  # or so much of all that are corrected
MOST_A_MINUTE = 60  # corrections by one rater; nobody reads and writes one a second
FEWEST_JUDGED = 10  # answers that a rater and a reviewer both judged, before it says something
_FEWEST_ROWS = 2  # that a rater may always have: a correction gives two


@dataclass(frozen=True, slots=True)
class Raters:
    """What the store knows about raters.

    Attributes:
        reviewers: accounts and keys with the role of a reviewer or administrator, and
            ``pawl.server.SERVER_CALLERS``.
        naming: keys that name the people behind them: ``key/rater`` counts as ``key``.
    """

    reviewers: frozenset[str] = frozenset()
    naming: frozenset[str] = frozenset()

    @classmethod
    def of(cls, access: Access, front_ends: Collection[str]) -> Raters:
        """``front_ends``: keys whose raters are people, each a client of their own."""
        reviewing = [
            *(a.name for a in access.accounts.all_accounts() if not a.removed_at and _reviews(a)),
            *(key.name for key in access.all_keys() if not key.revoked_at and _reviews(key)),
        ]
        reviewing += SERVER_CALLERS
        naming = {key.name for key in access.all_keys() if key.may_name_raters}
        return cls(frozenset(reviewing), frozenset(naming.difference(front_ends)))

    def client_of(self, rater_id: str) -> str:
        """Who stands behind a rater: the key that named it, or the rater itself."""
        key, slash, _ = rater_id.partition("/")
        return key if slash and key in self.naming else rater_id

    def decide(self, yes: Set[str], no: Set[str]) -> int:
        """Which side has more weight: ``yes`` above 0, ``no`` below 0, neither at 0.

        More reviewers win. With as many on both sides each client has one voice, for what most of
        its raters say; raters are counted where one client alone took part.
        """
        reviewers = len(yes & self.reviewers) - len(no & self.reviewers)
        if reviewers:
            return reviewers
        votes: Counter[str] = Counter()
        for rater_id in yes:
            votes[self.client_of(rater_id)] += 1
        for rater_id in no:
            votes[self.client_of(rater_id)] -= 1
        if len(votes) == 1:
            return next(iter(votes.values()))
        return sum((n > 0) - (n < 0) for n in votes.values())

    def owner_of(self, supporters: Iterable[str]) -> str | None:
        """The one client that stands behind a row; None where several do, or a reviewer."""
        supporters = set(supporters)
        clients = {self.client_of(rater_id) for rater_id in supporters}
        return clients.pop() if len(clients) == 1 and not supporters & self.reviewers else None


def _reviews(caller: Account | Key) -> bool:
    return caller.role.includes(Role.REVIEWER)


def quarantined(
    corrections: Sequence[tuple[Feedback, str]], raters: Raters
) -> dict[str, tuple[str, str]]:
    """Corrections that nobody wrote for their prompt, with the reason and its figures, by
    ``feedback_id``: one text under many prompts, and more a minute than a person can write. A
    reviewer's are never, nor a text that a reviewer wrote, too.

    Args:
        corrections: each with the cluster of its prompt.
    """
    reasons: dict[str, tuple[str, str]] = {}
    by_text: dict[str, list[tuple[Feedback, str]]] = defaultdict(list)
    by_rater: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for feedback, cluster in corrections:
        by_text[normalise(feedback.correction or "")].append((feedback, cluster))
        if feedback.rater_id not in raters.reviewers:
            at = datetime.fromisoformat(feedback.created_at).timestamp()
            by_rater[feedback.rater_id].append((at, feedback.feedback_id))
    for written in by_rater.values():
        written.sort()
        for first, (last, _) in enumerate(written[MOST_A_MINUTE:]):
            burst = written[first : first + MOST_A_MINUTE + 1]
            if (seconds := last - burst[0][0]) < 60:
                reason = (
                    f"quarantine: more than {MOST_A_MINUTE} corrections by one rater in a minute"
                )
                figures = f"{len(burst)} in {seconds:.0f} seconds"
                reasons.update((row_id, (reason, figures)) for _, row_id in burst)
    most = max(MOST_COPIES, MOST_COPIES_FRACTION * len({cluster for _, cluster in corrections}))
    for written_for in by_text.values():
        n_prompts = len({cluster for _, cluster in written_for})
        writers = {feedback.rater_id for feedback, _ in written_for}
        if n_prompts > most and not writers & raters.reviewers:
            reasons |= dict.fromkeys(
                (feedback.feedback_id for feedback, _ in written_for),
                (
                    "quarantine: one correction under many prompts",
                    f"under {n_prompts} prompts, {most:g} at most",
                ),
            )
    return reasons


def distrusted(opinions: Iterable[tuple[Set[str], Set[str]]], raters: Raters) -> dict[str, str]:
    """Raters who disagree with reviewers on most of the answers that both judged; on how many.

    Args:
        opinions: of each answer, who finds it good and who bad.
    """
    judged: Counter[str] = Counter()
    agreed: Counter[str] = Counter()
    for good, bad in opinions:
        word = len(good & raters.reviewers) - len(bad & raters.reviewers)
        if word:
            judged.update(good ^ bad)
            agreed.update((good if word > 0 else bad) - (bad if word > 0 else good))
    return {
        rater_id: f"agrees on {agreed[rater_id]} of {n} answers"
        for rater_id, n in judged.items()
        if n >= FEWEST_JUDGED and agreed[rater_id] * 2 < n and rater_id not in raters.reviewers
    }


def beyond_share(
    voters: Mapping[str, Set[str]],
    raters: Raters,
    max_share: float,
    among: Mapping[str, Set[str]] | None = None,
) -> set[str]:
    """The rows to leave out so that no rater, and no client, owns more than a share of those that
    stay. Rows that several say, or a reviewer, or an import, count and stay.

    With ``n`` raters the share is ``max_share``, or two equal shares (``2 / n``) where that is
    more; in a house of fewer than ``FEWEST_RATERS`` there is no cap; clients likewise.

    Args:
        voters: of each row; of one rater's rows the first stay.
        among: of all rows of the house, where these are some of them.
    """
    gone: set[str] = set()
    for name_of in (str, raters.client_of):
        named = {
            row_id: {name_of(rater_id) for rater_id in who}
            for row_id, who in voters.items()
            if row_id not in gone
        }
        n_owners = len(set[str]().union(*named.values()))
        house = set[str]().union(*(voters if among is None else among).values())
        if n_owners == 0 or len({name_of(rater_id) for rater_id in house}) < FEWEST_RATERS:
            continue
        by_owner: dict[str, list[str]] = defaultdict(list)
        for row_id, names in named.items():
            if len(names) == 1 and not voters[row_id] & raters.reviewers:
                by_owner[next(iter(names))].append(row_id)
        counts = [len(rows) for rows in by_owner.values()]
        most = _most_rows(counts, len(named) - sum(counts), max(max_share, 2 / n_owners))
        gone |= {row_id for rows in by_owner.values() for row_id in rows[most:]}
    return gone


def _most_rows(counts: Sequence[int], n_free: int, share: float) -> int:
    """The most rows that one owner may have, for none to have more than a share of all that stay:
    ``n_free`` and each owner's ``counts``."""
    low, high = 0, max(counts, default=0)
    while low < high:  # what stays grows more slowly than the bound, so those that do are in a row
        most = (low + high + 1) // 2
        stays = n_free + sum(min(n, most) for n in counts)
        low, high = (most, high) if most <= share * stays else (low, most - 1)
    return max(low, _FEWEST_ROWS)
