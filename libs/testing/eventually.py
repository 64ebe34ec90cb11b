"""Waiting for a condition, with a bound."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any


async def eventually(condition: Callable[[], Any], within_s: float = 10.0, every_s: float = 0.02) -> Any:
    """Returns the first true value of `condition()`, awaited where it must be.

    Raises AssertionError with the last value after `within_s`.
    """
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not true within {within_s} s; the last value was {value!r}")
        await asyncio.sleep(every_s)
