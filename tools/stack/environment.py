"""Makes the repository's `.venv`: `python3.11 -m tools.stack.environment`. Needs nothing but the standard library."""

import contextlib
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from libs.config.files import write_whole
from libs.parts.cache import Progress, part_of
from libs.parts.install import REPOSITORY_ROOT, SetupError, install, lock_file, make_venv

OLDEST_GLIBC = (2, 35)
LOCK = "runtime"
# Relative to the folder of the packages, so that a repository that is moved keeps working.
IMPORT_ROOTS = ("../../../..", "../../../../libs/contracts/stubs", "../../../../libs/client")


def ensure_environment(folder: Path, lock: Path, progress: Progress) -> None:
    """Makes the environment again from nothing unless it was made, completely, from this very lock. One at a time."""
    check_glibc(_glibc_version())
    folder.mkdir(exist_ok=True)
    with _locked(folder, lambda: progress("Python packages: waiting for another set-up", 0.0)):
        stamp = folder / lock.name
        if stamp.exists() and stamp.read_bytes() == lock.read_bytes() and (folder / "bin/python").exists():
            return
        progress("Python packages: clearing the old ones", 0.0)
        stamp.unlink(missing_ok=True)
        for entry in folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        python = make_venv(folder, part_of(progress, "Python packages", 0.0, 0.05))
        install(python, lock, progress=part_of(progress, "Python packages", 0.05, 1.0))
        packages = next(folder.glob("lib/python3.*/site-packages"))
        (packages / "weft-roots.pth").write_text("\n".join(IMPORT_ROOTS) + "\n")
        write_whole(stamp, lock.read_bytes(), mode=0o644)


def check_glibc(version: str) -> None:
    """`SetupError` if the C library (as in "glibc 2.36") is not one that the servers run on."""
    name, _, number = version.partition(" ")
    parts = number.split(".")[:2]
    if name != "glibc" or not all(part.isdigit() for part in parts) or tuple(map(int, parts)) < OLDEST_GLIBC:
        needed = ".".join(map(str, OLDEST_GLIBC))
        raise SetupError(
            f"Weft needs Linux with glibc {needed} or newer (Debian 12, Ubuntu 22.04); this system has {version}"
        )


def _glibc_version() -> str:
    with contextlib.suppress(ValueError, OSError):
        return os.confstr("CS_GNU_LIBC_VERSION") or "another C library"
    return "another C library"


@contextlib.contextmanager
def _locked(folder: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class _Teller:
    """Shows progress on a terminal in place, elsewhere as a line now and then."""

    QUIET_S = 5.0

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._told_at = -self.QUIET_S

    def __call__(self, step: str, done: float) -> None:
        line = f"{done:4.0%}  {step}"
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{line[:width]}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._told_at >= self.QUIET_S:
            self._told_at = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def main() -> int:
    teller = _Teller()
    try:
        ensure_environment(REPOSITORY_ROOT / ".venv", lock_file(LOCK), teller)
    except (SetupError, OSError) as error:
        teller.close()
        print(f"weft: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        teller.close()
        print("weft: interrupted; the next call starts the set-up again", file=sys.stderr)
        return 130
    teller.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
