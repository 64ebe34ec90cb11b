"""A whole stack for the tests that go across services: the same parts that `weft up` starts, on ports of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools.stack.bringup import bring_up
from tools.stack.part import Stack, load_declaration
from tools.stack.plans import PLANS_FILE
from tools.stack.snapshot import Snapshot
from tools.stack.tokens import all_scopes, stack_token

MODULE = "tools.stack.parts"
PLANS = """\
prices: {other: {input: 1.00, output: 3.00}}
plans:
  tests: {limits: none, highest_priority: high, fallback: true, open_calls: 1000}
  standard: {}
default_plan: tests
"""
"""Whatever tenant a test makes up, it is not starved."""


@dataclass(frozen=True)
class RunningStack:
    """A stack that answers. `address` is where its users dial."""

    stack: Stack

    @property
    def address(self) -> str:
        return self.stack.entry

    def token(self, scopes: Iterable[str] | None = None, tenant: str = "tests") -> str:
        """A token that the gateway takes; with every scope where none are named."""
        wanted = all_scopes() if scopes is None else scopes
        return stack_token(self.stack.folder("keys"), subject="tests", tenant=tenant, scopes=wanted, ttl_s=3600)


class Steps:
    """Prints what is being done, for pytest to show where it fails."""

    def step(self, step: str, done: float) -> None:
        print(f"{done:4.0%} {step}", flush=True)

    def parts(self, snapshot: Snapshot) -> None:
        print(*(f"{part.name}={part.state}" for part in snapshot.parts), flush=True)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One stack for the whole session, started at its first use. It ends with the session, however that ends."""
    state: Path = tmp_path_factory.mktemp("stack")
    (state / PLANS_FILE).write_text(PLANS)
    any_free = {part.name: "0" for part in load_declaration(MODULE).parts}
    launched = bring_up(state, MODULE, Steps(), ports=any_free)
    yield RunningStack(launched.stack)
    launched.stop()
