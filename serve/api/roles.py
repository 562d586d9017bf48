"""Which route needs which role, in one table, and the check before each route.

A route that is not in the table stops the start. The check is put around each route's own
application, so that the path that is checked is the one that answers. It counts GET requests
against their caller's quota too, but for ``UNCOUNTED``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers

from pawl.errors import PawlError
from pawl.schemas import Caller, Role
from serve.api.admission import Admission, share_of
from serve.api.audit import Audit
from serve.api.auth import CALLER, caller_of, key_of
from serve.api.keys import ANONYMOUS
from serve.api.recording import MAX_ID_CHARACTERS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class Rule:
    """The least role of a route (None: everybody), and the action that the audit log calls it.

    ``is_charged``: a row of the caller's quota of feedback is taken before anything is recorded,
    so that whoever may chat does not fill the disk with what is refused.
    """

    role: Role | None
    action: str | None = None
    is_charged: bool = False


_OPEN, _USER, _REVIEWER = Rule(None), Rule(Role.USER), Rule(Role.REVIEWER)
_ADMINISTRATOR = Rule(Role.ADMINISTRATOR)


def _audited(action: str) -> Rule:
    return Rule(Role.ADMINISTRATOR, action)


RULES: dict[str, Rule] = {
    "GET /docs": _OPEN,
    "GET /health": _OPEN,
    "GET /openapi.json": _OPEN,
    "GET /metrics": _USER,
    "GET /v1/answered-differently": _USER,  # of a user's own flags
    "POST /v1/answered-differently": _USER,
    "GET /v1/conversations": _USER,  # a user's own, as all of them
    "GET /v1/conversations/{conversation_id}": _USER,
    "POST /v1/conversations/{conversation_id}": _USER,
    "GET /v1/presets": _USER,
    "POST /v1/presets": _USER,  # kept with whose they are
    "POST /v1/erasures": Rule(Role.USER, "erase own", is_charged=True),
    "GET /v1/feedback": _USER,  # of a user's own
    "GET /v1/feedback/categories": _USER,
    "GET /v1/models": _USER,
    "GET /v1/models/{name}": _USER,
    "POST /v1/chat/completions": _USER,
    "POST /v1/completions": _USER,
    "POST /v1/feedback": _USER,  # on a user's own
    "POST /v1/feedback/batch": _USER,
    "POST /v1/messages": _USER,
    "POST /v1/messages/count_tokens": _USER,
    "POST /v1/responses": _USER,
    "GET /admin/dashboard": _REVIEWER,
    "GET /admin/history": _REVIEWER,
    "GET /admin/reviews": _REVIEWER,
    "GET /admin/reviews/agreement": _REVIEWER,
    "GET /admin/reviews/decisions": _REVIEWER,
    "GET /admin/runs": _REVIEWER,
    "GET /admin/runs/{run_id}": _REVIEWER,
    "POST /admin/reviews": _REVIEWER,  # kept with who decided
    "POST /admin/reviews/alternatives": _REVIEWER,
    "POST /admin/reviews/categories": Rule(Role.REVIEWER, "change category"),
    "POST /admin/reviews/undo": _REVIEWER,
    "GET /admin/accounts": _ADMINISTRATOR,
    "GET /admin/audit": _ADMINISTRATOR,
    "GET /admin/erasures": _ADMINISTRATOR,
    "GET /admin/gateways": _ADMINISTRATOR,
    "GET /admin/explain": _ADMINISTRATOR,  # names raters, holds what they asked
    "GET /admin/keys": _ADMINISTRATOR,
    "GET /admin/quotas": _ADMINISTRATOR,
    "GET /admin/runs/{run_id}/curves": _ADMINISTRATOR,
    "GET /admin/runs/{run_id}/logs": _ADMINISTRATOR,
    "GET /admin/runs/{run_id}/report": _ADMINISTRATOR,  # holds people's prompts
    "GET /admin/runs/{run_id}/suspects": _ADMINISTRATOR,  # holds people's prompts
    "GET /admin/status": _ADMINISTRATOR,  # holds the settings
    "GET /admin/versions": _ADMINISTRATOR,
    "GET /admin/versions/flags": _ADMINISTRATOR,  # holds people's prompts
    "GET /admin/traffic": _ADMINISTRATOR,  # holds people's prompts
    "POST /admin/accounts": _audited("add account"),
    "POST /admin/accounts/{name}": _audited("change account"),
    "POST /admin/accounts/{name}/remove": _audited("remove account"),
    "POST /admin/backup": _audited("backup"),
    "POST /admin/drill": _audited("drill"),
    "POST /admin/erasures": _audited("erase"),
    "POST /admin/erasures/preview": _ADMINISTRATOR,
    "POST /admin/export": _audited("export"),
    "POST /admin/gateways/{gateway_id}": Rule(Role.GATEWAY),  # once a second and more
    "POST /admin/generate": _ADMINISTRATOR,
    "POST /admin/import": _audited("import"),
    "POST /admin/keys": _audited("add key"),
    "POST /admin/keys/{name}/revoke": _audited("revoke key"),
    "POST /admin/promotions": _audited("promote"),
    "POST /admin/replicas/{number}/drain": _audited("take out replica"),
    "POST /admin/replicas/{number}/return": _audited("bring back replica"),
    "POST /admin/retention": _audited("retention"),
    "POST /admin/rollback": _audited("roll back"),
    "POST /admin/runs": _ADMINISTRATOR,
    "POST /admin/runs/{run_id}/approve": _audited("approve"),
    "POST /admin/runs/{run_id}/reject": _audited("reject"),
    "POST /admin/runs/{run_id}/scores": _ADMINISTRATOR,
    "POST /admin/runs/{run_id}/verdict": _audited("verdict"),
    "POST /admin/shadow": _audited("shadow"),
    "POST /admin/snapshots": _audited("snapshot"),
}

# From memory, or asked of the engine once a second at most; behind a proxy all share one address,
# its own probes and scrapes too.
UNCOUNTED = ("GET /health", "GET /metrics")


def guard(routes: Sequence[Any], audit: Audit, admission: Admission) -> None:
    """Put the check before every route.

    Raises:
        RuntimeError: a route has no rule.
    """
    for route in routes:
        rules = {}
        for method in route.methods - {"HEAD"}:  # which comes as GET (serve.api.app.Access)
            name = f"{method} {route.path_format}"
            if name not in RULES:
                raise RuntimeError(f"{name} has no rule in serve.api.roles.RULES")
            rules[method] = RULES[name]
        counts = f"GET {route.path_format}" not in UNCOUNTED
        route.app = Guarded(route.app, rules, audit, admission, counts)


class Guarded:
    """A route's application behind the check of the caller's role, and its quota of GETs where
    ``counts``."""

    def __init__(
        self, app: ASGIApp, rules: dict[str, Rule], audit: Audit, admission: Admission, counts: bool
    ) -> None:
        self._app, self._rules, self._audit = app, rules, audit
        self._admission, self._counts = admission, counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rule = self._rules[scope["method"]]
        if self._counts and scope["method"] == "GET":
            self._admission.charge_read(_sender_of(scope))
        if rule.role is not None:
            caller = caller_of(scope)
            if not caller.role.includes(rule.role):
                error = _refusal(caller, rule.role)
                await self._audit.refused(scope, caller.name, error)
                raise error
        if rule.is_charged:
            self._admission.charge_feedback(_sender_of(scope), 1)
        if rule.action is None:
            await self._app(scope, receive, send)
        else:
            await self._audit.run(self._app, rule.action, scope, receive, send)


def _sender_of(scope: Scope) -> str:
    """Who is charged, by the request's head alone; where nobody looked at its key, the address."""
    if CALLER not in scope:
        return share_of(scope, None, "anonymous")
    headers = Headers(scope=scope)
    rater = headers.get("x-pawl-rater", "anonymous")[:MAX_ID_CHARACTERS]
    return share_of(scope, key_of(headers), rater)


def _refusal(caller: Caller, role: Role) -> PawlError:
    if caller is ANONYMOUS:
        return PawlError(
            f"this takes a key with the role {role}",
            "without a key everybody on this machine may chat, and nobody operate the server",
            "Use the 'pawl' command, or send the key in admin.key of the state folder as "
            "'Authorization: Bearer ...'",
            code="invalid_api_key",
        )
    return PawlError(
        f"{caller.name!r} may not do this",
        f"it takes the role {role}, and {caller.name!r} has the role {caller.role}",
        "Use another key or account, or ask an administrator",
        code="forbidden",
    )
