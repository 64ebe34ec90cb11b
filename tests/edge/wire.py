"""What comes over the wire, taken apart: server-sent events, gRPC-Web frames, errors."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

TRAILERS = 0x80
"""The flags of the frame of gRPC-Web that ends an answer."""
_DETAIL = "type.googleapis.com/google.rpc."


def events(body: str) -> list[dict[str, Any]]:
    """The messages of a whole stream. Raises AssertionError for anything but lines `data: ` and empty ones, in turn."""
    assert body.endswith("\n\n"), body[-80:]
    found = []
    for event in body.removesuffix("\n\n").split("\n\n"):
        assert event.startswith("data: ") and "\n" not in event, event
        found.append(json.loads(event.removeprefix("data: ")))
    return found


def kind(event: dict[str, Any]) -> str:
    """The one thing that an event tells beside its number."""
    (name,) = event.keys() - {"sequence"}
    return name


def frame(message: bytes) -> bytes:
    """A gRPC message on the wire."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Flags and content of each frame of a gRPC-Web body. Raises AssertionError where one is cut off."""
    while body:
        size = int.from_bytes(body[1:5], "big")
        assert len(body) >= 5 + size, "the last frame is cut off"
        yield body[0], body[5 : 5 + size]
        body = body[5 + size :]


def trailers(content: bytes) -> dict[str, str]:
    """Those of a frame of trailers."""
    lines = content.decode().split("\r\n")
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


def from_text(body: str) -> bytes:
    """A body of gRPC-Web text: pieces of base64, each with a padding of its own."""
    return b"".join(base64.b64decode(body[at : at + 4]) for at in range(0, len(body), 4))


@dataclass(frozen=True)
class Failure:
    """An error as REST has it. `violations` are the fields that are named; `metadata` is the reason's."""

    status: int
    code: int
    message: str
    reason: str
    metadata: dict[str, str]
    violations: tuple[str, ...]
    retry_delay: str


def failure(answer: httpx.Response) -> Failure:
    """Raises AssertionError for what is no error in JSON with a reason of Weft's, and a request id."""
    assert answer.headers["content-type"] == "application/json", answer.text
    assert answer.headers["x-request-id"]
    body = answer.json()
    assert body.keys() == {"code", "message", "details"}, body
    details = {detail["@type"].removeprefix(_DETAIL): detail for detail in body["details"]}
    assert len(details) == len(body["details"])
    info = details["ErrorInfo"]
    assert info["domain"] == "weft"
    violations = tuple(violation["field"] for violation in details.get("BadRequest", {}).get("fieldViolations", ()))
    delay = details.get("RetryInfo", {}).get("retryDelay", "")
    return Failure(
        answer.status_code, body["code"], body["message"], info["reason"], info["metadata"], violations, delay
    )
