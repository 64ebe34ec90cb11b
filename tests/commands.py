"""The `weft` command as its users run it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from libs.parts.processes import python_environment

WITHIN_S = 100.0


def start_weft(state: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """In the background, in a session of its own, as behind a terminal."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "tools.cli", *arguments],
        env={**os.environ, **python_environment(), "WEFT_STATE": str(state), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_weft(state: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """To its end; fails where that does not come."""
    with start_weft(state, *arguments, **environment) as process:
        try:
            stdout, stderr = process.communicate(timeout=WITHIN_S)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
