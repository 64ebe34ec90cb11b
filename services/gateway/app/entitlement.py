"""What a caller may, in all: what WhoAmI tells."""

from __future__ import annotations

from dataclasses import dataclass

from libs.auth.tokens import Principal
from libs.contracts.headers import PRIORITIES
from libs.plans.plans import Plans, RateLimit
from services.gateway.app.terms import lower


@dataclass(frozen=True, slots=True)
class Entitlement:
    """The plan of the caller's key, or of its tenant, how urgent its calls may be, and every limit on their number."""

    plan: str
    highest_priority: str
    rate_limits: tuple[RateLimit, ...]


def entitlement(plans: Plans, principal: Principal) -> Entitlement | None:
    """By the tenant's plan, narrowed by the principal's own where it has one; None where a plan is not there."""
    plan = plans.of(principal.tenant)
    key = plans.plans.get(principal.plan) if principal.plan else plan
    if plan is None or key is None:
        return None
    groups = (limit for name in sorted(plan.group_limits) for limit in plan.group_limits[name])
    return Entitlement(
        plan=key.name,
        highest_priority=min(plan.highest_priority, key.highest_priority, key=PRIORITIES.index),
        rate_limits=(*plan.tenant_limits, *lower(plan.key_limits, key.key_limits), *groups),
    )
