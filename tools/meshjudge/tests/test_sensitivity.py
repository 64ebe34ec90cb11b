"""That the comparison looks at everything: what changes in a configuration changes its meaning, or is in the list."""

import copy
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest

from tools.localmesh.mesh import Mesh
from tools.localmesh.rules.read import read_rules
from tools.localmesh.translate import Resources, translate
from tools.localmesh.workloads import read_registry
from tools.meshjudge import golden
from tools.meshjudge.local import CERTIFICATES, HTTPS_EDGE, translated_parts
from tools.meshjudge.meaning.ignored import IGNORED, IGNORED_FILTERS
from tools.meshjudge.meaning.listeners import manager_of
from tools.meshjudge.meaning.message import UnreadError, reading
from tools.meshjudge.world import world_pods

PODS = ("edge-0", "gateway-0", "rag-0")
Path = tuple[str | int, ...]

MOST_TRIED = 40
"""Of leaves at the same place in messages: some say nothing where they stand, such as the weight of an only share."""
IGNORED_ANYWHERE = {
    *(field for ignored in IGNORED.values() for field in ignored),
    # Where a resource or a file is looked for; that both ends agree is tested with a real Envoy.
    "config_source",
    "watched_directory",
    # Too long to be told; compared word for word in test_golden.py.
    "proto_descriptor_bin",
} - {"address", "domains", "filter_enabled", "health_status", "load_balancing_weight", "metadata", "name"}
"""Fields without a meaning in whatever message; those that are taken away mean something in another one."""
WITHOUT_EFFECT = {
    "listeners name",
    "listeners filter_chains name",
    "listeners filter_chains filters name",
    "listeners filter_chains transport_socket name",
    "clusters transport_socket name",
    "routes name",
    "routes virtual_hosts name",
    "routes virtual_hosts routes name",
    "routes virtual_hosts routes route retry_policy retry_host_predicate name",
    "secrets name",
    # What a message is; Envoy checks that itself.
    "listeners @type",
    "clusters @type",
    "clusters typed_extension_protocol_options envoy.extensions.upstreams.http.v3.HttpProtocolOptions @type",
    "routes @type",
    "endpoints @type",
    "secrets @type",
    # The name of what it stands in.
    "clusters load_assignment cluster_name",
    # The rules of an RBAC filter itself, in whose place the routes' stand.
    "listeners filter_chains filters typed_config http_filters typed_config rules action",
    # How near replicas are, which their priorities say; weights of localities are not asked for.
    "endpoints endpoints locality region",
    "endpoints endpoints locality zone",
    "endpoints endpoints load_balancing_weight",
    # Of one share only; the case `weights` has more.
    "routes virtual_hosts routes route weighted_clusters clusters weight",
    # Of an outlier detection that mesh/ switches off.
    "clusters outlier_detection consecutive_5xx",
}
"""Ways to fields that mean nothing just there."""


def mesh() -> Mesh:
    registry = read_registry()
    pods = world_pods(registry)
    rules = read_rules(golden.MESH, registry)
    return Mesh(registry, tuple(pods), rules, HTTPS_EDGE, CERTIFICATES, frozenset(pod.name for pod in pods))


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every plain value with the way to it."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from leaves(each, (*path, name))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from leaves(each, (*path, number))
    else:
        yield path, value


def another(value: Any) -> Any:
    """A value of the same kind that is not the same."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return "77s" if re.fullmatch(r"[0-9.]+s", str(value)) else f"{value}-other"


def changed(resources: dict[str, dict[str, Any]], path: Path) -> dict[str, dict[str, Any]]:
    """A copy, as deep as the change."""
    kind, name, *rest = path
    one = copy.deepcopy(resources[str(kind)][str(name)])
    node: Any = one
    for step in rest[:-1]:
        node = node[step]
    node[rest[-1]] = another(node[rest[-1]])
    return {**resources, str(kind): {**resources[str(kind)], str(name): one}}


def ways(resources: dict[str, dict[str, Any]]) -> dict[Path, list[Path]]:
    """The leaves by their ways through messages, wherever they stand in lists."""
    found: dict[Path, list[Path]] = {}
    for path, _ in leaves(resources):
        shape = (path[0], *(step for step in path[2:] if isinstance(step, str)))
        found.setdefault(shape, []).append(path)
    return found


def of_pods() -> dict[str, dict[str, Any]]:
    """What the translator made for them."""
    resources = translate(mesh())
    return {
        each.name: {
            name: value
            for name, value in getattr(resources, each.name).items()
            if each.name == "secrets" or name.endswith(tuple(f"@{pod}" for pod in PODS))
        }
        for each in fields(Resources)
    }


def test_a_change_anywhere_is_seen() -> None:
    """Every field that the translator writes, changed alone: the meaning changes, or it is ignored, just there or
    wherever it stands, with a reason."""
    whole = mesh()
    pods = {f"@{pod.name}": pod for pod in whole.pods}
    resources = of_pods()

    def meaning(of: dict[str, dict[str, Any]], path: Path) -> Any:
        """To the pod whose resource it is."""
        pod = next((pod for name, pod in pods.items() if str(path[1]).endswith(name)), whole.pods[0])
        return translated_parts(whole, [pod], {HTTPS_EDGE: Resources(**of)})

    def is_seen(path: Path) -> bool:
        try:
            return bool(meaning(changed(resources, path), path) != meaning(resources, path))
        except (UnreadError, KeyError, ValueError, StopIteration):
            return True

    unseen = {
        " ".join(map(str, shape))
        for shape, paths in ways(resources).items()
        if not IGNORED_ANYWHERE.intersection(map(str, shape)) and not any(map(is_seen, paths[:MOST_TRIED]))
    }
    assert unseen == WITHOUT_EFFECT


def test_an_unknown_field_is_an_error() -> None:
    """Nothing is passed over because nobody knew it."""
    with pytest.raises(UnreadError, match=r"Cluster\.new_thing is not read: 1"), reading("Cluster", {"new_thing": 1}):
        pass


def test_a_filter_before_the_manager_is_an_error() -> None:
    """A network filter has its say before any call is seen."""
    manager = {"typed_config": {"@type": "type.googleapis.com/lab.HttpConnectionManager", "stat_prefix": "a"}}
    assert manager_of({"filters": [manager]}) == manager["typed_config"]
    with pytest.raises(UnreadError, match=r"before the HTTP connection manager: \['RBAC'\]"):
        manager_of({"filters": [{"typed_config": {"@type": "type.googleapis.com/lab.RBAC"}}, manager]})


def test_every_ignored_thing_says_why() -> None:
    """In a few words at least."""
    reasons = [reason for ignored in IGNORED.values() for reason in ignored.values()]
    assert [reason for reason in [*reasons, *IGNORED_FILTERS.values()] if len(reason) < 10] == []
