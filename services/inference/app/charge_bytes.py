"""Records what calls through the Open Inference Protocol use, by bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from services.inference.domain.bytes_charge import BytesCharge, budget_exhausted
from services.inference.ports import Execution, Meter

Recorded = tuple[BytesCharge, Execution]


class ByteBill:
    """What one call uses: an execution for each model that it asks, whose allowance they share."""

    def __init__(self, meter: Meter, bytes_per_token: int, a_call: int, executions: AsyncExitStack) -> None:
        self._meter = meter
        self._new = BytesCharge(bytes_per_token, a_call)
        self._executions = executions
        self._allowance_tokens = meter.allowance_tokens()
        self._recorded: dict[str, Recorded] = {}

    async def read(self, model: str, count: int) -> None:
        """So many bytes are about to be asked of the model. Raises ResourceExhaustedError (BUDGET_EXHAUSTED) where that
        is more than is left, and counts nothing then."""
        charge, execution = self._recorded.get(model, (self._new, None))
        charge = charge.with_more(read=count)
        self._check(model, charge)
        if execution is None:
            execution = await self._executions.enter_async_context(self._meter.executing(model))
        self._keep(model, charge, execution)

    def wrote(self, model: str, count: int, *, bounded: bool) -> None:
        """The model has answered so many bytes; of a model that was not asked they count for the first that was.

        Raises as `read` does, where `bounded`.
        """
        if self._recorded:
            model = model if model in self._recorded else next(iter(self._recorded))
            charge, execution = self._recorded[model]
            charge = charge.with_more(written=count)
            if bounded:
                self._check(model, charge)
            self._keep(model, charge, execution)

    def _check(self, model: str, charge: BytesCharge) -> None:
        if self._allowance_tokens is not None:
            others = sum(other.total_tokens for name, (other, _) in self._recorded.items() if name != model)
            if others + charge.total_tokens > self._allowance_tokens:
                raise budget_exhausted(self._allowance_tokens)

    def _keep(self, model: str, charge: BytesCharge, execution: Execution) -> None:
        self._recorded[model] = charge, execution
        execution.used(input_tokens=charge.usage.input_tokens, output_tokens=charge.usage.output_tokens)


@asynccontextmanager
async def byte_bill(meter: Meter, bytes_per_token: int, a_call: int = 0) -> AsyncGenerator[ByteBill]:
    """A bill, recorded on leaving."""
    async with AsyncExitStack() as executions:
        yield ByteBill(meter, bytes_per_token, a_call, executions)
