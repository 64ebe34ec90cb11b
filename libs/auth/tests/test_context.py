"""The signed context is believed only as it was sealed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from libs.auth.context import MARGIN_S, CallContext, ContextKeyError, read_context_key, seal, unseal
from libs.errors.errors import Reason, UnauthenticatedError

KEY = b"k" * 32
CONTEXT = CallContext("acme", "alice@example.com", "call-1", "request-ü", "high", 1_000.125, 4096, 17, "2.1", True)
NOW_S = 900.0


def refused(data: bytes, key: bytes = KEY, now_s: float = NOW_S) -> bool:
    with pytest.raises(UnauthenticatedError) as caught:
        unseal(data, key, now_s)
    return caught.value.reason is Reason.CONTEXT_REFUSED


def test_what_was_sealed_comes_back() -> None:
    """Every field survives; the deadline to the millisecond."""
    assert unseal(seal(CONTEXT, KEY), KEY, NOW_S) == CONTEXT


def test_any_changed_byte_is_refused() -> None:
    """No byte of a sealed context can be changed, taken away or added."""
    sealed = seal(CONTEXT, KEY)
    for place in range(len(sealed)):
        assert refused(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :])
        assert refused(sealed[:place])
    assert refused(sealed + b"\x00")


def test_another_key_is_refused() -> None:
    """A context sealed with another key is refused."""
    assert refused(seal(CONTEXT, b"x" * 32))


def test_a_context_ends_with_its_deadline() -> None:
    """It is good until the margin after its deadline, and not after."""
    sealed = seal(CONTEXT, KEY)
    assert unseal(sealed, KEY, CONTEXT.deadline_s + MARGIN_S) == CONTEXT
    assert refused(sealed, now_s=CONTEXT.deadline_s + MARGIN_S + 0.01)


def test_fields_cannot_flow_into_each_other() -> None:
    """Two contexts that differ only in where a name ends seal differently."""
    one = dataclasses.replace(CONTEXT, tenant="ab", principal="c")
    other = dataclasses.replace(CONTEXT, tenant="a", principal="bc")
    assert seal(one, KEY) != seal(other, KEY)


def test_what_cannot_be_sealed_is_told() -> None:
    """A name over 255 bytes, an unknown priority and a bound below 0 are ValueErrors."""
    with pytest.raises(ValueError, match="0 to 1000000"):
        seal(dataclasses.replace(CONTEXT, max_output_tokens=-1), KEY)
    with pytest.raises(ValueError, match="255 bytes, not 256"):
        seal(dataclasses.replace(CONTEXT, request_id="r" * 256), KEY)
    with pytest.raises(ValueError, match="priority"):
        seal(dataclasses.replace(CONTEXT, priority="urgent"), KEY)


@pytest.mark.parametrize("content", [None, "", "zz" * 32, "ab" * 31])
def test_a_bad_key_file_is_named(tmp_path: Path, content: str | None) -> None:
    """A key file that is missing, not hex or too short is an error that names it."""
    path = tmp_path / "context.key"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ContextKeyError, match=str(path)):
        read_context_key(path)


def test_a_key_file_is_read(tmp_path: Path) -> None:
    """64 hex digits, with a line's end, are the key."""
    path = tmp_path / "context.key"
    path.write_text(KEY.hex() + "\n")
    assert read_context_key(path) == KEY
