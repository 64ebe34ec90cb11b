"""A local certificate authority: what Istio's own does in a cluster.

Each service account gets a short-lived certificate that says who it is (SPIFFE X.509-SVID), renewed at half of its
life. The authority's key stays in its folder. Should the authority run out or be spoilt, another takes its place:
proxies trust it before certificates of it are used, and the one before until none of its certificates is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from libs.config.files import write_whole
from libs.telemetry import logs
from tools.localmesh.certificates import Pair, end_of, is_good, is_valid, make_leaf, make_root, read_pair
from tools.localmesh.workloads import CLUSTER_DOMAIN, Workload

LEAF_TTL_S = 3600.0
ROOT_TTL_S = 365 * 86400.0
SETTLE_S = 3.0
"""How long proxies may take to read a file that was replaced."""
LOOK_EVERY_S = 10.0
"""At least so often: the clock may have jumped."""

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
        looks = [now + LOOK_EVERY_S, end_of(signer.certificate) - self._root_margin_s]
        for account, identity in accounts.items():
            leaf = read_pair(self._certificates / f"{account}.pem")
            may_stay = leaf and (
                is_good(leaf.certificate, identity, roots, now)
                if settling
                else self._is_fresh(leaf.certificate, identity, signer.certificate, now)
            )
            if not leaf or not may_stay:
                leaf = self._issue(account, identity, signer, now)
                renewed = True
            looks.append(end_of(leaf.certificate) - self._ttl_s / 2)
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

    def _signer(self, now: float) -> Pair:
        path = self._folder / AUTHORITY
        found = read_pair(path)
        if found is None:
            why = "it cannot be used" if path.exists() else "there is none"
        elif not is_valid(found.certificate, now):
            why = "it is not good at this time"
        elif end_of(found.certificate) - now < self._root_margin_s:
            why = "it ends soon"
        else:
            path.chmod(0o600)
            return found
        made = make_root(CLUSTER_DOMAIN, now, self._root_ttl_s)
        write_whole(path, made.pem())
        logs.info("authority_made", why=why, until=made.certificate.not_valid_after_utc.isoformat())
        return made

    def _roots(self, now: float) -> list[x509.Certificate]:
        """Those that are trusted now and still good."""
        try:
            found = x509.load_pem_x509_certificates((self._certificates / AUTHORITIES).read_bytes())
        except (OSError, ValueError):
            return []
        return [root for root in found if is_valid(root, now)]

    def _trust(self, roots: Sequence[x509.Certificate], now: float) -> None:
        pem = b"".join(root.public_bytes(serialization.Encoding.PEM) for root in roots)
        write_whole(self._certificates / AUTHORITIES, pem)
        self._settled_at = now + SETTLE_S if len(roots) > 1 else 0.0

    def _is_fresh(self, leaf: x509.Certificate, identity: str, root: x509.Certificate, now: float) -> bool:
        """One that lives longer than it may was made before a clock was set back, or with another setting."""
        return is_good(leaf, identity, [root], now) and self._ttl_s / 2 < end_of(leaf) - now <= self._ttl_s

    def _issue(self, account: str, identity: str, signer: Pair, now: float) -> Pair:
        made = make_leaf(identity, signer, now, self._ttl_s)
        write_whole(self._certificates / f"{account}.pem", made.pem())
        return made
