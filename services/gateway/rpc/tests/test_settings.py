"""Whoever operates an installation can ask a gateway which settings it has."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from libs.plans.watch import PlansFile
from libs.rpc.server import Component
from libs.testing.serving import calling, serving
from services.gateway.rpc.settings import SettingsServicer
from weft.gateway.v1 import settings_service_pb2 as pb
from weft.gateway.v1 import settings_service_pb2_grpc

GOOD = "plans: {standard: {}}\n"


async def ask(file: PlansFile) -> pb.GetSettingsResponse:
    servicers = [(settings_service_pb2_grpc.add_SettingsServiceServicer_to_server, SettingsServicer(file))]
    async with serving(Component(servicers=servicers)) as served, calling(served) as channel:
        response = await settings_service_pb2_grpc.SettingsServiceStub(channel).GetSettings(pb.GetSettingsRequest())
        assert isinstance(response, pb.GetSettingsResponse)
        return response


async def test_what_is_in_force_is_told(tmp_path: Path) -> None:
    """The file, the beginning of its content's SHA-256, since when, and no problems."""
    path = tmp_path / "plans.yaml"
    path.write_text(GOOD)
    before_s = time.time()
    response = await ask(PlansFile(path))
    assert (response.file, response.version) == (str(path), hashlib.sha256(GOOD.encode()).hexdigest()[:12])
    assert before_s - 0.001 <= response.load_time.ToMilliseconds() / 1000 <= time.time() + 0.001
    assert list(response.problems) == []


async def test_what_was_refused_is_told(tmp_path: Path) -> None:
    """The version in force stays the old one's; the problems are those of the file as it is now."""
    path = tmp_path / "plans.yaml"
    path.write_text(GOOD)
    file = PlansFile(path)
    path.write_text("plans:\n  gold: {open_calls: many}\n")
    await file.look()
    await file.look()
    response = await ask(file)
    assert response.version == hashlib.sha256(GOOD.encode()).hexdigest()[:12]
    (problem,) = response.problems
    assert problem.startswith("plans.yaml:2: plans.gold.open_calls: must be a whole number from 1 to 100,000")
