"""A circuit breaker: calls to a model that keeps failing are refused at once, but for one at a time that tries it.

Pure; times are seconds of one clock. After M. Nygard, Release It!, 2007, ch. 5.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum

from libs.errors.errors import Reason, ServiceError

RUN = 5
"""So many failures one after the other open it."""
MOST_FAILED = 10
SEEN = 20
"""So do MOST_FAILED of the last SEEN."""
WINDOW_S = 30.0
"""Failures that are older are forgotten."""
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
PROBE_S = 1.0
"""A probe is expected to say something within so long."""

_MODEL_FAILURES = (Reason.MODEL_UNAVAILABLE, Reason.DEPENDENCY_UNAVAILABLE)


class State(IntEnum):
    """What a breaker does with a call: lets it through, lets one at a time through, refuses it."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


def verdict_of(error: BaseException | None, *, produced: bool) -> bool | None:
    """What a call's end says of its model: True, it works; False, it does not; None, nothing.

    Cancels, passed deadlines, callers' mistakes and errors that a request may have caused are no failures of a model.
    """
    if isinstance(error, ServiceError) and error.reason in _MODEL_FAILURES:
        return False
    return True if error is None or produced else None


class Breaker:
    """One model's."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, bool]] = deque(maxlen=SEEN)
        self._open_until_s: float | None = None
        self._wait_s = 0.0
        self._probe: object | None = None

    def state(self, now_s: float) -> State:
        """What it does with a call that comes now."""
        if self._open_until_s is None:
            return State.CLOSED
        return State.OPEN if now_s < self._open_until_s else State.HALF_OPEN

    def refused_for_s(self, now_s: float) -> float | None:
        """Seconds after which another attempt is worth it; None where a call may go through now."""
        if self._open_until_s is None:
            return None
        if now_s < self._open_until_s:
            return self._open_until_s - now_s
        return PROBE_S if self._probe is not None else None

    def begin(self, call: object) -> None:
        """A call goes through, after `refused_for_s` said None. Of a model under suspicion it is the probe."""
        if self._open_until_s is not None:
            self._probe = call

    def end(self, call: object, verdict: bool | None, now_s: float) -> None:
        """What became of a call that went through. Of those that went through before it opened nothing counts."""
        if self._open_until_s is None:
            if verdict is not None:
                self._seen.append((now_s, verdict))
                if self._is_failing(now_s):
                    self.trip(now_s)
        elif call is self._probe:
            self._probe = None
            if verdict:
                self._close()
            elif verdict is False:
                self.trip(now_s)

    def works(self, call: object) -> None:
        """A call that goes on has had something of the model: a probe need not come to its end."""
        if call is self._probe:
            self._probe = None
            self._close()

    def trip(self, now_s: float) -> None:
        """The model is known to fail: refuses calls for a while, longer each time until one has worked."""
        self._wait_s = min(max(2 * self._wait_s, FIRST_WAIT_S), LONGEST_WAIT_S)
        self._open_until_s = now_s + self._wait_s
        self._probe = None
        self._seen.clear()

    def retry(self, now_s: float) -> None:
        """The model is said to be back: the next call tries it."""
        if self._open_until_s is not None:
            self._open_until_s = min(self._open_until_s, now_s)
            self._wait_s = 0.0

    def _close(self) -> None:
        self._open_until_s = None
        self._wait_s = 0.0

    def _is_failing(self, now_s: float) -> bool:
        recent = [worked for at_s, worked in self._seen if at_s > now_s - WINDOW_S]
        in_a_row = recent[-RUN:]
        return (len(in_a_row) == RUN and not any(in_a_row)) or recent.count(False) >= MOST_FAILED
