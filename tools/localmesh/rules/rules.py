"""All rules together."""

from __future__ import annotations

from dataclasses import dataclass

from tools.localmesh.rules.authorization import AuthorizationPolicy
from tools.localmesh.rules.destination_rules import DestinationRule
from tools.localmesh.rules.envoy_filters import EnvoyFilter
from tools.localmesh.rules.gateways import Gateway
from tools.localmesh.rules.peer_authentication import PeerAuthentication
from tools.localmesh.rules.virtual_services import VirtualService


@dataclass(frozen=True)
class Rules:
    """What `mesh/` says. VirtualServices have their delegates merged in."""

    virtual_services: tuple[VirtualService, ...] = ()
    destination_rules: tuple[DestinationRule, ...] = ()
    peer_authentications: tuple[PeerAuthentication, ...] = ()
    authorization_policies: tuple[AuthorizationPolicy, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    envoy_filters: tuple[EnvoyFilter, ...] = ()
