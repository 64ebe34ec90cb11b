"""weft.gateway.v1.IdentityService: tells callers who they are."""

from __future__ import annotations

import math

from libs.rpc.running import Context
from services.gateway.app.entitlement import entitlement
from services.gateway.ports import PlansInForce
from services.gateway.rpc.guard import running_principal
from weft.gateway.v1 import identity_service_pb2 as pb
from weft.gateway.v1 import identity_service_pb2_grpc
from weft.policy.v1 import method_policy_pb2

_PRIORITIES = {
    "low": method_policy_pb2.PRIORITY_LOW,
    "normal": method_policy_pb2.PRIORITY_NORMAL,
    "high": method_policy_pb2.PRIORITY_HIGH,
}


class IdentityServicer(identity_service_pb2_grpc.IdentityServiceServicer):
    """What the call's token or key says, and what its plan allows."""

    def __init__(self, plans: PlansInForce) -> None:
        self._plans = plans

    async def WhoAmI(self, request: pb.WhoAmIRequest, context: Context) -> pb.WhoAmIResponse:
        """The principal that the guard admitted the call for."""
        principal = running_principal.get()
        response = pb.WhoAmIResponse(
            principal=principal.subject, tenant=principal.tenant, scopes=sorted(principal.scopes)
        )
        if not math.isinf(principal.expire_time_s):
            response.expire_time.FromMilliseconds(round(principal.expire_time_s * 1000))
        # A plan that went away since the call was admitted leaves the rest unsaid.
        if may := entitlement(self._plans.current, principal):
            response.plan = may.plan
            response.highest_priority = _PRIORITIES[may.highest_priority]
            for limit in may.rate_limits:
                response.rate_limits.add(name=limit.name, limit=limit.limit)
        return response
