"""Text from the inference service."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence

import grpc

from libs.errors.errors import Reason, ServiceError
from services.rag.adapters.inner_calls import failure_of, is_stamped
from services.rag.domain.prompt import Role, Turn
from services.rag.ports import Finish, Generated, GenerationEnd
from weft.common.v1 import chat_message_pb2
from weft.inference.v1 import generation_service_pb2 as pb
from weft.inference.v1 import generation_service_pb2_grpc as pb_grpc

_ROLES = {
    Role.SYSTEM: chat_message_pb2.CHAT_ROLE_SYSTEM,
    Role.USER: chat_message_pb2.CHAT_ROLE_USER,
    Role.ASSISTANT: chat_message_pb2.CHAT_ROLE_ASSISTANT,
}
_CUTS: Mapping[int, Finish] = {
    pb.FINISH_REASON_LENGTH: Finish.LENGTH,
    pb.FINISH_REASON_BUDGET: Finish.BUDGET,
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
        done: pb.Done | None = None
        try:
            async for response in call:
                event = response.WhichOneof("event")
                if event == "delta":
                    yield Generated(text=response.delta.text)
                elif event == "usage":
                    usage = response.usage
                    yield Generated(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
                elif event == "done":
                    done = response.done
            # What comes after the last message is read too: the status of a stream that failed, and of one that did
            # not what it used and which model it depends on.
            if done is None:
                raise ServiceError(Reason.INTERNAL, "the inference service ended a stream without saying how")
            yield Generated(end=_end(done, await is_stamped(call)))
        except grpc.aio.AioRpcError as error:
            raise failure_of(error, "inference") from error
        finally:
            call.cancel()


def _end(done: pb.Done, stamped: bool) -> GenerationEnd:
    finish = _CUTS.get(done.finish_reason, Finish.WHOLE)
    return GenerationEnd(finish, done.model, done.fallback_for, stamped)
