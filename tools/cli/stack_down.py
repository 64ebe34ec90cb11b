"""Behind `weft down`."""

from pathlib import Path

from rich.console import Console

from tools.stack.launch import is_claimed, stop


def run_down(state: Path) -> int:
    """Answers the exit code; 0 also when nothing was running."""
    if not is_claimed(state):
        print(f"Nothing is running on {state}.")
        return 0
    with Console(stderr=True).status("stopping") as line:
        for snapshot in stop(state):
            running = [part.name for part in snapshot.parts if part.pid] if snapshot else []
            line.update(f"stopping {', '.join(running)}")
    print("Stopped.")
    return 0
