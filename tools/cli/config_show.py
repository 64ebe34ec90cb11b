"""Behind `weft config`."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from libs.plans.file import PlansError, PlansText, load, read
from tools.stack import explain_plans, explain_services
from tools.stack.explained import Explained, Level, Says, UnknownKeyError, no_such_key
from tools.stack.part import Part, load_declaration
from tools.stack.plans import PLANS_FILE
from tools.stack.replicas import SERVICES
from tools.stack.snapshot import Snapshot, read_snapshot

WRONG = 2
NO_FILE = "there is no settings file {} yet: `weft up` makes it, or name one with --file"


@dataclass(frozen=True)
class Place:
    """Where values are looked for. `text` None: there is no settings file, or `spoilt` says what is wrong with it."""

    parts: tuple[Part, ...]
    state: Path
    named: bool
    file: Path
    text: PlansText | None
    spoilt: PlansError | None
    snapshot: Snapshot | None

    def all_keys(self) -> Iterator[str]:
        """All keys that have a value here."""
        yield from explain_services.stack_keys(self.parts)
        for service in SERVICES:
            yield from explain_services.service_keys(service)
        if self.text is not None:
            yield from explain_plans.keys(self.text)

    def explain(self, key: str) -> Explained:
        """Raises UnknownKeyError, and PlansError where only the settings file could tell."""
        found = (
            explain_services.explain_stack(key, self.parts, self.state, self.named, self.snapshot)
            or explain_services.explain_service(key, self.snapshot)
            or (explain_plans.explain(self.text, key) if self.text else None)
        )
        if found is None:
            if self.spoilt is not None:
                raise self.spoilt
            if self.text is None and key.partition(".")[0] in ("plans", "tenants", "prices"):
                raise UnknownKeyError(NO_FILE.format(self.file))
            raise no_such_key(key, self.all_keys())
        return found


def run_show(beginning: str, state: Path, file: Path | None, module: str, *, named: bool) -> int:
    """Answers the exit code, as all of these do."""
    place = _place(state, file, module, named)
    found = [place.explain(key) for key in place.all_keys() if key.startswith(beginning)]
    if not beginning:
        found = [explained for explained in found if any(said.text is not None for said in explained.says)]
    if not found and place.spoilt is None:
        print(f"weft: no setting begins with {beginning!r}; `weft config show` lists all", file=sys.stderr)
        return WRONG
    width = max((len(explained.key) for explained in found), default=0)
    for explained in found:
        print(f"{explained.key:<{width}}  {explained.in_force.text or '':<24}  {_source(explained.in_force)}")
    if place.spoilt is not None:
        return _refused(place.spoilt)
    if place.text is None:
        print(f"weft: {NO_FILE.format(place.file)}", file=sys.stderr)
    return 0


def run_explain(key: str, state: Path, file: Path | None, module: str, *, named: bool) -> int:
    try:
        explained = _place(state, file, module, named).explain(key)
    except PlansError as error:
        return _refused(error)
    except UnknownKeyError as error:
        print(f"weft: {error}", file=sys.stderr)
        return WRONG
    in_force = explained.in_force
    print(f"{explained.key} = {in_force.text}")
    print(f"  {explained.what}")
    print(f"  from: {_source(in_force)}")
    print("\nWho says what of it, the strongest first:")
    for said in explained.says:
        mark = ">" if said == in_force else " "
        place = f"  ({said.place})" if said.place else ""
        print(f"{mark} {said.level.value:<22} {'-' if said.text is None else said.text}{place}")
    print(f"\nThe order for every value: {' > '.join(level.value for level in Level)}")
    return 0


def run_check(file: Path) -> int:
    try:
        plans = load(file, str(file))
    except PlansError as error:
        return _refused(error)
    print(f"{file} is good: {len(plans.plans)} plans, {len(plans.tenants)} tenants; version {plans.version}")
    return 0


def _place(state: Path, file: Path | None, module: str, named: bool) -> Place:
    path = file or state / PLANS_FILE
    text, spoilt = None, None
    try:
        text = read(path, str(file) if file else None) if file or path.exists() else None
    except PlansError as error:
        spoilt = error
    snapshot = read_snapshot(state)
    running = snapshot is not None and snapshot.phase in ("starting", "up")
    parts = load_declaration(snapshot.declaration if snapshot and running else module).parts
    return Place(parts, state, named, path, text, spoilt, snapshot)


def _source(said: Says) -> str:
    return f"{said.level.value} ({said.place})" if said.place else said.level.value


def _refused(error: PlansError) -> int:
    count = f"{len(error.problems)} problem{'s' * (len(error.problems) > 1)}"
    print(f"weft: the settings file has {count}:", *error.problems, sep="\n  ", file=sys.stderr)
    return WRONG
