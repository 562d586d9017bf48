"""What ``/openapi.json`` says beyond what FastAPI finds: keys, headers, each status of each route.

The statuses follow from a route's rule (``serve.api.roles``) and from what it takes; ``ALSO`` has
the rest. ``python -m benchmarks.fuzz`` holds a running server to them.
"""

from __future__ import annotations

from typing import Any

from pawl.schemas import Role
from serve.api.roles import RULES

_MEANS = {
    400: "the request is wrong",
    401: "no key came, or a wrong one",
    403: "this key, host or page may not",
    404: "not known, or not to who asks",
    409: "it does not fit what is there",
    413: "larger than is taken",
    415: "packed in another way than gzip",
    429: "too much at once, or too many wrong keys",
    500: "a fault of the server",
    502: "the engine failed at it",
    503: "not now: the engine starts or is busy, or the store can't be reached",
    507: "the disk is full",
}
_WITH_RETRY_AFTER = (429, 502, 503)
# Statuses of single routes, beside those of `_statuses`.
ALSO: dict[str, tuple[int, ...]] = {
    "GET /v1/feedback": (404,),
    "POST /v1/feedback": (404, 507),
    "POST /v1/conversations/{conversation_id}": (507,),
    "POST /v1/answered-differently": (404, 507),
    "POST /v1/erasures": (404,),
    "POST /v1/feedback/batch": (507,),
    "GET /admin/explain": (404, 409),
    "POST /admin/accounts": (409,),
    "POST /admin/backup": (507,),
    "POST /admin/drill": (409,),
    "POST /admin/erasures": (404, 409, 507),
    "POST /admin/erasures/preview": (404,),
    "POST /admin/export": (409,),
    "POST /admin/generate": (502,),
    "POST /admin/import": (404,),
    "POST /admin/keys": (409,),
    "POST /admin/promotions": (404, 409),
    "POST /admin/replicas/{number}/drain": (404, 409),
    "POST /admin/replicas/{number}/return": (404, 409),
    "POST /admin/retention": (409, 507),
    "POST /admin/reviews": (404, 507),
    "POST /admin/reviews/alternatives": (404, 502),
    "POST /admin/reviews/categories": (507,),
    "POST /admin/reviews/undo": (409, 507),
    "POST /admin/rollback": (404, 409),
    "POST /admin/runs": (507,),
    "POST /admin/runs/{run_id}/approve": (409,),
    "POST /admin/runs/{run_id}/reject": (409,),
    "POST /admin/runs/{run_id}/scores": (507,),
    "GET /admin/versions/flags": (404,),
    "POST /admin/shadow": (404, 502),
    "POST /admin/snapshots": (409,),
}
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "a key, as OpenAI's clients do"},
    "x_api_key": {"type": "apiKey", "in": "header", "name": "X-Api-Key",
                  "description": "a key, as Anthropic's clients do"},
}  # fmt: skip
_RATER = {
    "name": "X-Pawl-Rater", "in": "header", "required": False, "schema": {"type": "string"},
    "description": "the person behind the key, where it may name them",
}  # fmt: skip
_CONVERSATION = {
    "name": "X-Pawl-Conversation", "in": "header", "required": False,
    "schema": {"type": "string"},
    "description": "by default made of the rater and how the conversation began",
}  # fmt: skip


def describe(schema: dict[str, Any]) -> dict[str, Any]:
    """Add to FastAPI's description; changes and returns it."""
    schema["components"]["securitySchemes"] = _SCHEMES
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, never sent
        schema["components"]["schemas"].pop(name, None)
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            _describe_operation(f"{method.upper()} {path}", operation)
    return schema


def _describe_operation(route: str, operation: dict[str, Any]) -> None:
    rule, tags = RULES[route], operation.get("tags", ())
    if rule.role is not None:
        keys: list[dict[str, list[str]]] = [{scheme: []} for scheme in _SCHEMES]
        # On loopback no key is asked for until there is one, but for administration.
        operation["security"] = [*keys, {}] if rule.role is Role.USER else keys
    if "completions" in tags:
        operation.setdefault("parameters", []).extend((_RATER, _CONVERSATION))
    elif {"feedback", "conversations"} & set(tags) and not route.endswith("/categories"):
        operation.setdefault("parameters", []).append(_RATER)
    responses = operation["responses"]
    responses.pop("422", None)  # what FastAPI would answer; here it is 400
    for status in _statuses(route, operation):
        responses.setdefault(str(status), _error(status))
    operation["responses"] = dict(sorted(responses.items()))


def _statuses(route: str, operation: dict[str, Any]) -> set[int]:
    """The statuses of errors."""
    rule = RULES[route]
    statuses = {500, *ALSO.get(route, ())}
    if rule.role is not None:
        statuses |= {400, 401, 403, 429, 503}  # 400: the rater that a front end names
    if "requestBody" in operation:
        statuses |= {400, 413, 415}
    if rule.action is not None:  # written into the audit log first
        statuses.add(507)
    if "{" in route:
        statuses.add(404)
    if any(one["in"] in ("query", "header") for one in operation.get("parameters", ())):
        statuses.add(400)
    if "completions" in operation.get("tags", ()):
        statuses |= {404, 502, 507}
    return statuses


def _error(status: int) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
    answer: dict[str, Any] = {"description": _MEANS[status], "content": content}
    if status in _WITH_RETRY_AFTER:
        seconds = {"type": "integer", "minimum": 1, "maximum": 60}
        answer["headers"] = {"Retry-After": {"schema": seconds, "description": "seconds"}}
    return answer
