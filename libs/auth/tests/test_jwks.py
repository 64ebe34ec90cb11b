"""Which keys of a key set are taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from libs.auth.jwks import JwksError, published_jwks, read_jwks
from libs.auth.tests.signing import KEYS, jwk, write

ED, ES = jwk("EdDSA", KEYS["EdDSA"], "ed"), jwk("ES256", KEYS["ES256"], "es")
SOURCE = "https://id.test/jwks.json"


def published(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_a_file_with_a_kid_twice_is_refused(tmp_path: Path) -> None:
    """Which of the two a token means cannot be told: the error names the file and the kid."""
    path = tmp_path / "jwks.json"
    write(path, ED, {**ES, "kid": "ed"})
    with pytest.raises(JwksError, match=rf"{path}.*same kid: ed"):
        read_jwks(path)


def test_of_a_published_kid_that_is_there_twice_none_is_taken() -> None:
    """The other keys are."""
    assert list(published_jwks(published(ED, {**ES, "kid": "ed"}, ES), SOURCE)) == ["es"]


@pytest.mark.parametrize(
    "other",
    [
        {**ES, "use": "enc"},
        {name: value for name, value in ES.items() if name != "kid"},
        {**ES, "kid": 7},
        {**ES, "crv": "P-384"},
        {**ES, "x": "AA"},
        {**ES, "alg": "ES512"},
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
        {"kid": "nothing"},
    ],
)
def test_published_keys_that_are_not_for_us_are_left_out(other: dict[str, Any]) -> None:
    """A provider's key for encryption, of another kind, broken or nameless does no harm to its others."""
    assert list(published_jwks(published(other, ED), SOURCE)) == ["ed"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys": 1}',
        b'{"keys": []}',
        b'{"keys": ["a"]}',
        b"\xff",
        published({"kid": "a"}),
    ],
)
def test_a_key_set_without_a_key_is_an_error(content: bytes) -> None:
    """It names the source."""
    with pytest.raises(JwksError, match=SOURCE):
        published_jwks(content, SOURCE)


def test_the_same_material_is_the_same_key() -> None:
    """Read again, a key is equal to what it was; another one under its kid is not."""
    one, again = (published_jwks(published(ED), SOURCE)["ed"] for _ in range(2))
    assert one == again
    assert one != published_jwks(published({**ES, "kid": "ed"}), SOURCE)["ed"]
