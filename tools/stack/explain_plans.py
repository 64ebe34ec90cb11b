"""Explains the values of a settings file: `tenants.acme.limits.tenant.minute`, `prices.embed.input`."""

from collections.abc import Iterator, Mapping, Sequence

from libs.plans import levels
from libs.plans.file import DEFAULT_CURRENCY, OTHER, PlansText
from libs.plans.schema import Path, Said, plan_leaves
from tools.stack.explained import Explained, Level, Says

_LEVELS = {"tenants": Level.TENANT, "plans": Level.PLAN, levels.BUILT_IN: Level.BUILT_IN}
_NO_PLAN = "none: who has no plan is refused"
_WHAT: Mapping[str, str] = {
    "limits": "most calls within any minute or hour",
    "budgets": "most tokens, or money, in a day or month (UTC)",
    "highest_priority": "the most urgent that calls can be",
    "fallback": "whether another model may answer when the one that was asked for cannot",
    "open_calls": "most calls of a tenant that one gateway has under way",
}
_PRICE = "money for a million tokens"
_PLAN = "which plan the tenant has"


def keys(text: PlansText) -> Iterator[str]:
    """Every key that stands for a value, of the plans, tenants and models that are named."""
    yield from ("currency", "default_plan")
    for model in text.entries["prices"]:
        yield from (f"prices.{model}.input", f"prices.{model}.output")
    for plan in text.entries["plans"]:
        yield from (f"plans.{plan}.{'.'.join(leaf)}" for leaf in plan_leaves())
    for tenant in text.entries["tenants"]:
        yield f"tenants.{tenant}.plan"
        yield from (f"tenants.{tenant}.{'.'.join(leaf)}" for leaf in plan_leaves())


def explain(text: PlansText, key: str) -> Explained | None:
    """None for a key that is not one. A tenant need not be named in the file: it has the default plan."""
    section, _, rest = key.partition(".")
    if key == "currency":
        return _outside(text, key, "of prices and budgets", DEFAULT_CURRENCY)
    if key == "default_plan":
        return _outside(text, key, "plan of tenants that are not named", None)
    if section == "prices":
        return _price(text, key, rest)
    entry, leaf = _split(rest, [*plan_leaves(), *([("plan",)] if section == "tenants" else [])])
    if leaf is None:
        return None
    if section == "tenants" and leaf == ("plan",):
        return _tenants_plan(text, key, entry)
    if section == "tenants" and text.plan_name(entry) is None:
        return Explained(key, _WHAT[leaf[0]], (Says(Level.FILE, None, "default_plan"),), nothing=_NO_PLAN)
    if section == "tenants":
        return _in_levels(key, leaf, text.levels_of_tenant(entry), own=f"tenants.{entry}")
    if section == "plans" and entry in text.entries["plans"]:
        return _in_levels(key, leaf, text.levels_of_plan(entry), own=f"plans.{entry}")
    return None


def _in_levels(key: str, leaf: Path, found: Sequence[levels.Level], own: str) -> Explained:
    says = [_says(level, leaf) for level in found]
    if found[0].name != own:  # a tenant that the file does not name
        says.insert(0, Says(Level.TENANT, None, own))
    return Explained(key, _WHAT[leaf[0]], tuple(says))


def _says(level: levels.Level, leaf: Path) -> Says:
    kind = _LEVELS[level.name.partition(".")[0]]
    for end in range(len(leaf), 0, -1):
        if (said := level.said.get(leaf[:end])) is not None:
            whole = "" if end == len(leaf) else f", {'.'.join(leaf[:end])}: {said.text}"
            return Says(kind, said.text, "" if kind is Level.BUILT_IN else f"{said.place}{whole}")
    return Says(kind, None, "" if kind is Level.BUILT_IN else level.name)


def _outside(text: PlansText, key: str, what: str, default: str | None) -> Explained:
    file = _in_file(Level.FILE, text.said.get((key,)), key)
    return Explained(key, what, (file, Says(Level.BUILT_IN, default)), nothing=_NO_PLAN)


def _price(text: PlansText, key: str, rest: str) -> Explained | None:
    model, leaf = _split(rest, [("input",), ("output",)])
    if leaf is None:
        return None
    named = model if model in text.entries["prices"] else OTHER
    level = text.entries["prices"].get(named)
    said = None if level is None else level.said.get(leaf)
    return Explained(key, _PRICE, (_in_file(Level.FILE, said, f"prices.{named}"), Says(Level.BUILT_IN, "0")))


def _tenants_plan(text: PlansText, key: str, tenant: str) -> Explained:
    entry = text.entries["tenants"].get(tenant)
    own = None if entry is None else entry.said.get(("plan",))
    default = _in_file(Level.FILE, text.said.get(("default_plan",)), "default_plan")
    return Explained(key, _PLAN, (_in_file(Level.TENANT, own, f"tenants.{tenant}"), default), nothing=_NO_PLAN)


def _in_file(level: Level, said: Said | None, where: str) -> Says:
    return Says(level, None, where) if said is None else Says(level, said.text, said.place)


def _split(rest: str, leaves: Sequence[Path]) -> tuple[str, Path | None]:
    """The name and the setting of "acme.eu.limits.tenant.minute": names may have dots, settings are known."""
    for leaf in leaves:
        suffix = "." + ".".join(leaf)
        if rest.endswith(suffix) and len(rest) > len(suffix):
            return rest.removesuffix(suffix), leaf
    return rest, None
