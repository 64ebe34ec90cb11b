"""The keys under which the catalogue is kept in Redis."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from libs.store.stamps import tenant_stamps

TENANTS = "weft:rag:tenants"
"""Every tenant that ever had a collection. Outside of the tenants' own keys, and only ever added to."""


@dataclass(frozen=True)
class CollectionKeys:
    """One collection's keys. A document id is in `ids` (for order), `documents` (records) and `versions` (current
    ones), or in none."""

    collection: str
    ids: str
    documents: str
    versions: str


class TenantKeys:
    """One tenant's keys. They share a hash tag, so that in a Redis Cluster scripts over several of them stay on one
    node."""

    def __init__(self, tenant: str) -> None:
        self._prefix = f"weft:rag:{{{quote(tenant, safe='')}}}"
        self.names = f"{self._prefix}:names"
        self.generation = f"{self._prefix}:generation"
        self.pending = f"{self._prefix}:pending"
        self.garbage = f"{self._prefix}:garbage"
        self.stamps = tenant_stamps(tenant)

    @staticmethod
    def stamp(collection: str) -> str:
        """The field of `stamps` that has the generation of the collection with this name. The scripts know it too."""
        return f"collection/{collection}"

    def of(self, collection: str) -> CollectionKeys:
        """The keys of the collection with this name."""
        base = f"{self._prefix}:c:{collection}"
        return CollectionKeys(base, f"{base}:ids", f"{base}:documents", f"{base}:versions")

    def request(self, request_id: str) -> str:
        """The ledger's key of a request id (a UUID, in any case)."""
        return f"{self._prefix}:request:{request_id.lower()}"
