"""Work that keeps the generate model busy for seconds, and what the model itself tells of it."""

from __future__ import annotations

import tritonclient.grpc.aio as triton_client

from libs.testing.parts import CancelledGeneration, cancelled_generations_in
from tests.conftest import RunningStack
from weft.common.v1 import chat_message_pb2
from weft.inference.v1 import generation_service_pb2

SENTENCES = 256  # the model looks at no more of a prompt
BATCH = 64  # it asks for its sentences' vectors in batches of so many


class WatchedModel:
    """The generate model of a stack, as its Triton tells of it."""

    def __init__(self, stack: RunningStack) -> None:
        self._address = stack.stack.address("triton")
        self._log = stack.stack.log("triton")

    def cancelled(self) -> list[CancelledGeneration]:
        """What it has noticed so far."""
        return cancelled_generations_in(self._log.read_text(errors="replace"))

    async def texts_embedded(self) -> int:
        """So many texts the embed model has read for it and for all others."""
        async with triton_client.InferenceServerClient(self._address) as direct:
            statistics = await direct.get_inference_statistics("embed")
        return int(statistics.model_stats[0].inference_count)

    async def has_begun(self, before: int) -> bool:
        """Whether it has worked on a batch since the embed model had read `before` texts."""
        return await self.texts_embedded() >= before + BATCH


def sentences(seed: str) -> list[str]:
    """Long ones, as many as the model looks at."""
    clause = "while the harbour master writes the names of the ships and the weather of the day into the ledger"
    return [
        f"In {seed} the number {at} follows {at - 1} and comes before {at + 1}, {clause}." for at in range(SENTENCES)
    ]


def long_prompt(seed: str) -> str:
    """A prompt in ChatML over sentences that the model has not seen, if `seed` is new."""
    return "Sources:\n[1] Numbers\n" + "\n".join(sentences(seed)) + f"\n\nQuestion: what comes before 40 in {seed}?"


def typed_prompt(seed: str) -> generation_service_pb2.Prompt:
    """The same, typed."""
    turn = chat_message_pb2.ChatMessage(role=chat_message_pb2.CHAT_ROLE_USER, content=long_prompt(seed))
    return generation_service_pb2.Prompt(messages=[turn])
