"""What a fuzzer asks as one tenant of another's things: requests from the contracts, answers that can be compared."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from libs.contracts import headers
from libs.contracts.open_inference import open_inference_pb2
from libs.contracts.policies import Method
from libs.rpc.status import status_of

ANSWER_WITHIN_S = 20.0
MAX_MESSAGES = 100
MAX_DEPTH = 4

TEXTS = (
    "What is the plan?",
    "Where does the bakery open?",
    "moon",
    "The plan is to open a bakery on the moon in spring.",
)
MODELS = ("", "embed", "generate", "nothing")
VERSIONS = ("", "1", "2", "x")
"""Of models: Triton reads a number at the beginning of what stands there, and tells it."""
NUMBERS = (0, 1, 2, 7)
SPOKEN = frozenset(
    {"text", "texts", "query", "title", "content", "description", "source_uri", "stop", "raw_input_contents"}
)
"""Fields of words: what is embedded, or written down. Both tenants say the same there, or the tokens would differ."""

KINDS = {
    "collection": ("collection",),
    "document_id": ("document",),
    "page_token": ("collections_page", "documents_page", "keys_page"),
    "request_id": ("request",),
    "key_id": ("key",),
    "tenant": ("tenant",),
}
"""Which identifiers belong in a field of this name; any may stand in any other."""

NEEDED = frozenset(
    {"collection", "document_id", "key_id", "tenant", "model_name", "question", "prompt", "text", "query", "content"}
)
"""Never left out."""

OFTEN = 0.8
"""How often a field has what belongs in it."""

_VOLATILE = frozenset(
    {headers.REQUEST_ID, headers.ADMISSION_US, headers.AGE, headers.STATUS_DETAILS, headers.RETRY_PUSHBACK, "date"}
    | {"x-envoy-upstream-service-time"}
)
_OPAQUE = frozenset({"nextPageToken", "versionId", "keyId", "secretKey"})
_LISTED = frozenset({"collections", "documents", "keys"})
"""Lists in the order of ids: these are others for each stranger, so what is first on a page is."""

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z")


@dataclass(frozen=True)
class Door:
    """A method and its messages."""

    method: Method
    request: type[Message]
    response: type[Message]


@dataclass(frozen=True)
class Caller:
    """Who asks, and which identifiers it asks for, by their kind. `context` is a signed one that it came by."""

    tenant: str
    token: str
    names: Mapping[str, str]
    context: bytes


@dataclass(frozen=True)
class Told:
    """All that a call tells, with the caller's own name and the identifiers that it named taken out."""

    code: str
    details: str
    errors: str
    headers: str
    messages: tuple[str, ...]
    raw: bytes = field(compare=False, repr=False)


def door(method: Method) -> Door:
    """The messages of a method. The two reflections have the same ones."""
    open_inference_pb2()
    assert health_pb2.DESCRIPTOR and reflection_pb2.DESCRIPTOR
    service = method.service.replace("grpc.reflection.v1.", "grpc.reflection.v1alpha.")
    found: MethodDescriptor = descriptor_pool.Default().FindServiceByName(service).methods_by_name[method.name]
    make = message_factory.GetMessageClass
    return Door(method, make(found.input_type), make(found.output_type))


def request_of(asked: Door, names: Mapping[str, str], chance: random.Random) -> Message:
    """A request with its fields filled. What `chance` decides does not depend on the names.

    Who may load and unload models names none that there is: other tests need them.
    """
    message = asked.request()
    _fill(message, names, chance, 0)
    if "inference.admin" in asked.method.scopes and "model_name" in message.DESCRIPTOR.fields_by_name:
        message.model_name = names["collection"]  # type: ignore[attr-defined]
    return message


def _fill(message: Message, names: Mapping[str, str], chance: random.Random, depth: int) -> None:
    skipped = {
        other.name
        for oneof in message.DESCRIPTOR.oneofs
        for kept in (chance.choice(oneof.fields),)
        for other in oneof.fields
        if other is not kept
    }
    for of in message.DESCRIPTOR.fields:
        left_out = chance.random() > (1.0 if of.name in NEEDED else 0.5 if of.name in KINDS else OFTEN)
        is_map = of.message_type is not None and of.message_type.GetOptions().map_entry
        if of.name in skipped or left_out or is_map:
            continue
        count = chance.choice((0, 1, 1, 1, 2)) if of.is_repeated else 1
        for _ in range(count):
            if of.message_type is None:
                value = _value(of, names, chance)
                if of.is_repeated:
                    getattr(message, of.name).append(value)
                else:
                    setattr(message, of.name, value)
            elif depth < MAX_DEPTH:
                inner = getattr(message, of.name)
                inner = inner.add() if of.is_repeated else inner
                inner.SetInParent()
                _fill(inner, names, chance, depth + 1)


def _value(of: Any, names: Mapping[str, str], chance: random.Random) -> Any:
    if of.enum_type is not None:
        named = of.enum_type.values[1:] if chance.random() < 0.95 else of.enum_type.values[:1]
        return chance.choice(named or of.enum_type.values).number
    if of.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if of.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return 0.5
    if of.cpp_type != FieldDescriptor.CPPTYPE_STRING:
        return 3600 if of.name == "seconds" else chance.choice(NUMBERS)
    text = _text(of.name, names, chance)
    return text.encode() if of.type == FieldDescriptor.TYPE_BYTES else text


def _text(name: str, names: Mapping[str, str], chance: random.Random) -> str:
    some, any_kind, usual = chance.choice(TEXTS), chance.choice(sorted(names)), chance.random() < OFTEN
    if name == "content":
        return f"{some} {chance.randrange(1_000_000)}"  # No two documents alike: ties are in the order of ids too.
    if name in SPOKEN:
        return some
    if name in ("model", "model_name") and usual:
        return chance.choice(MODELS)
    if name == "scopes":
        return chance.choice(("rag.read", "operator.usage", "keys.write"))
    if name in ("version", "model_version"):
        return chance.choice(VERSIONS)
    if name in ("first_day", "last_day", "plan"):
        return ""
    kinds = KINDS.get(name)
    return names[chance.choice(kinds)] if kinds and usual else names[any_kind]


def metadata_of(caller: Caller, chance: random.Random, *, credential: str = "") -> tuple[tuple[str, str | bytes], ...]:
    """The caller's token, rarely a guessed API key in its place, and claims to be somebody else."""
    names = caller.names
    if not credential:
        credential = caller.token if chance.random() > 0.05 else f"weft_{names['tenant']}_{names['key']}_{'a' * 43}"
    claims: list[tuple[str, str | bytes]] = [
        (headers.CONTEXT, caller.context),
        ("weft-tenant", names["tenant"]),
        ("x-weft-tenant", names["tenant"]),
        ("tenant", names["tenant"]),
        (headers.REQUEST_ID, names["request"]),
        (headers.CACHE_CONTROL, chance.choice(("no-cache", "max-age=60", "max-stale"))),
    ]
    return (
        (headers.AUTHORIZATION, f"Bearer {credential}"),
        (headers.MAX_TOKENS, "8"),
        *(claim for claim in claims if chance.random() < 0.25),
    )


async def ask(channel: Any, asked: Door, body: bytes, metadata: Any, caller: Caller) -> Told:
    """Sends one request, and reads all that comes; of what never ends, the first message.

    On the wire a stream of one is a single message, and gRPC's client makes an INTERNAL of its own of a stream that is
    refused while it still sends.
    """
    path, parse = asked.method.path, asked.response.FromString
    call = channel.unary_stream(path)(body, metadata=metadata, timeout=ANSWER_WITHIN_S)
    code, details, trailers, bodies = "OK", "", (), list[bytes]()
    try:
        while len(bodies) < (1 if asked.method.public else MAX_MESSAGES):
            received = await call.read()
            if received is grpc.aio.EOF:
                trailers = tuple(await call.trailing_metadata() or ())
                break
            bodies.append(received)
    except grpc.aio.AioRpcError as error:
        code, details, trailers = error.code().name, error.details() or "", tuple(error.trailing_metadata() or ())
    sent = (*(await call.initial_metadata() or ()), *trailers)
    call.cancel()
    kept = sorted(f"{name}: {value!r}" for name, value in sent if name not in _VOLATILE)
    raw = b"\n".join([*bodies, details.encode(), *(str(pair).encode() for pair in sent)])
    return Told(
        code,
        _plain(details, caller),
        _plain(_errors(trailers), caller),
        _plain("\n".join(kept), caller),
        tuple(_plain(_json(parse(received)), caller) for received in bodies),
        raw,
    )


def _errors(trailers: Any) -> str:
    status = status_of(trailers)
    told = []
    for detail in status.details if status else ():
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            message = kind()
            if detail.Unpack(message):
                told.append(f"{kind.__name__} {_json(message)}")
    return "\n".join(told)


def _json(message: Message) -> str:
    return json.dumps(_comparable(MessageToDict(message)), sort_keys=True, ensure_ascii=False)


def _comparable(value: Any) -> Any:
    """Without what differs between calls that are alike: ids that are made anew, times, the last bits of vectors."""
    if isinstance(value, dict):
        return {name: _told(name, one) for name, one in value.items()}
    if isinstance(value, list):
        return [_comparable(one) for one in value]
    if isinstance(value, float):
        return round(value, 3)
    return _TIME.sub("TIME", value) if isinstance(value, str) else value


def _told(name: str, value: Any) -> Any:
    if name in _LISTED and isinstance(value, list):
        return f"{len(value)} of them"
    return "*" if name in _OPAQUE and value else _comparable(value)


def _plain(text: str, caller: Caller) -> str:
    for kind, name in sorted(caller.names.items(), key=lambda named: -len(named[1])):
        text = text.replace(name, f"<{kind}>")
    return text.replace(caller.tenant, "<self>")
