"""The models of the inference server, and what their tensors make of them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from enum import Enum

from libs.errors.errors import NotFoundError, Reason, UnavailableError

RETRY_AFTER_S = 1.0
"""A model that died is back after about so long."""


class ModelKind(Enum):
    """What a model can be used for; UNSPECIFIED: the Open Inference Protocol only, or not known."""

    UNSPECIFIED = 0
    GENERATE = 1
    EMBED = 2


class ModelState(Enum):
    """Whether a model answers."""

    UNSPECIFIED = 0
    READY = 1
    LOADING = 2
    UNAVAILABLE = 3


@dataclass(frozen=True, slots=True)
class Model:
    """A model. `version` is the server's number for it; `parameters` and `inputs` are those of its configuration.

    A `decoupled` one answers a request as often as it likes, others once.
    """

    name: str
    version: str = ""
    state: ModelState = ModelState.UNSPECIFIED
    kind: ModelKind = ModelKind.UNSPECIFIED
    inputs: Set[str] = frozenset()
    parameters: Mapping[str, str] = field(default_factory=dict)
    decoupled: bool = False

    @property
    def description(self) -> str:
        """The name of what it is, "" where the model does not say."""
        return self.parameters.get("model_name", "")

    def at(self, version: str, state: ModelState) -> Model:
        """The same model in another state."""
        return replace(self, version=version, state=state)


def kind_of(inputs: Set[str], outputs: Set[str]) -> ModelKind:
    """The kind by the tensor contract: that of Triton's vLLM backend, or TEXT to EMBEDDING."""
    if "text_input" in inputs and "text_output" in outputs:
        return ModelKind.GENERATE
    if "TEXT" in inputs and "EMBEDDING" in outputs:
        return ModelKind.EMBED
    return ModelKind.UNSPECIFIED


def model_not_found(model: str, what: str = "there is no such model") -> NotFoundError:
    """The error of a call that names a model which is not there, or is of no use to the call."""
    return NotFoundError(
        Reason.MODEL_NOT_FOUND, f"{model}: {what}; ModelService lists what there is", metadata={"model": model}
    )


def model_unavailable(model: str, what: str, retry_after_s: float | None = None) -> UnavailableError:
    """The error of a call to a model that is there and does not answer; worth trying again after RETRY_AFTER_S, unless
    it says otherwise."""
    return UnavailableError(
        Reason.MODEL_UNAVAILABLE,
        f"{model}: {what}; try again",
        metadata={"model": model},
        retry_after_s=RETRY_AFTER_S if retry_after_s is None else retry_after_s,
    )
