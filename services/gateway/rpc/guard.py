"""Admission at the server: who calls, then may it be made; signed contexts go on."""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import NamedTuple

from libs.auth.context import seal
from libs.auth.tokens import Principal
from libs.contracts import headers
from libs.rpc.guard import Admitted, Arrival
from services.gateway.app.admit import Admission, Admit, Caller

running_principal: ContextVar[Principal] = ContextVar("running_principal")
"""Who makes the running call; set for every call that is not public."""

running_call: ContextVar[RunningCall] = ContextVar("running_call")
"""The running call as it came in and was admitted; set for every call that is not public."""


class RunningCall(NamedTuple):
    """A call that was admitted."""

    arrival: Arrival
    admission: Admission


class AdmissionGuard:
    """Admits calls with a credential that may make them, and signs what the services behind the gateway are told."""

    def __init__(self, admit: Admit, context_key: bytes) -> None:
        self._admit = admit
        self._context_key = context_key
        self._callers: dict[Arrival, tuple[Caller, float]] = {}

    async def identify(self, arrival: Arrival) -> None:
        """Raises what `Admit.identify` raises."""
        begin_s = time.perf_counter()
        caller = await self._admit.identify(arrival.method, arrival.metadata, time.time())
        arrival.log_fields["tenant"] = caller.principal.tenant
        self._callers[arrival] = caller, time.perf_counter() - begin_s

    async def admit(self, arrival: Arrival) -> Admitted:
        """Raises what `Admit.admit` raises. The answer says how long both took, without the reading of the request."""
        begin_s = time.perf_counter()
        caller, took_s = self._callers[arrival]
        told = arrival.answer_headers
        try:
            admission = await self._admit.admit(caller, arrival.body, arrival.deadline_s, time.time(), told)
            took_s -= admission.waited_s
        finally:
            took_s += time.perf_counter() - begin_s
            told.append((headers.ADMISSION_US, str(round(took_s * 1e6))))
        running_principal.set(admission.principal)
        running_call.set(RunningCall(arrival, admission))
        return Admitted(admission.context, seal(admission.context, self._context_key))

    def left(self, arrival: Arrival) -> None:
        """Gives back what the call took of the gateway."""
        caller, _ = self._callers.pop(arrival)
        self._admit.left(caller)
