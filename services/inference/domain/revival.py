"""When a model that died may be loaded again."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 300.0
CALM_S = 600.0


@dataclass(frozen=True, slots=True)
class Attempts:
    """Reloads of one model: when the last one was, and how long the next one waits from there. Times are seconds."""

    last_s: float = float("-inf")
    wait_s: float = 0.0

    def due(self, now_s: float) -> bool:
        """Whether another one may be made."""
        return now_s >= self.last_s + self.wait_s

    def made(self, now_s: float) -> Attempts:
        """One was made now: the wait begins at FIRST_WAIT_S and doubles, until the model has lived for CALM_S."""
        calm = now_s - self.last_s > CALM_S
        return Attempts(now_s, FIRST_WAIT_S if calm else min(2 * self.wait_s, LONGEST_WAIT_S))
