"""One order of precedence for whatever can be set: which level says what of a value, and which is in force."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import islice

NEAR_AMONG = 10_000  # keys; a file with many tenants has more than anybody could mean


class Level(Enum):
    """Who may say something of a value, the strongest first. Most values have two or three of these."""

    COMMAND_LINE = "command line"
    WEFT_UP = "weft up"
    ENVIRONMENT = "environment"
    TENANT = "settings file: tenant"
    PLAN = "settings file: plan"
    FILE = "settings file"
    BUILT_IN = "built-in default"


@dataclass(frozen=True)
class Says:
    """What one level says of a value; `text` None: nothing. `place` is where it says it, or would."""

    level: Level
    text: str | None
    place: str = ""


@dataclass(frozen=True)
class Explained:
    """A value by its key, what it is for, and what each level says of it that could, the strongest first.

    `nothing`: what it is where no level says anything.
    """

    key: str
    what: str
    says: tuple[Says, ...]
    nothing: str = "none"

    @property
    def in_force(self) -> Says:
        """The first word that is said."""
        said = (one for one in self.says if one.text is not None)
        return next(said, Says(Level.BUILT_IN, self.nothing))


class UnknownKeyError(Exception):
    """There is no such key; the message names the nearest, or says where all are."""


def no_such_key(key: str, known: Iterable[str]) -> UnknownKeyError:
    near = difflib.get_close_matches(key, islice(known, NEAR_AMONG), n=1)
    remedy = f"did you mean {near[0]!r}?" if near else "`weft config show` lists all"
    return UnknownKeyError(f"there is no setting {key!r}; {remedy}")
