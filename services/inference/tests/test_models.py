"""Which models there are, and whether the service says truly that it can serve."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from libs.contracts.health_names import model_health
from libs.parts.processes import RunningPart
from libs.rpc.paging import page_token
from libs.testing.eventually import eventually
from libs.testing.serving import Served, calling
from services.inference.tests.callers import serves, told
from services.inference.tests.conftest import inference_before
from weft.inference.v1 import model_service_pb2 as pb
from weft.inference.v1.model_service_pb2_grpc import ModelServiceStub

EMBED = pb.Model(
    name="embed",
    description="all-MiniLM-L6-v2",
    version="1",
    kind=pb.MODEL_KIND_EMBED,
    state=pb.MODEL_STATE_READY,
)
GENERATE = pb.Model(
    name="generate",
    description="extractive-v1",
    version="1",
    kind=pb.MODEL_KIND_GENERATE,
    state=pb.MODEL_STATE_READY,
)


def stub_at(channel: grpc.aio.Channel) -> Any:
    """The generated stub, whose types know only blocking calls."""
    return ModelServiceStub(channel)


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> Any:
    """Typed calls to the shared service."""
    return stub_at(channel)


async def test_models_are_listed_by_name(stub: Any) -> None:
    """Every model with what it is, what it is for, and its state."""
    assert await stub.ListModels(pb.ListModelsRequest()) == pb.ListModelsResponse(models=[EMBED, GENERATE])


async def test_a_list_is_paged(stub: Any) -> None:
    """The pages together are the list, and the last one has no token."""
    first = await stub.ListModels(pb.ListModelsRequest(page_size=1))
    second = await stub.ListModels(pb.ListModelsRequest(page_size=1, page_token=first.next_page_token))
    assert [*first.models, *second.models] == [EMBED, GENERATE]
    assert first.next_page_token
    assert second.next_page_token == ""


async def test_a_foreign_page_token_is_refused(stub: Any) -> None:
    """A token of another list is PAGE_TOKEN_INVALID."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListModels(pb.ListModelsRequest(page_token=page_token("a", "another list")))
    assert (told(caught.value).code, told(caught.value).reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


async def test_one_model(stub: Any) -> None:
    """GetModel says of a model what the list says."""
    assert (await stub.GetModel(pb.GetModelRequest(model="generate"))).model == GENERATE


async def test_a_missing_model(stub: Any) -> None:
    """A model that is not there is MODEL_NOT_FOUND."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetModel(pb.GetModelRequest(model="missing"))
    assert (told(caught.value).code, told(caught.value).reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")
    assert told(caught.value).metadata == {"model": "missing"}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "weft.inference.v1.GenerationService",
        "weft.inference.v1.ModelService",
        "inference.GRPCInferenceService",
        model_health("embed"),
        model_health("generate"),
    ],
)
async def test_healthy(inference_service: Served, name: str) -> None:
    """With Triton and its models there, everything serves."""
    await eventually(lambda: serves(inference_service, name))


async def test_without_triton() -> None:
    """The process is there, its services are not; a list says what is missing."""
    async with inference_before("127.0.0.1:1") as served, calling(served) as channel:
        assert await serves(served, "")
        assert not await serves(served, "inference.GRPCInferenceService")
        assert not await serves(served, "weft.inference.v1.GenerationService")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub_at(channel).ListModels(pb.ListModelsRequest())
    assert (told(caught.value).code, told(caught.value).reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    assert told(caught.value).retry


async def test_a_default_model_that_is_not_there(triton_server: RunningPart) -> None:
    """Generation does not serve without its model; the rest does."""
    async with inference_before(triton_server.address, default_generate_model="missing") as served:
        await eventually(lambda: serves(served, "inference.GRPCInferenceService"))
        assert not await serves(served, "weft.inference.v1.GenerationService")
