"""The ports of a stack: fixed defaults, settings to change them, and a check that they are free."""

import os
import socket
from collections.abc import Collection, Mapping, Sequence

import psutil

from libs.parts.processes import free_port
from tools.stack.part import LOOPBACK, Part, StackError

PREFIX = "WEFT_PORT_"
HIGHEST = 65_535


def setting(part: str) -> str:
    """The environment variable that sets a part's port."""
    return PREFIX + part.upper().replace("-", "_")


def resolve_ports(
    parts: Sequence[Part],
    *,
    offset: int = 0,
    chosen: Mapping[str, str] = {},
    environment: Mapping[str, str] = os.environ,
    others: Collection[str] = (),
) -> dict[str, int]:
    """The port of each part: as chosen by name, else as its variable says, else its default plus the offset.

    0 becomes one that is free now. `StackError` for a name that is no part, a value that is no port, and a port that
    two parts share. Variables of `others`, parts that there could be, are passed over.
    """
    known = {part.name for part in parts}
    variables = {setting(name): name for name in known.union(others)}
    for name, source in {**_names_in(environment, variables), **dict.fromkeys(chosen, "--port")}.items():
        if name not in known and (source == "--port" or name not in others):
            raise StackError(f"{source}: there is no part {name!r}; parts are {', '.join(sorted(known))}")
    ports: dict[str, int] = {}
    for part in parts:
        if part.name in chosen:
            port = _parse(f"--port {part.name}", chosen[part.name])
        elif value := environment.get(setting(part.name)):
            port = _parse(setting(part.name), value)
        else:
            moved = part.port and part.port + offset
            port = _parse(f"--port-offset {offset}: the port of {part.name}", str(moved))
        port = port or _free_port(taken=set(ports.values()))
        for other, taken in ports.items():
            if taken == port:
                raise StackError(f"{other} and {part.name} have the same port {port}: change {setting(part.name)}")
        ports[part.name] = port
    return ports


def check_free(ports: Mapping[str, int]) -> None:
    """`StackError` that names each port on which somebody listens, and the setting that changes it."""
    taken = [(name, port) for name, port in ports.items() if not is_free(LOOPBACK, port)]
    if taken:
        lines = [
            f"port {port} of {name} is taken{_by_whom(port)}: set {setting(name)} to another" for name, port in taken
        ]
        raise StackError("\n".join(lines) + "\nor move all ports at once with --port-offset N")


def _names_in(environment: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """The parts whose ports variables set, each with its variable; of one that is nobody's, the name that it has."""
    found = [name for name in environment if name.startswith(PREFIX)]
    return {variables.get(name, name.removeprefix(PREFIX).lower()): name for name in found}


def _parse(source: str, value: str) -> int:
    if value.isascii() and value.isdigit() and int(value) <= HIGHEST:
        return int(value)
    raise StackError(f"{source}: {value!r} is not a port; give a number from 1 to {HIGHEST}, or 0 for any free one")


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens there. A server that shares its port (SO_REUSEPORT) is found too: this socket does not."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _free_port(taken: set[int]) -> int:
    while (port := free_port()) in taken:
        pass
    return port


def _by_whom(port: int) -> str:
    """Only for processes that this user may look into."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
                return f" by pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        pass
    return ""
