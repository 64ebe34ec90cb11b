"""weft.inference.v1.ModelService."""

from __future__ import annotations

from libs.rpc.paging import page_position, page_size_of, page_token
from libs.rpc.running import Context
from services.inference.app.list_models import ListModels
from services.inference.ports import ModelCatalogue
from services.inference.rpc.convert import model_message
from weft.inference.v1 import model_service_pb2 as pb
from weft.inference.v1 import model_service_pb2_grpc

_LIST = "weft.inference.v1.ModelService/ListModels"


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Which models there are."""

    def __init__(self, list_models: ListModels, catalogue: ModelCatalogue) -> None:
        self._list_models = list_models
        self._catalogue = catalogue

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """A page, by name."""
        after = page_position(request.page_token, _LIST)
        models, more = await self._list_models(after=after, limit=page_size_of(request.page_size))
        token = page_token(models[-1].name, _LIST) if more else ""
        return pb.ListModelsResponse(models=map(model_message, models), next_page_token=token)

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        """One model."""
        return pb.GetModelResponse(model=model_message(await self._catalogue.model(request.model)))
