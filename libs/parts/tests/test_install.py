import base64
import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from libs.parts.install import SetupError, base_python, install, make_venv


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a new environment."""
    return make_venv(tmp_path_factory.mktemp("install") / "environment")


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only wheel there is for pip: `sample` 1.0, which declares a dependency that does not exist."""
    path = tmp_path / "wheels/sample-1.0-py3-none-any.whl"
    path.parent.mkdir()
    files = {
        "sample.py": "ANSWER = 42\n",
        "sample-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: sample\nVersion: 1.0\nRequires-Dist: absent\n",
        "sample-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        record = ""
        for name, text in files.items():
            archive.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(text)}\n"
        archive.writestr("sample-1.0.dist-info/RECORD", record + "sample-1.0.dist-info/RECORD,,\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    return path


def lock_of(wheel: Path, digest: str) -> Path:
    lock = wheel.with_name("sample.lock")
    lock.write_text(f"sample==1.0 \\\n    --hash=sha256:{digest}\n")
    return lock


def test_what_the_lock_lists_is_installed(python: Path, wheel: Path, tmp_path: Path) -> None:
    """Exactly that, without what it declares to need, from where pip's settings say; progress names each step."""
    steps: list[tuple[str, float]] = []
    lock = lock_of(wheel, hashlib.sha256(wheel.read_bytes()).hexdigest())
    install(python, lock, target=tmp_path / "packages", progress=lambda step, done: steps.append((step, done)))
    assert (tmp_path / "packages/sample.py").read_text() == "ANSWER = 42\n"
    assert steps == [("processing sample 1.0", 0.0), ("unpacking", 0.6), ("unpacking", 1.0)]


def test_another_wheel_than_the_locked_one_is_refused(python: Path, wheel: Path, tmp_path: Path) -> None:
    """A wrong hash is an error that names the lock, and nothing is installed."""
    lock = lock_of(wheel, "0" * 64)
    with pytest.raises(SetupError, match=r"(?s)cannot install sample\.lock.*DO NOT MATCH THE HASHES"):
        install(python, lock, target=tmp_path / "packages")
    assert not (tmp_path / "packages").exists()


def test_a_missing_package_is_said(python: Path, wheel: Path) -> None:
    """What pip cannot find is an error that ends with pip's own words."""
    lock = lock_of(wheel, "0" * 64)
    lock.write_text(lock.read_text().replace("sample==1.0", "sample==2.0"))
    with pytest.raises(SetupError, match=r"sample==2\.0"):
        install(python, lock)


def test_the_base_interpreter_is_no_environment() -> None:
    """What environments are made with is a real interpreter of this version."""
    script = "import sys; print(sys.prefix == sys.base_prefix, sys.version_info[:2] == (3, 11))"
    ran = subprocess.run([base_python(), "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "True True\n"
