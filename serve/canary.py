"""Canary: a challenger that passed the gate answers a share of conversations before it answers all.

Its state is the promotion's newest row: ``canary`` means that it answers the share that the row
names, from the row's time on, whoever restarts what. What it did is counted anew at each look from
the answers and the feedback that the store keeps.

Which conversations it answers follows from a hash of the promotion's id and theirs. So as long as a
version makes no difference, a conversation that goes wrong (one that somebody flagged, one with an
answer that failed, one with a slow answer) was the challenger's with a chance of exactly that
share, whoever asks what and however often. That is tested by betting: the stake is multiplied by
the likelihood ratio of *the challenger's conversations go wrong twice as often*, which is Wald's
sequential probability ratio test (1945) with the binomial likelihood that is used for two exposures
(Kulldorff et al. 2011, *A maximized sequential probability ratio test for drug and vaccine safety
surveillance*). The chance that the stake ever reaches 1 / alpha is at most alpha (Ville 1939), so
one may look at any time. Betting the other way, *no more than twice as often* is shown.

No client decides: each has a stake of its own, of which it never loses ``RESERVE`` and from which
it wins at most so much that ``FEWEST_RATERS`` of them must agree; the product of such stakes is as
valid as each of them. Where fewer ask there is no such bound, as in ``feedback.raters``.

That bound keeps harm unproven that few people see. So whatever is not proven when the time is over
lets the challenger in only where no sign leans against it by more than one client can make it lean;
else a person decides.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from feedback.raters import FEWEST_RATERS, Raters
from pawl.errors import PawlError
from pawl.schemas import CanaryCount, CanaryOutcome, CanaryStatus, Promotion
from pawl.settings import Settings

if TYPE_CHECKING:
    from feedback.store import Store
    from serve.promotion import Promoter

ALPHA = 0.05  # chance of taking back a challenger that is no worse; of keeping one twice as bad
RATIO = 2.0  # of the rates of conversations that go wrong, which is bet on
RESERVE = 0.25  # of a client's stake, which is never bet
MOST_AGE = 3.0  # of a canary, in ``promotion.canary_hours``
POLL_SECONDS = 30.0
WHAT = {"flagged": "flagged", "failed": "with an answer that failed", "slow": "with a slow answer"}
_log = logging.getLogger("pawl.canary")


def log_stake(
    counts: Iterable[tuple[int, int]], share: float, level: float, n_clients: int, *, worse: bool
) -> float:
    """The logarithm of the stake of a bet on the challenger's rate; at ``-log(level)`` or more the
    contrary is rejected at ``level``.

    Args:
        counts: for each client its conversations that went wrong: the challenger's, the champion's.
        share: of all conversations that the challenger answers, in (0, 1).
        n_clients: that ask here, whether or not something went wrong.
        worse: bet that the rate is ``RATIO`` times the champion's (rejected: no higher); else that
            it is no higher (rejected: ``RATIO`` times or more).
    """
    doubled = RATIO * share / (1 + (RATIO - 1) * share)
    ours, theirs = math.log(doubled / share), math.log((1 - doubled) / (1 - share))
    sign = 1 if worse else -1
    most = _most(level) if n_clients >= FEWEST_RATERS else math.inf
    total = 0.0
    for n_ours, n_theirs in counts:
        gain = math.exp(min(sign * (n_ours * ours + n_theirs * theirs), 700.0))
        total += min(math.log(RESERVE + (1 - RESERVE) * gain), most)
    return total


def _most(level: float) -> float:
    """What one client of several wins at most, as a logarithm."""
    return (1e-9 - math.log(level)) / FEWEST_RATERS


def decide(
    wrong: dict[str, list[tuple[int, int]]], n_clients: int, share: float,
    *, has_enough: bool = True, age: float = 0.0,
) -> tuple[CanaryOutcome, str]:  # fmt: skip
    """What becomes of the challenger now, and why.

    Args:
        wrong: for each of ``WHAT`` the counts that ``log_stake`` takes.
        has_enough: it answered the conversations that it needs to be let in.
        age: of the canary, in ``promotion.canary_hours``.
    """
    level = ALPHA / len(WHAT)
    stakes = {
        name: log_stake(counts, share, level, n_clients, worse=True)
        for name, counts in wrong.items()
    }
    worst = max(stakes, key=lambda name: stakes[name])
    more = f"more of its conversations were {WHAT[worst]}"
    if stakes[worst] >= -math.log(level):
        return "refused", more
    leans = stakes[worst] > _most(level)
    equal = log_stake(wrong["flagged"], share, ALPHA, n_clients, worse=False)
    if has_enough and not leans and equal >= -math.log(ALPHA):
        return "live", f"that its conversations are flagged {RATIO:g} times as often is ruled out"
    if has_enough and age >= 1:
        return ("waiting", f"not shown, but {more}") if leans else ("live", "no harm was shown")
    if age >= MOST_AGE:
        return "waiting", "it was asked too little"
    return "canary", "nothing is shown yet"


class Canary:
    """Looks at a canary now and then, and ends it.

    Args:
        settings: who counts as one client, how long a canary lasts.
        store: has the answers and the feedback.
        promoter: says which challenger it is, and is told what becomes of it.
    """

    def __init__(self, settings: Settings, store: Store, promoter: Promoter) -> None:
        self._settings, self._store, self._promoter = settings, store, promoter

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except (PawlError, OSError) as error:  # the store, or the disk
                _log.warning("the canary waits: %s", error)
            except Exception:  # a fault of ours must show, and not be the last look
                _log.exception("the canary met an error")
            await asyncio.sleep(POLL_SECONDS)

    async def look(self) -> Promotion | None:
        """Promote the challenger, take it back or let it wait for a person, if that is due; the
        row if it was."""
        row = self._promoter.canary
        if row is None:
            return None
        status = await asyncio.to_thread(self.status, row)
        if status.outcome == "canary" and row.previous_version == self._store.champion():
            return None
        counts = "; ".join(
            f"{WHAT[name]}: {one.challenger} of {status.n_conversations.challenger}, "
            f"the champion's {one.champion} of {status.n_conversations.champion}"
            for name, one in status.wrong.items()
        )
        reason = f"canary: {status.reason} ({counts})"
        return await self._promoter.end_canary(row.promotion_id, status.outcome, reason)

    def status(self, row: Promotion) -> CanaryStatus:
        """How it stands; reads the store."""
        arms = self._store.arms(row)
        raters = Raters.of(self._store.access, self._settings.curation.front_ends)
        n_clients = len({raters.client_of(rater_id) for rater_id in arms.raters})
        share = float(row.probe["share"])
        wrong = {name: _by_client(arms.wrong.get(name, ()), row.version, raters) for name in WHAT}
        promotion = self._settings.promotion
        lasted = datetime.now(UTC) - datetime.fromisoformat(row.created_at)
        n_ours = arms.n_conversations.get(row.version, 0)
        outcome, reason = decide(
            wrong, n_clients, share,
            has_enough=n_ours >= promotion.canary_conversations,
            age=lasted.total_seconds() / 3600 / promotion.canary_hours,
        )  # fmt: skip
        return CanaryStatus(
            version=row.version, champion=row.previous_version, run_id=row.run_id, share=share,
            began_at=row.created_at, n_clients=n_clients, outcome=outcome, reason=reason,
            n_conversations=CanaryCount(
                challenger=n_ours, champion=arms.n_conversations.get(row.previous_version, 0)
            ),
            wrong={
                name: CanaryCount(
                    challenger=sum(ours for ours, _ in counts),
                    champion=sum(theirs for _, theirs in counts),
                )
                for name, counts in wrong.items()
            },
        )  # fmt: skip


def _by_client(
    wrong: Sequence[tuple[str, str]], version: str, raters: Raters
) -> list[tuple[int, int]]:
    """For each client its conversations that went wrong: those of ``version``, all others.

    Args:
        wrong: of each conversation the version that answered, and the rater that counts for it.
    """
    ours: Counter[str] = Counter()
    theirs: Counter[str] = Counter()
    for answered_by, rater_id in wrong:
        (ours if answered_by == version else theirs)[raters.client_of(rater_id)] += 1
    return [(ours[client], theirs[client]) for client in ours | theirs]
