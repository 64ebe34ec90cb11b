"""What the calls of one server share."""

from __future__ import annotations

import asyncio

from libs.ledger.accounts import Accounts
from libs.rpc.call import CallScope
from libs.rpc.guard import Guard


class Gate:
    """The guard, how many may run at a time, and where it is written what they use.

    `answers_callers`: no service of Weft's is in front of this one. Calls without a token have a bound of their own, so
    that they cannot take the place of those with one.
    """

    MAX_PUBLIC_CALLS = 200

    def __init__(
        self, guard: Guard, max_calls: int, *, answers_callers: bool, accounts: Accounts | None = None
    ) -> None:
        self.guard = guard
        self.answers_callers = answers_callers
        self.accounts = accounts
        self.max_calls = max_calls
        self.running = 0
        self.running_public = 0
        self._closing: set[asyncio.Task[None]] = set()

    def close_account(self, scope: CallScope) -> None:
        """Tells the ledger that a call which the gateway made has ended, once all is known of it."""
        if self.accounts is not None:
            task = asyncio.get_running_loop().create_task(_close_account(self.accounts, scope))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def accounts_closed(self) -> None:
        """Returns when the ledger was told of every call that has ended."""
        while self._closing:
            await asyncio.wait(self._closing)


async def _close_account(accounts: Accounts, scope: CallScope) -> None:
    await scope.all_settled()
    await accounts.close(scope.context, scope.unseen)
