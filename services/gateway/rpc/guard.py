"""Admission at the server: verified tokens in, signed contexts out."""

from __future__ import annotations

import time
from contextvars import ContextVar

from libs.auth.context import seal
from libs.auth.tokens import Principal
from libs.contracts.policies import Method
from libs.rpc.call import Metadata
from libs.rpc.guard import Admitted
from services.gateway.app.admit import Admit

running_principal: ContextVar[Principal] = ContextVar("running_principal")
"""Who makes the running call; set for every call that is not public."""


class AdmissionGuard:
    """Admits calls with a token that may make them, and signs what the services behind the gateway are told of them."""

    def __init__(self, admit: Admit, context_key: bytes) -> None:
        self._admit = admit
        self._context_key = context_key

    async def __call__(self, method: Method, metadata: Metadata, deadline_s: float) -> Admitted:
        """Raises what `Admit` raises."""
        admission = self._admit(method, metadata, deadline_s, time.time())
        running_principal.set(admission.principal)
        return Admitted(admission.context, seal(admission.context, self._context_key))
