"""Behind `weft logs`."""

import sys
from pathlib import Path

from tools.stack.logs import follow, last_lines


def run_logs(state: Path, part: str | None, *, follow_on: bool, count: int) -> int:
    """Answers the exit code. With several logs, each line begins with the name of its part."""
    logs = sorted((state / "logs").glob("*.log"))
    if part:
        names = [log.stem for log in logs]
        logs = [log for log in logs if log.stem == part]
        if not logs:
            told = f"there are logs of {', '.join(names)}" if names else f"there are no logs in {state}"
            print(f"weft: no log of {part!r}; {told}", file=sys.stderr)
            return 1
    if not logs:
        print(f"weft: there are no logs in {state} yet: `weft up` makes them", file=sys.stderr)
        return 1
    width = max((len(log.stem) for log in logs), default=0)

    def show(log: Path, line: str) -> None:
        print(line if part else f"{log.stem:{width}} | {line}", flush=follow_on)

    try:
        for log in logs:
            for line in last_lines(log, count):
                show(log, line)
        if follow_on:
            for log, line in follow(logs):
                show(log, line)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        sys.stderr.close()  # what reads the output has gone: no complaint at exit
    return 0
