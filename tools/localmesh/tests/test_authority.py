"""The local authority: what it writes, when it renews, and what it does when something is spoilt."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from libs.testing.logged import logged
from tools.localmesh.authority import LOOK_EVERY_S, SETTLE_S, Authority, identities
from tools.localmesh.certificates import Pair, end_of, is_signed_by, make_leaf, make_root, read_pair
from tools.localmesh.workloads import Workload

NOW = 1_800_000_000.0
TTL_S = 60.0
ROOT_TTL_S = 86400.0
ACCOUNTS = {"rag": "spiffe://cluster.local/ns/weft/sa/rag", "gateway": "spiffe://cluster.local/ns/weft/sa/gateway"}


def authority(folder: Path, ttl_s: float = TTL_S) -> Authority:
    return Authority(folder / "authority", folder / "certificates", ttl_s=ttl_s, root_ttl_s=ROOT_TTL_S)


def leaf(folder: Path, account: str = "rag") -> Pair:
    found = read_pair(folder / "certificates" / f"{account}.pem")
    assert found
    return found


def roots(folder: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates((folder / "certificates" / "authorities.pem").read_bytes())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.pem")}


def test_a_certificate_says_who_somebody_is_and_nothing_else(tmp_path: Path) -> None:
    """One SPIFFE id, critical for want of a subject, P-256, and no right to sign."""
    authority(tmp_path).renew(ACCOUNTS, NOW)
    certificate = leaf(tmp_path).certificate
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert list(names.value) == [x509.UniformResourceIdentifier(ACCOUNTS["rag"])]
    assert not list(certificate.subject)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    both = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(both) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert end_of(certificate) == NOW + TTL_S
    assert is_signed_by(certificate, roots(tmp_path)[0])


def test_only_the_owner_reads_keys(tmp_path: Path) -> None:
    """Files and folders, also where somebody had opened them before."""
    authority(tmp_path).renew(ACCOUNTS, NOW)
    (tmp_path / "authority").chmod(0o755)
    (tmp_path / "authority" / "authority.pem").chmod(0o644)
    authority(tmp_path).renew(ACCOUNTS, NOW)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {
        "authority": 0o700,
        "certificates": 0o700,
        "authority.pem": 0o600,
        "authorities.pem": 0o600,
        "rag.pem": 0o600,
        "gateway.pem": 0o600,
    }


def test_the_authoritys_key_stays_in_its_folder(tmp_path: Path) -> None:
    """What proxies read has no more of it than the certificate."""
    authority(tmp_path).renew(ACCOUNTS, NOW)
    own = read_pair(tmp_path / "authority" / "authority.pem")
    assert own
    private = [serialization.load_pem_private_key(path.read_bytes(), None) for path in _keys(tmp_path)]
    assert own.key.public_key() not in [key.public_key() for key in private]
    assert b"PRIVATE" not in (tmp_path / "certificates" / "authorities.pem").read_bytes()


def _keys(folder: Path) -> list[Path]:
    return [folder / "certificates" / f"{account}.pem" for account in ACCOUNTS]


def test_certificates_are_renewed_at_half_of_their_life(tmp_path: Path) -> None:
    """Not before, and by a process that was started meanwhile as by the first."""
    again = authority(tmp_path, ttl_s=10.0).renew(ACCOUNTS, NOW)
    before = contents(tmp_path)
    assert again == NOW + 5.0
    authority(tmp_path, ttl_s=10.0).renew(ACCOUNTS, NOW + 4.9)
    assert contents(tmp_path) == before
    authority(tmp_path, ttl_s=10.0).renew(ACCOUNTS, again)
    after = contents(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {
        "certificates/rag.pem",
        "certificates/gateway.pem",
    }


def test_no_certificate_lives_longer_than_it_may(tmp_path: Path) -> None:
    """One that was made for longer, by another setting, goes at once; and none outlives who signed it."""
    authority(tmp_path, ttl_s=3600.0).renew(ACCOUNTS, NOW)
    authority(tmp_path, ttl_s=10.0).renew(ACCOUNTS, NOW)
    assert end_of(leaf(tmp_path).certificate) == NOW + 10.0
    signer = make_root("cluster.local", NOW, 5.0)
    assert end_of(make_leaf(ACCOUNTS["rag"], signer, NOW, 60.0).certificate) == NOW + 5.0


def test_a_clock_is_looked_at_often(tmp_path: Path) -> None:
    """However long certificates live: it may jump."""
    assert authority(tmp_path, ttl_s=3600.0).renew(ACCOUNTS, NOW) == NOW + LOOK_EVERY_S


@pytest.mark.parametrize("jump_s", [-30 * 86400.0, -3600.0, -1.0, 3600.0, 30 * 86400.0])
def test_after_a_jump_of_the_clock_all_certificates_are_good(tmp_path: Path, jump_s: float) -> None:
    """At the very next look, whichever way it went; by the same process."""
    mine = authority(tmp_path)
    mine.renew(ACCOUNTS, NOW)
    now = NOW + jump_s
    mine.renew(ACCOUNTS, now)
    trusted = roots(tmp_path)
    for account in ACCOUNTS:
        certificate = leaf(tmp_path, account).certificate
        assert certificate.not_valid_before_utc.timestamp() <= now < end_of(certificate)
        assert any(is_signed_by(certificate, root) for root in trusted)
    assert all(root.not_valid_before_utc.timestamp() <= now < end_of(root) for root in trusted)


def test_what_is_spoilt_is_made_anew(tmp_path: Path) -> None:
    """A file that is missing, that is no certificate, that is another's, or whose key is another's."""
    mine = authority(tmp_path)
    mine.renew(ACCOUNTS, NOW)
    file, other = _keys(tmp_path)
    good, others = file.read_bytes(), other.read_bytes()
    key = others[others.index(b"-----BEGIN PRIVATE") :]
    for spoilt in (None, b"", b"nonsense", others, good[: good.index(b"-----BEGIN PRIVATE")] + key):
        file.unlink() if spoilt is None else file.write_bytes(spoilt)
        mine.renew(ACCOUNTS, NOW)
        assert leaf(tmp_path).key.public_key() == leaf(tmp_path).certificate.public_key()
        names = leaf(tmp_path).certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert list(names) == [x509.UniformResourceIdentifier(ACCOUNTS["rag"])]
    assert other.read_bytes() == others


@pytest.mark.parametrize("spoil", ["missing", "nonsense", "soon over"])
def test_a_new_authority_is_trusted_before_it_is_used(tmp_path: Path, spoil: str) -> None:
    """The one before is trusted until proxies have read certificates of the new one; it is told why there is one."""
    mine = authority(tmp_path)
    mine.renew(ACCOUNTS, NOW)
    old = roots(tmp_path)
    now = NOW
    if spoil == "missing":
        (tmp_path / "authority" / "authority.pem").unlink()
    elif spoil == "nonsense":
        (tmp_path / "authority" / "authority.pem").write_text("nonsense")
    else:
        now = NOW + ROOT_TTL_S - 2 * TTL_S
        mine.renew(ACCOUNTS, now - 2 * SETTLE_S)
    before = leaf(tmp_path).certificate
    with logged() as lines:
        again = mine.renew(ACCOUNTS, now)
        assert [line["event"] for line in lines()] == ["authority_made"]
    trusted = roots(tmp_path)
    assert trusted[1:] == old
    assert leaf(tmp_path).certificate == before
    assert again == now + SETTLE_S
    again = mine.renew(ACCOUNTS, again + 0.1)
    assert is_signed_by(leaf(tmp_path).certificate, trusted[0])
    assert roots(tmp_path) == trusted
    mine.renew(ACCOUNTS, again + 0.1)
    assert roots(tmp_path) == trusted[:1]


def test_a_restart_in_between_ends_with_one_authority_too(tmp_path: Path) -> None:
    """What is on disk is enough to go on."""
    authority(tmp_path).renew(ACCOUNTS, NOW)
    (tmp_path / "authority" / "authority.pem").unlink()
    authority(tmp_path).renew(ACCOUNTS, NOW)
    second = authority(tmp_path)
    second.renew(ACCOUNTS, NOW)
    assert len(roots(tmp_path)) == 2
    second.renew(ACCOUNTS, NOW + SETTLE_S + 0.1)
    (root,) = roots(tmp_path)
    assert is_signed_by(leaf(tmp_path).certificate, root)


def test_an_authority_is_enough_for_a_new_account(tmp_path: Path) -> None:
    """One that has no certificate does not wait for anything."""
    mine = authority(tmp_path)
    mine.renew({"rag": ACCOUNTS["rag"]}, NOW)
    (tmp_path / "authority" / "authority.pem").unlink()
    mine.renew(ACCOUNTS, NOW)
    assert is_signed_by(leaf(tmp_path, "gateway").certificate, roots(tmp_path)[0])


def test_two_accounts_of_one_name_are_refused() -> None:
    """Their certificates would be one file."""
    workloads = [Workload("a", space, "same", {}, 1, {}, True) for space in ("one", "two")]
    outside = Workload("b", "three", "other", {}, 1, {}, False)
    assert identities([workloads[0], outside]) == {"same": "spiffe://cluster.local/ns/one/sa/same"}
    with pytest.raises(ValueError, match="service account same"):
        identities(workloads)
