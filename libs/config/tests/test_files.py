import stat
from pathlib import Path

import pytest

from libs.config.files import write_whole


def test_a_file_is_replaced_with_its_permissions(tmp_path: Path) -> None:
    """The new content has the new permissions from the start, and nothing else is left in the folder."""
    path = tmp_path / "a"
    path.write_text("old")
    write_whole(path, "new\n")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new\n", 0o600)
    write_whole(path, b"bytes", mode=0o644)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"bytes", 0o644)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_changes_nothing(tmp_path: Path) -> None:
    """Where the file cannot take its name, what was there stays and no half is left."""
    path = tmp_path / "a"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(path, "new")
    assert list(tmp_path.iterdir()) == [path]
