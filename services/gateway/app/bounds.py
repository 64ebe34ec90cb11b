"""What the calls under way may take of one gateway: so many of each tenant, so many bytes of all."""

from __future__ import annotations

from libs.errors.errors import Reason, ResourceExhaustedError
from libs.telemetry import metrics

RETRY_S = 1.0
"""What RetryInfo says of a bound that is reached: half of the calls under way are over much sooner."""

_open_calls = metrics.gauge("weft_gateway_open_calls", "Calls under way whose callers are known.")
_held_bytes = metrics.gauge("weft_gateway_held_request_bytes", "Bytes of requests that are held for calls under way.")
_refused = metrics.counter(
    "weft_gateway_overloaded_total", "Calls refused because too much is under way, by what: calls, bytes.", ["bound"]
)


class Bounds:
    """Counts calls from when their caller is known until they end, and the requests that are held for them."""

    def __init__(self, most_body_bytes: int) -> None:
        self._most_body_bytes = most_body_bytes
        self._body_bytes = 0
        self._calls: dict[str, int] = {}
        _open_calls.set_function(lambda: sum(self._calls.values()))
        _held_bytes.set_function(lambda: self._body_bytes)

    def enter(self, tenant: str, most: int) -> None:
        """One more call of a tenant that may have `most`. Raises ResourceExhaustedError OVERLOADED."""
        calls = self._calls.get(tenant, 0)
        if calls >= most:
            _refused.labels(bound="calls").inc()
            raise _overloaded(f"{calls} calls of the tenant are under way here, as many as its plan allows; try again")
        self._calls[tenant] = calls + 1

    def leave(self, tenant: str) -> None:
        """The call is over."""
        left = self._calls[tenant] - 1
        if left:
            self._calls[tenant] = left
        else:
            del self._calls[tenant]

    def hold(self, size: int) -> None:
        """A request of so many bytes is held. Raises ResourceExhaustedError OVERLOADED, and holds nothing then."""
        if self._body_bytes + size > self._most_body_bytes:
            _refused.labels(bound="bytes").inc()
            raise _overloaded("the gateway holds as many bytes of requests as it may; try again")
        self._body_bytes += size

    def let_go(self, size: int) -> None:
        """It is held no more."""
        self._body_bytes -= size


def _overloaded(message: str) -> ResourceExhaustedError:
    return ResourceExhaustedError(Reason.OVERLOADED, message, retry_after_s=RETRY_S)
