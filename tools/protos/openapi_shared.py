"""What all calls share in the OpenAPI description: headers, errors, tokens."""

from __future__ import annotations

from typing import Any

from libs.contracts import headers
from libs.errors.errors import Reason
from libs.rpc.status import DOMAIN

_DETAIL = "type.googleapis.com/google.rpc"


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _told(description: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "schema": schema}


REQUEST_HEADERS = {
    "RequestId": _header(
        headers.REQUEST_ID, "The caller's own id of the request. It is on the answer and in logs.", type="string"
    ),
    "Timeout": _header(
        "grpc-timeout",
        "How long the call may take: up to eight digits and H, M, S, m, u or n (hours to nanoseconds). "
        "Without it the method's own default.",
        type="string",
        pattern="^[0-9]{1,8}[HMSmun]$",
    ),
    "Priority": _header(
        headers.PRIORITY, "The priority wished for; cut to what the plan grants.", enum=list(headers.PRIORITIES)
    ),
    "MaxTokens": _header(
        headers.MAX_TOKENS,
        "Most tokens that the call may write.",
        type="integer",
        minimum=1,
        maximum=headers.MAX_TOKENS_LIMIT,
    ),
    "CacheControl": _header(
        headers.CACHE_CONTROL, "`no-cache` or `no-store`: no kept answer will do (RFC 9111).", type="string"
    ),
}
"""Under the names that OpenAPI knows them by."""

ANSWER_HEADERS = {
    headers.REQUEST_ID: _told("The request's id: the caller's own, or one made for it.", type="string"),
    headers.RATE_LIMIT: _told("Most calls of the limit that is nearest.", type="integer"),
    headers.RATE_REMAINING: _told("How many calls are left of it.", type="integer"),
    headers.RATE_RESET: _told("Seconds until it counts one call less.", type="integer"),
    headers.CACHE: _told("Where the answer is from.", enum=["hit", "miss", "bypass", "stale"]),
    headers.AGE: _told("On a kept answer: how many seconds ago it was made.", type="integer"),
}

SECURITY = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of one of the installation's issuers, or an API key.",
}


def _detail(name: str, description: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "required": ["@type", *properties],
        "properties": {"@type": {"const": f"{_DETAIL}.{name}"}, **properties},
    }


_TEXT = {"type": "string"}
_VIOLATION = {
    "type": "object",
    "required": ["field", "description"],
    "properties": {
        "field": {**_TEXT, "description": "The field's path, by the names of the contracts: `question.top_k`."},
        "description": {**_TEXT, "description": "What it must be."},
    },
}
ERROR_SCHEMAS: dict[str, dict[str, Any]] = {
    "Error": {
        "type": "object",
        "description": "Why a call failed (google.rpc.Status).",
        "required": ["code", "message", "details"],
        "properties": {
            "code": {"type": "integer", "description": "The gRPC status code's number (google.rpc.Code)."},
            "message": {**_TEXT, "description": "For a developer to read."},
            "details": {
                "type": "array",
                "description": "One ErrorInfo, and what else is known.",
                "items": {
                    "oneOf": [
                        {"$ref": f"#/components/schemas/{name}"} for name in ("ErrorInfo", "BadRequest", "RetryInfo")
                    ]
                },
            },
        },
    },
    "ErrorInfo": _detail(
        "ErrorInfo",
        "Why, for a program to read.",
        reason={"enum": sorted(reason.value for reason in Reason)},
        domain={"const": DOMAIN},
        metadata={"type": "object", "additionalProperties": _TEXT},
    ),
    "BadRequest": _detail(
        "BadRequest", "Which fields are wrong.", fieldViolations={"type": "array", "items": _VIOLATION}
    ),
    "RetryInfo": _detail(
        "RetryInfo",
        "When it is worth trying again.",
        retryDelay={"type": "string", "pattern": "^[0-9]+(\\.[0-9]{1,9})?s$"},
    ),
}
ERROR = {
    "description": "The call failed.",
    "headers": {headers.REQUEST_ID: {"$ref": f"#/components/headers/{headers.REQUEST_ID}"}},
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
