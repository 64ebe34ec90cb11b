"""How `weft up` shows what it is doing: in place on a terminal, as lines elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table

from tools.stack.snapshot import PartSnapshot, Snapshot

QUIET_S = 5.0
BAR_WIDTH = 24
MARKS = {"ready": "[green]ready[/green]", "failed": "[red]failed[/red]", "waiting": "[dim]waiting[/dim]"}


class StackProgress:
    """Tells on standard error. A finished step leaves nothing; how long all took is the last line."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, transient=True, refresh_per_second=10)
        self._started_at = time.monotonic()
        self._told: dict[str, str] = {}
        self._told_at = 0.0

    def __enter__(self) -> "StackProgress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def step(self, step: str, done: float) -> None:
        if self._console.is_terminal:
            row = Table.grid(padding=(0, 1))
            row.add_row(ProgressBar(total=1.0, completed=done, width=BAR_WIDTH), f"{done:4.0%}", escape(step))
            self._live.update(row)
        elif time.monotonic() - self._told_at >= QUIET_S:
            self._told_at = time.monotonic()
            self._console.print(f"{done:4.0%}  {escape(step)}", highlight=False, soft_wrap=True)

    def parts(self, snapshot: Snapshot) -> None:
        if self._console.is_terminal:
            table = Table.grid(padding=(0, 2))
            for part in snapshot.parts:
                table.add_row(part.name, _mark(part), f"[dim]{part.address}[/dim]")
            self._live.update(table)
            return
        for part in snapshot.parts:
            if part.state not in ("waiting", self._told.get(part.name)):
                self._told[part.name] = part.state
                passed = time.monotonic() - self._started_at
                self._console.print(f"{passed:5.1f} s  {part.name} {part.state}", highlight=False)


def _mark(part: PartSnapshot) -> str | Spinner:
    return MARKS.get(part.state) or Spinner("dots", part.state)
