"""Serves AnswerService: both methods share one use case."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from libs.rpc.call import current_call, depends
from libs.rpc.status import stream_error
from services.rag.app.answer_question import AnswerEvent, AnswerQuestion, Cited, Delta, Ended, Outcome, Shown, Used
from services.rag.rpc.convert import ANSWER_OUTCOMES, question_of, stamps_of, to_citation, to_degradation, to_passage
from weft.common.v1 import usage_pb2
from weft.rag.v1 import answer_service_pb2 as pb
from weft.rag.v1 import answer_service_pb2_grpc as pb_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class AnswerServicer(pb_grpc.AnswerServiceServicer):
    """Answers from the calling tenant's collections."""

    def __init__(self, answer: AnswerQuestion) -> None:
        self._answer = answer

    async def Answer(self, request: pb.AnswerRequest, context: Context) -> pb.AnswerResponse:
        response = pb.AnswerResponse()
        cited: set[int] = set()
        async with aclosing(self._answer(current_call().tenant, question_of(request.question))) as events:
            async for event in events:
                if isinstance(event, Cited) and event.number in cited:
                    continue
                if isinstance(event, Cited):
                    cited.add(event.number)
                if isinstance(event, Ended) and event.generation is not None and not _is_cut_for_caller(event):
                    depends(stamps_of(request.question.collection, event.generation))
                _add(response, event)
        return response

    async def StreamAnswer(
        self, request: pb.StreamAnswerRequest, context: Context
    ) -> AsyncIterator[pb.StreamAnswerResponse]:
        sequence = 0
        try:
            async with aclosing(self._answer(current_call().tenant, question_of(request.question))) as events:
                async for event in events:
                    message = _message(event)
                    message.sequence = sequence
                    sequence += 1
                    yield message
        except Exception as error:
            yield pb.StreamAnswerResponse(sequence=sequence, error=stream_error(error))
            raise


def _is_cut_for_caller(ended: Ended) -> bool:
    """Whether the answer may be shorter than the request asks for, because the call has a bound of its own."""
    return ended.outcome is Outcome.LENGTH and current_call().max_output_tokens > 0


def _message(event: AnswerEvent) -> pb.StreamAnswerResponse:
    match event:
        case Shown(hits, lexical_only):
            passages = pb.AnswerPassages(passages=map(to_passage, hits), degradation=to_degradation(lexical_only))
            return pb.StreamAnswerResponse(passages=passages)
        case Delta(text):
            return pb.StreamAnswerResponse(delta=pb.AnswerDelta(text=text))
        case Cited():
            return pb.StreamAnswerResponse(citation=to_citation(event))
        case Used(input_tokens, output_tokens):
            usage = usage_pb2.Usage(input_tokens=input_tokens, output_tokens=output_tokens)
            return pb.StreamAnswerResponse(usage=usage)
        case Ended(outcome, model, fallback_for):
            done = pb.AnswerDone(outcome=ANSWER_OUTCOMES[outcome], model=model, fallback_for=fallback_for)
            return pb.StreamAnswerResponse(done=done)


def _add(response: pb.AnswerResponse, event: AnswerEvent) -> None:
    """Puts what an event says into the whole answer."""
    match event:
        case Shown(hits, lexical_only):
            response.passages.extend(map(to_passage, hits))
            response.degradation = to_degradation(lexical_only)
        case Delta(text):
            response.text += text
        case Cited():
            response.citations.append(to_citation(event))
        case Used(input_tokens, output_tokens):
            response.usage.input_tokens = input_tokens
            response.usage.output_tokens = output_tokens
        case Ended(outcome, model, fallback_for):
            response.outcome = ANSWER_OUTCOMES[outcome]
            response.model = model
            response.fallback_for = fallback_for
