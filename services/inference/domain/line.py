"""Who gets a model's next slot: the discipline of one model's queue. Pure; times are seconds of one clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from libs.errors.errors import Reason, ResourceExhaustedError
from services.inference.domain.callers import Priority

PATIENCE_S = 5.0
AGED_EVERY = 4
"""Of so many turns one goes to whoever has waited longest, if that is PATIENCE_S or more."""

SHORTEST_RETRY_S = 0.1
LONGEST_RETRY_S = 30.0

_NEWEST_WEIGHT = 0.1
_LONGEST_STRETCH = 5.0
_WORTH_BEGINNING = 0.5


@dataclass(frozen=True, slots=True)
class Bounds:
    """Most executions of a model at a time, and most calls that wait for one; both at least 1.

    The other numbers follow from these: the last quarter of the slots is for HIGH alone, and LOW has at most half of
    them, so that a class finds no model full of less urgent work. A tenant has at most three quarters of the slots
    while another one's call could have the next, and at most half of the queue.
    """

    slots: int
    queue: int

    def slots_up_to(self, priority: Priority) -> int:
        """Most slots of the calls of `priority` and below together."""
        shares = {Priority.LOW: self.slots // 2, Priority.NORMAL: self.slots * 3 // 4, Priority.HIGH: self.slots}
        return max(1, shares[priority])

    @property
    def tenant_slots(self) -> int:
        """Of one tenant, while others wait."""
        return max(1, self.slots * 3 // 4)

    @property
    def tenant_queue(self) -> int:
        """Of one tenant."""
        return max(1, self.queue // 2)


class Ticket:
    """A call in the line. `begun_s`: when it got its slot; None: it waits, or has left. `waits`: there was no slot when
    it came."""

    __slots__ = ("arrived_s", "begun_s", "deadline_s", "expected_s", "priority", "tenant", "waits")

    def __init__(self, tenant: str, priority: Priority, arrived_s: float, deadline_s: float) -> None:
        self.tenant = tenant
        self.priority = priority
        self.arrived_s = arrived_s
        self.deadline_s = deadline_s
        self.expected_s = 0.0
        self.begun_s: float | None = None
        self.waits = False


class Line:
    """The calls that have a slot of one model, and those that wait for one.

    Higher classes go first; within a class the tenant with the fewest slots, of several the one whose last turn is
    longest ago; within a tenant in the order of arrival. Of AGED_EVERY turns one goes to the call that has waited
    longest, if that is PATIENCE_S or more: so whoever has waited so long, and has `n` older calls before it, waits for
    at most AGED_EVERY * (n + 1) turns of those that its class's and its tenant's share of the slots let it have.

    After each change `next` is to be called until it gives nobody.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._waiting: dict[Priority, dict[str, dict[Ticket, None]]] = {priority: {} for priority in Priority}
        self._waiting_of: defaultdict[str, int] = defaultdict(int)
        self._running: defaultdict[Priority, int] = defaultdict(int)
        self._running_of: defaultdict[str, int] = defaultdict(int)
        self._last_turn: dict[str, int] = {}
        self._turns = 0
        self._turns_since_aged = 0
        self._service_s: float | None = None
        self._stretch: dict[Priority, float] = dict.fromkeys(Priority, 1.0)

    @property
    def running(self) -> int:
        """Slots that are taken."""
        return sum(self._running.values())

    def waiting(self, priority: Priority | None = None) -> int:
        """Calls that wait, of one class or of all."""
        classes = self._waiting.values() if priority is None else [self._waiting[priority]]
        return sum(len(tickets) for tenants in classes for tickets in tenants.values())

    def tickets(self) -> list[Ticket]:
        """Those that wait."""
        return [ticket for tenants in self._waiting.values() for tickets in tenants.values() for ticket in tickets]

    def enter(self, tenant: str, priority: Priority, now_s: float, within_s: float) -> tuple[Ticket, Ticket | None]:
        """A call arrives that has `within_s` left. Its ticket, and that of a less urgent one, or of a tenant with more
        of the queue, that has lost its place to it.

        Raises ResourceExhaustedError (OVERLOADED) where it would have to wait and its turn would come too late to be
        of use, or where there is no place for it. RetryInfo is when there is likely to be room.
        """
        ticket = Ticket(tenant, priority, now_s, now_s + within_s)
        displaced = None
        if not self._has_room(priority):
            ticket.waits = True
            wait_s = ticket.expected_s = self._expected_wait_s(ticket)
            if wait_s + (self._service_s or 0.0) > within_s:
                raise overloaded("it would be answered too late", wait_s)
            if self._waiting_of.get(tenant, 0) >= self._bounds.tenant_queue:
                raise overloaded("too many of the tenant's calls wait", wait_s)
            if self.waiting() >= self._bounds.queue:
                displaced = self._displaced_by(ticket)
                if displaced is None:
                    raise overloaded("too many calls wait", wait_s)
                self._take_out(displaced)
        self._waiting[priority].setdefault(tenant, {})[ticket] = None
        self._waiting_of[tenant] += 1
        self._last_turn.setdefault(tenant, self._turns)  # who comes anew is not before those who are here
        return ticket, displaced

    def next(self, now_s: float) -> Ticket | None:
        """Gives a free slot to whoever's turn it is; None where there is none, or nobody who may have it."""
        ticket = self._aged(now_s) or self._by_class()
        if ticket is None:
            return None
        self._take_out(ticket)
        ticket.begun_s = now_s
        self._running[ticket.priority] += 1
        self._running_of[ticket.tenant] += 1
        self._turns += 1
        self._turns_since_aged += 1
        self._last_turn[ticket.tenant] = self._turns
        self._learn_stretch(ticket, now_s - ticket.arrived_s)
        return ticket

    def comes_too_late(self, ticket: Ticket, now_s: float) -> bool:
        """Whether its turn came after a wait that leaves less than half of what an execution usually takes."""
        return ticket.waits and now_s + _WORTH_BEGINNING * (self._service_s or 0.0) > ticket.deadline_s

    def leave(self, ticket: Ticket, now_s: float, *, counts: bool = True) -> None:
        """The call is over, or does not want to wait any longer; a second time changes nothing. `counts`: how long that
        took says how long it will take others."""
        if ticket.begun_s is None:
            if ticket in self._waiting[ticket.priority].get(ticket.tenant, ()):
                self._take_out(ticket)
                if counts:
                    self._learn_stretch(ticket, max(now_s - ticket.arrived_s, ticket.expected_s))
            return
        held_s, ticket.begun_s = now_s - ticket.begun_s, None
        self._running[ticket.priority] -= 1
        self._running_of[ticket.tenant] -= 1
        if counts:
            self._service_s = _moved(self._service_s, held_s)
        self._forget(ticket.tenant)

    def retry_s(self, priority: Priority) -> float:
        """When there is likely to be room for a call of the class."""
        return _retry_s(self._expected_wait_s(Ticket("", priority, 0.0, 0.0)))

    def _has_room(self, priority: Priority) -> bool:
        """Whether the class may have one more slot."""
        taken = 0
        for below in Priority:  # ascending
            taken += self._running[below]
            if below >= priority and taken >= self._bounds.slots_up_to(below):
                return False
        return True

    def _aged(self, now_s: float) -> Ticket | None:
        if self._turns_since_aged < AGED_EVERY - 1:
            return None
        old = [ticket for ticket in self._first_tickets() if now_s - ticket.arrived_s >= PATIENCE_S]
        able = [ticket for ticket in old if self._has_room(ticket.priority) and not self._has_its_share(ticket.tenant)]
        if not able:
            return None
        self._turns_since_aged = -1  # the turn that it gets now counts too
        return min(able, key=lambda ticket: ticket.arrived_s)

    def _by_class(self) -> Ticket | None:
        """By priority; a tenant that has its share of the slots only where nobody else can have the next."""
        for beyond_its_share in (False, True):
            for priority in reversed(Priority):
                tenants = self._waiting[priority]
                if tenants and self._has_room(priority):
                    able = [one for one in tenants if beyond_its_share or not self._has_its_share(one)]
                    if able:
                        return next(iter(tenants[min(able, key=self._order)]))
        return None

    def _order(self, tenant: str) -> tuple[int, int]:
        return self._running_of[tenant], self._last_turn[tenant]

    def _has_its_share(self, tenant: str) -> bool:
        return self._running_of[tenant] >= self._bounds.tenant_slots

    def _first_tickets(self) -> Iterator[Ticket]:
        for tenants in self._waiting.values():
            for tickets in tenants.values():
                yield next(iter(tickets))

    def _displaced_by(self, ticket: Ticket) -> Ticket | None:
        lowest = next(priority for priority in Priority if self._waiting[priority])
        tenants = self._waiting[lowest]
        most = max(tenants, key=lambda tenant: len(tenants[tenant]))
        own = len(tenants.get(ticket.tenant, ()))
        if lowest < ticket.priority or (lowest == ticket.priority and own + 1 < len(tenants[most])):
            return next(reversed(tenants[most]))
        return None

    def _take_out(self, ticket: Ticket) -> None:
        tenants = self._waiting[ticket.priority]
        del tenants[ticket.tenant][ticket]
        if not tenants[ticket.tenant]:
            del tenants[ticket.tenant]
        self._waiting_of[ticket.tenant] -= 1
        self._forget(ticket.tenant)

    def _forget(self, tenant: str) -> None:
        """Keeps nothing of a tenant that has nothing here."""
        if not self._waiting_of[tenant] and not self._running_of[tenant]:
            del self._waiting_of[tenant], self._running_of[tenant]
            self._last_turn.pop(tenant, None)

    def _expected_wait_s(self, ticket: Ticket) -> float:
        """From how long executions took lately, who is before it, and how far such guesses were off lately."""
        tenants = self._waiting[ticket.priority]
        own = len(tenants.get(ticket.tenant, ()))
        before = own + sum(min(len(tickets), own + 1) for tenant, tickets in tenants.items() if tenant != ticket.tenant)
        above = sum(self.waiting(priority) for priority in Priority if priority > ticket.priority)
        service_s = self._service_s or 0.0
        by_all = (above + before + 1) * service_s / self._bounds.slots
        by_class = (before + 1) * service_s / self._bounds.slots_up_to(ticket.priority)
        return max(by_all, by_class) * self._stretch[ticket.priority]

    def _learn_stretch(self, ticket: Ticket, waited_s: float) -> None:
        """By how much longer than expected it waited; one that did not have to wait brings it back to 1."""
        before = self._stretch[ticket.priority]
        seen = before * waited_s / ticket.expected_s if ticket.expected_s > 0 else 1.0
        self._stretch[ticket.priority] = min(max(_moved(before, seen), 1.0), _LONGEST_STRETCH)


def overloaded(why: str, wait_s: float) -> ResourceExhaustedError:
    """The error of a call that is not let in; it is worth trying again when what waits now is done, within bounds."""
    return ResourceExhaustedError(Reason.OVERLOADED, f"{why}; try again later", retry_after_s=_retry_s(wait_s))


def _retry_s(wait_s: float) -> float:
    return min(max(wait_s, SHORTEST_RETRY_S), LONGEST_RETRY_S)


def _moved(before: float | None, seen: float) -> float:
    return seen if before is None else before + _NEWEST_WEIGHT * (seen - before)
