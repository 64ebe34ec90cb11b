"""weft.gateway.v1.SettingsService: tells which settings file is in force here."""

from __future__ import annotations

from libs.plans.watch import PlansFile
from libs.rpc.running import Context
from weft.gateway.v1 import settings_service_pb2 as pb
from weft.gateway.v1 import settings_service_pb2_grpc


class SettingsServicer(settings_service_pb2_grpc.SettingsServiceServicer):
    """What the watched file says of itself."""

    def __init__(self, file: PlansFile) -> None:
        self._file = file

    async def GetSettings(self, request: pb.GetSettingsRequest, context: Context) -> pb.GetSettingsResponse:
        """Version and time of what is in force, and what is wrong with what is not."""
        file = self._file
        response = pb.GetSettingsResponse(file=str(file.path), version=file.current.version, problems=file.problems)
        response.load_time.FromMilliseconds(round(file.load_time_s * 1000))
        return response
