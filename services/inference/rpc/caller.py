"""Who makes the running call, as the queues in front of the models see it."""

from __future__ import annotations

from libs.auth.context import CallContext
from libs.rpc.call import remaining_s
from services.inference.domain.callers import Caller, Priority

_PRIORITIES = {priority.name.lower(): priority for priority in Priority}


def caller_of(call: CallContext) -> Caller:
    """The caller of the call that runs now."""
    return Caller(call.tenant, _PRIORITIES[call.priority], remaining_s(), call.may_fall_back, call.call_id)
