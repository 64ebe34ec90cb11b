"""Builds the gateway from its settings and the contracts' policies."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from libs.auth.context import read_context_key
from libs.auth.jwks import JwksError
from libs.auth.key_sources import FileKeys, KeySource
from libs.auth.verifier import Issuer, TokenVerifier
from libs.config.settings import SettingsError
from libs.contracts.open_inference import open_inference_pb2
from libs.contracts.openapi import openapi_json
from libs.contracts.policies import Method, methods
from libs.ledger.sweeper import LedgerSweeper
from libs.plans.watch import PlansFile, watched
from libs.rpc.beside import beside
from libs.rpc.channel import channel
from libs.rpc.health import Check, serves
from libs.rpc.server import Component
from libs.store.redis import connect
from libs.store.together import Together
from services.gateway.adapters.admissions import RedisAdmissions
from services.gateway.adapters.api_keys import RedisApiKeys
from services.gateway.adapters.identities import CallerIdentities, KeyCallers
from services.gateway.adapters.kept_answers import RedisKeptAnswers
from services.gateway.adapters.key_sources import published_keys
from services.gateway.adapters.usage import RedisUsageLedger
from services.gateway.app.admit import Admit
from services.gateway.app.answers import Answers
from services.gateway.app.bounds import Bounds
from services.gateway.app.keys import CreateKey
from services.gateway.app.ledger import Ledger
from services.gateway.app.terms import TermsInForce
from services.gateway.app.usage_budgets import ListBudgets
from services.gateway.ports import KeyRecords, UsageLedger
from services.gateway.rpc.description import DescriptionServicer
from services.gateway.rpc.forward import Forwarding
from services.gateway.rpc.guard import AdmissionGuard
from services.gateway.rpc.identity import IdentityServicer
from services.gateway.rpc.keys import KeyServicer
from services.gateway.rpc.settings import SettingsServicer
from services.gateway.rpc.usage import UsageServicer
from services.gateway.settings import PREFIX, GatewaySettings, IssuerSettings
from weft.gateway.v1 import (
    description_service_pb2_grpc,
    identity_service_pb2_grpc,
    key_service_pb2_grpc,
    settings_service_pb2_grpc,
    usage_service_pb2_grpc,
)

OWN = "gateway"
"""What the contracts call this component in `served_by`."""

REFUNDED_WITHIN_S = 2.0
"""How long a gateway that stops tries to tell refunds that were not written yet."""


@asynccontextmanager
async def gateway(settings: GatewaySettings) -> AsyncIterator[Component]:
    """The gateway, connected and sweeping while entered. What it depends on need not be there yet.

    Raises SettingsError where it has no keys, or no plans, or a contract has no upstream.
    """
    open_inference_pb2()  # so that reflection can describe it
    forwarded = forwarded_methods(methods(), settings.upstreams.model_dump())
    context_key = read_context_key(settings.context_key_file)
    async with AsyncExitStack() as stack:
        plans = await stack.enter_async_context(watched(settings.plans_file))
        channels = {
            name: await stack.enter_async_context(channel(address))
            for name, address in settings.upstreams.model_dump().items()
        }
        redis = await stack.enter_async_context(connect(settings.redis_url.get_secret_value()))
        # One pipeline at a time: under load batches grow, and a call costs a fifth less than with four.
        together = Together(redis, max_under_way=1)
        admissions = RedisAdmissions(redis, together)
        stack.push_async_callback(admissions.aclose, REFUNDED_WITHIN_S)
        await stack.enter_async_context(beside(LedgerSweeper(together).run()))
        keys, terms, ledger = RedisApiKeys(together), TermsInForce(plans), Ledger(admissions, time.monotonic)
        callers = await stack.enter_async_context(identities(settings.issuers, keys))
        answers = Answers(ledger, RedisKeptAnswers(together), settings.cache_ttl_s, time.monotonic)
        bounds = Bounds(settings.max_body_bytes)
        admit = Admit(callers, terms, admissions, ledger, answers, bounds, _ids())
        forward = Forwarding(admit, answers)
        yield Component(
            servicers=_servicers(plans, terms, keys, RedisUsageLedger(redis), context_key),
            passthrough={method.path: forward(method, channels[method.served_by]) for method in forwarded},
            checks=_checks(forwarded, channels),
            guard=AdmissionGuard(admit, context_key),
            max_calls=settings.max_open_calls,
        )


def _servicers(
    plans: PlansFile, terms: TermsInForce, keys: RedisApiKeys, usage: UsageLedger, context_key: bytes
) -> list[tuple[Any, object]]:
    """The gateway's own services."""
    create = CreateKey(keys, plans, context_key, lambda: secrets.token_bytes(16))
    return [
        (
            description_service_pb2_grpc.add_DescriptionServiceServicer_to_server,
            DescriptionServicer(openapi_json()),
        ),
        (identity_service_pb2_grpc.add_IdentityServiceServicer_to_server, IdentityServicer(plans)),
        (key_service_pb2_grpc.add_KeyServiceServicer_to_server, KeyServicer(create, keys)),
        (settings_service_pb2_grpc.add_SettingsServiceServicer_to_server, SettingsServicer(plans)),
        (
            usage_service_pb2_grpc.add_UsageServiceServicer_to_server,
            UsageServicer(plans, usage, ListBudgets(terms, usage)),
        ),
    ]


def forwarded_methods(policies: Mapping[str, Method], upstreams: Mapping[str, str]) -> list[Method]:
    """The methods that other services serve.

    Raises SettingsError for one whose service has no address, and for a public one: the services behind the gateway
    answer nobody whom it does not vouch for.
    """
    forwarded = [method for method in policies.values() if method.served_by != OWN]
    for method in forwarded:
        if method.served_by not in upstreams:
            variable = f"{PREFIX}UPSTREAMS__{method.served_by}".upper()
            raise SettingsError([f"{method.path} is served by {method.served_by!r}: no setting {variable}; add it"])
        if method.public:
            raise SettingsError([f"{method.path} is public, but only methods that the gateway serves itself can be"])
    return forwarded


@asynccontextmanager
async def identities(settings: Sequence[IssuerSettings], records: KeyRecords) -> AsyncIterator[CallerIdentities]:
    """Tells tokens of these issuers and the API keys in `records`; keys of issuers are kept fresh while entered.

    Raises SettingsError for a key file that cannot be used. A provider that cannot be reached stops nobody: its tokens
    are UNAVAILABLE until it answers.
    """
    async with AsyncExitStack() as stack:
        issuers = []
        for issuer in settings:
            keys: KeySource
            if issuer.jwks_file is not None:
                keys = _file_keys(issuer.jwks_file)
            else:
                keys = await stack.enter_async_context(published_keys(issuer.issuer, issuer.jwks_url))
            issuers.append(
                Issuer(issuer.issuer, issuer.audience, keys, issuer.tenant_claim, issuer.scope_claim, issuer.tenants)
            )
        yield CallerIdentities(TokenVerifier(issuers), KeyCallers(records))


def _file_keys(path: Path) -> FileKeys:
    try:
        return FileKeys(path)
    except JwksError as error:
        raise SettingsError([f"{PREFIX}ISSUERS: {error}"]) from None


def _checks(forwarded: list[Method], channels: Mapping[str, grpc.aio.Channel]) -> Mapping[str, Sequence[Check]]:
    served_by = {method.service: method.served_by for method in forwarded}
    return {service: [serves(channels[name], name, service)] for service, name in served_by.items()}


def _ids() -> Callable[[], str]:
    """Makes ids: 128 random bits; nobody reads more into them. A system call draws 128 of them."""
    drawn: list[str] = []

    def new() -> str:
        if not drawn:
            digits = secrets.token_hex(16 * 128)
            drawn.extend(digits[at : at + 32] for at in range(0, len(digits), 32))
        return drawn.pop()

    return new
