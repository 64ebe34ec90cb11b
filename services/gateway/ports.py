"""What admission needs of the world."""

from __future__ import annotations

from typing import Protocol

from libs.auth.tokens import Principal


class TokenVerifier(Protocol):
    """Tells who a token speaks for."""

    def verify(self, token: str, now_s: float) -> Principal:
        """Raises UnauthenticatedError TOKEN_MALFORMED, TOKEN_EXPIRED or TOKEN_REFUSED."""
        ...
