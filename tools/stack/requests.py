"""What a running supervisor is asked to do: one small file in the state folder, one request at a time.

Whoever may write there may ask. How far it is, the supervisor tells in the snapshot.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tools.stack.part import StackError

FILE = "request.json"


@dataclass(frozen=True)
class Restart:
    """To restart parts, one after the other. `force`: also where nothing answers for a part meanwhile."""

    id: str
    parts: tuple[str, ...]
    force: bool


def ask_for_restart(state: Path, parts: Sequence[str], *, force: bool) -> Restart:
    """Leaves the request for the supervisor. Raises StackError while it is at another."""
    request = Restart(uuid.uuid4().hex, tuple(parts), force)
    partial = state / f".{FILE}.{request.id}"
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(request), file)
        os.link(partial, state / FILE)
    except FileExistsError:
        raise StackError("another restart is under way: wait for its end") from None
    except OSError as error:
        raise StackError(f"the supervisor cannot be asked: {state / FILE}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
    return request


def read_request(state: Path) -> Restart | None:
    """What is asked for now. Removes what nobody could have asked for."""
    try:
        said = json.loads((state / FILE).read_text())
        return Restart(str(said["id"]), tuple(map(str, said["parts"])), bool(said["force"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        discard_request(state)
        return None


def discard_request(state: Path) -> None:
    """Makes room for the next one."""
    with contextlib.suppress(OSError):
        (state / FILE).unlink()
