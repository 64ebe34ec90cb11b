"""Tensors of the Open Inference Protocol as raw bytes: little-endian numbers; texts with their length before them."""

from __future__ import annotations

import struct
from typing import Any

_UINT32 = struct.Struct("<I")


def add_text(request: Any, name: str, text: str, shape: tuple[int, ...] = (1,)) -> None:
    """Adds an input of one text to a ModelInferRequest."""
    data = text.encode()
    request.inputs.add(name=name, datatype="BYTES", shape=shape)
    request.raw_input_contents.append(_UINT32.pack(len(data)) + data)


def add_flag(request: Any, name: str) -> None:
    """Adds an input that is true."""
    request.inputs.add(name=name, datatype="BOOL", shape=(1,))
    request.raw_input_contents.append(b"\x01")


def first_text(raw: bytes) -> str:
    """The first text of an output; "" where it has none."""
    if len(raw) < _UINT32.size:
        return ""
    (length,) = _UINT32.unpack_from(raw)
    return raw[_UINT32.size : _UINT32.size + length].decode("utf-8", "replace")


def first_uint32(raw: bytes) -> int:
    """The first number of an output; 0 where it has none."""
    if len(raw) < _UINT32.size:
        return 0
    value: int = _UINT32.unpack_from(raw)[0]
    return value
