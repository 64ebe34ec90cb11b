"""The Kubernetes objects that istiod asks for, of the services and replicas that the translator is given too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tools.localmesh.pods import Pod
from tools.localmesh.workloads import Registry, Service

Object = dict[str, Any]
FIRST_CLUSTER_IP = 10
SYSTEM_NAMESPACE = "istio-system"


def kube_objects(registry: Registry, pods: Sequence[Pod]) -> list[Object]:
    """Namespaces, nodes (one a zone), ServiceAccounts, Pods, Services and EndpointSlices; all pods are ready."""
    namespaces = {SYSTEM_NAMESPACE} | {service.namespace for service in registry.services}
    found = [
        _object("v1", "Namespace", name, labels={"kubernetes.io/metadata.name": name}) for name in sorted(namespaces)
    ]
    found += [_node(zone) for zone in sorted({pod.zone for pod in pods})]
    accounts = {(workload.namespace, workload.service_account) for workload in registry.workloads}
    found += [_object("v1", "ServiceAccount", name, namespace) for namespace, name in sorted(accounts)]
    found += [_pod(pod) for pod in pods]
    for number, service in enumerate(registry.services, FIRST_CLUSTER_IP):
        found += [_service(service, f"10.96.0.{number}"), _endpoint_slice(service, pods)]
    return found


def shown(objects: Iterable[Object]) -> str:
    """As documents of one YAML file (JSON is YAML)."""
    return "\n---\n".join(json.dumps(each) for each in objects) + "\n"


def _object(version: str, kind: str, name: str, namespace: str = "", **more: Any) -> Object:
    metadata = {"name": name, "uid": f"{namespace}/{name}", "resourceVersion": "1"}
    metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"
    if namespace:
        metadata["namespace"] = namespace
    labels = more.pop("labels", {})
    return {"apiVersion": version, "kind": kind, "metadata": {**metadata, "labels": dict(labels)}, **more}


def _node_name(zone: str) -> str:
    return "node-" + zone.replace("/", "-")


def _node(zone: str) -> Object:
    region, _, within = zone.partition("/")
    labels = {"topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": within}
    return _object("v1", "Node", _node_name(zone), labels=labels)


def _pod(pod: Pod) -> Object:
    workload = pod.workload
    # What the injector would add, by which istiod knows who has a sidecar.
    sidecar = {"security.istio.io/tlsMode": "istio"} if workload.in_mesh else {}
    containers = [{"name": workload.app, "image": workload.app}]
    if workload.in_mesh:
        containers.append({"name": "istio-proxy", "image": "auto"})
    spec = {"serviceAccountName": workload.service_account, "nodeName": _node_name(pod.zone), "containers": containers}
    ready = [{"type": "Ready", "status": "True"}]
    status = {"phase": "Running", "podIP": pod.ip, "podIPs": [{"ip": pod.ip}], "conditions": ready}
    labels = {**workload.labels, **sidecar}
    return _object("v1", "Pod", pod.name, workload.namespace, labels=labels, spec=spec, status=status)


def _service(service: Service, address: str) -> Object:
    ports = [
        {"name": port.name, "port": port.number, "targetPort": port.target, "protocol": "TCP"} for port in service.ports
    ]
    spec = {"clusterIP": address, "clusterIPs": [address], "type": "ClusterIP", "ports": ports}
    return _object("v1", "Service", service.name, service.namespace, spec={**spec, "selector": dict(service.selector)})


def _endpoint_slice(service: Service, pods: Sequence[Pod]) -> Object:
    ports = [{"name": port.name, "port": port.target, "protocol": "TCP"} for port in service.ports]
    endpoints = [
        {
            "addresses": [pod.ip],
            "conditions": {"ready": True},
            "nodeName": _node_name(pod.zone),
            "targetRef": {"kind": "Pod", "name": pod.name, "namespace": pod.workload.namespace},
        }
        for pod in pods
        if service.selects(pod.workload.labels)
    ]
    return _object(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        service.name,
        service.namespace,
        labels={"kubernetes.io/service-name": service.name},
        addressType="IPv4",
        ports=ports,
        endpoints=endpoints,
    )
