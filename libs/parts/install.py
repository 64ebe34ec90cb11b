"""Environments made from hash-locked files, with nothing but the running interpreter's own venv and pip."""

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from libs.parts.cache import Progress, silent
from libs.parts.tether import tethered

REPOSITORY_ROOT = Path(__file__).resolve().parents[2]
DOWNLOADED = 0.6
"""The share of an installation that is done when all is downloaded; pip unpacks without a word."""
LOOK_EVERY_S = 0.5

_WHEEL = re.compile(
    r"(?P<how>Downloading|Using cached|Processing) (?:\S*/)?"
    r"(?P<name>[^-/\s]+)-(?P<version>[^-\s]+)-\S+\.whl(?P<size> \([\d.]+ \w+\))?"
)


class SetupError(RuntimeError):
    """A step of the set-up failed; the message says which, why, and what to do."""


def lock_file(name: str) -> Path:
    """The committed lock of that name."""
    return REPOSITORY_ROOT / "3rdparty" / f"{name}.lock"


def base_python() -> Path:
    """The interpreter behind the running one: no shim, no virtual environment."""
    return Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))


def make_venv(folder: Path, progress: Progress = silent) -> Path:
    """A new virtual environment with pip in it; answers its python."""
    progress("making an environment", 0.0)
    _run(
        [str(base_python()), "-m", "venv", str(folder)],
        "cannot make a virtual environment (on Debian and Ubuntu it needs python3-venv)",
    )
    return folder / "bin" / "python"


def install(python: Path, lock: Path, *, target: Path | None = None, progress: Progress = silent) -> None:
    """Installs exactly what a lock lists, hashes checked, into python's environment or, if given, into `target`.

    The user's pip configuration (index, certificate, proxy) applies.
    """
    command = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "-r", str(lock)]
    command += ["--target", str(target)] if target else []
    count = sum(1 for line in lock.read_text().splitlines() if "==" in line)
    taken = 0

    def on_line(line: str) -> None:
        nonlocal taken
        if wheel := _WHEEL.match(line):
            what = f"{wheel['how'].lower()} {wheel['name']} {wheel['version']}{wheel['size'] or ''}"
            progress(what, DOWNLOADED * taken / count)
            taken = min(taken + 1, count)
        elif line.startswith("Installing "):
            progress("unpacking", DOWNLOADED)

    packages = target or next(python.parent.parent.glob("lib/python3.*/site-packages"))
    with _telling_unpacked(packages, count, progress):
        _run(command, f"cannot install {lock.name} (pip's settings decide where from: `pip config list`)", on_line)


def run_python(python: Path, script: Path, *arguments: Path, packages: Path) -> None:
    """Runs a script with a folder of packages in reach."""
    command = [str(python), str(script), *map(str, arguments)]
    _run(command, f"{script.name} failed", environment={"PYTHONPATH": str(packages)})


@contextlib.contextmanager
def _telling_unpacked(packages: Path, count: int, progress: Progress) -> Iterator[None]:
    """Tells which share of so many packages is complete in the folder, whenever that changes."""
    done = before = _complete(packages)
    ended = threading.Event()

    def look() -> None:
        nonlocal done
        if (now := _complete(packages)) > done:
            done = now
            progress("unpacking", DOWNLOADED + (1 - DOWNLOADED) * min((done - before) / count, 1.0))

    def keep_looking() -> None:
        while not ended.wait(LOOK_EVERY_S):
            look()

    looking = threading.Thread(target=keep_looking, daemon=True)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()
    look()


def _complete(packages: Path) -> int:
    """pip writes a package's INSTALLER when the rest is there."""
    return sum(1 for _ in packages.glob("*.dist-info/INSTALLER"))


def _run(
    command: list[str],
    failure: str,
    on_line: Callable[[str], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    last: deque[str] = deque(maxlen=20)
    with subprocess.Popen(
        tethered(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**kept, **(environment or {})},
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                last.append(line.rstrip())
                if on_line:
                    on_line(line.strip())
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise SetupError(f"{failure}\n" + "\n".join(last))
