"""Reads of the Open Inference Protocol's messages what the door has to know, and copies nothing else of them."""

from __future__ import annotations

from services.inference.rpc.refusals import malformed

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_NAME = 1
_INFER_RESPONSE = 2


def asked_model(body: bytes) -> str:
    """`model_name` of a ModelInferRequest. Raises InvalidArgumentError (MESSAGE_MALFORMED)."""
    try:
        return _text(memoryview(body), _MODEL_NAME)
    except (ValueError, IndexError):
        raise malformed("inference.ModelInferRequest") from None


def answering_model(body: bytes) -> str:
    """`infer_response.model_name` of a ModelStreamInferResponse; "" where it has none."""
    try:
        return _text(_field(memoryview(body), _INFER_RESPONSE), _MODEL_NAME)
    except (ValueError, IndexError):
        return ""


def _text(message: memoryview, number: int) -> str:
    return bytes(_field(message, number)).decode()


def _field(message: memoryview, number: int) -> memoryview:
    """The last field of bytes with this number, as protobuf reads it; empty where there is none.

    Raises ValueError or IndexError where it is no message (protobuf.dev/programming-guides/encoding).
    """
    found, at = message[:0], 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _BYTES:
            size, at = _varint(message, at)
            if tag >> 3 == number:
                found = message[at : at + size]
            at += size
        elif kind == _VARINT:
            _, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")
    if at != len(message):
        raise ValueError("cut off")
    return found


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at a place, and the place after it."""
    value = shift = 0
    while shift < 70:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a varint has at most ten bytes")
