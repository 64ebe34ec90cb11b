"""A program run through this file is killed by the kernel as soon as its parent is gone, whatever ended the parent.

It sets the parent-death signal and becomes the program. Setting it in the parent's own fork (`preexec_fn`) would run
Python between fork and exec, which can deadlock in a process with threads. Only the standard library: the interpreter
is started without site packages.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1


def tethered(command: Sequence[str], death_signal: signal.Signals = signal.SIGKILL) -> list[str]:
    """The command line that runs `command` tied to this process.

    The kernel ties a child to the thread that started it: start it from one that lasts as long as the process.
    """
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), str(os.getpid()), str(int(death_signal)), *command]


def main(arguments: list[str]) -> None:
    """Becomes the program `arguments[2:]`, tied to the parent process `arguments[0]` by the signal `arguments[1]`."""
    parent_pid, death_signal, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot set the parent-death signal")
    if os.getppid() != parent_pid:  # it died before the signal was set, so nobody would send it
        sys.exit(1)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
