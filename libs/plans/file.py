"""The settings file: plans, tenants and prices, read whole or refused with every problem at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath

from libs.config.located import LocatedError, parse, read_content, unknown
from libs.config.settings import SettingsError
from libs.plans.levels import DEFAULTS, Level, plan_of
from libs.plans.plans import Plans, Price, Prices
from libs.plans.schema import Path, Reading, Said, file_schema

DEFAULT_CURRENCY = "USD"
MOST_PROBLEMS = 50
OTHER = "other"
"""Under `prices`: of models that are not named."""

_NO_PLANS = "has no plans; write e.g. `plans: {standard: {}}` and `default_plan: standard`"
_NO_PLAN = "has no plan, and there is no default_plan; write `plan: NAME`"
_NO_PRICE = (
    f"is a budget in money, but prices.{OTHER} is no price above 0, so that models without a price would cost nothing; "
    f"write e.g. `prices: {{{OTHER}: {{input: 1.00, output: 3.00}}}}`"
)


class PlansError(SettingsError):
    """What is wrong with a settings file, a line a problem: "plans.yaml:12: plans.gold.open_calls: must be ..."."""


@dataclass(frozen=True)
class PlansText:
    """What a settings file says, each value with its place. `name` is what messages call the file."""

    name: str
    version: str
    said: Mapping[Path, Said]
    """What stands outside of entries: `currency`, `default_plan`."""
    entries: Mapping[str, Mapping[str, Level]]
    """What is said of each of the `plans`, the `tenants`, and the models in `prices`; in the file's order."""

    def plan_name(self, tenant: str) -> str | None:
        """The plan of a tenant, named or not; None: it has none."""
        entry = self.entries["tenants"].get(tenant)
        said = entry and entry.said.get(("plan",))
        said = said or self.said.get(("default_plan",))
        return None if said is None else str(said.value)

    def levels_of_plan(self, plan: str) -> tuple[Level, ...]:
        """What counts in a plan, the strongest first."""
        return (self.entries["plans"][plan], DEFAULTS)

    def levels_of_tenant(self, tenant: str) -> tuple[Level, ...]:
        """What counts for a tenant, the strongest first. Raises KeyError for one without a plan."""
        plan = self.plan_name(tenant)
        if plan is None:
            raise KeyError(tenant)
        own = self.entries["tenants"].get(tenant)
        return (*(() if own is None else (own,)), *self.levels_of_plan(plan))


def load(path: FilePath, name: str | None = None) -> Plans:
    """The plans of a file, which messages call `name`. Raises PlansError."""
    return plans_of(read(path, name))


def read(path: FilePath, name: str | None = None) -> PlansText:
    """What a file says. Raises PlansError where `load` does."""
    name = name or path.name
    try:
        content = read_content(path, name)
        located = parse(content, name)
    except LocatedError as error:
        raise PlansError([error.problem]) from None
    if not isinstance(located.value, Mapping):
        raise PlansError([located.problem(_NO_PLANS)])
    reading = Reading()
    reading.read(located, file_schema())
    text = _text(name, hashlib.sha256(content).hexdigest()[:12], reading)
    problems = [*reading.problems, *_contradictions(text, reading.spoilt)]
    if problems:
        left = len(problems) - MOST_PROBLEMS
        raise PlansError([*problems[:MOST_PROBLEMS], *([f"{name}: and {left} more"] if left > 0 else [])])
    return text


def plans_of(text: PlansText) -> Plans:
    """The plans that a file makes."""
    plans = {name: plan_of(name, text.levels_of_plan(name)) for name in text.entries["plans"]}
    default = text.said.get(("default_plan",))
    tenants = {}
    for tenant, level in text.entries["tenants"].items():
        plan = str(text.plan_name(tenant))
        says_nothing_else = level.said.keys() <= {("plan",)}
        tenants[tenant] = plans[plan] if says_nothing_else else plan_of(plan, text.levels_of_tenant(tenant))
    return Plans(
        version=text.version,
        plans=plans,
        tenants=tenants,
        default_plan=None if default is None else plans[str(default.value)],
        prices=_prices(text),
    )


def _text(name: str, version: str, reading: Reading) -> PlansText:
    said: dict[Path, dict[Path, Said]] = {path: {} for path in reading.declared}
    outside = {}
    for path, one in reading.said.items():
        if path[:2] in said:
            said[path[:2]][path[2:]] = one
        else:
            outside[path] = one
    entries: dict[str, dict[str, Level]] = {"plans": {}, "tenants": {}, "prices": {}}
    for (section, entry), place in reading.declared.items():
        entries[section][entry] = Level(f"{section}.{entry}", place, said[section, entry])
    return PlansText(name, version, outside, entries)


def _contradictions(text: PlansText, spoilt: set[str]) -> Iterator[str]:
    """What no value is by itself; nothing that only follows from a section that is spoilt."""
    plans, tenants = text.entries["plans"], text.entries["tenants"]
    if not plans and "plans" not in spoilt:
        yield f"{text.name}:1: {_NO_PLANS}"
    default = text.said.get(("default_plan",))
    if default is not None and default.value not in plans:
        yield f"{default.place}: default_plan: {unknown(str(default.value), plans, 'plan')}"
    for tenant, level in tenants.items():
        named = level.said.get(("plan",))
        if named is not None and named.value not in plans:
            yield f"{named.place}: tenants.{tenant}.plan: {unknown(str(named.value), plans, 'plan')}"
        elif named is None and default is None and not spoilt & {"tenants", "default_plan"}:
            yield f"{level.place}: tenants.{tenant}: {_NO_PLAN}"
    if "prices" not in spoilt and not _dear(text):
        for level in (*plans.values(), *tenants.values()):
            for path, said in level.said.items():
                if path[-1] == "money" and said.value is not None:
                    yield f"{said.place}: {'.'.join((level.name, *path))}: {_NO_PRICE}"


def _dear(text: PlansText) -> bool:
    """Whether models that are not named cost something."""
    other = text.entries["prices"].get(OTHER)
    return other is not None and any(said.value for said in other.said.values())


def _prices(text: PlansText) -> Prices:
    """A price in thousandths for a million tokens is as many nanos for a token."""
    models = {model: _price(level) for model, level in text.entries["prices"].items()}
    currency = text.said.get(("currency",))
    code = DEFAULT_CURRENCY if currency is None else str(currency.value)
    other = models.pop(OTHER, Price(0, 0))
    canonical = repr((code, other, sorted(models.items(), key=lambda item: item[0])))
    return Prices(hashlib.sha256(canonical.encode()).hexdigest()[:12], code, models, other)


def _price(level: Level) -> Price:
    """What is not said costs nothing."""
    nanos = {way: level.said[(way,)].value if (way,) in level.said else 0 for way in ("input", "output")}
    return Price(int(nanos["input"] or 0), int(nanos["output"] or 0))
