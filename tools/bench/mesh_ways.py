"""The ways to Weft's services that the bench of the mesh compares."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from tools.bench.callers import Order
from tools.bench.mesh_stack import BenchStack
from tools.bench.ways import Way
from tools.stack.setup import SAMPLE_COLLECTION
from weft.common.v1.chat_message_pb2 import CHAT_ROLE_USER, ChatMessage
from weft.embedding.v1.embedding_service_pb2 import EmbedRequest
from weft.inference.v1.generation_service_pb2 import Prompt, StreamGenerateRequest
from weft.inference.v1.model_service_pb2 import GetModelRequest
from weft.rag.v1.search_service_pb2 import SearchRequest

GET_MODEL = "/weft.inference.v1.ModelService/GetModel"
STREAM_GENERATE = "/weft.inference.v1.GenerationService/StreamGenerate"
EMBED = "/weft.embedding.v1.EmbeddingService/Embed"
SEARCH = "/weft.rag.v1.SearchService/Search"
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
QUESTIONS = 256
"""Of a stream of questions and answers."""
MODEL = GetModelRequest(model="generate")
TEXT = "How does Weft keep a deleted document out of search results?"
SOURCE = " ".join(f"Item {at} of shelf {at} weighs {at} grams." for at in range(40))
QUESTION = f"Sources:\n[1] Shelves\n{SOURCE}\n\nQuestion: what weighs 7 grams?"
PROMPT = Prompt(messages=[ChatMessage(role=CHAT_ROLE_USER, content=QUESTION)], max_output_tokens=512)
SERVICES = ("gateway", "rag", "embedding", "inference")


@dataclass(frozen=True)
class Comparison:
    """Ways to the same answers. `groups` are the columns of processor time, each of some processes of the ways."""

    name: str
    unit: str
    ways: list[Way]
    groups: Mapping[str, Sequence[str]]


def between_services(stack: BenchStack) -> Iterator[Comparison]:
    """The gateway's pod calls inference: to its process, and through both proxies. A signed context does not last: each
    comparison is made when it is asked for."""
    direct, through = stack.app("inference"), stack.through("gateway", "inference")
    processes = stack.pids("envoy", "inference", "triton")
    groups = {"inference": ("inference",)}

    def ways(method: str, request: Message, streams: bool = False, questions: int = 1) -> list[Way]:
        body = request.SerializeToString().hex()
        order = Order(direct, method, body, stack.context(), 1, streams=streams, questions=questions)
        return [Way("direct", order, processes), Way("mesh", replace(order, address=through), processes)]

    asked = _unknown_symbol()
    yield Comparison("GetModel", "call", ways(GET_MODEL, MODEL), groups)
    yield Comparison("Reflection, a stream", "message", ways(REFLECT, asked, True, QUESTIONS), groups)
    yield Comparison(
        "StreamGenerate",
        "token",
        ways(STREAM_GENERATE, StreamGenerateRequest(prompt=PROMPT), True),
        {**groups, "Triton": ("triton",)},
    )


def _unknown_symbol() -> Message:
    """A short question with a short answer."""
    from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

    request: Message = ServerReflectionRequest(file_containing_symbol="none")
    return request


def from_outside(stack: BenchStack) -> Iterator[Comparison]:
    """A user's calls that the inference service answers: to the gateway's process, and through the edge."""
    gateway, edge = stack.app("gateway"), stack.entry
    processes = stack.pids("envoy", "triton", *SERVICES)
    groups: dict[str, Sequence[str]] = {"gateway": ("gateway",), "inference": ("inference",)}

    def ways(method: str, request: Message, rest: str, json_body: bytes, streams: bool = False) -> list[Way]:
        order = Order(gateway, method, request.SerializeToString().hex(), stack.bearer(), 1, streams=streams)
        by_edge = replace(order, address=edge)
        return [
            Way("gateway", order, processes),
            Way("edge", by_edge, processes),
            Way("edge, REST", replace(by_edge, rest=rest, body=json_body.hex()), processes),
        ]

    prompt: dict[str, Any] = MessageToDict(PROMPT)
    stream = StreamGenerateRequest(prompt=PROMPT)
    sent = json.dumps(prompt).encode()
    yield Comparison("GetModel", "call", ways(GET_MODEL, MODEL, "GET /v1/models/generate", b""), groups)
    yield Comparison(
        "StreamGenerate",
        "token",
        ways(STREAM_GENERATE, stream, "POST /v1:streamGenerate", sent, True),
        {**groups, "Triton": ("triton",)},
    )


def in_practice(meshed: BenchStack, plain: BenchStack) -> Iterator[Comparison]:
    """A user's calls to a stack without a mesh, and to one with."""
    groups = {"services": SERVICES, "Triton": ("triton",)}

    def ways(method: str, request: Message, streams: bool = False) -> list[Way]:
        body = request.SerializeToString().hex()
        return [
            Way(
                name,
                Order(stack.entry, method, body, stack.bearer(), 1, streams=streams),
                stack.pids("envoy", "triton", *SERVICES),
            )
            for name, stack in (("no mesh", plain), ("mesh", meshed))
        ]

    yield Comparison("Search", "call", ways(SEARCH, SearchRequest(collection=SAMPLE_COLLECTION, query=TEXT)), groups)
    yield Comparison("Embed", "call", ways(EMBED, EmbedRequest(texts=[TEXT])), groups)
    yield Comparison(
        "StreamGenerate", "token", ways(STREAM_GENERATE, StreamGenerateRequest(prompt=PROMPT), True), groups
    )
