"""Ends a Triton Python stub as soon as its Triton is gone. Becomes `sitecustomize` of the environment the stubs run in.

A stub looks for its Triton by itself, but not while it waits for an answer from it: killed in the middle of a stream,
Triton would leave stubs behind for ever. Only the standard library: the interpreter is the models' own.
"""

import contextlib
import os
import select
import threading


def _end_with(pid: int) -> None:
    """Waits for that process's end, even if nobody reaps it, and ends this one at once."""
    with contextlib.suppress(ProcessLookupError):
        select.select([os.pidfd_open(pid)], [], [])
    os._exit(1)


def _watch() -> None:
    parent = os.getppid()
    with contextlib.suppress(OSError), open(f"/proc/{parent}/comm") as name:
        if name.read().strip() == "tritonserver":
            threading.Thread(target=_end_with, args=(parent,), name="end-with-triton", daemon=True).start()


_watch()
