"""What is installed once for a user, for all stacks and tests: unpacked servers, environments, built models."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol


class Progress(Protocol):
    """Is told how far a step is: what is being done now, and which share of it is done, 0 to 1."""

    def __call__(self, step: str, done: float) -> None: ...


def silent(step: str, done: float) -> None:
    """A `Progress` for those who do not want to know."""


def part_of(progress: Progress, label: str, start: float, end: float) -> Progress:
    """Reports a step that is one of several: named by `label`, its 0 to 1 being `start` to `end` of the whole."""
    return lambda step, done: progress(f"{label}: {step}", start + (end - start) * done)


def cache_root() -> Path:
    """`WEFT_CACHE`, or `weft` in the user's cache folder (`XDG_CACHE_HOME`, `~/.cache`)."""
    if chosen := os.environ.get("WEFT_CACHE"):
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "weft"


def ensure(
    name: str,
    key_files: Iterable[Path],
    build: Callable[[Path], None],
    *,
    also: str = "",
    progress: Progress = silent,
) -> Path:
    """The folder `<name>-<hash>` in the cache, built now if it is not there; the hash is of the key files and `also`.

    `build` fills an empty folder that takes its final name only when it is complete, so nobody ever sees half of it,
    and what a killed build left is removed by the next one. One build of a name runs at a time; others wait for it.
    """
    root = cache_root()
    target = root / f"{name}-{_digest(key_files, also)}"
    if target.is_dir():
        return target
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root / f".{name}.lock", lambda: progress(f"{name}: waiting for another set-up", 0.0)):
        if target.is_dir():
            return target
        for leftover in root.glob(f".{name}.partial-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{name}.partial-", dir=root))
        try:
            build(partial)
            partial.chmod(0o755)
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return target


@contextlib.contextmanager
def _locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Holds an exclusive lock on a file; the kernel gives it back when the holder dies."""
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _digest(key_files: Iterable[Path], also: str) -> str:
    """Follows the files' names and contents in the order given, not where they lie."""
    digest = hashlib.sha256(also.encode())
    for path in key_files:
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
