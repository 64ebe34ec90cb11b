"""Certificates of the mesh: an authority's, and those that say who somebody is (SPIFFE X509-SVID), with P-256 keys."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LEAF_BACKDATED_S = 300.0
"""Certificates are good from a little before they are made: a clock may be set back a little."""
ROOT_BACKDATED_S = 86400.0


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def pem(self) -> bytes:
        encoding = serialization.Encoding.PEM
        key = self.key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return self.certificate.public_bytes(encoding) + key


def make_root(organization: str, now: float, ttl_s: float) -> Pair:
    """An authority that signs others itself, for so long from `now` on (Unix seconds)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            # Two of one name, and a proxy might try only one of them.
            x509.NameAttribute(NameOID.COMMON_NAME, f"Local mesh {x509.random_serial_number():x}"),
        ]
    )
    usage = {**_NO_USAGE, "key_cert_sign": True, "crl_sign": True}
    builder = (
        _builder(key, now - ROOT_BACKDATED_S, now + ttl_s)
        .subject_name(name)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
    )
    return Pair(builder.sign(key, hashes.SHA256()), key)


def make_leaf(identity: str, signer: Pair, now: float, ttl_s: float) -> Pair:
    """As SPIFFE's X509-SVID asks: one URI, critical as there is no subject, and no right to sign others.

    Lives no longer than its signer.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(key, now - LEAF_BACKDATED_S, min(now + ttl_s, end_of(signer.certificate)))
        .subject_name(x509.Name([]))
        .issuer_name(signer.certificate.subject)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**{**_NO_USAGE, "digital_signature": True}), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
    )
    return Pair(builder.sign(signer.key, hashes.SHA256()), key)


def _builder(key: ec.EllipticCurvePrivateKey, start: float, end: float) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .public_key(key.public_key())
        .not_valid_before(datetime.datetime.fromtimestamp(int(start), datetime.UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(int(end), datetime.UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def read_pair(path: Path) -> Pair | None:
    """None for what is no certificate of ours with its own key."""
    try:
        pem = path.read_bytes()
        certificate = x509.load_pem_x509_certificate(pem)
        key = serialization.load_pem_private_key(pem, None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    return Pair(certificate, key)


def is_good(leaf: x509.Certificate, identity: str, roots: Iterable[x509.Certificate], now: float) -> bool:
    """Whether proxies that trust these roots take it for this identity."""
    return is_valid(leaf, now) and identity_of(leaf) == identity and any(is_signed_by(leaf, root) for root in roots)


def is_signed_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def identity_of(certificate: x509.Certificate) -> str | None:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if len(uris) == 1 else None


def is_valid(certificate: x509.Certificate, now: float) -> bool:
    return certificate.not_valid_before_utc.timestamp() <= now < end_of(certificate)


def end_of(certificate: x509.Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()


_NO_USAGE = dict.fromkeys(
    (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ),
    False,
)
