"""Whether a service that was called has said on which version of its model the answer depends."""

from __future__ import annotations

from typing import Any

from libs.contracts import headers


async def is_stamped(call: Any) -> bool:
    """Of a call that ended well. libs.rpc has collected then what was said."""
    return any(name == headers.DEPENDS for name, _ in await call.trailing_metadata() or ())
