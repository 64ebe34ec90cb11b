"""Callers of the Open Inference Protocol, and what they were told."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from libs.auth.context import CallContext, seal
from libs.contracts import headers
from libs.contracts.open_inference import open_inference_pb2
from libs.parts.processes import RunningPart
from libs.rpc.status import status_of
from libs.testing.serving import Served
from weft.common.v1.chat_message_pb2 import CHAT_ROLE_USER, ChatMessage
from weft.inference.v1 import generation_service_pb2 as generation_pb
from weft.inference.v1.generation_service_pb2_grpc import GenerationServiceStub

pb: Any = open_inference_pb2()
PREFIX = "/inference.GRPCInferenceService/"


class SignedContext:
    """A plugin of tritonclient that sends what the gateway would: the client itself is unmodified."""

    def __init__(self, served: Served, timeout_s: float = 60.0) -> None:
        self._served = served
        self._timeout_s = timeout_s

    def __call__(self, request: Any) -> None:
        context = CallContext("acme", "alice", "call-1", "request-1", "normal", time.time() + self._timeout_s)
        request.headers[headers.CONTEXT] = seal(context, self._served.key)


QUESTION = """Sources:
[1] Cats
Cats sleep for most of the day.

[2] Dogs
Dogs were the first animals that people tamed. They bark.

Question: which animals were tamed first?"""


def prompt(text: str = QUESTION, **others: object) -> generation_pb.Prompt:
    """A prompt of one turn."""
    return generation_pb.Prompt(messages=[ChatMessage(role=CHAT_ROLE_USER, content=text)], **others)  # type: ignore[arg-type]


def typed(channel: grpc.aio.Channel) -> Any:
    """The generated stub, whose types know only blocking calls."""
    return GenerationServiceStub(channel)


async def serves(served: Served, name: str) -> bool:
    """Whether health says SERVING of a name."""
    async with grpc.aio.insecure_channel(served.address) as channel:
        health: Any = HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@dataclass(frozen=True)
class Told:
    """A failed call: its status code's name, its details, and what its one ErrorInfo and RetryInfo say."""

    code: str
    details: str
    reason: str
    metadata: dict[str, str]
    retry: bool
    fields: tuple[str, ...]


def told(error: grpc.aio.AioRpcError) -> Told:
    """What the caller was told."""
    status = status_of(error.trailing_metadata() or ())
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    retried = False
    for detail in status.details if status else ():
        detail.Unpack(info)
        detail.Unpack(bad)
        retried = detail.Unpack(retry) or retried
    fields = tuple(violation.field for violation in bad.field_violations)
    return Told(error.code().name, error.details() or "", info.reason, dict(info.metadata), retried, fields)


def tensor(*texts: str) -> bytes:
    """Texts as the raw bytes of a tensor."""
    return b"".join(len(data := text.encode()).to_bytes(4, "little") + data for text in texts)


def embed_request(*texts: str, model: str = "embed") -> Any:
    """A ModelInferRequest for vectors."""
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name="TEXT", datatype="BYTES", shape=(len(texts), 1))
    request.raw_input_contents.append(tensor(*texts))
    return request


def generate_request(text: str, call_id: str = "") -> Any:
    """A ModelInferRequest for a stream of tokens."""
    request = pb.ModelInferRequest(model_name="generate", id=call_id)
    request.inputs.add(name="text_input", datatype="BYTES", shape=(1,))
    request.inputs.add(name="stream", datatype="BOOL", shape=(1,))
    request.raw_input_contents.extend((tensor(text), b"\x01"))
    return request


async def texts_embedded(triton: RunningPart) -> int:
    """How many texts the embed model has read: the generate model asks it for its sentences' vectors."""
    async with grpc.aio.insecure_channel(triton.address) as direct:
        statistics: Any = direct.unary_unary(
            f"{PREFIX}ModelStatistics", None, open_inference_pb2().ModelStatisticsResponse.FromString
        )
        answer = await statistics(open_inference_pb2().ModelStatisticsRequest(name="embed").SerializeToString())
    return int(answer.model_stats[0].inference_count)


async def model_has_begun(triton: RunningPart, before: int, batches: int = 1) -> bool:
    """Whether the model has worked on so many batches of sentences since `before`."""
    return await texts_embedded(triton) >= before + 64 * batches
