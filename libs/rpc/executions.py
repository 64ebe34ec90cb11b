"""Work of models under a running call: what it may use, and that what it used is written down whatever its end is."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from libs.ledger.accounts import Execution
from libs.rpc.call import CallScope, running
from libs.telemetry import logs

_recording: set[asyncio.Task[bool]] = set()
"""Keeps a record that is being written when its call is gone already."""


class RunningExecution:
    """Work of one model. `allowance_tokens`: the most it may read and write together; None: no bound."""

    __slots__ = ("_scope", "allowance_tokens", "execution_id", "input_tokens", "model", "output_tokens")

    def __init__(self, scope: CallScope, model: str) -> None:
        self._scope = scope
        self.model = model
        self.execution_id = f"{scope.context.path}/{secrets.token_hex(6)}"
        self.allowance_tokens = scope.allowance_tokens
        self.input_tokens = 0
        self.output_tokens = 0

    def used(self, *, input_tokens: int, output_tokens: int) -> None:
        """All that was used so far; the last word counts."""
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens


@asynccontextmanager
async def executing(model: str) -> AsyncIterator[RunningExecution]:
    """Work of `model` for the running call. It takes all that the call may use, and gives back what is left.

    On leaving, however, what was used is recorded: it is written down before the call can end well. A cancel does not
    stop that. Raises RuntimeError where no call is running.
    """
    scope = running()
    execution = RunningExecution(scope, model)
    if scope.allowance_tokens is not None:
        scope.allowance_tokens = 0
    if scope.accounts is not None:
        scope.accounts.begin(scope.context, execution.execution_id)
    try:
        yield execution
    finally:
        total = execution.input_tokens + execution.output_tokens
        scope.used_tokens += total
        if execution.allowance_tokens is not None and scope.allowance_tokens is not None:
            scope.allowance_tokens += max(0, execution.allowance_tokens - total)
        await _record(scope, execution)


async def recorded() -> None:
    """Returns when every record that was begun is written, or is in the ledger's own hands."""
    while _recording:
        await asyncio.wait(_recording)


async def _record(scope: CallScope, execution: RunningExecution) -> None:
    logs.info(
        "execution",
        execution_id=execution.execution_id,
        model=execution.model,
        input_tokens=execution.input_tokens,
        output_tokens=execution.output_tokens,
    )
    if scope.accounts is None:
        return
    told = Execution(execution.execution_id, execution.model, execution.input_tokens, execution.output_tokens)
    task = asyncio.get_running_loop().create_task(scope.accounts.record(scope.context, told))
    _recording.add(task)
    task.add_done_callback(_recording.discard)
    scope.is_told = await asyncio.shield(task) and scope.is_told
