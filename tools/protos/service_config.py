"""The clients' gRPC service config (gRFC A2, A6), written from the methods' policies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from libs.contracts.policies import Method, Retry, methods, own_services

CONFIG = Path(__file__).resolve().parents[2] / "libs/client/weft/client/service_config.json"

MAX_TOKENS, TOKEN_RATIO = 100, 0.1
"""Retries stop while more than MAX_TOKENS / 2 attempts failed lately: each failure costs one, a success gives
TOKEN_RATIO."""


def service_config(_proto: Path) -> str:
    """The config of all of Weft's own methods: the longest timeout of each (gRPC takes the lesser of it and the
    caller's), and its retries."""
    own = {service.full_name for service in own_services()}
    entries = [_entry(method) for path, method in sorted(methods().items()) if method.service in own]
    throttling = {"maxTokens": MAX_TOKENS, "tokenRatio": TOKEN_RATIO}
    return json.dumps({"methodConfig": entries, "retryThrottling": throttling}, indent=2) + "\n"


def _entry(method: Method) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": [{"service": method.service, "method": method.name}],
        "timeout": _seconds(method.max_timeout_s),
    }
    if method.retry is not None:
        entry["retryPolicy"] = _retry_policy(method.retry)
    return entry


def _retry_policy(retry: Retry) -> dict[str, Any]:
    return {
        "maxAttempts": retry.max_attempts,
        "initialBackoff": _seconds(retry.initial_backoff_s),
        "maxBackoff": _seconds(retry.max_backoff_s),
        "backoffMultiplier": retry.backoff_multiplier,
        "retryableStatusCodes": list(retry.codes),
    }


def _seconds(value: float) -> str:
    return f"{value:g}s"
