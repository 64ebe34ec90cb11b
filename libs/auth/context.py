"""The signed context: for whom an inner service works, said by the gateway, believed by its signature alone."""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from pathlib import Path

from libs.contracts.headers import MAX_TOKENS_LIMIT, PRIORITIES
from libs.errors.errors import Reason, UnauthenticatedError

KEY_BYTES = 32
MAX_NAME_BYTES = 255
MARGIN_S = 5.0
"""A context is good for so long after its deadline: clocks differ, and the deadline itself ends the call."""

_VERSION = b"\x02"
_NUMBERS = struct.Struct(">QBIqB")
_UNLIMITED = -1
_MAY_FALL_BACK = 1
_MAC_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class CallContext:
    """Whose call this is. `deadline_s` is Unix time; `priority` is one of PRIORITIES; names have at most 255 bytes.

    `max_output_tokens`: most tokens that the call may write, up to MAX_TOKENS_LIMIT; 0 where the caller set no bound.
    `allowance_tokens`: most tokens that the call may use, read and written together; None: as many as it takes.
    `path`: "" for the call that the gateway made, "2" for the second call made under that, "2.1" for this one's first.
    `may_fall_back`: another model may stand in for the one that was asked for.
    """

    tenant: str
    principal: str
    call_id: str
    request_id: str
    priority: str
    deadline_s: float
    max_output_tokens: int = 0
    allowance_tokens: int | None = None
    path: str = ""
    may_fall_back: bool = False


class ContextKeyError(Exception):
    """The key of the signed context cannot be used; the message names its file and the remedy."""


def read_context_key(path: Path) -> bytes:
    """The key in a file of 64 hex digits. Raises ContextKeyError."""
    try:
        key = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise ContextKeyError(
            f"{path}: cannot be read as a key ({error}); it takes {2 * KEY_BYTES} hex digits"
        ) from None
    if len(key) != KEY_BYTES:
        raise ContextKeyError(f"{path}: has {len(key)} bytes; the key of the signed context has {KEY_BYTES}, in hex")
    return key


def seal(context: CallContext, key: bytes) -> bytes:
    """The context with its signature, for the header `weft-context-bin`. Raises ValueError for what cannot be sealed.

    Format: version (1 byte), deadline (Unix milliseconds, 8 bytes), priority (1 byte, its place in PRIORITIES), most
    output tokens (4 bytes), allowance (8 bytes, -1 for none), flags (1 byte; 1: may fall back), then tenant, principal,
    call id, request id and path (a length byte and UTF-8 each), then HMAC-SHA256 of all that. Another set of fields is
    another version.
    """
    if context.priority not in PRIORITIES:
        raise ValueError(f"a call context's priority is one of {', '.join(PRIORITIES)}, not {context.priority!r}")
    if not 0 <= context.max_output_tokens <= MAX_TOKENS_LIMIT:
        raise ValueError(f"a call context's max_output_tokens is 0 to {MAX_TOKENS_LIMIT}")
    allowance = _UNLIMITED if context.allowance_tokens is None else context.allowance_tokens
    if allowance < 0 and context.allowance_tokens is not None:
        raise ValueError("a call context's allowance_tokens is None, or 0 and more")
    numbers = _NUMBERS.pack(
        int(context.deadline_s * 1000),
        PRIORITIES.index(context.priority),
        context.max_output_tokens,
        allowance,
        _MAY_FALL_BACK if context.may_fall_back else 0,
    )
    parts = [_VERSION, numbers]
    for name in (context.tenant, context.principal, context.call_id, context.request_id, context.path):
        data = name.encode()
        if len(data) > MAX_NAME_BYTES:
            raise ValueError(f"a name in a call context has at most {MAX_NAME_BYTES} bytes, not {len(data)}")
        parts += (bytes((len(data),)), data)
    payload = b"".join(parts)
    return payload + _mac(payload, key)


def unseal(data: bytes, key: bytes, now_s: float) -> CallContext:
    """What `seal` was given. Raises UnauthenticatedError (CONTEXT_REFUSED) for anything else, or out of date."""
    payload, mac = data[:-_MAC_BYTES], data[-_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(payload, key)):
        raise refused("its signature is not the gateway's")
    if payload[:1] != _VERSION:
        raise refused("its version is not known")
    context = _parse(payload)
    if now_s > context.deadline_s + MARGIN_S:
        raise refused("it is out of date")
    return context


def refused(why: str) -> UnauthenticatedError:
    """The error of a call whose context is missing or not to be believed."""
    return UnauthenticatedError(
        Reason.CONTEXT_REFUSED, f"the call has no valid signed context ({why}): call the gateway, not this service"
    )


def _mac(payload: bytes, key: bytes) -> bytes:
    return hmac.digest(key, payload, "sha256")


def _parse(payload: bytes) -> CallContext:
    deadline_ms, priority, max_output_tokens, allowance, flags = _NUMBERS.unpack_from(payload, 1)
    names, at = [], 1 + _NUMBERS.size
    for _ in range(5):
        end = at + 1 + payload[at]
        names.append(payload[at + 1 : end].decode())
        at = end
    tenant, principal, call_id, request_id, path = names
    return CallContext(
        tenant,
        principal,
        call_id,
        request_id,
        PRIORITIES[priority],
        deadline_ms / 1000,
        max_output_tokens,
        None if allowance == _UNLIMITED else allowance,
        path,
        bool(flags & _MAY_FALL_BACK),
    )
