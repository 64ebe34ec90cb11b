"""How the front and the engine process talk over their socket: a fixed head, then the bytes it announces."""

from dataclasses import dataclass
from struct import Struct

REQUEST_HEAD = Struct("<IQHd")  # body length, request id, method length, deadline
REPLY_HEAD = Struct("<IQB")  # body length, request id, status code
READY_ID = 0  # a reply with this id is no reply: the engine process says that it serves


@dataclass(frozen=True)
class Request:
    """`deadline_s` is a time of the monotonic clock, which all processes of a machine share; 0 for none."""

    id: int
    method: str
    body: bytes
    deadline_s: float


@dataclass(frozen=True)
class Reply:
    """`body` is the response message if `code` is 0, else the error's text."""

    id: int
    code: int
    body: bytes


def pack_request(request: Request) -> bytes:
    method = request.method.encode()
    return REQUEST_HEAD.pack(len(request.body), request.id, len(method), request.deadline_s) + method + request.body


def pack_reply(reply: Reply) -> bytes:
    return REPLY_HEAD.pack(len(reply.body), reply.id, reply.code) + reply.body


def take_requests(buffer: bytearray) -> list[Request]:
    """Removes the complete requests from the front of the buffer."""
    requests: list[Request] = []
    start = 0
    while len(buffer) - start >= REQUEST_HEAD.size:
        body_length, request_id, method_length, deadline_s = REQUEST_HEAD.unpack_from(buffer, start)
        method_start = start + REQUEST_HEAD.size
        body_start = method_start + method_length
        end = body_start + body_length
        if end > len(buffer):
            break
        method = buffer[method_start:body_start].decode()
        requests.append(Request(request_id, method, bytes(buffer[body_start:end]), deadline_s))
        start = end
    del buffer[:start]
    return requests


def take_replies(buffer: bytearray) -> list[Reply]:
    """Removes the complete replies from the front of the buffer."""
    replies: list[Reply] = []
    start = 0
    while len(buffer) - start >= REPLY_HEAD.size:
        body_length, request_id, code = REPLY_HEAD.unpack_from(buffer, start)
        body_start = start + REPLY_HEAD.size
        end = body_start + body_length
        if end > len(buffer):
            break
        replies.append(Reply(request_id, code, bytes(buffer[body_start:end])))
        start = end
    del buffer[:start]
    return replies
