"""Where it is written down what calls use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from libs.auth.context import CallContext


@dataclass(frozen=True, slots=True)
class Execution:
    """What a model did for a call. `execution_id` is unique in the call; it begins with the context's path and "/"."""

    execution_id: str
    model: str
    input_tokens: int
    output_tokens: int


class Accounts(Protocol):
    """The ledger of usage; `libs.ledger.ledger.RedisLedger`."""

    def begin(self, call: CallContext, execution_id: str) -> None:
        """Work for the call begins now; its `record` will follow, unless this process dies. Returns at once."""
        ...

    async def record(self, call: CallContext, execution: Execution) -> bool:
        """Charges what was used. Once for each execution, however often it is told; never raises.

        True when it is written down; False after a second in which the ledger was not reached: then it is told again
        until it is.
        """
        ...

    async def close(self, call: CallContext, unseen: Sequence[str]) -> None:
        """The call that the gateway made (`path` "") has ended, and begins no more work. Never raises.

        `unseen`: paths of the calls made under it whose end was not seen: they may still tell of executions. What was
        reserved for the call and not used is free again when all of these have.
        """
        ...
