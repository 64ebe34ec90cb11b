"""What each method needs: the options of Weft's contracts, and one file for the contracts that are not Weft's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from functools import cache
from importlib import import_module, resources
from types import MappingProxyType

from google.protobuf import text_format
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from weft.policy.v1 import method_policy_pb2 as pb

CONTRACT_MODULES = (
    "weft.gateway.v1.description_service_pb2",
    "weft.gateway.v1.identity_service_pb2",
    "weft.gateway.v1.key_service_pb2",
    "weft.gateway.v1.settings_service_pb2",
    "weft.gateway.v1.usage_service_pb2",
    "weft.rag.v1.answer_service_pb2",
    "weft.rag.v1.collection_service_pb2",
    "weft.rag.v1.document_service_pb2",
    "weft.rag.v1.search_service_pb2",
    "weft.embedding.v1.embedding_service_pb2",
    "weft.inference.v1.generation_service_pb2",
    "weft.inference.v1.model_service_pb2",
)
"""The generated modules that hold Weft's services; a test compares them with the files under `proto/`."""


_GROUP = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class Retry:
    """Exponential backoff as gRPC's service config defines it: the codes are gRPC status code names."""

    max_attempts: int
    initial_backoff_s: float
    max_backoff_s: float
    backoff_multiplier: float
    codes: tuple[str, ...]


@dataclass(frozen=True)
class Cost:
    """What one call can use at most, in tokens; `bytes_per_token` is 0 where the service tells tokens itself."""

    input_tokens_per_byte: int
    input_tokens: int
    output_tokens: int
    bytes_per_token: int

    def most_input_tokens(self, request_bytes: int) -> int:
        """Bounds the input of a call whose request has so many bytes."""
        counted = -(-request_bytes // self.bytes_per_token) if self.bytes_per_token else 0
        return self.input_tokens_per_byte * request_bytes + counted + self.input_tokens


@dataclass(frozen=True)
class Method:
    """One method and what it needs. `path` is "/package.Service/Method"; `served_by` names a component."""

    path: str
    service: str
    name: str
    served_by: str
    scopes: tuple[str, ...]
    public: bool
    default_timeout_s: float
    max_timeout_s: float
    idempotent: bool
    retry: Retry | None
    default_priority: str
    refusal: str
    limit_group: str
    cost: Cost | None
    cacheable: bool
    client_streaming: bool
    server_streaming: bool

    @property
    def unary(self) -> bool:
        """Whether both sides send one message."""
        return not (self.client_streaming or self.server_streaming)


@cache
def methods() -> Mapping[str, Method]:
    """Every method of every contract by its path. Raises ValueError where one says nothing or contradicts itself."""
    found = {method.path: method for method in (*_own_methods(), *_foreign_methods())}
    for method in found.values():
        _check(method)
    return MappingProxyType(found)


@cache
def services_of(component: str) -> tuple[str, ...]:
    """Full names of the gRPC services that `component` serves, sorted."""
    return tuple(sorted({method.service for method in methods().values() if method.served_by == component}))


def own_services() -> Iterator[ServiceDescriptor]:
    """The descriptors of Weft's own services."""
    for module in CONTRACT_MODULES:
        yield from import_module(module).DESCRIPTOR.services_by_name.values()


def _own_methods() -> Iterator[Method]:
    for service in own_services():
        served_by = service.GetOptions().Extensions[pb.service].served_by
        for method in service.methods:
            options = method.GetOptions()
            if not options.HasExtension(pb.method):
                raise ValueError(f"{method.full_name} has no option (weft.policy.v1.method)")
            idempotent = options.idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN
            yield _method(service.full_name, served_by, method, options.Extensions[pb.method], idempotent)


def _foreign_methods() -> Iterator[Method]:
    text = resources.files("libs.contracts").joinpath("foreign_policies.txtpb").read_text()
    for service in text_format.Parse(text, pb.ForeignPolicies()).services:
        for method in service.methods:
            yield _method(service.name, service.policy.served_by, method, method.policy, method.idempotent)


def _method(
    service: str,
    served_by: str,
    method: MethodDescriptor | pb.ForeignMethod,
    policy: pb.MethodPolicy,
    idempotent: bool,
) -> Method:
    return Method(
        path=f"/{service}/{method.name}",
        service=service,
        name=method.name,
        served_by=served_by,
        scopes=tuple(policy.scopes),
        public=policy.public,
        default_timeout_s=policy.default_timeout.ToTimedelta().total_seconds(),
        max_timeout_s=policy.max_timeout.ToTimedelta().total_seconds(),
        idempotent=idempotent,
        retry=_retry(policy.retry) if policy.HasField("retry") else None,
        default_priority=_priority(policy.default_priority),
        refusal=policy.refusal,
        limit_group=policy.limit_group,
        cost=_cost(policy.cost) if policy.HasField("cost") else None,
        cacheable=policy.cacheable,
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
    )


def _retry(policy: pb.RetryPolicy) -> Retry:
    return Retry(
        max_attempts=policy.max_attempts,
        initial_backoff_s=policy.initial_backoff.ToTimedelta().total_seconds(),
        max_backoff_s=policy.max_backoff.ToTimedelta().total_seconds(),
        backoff_multiplier=policy.backoff_multiplier,
        codes=tuple(pb.RetryableCode.Name(code).removeprefix("RETRYABLE_CODE_") for code in policy.retryable_codes),
    )


def _cost(cost: pb.Cost) -> Cost:
    return Cost(cost.input_tokens_per_byte, cost.input_tokens, cost.output_tokens, cost.bytes_per_token)


def _priority(priority: pb.Priority.ValueType) -> str:
    name = pb.Priority.Name(priority or pb.PRIORITY_NORMAL)
    return name.removeprefix("PRIORITY_").lower()


def _check(method: Method) -> None:
    """Raises ValueError where the policy of `method` contradicts itself or lacks what it needs."""
    retry, cost = method.retry, method.cost
    problems = {
        "served_by is missing": not method.served_by,
        "default_timeout and max_timeout must be set, the first not above the second": not (
            0 < method.default_timeout_s <= method.max_timeout_s
        ),
        "a public method takes no scopes": method.public and bool(method.scopes),
        "limit_group must be lower-case letters, and none on a public method": method.public == bool(method.limit_group)
        or not (method.public or _GROUP.fullmatch(method.limit_group)),
        "a cost is of numbers from 0 on, one of them above it": cost is not None
        and (min(astuple(cost)) < 0 or not any(astuple(cost))),
        "only unary methods without side effects are cacheable": method.cacheable
        and not (method.unary and method.idempotent),
        "retry needs an idempotent method": retry is not None and not method.idempotent,
        "retry is out of its documented bounds": retry is not None
        and not (2 <= retry.max_attempts <= 5 and retry.codes and 0 < retry.initial_backoff_s <= retry.max_backoff_s),
    }
    for problem, there in problems.items():
        if there:
            raise ValueError(f"policy of {method.path}: {problem}")
