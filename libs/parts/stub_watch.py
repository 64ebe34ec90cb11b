"""Sees to it that nothing is left of a Triton that was killed. Becomes `sitecustomize` of its stubs' environment.

Ends a stub as soon as its Triton is gone. A stub looks for its Triton by itself, but not while it waits for an answer
from it: killed in the middle of a stream, Triton would leave stubs behind for ever.

Takes the name away from the shared memory of Triton and stub once both have it: memory without a name ends with those
who use it. Only the standard library: the interpreter is the models' own.
"""

import contextlib
import os
import select
import threading
import time

MAPPED_WITHIN_S = 30.0


def _end_with(pid: int) -> None:
    """Waits for that process's end, even if nobody reaps it, and ends this one at once."""
    with contextlib.suppress(ProcessLookupError):
        select.select([os.pidfd_open(pid)], [], [])
    os._exit(1)


def _take_name_from(segment: str) -> None:
    """Triton makes the segment before it starts the stub, and finds it by its descriptor from then on."""
    path = f"/dev/shm/{segment}"
    deadline = time.monotonic() + MAPPED_WITHIN_S
    while time.monotonic() < deadline:
        with open("/proc/self/maps") as maps:
            if path in maps.read():
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                return
        time.sleep(0.01)


def _guard(triton_pid: int, segment: str) -> None:
    _take_name_from(segment)
    _end_with(triton_pid)


def _watch() -> None:
    parent = os.getppid()
    with contextlib.suppress(OSError), open(f"/proc/{parent}/comm") as name:
        if name.read().strip() == "tritonserver":
            with open("/proc/self/cmdline") as command:
                segment = command.read().split("\0")[2]  # stub, model file, segment, ...
            threading.Thread(target=_guard, args=(parent, segment), name="stub-watch", daemon=True).start()


_watch()
