"""A whole stack for a bench, on ports of its own: where each way to its services begins, and what works for it."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from libs.auth.context import CallContext, read_context_key, seal
from libs.contracts import headers
from tools.localmesh.pods import outbound_address
from tools.stack.bringup import bring_up
from tools.stack.mesh import FOLDER
from tools.stack.options import Options
from tools.stack.part import Stack, load_declaration
from tools.stack.plans import PLANS_FILE
from tools.stack.replicas import stack_replicas
from tools.stack.setup import SUBJECT, TENANT
from tools.stack.snapshot import Snapshot, read_snapshot
from tools.stack.tokens import all_scopes, stack_token

MODULE = "tools.stack.parts"
TOKEN_LASTS_S = 24 * 3600
CONTEXT_LASTS_S = 590.0
"""No service believes one that lasts longer than the longest call."""
PLANS = """\
plans:
  bench: {limits: none, highest_priority: high, open_calls: 1000}
default_plan: bench
"""


@dataclass(frozen=True)
class BenchStack:
    """A stack that answers."""

    stack: Stack

    @property
    def entry(self) -> str:
        """Where users dial."""
        return self.stack.entry

    @property
    def envoy(self) -> Path:
        """Envoy's folder."""
        return self.stack.folder(FOLDER) / "envoy"

    def address_prefix(self) -> str:
        """What the addresses of its pods begin with, 127.a.b."""
        return stack_replicas(self.stack).pods(self.stack)[0].ip.rpartition(".")[0] + "."

    def app(self, part: str) -> str:
        """Where a part's own process listens."""
        return self.stack.address(part)

    def through(self, client: str, service: str) -> str:
        """Where the process of the part `client` dials to reach a Service through its proxy."""
        found = stack_replicas(self.stack)
        pod = found.pod(self.stack, client)
        ((to, port),) = [both for both in found.registry.dialled_by(pod.workload) if both[0].name == service]
        host, number = outbound_address(found.registry, pod, to, port)
        return f"{host}:{number}"

    def pids(self, *parts: str) -> dict[str, int]:
        """Of parts that run, by name."""
        snapshot = read_snapshot(self.stack.state)
        assert snapshot is not None
        return {part.name: part.pid for part in snapshot.parts if part.pid is not None and part.name in parts}

    def bearer(self) -> list[tuple[str, str]]:
        """What a user's call sends: a token for the sample collection's tenant, and that no kept answer is wanted."""
        keys = self.stack.folder("keys")
        token = stack_token(keys, subject=SUBJECT, tenant=TENANT, scopes=all_scopes(), ttl_s=TOKEN_LASTS_S)
        return [(headers.AUTHORIZATION, f"Bearer {token}"), (headers.CACHE_CONTROL, "no-store")]

    def context(self) -> list[tuple[str, str]]:
        """What a call from the gateway sends: the signed context, in hex."""
        key = read_context_key(self.stack.folder("keys") / "context.key")
        deadline_s = time.time() + CONTEXT_LASTS_S
        context = CallContext(TENANT, SUBJECT, str(uuid.uuid4()), "bench", "normal", deadline_s)
        return [(headers.CONTEXT, seal(context, key).hex())]


class Steps:
    """Tells on stderr how the start goes."""

    def step(self, step: str, done: float) -> None:
        """See Reporter."""
        print(f"{done:4.0%} {step}", file=sys.stderr, flush=True)

    def parts(self, snapshot: Snapshot) -> None:
        """See Reporter."""


@contextmanager
def running_stack(state: Path, options: Options) -> Iterator[BenchStack]:
    """A stack with nobody limited, while entered."""
    state.mkdir(parents=True)
    (state / PLANS_FILE).write_text(PLANS)
    name = f"{MODULE}?{options.query()}"
    launched = bring_up(state, name, Steps(), ports={part.name: "0" for part in load_declaration(name).parts})
    try:
        yield BenchStack(launched.stack)
    finally:
        launched.stop()
