"""The words in which a stack is declared: its parts, and the one place that knows where their state and ports are."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from libs.parts.cache import Progress
from libs.parts.install import REPOSITORY_ROOT
from libs.parts.processes import RunningPart

LAUNCHER = REPOSITORY_ROOT / "weft"
# Packed, the program has no repository around it, and what it is unpacked to is no place for data.
DEFAULT_STATE = (REPOSITORY_ROOT if LAUNCHER.exists() else Path.cwd()) / ".weft"
LOOPBACK = "127.0.0.1"
AUDIENCE = "weft"  # of the tokens that a stack's issuer signs for its gateway


class StackError(RuntimeError):
    """Something the user can put right; the message says what, and how."""


@dataclass(frozen=True)
class Stack:
    """One stack: the folder of its state, the port of each part by name, and what `load_declaration` took.

    `entry_part` is the part that users dial, `certificate` what they know it by where it speaks TLS.
    """

    state: Path
    ports: Mapping[str, int]
    declaration: str = ""
    entry_part: str = ""
    certificate: Path | None = None

    @property
    def entry(self) -> str:
        """Where users dial, host:port."""
        return self.address(self.entry_part)

    def address(self, part: str) -> str:
        return f"{LOOPBACK}:{self.ports[part]}"

    def folder(self, name: str) -> Path:
        return self.state / name

    def log(self, part: str) -> Path:
        return self.state / "logs" / f"{part}.log"


@dataclass(frozen=True)
class Part:
    """A process of the stack.

    `start` answers when the part is ready, or raises `PartError`. A part is started when those that it `needs` are
    ready, and stopped before them. `health` names the gRPC services that must say SERVING for the stack to be ready (""
    is the process itself); with none, an open port is enough. A `port` of 0 is any free one.

    For restarts: parts with the same `replica_of` answer for each other, `unseen` says why callers do not yet choose
    the part again ("" when they do), and `restart_note` what a restart means where no other has to answer for it.
    `stop_within_s` is how long it may take to end when it is asked to.
    """

    name: str
    port: int
    start: Callable[[Stack], RunningPart]
    needs: tuple[str, ...] = ()
    health: tuple[str, ...] = ()
    replica_of: str = ""
    unseen: Callable[[Stack], str] = lambda stack: ""
    restart_note: str = ""
    stop_within_s: float = 15.0


@dataclass(frozen=True)
class RestartPolicy:
    """How long to wait before a part is started again: doubled each time, forgotten after a healthy while. Seconds."""

    first_s: float = 0.5
    limit_s: float = 30.0
    healthy_after_s: float = 60.0

    def wait_s(self, failures: int) -> float:
        """Before the start that follows that many failures in a row, 1 or more."""
        return float(min(self.limit_s, self.first_s * 2.0 ** min(failures - 1, 32)))


StandIn = Callable[[Stack, str], tuple[Stack, Part]]


@dataclass(frozen=True)
class Declaration:
    """A kind of stack.

    `prepare` does all of the set-up before the start, `first_use` what needs the running stack. Both are called at
    every start and do only what is not yet done. `hints` is what to try next, for the user to read. `entry` is the part
    that users dial, and `certificate` what they know it by where it speaks TLS. `others` are parts that the stack has
    with other options: that their ports are set is no mistake. `stand_in` makes one more replica of a `replica_of`, and
    the stack that it knows itself in, to answer while the only one is restarted.
    """

    parts: tuple[Part, ...]
    prepare: Callable[[Stack, Progress], None]
    first_use: Callable[[Stack, Progress], None]
    hints: Callable[[Stack], str]
    entry: str
    certificate: Path | None = None
    others: frozenset[str] = frozenset()
    stand_in: StandIn | None = None
    restarts: RestartPolicy = RestartPolicy()


def load_declaration(name: str) -> Declaration:
    """What `declare` of a module makes of options: "package.module" or "package.module?options".

    Raises StackError for options that cannot be meant.
    """
    module, _, options = name.partition("?")
    declaration = importlib.import_module(module).declare(options)
    assert isinstance(declaration, Declaration)
    return declaration


def declared_stack(name: str, state: Path, ports: Mapping[str, int]) -> Stack:
    """The stack that `load_declaration(name)` declares, with its state and ports."""
    declaration = load_declaration(name)
    return Stack(state, ports, name, declaration.entry, declaration.certificate)


def start_waves(parts: Sequence[Part]) -> list[list[Part]]:
    """The parts in waves: each part after those that it needs, as early as that allows; declared order within a wave.

    `ValueError` for a need that is no part, or a circle.
    """
    waves: list[list[Part]] = []
    placed: set[str] = set()
    remaining = list(parts)
    while remaining:
        wave = [part for part in remaining if placed.issuperset(part.needs)]
        if not wave:
            raise ValueError("needs that are no parts, or a circle: " + ", ".join(part.name for part in remaining))
        waves.append(wave)
        placed.update(part.name for part in wave)
        remaining = [part for part in remaining if part.name not in placed]
    return waves
