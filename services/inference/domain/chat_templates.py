"""Conversations as the text that a model continues. Only the template writes a model's control tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from services.inference.domain.chat import Message, Role

ChatTemplate = Callable[[Sequence[Message]], str]

DEFAULT_TEMPLATE = "chatml"

_CONTROL_TOKEN = re.compile(r"<\|(?=[^<>|\s]*\|>)")


def plain_text(content: str) -> str:
    """`content` without control tokens: a space after the `<` of each `<|name|>` makes plain text of it.

    Else a document or a user could end their turn and speak as somebody else.
    """
    return _CONTROL_TOKEN.sub("< |", content)


def render_chatml(messages: Sequence[Message]) -> str:
    """ChatML (github.com/openai/openai-python, chatml.md), open for the assistant's turn. Qwen 2.5 and others."""
    turns = "".join(f"<|im_start|>{message.role}\n{plain_text(message.content)}<|im_end|>\n" for message in messages)
    return f"{turns}<|im_start|>{Role.ASSISTANT}\n"


def render_llama3(messages: Sequence[Message]) -> str:
    """Llama 3's prompt format (llama.com/docs), open for the assistant's turn; contents are trimmed, as it says.

    Without `<|begin_of_text|>`: vLLM puts that before every prompt by itself.
    """
    turns = "".join(
        f"{_llama3_header(message.role)}{plain_text(message.content.strip())}<|eot_id|>" for message in messages
    )
    return turns + _llama3_header(Role.ASSISTANT)


def _llama3_header(role: Role) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n"


TEMPLATES: Mapping[str, ChatTemplate] = {"chatml": render_chatml, "llama3": render_llama3}
"""By the name that a model's parameter `chat_template` has."""
