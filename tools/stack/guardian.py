"""Stands over a supervisor and leaves nothing behind when it ends, however it ends.

    python -I -S guardian.py COMMAND...

The guardian is the subreaper of all that COMMAND starts: whatever loses its parent becomes the guardian's child, also
what has left its process group or session. When COMMAND has ended, all of them are killed and the shared memory they
left is removed. If the guardian itself is killed, the kernel sends the supervisor SIGTERM. Only a few modules of
the standard library, because this process lives as long as the stack.
"""

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SHARED_MEMORY = "/dev/shm"


def main(command: list[str]) -> int:
    """Answers the exit code of the command; 128 + N if signal N ended it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become a subreaper")
    guardian = os.getpid()
    supervisor = os.fork()
    if supervisor == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != guardian:
            os._exit(1)
        os.execv(command[0], command)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os.kill(supervisor, signal.SIGTERM))
    status = _wait_for(supervisor)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _kill_orphans()
    remove_shared_memory()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def remove_shared_memory() -> None:
    """Removes the segments `weft-NAME-PID-...` whose process is gone, whichever stack it belonged to."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(SHARED_MEMORY):
            kind, _, rest = name.partition("-")
            pid = rest.partition("-")[2].partition("-")[0]
            if kind == "weft" and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{SHARED_MEMORY}/{name}")


def _wait_for(supervisor: int) -> int:
    """Reaps orphans meanwhile."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == supervisor:
            return status


def _kill_orphans() -> None:
    """A killed child's own children become ours in turn, until there are none."""
    while True:
        for pid in _children():
            os.kill(pid, signal.SIGKILL)  # ours and not yet reaped, so the id is still its own
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    own, children = str(os.getpid()), []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[1] == own:
                    children.append(int(pid))
        except OSError:
            continue
    return children


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
