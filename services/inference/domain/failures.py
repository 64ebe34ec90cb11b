"""What the inference server and its models say when they fail. They say it in words: there is no other sign."""

from __future__ import annotations

import re

_DEAD_PROCESS = re.compile(r"Stub process '(?P<instance>[^']+)' is not healthy")
_INSTANCE_NUMBERS = re.compile(r"(?:_\d+){1,2}$")
_UNKNOWN_MODEL = re.compile(r"Request for unknown model: '[^']*' (?:version \S+ )?is not found")
_NOT_READY = re.compile(r"has no available versions|is not at ready state|is not ready")
_TOO_LONG = (
    # The extractive model.
    re.compile(r"text_input: \d+ tokens, of (?P<limit>\d+) for prompt and answer together"),
    # vLLM, in the words of its versions.
    re.compile(r"prompt \(length \d+\) is longer than the maximum model length of (?P<limit>\d+)"),
    re.compile(r"maximum context length is (?P<limit>\d+) tokens"),
    re.compile(r"[Pp]rompt \(\d+ tokens\) is too long and exceeds limit of (?P<limit>\d+)"),
)

DEAD_PROCESS_MARK = b" is not healthy"
"""Bytes that stand in every message in which `dead_process` finds something."""


def dead_process(message: str) -> str | None:
    """The model whose process the message says is dead; None where it says no such thing.

    Triton names the instance: the model with one or two numbers, or a name of the model's instance group.
    """
    match = _DEAD_PROCESS.search(message)
    return _INSTANCE_NUMBERS.sub("", match["instance"]) if match else None


def is_unknown_model(message: str) -> bool:
    """Whether it says that there is no such model."""
    return _UNKNOWN_MODEL.search(message) is not None


def is_not_ready(message: str) -> bool:
    """Whether it says that the model is there, but not loaded."""
    return _NOT_READY.search(message) is not None


def prompt_limit(message: str) -> str | None:
    """The most tokens of a prompt, where the message says that it has more; else None."""
    for pattern in _TOO_LONG:
        if match := pattern.search(message):
            return match["limit"]
    return None


def is_unreadable(message: str) -> bool:
    """Whether the server says that a body is no message of the method's type; it calls that an internal error."""
    return "Unable to parse request" in message
