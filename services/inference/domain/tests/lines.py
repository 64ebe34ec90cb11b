"""Lines of calls for tests: who enters, who gets a slot, and lines that are full or have learnt."""

from services.inference.domain.callers import Priority
from services.inference.domain.line import Bounds, Line, Ticket

LOW, NORMAL, HIGH = Priority
FOREVER = float("inf")


def enter(
    line: Line, priority: Priority = NORMAL, tenant: str = "a", now_s: float = 0.0, within_s: float = FOREVER
) -> Ticket:
    """A call that displaces nobody."""
    ticket, displaced = line.enter(tenant, priority, now_s, within_s)
    assert displaced is None
    return ticket


def called(line: Line, now_s: float = 0.0) -> list[Ticket]:
    """Those who get a slot now."""
    found = []
    while ticket := line.next(now_s):
        found.append(ticket)
    return found


def full(slots: int, *, tenant: str = "other", queue: int = 64) -> tuple[Line, list[Ticket]]:
    """A line whose slots are all taken, by calls of the class that may have them all."""
    line = Line(Bounds(slots, queue))
    running = [enter(line, HIGH, f"{tenant}-{at}") for at in range(slots)]
    assert called(line) == running
    return line, running


def learnt(line: Line, service_s: float) -> None:
    """The line has seen executions of so long."""
    for _ in range(200):
        ticket = enter(line, HIGH, "teacher")
        assert called(line) == [ticket]
        line.leave(ticket, service_s)
