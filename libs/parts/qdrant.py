"""A local Qdrant: its gRPC protocol over the embedded engine, in a process of its own."""

import dataclasses
import re
import sys
from pathlib import Path

from libs.parts.processes import RunningPart, python_environment, start_part, wait_until

READY = re.compile(r"^ready (\d+)$", re.MULTILINE)
START_WITHIN_S = 30.0


def start_qdrant(data_dir: Path, port: int = 0, *, log: Path, api_key: str | None = None) -> RunningPart:
    """Serves the folder's collections on a loopback port (0: any free one); ready when it returns. Makes the folder.

    `PartError` if the folder is in use by another server or the port is taken.
    """
    command = [sys.executable, "-m", "tools.qdrantlocal", "--data", str(data_dir), "--port", str(port)]
    environment = python_environment() | {"WEFT_QDRANT_LOCAL_API_KEY": api_key or ""}
    part = start_part("qdrant", command, log=log, environment=environment)
    ready = wait_until(part, lambda: READY.search(part.written()), START_WITHIN_S)
    return dataclasses.replace(part, address=f"127.0.0.1:{ready.group(1)}")
