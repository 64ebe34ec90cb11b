"""What of an AuthorizationPolicy only shows in the filter: other tests ask a real Envoy, or compare with istiod."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.localmesh.envoy.rbac import ALLOW_FILTER, DENY_FILTER, rbac_filters, rbac_per_route
from tools.localmesh.envoy.tests.lab import a_mesh, policy, security


def rule(folder: Path, text: str, port: int = 8080, listens: int | None = None) -> Any:
    """The first rule of a DENY for a pod."""
    mesh = a_mesh(folder, security(folder / "rules", policy(f"{{action: DENY, rules: [{text}]}}")))
    found = rbac_per_route(mesh, mesh.pods[0], port, listens)[DENY_FILTER]["rbac"]["rules"]["policies"]
    return next(iter(found.values()))


def test_what_meets_no_route_is_refused() -> None:
    """Without a configuration of its route nobody is let in."""
    found = {each["name"]: each["typed_config"] for each in rbac_filters()}
    assert found[ALLOW_FILTER]["rules"] == {"action": "ALLOW", "policies": {}}


def test_a_port_is_the_gateways_and_not_the_one_that_a_laptop_listens_on(tmp_path: Path) -> None:
    """Where the edge of a laptop listens is no port of the rules: one that is written so matches nothing."""

    def ports(text: str) -> Any:
        found = rule(tmp_path, f'{{to: [{{operation: {{ports: ["{text}"]}}}}]}}', 8080, 7700)
        return found["permissions"][0]["and_rules"]["rules"][0]["or_rules"]["rules"][0]

    assert ports("8080") == {"destination_port": 7700}
    assert ports("7700") == {"not_rule": {"any": True}}
    assert ports("9090") == {"destination_port": 9090}


def test_the_end_of_a_principal_is_a_text(tmp_path: Path) -> None:
    """What a regular expression would take for more than itself is quoted."""
    found = rule(tmp_path, '{from: [{source: {principals: ["*/sa/a.b"]}}]}')
    (name,) = found["principals"][0]["and_ids"]["ids"][0]["or_ids"]["ids"]
    assert name == {"authenticated": {"principal_name": {"safe_regex": {"regex": r"spiffe://.*/sa/a\.b"}}}}
