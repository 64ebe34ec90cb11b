"""What calls cost whose tokens cannot be told: one token for each so many bytes."""

from __future__ import annotations

from libs.errors.errors import Reason, ResourceExhaustedError
from services.inference.domain.generation import Usage


class BytesCharge:
    """What one call has used of one model, in bytes of its requests and answers.

    `a_call`: tokens of input that each call costs beside its bytes.
    """

    def __init__(self, bytes_per_token: int, a_call: int = 0) -> None:
        self._bytes_per_token = bytes_per_token
        self._a_call = a_call
        self._read = self._written = 0

    def with_more(self, *, read: int = 0, written: int = 0) -> BytesCharge:
        """The charge after more bytes."""
        more = BytesCharge(self._bytes_per_token, self._a_call)
        more._read, more._written = self._read + read, self._written + written
        return more

    @property
    def usage(self) -> Usage:
        """In tokens, each direction rounded up."""
        return Usage(self._tokens(self._read) + self._a_call, self._tokens(self._written))

    @property
    def total_tokens(self) -> int:
        """Read and written together."""
        return self.usage.input_tokens + self.usage.output_tokens

    def _tokens(self, count: int) -> int:
        return -(-count // self._bytes_per_token)


def budget_exhausted(allowance_tokens: int) -> ResourceExhaustedError:
    """The error of a call that has used what was left for it."""
    return ResourceExhaustedError(
        Reason.BUDGET_EXHAUSTED,
        f"the {allowance_tokens} tokens that were left for this call are used up",
        metadata={"budget": "call/tokens"},
    )
