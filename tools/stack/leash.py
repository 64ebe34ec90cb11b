"""What tells a supervisor to stop: a signal, or that the process which started it has gone."""

import os
import select
import signal

LET_GO = b"."


class Leash:
    """Is held at the other end of a pipe: when that end closes, the stack is to stop; `LET_GO` sets it free before.

    Catches SIGTERM, SIGINT and SIGHUP from then on. Make it on the main thread.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe: int | None = pipe
        self._signals, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)

    def wait(self, timeout_s: float) -> bool:
        """Whether the stack is to stop; waits that long for it."""
        watched = [self._signals] if self._pipe is None else [self._signals, self._pipe]
        ready, _, _ = select.select(watched, [], [], timeout_s)
        if self._signals in ready:
            return True
        if self._pipe in ready:
            assert self._pipe is not None
            if os.read(self._pipe, 1) != LET_GO:
                return True
            self._pipe = None
        return False
