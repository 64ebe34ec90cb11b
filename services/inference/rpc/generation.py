"""weft.inference.v1.GenerationService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from libs.rpc.call import current_call
from libs.rpc.running import Context
from libs.rpc.status import stream_error
from services.inference.app.generate_text import GenerateText
from services.inference.domain.generation import Delta, Done, Usage
from services.inference.rpc.convert import event_message, finish_reason_value, prompt_of, usage_message
from weft.inference.v1 import generation_service_pb2 as pb
from weft.inference.v1 import generation_service_pb2_grpc


class GenerationServicer(generation_service_pb2_grpc.GenerationServiceServicer):
    """Continuations in one piece and in many."""

    def __init__(self, generate: GenerateText) -> None:
        self._generate = generate

    async def Generate(self, request: pb.GenerateRequest, context: Context) -> pb.GenerateResponse:
        """The deltas put together."""
        call = current_call()
        texts: list[str] = []
        response = pb.GenerateResponse()
        async with aclosing(self._generate(prompt_of(request.prompt, call), call.call_id)) as events:
            async for event in events:
                match event:
                    case Delta(text):
                        texts.append(text)
                    case Usage():
                        response.usage.CopyFrom(usage_message(event))
                    case Done(finish_reason, model):
                        response.finish_reason, response.model = finish_reason_value(finish_reason), model
        response.text = "".join(texts)
        return response

    async def StreamGenerate(
        self, request: pb.StreamGenerateRequest, context: Context
    ) -> AsyncIterator[pb.StreamGenerateResponse]:
        """The events as they come; a failure is the last one, and the call's status says the same."""
        call = current_call()
        sequence = 0
        try:
            async with aclosing(self._generate(prompt_of(request.prompt, call), call.call_id)) as events:
                async for event in events:
                    yield event_message(sequence, event)
                    sequence += 1
        except Exception as error:
            yield pb.StreamGenerateResponse(sequence=sequence, error=stream_error(error))
            raise
