"""Stands over a supervisor and leaves nothing behind when it ends, however it ends.

    python -I -S guardian.py FOLDER COMMAND...

The guardian is the subreaper of all that COMMAND starts: whatever loses its parent becomes the guardian's child, also
what has left its process group or session. When COMMAND has ended, all of them are killed, and the shared memory and
the sockets in FOLDER that they left are removed. If the guardian itself is killed, the kernel sends the supervisor
SIGTERM, which then does the same.
Only a few modules of the standard library, because this process lives as long as the stack.
"""

import contextlib
import ctypes
import os
import signal
import stat
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
ORPHANS_EVERY_S = 1.0  # how long what a part that died has left behind may live on
SHARED_MEMORY = "/dev/shm"


def main(folder: str, command: list[str]) -> int:
    """Answers the exit code of the command; 128 + N if signal N ended it."""
    adopt_orphans()
    guardian = os.getpid()
    supervisor = os.fork()
    if supervisor == 0:
        _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != guardian:
            os._exit(1)
        os.execv(command[0], command)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os.kill(supervisor, signal.SIGTERM))
    signal.signal(signal.SIGALRM, lambda *_: _kill_all_but(supervisor))
    signal.setitimer(signal.ITIMER_REAL, ORPHANS_EVERY_S, ORPHANS_EVERY_S)
    status = _wait_for(supervisor)
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_children()
    remove_shared_memory()
    remove_sockets(folder)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def adopt_orphans() -> None:
    """From now on what loses its parent below this process becomes this process's child."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_children() -> None:
    """Kills and reaps all children. A killed child's own children become ours in turn, until there are none."""
    while True:
        _kill_all_but(None)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def remove_shared_memory() -> None:
    """Removes the segments `weft-NAME-PID-...` whose process is gone, whichever stack it belonged to."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(SHARED_MEMORY):
            kind, _, rest = name.partition("-")
            pid = rest.partition("-")[2].partition("-")[0]
            if kind == "weft" and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{SHARED_MEMORY}/{name}")


def remove_sockets(folder: str, depth: int = 2) -> None:
    """Removes the sockets in a folder, and so deep in it, where it may: nobody listens there any more."""
    for left in _entries(folder, stat.S_ISSOCK):
        with contextlib.suppress(OSError):
            os.unlink(left)
    for inner in _entries(folder, stat.S_ISDIR) if depth else ():
        remove_sockets(inner, depth - 1)


def _entries(folder: str, kind: Callable[[int], bool]) -> list[str]:
    """Of one kind; none where the folder has gone or is closed to us."""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if kind(entry.stat(follow_symlinks=False).st_mode):
                    found.append(entry.path)
    return found


def _kill_all_but(kept: int | None) -> None:
    for pid in _children():
        if pid != kept:
            os.kill(pid, signal.SIGKILL)  # ours and not yet reaped, so the id is still its own


def _wait_for(supervisor: int) -> int:
    """Reaps orphans meanwhile."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == supervisor:
            return status


def _children() -> list[int]:
    """Each thread has a list of its own."""
    found: list[int] = []
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children") as children:
                found += map(int, children.read().split())
    except OSError:
        return _children_by_parent()
    return found


def _children_by_parent() -> list[int]:
    """For a kernel that does not list children."""
    own, children = str(os.getpid()), []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[1] == own:
                    children.append(int(pid))
        except OSError:
            continue
    return children


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl option {option} failed")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
