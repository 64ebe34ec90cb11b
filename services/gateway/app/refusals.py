"""What a caller is told whom the ledger refuses, and of the limit that is nearest."""

from __future__ import annotations

from datetime import UTC, datetime

from libs.contracts import headers
from libs.errors.errors import Reason, ResourceExhaustedError
from services.gateway.ports import Rate, Verdict


def rate_limited(verdict: Verdict) -> ResourceExhaustedError:
    """RATE_LIMITED, with the limit and when the next call is due."""
    return ResourceExhaustedError(
        Reason.RATE_LIMITED,
        f"more calls than the plan allows: the limit {verdict.refused_by} is reached",
        metadata={"limit": verdict.refused_by},
        retry_after_s=verdict.retry_after_s,
    )


def budget_exhausted(verdict: Verdict) -> ResourceExhaustedError:
    """BUDGET_EXHAUSTED, with the budget and when its period ends."""
    reset_time = datetime.fromtimestamp(verdict.reset_unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return ResourceExhaustedError(
        Reason.BUDGET_EXHAUSTED,
        f"nothing is left of the budget {verdict.refused_by}, which begins anew at {reset_time}",
        metadata={"budget": verdict.refused_by, "reset_time": reset_time},
        retry_after_s=verdict.retry_after_s,
    )


def rate_headers(rate: Rate) -> tuple[tuple[str, str], ...]:
    """Limit, remaining and reset, for the answer."""
    return (
        (headers.RATE_LIMIT, str(rate.limit)),
        (headers.RATE_REMAINING, str(rate.remaining)),
        (headers.RATE_RESET, str(rate.reset_s)),
    )
