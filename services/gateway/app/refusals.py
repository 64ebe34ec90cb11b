"""What a caller is told whom the ledger refuses, and of the limit that is nearest."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from libs.contracts import headers
from libs.errors.errors import Reason, ResourceExhaustedError
from libs.telemetry import metrics
from services.gateway.ports import Outcome, Rate, Verdict

HELD_RETRY_S = 1.0
"""The ledger's word on when, where calls under way hold the rest of a budget."""

_refused = metrics.counter("weft_gateway_refused_total", "Calls that a limit or a budget refused.", ["reason"])


def refusal(verdict: Verdict) -> ResourceExhaustedError | None:
    """RATE_LIMITED or BUDGET_EXHAUSTED, counted; None where the verdict refuses nothing."""
    if verdict.outcome is Outcome.RATE_LIMITED:
        refused = _rate_limited(verdict)
    elif verdict.outcome is Outcome.BUDGET_EXHAUSTED:
        refused = _budget_exhausted(verdict)
    else:
        return None
    _refused.labels(reason=refused.reason.value).inc()
    return refused


def rate_headers(rate: Rate) -> tuple[tuple[str, str], ...]:
    """Limit, remaining and reset, for the answer."""
    return (
        (headers.RATE_LIMIT, str(rate.limit)),
        (headers.RATE_REMAINING, str(rate.remaining)),
        (headers.RATE_RESET, str(rate.reset_s)),
    )


def _rate_limited(verdict: Verdict) -> ResourceExhaustedError:
    return ResourceExhaustedError(
        Reason.RATE_LIMITED,
        f"more calls than the plan allows: the limit {verdict.refused_by} is reached; the next one is due in "
        f"{math.ceil(verdict.retry_after_s)} s",
        metadata={"limit": verdict.refused_by},
        retry_after_s=verdict.retry_after_s,
    )


def _budget_exhausted(verdict: Verdict) -> ResourceExhaustedError:
    reset_time = datetime.fromtimestamp(verdict.reset_unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    held = verdict.retry_after_s <= HELD_RETRY_S
    return ResourceExhaustedError(
        Reason.BUDGET_EXHAUSTED,
        f"calls under way hold what is left of the budget {verdict.refused_by}; try again in a second"
        if held
        else f"nothing is left of the budget {verdict.refused_by}, which begins anew at {reset_time}",
        metadata={"budget": verdict.refused_by, "reset_time": reset_time},
        retry_after_s=verdict.retry_after_s,
    )
