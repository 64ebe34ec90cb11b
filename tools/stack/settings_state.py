"""Which settings file a stack's gateway has in force, as the gateway itself tells it."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.stack.setup import TOKEN_FILE
from tools.stack.status import PROBE_TIMEOUT_S, StackStatus

GATEWAY = "gateway"


@dataclass(frozen=True)
class SettingsState:
    """`problems`: what is wrong with the file as it is now; `load_time` (RFC 3339) and `version` are of what is in
    force."""

    file: str
    version: str
    load_time: str
    problems: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def settings_state(state: Path, status: StackStatus) -> SettingsState | None:
    """None where no gateway is ready, or it does not tell the stack's developer."""
    addresses = [part.address for part in status.parts if part.name == GATEWAY and part.state == "ready"]
    try:
        token = (state / "keys" / TOKEN_FILE).read_text().strip()
    except OSError:
        return None
    return ask_settings(addresses[0], token) if addresses else None


def ask_settings(address: str, token: str) -> SettingsState | None:
    """None where the gateway does not tell."""
    import grpc  # only those who ask a gRPC server pay for it

    from libs.contracts import headers
    from weft.gateway.v1 import settings_service_pb2 as pb
    from weft.gateway.v1 import settings_service_pb2_grpc

    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = settings_service_pb2_grpc.SettingsServiceStub(channel)
        metadata = ((headers.AUTHORIZATION, f"Bearer {token}"),)
        try:
            told = stub.GetSettings(pb.GetSettingsRequest(), timeout=PROBE_TIMEOUT_S, metadata=metadata)
        except grpc.RpcError:
            return None
    load_time = datetime.fromtimestamp(told.load_time.seconds, UTC).isoformat(timespec="seconds")
    return SettingsState(told.file, told.version, load_time, tuple(told.problems))
