"""What moved each version, when and by whom: promotions and rollbacks, with who asked by the audit
log."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence

from feedback.store import Store
from pawl.schemas import AuditEntry, Move, Promotion
from pawl.server import SERVER_CALLERS

# What the audit log calls the requests that end in a row of each kind (serve.api.roles).
_ACTIONS = {"promote": ("promote", "approve", "reject"), "rollback": ("roll back",)}
OPERATOR, NIGHT, ITSELF = "the operator's key", "the nightly job", "Pawl itself"


def moves_of(store: Store) -> list[Move]:
    """Every step of every move, oldest first; what one request wrote down is one step.

    A row was asked for by the request during which it was written, where that ended well and its
    answer names the row's version. What follows a row that was asked for, and was not asked for
    itself, Pawl did: it ended a canary, or an engine came back.
    """
    actions = [action for names in _ACTIONS.values() for action in names]
    requests: dict[str, list[tuple[AuditEntry, str]]] = defaultdict(list)
    for entry, ended_at in store.access.ended(actions):
        status, *told = entry.outcome.split()
        if status == "200" and told:  # and what became of which version
            requests[told[-1]].append((entry, ended_at))
    steps: dict[str, list[tuple[str | None, Move]]] = defaultdict(list)  # by promotion_id
    for row in store.promotions():
        asked = _request_of(row, requests[row.version])
        of_move = steps[row.promotion_id]
        if asked is not None:
            by: str | None = _who(asked)
            if of_move and of_move[-1][0] == asked.audit_id:
                of_move.pop()
        else:
            by = ITSELF if of_move and of_move[0][0] is not None else None
        names = ("kind", "version", "previous_version", "outcome", "run_id", "reason")
        told_of = {name: getattr(row, name) for name in names}
        step = Move(at=row.created_at, by=by, **told_of)
        of_move.append((asked.audit_id if asked is not None else None, step))
    return sorted((step for one in steps.values() for _, step in one), key=lambda step: step.at)


def moves_about(moves: Sequence[Move], versions: Collection[str]) -> list[Move]:
    """Those that brought one of these versions in or out."""
    return [
        one
        for one in moves
        if one.version in versions
        or (one.previous_version in versions and (one.outcome == "live" or one.kind == "rollback"))
    ]


def _request_of(row: Promotion, requests: Sequence[tuple[AuditEntry, str]]) -> AuditEntry | None:
    """Of two at once the first: one move is made at a time, in the order of the requests."""
    for entry, ended_at in requests:
        if entry.action in _ACTIONS[row.kind] and entry.created_at <= row.created_at <= ended_at:
            return entry
    return None


def _who(entry: AuditEntry) -> str:
    if entry.caller not in SERVER_CALLERS:  # whatever it sent, it was not a night
        return entry.caller
    try:
        target = json.loads(entry.target)
    except ValueError:  # it was cut
        target = {}
    # A night names its run beside the folder (refine.night.steps), and no command does.
    is_night = entry.action == "promote" and {"run_dir", "run_id"} <= target.keys()
    return NIGHT if is_night else OPERATOR
