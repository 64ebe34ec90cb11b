"""Whatever comes, waits, gives up and ends: what a line promises holds at each step."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest

from libs.errors.errors import ResourceExhaustedError
from services.inference.domain.callers import Priority
from services.inference.domain.line import (
    AGED_EVERY,
    LONGEST_RETRY_S,
    PATIENCE_S,
    SHORTEST_RETRY_S,
    Bounds,
    Line,
    Ticket,
)

LOW, NORMAL, HIGH = Priority
FOREVER = float("inf")


class Simulation:
    """Calls that come, wait, give up and end by chance, all from one seed; checks at each step what must hold."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.bounds = Bounds(self.random.randint(1, 9), self.random.randint(1, 40))
        self.line = Line(self.bounds)
        self.now_s = 0.0
        self.waiting: list[Ticket] = []
        self.running: list[Ticket] = []
        self.older_when_patience_ended: dict[Ticket, int] = {}
        self.able_turns: defaultdict[Ticket, int] = defaultdict(int)
        self.turns: list[Ticket] = []

    def steps(self, count: int) -> Iterator[None]:
        for _ in range(count):
            self.now_s += self.random.expovariate(5.0)
            self.random.choice([self.arrive, self.arrive, self.finish, self.finish, self.give_up])()
            self.call()
            self.check()
            yield

    def arrive(self) -> None:
        tenant, priority = f"t{int(self.random.expovariate(0.5))}", self.random.choice([LOW, LOW, NORMAL, HIGH])
        try:
            ticket, displaced = self.line.enter(tenant, priority, self.now_s, self.random.choice([FOREVER, 20.0]))
        except ResourceExhaustedError as error:
            assert SHORTEST_RETRY_S <= (error.retry_after_s or 0.0) <= LONGEST_RETRY_S
            return
        self.waiting.append(ticket)
        if displaced is not None:
            assert displaced.priority <= priority
            self.waiting.remove(displaced)

    def finish(self) -> None:
        if self.running:
            self.leave(self.running)

    def give_up(self) -> None:
        if self.waiting:
            self.leave(self.waiting)

    def leave(self, among: list[Ticket]) -> None:
        ticket = among.pop(self.random.randrange(len(among)))
        self.line.leave(ticket, self.now_s)

    def may_have_one(self, ticket: Ticket) -> bool:
        """By the promise alone, counted anew."""
        classes = Counter(one.priority for one in self.running)
        up_to = {priority: sum(classes[below] for below in Priority if below <= priority) for priority in Priority}
        return all(up_to[one] < self.bounds.slots_up_to(one) for one in Priority if one >= ticket.priority)

    def has_its_share(self, ticket: Ticket) -> bool:
        return sum(one.tenant == ticket.tenant for one in self.running) >= self.bounds.tenant_slots

    def call(self) -> None:
        while True:
            able = [one for one in self.waiting if self.may_have_one(one)]
            within = [one for one in able if not self.has_its_share(one)]
            patient = [one for one in within if self.now_s - one.arrived_s >= PATIENCE_S]
            ticket = self.line.next(self.now_s)
            if ticket is None:
                assert not able, "a slot that somebody could have is free"
                return
            assert ticket in (within or able)
            aged = bool(patient) and ticket is min(patient, key=lambda one: one.arrived_s)
            assert aged or ticket.priority == max(one.priority for one in within or able)
            for one in patient:
                self.able_turns[one] += 1
                older = sum(other.arrived_s < one.arrived_s for other in self.waiting)
                self.older_when_patience_ended.setdefault(one, older)
            self.waiting.remove(ticket)
            self.running.append(ticket)

    def check(self) -> None:
        assert self.line.running == len(self.running) <= self.bounds.slots
        assert self.line.waiting() == len(self.waiting) <= self.bounds.queue
        assert sorted(map(id, self.line.tickets())) == sorted(map(id, self.waiting))
        for count in Counter(one.tenant for one in self.waiting).values():
            assert count <= self.bounds.tenant_queue
        for ticket, turns in self.able_turns.items():
            assert turns <= AGED_EVERY * (self.older_when_patience_ended[ticket] + 1)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens(seed: int) -> None:
    """No slot is lost and none given twice; nobody is passed over who could have had it, but by priority, by fairness
    or by age; who has waited long enough goes within the stated bound; all bounds hold."""
    simulation = Simulation(seed)
    for _ in simulation.steps(1500):
        pass
    while simulation.running or simulation.waiting:
        simulation.finish()
        simulation.now_s += 0.1
        simulation.call()
        simulation.check()
    assert simulation.line.running == 0
