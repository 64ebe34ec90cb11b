"""Plans, tenants and prices: what a tenant may, as the settings file says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

DEFAULT_MINUTE = 100
DEFAULT_HOUR = 1000
"""Calls of a tenant where its plan says nothing of limits."""

WINDOWS_S = MappingProxyType({"minute": 60, "hour": 3600})


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Most calls within any `window_s` seconds. `name` is "tenant/minute", "key/hour" or "search/minute" (a method's
    limit group)."""

    name: str
    limit: int
    window_s: int


@dataclass(frozen=True, slots=True)
class Budget:
    """Most that may be used in a period. `name` is "tenant/day/tokens": scope (tenant, key), period (day, month), unit
    (tokens, money); `limit` is in tokens, or in nanos of the currency."""

    name: str
    limit: int


@dataclass(frozen=True, slots=True)
class Price:
    """Nanos of the currency for a token: a price of 1.00 for a million tokens is 1,000."""

    input_nanos: int
    output_nanos: int


@dataclass(frozen=True)
class Prices:
    """What models cost. `other` is of models that are not named. `version` changes with any of it."""

    version: str
    currency_code: str
    models: Mapping[str, Price]
    other: Price

    @cached_property
    def dearest(self) -> Price:
        """The most that a token can cost, read and written each, whatever the model."""
        every = (*self.models.values(), self.other)
        return Price(max(price.input_nanos for price in every), max(price.output_nanos for price in every))


@dataclass(frozen=True)
class Plan:
    """What a tenant or a key may. Limits and budgets of a scope that is not named are none."""

    name: str
    tenant_limits: tuple[RateLimit, ...]
    key_limits: tuple[RateLimit, ...]
    group_limits: Mapping[str, tuple[RateLimit, ...]]
    tenant_budgets: tuple[Budget, ...]
    key_budgets: tuple[Budget, ...]
    highest_priority: str
    may_fall_back: bool
    open_calls: int
    """Most calls of a tenant that one gateway has under way."""


@dataclass(frozen=True)
class Plans:
    """A settings file that is in force. `version` is of its content."""

    version: str
    plans: Mapping[str, Plan]
    tenants: Mapping[str, Plan]
    """Of the tenants that are named: their plan, with what the file says of the tenant itself before the plan's."""
    default_plan: Plan | None
    """Of tenants that are not named; None: they are refused."""
    prices: Prices

    def of(self, tenant: str) -> Plan | None:
        """The tenant's plan; None: the settings know no such tenant."""
        return self.tenants.get(tenant, self.default_plan)
