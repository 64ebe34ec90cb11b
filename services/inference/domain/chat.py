"""A conversation, and the rules that it must keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from libs.errors.errors import invalid_field

MAX_CHARACTERS = 262_144


class Role(StrEnum):
    """Who speaks; the values are the names that prompt formats use."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn."""

    role: Role
    content: str


def check_conversation(messages: Sequence[Message]) -> None:
    """Raises InvalidArgumentError where the last turn is not the user's, or all are too long together."""
    if messages[-1].role is not Role.USER:
        raise invalid_field(f"prompt.messages[{len(messages) - 1}].role", "the last turn must be the user's")
    characters = sum(len(message.content) for message in messages)
    if characters > MAX_CHARACTERS:
        raise invalid_field(
            "prompt.messages", f"has {characters} characters together; at most {MAX_CHARACTERS} are taken"
        )
