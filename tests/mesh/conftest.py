"""A whole stack with replicas, in a mesh whose rules are a copy of mesh/ that tests change."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from libs.parts.install import REPOSITORY_ROOT
from tests.conftest import MODULE
from tests.mesh.calls import Caller, calling
from tests.mesh.running import RunningMesh
from tools.stack.bringup import bring_up
from tools.stack.options import Options
from tools.stack.part import load_declaration
from tools.stack.plans import PLANS_FILE
from tools.stack.snapshot import Snapshot
from tools.stack.start import CERTIFICATE_TTL

RULES = REPOSITORY_ROOT / "mesh"
SCALE = {"gateway": 2, "rag": 2, "rag-canary": 1, "embedding": 2, "inference": 3}
CERTIFICATE_TTL_S = 20.0
"""Every certificate is another after half of it: all that is tested here is tested while they change."""
PLANS = """\
plans:
  tests: {limits: none, highest_priority: high, open_calls: 1000}
  modest: {limits: none, highest_priority: normal, open_calls: 1000}
default_plan: tests
tenants:
  modest: {plan: modest}
"""


class Quiet:
    """Tells nothing of how it goes: what goes wrong is raised."""

    def step(self, step: str, done: float) -> None:
        pass

    def parts(self, snapshot: Snapshot) -> None:
        pass


@pytest.fixture(scope="session")
def running_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """One for the whole session, started at its first use. It ends with the session, however that ends."""
    folder: Path = tmp_path_factory.mktemp("mesh")
    state = folder / "state"
    state.mkdir()
    (state / PLANS_FILE).write_text(PLANS)
    rules, written = folder / "rules", folder / "written"
    for copy in (rules, written):
        shutil.copytree(RULES, copy)
    name = f"{MODULE}?{Options(rules=rules, scale=SCALE).query()}"
    any_free = {part.name: "0" for part in load_declaration(name).parts}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(CERTIFICATE_TTL, str(CERTIFICATE_TTL_S))
        launched = bring_up(state, name, Quiet(), ports=any_free)
    yield RunningMesh(launched.stack, rules, written)
    launched.stop()


@pytest.fixture
async def mesh(running_mesh: RunningMesh, collection: None) -> AsyncIterator[RunningMesh]:
    """The stack with the rules of mesh/, and all replicas in it; what a test has changed is put back."""
    for pod in running_mesh.served_pods():
        await running_mesh.eventually_serves(pod.name)
    yield running_mesh
    await running_mesh.end_drills()
    await running_mesh.restore()


@pytest.fixture
async def caller(mesh: RunningMesh) -> AsyncIterator[Caller]:
    """Of a tenant that may have the highest priority, with a collection."""
    async with calling(mesh) as found:
        yield found


@pytest.fixture(scope="session")
async def collection(running_mesh: RunningMesh) -> None:
    """What calls of all tests look into."""
    async with calling(running_mesh) as first:
        await first.ingest()
