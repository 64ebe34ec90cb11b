"""gRPC reflection: lists the services, and describes them with all that they import."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection_pb2_grpc
from grpc_reflection.v1alpha.reflection import aio
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from libs.rpc.handlers import Routes

_V1 = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


def add_reflection(services: Iterable[str], routes: Routes) -> None:
    """Under both names: clients ask for v1 first; its messages are those of v1alpha, which is all that grpcio has."""
    servicer = aio.ReflectionServicer(services, pool=_Pool())
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, routes)  # type: ignore[no-untyped-call]
    routes.add_typed(_V1, servicer.ServerReflectionInfo, ServerReflectionRequest)


class _Pool:
    """The default pool, which finds the file of a message or a service by name, but not that of a method."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            found = self._pool.FindServiceByName(service)
            if method not in found.methods_by_name:
                raise
            return found.file
