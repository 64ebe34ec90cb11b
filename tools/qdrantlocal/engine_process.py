"""The engine process: python -m tools.qdrantlocal.engine_process DESCRIPTOR DIR. The front starts it.

It is a process of its own because the engine never lets other Python threads run while it works.
"""

import fcntl
import importlib.util
import os
import signal
import socket
import sys
import time
import types
from pathlib import Path
from typing import IO

LOCK_WITHIN_S = 2.0  # the process of a server that was killed may still be ending


def main() -> None:
    connection, data_dir = socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the front gets it too, and closes the connection
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = _locked(data_dir)
    _load_messages_only()
    from tools.qdrantlocal.catalog import CatalogError
    from tools.qdrantlocal.engine import Engine
    from tools.qdrantlocal.worker import Worker

    try:
        engine = Engine(data_dir)
    except CatalogError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(os.EX_CONFIG)
    try:
        Worker(connection, engine).run()
    except OSError as error:
        print(f"the front is gone: {error}", file=sys.stderr, flush=True)
    finally:
        engine.close()
        lock.close()


def _locked(data_dir: Path) -> IO[str]:
    """Holds the folder: a second engine on it would spoil the first one's files. Ends the process if it is taken."""
    lock = (data_dir / ".lock").open("a")
    deadline = time.monotonic() + LOCK_WITHIN_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() > deadline:
                text = f"{data_dir} is in use by another server: stop it, or choose another --data folder"
                print(text, file=sys.stderr, flush=True)
                sys.exit(os.EX_TEMPFAIL)
            time.sleep(0.02)


def _load_messages_only() -> None:
    """Lets the generated messages be imported without their packages' own code, a client of 0.7 s and 40 MB."""
    spec = importlib.util.find_spec("qdrant_client")
    assert spec is not None
    folders = spec.submodule_search_locations or []
    for name, paths in (("qdrant_client", folders), ("qdrant_client.grpc", [f"{folder}/grpc" for folder in folders])):
        package = types.ModuleType(name)
        package.__path__ = paths
        sys.modules[name] = package


if __name__ == "__main__":
    main()
