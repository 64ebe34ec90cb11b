"""What the Open Inference door charges."""

from __future__ import annotations

import pytest

from libs.errors.errors import Reason, ResourceExhaustedError
from services.inference.app.charge_bytes import byte_bill
from services.inference.app.tests.fakes import Counter
from services.inference.domain.bytes_charge import BytesCharge
from services.inference.domain.generation import Usage


@pytest.mark.parametrize(
    ("read", "written", "usage"),
    [(0, 0, Usage(16, 0)), (1, 1, Usage(17, 1)), (4, 8, Usage(17, 2)), (5, 9, Usage(18, 3))],
)
def test_bytes_are_tokens(read: int, written: int, usage: Usage) -> None:
    """Each direction rounded up, and what a call costs beside its bytes."""
    assert BytesCharge(4, 16).with_more(read=read, written=written).usage == usage


def test_a_sum_is_rounded_once() -> None:
    """Many small messages cost as much as a large one."""
    charge = BytesCharge(4)
    for _ in range(8):
        charge = charge.with_more(read=1, written=3)
    assert charge.usage == Usage(2, 6)


async def test_a_bill_is_of_each_model() -> None:
    """An execution for each that was asked; an answer of a model that nobody asked counts for the first."""
    meter = Counter()
    async with byte_bill(meter, 4) as bill:
        await bill.read("a", 8)
        await bill.read("b", 4)
        bill.wrote("b", 12, bounded=True)
        bill.wrote("ensemble", 4, bounded=True)
        await bill.read("a", 4)
    assert [(one.model, one.words[-1], one.over) for one in meter.executions] == [
        ("a", (3, 1), True),
        ("b", (1, 3), True),
    ]


async def test_the_allowance_is_shared() -> None:
    """What all models used together is bounded; what would pass it is refused and not counted."""
    meter = Counter(allowance=10)
    async with byte_bill(meter, 1) as bill:
        await bill.read("a", 4)
        await bill.read("b", 3)
        bill.wrote("a", 3, bounded=True)
        for refused in ("a", "b"):
            with pytest.raises(ResourceExhaustedError) as caught:
                await bill.read(refused, 1)
            assert caught.value.reason is Reason.BUDGET_EXHAUSTED
        with pytest.raises(ResourceExhaustedError):
            bill.wrote("a", 1, bounded=True)
    assert [one.words[-1] for one in meter.executions] == [(4, 3), (3, 0)]


async def test_a_request_beyond_the_allowance_is_no_execution() -> None:
    """Nothing was done, so nothing is recorded."""
    meter = Counter(allowance=3)
    async with byte_bill(meter, 1) as bill:
        with pytest.raises(ResourceExhaustedError):
            await bill.read("a", 4)
    assert meter.executions == []


async def test_an_answer_that_nobody_bounds() -> None:
    """A unary answer may pass the allowance by its own size, and is counted in full."""
    meter = Counter(allowance=3)
    async with byte_bill(meter, 1) as bill:
        await bill.read("a", 3)
        bill.wrote("a", 50, bounded=False)
    assert meter.executions[0].words[-1] == (3, 50)
