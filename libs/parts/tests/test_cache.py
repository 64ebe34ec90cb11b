import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from libs.parts.cache import cache_root, ensure


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "some.lock"
    path.write_text("a==1")
    return path


def write_result(folder: Path) -> None:
    (folder / "result").write_text("built")


def test_a_thing_is_built_once(key_file: Path) -> None:
    """The second call answers the same folder without building."""
    first = ensure("thing", [key_file], write_result)
    second = ensure("thing", [key_file], lambda folder: pytest.fail("built twice"))
    assert (first / "result").read_text() == "built"
    assert second == first


def test_another_lock_is_another_folder(key_file: Path) -> None:
    """A changed key file or a changed `also` is built anew; the old folder stays."""
    first = ensure("thing", [key_file], write_result)
    other = ensure("thing", [key_file], write_result, also="another interpreter")
    key_file.write_text("a==2")
    changed = ensure("thing", [key_file], write_result)
    assert len({first, other, changed}) == 3
    assert first.is_dir()


def test_a_failed_build_leaves_nothing(key_file: Path) -> None:
    """An error in the build is the caller's, and the cache is as it was."""

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        ensure("thing", [key_file], fail)
    assert [path.name for path in cache_root().iterdir()] == [".thing.lock"]


def _killed_half_way(folder: Path) -> None:
    (folder / "half").touch()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_build_is_repaired(key_file: Path) -> None:
    """What a build that was killed half-way left is never answered, and is gone after the next one."""
    process = multiprocessing.get_context("fork").Process(target=ensure, args=("thing", [key_file], _killed_half_way))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert any(path.name.startswith(".thing.partial-") for path in cache_root().iterdir())

    built = ensure("thing", [key_file], write_result)
    assert [path.name for path in built.iterdir()] == ["result"]
    assert {path.name for path in cache_root().iterdir()} == {".thing.lock", built.name}


def test_builders_at_the_same_time_build_once(key_file: Path, tmp_path: Path) -> None:
    """Of several processes that need the same thing one builds, the others wait for it and say so."""
    context = multiprocessing.get_context("fork")
    builds, waits, go_on = context.Value("i"), context.Value("i"), context.Event()

    def build(folder: Path) -> None:
        with builds.get_lock():
            builds.value += 1
        assert go_on.wait(30)
        write_result(folder)

    def progress(step: str, done: float) -> None:
        with waits.get_lock():
            waits.value += 1
            if waits.value == 2:
                go_on.set()

    def work() -> None:
        ensure("thing", [key_file], build, progress=progress)

    processes = [context.Process(target=work) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (builds.value, waits.value) == (1, 2)
