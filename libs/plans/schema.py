"""What a settings file may say, and how what it says is read: every name, every bound, every remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from libs.config.located import Located, unknown
from libs.contracts.headers import PRIORITIES
from libs.contracts.policies import methods
from libs.plans.plans import WINDOWS_S

NONE = "none"
MAX_CALLS = 1_000_000_000
MAX_TOKENS = 1_000_000_000_000
MAX_MONEY = 9_000_000
"""Of a budget: in nanos it stays below 2^53, up to which Redis' Lua counts exactly."""
MAX_PRICE = 100_000
MAX_OPEN_CALLS = 100_000
PERIODS = ("day", "month")
SCOPES = ("tenant", "key")

_NAME = re.compile(r"(?=.{1,63}\Z)[A-Za-z0-9]+(?:(?:\.|[_-]+)[A-Za-z0-9]+)*")
"""Of tenants as tokens may name them, and of plans alike."""
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,99}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_WHOLE = re.compile(r"0|[1-9][0-9]{0,15}|[1-9][0-9]{0,2}(?:_[0-9]{3}){1,5}")
_MONEY = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,3})?")

Value = int | str | bool
Path = tuple[str, ...]


@dataclass(frozen=True)
class Said:
    """What the file says at one place. `value` None: `none`. `text` is as it is written."""

    text: str
    value: Value | None
    place: str


@dataclass(frozen=True)
class Leaf:
    """One value. `read` raises ValueError for text that is not one; `wanted` says what is, with an example."""

    read: Callable[[str], Value]
    wanted: str
    ends: bool = False
    """Whether it may be `none`."""


@dataclass(frozen=True)
class Group:
    """Settings by name; `what` they are, in a message."""

    parts: Mapping[str, Leaf | Group | Named]
    what: str = "setting"
    ends: bool = False


@dataclass(frozen=True)
class Named:
    """Entries whose names the file chooses; `what` they are."""

    entry: Group
    what: str
    name: re.Pattern[str]
    most: int


Schema = Leaf | Group | Named


@cache
def limit_groups() -> tuple[str, ...]:
    """The limit groups that contracts name, sorted."""
    return tuple(sorted({method.limit_group for method in methods().values() if method.limit_group}))


@cache
def _plan() -> Group:
    calls = f"must be a whole number from 1 to {MAX_OPEN_CALLS:,}; write e.g. `{{name}}: 100`"
    return Group(
        {
            "limits": _limits(),
            "budgets": _budgets(),
            "highest_priority": _choice(*PRIORITIES),
            "fallback": Leaf(_boolean, "must be true or false"),
            "open_calls": Leaf(_whole(MAX_OPEN_CALLS), calls),
        }
    )


@cache
def plan_leaves() -> tuple[Path, ...]:
    """The paths of all values that a plan has: ("limits", "tenant", "minute")."""
    return tuple(_leaves(_plan()))


@cache
def file_schema() -> Group:
    """All that a settings file may say."""
    name = Leaf(_matching(_NAME), "must be the name of a plan")
    price = Leaf(
        _money(MAX_PRICE),
        f"must be money for a million tokens, 0 to {MAX_PRICE:,}, three decimals at most; write e.g. `{{name}}: 0.25`",
    )
    return Group(
        {
            "currency": Leaf(
                _matching(_CURRENCY), "must be three capital letters of ISO 4217; write e.g. `{name}: USD`"
            ),
            "prices": Named(Group({"input": price, "output": price}), "model", _MODEL, 1000),
            "plans": Named(_plan(), "plan", _NAME, 1000),
            "default_plan": name,
            "tenants": Named(Group({"plan": name, **_plan().parts}), "tenant", _NAME, 50_000),
        }
    )


def _limits() -> Group:
    calls = Leaf(
        _whole(MAX_CALLS),
        f"must be a whole number from 1 to {MAX_CALLS:,}, or `none`; write e.g. `{{name}}: 100`",
        ends=True,
    )
    windows = Group(dict.fromkeys(WINDOWS_S, calls), "window of a limit", ends=True)
    groups = Group(dict.fromkeys(limit_groups(), windows), "limit group in the contracts", ends=True)
    return Group({**dict.fromkeys(SCOPES, windows), "groups": groups}, "kind of limit", ends=True)


def _budgets() -> Group:
    tokens = Leaf(
        _whole(MAX_TOKENS),
        f"must be a whole number from 1 to {MAX_TOKENS:,}, or `none`; write e.g. `{{name}}: 1000000`",
        ends=True,
    )
    money = Leaf(
        _money(MAX_MONEY, least=Decimal("0.001")),
        f"must be money from 0.001 to {MAX_MONEY:,}, three decimals at most, or `none`; write e.g. `{{name}}: 5.00`",
        ends=True,
    )
    periods = Group(
        dict.fromkeys(PERIODS, Group({"tokens": tokens, "money": money}, "unit of a budget", ends=True)),
        "period of a budget",
        ends=True,
    )
    return Group(dict.fromkeys(SCOPES, periods), "kind of budget", ends=True)


class Reading:
    """Reads a file's values by a schema. `said` has what is right by path, `problems` a line for all that is not.

    `declared`: the places of plans, tenants and models by path, also of those of which nothing is said. `spoilt`: the
    sections in which something is wrong.
    """

    def __init__(self) -> None:
        self.declared: dict[Path, str] = {}
        self.said: dict[Path, Said] = {}
        self.problems: list[str] = []
        self.spoilt: set[str] = set()

    def read(self, located: Located, schema: Schema, path: Path = ()) -> None:
        """Reads the value at `path` and all below it."""
        if located.value is None:
            self._problem(located, f"is empty; {_instead_of_nothing(schema)}take it away", path)
        elif _ends(schema) and located.value == NONE:
            self.said[path] = Said(NONE, None, located.place)
        elif isinstance(schema, Leaf):
            self._leaf(located, schema, path)
        elif not isinstance(located.value, Mapping):
            self._problem(
                located, f"must be a group of settings{_or_none(schema)}; write e.g. {_example(schema)}", path
            )
        elif isinstance(schema, Group):
            self._group(located.value, schema, path)
        else:
            self._named(located, located.value, schema, path)

    def _leaf(self, located: Located, schema: Leaf, path: Path) -> None:
        text = located.value
        try:
            if not isinstance(text, str):
                raise ValueError
            self.said[path] = Said(text, schema.read(text), located.place)
        except ValueError:
            shown = f", and not {text[:60]!r}" if isinstance(text, str) else ""
            wanted, semicolon, remedy = schema.wanted.format(name=path[-1]).partition(";")
            self._problem(located, f"{wanted}{shown}{semicolon}{remedy}", path)

    def _group(self, values: Mapping[str, Located], schema: Group, path: Path) -> None:
        for name, inner in values.items():
            if name in schema.parts:
                self.read(inner, schema.parts[name], (*path, name))
            else:
                self._problem(inner, unknown(name, schema.parts, schema.what), path)

    def _named(self, located: Located, values: Mapping[str, Located], schema: Named, path: Path) -> None:
        if len(values) > schema.most:
            self._problem(located, f"has more than {schema.most:,} of them; take some away", path)
            return
        for name, inner in values.items():
            if schema.name.fullmatch(name):
                self.declared[(*path, name)] = inner.place
                self.read(inner, schema.entry, (*path, name))
            else:
                self._problem(inner, f"is no name of a {schema.what}; write {_NAMES[schema.name]}", path)

    def _problem(self, located: Located, what: str, path: Path) -> None:
        self.problems.append(located.problem(what))
        self.spoilt.update(path[:1])


_NAMES = {
    _NAME: "1 to 63 letters and digits, with single dots, hyphens or underscores between",
    _MODEL: "1 to 100 letters, digits and . _ : / @ -, a letter or digit first",
}


def _leaves(group: Group, under: Path = ()) -> Iterator[Path]:
    for name, part in group.parts.items():
        path = (*under, name)
        if isinstance(part, Group):
            yield from _leaves(part, path)
        elif isinstance(part, Leaf):
            yield path


def _ends(schema: Schema) -> bool:
    return not isinstance(schema, Named) and schema.ends


def _or_none(schema: Schema) -> str:
    return " or `none`" if _ends(schema) else ""


def _instead_of_nothing(schema: Schema) -> str:
    if _ends(schema):
        return f"write `{NONE}`, or "
    return "" if isinstance(schema, Leaf) else "write `{}`, or "


def _example(schema: Group | Named) -> str:
    """The smallest thing that could stand there."""
    if isinstance(schema, Named):
        return f"`NAME: {{{next(iter(schema.entry.parts))}: ...}}`"
    return f"`{{{next(iter(schema.parts), 'NAME')}: ...}}`"


def _whole(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= most:
            raise ValueError
        return int(text)

    return read


def _money(most: int, least: Decimal = Decimal(0)) -> Callable[[str], int]:
    """Thousandths. Never by way of a float: 0.1 is 100 of them."""

    def read(text: str) -> int:
        if not _MONEY.fullmatch(text) or not least <= Decimal(text) <= most:
            raise ValueError
        return int(Decimal(text) * 1000)

    return read


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError
        return text

    return read


def _choice(*values: str) -> Leaf:
    def read(text: str) -> str:
        if text not in values:
            raise ValueError
        return text

    return Leaf(read, f"must be one of {', '.join(values)}")


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"
