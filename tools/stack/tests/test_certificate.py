"""A certificate that the edge cannot use is refused before anything is started."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tools.stack.certificate import check_certificate, name_to_ask_for
from tools.stack.part import StackError

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


def made(
    folder: Path,
    names: list[x509.GeneralName] | None = None,
    *,
    begins: datetime.datetime = NOW - DAY,
    password: bytes | None = None,
) -> tuple[Path, Path]:
    """The files of a self-signed certificate for two days, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "edge")])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(begins).not_valid_after(begins + 2 * DAY)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    files = folder / f"{key.public_key().public_numbers().x}.pem", folder / f"{key.public_key().public_numbers().x}.key"
    files[0].write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    return files


def refusal(certificate: Path, key: Path) -> str:
    with pytest.raises(StackError) as error:
        check_certificate(certificate, key)
    return str(error.value)


def test_a_good_pair_is_taken(tmp_path: Path) -> None:
    """Self-signed or not."""
    check_certificate(*made(tmp_path))


def test_what_is_wrong_is_named_with_its_file(tmp_path: Path) -> None:
    """A file that is not there, another's key, a key with a passphrase, no PEM, and a certificate of another time."""
    certificate, key = made(tmp_path)
    _, other = made(tmp_path)
    _, locked = made(tmp_path, password=b"x")
    text = tmp_path / "text"
    text.write_text("hello\n")
    assert refusal(certificate, tmp_path / "no") == f"--tls-key {tmp_path}/no cannot be read: No such file or directory"
    assert refusal(tmp_path / "no", key).startswith(f"--tls-certificate {tmp_path}/no cannot be read")
    assert refusal(certificate, other) == f"--tls-key {other} is not the key of the certificate {certificate}"
    assert refusal(certificate, locked) == f"--tls-key {locked} is no PEM of a private key without a passphrase"
    assert refusal(certificate, text) == f"--tls-key {text} is no PEM of a private key without a passphrase"
    assert refusal(text, key) == f"--tls-certificate {text} is no PEM of a certificate"
    old = made(tmp_path, begins=NOW - 3 * DAY)
    assert refusal(*old).startswith(f"--tls-certificate {old[0]} ended at ")
    early = made(tmp_path, begins=NOW + DAY)
    assert refusal(*early).startswith(f"--tls-certificate {early[0]} begins at ")


def test_who_dials_loopback_asks_for_a_name_of_the_certificate(tmp_path: Path) -> None:
    """Unless it is for loopback itself; one that is for nobody is refused."""
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    name, wildcard = x509.DNSName("weft.example"), x509.DNSName("*.weft.example")
    assert name_to_ask_for(made(tmp_path, [name])[0]) == "weft.example"
    assert name_to_ask_for(made(tmp_path, [wildcard])[0]) == "edge.weft.example"
    assert name_to_ask_for(made(tmp_path, [name, loopback])[0]) is None
    with pytest.raises(StackError, match="is neither for a name nor for"):
        name_to_ask_for(made(tmp_path)[0])
