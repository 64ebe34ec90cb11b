"""Text generation over the tensors of Triton's vLLM backend."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import grpc

from libs.contracts import headers
from libs.errors.errors import Reason, ServiceError
from services.inference.adapters.lone_call import LoneCall, is_last
from services.inference.adapters.server import InferenceServer, pb, timeout_s
from services.inference.adapters.tensors import add_flag, add_text, first_text, first_uint32
from services.inference.app.underway import Stream, Underway
from services.inference.domain.generation import Continuation, FinishReason, Piece, Sampling
from services.inference.domain.models import Model, model_unavailable

_FINISH_REASONS: Mapping[str, FinishReason] = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
_OPTIONAL_FLAGS = (
    "exclude_input_in_output",
    "return_finish_reason",
    "return_num_input_tokens",
    "return_num_output_tokens",
)
# Triton then ends a stream with the status of a failure, where it would else only put its words into a message.
_WITH_STATUS = ((headers.TRITON_GRPC_ERROR, "true"),)


class TritonGenerator:
    """TextGenerator over decoupled models: one stream for each continuation, so that its end is the model's cancel."""

    def __init__(self, server: InferenceServer, underway: Underway) -> None:
        self._server = server
        self._underway = underway

    async def generate(self, model: Model, continuation: Continuation) -> AsyncGenerator[Piece, None]:
        """See the port. Where the model's process dies, the stream is told by `underway`: Triton tells it nothing."""
        call = LoneCall(self._server.stream_infer(timeout=timeout_s(), metadata=_WITH_STATUS))
        stream = Stream(call.cancel)
        self._underway.enter(model.name, stream)
        ended = False
        try:
            async for message in call.answers(request_of(model, continuation)):
                yield self._piece(message, model.name)
                ended = is_last(message)
            if not ended:
                raise model_unavailable(model.name, "it ended without an end")
        except grpc.aio.AioRpcError as error:
            raise await self._server.failure(error, model.name) from error
        except asyncio.CancelledError:
            if stream.error and not _is_cancelled():
                raise stream.error from None
            raise
        finally:
            self._underway.leave(model.name, stream)
            call.cancel()

    def _piece(self, message: Any, model: str) -> Piece:
        if message.error_message:
            told = self._server.told(message.error_message, model)
            raise told or ServiceError(Reason.INTERNAL, message.error_message)
        outputs = _outputs(message.infer_response)
        return Piece(
            text=first_text(outputs.get("text_output", b"")),
            input_tokens=first_uint32(outputs.get("num_input_tokens", b"")),
            output_tokens=first_uint32(outputs.get("num_output_tokens", b"")),
            finish_reason=_FINISH_REASONS.get(first_text(outputs.get("finish_reason", b"")), FinishReason.UNSPECIFIED),
        )


def request_of(model: Model, continuation: Continuation) -> Any:
    """The ModelInferRequest. Of the optional inputs only those that the model has."""
    request = pb.ModelInferRequest(model_name=model.name, id=continuation.call_id)
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    add_text(request, "text_input", continuation.text)
    add_flag(request, "stream")
    add_text(request, "sampling_parameters", sampling_parameters(continuation.sampling, continuation.max_output_tokens))
    for name in _OPTIONAL_FLAGS:
        if name in model.inputs:
            add_flag(request, name)
    return request


def sampling_parameters(sampling: Sampling, max_output_tokens: int) -> str:
    """The JSON of vLLM's sampling parameters; what is not set is left to the model."""
    values = {
        "max_tokens": max_output_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
    }
    return json.dumps({name: value for name, value in values.items() if value is not None})


def _outputs(response: Any) -> dict[str, bytes]:
    return {output.name: raw for output, raw in zip(response.outputs, response.raw_output_contents, strict=False)}


def _is_cancelled() -> bool:
    """Whether the running task itself is to end, and not only the stream that it reads."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
