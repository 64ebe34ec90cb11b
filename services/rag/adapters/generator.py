"""Text from the inference service."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import grpc

from libs.errors.errors import Reason, ServiceError
from libs.rpc.status import to_service_error
from services.rag.domain.prompt import Role, Turn
from services.rag.ports import Generated, GenerationEnd
from weft.common.v1 import chat_message_pb2
from weft.inference.v1 import generation_service_pb2 as pb
from weft.inference.v1 import generation_service_pb2_grpc as pb_grpc

_ROLES = {
    Role.SYSTEM: chat_message_pb2.CHAT_ROLE_SYSTEM,
    Role.USER: chat_message_pb2.CHAT_ROLE_USER,
    Role.ASSISTANT: chat_message_pb2.CHAT_ROLE_ASSISTANT,
}


class InferenceServiceGenerator:
    """The port TextGenerator."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = pb_grpc.GenerationServiceStub(channel)

    async def stream(
        self, turns: Sequence[Turn], *, model: str, max_output_tokens: int
    ) -> AsyncGenerator[Generated, None]:
        messages = [chat_message_pb2.ChatMessage(role=_ROLES[turn.role], content=turn.content) for turn in turns]
        prompt = pb.Prompt(messages=messages, model=model, max_output_tokens=max_output_tokens)
        call = self._stub.StreamGenerate(pb.StreamGenerateRequest(prompt=prompt))
        try:
            async for response in call:
                event = response.WhichOneof("event")
                if event == "delta":
                    yield Generated(text=response.delta.text)
                elif event == "usage":
                    usage = response.usage
                    yield Generated(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
                elif event == "done":
                    cut = response.done.finish_reason == pb.FINISH_REASON_LENGTH
                    yield Generated(end=GenerationEnd(cut=cut, model=response.done.model))
                    return
            # The service ends a stream that failed with an `error` and a status: reading on raises the latter.
            raise ServiceError(Reason.INTERNAL, "the inference service ended a stream without saying how")
        except grpc.aio.AioRpcError as error:
            raise to_service_error(error, "inference") from error
        finally:
            call.cancel()
