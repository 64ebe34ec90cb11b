"""The state of a stack as a user wants to see it: what the supervisor tells, what the parts answer, what they cost."""

import contextlib
import datetime
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tools.stack.snapshot import PartSnapshot, Snapshot

PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class PartStatus:
    """A part. `state` is the supervisor's, or `unhealthy` if it does not answer as it should; `detail` tells why.

    `memory_bytes` is the proportional set size of its processes: pages that processes share are counted once in all.
    """

    name: str
    state: str
    address: str
    pid: int | None
    since: float
    restarts: int
    memory_bytes: int
    rss_bytes: int
    detail: str


@dataclass(frozen=True)
class StackStatus:
    ready: bool
    phase: str
    error: str
    supervisor_pid: int | None
    supervisor_memory_bytes: int
    parts: tuple[PartStatus, ...]

    @property
    def memory_bytes(self) -> int:
        """Of all parts, the supervisor and its guardian."""
        return self.supervisor_memory_bytes + sum(part.memory_bytes for part in self.parts)

    def as_json(self) -> dict[str, Any]:
        return {
            "ready": self.ready,
            "phase": self.phase,
            "error": self.error,
            "memory_bytes": self.memory_bytes,
            "supervisor": {"pid": self.supervisor_pid, "memory_bytes": self.supervisor_memory_bytes},
            "parts": [{**vars(part), "since": _iso(part.since)} for part in self.parts],
        }


def nothing(phase: str) -> StackStatus:
    """Of a folder on which no stack runs."""
    return StackStatus(False, phase, "", None, 0, ())


def look(snapshot: Snapshot) -> StackStatus:
    """Asks every part that is said to be ready, all at once."""
    with ThreadPoolExecutor(max_workers=max(1, len(snapshot.parts))) as pool:
        parts = tuple(pool.map(_part_status, snapshot.parts))
    alive = snapshot.phase not in ("stopped", "failed")
    return StackStatus(
        ready=snapshot.ready and all(part.state == "ready" for part in parts),
        phase=snapshot.phase,
        error=snapshot.error,
        supervisor_pid=snapshot.supervisor_pid if alive else None,
        supervisor_memory_bytes=sum(_memory(pid)[0] for pid in _supervision(snapshot.supervisor_pid)) if alive else 0,
        parts=parts,
    )


def unhealthy(address: str, services: Sequence[str]) -> str:
    """What is wrong with a part; empty if nothing is. `services` as in `Part.health`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), PROBE_TIMEOUT_S).close()
    except OSError as error:
        return f"does not accept connections: {error.strerror or error}"
    return _grpc_problem(address, services) if services else ""


def _grpc_problem(address: str, services: Sequence[str]) -> str:
    import grpc  # only those who ask a gRPC server pay for it
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    serving = health_pb2.HealthCheckResponse.SERVING
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
        for service in services:
            name = service or "the process"
            try:
                answer = check(health_pb2.HealthCheckRequest(service=service), timeout=PROBE_TIMEOUT_S)
            except grpc.RpcError as error:
                return f"{name}: {error.code().name}"
            if answer.status != serving:
                return f"{name} is {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}"
    return ""


def _part_status(part: PartSnapshot) -> PartStatus:
    state, detail = str(part.state), part.last_exit
    if part.state == "ready" and (problem := unhealthy(part.address, part.health)):
        state, detail = "unhealthy", problem
    pids = _tree(part.pid) if part.pid else []
    memory = [_memory(pid) for pid in pids]
    return PartStatus(
        name=part.name,
        state=state,
        address=part.address,
        pid=part.pid,
        since=part.since,
        restarts=part.restarts,
        memory_bytes=sum(pss for pss, _ in memory),
        rss_bytes=sum(rss for _, rss in memory),
        detail=detail,
    )


def _tree(pid: int) -> list[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return []


def _supervision(supervisor: int) -> list[int]:
    """The supervisor and its guardian."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [supervisor, psutil.Process(supervisor).ppid()]
    return []


def _memory(pid: int) -> tuple[int, int]:
    """Proportional and resident set size of a process; zeros if it has just ended."""
    sizes: Mapping[str, int] = {}
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    return sizes.get("Pss", 0), sizes.get("Rss", 0)


def _iso(time_s: float) -> str | None:
    return datetime.datetime.fromtimestamp(time_s, datetime.UTC).isoformat(timespec="seconds") if time_s else None
