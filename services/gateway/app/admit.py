"""Admission: may this call be made, for whom, how urgent is it. Knows no transport."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from libs.auth.context import CallContext
from libs.auth.tokens import Principal
from libs.contracts.policies import Method
from libs.errors.errors import PermissionDeniedError, Reason
from services.gateway.domain.metadata import Metadata, bearer_token, wishes
from services.gateway.ports import TokenVerifier


@dataclass(frozen=True, slots=True)
class Admission:
    """A call that may be made: who makes it, and what the services behind the gateway are told of it."""

    principal: Principal
    context: CallContext


class Admit:
    """Decides on each call by its method's policy; no method is known by name."""

    def __init__(self, verifier: TokenVerifier, new_id: Callable[[], str]) -> None:
        self._verifier = verifier
        self._new_id = new_id

    def __call__(self, method: Method, metadata: Metadata, deadline_s: float, now_s: float) -> Admission:
        """Admits a call of `method` that is made at `now_s` and ends by `deadline_s` (both Unix time).

        Raises, in this order: TOKEN_MISSING, TOKEN_MALFORMED, TOKEN_EXPIRED, TOKEN_REFUSED; SCOPE_MISSING;
        HEADER_INVALID. Who may not make a call is not told what else is wrong with it.
        """
        principal = self._verifier.verify(bearer_token(metadata), now_s)
        for scope in method.scopes:
            if scope not in principal.scopes:
                raise _scope_missing(method, scope)
        wanted = wishes(metadata)
        context = CallContext(
            tenant=principal.tenant,
            principal=principal.subject,
            call_id=self._new_id(),
            request_id=wanted.request_id or self._new_id(),
            priority=wanted.priority or method.default_priority,
            deadline_s=deadline_s,
            max_output_tokens=wanted.max_tokens or 0,
        )
        return Admission(principal, context)


def _scope_missing(method: Method, scope: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        Reason.SCOPE_MISSING,
        f"{method.path} needs the scope {scope}, which the token lacks",
        metadata={"scope": scope, "method": method.path},
    )
