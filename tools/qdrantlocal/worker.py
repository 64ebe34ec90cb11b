"""The engine process's loop: takes what has arrived, runs it in order, commits the writes together, answers."""

import itertools
import os
import select
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError, Message
from qdrant_client.grpc import points_pb2

from tools.qdrantlocal import point_calls
from tools.qdrantlocal.engine import Engine
from tools.qdrantlocal.errors import CallError, Code, as_call_error, invalid, unsupported
from tools.qdrantlocal.frames import READY_ID, Reply, Request, pack_reply, take_requests
from tools.qdrantlocal.methods import METHODS, QUERY

RECEIVE_BYTES = 1 << 20
DRAIN_BYTES = 32 << 20  # taken at once at most, and so the group of writes of one commit
QUERIES_AT_ONCE = 32
SEND_AFTER = 8  # answers gathered before they are sent
MAX_REPLY_BYTES = 64 << 20
COMMIT_FAILED = 3


class Worker:
    """One thread does everything: the engine never lets another run."""

    def __init__(self, connection: socket.socket, engine: Engine) -> None:
        self._connection = connection
        self._engine = engine
        self._answers: list[bytes] = []
        self._answers_after_commit: list[bytes] = []

    def run(self) -> None:
        """Says that it is ready, and serves until the other end closes."""
        self._connection.sendall(pack_reply(Reply(READY_ID, Code.OK, b"")))
        buffer = bytearray()
        while self._receive(buffer):
            for are_queries, requests in itertools.groupby(take_requests(buffer), lambda one: one.method == QUERY):
                if are_queries:
                    self._run_queries(requests)
                else:
                    for request in requests:
                        self._run(request)
            self._send()
            self._commit()

    def _receive(self, buffer: bytearray) -> bool:
        """Waits for bytes, then takes what is there; False when the other end has closed. Flushes while it waits."""
        while not _readable(self._connection, self._engine.flush_due()):
            pass
        data = self._connection.recv(RECEIVE_BYTES)
        while data:
            buffer += data
            if len(buffer) >= DRAIN_BYTES or not _readable(self._connection, 0):
                return True
            data = self._connection.recv(RECEIVE_BYTES)
        return False

    def _run(self, request: Request) -> None:
        try:
            method = METHODS.get(request.method)
            if method is None:
                raise unsupported(request.method)
            message = _parsed(request, method.request)
            response = method.run(self._engine, message)
            self._answer(request, response, after_commit=method.writes and bool(getattr(message, "wait", False)))
        except Exception as error:
            self._refuse(request, error)

    def _run_queries(self, requests: Iterable[Request]) -> None:
        """Queries that arrived together and are of one collection cost little more than one."""
        by_collection: defaultdict[str, list[tuple[Request, points_pb2.QueryPoints]]] = defaultdict(list)
        for request in requests:
            try:
                message = _parsed(request, points_pb2.QueryPoints)
                by_collection[message.collection_name].append((request, message))
            except CallError as error:
                self._refuse(request, error)
        for name, queries in by_collection.items():
            for start in range(0, len(queries), QUERIES_AT_ONCE):
                self._run_query_group(name, queries[start : start + QUERIES_AT_ONCE])

    def _run_query_group(self, collection: str, group: list[tuple[Request, points_pb2.QueryPoints]]) -> None:
        try:
            responses = point_calls.query_all(self._engine, collection, [message for _, message in group])
        except Exception as error:
            if len(group) == 1:
                self._refuse(group[0][0], error)
                return
            for one in group:  # the bad one must not spoil the others
                self._run_query_group(collection, [one])
            return
        for (request, _), response in zip(group, responses, strict=True):
            self._answer(request, response)

    def _answer(self, request: Request, response: Message, after_commit: bool = False) -> None:
        body = response.SerializeToString()
        if len(body) > MAX_REPLY_BYTES:
            text = f"the answer has {len(body)} bytes, more than {MAX_REPLY_BYTES}: ask for fewer points"
            self._refuse(request, CallError(Code.RESOURCE_EXHAUSTED, text))
            return
        (self._answers_after_commit if after_commit else self._answers).append(
            pack_reply(Reply(request.id, Code.OK, body))
        )
        if len(self._answers) >= SEND_AFTER:
            self._send()

    def _refuse(self, request: Request, error: Exception) -> None:
        known = as_call_error(error)
        self._answers.append(pack_reply(Reply(request.id, known.code, known.message.encode())))

    def _send(self) -> None:
        if self._answers:
            self._connection.sendall(b"".join(self._answers))
            self._answers.clear()

    def _commit(self) -> None:
        """One sync of the log for all writes that somebody waits for. If it fails nobody is told that it worked."""
        if not self._answers_after_commit:
            return
        try:
            self._engine.commit()
        except OSError as error:
            print(f"cannot commit: {error}", file=sys.stderr, flush=True)
            os._exit(COMMIT_FAILED)
        self._connection.sendall(b"".join(self._answers_after_commit))
        self._answers_after_commit.clear()


def _readable(connection: socket.socket, within_s: float | None) -> bool:
    return bool(select.select([connection], [], [], within_s)[0])


def _parsed(request: Request, message_type: type[Any]) -> Any:
    if request.deadline_s and time.monotonic() > request.deadline_s:
        raise CallError(Code.DEADLINE_EXCEEDED, "the deadline passed before the engine came to it")
    try:
        return message_type.FromString(request.body)
    except DecodeError:
        raise invalid(f"the request is not a {message_type.__name__} message") from None
