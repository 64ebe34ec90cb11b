"""What a gateway tells of its settings file is shown; one that does not tell is passed over in silence."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from tools.stack.settings_state import SettingsState, ask_settings, settings_state
from tools.stack.status import PartStatus, StackStatus, nothing
from weft.gateway.v1 import settings_service_pb2 as pb
from weft.gateway.v1 import settings_service_pb2_grpc

TOLD = SettingsState("/conf/plans.yaml", "929f648a6010", "2023-11-14T22:13:20+00:00", ("plans.yaml:2: x: is empty",))


class Settings(settings_service_pb2_grpc.SettingsServiceServicer):
    """Tells whoever has the token "good"."""

    def GetSettings(self, request: pb.GetSettingsRequest, context: Any) -> pb.GetSettingsResponse:
        if ("authorization", "Bearer good") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
        response = pb.GetSettingsResponse(file=TOLD.file, version=TOLD.version, problems=TOLD.problems)
        response.load_time.FromSeconds(1_700_000_000)
        return response


@contextmanager
def gateway() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(1))
    settings_service_pb2_grpc.add_SettingsServiceServicer_to_server(Settings(), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield address
    server.stop(None).wait()


def status(address: str, state: str = "ready") -> StackStatus:
    part = PartStatus("gateway", state, address, 1, 0.0, 0, 0, 0, "")
    return StackStatus(state == "ready", "up", "", None, 0, (part,))


def test_a_gateway_tells_the_stacks_developer(tmp_path: Path) -> None:
    """With the token in the stack's folder; without one, or with an old one, there is nothing to show."""
    with gateway() as address:
        assert settings_state(tmp_path, status(address)) is None
        (tmp_path / "keys").mkdir()
        (tmp_path / "keys/developer.token").write_text("good\n")
        assert settings_state(tmp_path, status(address)) == TOLD
        assert ask_settings(address, "expired") is None
        assert settings_state(tmp_path, status(address, "unhealthy")) is None


def test_a_gateway_that_is_not_there_tells_nothing(tmp_path: Path) -> None:
    """Neither a stack that never ran nor one whose gateway is gone is an error here."""
    assert settings_state(tmp_path, nothing("stopped")) is None
    assert ask_settings("127.0.0.1:1", "good") is None
