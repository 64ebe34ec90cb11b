import json
import stat
from pathlib import Path

import jwt
import pytest

from libs.auth.keys import KeyFileError, create_keys


def test_a_token_signed_with_the_key_verifies_with_the_published_one(tmp_path: Path) -> None:
    """What the private key signs is verified with the JWKS entry of its `kid`, and with no private part in it."""
    keys = create_keys(tmp_path / "keys")
    token = jwt.encode({"sub": "a"}, keys.signing_key_file.read_text(), "EdDSA", {"kid": keys.key_id})
    published = jwt.PyJWKSet.from_json(keys.jwks_file.read_text())[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, published, ["EdDSA"]) == {"sub": "a"}
    assert "d" not in json.loads(keys.jwks_file.read_text())["keys"][0]


def test_keys_stay_as_they_are(tmp_path: Path) -> None:
    """A second call changes no byte; a lost public file is made again from the private one."""
    first = create_keys(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    first.jwks_file.unlink()
    assert create_keys(tmp_path) == first
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    """The folder is entered, and its files are read, by their owner alone, also where the folder was open before."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o755)
    create_keys(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["signing.pem", "context.key"])
def test_a_spoilt_key_file_is_named(tmp_path: Path, name: str) -> None:
    """A key file that cannot be used is refused by name with the remedy, not replaced."""
    (tmp_path / name).write_text("spoilt")
    with pytest.raises(KeyFileError, match=f"{name}.*delete it"):
        create_keys(tmp_path)
    assert (tmp_path / name).read_text() == "spoilt"


def test_the_context_key_has_32_bytes(tmp_path: Path) -> None:
    """The key of the signed context is 32 random bytes in hex, another for each installation."""
    keys = [create_keys(tmp_path / name).context_key_file.read_text() for name in ("a", "b")]
    assert [len(bytes.fromhex(key)) for key in keys] == [32, 32]
    assert keys[0] != keys[1]
