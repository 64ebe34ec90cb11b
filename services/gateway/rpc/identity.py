"""weft.gateway.v1.IdentityService: tells callers who they are."""

from __future__ import annotations

from libs.rpc.running import Context
from services.gateway.rpc.guard import running_principal
from weft.gateway.v1 import identity_service_pb2 as pb
from weft.gateway.v1 import identity_service_pb2_grpc


class IdentityServicer(identity_service_pb2_grpc.IdentityServiceServicer):
    """What the call's token says."""

    async def WhoAmI(self, request: pb.WhoAmIRequest, context: Context) -> pb.WhoAmIResponse:
        """The principal that the guard admitted the call for."""
        principal = running_principal.get()
        response = pb.WhoAmIResponse(
            principal=principal.subject, tenant=principal.tenant, scopes=sorted(principal.scopes)
        )
        response.expire_time.FromMilliseconds(round(principal.expire_time_s * 1000))
        return response
