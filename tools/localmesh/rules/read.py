"""All of `mesh/` as rules: each document by its kind, then what can only be seen when all are there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tools.localmesh.documents import Document, read_documents
from tools.localmesh.mesh import Rules
from tools.localmesh.problems import MeshError, Problem
from tools.localmesh.rules.authorization import read_authorization_policy
from tools.localmesh.rules.checks import check_rules
from tools.localmesh.rules.destination_rules import read_destination_rule
from tools.localmesh.rules.envoy_filters import read_envoy_filter
from tools.localmesh.rules.gateways import read_gateway
from tools.localmesh.rules.peer_authentication import read_peer_authentication
from tools.localmesh.rules.virtual_services import merge_delegates, read_virtual_service
from tools.localmesh.workloads import Registry

T = TypeVar("T")

API_VERSIONS = {
    "VirtualService": "networking.istio.io/v1",
    "DestinationRule": "networking.istio.io/v1",
    "Gateway": "networking.istio.io/v1",
    "EnvoyFilter": "networking.istio.io/v1alpha3",
    "PeerAuthentication": "security.istio.io/v1",
    "AuthorizationPolicy": "security.istio.io/v1",
}
"""The kinds that are supported, each in one version."""


def read_rules(folder: Path, registry: Registry) -> Rules:
    """The rules that the folder's kustomization lists. Raises MeshError with all problems that could be found."""
    documents = read_documents(folder)
