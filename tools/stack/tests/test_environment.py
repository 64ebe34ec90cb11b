import subprocess
from pathlib import Path

import pytest

from libs.parts.install import SetupError
from tools.stack.environment import check_glibc, ensure_environment


def _make(folder: Path) -> list[str]:
    steps: list[str] = []
    ensure_environment(folder / ".venv", folder / "runtime.lock", lambda step, done: steps.append(step))
    return steps


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an environment made from a lock of nothing: what pip does with hashes is pip's own."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "runtime.lock").write_text("# empty\n")
    (folder / "libs/client").mkdir(parents=True)
    _make(folder)
    return folder


def test_a_complete_environment_is_used_as_it_is(repository: Path) -> None:
    """Nothing is done a second time."""
    assert _make(repository) == []


@pytest.mark.parametrize("what", ["changed lock", "killed set-up"])
def test_an_environment_that_does_not_fit_is_made_from_nothing(repository: Path, what: str) -> None:
    """Nothing of an environment of another lock, or of an incomplete one, is kept."""
    leftover = repository / ".venv/lib/leftover"
    leftover.touch()
    if what == "changed lock":
        (repository / "runtime.lock").write_text("# changed\n")
    else:
        (repository / ".venv/runtime.lock").unlink()
    assert _make(repository) != []
    assert not leftover.exists()
    assert _make(repository) == []


def test_the_import_roots_follow_the_repository(repository: Path, tmp_path: Path) -> None:
    """The environment finds the repository that it lies in, also after both were moved."""
    moved = repository.rename(tmp_path / "moved")
    command = [str(moved / ".venv/bin/python"), "-I", "-c", "import sys; print(*sys.path, sep='\\n')"]
    paths = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    moved.rename(repository)
    assert {str(moved), str(moved / "libs/client")} <= set(paths)


@pytest.mark.parametrize("version", ["glibc 2.34", "glibc 2", "glibc x.y", "musl 1.2.5", "another C library"])
def test_an_old_c_library_is_named(version: str) -> None:
    """The error says what is needed and what there is."""
    with pytest.raises(SetupError, match=rf"glibc 2\.35 or newer.*has {version}"):
        check_glibc(version)


def test_a_new_c_library_is_accepted() -> None:
    """Versions are compared as numbers."""
    for version in ("glibc 2.35", "glibc 2.100", "glibc 3.0", "glibc 2.36.1"):
        check_glibc(version)
