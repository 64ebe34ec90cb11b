"""Counts what calls use, as libs.rpc does it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from libs.rpc.call import running
from libs.rpc.executions import executing
from services.inference.ports import Execution


class CallMeter:
    """Meter of the call that runs."""

    def allowance_tokens(self) -> int | None:
        """See the port."""
        return running().allowance_tokens

    def executing(self, model: str) -> AbstractAsyncContextManager[Execution]:
        """See the port."""
        return executing(model)
