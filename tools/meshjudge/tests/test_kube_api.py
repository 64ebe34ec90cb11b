"""The small Kubernetes API that istiod is given."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tools.localmesh.workloads import read_registry
from tools.meshjudge.kube_api import kube_api
from tools.meshjudge.kube_objects import kube_objects
from tools.meshjudge.world import world_pods


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    registry = read_registry()
    with kube_api(kube_objects(registry, world_pods(registry))) as url:
        yield url


def read(url: str, **headers: str) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return json.loads(answer.readline())


def test_endpoints_are_the_replicas_that_a_service_selects(api: str) -> None:
    """By their addresses, with the pods' port."""
    found = read(f"{api}/apis/discovery.k8s.io/v1/namespaces/weft/endpointslices/triton-gpu")
    (pod,) = read(f"{api}/api/v1/namespaces/weft/pods?fieldSelector=metadata.name%3Dtriton-gpu-0")["items"]
    assert [each["addresses"] for each in found["endpoints"]] == [[pod["status"]["podIP"]]]
    assert [port["port"] for port in found["ports"]] == [8001]


def test_only_workloads_in_the_mesh_have_sidecars(api: str) -> None:
    """istiod knows by a label."""
    pods = read(f"{api}/api/v1/pods")["items"]
    without = {pod["metadata"]["name"] for pod in pods if "security.istio.io/tlsMode" not in pod["metadata"]["labels"]}
    assert without == {"redis-0", "qdrant-0"}


def test_a_watch_tells_first_what_is_there(api: str) -> None:
    """An event for each object, and then that these were all."""
    listed = read(f"{api}/api/v1/namespaces")["items"]
    with urllib.request.urlopen(f"{api}/api/v1/namespaces?watch=true&sendInitialEvents=true", timeout=10) as answer:
        events = [json.loads(answer.readline()) for _ in range(len(listed) + 1)]
    assert [event["object"] for event in events if event["type"] == "ADDED"] == listed
    assert (events[-1]["type"], events[-1]["object"]["kind"]) == ("BOOKMARK", "Namespace")
    assert events[-1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_metadata_alone_can_be_asked_for(api: str) -> None:
    """As istiod does for what it only counts."""
    whole = read(f"{api}/api/v1/nodes")["items"]
    listed = read(f"{api}/api/v1/nodes", Accept="application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
    assert listed["kind"] == "PartialObjectMetadataList"
    assert [each["metadata"] for each in listed["items"]] == [each["metadata"] for each in whole] != []
    assert all(each.keys() == {"apiVersion", "kind", "metadata"} for each in listed["items"])


def test_what_is_not_there_is_not_found(api: str) -> None:
    """With Kubernetes' own status."""
    with pytest.raises(urllib.error.HTTPError, match="404"):
        read(f"{api}/api/v1/namespaces/weft/services/nobody")


def test_nothing_can_be_written(api: str) -> None:
    """istiod goes on without its leases and events."""
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{api}/api/v1/namespaces/istio-system/events", data=b"{}")
