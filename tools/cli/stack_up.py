"""Behind `weft up`."""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from libs.auth.keys import KeyFileError
from libs.parts.install import SetupError
from libs.parts.processes import PartError
from tools.cli.progress import StackProgress
from tools.stack.bringup import bring_up
from tools.stack.launch import Launched
from tools.stack.part import StackError, load_declaration
from tools.stack.snapshot import Snapshot

WATCH_EVERY_S = 0.5
INTERRUPTED = 130


def run_up(state: Path, name: str, *, detach: bool, port_offset: int, ports: Mapping[str, str]) -> int:
    """Answers the exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with StackProgress() as progress:
            launched = bring_up(state, name, progress, port_offset=port_offset, ports=ports)
    except (StackError, SetupError, PartError, KeyFileError) as error:
        print(f"weft: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("weft: interrupted; nothing is running", file=sys.stderr)
        return INTERRUPTED
    print(load_declaration(name).hints(launched.stack), flush=True)
    if detach:
        launched.let_go()
        return 0
    return _watch(launched)


def _watch(launched: Launched) -> int:
    """Until the user ends it or the supervisor is gone; tells of parts that die and come back."""
    print("Ctrl-C stops it.", flush=True)
    before: Snapshot | None = None
    try:
        for snapshot in launched.snapshots(WATCH_EVERY_S):
            if before:
                _tell_changes(before, snapshot)
            before = snapshot
    except KeyboardInterrupt:
        return _stop(launched)
    clean = before is not None and before.phase == "stopped" and launched.guardian.returncode == 0
    print(
        "The stack was stopped." if clean else "weft: the supervisor has ended; everything is stopped", file=sys.stderr
    )
    return 0 if clean else 1


def _stop(launched: Launched) -> int:
    print("Stopping (Ctrl-C again: at once) ...", file=sys.stderr, flush=True)
    try:
        launched.stop()
    except KeyboardInterrupt:
        launched.kill()
    print("Stopped.", file=sys.stderr)
    return 0


def _tell_changes(before: Snapshot, now: Snapshot) -> None:
    earlier = {part.name: part for part in before.parts}
    for part in now.parts:
        was = earlier.get(part.name, part)
        if part.state == "restarting" and was.state != "restarting":
            print(f"{part.name}: {part.last_exit.splitlines()[0]}; it is being restarted", file=sys.stderr)
        elif part.state == "ready" and (was.state == "restarting" or part.restarts > was.restarts):
            print(f"{part.name} is ready again (restart {part.restarts})", file=sys.stderr)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
