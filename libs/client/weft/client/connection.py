"""Connections to a Weft gateway."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import grpc

from libs.contracts import headers
from weft.client.calls import ClientChannel, Headers
from weft.embedding.v1 import embedding_service_pb2_grpc
from weft.gateway.v1 import (
    identity_service_pb2_grpc,
    key_service_pb2_grpc,
    settings_service_pb2_grpc,
    usage_service_pb2_grpc,
)
from weft.inference.v1 import generation_service_pb2_grpc, model_service_pb2_grpc
from weft.rag.v1 import (
    answer_service_pb2_grpc,
    collection_service_pb2_grpc,
    document_service_pb2_grpc,
    search_service_pb2_grpc,
)

DEFAULT_ADDRESS = "127.0.0.1:7700"
_MAX_MESSAGE_BYTES = 64 << 20


class Client:
    """Typed stubs of all Weft services over one connection; made by `connect`.

    Each method takes its request message, and `timeout` (seconds) and `metadata` where wanted. Unary methods are
    awaited, streaming ones iterated with `async for`. The deadline of a call without a timeout, and how often it is
    tried again, are the contract's. A mutation without a `request_id` gets one. A failure is a `CallError`.
    """

    def __init__(self, channel: ClientChannel) -> None:
        self._channel = channel
        self.identity = identity_service_pb2_grpc.IdentityServiceStub(channel)
        self.keys = key_service_pb2_grpc.KeyServiceStub(channel)
        self.usage = usage_service_pb2_grpc.UsageServiceStub(channel)
        self.settings = settings_service_pb2_grpc.SettingsServiceStub(channel)
        self.collections = collection_service_pb2_grpc.CollectionServiceStub(channel)
        self.documents = document_service_pb2_grpc.DocumentServiceStub(channel)
        self.search = search_service_pb2_grpc.SearchServiceStub(channel)
        self.answers = answer_service_pb2_grpc.AnswerServiceStub(channel)
        self.embeddings = embedding_service_pb2_grpc.EmbeddingServiceStub(channel)
        self.generation = generation_service_pb2_grpc.GenerationServiceStub(channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(channel)

    async def close(self) -> None:
        """Ends the connection; calls under way are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def connect(
    address: str = DEFAULT_ADDRESS,
    *,
    token: str | Callable[[], str] | None = None,
    tls: bool | None = None,
    ca_file: str | Path | None = None,
    server_name: str | None = None,
    priority: str | None = None,
) -> Client:
    """A client of the gateway at `address` (host:port), to be used as an async context manager. Dials at the first
    call.

    `token` is sent as the bearer token; a function is asked at each call, so that it can hand out fresh ones. `tls`:
    None is plain text on loopback and TLS everywhere else; a token should not travel in plain text. `ca_file`: a PEM
    file of the authorities to trust in place of the system's; it implies TLS. `server_name`: whom the certificate must
    be for, where that is not the host of `address`. `priority` ("low", "normal", "high") is asked for with every call.
    Raises OSError when `ca_file` cannot be read, ValueError when it comes with `tls=False`.
    """
    if tls is False and ca_file is not None:
        raise ValueError("ca_file is for TLS, which tls=False switches off")
    secure = (ca_file is not None or not _is_loopback(address)) if tls is None else tls
    if secure:
        roots = None if ca_file is None else Path(ca_file).read_bytes()
        options = [*_options(), *([("grpc.ssl_target_name_override", server_name)] if server_name else [])]
        channel = grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(roots), options=options)
    else:
        channel = grpc.aio.insecure_channel(address, options=_options())
    return Client(ClientChannel(channel, _headers_of(token, priority)))


def _headers_of(token: str | Callable[[], str] | None, priority: str | None) -> Callable[[], Headers]:
    fixed: list[tuple[str, str | bytes]] = [] if priority is None else [(headers.PRIORITY, priority)]
    if token is None:
        return lambda: fixed
    if isinstance(token, str):
        fixed.append((headers.AUTHORIZATION, f"Bearer {token}"))
        return lambda: fixed
    return lambda: [*fixed, (headers.AUTHORIZATION, f"Bearer {token()}")]


def _options() -> list[tuple[str, Any]]:
    return [
        ("grpc.service_config", resources.files("weft.client").joinpath("service_config.json").read_text()),
        ("grpc.enable_retries", 1),
        # The config of a client is the contract's: none is looked up in DNS.
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        # A stream that is silent for long is told from a dead peer.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ]


def _is_loopback(address: str) -> bool:
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
