"""Behind `weft ingest`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tools.cli.calling import run_call
from tools.cli.gateway import Access
from tools.ingest.ingest import Outcome, ingest
from tools.ingest.sources import Skipped, Source, find_sources


def run_ingest(
    paths: Sequence[Path],
    collection: str,
    state: Path,
    address: str | None,
    token_file: Path | None,
    *,
    send_all: bool,
) -> int:
    """Answers the exit code: 1 if a file that was named or found could not be ingested."""
    found = list(find_sources(paths))
    sources = [item for item in found if isinstance(item, Source)]
    skipped = [item for item in found if isinstance(item, Skipped)]

    async def call(access: Access) -> int:
        outcomes: list[Outcome] = []
        columns = (TextColumn("ingesting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task("", total=len(sources))

            def tell(outcome: Outcome) -> None:
                outcomes.append(outcome)
                progress.advance(bar)

            try:
                async with access.connect() as client:
                    await ingest(client, collection, sources, tell, send_all=send_all)
            finally:
                progress.stop()
                code = _report(collection, outcomes, skipped)
        return code

    return run_call(call, state, address, token_file)


def _report(collection: str, outcomes: Sequence[Outcome], skipped: Sequence[Skipped]) -> int:
    """Says what was left out and why, then counts all."""
    failed = [outcome for outcome in outcomes if outcome.result == "failed"]
    for item in skipped:
        print(f"skipped {item.path}: {item.why}", file=sys.stderr)
    for outcome in failed:
        print(f"failed {outcome.source.path}: {outcome.why}", file=sys.stderr)
    counts = Counter(outcome.result for outcome in outcomes)
    results = [f"{counts[result]} {result}" for result in ("created", "replaced", "unchanged", "failed")]
    print(f"{collection}: {', '.join(results)}, {len(skipped)} skipped")
    missing = any(not item.path.exists() for item in skipped)
    return 1 if failed or missing else 0
