"""weft.inference.v1.GenerationService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from libs.rpc.call import current_call, depends
from libs.rpc.running import Context
from libs.rpc.status import stream_error
from services.inference.app.fall_back import Generate
from services.inference.domain.generation import Delta, Done, Event, Usage
from services.inference.rpc.caller import caller_of
from services.inference.rpc.convert import event_message, finish_reason_value, prompt_of, usage_message
from weft.inference.v1 import generation_service_pb2 as pb
from weft.inference.v1 import generation_service_pb2_grpc


class GenerationServicer(generation_service_pb2_grpc.GenerationServiceServicer):
    """Continuations in one piece and in many."""

    def __init__(self, generate: Generate) -> None:
        self._generate = generate

    async def Generate(self, request: pb.GenerateRequest, context: Context) -> pb.GenerateResponse:
        """The deltas put together."""
        call = current_call()
        texts: list[str] = []
        response = pb.GenerateResponse()
        async with aclosing(self._generate(prompt_of(request.prompt, call), caller_of(call))) as events:
            async for event in events:
                _say_what_it_depends_on(event)
                match event:
                    case Delta(text):
                        texts.append(text)
                    case Usage():
                        response.usage.CopyFrom(usage_message(event))
                    case Done():
                        response.finish_reason = finish_reason_value(event.finish_reason)
                        response.model, response.fallback_for = event.model, event.fallback_for
        response.text = "".join(texts)
        return response

    async def StreamGenerate(
        self, request: pb.StreamGenerateRequest, context: Context
    ) -> AsyncIterator[pb.StreamGenerateResponse]:
        """The events as they come; a failure is the last one, and the call's status says the same."""
        call = current_call()
        sequence = 0
        try:
            async with aclosing(self._generate(prompt_of(request.prompt, call), caller_of(call))) as events:
                async for event in events:
                    _say_what_it_depends_on(event)
                    yield event_message(sequence, event)
                    sequence += 1
        except Exception as error:
            yield pb.StreamGenerateResponse(sequence=sequence, error=stream_error(error))
            raise


def _say_what_it_depends_on(event: Event) -> None:
    """Who puts a text into an answer that is kept needs to know."""
    if isinstance(event, Done) and event.stamp is not None:
        model, version = event.stamp
        depends({f"model/{model}": version})
