"""Refuses requests that refer to shared memory or name no model, and bodies that are no requests."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from libs.contracts.open_inference import open_inference_pb2
from libs.errors.errors import InvalidArgumentError, PermissionDeniedError, Reason, invalid_field

pb: Any = open_inference_pb2()

_REGION = "shared_memory_region"
_REGION_BYTES = _REGION.encode()


def refuse_shared_memory(body: bytes) -> None:
    """Raises PermissionDeniedError (SHARED_MEMORY_REFUSED) where a tensor of the ModelInferRequest is a region.

    A region is the server's, not a tenant's: a request could read what another one wrote. The name of the parameter
    stands in the bytes of every such request, so others need not be parsed.
    """
    if _REGION_BYTES in body:
        refuse_shared_memory_of(infer_request(body))


def refuse_shared_memory_of(request: Any) -> None:
    """As `refuse_shared_memory`, of a parsed request."""
    for tensor in (*request.inputs, *request.outputs):
        if _REGION in tensor.parameters:
            raise PermissionDeniedError(
                Reason.SHARED_MEMORY_REFUSED,
                f"{tensor.name[:100]}: shared memory reaches across tenants; send the tensor in the message",
            )


def refuse_nameless_load(body: bytes) -> None:
    """Raises InvalidArgumentError where a RepositoryModelLoadRequest is none, or names no model.

    The server calls that an INTERNAL failure to load ''.
    """
    try:
        request = pb.RepositoryModelLoadRequest.FromString(body)
    except DecodeError:
        raise malformed("inference.RepositoryModelLoadRequest") from None
    if not request.model_name:
        raise invalid_field("model_name", "must name a model of the repository")


def infer_request(body: bytes) -> Any:
    """The ModelInferRequest. Raises InvalidArgumentError (MESSAGE_MALFORMED)."""
    try:
        return pb.ModelInferRequest.FromString(body)
    except DecodeError:
        raise malformed("inference.ModelInferRequest") from None


def malformed(message: str) -> InvalidArgumentError:
    """The error of a body that is no message of the type with this full name."""
    return InvalidArgumentError(Reason.MESSAGE_MALFORMED, f"the body is not a {message}", metadata={"message": message})
