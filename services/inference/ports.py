"""What the use cases need of the inference server, and of whoever counts what they use."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
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
        """One that is loaded; its state is not looked up, and its version is what it was when that was done last.

        Raises NotFoundError (MODEL_NOT_FOUND) where there is none of the name, UnavailableError (MODEL_UNAVAILABLE)
        where it is not loaded.
        """
        ...

    def forget(self) -> None:
        """Models were loaded or unloaded: what is known of them is out of date."""
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


class ModelWatch(Protocol):
    """Whoever wants to know of a model's death and return."""

    def died(self, model: str) -> None:
        """Its process is dead."""
        ...

    def back(self, model: str) -> None:
        """It was loaded again."""
        ...


class ModelStamps(Protocol):
    """What kept answers depend on: each model's stamp."""

    async def write(self, versions: Mapping[str, str], gone: Collection[str]) -> bool:
        """The versions of models that answer, and the names of those that do not. Whether it is written; never
        raises."""
        ...


class Execution(Protocol):
    """Work of a model that is being counted."""

    def used(self, *, input_tokens: int, output_tokens: int) -> None:
        """All that was used so far; the last word counts."""
        ...


class Meter(Protocol):
    """Counts what the running call uses."""

    def allowance_tokens(self) -> int | None:
        """Most tokens that the call may still use, read and written together; None: as many as it takes."""
        ...

    def executing(self, model: str) -> AbstractAsyncContextManager[Execution]:
        """Work of the model. On leaving, however, what was used is recorded, and counts against the allowance."""
        ...


class Asking(Protocol):
    """A request that a model is asked, and its slot."""

    def produced(self) -> None:
        """The model has answered something."""
        ...

    def end(self, error: BaseException | None = None) -> None:
        """It was answered, or failed. The first time counts."""
        ...


class CallerStream(Protocol):
    """What the inference server makes of one stream of Open Inference requests."""

    @property
    def trailers(self) -> tuple[tuple[str, str | bytes], ...]:
        """Those of the call that ended last."""
        ...

    def start(self, work: Coroutine[Any, Any, None]) -> object:
        """Work that answers may come of: they are not over before it is. Its failure is theirs."""
        ...

    async def send(self, request: Any, body: bytes, asking: Asking, *, alone: bool) -> None:
        """Sends a request, whose bytes are `body`; `alone` where its model may answer more than once.

        `asking` ends when all of its answers are there, or at its failure; also where this raises.
        """
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
