"""The certificate with which the edge of a stack speaks TLS."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from tools.stack.part import LOOPBACK, StackError


def check_certificate(certificate: Path, key: Path) -> None:
    """Raises StackError where a file cannot be read, is no PEM, or has a passphrase, where the two do not belong
    together, and where the certificate is not valid now."""
    for option, file in (("--tls-certificate", certificate), ("--tls-key", key)):
        try:
            file.read_bytes()
        except OSError as error:
            raise StackError(f"{option} {file} cannot be read: {error.strerror}") from None
    found = _leaf(certificate)
    try:
        # An empty passphrase: without one OpenSSL would ask for it on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise StackError(f"--tls-key {key} is not the key of the certificate {certificate}") from None
        raise StackError(f"--tls-key {key} is no PEM of a private key without a passphrase") from None
    now = datetime.now(UTC)
    if now > found.not_valid_after_utc:
        raise StackError(f"--tls-certificate {certificate} ended at {found.not_valid_after_utc:%F %T} UTC: renew it")
    if now < found.not_valid_before_utc:
        raise StackError(f"--tls-certificate {certificate} begins at {found.not_valid_before_utc:%F %T} UTC")


def name_to_ask_for(certificate: Path) -> str | None:
    """A name that the certificate is for, for who dials the stack on loopback; None where it is for that address.

    Raises StackError where it is for nobody.
    """
    try:
        names = _leaf(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    if ipaddress.ip_address(LOOPBACK) in names.get_values_for_type(x509.IPAddress):
        return None
    found: list[str] = names.get_values_for_type(x509.DNSName)
    if not found:
        raise StackError(f"--tls-certificate {certificate} is neither for a name nor for {LOOPBACK} (subjectAltName)")
    return found[0].replace("*", "edge", 1)


def _leaf(certificate: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes())
    except ValueError:
        raise StackError(f"--tls-certificate {certificate} is no PEM of a certificate") from None
