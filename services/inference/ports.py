"""What the use cases need of the inference server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from typing import Any, Protocol

from services.inference.domain.generation import Continuation, Piece
from services.inference.domain.models import Model


class ModelCatalogue(Protocol):
    """Which models there are. Every method raises UnavailableError (DEPENDENCY_UNAVAILABLE)."""

    async def models(self) -> Sequence[Model]:
        """All of them, by name."""
        ...

    async def model(self, name: str) -> Model:
        """One of them. Raises NotFoundError (MODEL_NOT_FOUND)."""
        ...

    async def loaded(self, name: str) -> Model:
        """One that is loaded; its state is not looked up. Raises NotFoundError (MODEL_NOT_FOUND) where there is none of
        the name, UnavailableError (MODEL_UNAVAILABLE) where it is not loaded."""
        ...


class TextGenerator(Protocol):
    """Models that continue text."""

    def generate(self, model: Model, continuation: Continuation) -> AsyncGenerator[Piece, None]:
        """The pieces as the model makes them; closing the generator stops the model.

        Raises InvalidArgumentError (PROMPT_TOO_LONG, FIELD_INVALID), NotFoundError (MODEL_NOT_FOUND), UnavailableError
        (MODEL_UNAVAILABLE, DEPENDENCY_UNAVAILABLE), DeadlineExceededError.
        """
        ...


class ModelProbe(Protocol):
    """Signs of life. Every method raises a ServiceError that says what is wrong."""

    async def server_ready(self) -> None:
        """Returns when the server takes calls."""
        ...

    async def model_ready(self, model: str) -> None:
        """Returns when the model is loaded."""
        ...

    async def ask(self, model: Model) -> None:
        """Returns when the model has answered a small question. UnavailableError (MODEL_UNAVAILABLE): it is dead."""
        ...


class ModelControl(Protocol):
    """Loads models."""

    async def reload(self, model: str) -> None:
        """Takes the model away and loads it afresh. Raises ServiceError."""
        ...


class CallerStream(Protocol):
    """What the inference server makes of one stream of Open Inference requests."""

    @property
    def trailers(self) -> tuple[tuple[str, str | bytes], ...]:
        """Those of the call that ended last."""
        ...

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Work that answers may come of: they are not over before it is. Its failure is theirs."""
        ...

    async def send(self, request: Any, body: bytes, *, alone: bool) -> None:
        """Sends a request, whose bytes are `body`; `alone` where its model may answer more than once."""
        ...

    async def done_sending(self) -> None:
        """There are no more requests."""
        ...

    def answers(self) -> AsyncIterator[bytes]:
        """The bytes of the answers of all requests, as they come, until `cut` or there are no more. Raises the first
        failure."""
        ...

    def cut(self) -> None:
        """Ends the answers, after those that have arrived."""
        ...

    def cancel(self) -> None:
        """Ends whatever is under way; to be called in the end."""
        ...
