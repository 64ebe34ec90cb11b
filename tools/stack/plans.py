"""A stack's settings file: what tenants may, for its owner to change."""

from pathlib import Path

from libs.config.files import write_whole
from libs.parts.install import REPOSITORY_ROOT
from tools.stack.part import Stack, StackError

PLANS_FILE = "plans.yaml"

_FIRST = REPOSITORY_ROOT / "tools/stack/plans.yaml"


def plans_file(stack: Stack) -> Path:
    """Where it is."""
    return stack.folder(PLANS_FILE)


def ensure_plans(stack: Stack) -> None:
    """Writes the first one where there is none. Raises StackError where there is one that no gateway would take."""
    from libs.plans.file import PlansError, load

    path = plans_file(stack)
    if not path.exists():
        write_whole(path, _FIRST.read_bytes(), 0o644)
    try:
        load(path, str(path))
    except PlansError as error:
        raise StackError("\n  ".join(["the settings file is wrong:", *error.problems])) from None
