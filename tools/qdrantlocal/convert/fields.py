"""Nothing is ignored in silence: a field that is set and not served is refused by its name."""

import uuid
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message
from qdrant_client.grpc import qdrant_common_pb2

from tools.qdrantlocal.errors import invalid, unsupported

PointId = int | uuid.UUID | str

# They change no answer: one engine runs all requests in order, and the call's deadline is the timeout.
WITHOUT_EFFECT = ("ordering", "read_consistency", "timeout")


def only(message: Message, *served: str) -> None:
    """Refuses the message if a field other than the served ones is set; a switch set to off asks for nothing."""
    for field, value in message.ListFields():
        if field.name not in served and field.name not in WITHOUT_EFFECT and value is not False:
            raise unsupported(f"{message.DESCRIPTOR.name}.{field.name}")


def given(message: Message, *names: str) -> dict[str, Any]:
    """The optional fields that are set, by name."""
    return {name: getattr(message, name) for name in names if message.HasField(name)}


def point_id(message: qdrant_common_pb2.PointId) -> PointId:
    """A number, or a UUID in its usual spelling."""
    kind = message.WhichOneof("point_id_options")
    if kind is None:
        raise invalid("a point has no id: use a number or a UUID")
    if kind == "num":
        return message.num
    try:
        return str(uuid.UUID(message.uuid))
    except ValueError:
        raise invalid(f"Unable to parse UUID: {message.uuid!r}") from None


def point_ids(messages: Sequence[qdrant_common_pb2.PointId]) -> list[PointId]:
    return [point_id(message) for message in messages]


def put_point_id(target: qdrant_common_pb2.PointId, value: object) -> None:
    if isinstance(value, int):
        target.num = value
    else:
        target.uuid = str(value)
