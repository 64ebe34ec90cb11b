"""Files that are there whole or not at all, and whether they have changed."""

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, content: bytes | str, mode: int = 0o600) -> None:
    """Replaces a file atomically, with these permissions: it has its old content or the new, also after a kill."""
    data = content.encode() if isinstance(content, str) else content
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


FileStamp = tuple[int, int, int]


def file_stamp(path: Path) -> FileStamp:
    """Changes when the file does, also when another is renamed over it; zeros when it is not there."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_ino, status.st_size)
