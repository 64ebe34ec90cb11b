"""Makes API keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from libs.auth.tokens import Principal
from libs.errors.errors import invalid_field
from services.gateway.domain.api_keys import ApiKey, derived_key, plan_unknown, request_id_reused, scope_missing
from services.gateway.ports import ApiKeys, KeyRequest, PlansInForce


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a key is to be. `ttl_s`: None: until it is revoked."""

    description: str
    scopes: tuple[str, ...]
    plan: str
    ttl_s: float | None


class CreateKey:
    """Makes a key for its maker's tenant. The secret is derived and never stored, so the same request has it again.

    `context_key`: the installation's, from which secrets are derived. `new_nonce`: random bytes.
    """

    def __init__(self, keys: ApiKeys, plans: PlansInForce, context_key: bytes, new_nonce: Callable[[], bytes]) -> None:
        self._keys = keys
        self._plans = plans
        self._context_key = context_key
        self._new_nonce = new_nonce

    async def __call__(
        self, maker: Principal, wanted: Wanted, request: KeyRequest, method: str, now_s: float
    ) -> tuple[ApiKey, str]:
        """The key, and the text that its owner sends. Raises SCOPE_MISSING, FIELD_INVALID, PLAN_UNKNOWN,
        QUOTA_EXCEEDED, REQUEST_ID_REUSED. `method` is the path of the call, for the error; `now_s` is Unix time."""
        for scope in wanted.scopes:
            if scope not in maker.scopes:
                raise scope_missing(scope, method)
        plan = wanted.plan or maker.plan
        if maker.plan and plan != maker.plan:
            raise invalid_field("plan", f"a key of the plan {maker.plan} makes keys of that plan only")
        if plan and plan not in self._plans.current.plans:
            raise plan_unknown(plan)
        nonce = self._new_nonce()
        text = derived_key(self._context_key, maker.tenant, request.request_id, nonce)
        key = ApiKey(
            key_id=text.key_id,
            tenant=maker.tenant,
            description=wanted.description,
            scopes=tuple(sorted(wanted.scopes)),
            plan=plan,
            create_time_s=now_s,
            expire_time_s=0.0 if wanted.ttl_s is None else now_s + wanted.ttl_s,
        )
        made_from = await self._keys.create(key, text, nonce, request)
        if made_from == nonce:
            return key, text.text
        before = derived_key(self._context_key, maker.tenant, request.request_id, made_from)
        found = await self._keys.find(maker.tenant, before.key_id)
        if found is None:  # the installation's key is another one since
            raise request_id_reused(request.request_id)
        return found[0], before.text
