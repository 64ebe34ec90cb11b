"""A local certificate authority: what Istio's own does in a cluster.

Each service account gets a short-lived certificate that says who it is (SPIFFE X.509-SVID), renewed at half of its
life. The authority's key stays in its folder. Should the authority run out or be spoilt, another takes its place: proxies
trust it before certificates of it are used, and the one before until none of its certificates is.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from libs.config.files import write_whole
from libs.telemetry import logs
from tools.localmesh.workloads import CLUSTER_DOMAIN, Workload

LEAF_TTL_S = 3600.0
ROOT_TTL_S = 365 * 86400.0
SETTLE_S = 3.0
"""How long proxies may take to read a file that was replaced."""
LOOK_EVERY_S = 10.0
"""At least so often: the clock may have jumped."""
BACKDATED_S = 300.0
"""Certificates are good from a little before they are made: a clock may be set back a little."""

ROOT_BACKDATED_S = 86400.0

AUTHORITY = "authority.pem"
AUTHORITIES = "authorities.pem"


def identities(workloads: Iterable[Workload]) -> dict[str, str]:
    """Who each service account in the mesh is (SPIFFE). ValueError for two of one name, who would share a file."""
    found: dict[str, str] = {}
    for workload in workloads:
        if workload.in_mesh and found.setdefault(workload.service_account, workload.identity) != workload.identity:
            raise ValueError(f"two namespaces have a service account {workload.service_account}; rename one")
    return found


class Authority:
    """Keeps `SA.pem` (chain and key) for each account, and `authorities.pem`, in the folder `certificates`.

    All files are their owner's only, and are replaced whole. What is on disk is all there is to know: a restart, or
    another's hand, changes nothing.
    """

    def __init__(
        self, folder: Path, certificates: Path, *, ttl_s: float = LEAF_TTL_S, root_ttl_s: float = ROOT_TTL_S
    ) -> None:
        """`folder` is the authority's own. Makes both folders."""
        self._folder = folder
        self._certificates = certificates
        self._ttl_s = ttl_s
        self._root_ttl_s = root_ttl_s
        self._settled_at = 0.0
        for path in (folder, certificates):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)

    def renew(self, accounts: Mapping[str, str], now: float) -> float:
        """Writes what is due for these accounts (name -> SPIFFE id); answers when to be called again, at the latest.

        Both in Unix seconds. Raises OSError where a file cannot be written.
        """
        signer = self._signer(now)
        roots = self._roots(now)
        if signer.certificate not in roots:
            roots = [signer.certificate, *roots]
            self._trust(roots, now)
        settling = 0 < self._settled_at - now <= SETTLE_S
        renewed = False
        looks = [now + LOOK_EVERY_S, _end(signer.certificate) - self._root_margin_s]
        for account, identity in accounts.items():
            leaf = _read(self._certificates / f"{account}.pem")
            may_stay = leaf and (
                _is_good(leaf.certificate, identity, roots, now)
                if settling
                else self._is_fresh(leaf.certificate, identity, signer.certificate, now)
            )
            if not leaf or not may_stay:
                leaf = self._issue(account, identity, signer, now)
                renewed = True
            looks.append(_end(leaf.certificate) - self._ttl_s / 2)
        if len(roots) > 1 and not settling:
            if renewed:
                self._settled_at = now + SETTLE_S
            else:
                self._trust([signer.certificate], now)
        if self._settled_at > now:
            looks.append(self._settled_at)
        return max(min(looks), now)

    @property
    def _root_margin_s(self) -> float:
        """How long before its end an authority is replaced: none of its certificates lives longer."""
        return 2 * self._ttl_s + SETTLE_S

    def _signer(self, now: float) -> _Pair:
        path = self._folder / AUTHORITY
        found = _read(path)
        if found is None:
            why = "it cannot be used" if path.exists() else "there is none"
        elif not _is_valid(found.certificate, now):
            why = "it is not good at this time"
        elif _end(found.certificate) - now < self._root_margin_s:
            why = "it ends soon"
        else:
            path.chmod(0o600)
            return found
        made = _make_root(now, self._root_ttl_s)
        write_whole(path, made.pem())
        logs.info("authority_made", why=why, until=made.certificate.not_valid_after_utc.isoformat())
        return made

    def _roots(self, now: float) -> list[x509.Certificate]:
        """Those that are trusted now and still good."""
        try:
            found = x509.load_pem_x509_certificates((self._certificates / AUTHORITIES).read_bytes())
        except (OSError, ValueError):
            return []
        return [root for root in found if _is_valid(root, now)]

    def _trust(self, roots: Sequence[x509.Certificate], now: float) -> None:
        pem = b"".join(root.public_bytes(serialization.Encoding.PEM) for root in roots)
        write_whole(self._certificates / AUTHORITIES, pem)
        self._settled_at = now + SETTLE_S if len(roots) > 1 else 0.0

    def _is_fresh(self, leaf: x509.Certificate, identity: str, root: x509.Certificate, now: float) -> bool:
        """One that lives longer than it may was made before a clock was set back, or with another setting."""
        return _is_good(leaf, identity, [root], now) and self._ttl_s / 2 < _end(leaf) - now <= self._ttl_s

    def _issue(self, account: str, identity: str, signer: _Pair, now: float) -> _Pair:
        made = _make_leaf(identity, signer, now, self._ttl_s)
        write_whole(self._certificates / f"{account}.pem", made.pem())
        return made


@dataclass(frozen=True)
class _Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def pem(self) -> bytes:
        encoding = serialization.Encoding.PEM
        key = self.key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return self.certificate.public_bytes(encoding) + key


def _make_root(now: float, ttl_s: float) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, CLUSTER_DOMAIN),
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
    return _Pair(builder.sign(key, hashes.SHA256()), key)


def _make_leaf(identity: str, signer: _Pair, now: float, ttl_s: float) -> _Pair:
    """As SPIFFE's X509-SVID asks: one URI, critical as there is no subject, and no right to sign others."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(key, now - BACKDATED_S, min(now + ttl_s, _end(signer.certificate)))
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
    return _Pair(builder.sign(signer.key, hashes.SHA256()), key)


def _builder(key: ec.EllipticCurvePrivateKey, start: float, end: float) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .public_key(key.public_key())
        .not_valid_before(datetime.datetime.fromtimestamp(int(start), datetime.UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(int(end), datetime.UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _read(path: Path) -> _Pair | None:
    """None for what is no certificate of ours with its own key."""
    try:
        pem = path.read_bytes()
        certificate = x509.load_pem_x509_certificate(pem)
        key = serialization.load_pem_private_key(pem, None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    return _Pair(certificate, key)


def _is_good(leaf: x509.Certificate, identity: str, roots: Iterable[x509.Certificate], now: float) -> bool:
    """Whether proxies that trust these roots take it for this identity."""
    return _is_valid(leaf, now) and _identity(leaf) == identity and any(_signed(leaf, root) for root in roots)


def _signed(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _identity(certificate: x509.Certificate) -> str | None:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if len(uris) == 1 else None


def _is_valid(certificate: x509.Certificate, now: float) -> bool:
    return certificate.not_valid_before_utc.timestamp() <= now < _end(certificate)


def _end(certificate: x509.Certificate) -> float:
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
