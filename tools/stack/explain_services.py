"""Explains the settings of the services (`WEFT_RAG_MAX_DOCUMENTS`) and of the stack itself (`port.gateway`)."""

import importlib
import inspect
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from libs.config.settings import Known, ServiceSettings, known_settings
from libs.parts.cache import cache_root
from tools.stack.explained import Explained, Level, Says
from tools.stack.part import DEFAULT_STATE, Part
from tools.stack.ports import setting
from tools.stack.replicas import SERVICES
from tools.stack.snapshot import PartSnapshot, Snapshot
from tools.stack.start import OTLP_ENDPOINT, set_by_the_stack

SECRET = "(secret)"
STATE_VARIABLE = "WEFT_STATE"
CACHE_VARIABLE = "WEFT_CACHE"
_LATER = "(made of the stack's ports and files when it starts)"


@cache
def service_keys(service: str) -> Mapping[str, Known]:
    """The settings of a service by their variables. The stack knows a service by its module, as it starts it by it."""
    module = importlib.import_module(f"services.{service}.settings")
    classes = (one for _, one in inspect.getmembers(module, inspect.isclass) if one.__module__ == module.__name__)
    return known_settings(next(one for one in classes if issubclass(one, ServiceSettings)))


def explain_service(key: str, snapshot: Snapshot | None) -> Explained | None:
    """None for a key that is no setting of a service. Of a part that runs, what it was started with; of any other, and
    where that cannot be seen, what it would be given next."""
    for service in SERVICES:
        known = service_keys(service).get(key)
        if known is not None:
            part = _running(service, snapshot)
            started_with = _environment_of(part) if part else {}
            if part and started_with:
                return _explained(key, service, known, started_with, f"{service}, pid {part.pid}")
            return _explained(key, service, known, os.environ, "")
    return None


def _explained(key: str, service: str, known: Known, environment: Mapping[str, str], running: str) -> Explained:
    """`running` is whose environment it is; "" for this shell's."""
    prefix = f"WEFT_{service.upper()}_"
    by_the_stack = key.removeprefix(prefix) in set_by_the_stack(service)
    said = environment.get(key)
    if said is not None and known.secret:
        said = SECRET
    says = [] if by_the_stack and running else [Says(Level.ENVIRONMENT, said, running or "this shell")]
    if by_the_stack:
        says.insert(0, Says(Level.WEFT_UP, said if running else _LATER, running))
    default = "none" if known.default == "" else known.default
    return Explained(key, known.description, (*says, Says(Level.BUILT_IN, default)), nothing="not set, but needed")


def _running(service: str, snapshot: Snapshot | None) -> PartSnapshot | None:
    parts = () if snapshot is None else snapshot.parts
    return next((part for part in parts if part.name == service and part.pid), None)


def _environment_of(part: PartSnapshot) -> Mapping[str, str]:
    """What a process was started with; nothing while it is about to run its program, after its end, and where it is
    somebody else's."""
    try:
        entries = Path(f"/proc/{part.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(entry.decode(errors="replace").partition("=")[::2] for entry in entries if entry)


def stack_keys(parts: tuple[Part, ...]) -> Iterator[str]:
    yield from ("state", "cache", "otlp_endpoint", *(f"port.{part.name}" for part in parts))


def explain_stack(
    key: str, parts: tuple[Part, ...], state: Path, named: bool, snapshot: Snapshot | None
) -> Explained | None:
    """None for a key that is not one of the stack's own. `named`: whether `--state` was given."""
    if key == "state":
        says = (
            Says(Level.COMMAND_LINE, str(state) if named else None, "--state"),
            Says(Level.ENVIRONMENT, os.environ.get(STATE_VARIABLE), STATE_VARIABLE),
            Says(Level.BUILT_IN, str(DEFAULT_STATE)),
        )
        return Explained(key, "folder of the stack's state", says)
    if key == "cache":
        said = Says(Level.ENVIRONMENT, os.environ.get(CACHE_VARIABLE), CACHE_VARIABLE)
        default = Says(Level.BUILT_IN, None if said.text else str(cache_root()))
        return Explained(key, "folder of what is installed once for all stacks", (said, default))
    if key == "otlp_endpoint":
        said = Says(Level.ENVIRONMENT, os.environ.get(OTLP_ENDPOINT), OTLP_ENDPOINT)
        return Explained(key, "where `weft up` has the services send traces, host:port", (said,))
    part = next((part for part in parts if key == f"port.{part.name}"), None)
    return None if part is None else _port(key, part, snapshot)


def _port(key: str, part: Part, snapshot: Snapshot | None) -> Explained:
    """A running part's port is known; where neither its variable nor the default says it, an option did."""
    variable = setting(part.name)
    running = next((one for one in (snapshot.parts if snapshot else ()) if one.name == part.name and one.pid), None)
    others = (Says(Level.ENVIRONMENT, os.environ.get(variable), variable), Says(Level.BUILT_IN, str(part.port)))
    port = running.address.rpartition(":")[2] if running else None
    elsewhere = port is not None and port != next(one.text for one in others if one.text)
    option = Says(Level.COMMAND_LINE, port if elsewhere else None, "--port or --port-offset of `weft up`")
    return Explained(key, f"port of {part.name}", (option, *others))
