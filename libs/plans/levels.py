"""Which level is in force: what the tenant's own entry says goes before its plan, a plan before the built-in defaults.

That holds for each value by itself (`limits.tenant.minute`). `none` for a group ends all of it that levels below say;
a level above may set some of it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from libs.plans.plans import DEFAULT_HOUR, DEFAULT_MINUTE, WINDOWS_S, Budget, Plan, RateLimit
from libs.plans.schema import PERIODS, SCOPES, Path, Said, limit_groups

BUILT_IN = "built-in default"
NANOS_IN_A_THOUSANDTH = 1_000_000


@dataclass(frozen=True)
class Level:
    """What one level says, by path ("limits", "tenant", "minute"). `name` is for people: "plans.gold"."""

    name: str
    place: str
    said: Mapping[Path, Said]


def _built_in(value: int | str | bool) -> Said:
    return Said(str(value).lower(), value, BUILT_IN)


DEFAULTS = Level(
    BUILT_IN,
    "",
    {
        ("limits", "tenant", "minute"): _built_in(DEFAULT_MINUTE),
        ("limits", "tenant", "hour"): _built_in(DEFAULT_HOUR),
        ("highest_priority",): _built_in("normal"),
        ("fallback",): _built_in(False),
        ("open_calls",): _built_in(100),
    },
)


def said_by(level: Level, path: Path) -> Said | None:
    """What a level says of a value: its own word, or `none` of a group that holds it."""
    for end in range(len(path), 0, -1):
        if (said := level.said.get(path[:end])) is not None:
            return said
    return None


def in_force(path: Path, levels: Sequence[Level]) -> Said | None:
    """What the first of the levels that says anything of the value says; None: none does."""
    return next((said for level in levels if (said := said_by(level, path)) is not None), None)


def plan_of(name: str, levels: Sequence[Level]) -> Plan:
    """The plan that the levels make together, the strongest first."""

    def value(*path: str) -> int | str | bool | None:
        said = in_force(path, levels)
        return None if said is None else said.value

    def limits(scope: str, *path: str) -> tuple[RateLimit, ...]:
        found = ((window, value("limits", *path, window)) for window in WINDOWS_S)
        return tuple(
            RateLimit(f"{scope}/{window}", int(limit), WINDOWS_S[window])
            for window, limit in found
            if limit is not None
        )

    groups = {group: limits(group, "groups", group) for group in limit_groups()}
    return Plan(
        name=name,
        tenant_limits=limits("tenant", "tenant"),
        key_limits=limits("key", "key"),
        group_limits={group: found for group, found in groups.items() if found},
        tenant_budgets=_budgets("tenant", levels),
        key_budgets=_budgets("key", levels),
        highest_priority=str(value("highest_priority")),
        may_fall_back=bool(value("fallback")),
        open_calls=int(value("open_calls") or 0),
    )


def _budgets(scope: str, levels: Sequence[Level]) -> tuple[Budget, ...]:
    assert scope in SCOPES
    found = []
    for period in PERIODS:
        for unit, scale in (("tokens", 1), ("money", NANOS_IN_A_THOUSANDTH)):
            said = in_force(("budgets", scope, period, unit), levels)
            if said is not None and said.value is not None:
                found.append(Budget(f"{scope}/{period}/{unit}", int(said.value) * scale))
    return tuple(found)
