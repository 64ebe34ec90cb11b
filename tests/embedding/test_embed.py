"""Texts to vectors, through two services and a real model."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from libs.contracts.open_inference import open_inference_pb2
from libs.parts.processes import RunningPart
from libs.parts.triton import TritonRuntime
from libs.rpc.status import status_of
from libs.testing.eventually import eventually
from libs.testing.serving import Served, calling
from tests.embedding.conftest import embedding_before
from tests.embedding.reading import has_read, is_idle, texts_read
from weft.embedding.v1 import embedding_service_pb2 as pb
from weft.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

EMBEDDING = "weft.embedding.v1.EmbeddingService"


async def embedded(stub: Any, texts: Sequence[str], model: str = "") -> pb.EmbedResponse:
    """The answer to a request."""
    response: pb.EmbedResponse = await stub.Embed(pb.EmbedRequest(texts=texts, model=model))
    return response


async def refusal(stub: Any, texts: Sequence[str], model: str = "") -> tuple[str, str, list[str], dict[str, str]]:
    """Status code, reason, fields and metadata of a request that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await embedded(stub, texts, model)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    status = status_of(caught.value.trailing_metadata() or ())
    for detail in status.details if status else ():
        detail.Unpack(info)
        detail.Unpack(bad)
    fields = [violation.field for violation in bad.field_violations]
    return caught.value.code().name, info.reason, fields, dict(info.metadata)


def similarity(a: pb.Embedding, b: pb.Embedding) -> float:
    """The cosine of two unit vectors."""
    return sum(x * y for x, y in zip(a.values, b.values, strict=True))


async def direct_vectors(triton: RunningPart, texts: Sequence[str]) -> list[tuple[float, ...]]:
    """What Triton itself answers, a text at a time."""
    messages: Any = open_inference_pb2()
    vectors = []
    async with grpc.aio.insecure_channel(triton.address) as channel:
        infer: Any = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer", None, messages.ModelInferResponse.FromString
        )
        for text in texts:
            data = text.encode()
            request = messages.ModelInferRequest(model_name="embed")
            request.inputs.add(name="TEXT", datatype="BYTES", shape=(1, 1))
            request.raw_input_contents.append(len(data).to_bytes(4, "little") + data)
            response = await infer(request.SerializeToString())
            vectors.append(tuple(memoryview(response.raw_output_contents[0]).cast("f")))
    return vectors


async def test_vectors_are_the_models_in_the_order_of_the_texts(stub: Any, triton_server: RunningPart) -> None:
    """Texts of all lengths, more than one call takes: each vector is the one that Triton gives for that text alone."""
    texts = [f"Text {at}: " + "some more words " * (at * 37 % 30) for at in range(150)]
    response = await embedded(stub, texts)
    assert len(response.embeddings) == len(texts)
    some = range(0, len(texts), 7)
    for at, vector in zip(some, await direct_vectors(triton_server, [texts[at] for at in some]), strict=True):
        assert response.embeddings[at].values == pytest.approx(vector, abs=1e-5)
    assert all(math.isclose(similarity(one, one), 1, abs_tol=1e-5) for one in response.embeddings)


async def test_the_answer_says_what_made_it(stub: Any) -> None:
    """Model, version, tokens of each text and of all."""
    response = await embedded(stub, ["cat", "a cat sleeps"])
    assert (response.model, response.model_version) == ("all-MiniLM-L6-v2", "fp32-1")
    assert [len(embedding.values) for embedding in response.embeddings] == [384, 384]
    assert [embedding.token_count for embedding in response.embeddings] == [3, 5]
    assert (response.usage.input_tokens, response.usage.output_tokens) == (8, 0)


async def test_meaning(stub: Any) -> None:
    """What means the same is nearer than what does not."""
    cat, kitten, engine = (await embedded(stub, ["a cat", "a kitten", "a diesel engine"])).embeddings
    assert similarity(cat, kitten) > similarity(cat, engine) + 0.2


async def test_a_long_text_is_cut_and_says_so(stub: Any) -> None:
    """The vector is of the text's beginning; the others of the request are not touched."""
    long = "first words " * 2_000
    response = await embedded(stub, [long, "short", long + "and a different end"])
    assert [embedding.truncated for embedding in response.embeddings] == [True, False, True]
    assert [embedding.token_count for embedding in response.embeddings] == [256, 3, 256]
    assert response.embeddings[0].values == pytest.approx(response.embeddings[2].values, abs=1e-5)


async def test_the_largest_request(stub: Any) -> None:
    """512 texts, 1,048,576 characters together, two bytes each, are embedded."""
    response = await embedded(stub, ["ж" * 2048] * 512)
    assert [embedding.token_count for embedding in response.embeddings] == [3] * 512


@pytest.mark.parametrize(
    ("texts", "fields"),
    [
        ([], ["texts"]),
        ([""], ["texts[0]"]),
        (["good", " \n\t"], ["texts[1]"]),
        (["\u00a0\u3000", "good", "\u2028"], ["texts[0]", "texts[2]"]),
        (["x" * 32_769], ["texts[0]"]),
        (["x"] * 513, ["texts"]),
        (["x" * 32_768] * 33, ["texts"]),
    ],
)
async def test_bad_texts_are_named(stub: Any, texts: list[str], fields: list[str]) -> None:
    """Nothing is embedded where one text is wrong, and BadRequest names it."""
    code, reason, named, _ = await refusal(stub, texts)
    assert (code, reason) == ("INVALID_ARGUMENT", "FIELD_INVALID")
    assert sorted(set(named)) == fields


@pytest.mark.parametrize("model", ["missing", "generate"])
async def test_a_model_that_makes_no_embeddings(stub: Any, model: str) -> None:
    """No such model, or one of another kind, is MODEL_NOT_FOUND."""
    code, reason, _, metadata = await refusal(stub, ["x"], model)
    assert (code, reason, metadata) == ("NOT_FOUND", "MODEL_NOT_FOUND", {"model": model})


async def test_a_deadline_ends_all_batches(embedding_service: Served, triton_server: RunningPart) -> None:
    """Where time is over the call ends, and no further batch reaches the model."""
    before = await texts_read(triton_server)
    async with calling(embedding_service, timeout_s=0.3) as channel:
        texts = [f"{at} " + "word " * 300 for at in range(500)]
        code, _, _, _ = await refusal(EmbeddingServiceStub(channel), texts)
    assert code == "DEADLINE_EXCEEDED"
    await eventually(lambda: is_idle(triton_server), within_s=20)
    assert await texts_read(triton_server) < before + 500


async def test_a_cancel_ends_all_batches(embedding_service: Served, triton_server: RunningPart) -> None:
    """A caller who leaves takes the work along: what was not begun is not done."""
    before = await texts_read(triton_server)
    async with calling(embedding_service) as channel:
        stub: Any = EmbeddingServiceStub(channel)
        call = stub.Embed(pb.EmbedRequest(texts=[f"{at} " + "words " * 300 for at in range(512)]))
        await eventually(lambda: has_read(triton_server, before + 1), within_s=20)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    await eventually(lambda: is_idle(triton_server), within_s=20)
    assert await texts_read(triton_server) < before + 512


async def test_health_follows_the_model(embedding_service: Served, triton_runtime: TritonRuntime) -> None:
    """Serving while inference says that the model answers; not where there is no inference, or it does not know."""
    await eventually(lambda: serves(embedding_service, EMBEDDING))
    async with embedding_before("127.0.0.1:1", triton_runtime) as served:
        assert await serves(served, "")
        assert not await serves(served, EMBEDDING)


async def serves(served: Served, name: str) -> bool:
    """Whether health says SERVING of a name."""
    async with grpc.aio.insecure_channel(served.address) as channel:
        health: Any = HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def test_no_inference(triton_runtime: TritonRuntime) -> None:
    """Where nobody listens, the answer is DEPENDENCY_UNAVAILABLE."""
    async with embedding_before("127.0.0.1:1", triton_runtime) as served, calling(served) as channel:
        code, reason, _, metadata = await refusal(EmbeddingServiceStub(channel), ["x"])
    assert (code, reason, metadata) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE", {"dependency": "inference"})
