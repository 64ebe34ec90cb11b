"""The messages of the Open Inference Protocol, as tritonclient carries them, without the rest of tritonclient."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import tritonclient

_PACKAGE = "tritonclient.grpc"


@cache
def open_inference_pb2() -> ModuleType:
    """The module `tritonclient.grpc.service_pb2`; its descriptors are in the default pool from then on.

    Importing it in the usual way runs its package first, the whole client with numpy: 34 MB that a service does not
    need. The package is imported as ever by those who want it, before or after.
    """
    if _PACKAGE in sys.modules:
        return import_module(f"{_PACKAGE}.service_pb2")
    package = ModuleType(_PACKAGE)
    package.__path__ = [str(Path(root) / "grpc") for root in tritonclient.__path__]
    sys.modules[_PACKAGE] = package
    try:
        return import_module(f"{_PACKAGE}.service_pb2")
    finally:
        del sys.modules[_PACKAGE]
