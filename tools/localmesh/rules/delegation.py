"""VirtualServices that hand on to others."""

from __future__ import annotations

from tools.localmesh.rules.virtual_services import VirtualService


def merge_delegates(virtual_services: list[VirtualService]) -> list[VirtualService]:
    """Those with hosts, in their order, with what their delegates say merged in. Raises MeshError for a delegate that
    is missing, has hosts, or contradicts its root."""
    raise NotImplementedError
