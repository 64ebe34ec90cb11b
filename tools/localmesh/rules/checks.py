"""What only shows when all rules are there, and what Istio's own tools let pass."""

from __future__ import annotations

from tools.localmesh.problems import Problem
from tools.localmesh.rules.check_balancing import check_balancing
from tools.localmesh.rules.check_callers import check_callers
from tools.localmesh.rules.check_routing import check_routing
from tools.localmesh.rules.rules import Rules
from tools.localmesh.workloads import Registry


def check(rules: Rules, registry: Registry) -> list[Problem]:
    """Every mistake that is found, in the order of files and lines, each once."""
    found = [*check_routing(rules, registry), *check_balancing(rules, registry), *check_callers(rules, registry)]
    return sorted(set(found))
