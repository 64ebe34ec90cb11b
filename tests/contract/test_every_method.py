"""Every method of every contract, called badly through the gateway of a whole stack.

The methods are read from the contracts' policies: a new one is walked without a change here. What must never come back
is INTERNAL, UNKNOWN, or nothing at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection_pb2

from libs.contracts import headers
from libs.contracts.policies import Method, methods, own_services
from libs.rpc.status import DOMAIN, status_of
from tests.conftest import RunningStack

ANSWER_WITHIN_S = 20.0
NEVER = {"INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED"}
"""A deadline that passes here is a hang: nothing that is asked for takes so long."""

BODIES = {
    "garbage": b"\xff" * 32,
    "cut off": b"\x0a\x7f\x00",
    "not UTF-8": b"\x0a\x02\xff\xfe",
    "wrong wire types": b"".join(bytes((number << 3, 1)) for number in range(1, 16)),
    "fields nobody knows": b"\xc2\x3e\x05hello",
    "empty": b"",
}
UNREADABLE = ("garbage", "cut off")
OWN = {service.full_name for service in own_services()}
PUBLIC = sorted(path for path, method in methods().items() if method.public)
KNOWN = sorted(path for path, method in methods().items() if not method.public)
SCOPED = sorted(path for path in KNOWN if methods()[path].scopes)
REFUSED = sorted(path for path in KNOWN if methods()[path].refusal)
SERVED = sorted(set(KNOWN) - set(REFUSED))


@dataclass(frozen=True)
class Answer:
    """How a call went. `violations` are the fields that BadRequest names."""

    code: str
    details: str
    infos: tuple[error_details_pb2.ErrorInfo, ...]
    violations: tuple[str, ...]
    request_id: str

    @property
    def reason(self) -> str:
        return self.infos[0].reason if self.infos else ""


@pytest.fixture(scope="session")
async def channel(stack: RunningStack) -> AsyncIterator[Any]:
    """A channel to the stack's gateway."""
    async with grpc.aio.insecure_channel(stack.address) as opened:
        yield opened


@pytest.fixture(scope="session")
def everything(stack: RunningStack) -> str:
    """A token with every scope that a method needs."""
    return stack.token()


async def ask(channel: Any, path: str, body: bytes, token: str | None) -> Answer:
    """Sends one message and reads up to the first answer: on the wire, that is every kind of call.

    Not as a stream of one: a client that still sends when its call is refused can make an INTERNAL of its own of that.
    """
    metadata = ((headers.AUTHORIZATION, f"Bearer {token}"),) if token else ()
    call = channel.unary_stream(path)(body, timeout=ANSWER_WITHIN_S, metadata=metadata)
    code, details, trailers = "OK", "", {}
    try:
        if await call.read() is grpc.aio.EOF:
            code = (await call.code()).name
    except grpc.aio.AioRpcError as error:
        code, details, trailers = error.code().name, error.details() or "", dict(error.trailing_metadata() or ())
    request_id = trailers.get(headers.REQUEST_ID) or dict(await call.initial_metadata()).get(headers.REQUEST_ID)
    call.cancel()
    infos, violations = _details_of(trailers)
    return Answer(code, details, infos, violations, str(request_id or ""))


def _details_of(trailers: dict[str, Any]) -> tuple[tuple[error_details_pb2.ErrorInfo, ...], tuple[str, ...]]:
    infos: list[error_details_pb2.ErrorInfo] = []
    fields: list[str] = []
    status = status_of(tuple(trailers.items()))
    for detail in status.details if status else ():
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            infos.append(info)
        elif detail.Unpack(bad_request):
            fields += [violation.field for violation in bad_request.field_violations]
    return tuple(infos), tuple(fields)


def check(answer: Answer, method: Method) -> None:
    """What holds for every answer. A foreign contract's server may say in its own way what is wrong with a message."""
    assert answer.code not in NEVER, answer
    assert answer.request_id, answer
    if answer.code != "OK" and method.service in OWN:
        assert [info.domain for info in answer.infos] == [DOMAIN], answer
        assert answer.details, answer


@pytest.mark.parametrize("path", KNOWN)
async def test_without_a_token(channel: Any, path: str) -> None:
    """Whoever does not say who it is gets no answer from any method, whatever it sends."""
    for body in BODIES.values():
        answer = await ask(channel, path, body, None)
        check(answer, methods()[path])
        assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "TOKEN_MISSING")


@pytest.mark.parametrize("path", SCOPED)
async def test_without_the_scope(stack: RunningStack, channel: Any, path: str) -> None:
    """A token with every scope but one that the method needs is refused, and the error names that one."""
    method = methods()[path]
    others = {scope for other in methods().values() for scope in other.scopes}
    for scope in method.scopes:
        answer = await ask(channel, path, b"", stack.token(others - {scope}))
        check(answer, method)
        assert (answer.code, answer.reason) == ("PERMISSION_DENIED", "SCOPE_MISSING")
        assert dict(answer.infos[0].metadata) == {"scope": scope, "method": path}


@pytest.mark.parametrize("path", REFUSED)
async def test_refused_methods(channel: Any, everything: str, path: str) -> None:
    """A method that its contract refuses is refused to those who have every scope too, in the contract's words."""
    answer = await ask(channel, path, b"", everything)
    check(answer, methods()[path])
    assert (answer.code, answer.reason, answer.details) == (
        "PERMISSION_DENIED",
        "METHOD_REFUSED",
        methods()[path].refusal,
    )


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("path", [*SERVED, *PUBLIC])
async def test_bad_bodies(channel: Any, everything: str, path: str, body: str) -> None:
    """What is no message of the method is told so by the method's service; nothing breaks and nothing hangs."""
    method = methods()[path]
    answer = await ask(channel, path, BODIES[body], everything)
    check(answer, method)
    if body in UNREADABLE and method.service in OWN:
        assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", "MESSAGE_MALFORMED")
    if body in UNREADABLE:
        assert answer.code == "INVALID_ARGUMENT"
    if answer.reason == "FIELD_INVALID":
        assert answer.violations


async def test_no_method_is_left_out(channel: Any) -> None:
    """What the gateway's reflection describes is what is walked here: nothing is served that has no policy."""
    listed = await _reflect(channel, reflection_pb2.ServerReflectionRequest(list_services=""))
    services = [service.name for service in listed.list_services_response.service]
    walked = {path for path in methods() if path.split("/")[1] in services}
    described: set[str] = set()
    for service in services:
        request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=service)
        for data in (await _reflect(channel, request)).file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(data)
            for found in file.service:
                described |= {f"/{file.package}.{found.name}/{method.name}" for method in found.method}
    assert described == walked
    assert set(services) >= OWN


async def _reflect(
    channel: Any, request: reflection_pb2.ServerReflectionRequest
) -> reflection_pb2.ServerReflectionResponse:
    path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    call = channel.stream_stream(path)(iter([request.SerializeToString()]), timeout=ANSWER_WITHIN_S)
    response = reflection_pb2.ServerReflectionResponse.FromString(await call.read())
    call.cancel()
    return response
