"""Mutual TLS between pods: what each side shows, and whom it takes."""

from __future__ import annotations

from typing import Literal

from tools.localmesh.envoy.sources import CONFIG_SOURCE
from tools.localmesh.mesh import Json, Mesh, typed
from tools.localmesh.pods import Pod
from tools.localmesh.problems import MeshError, Problem
from tools.localmesh.rules.peer_authentication import Mode, effective
from tools.localmesh.workloads import CLUSTER_DOMAIN, Service, ServicePort

AUTHORITIES = "authorities"
EDGE = "edge-certificate"
MESH_PROTOCOLS = ("istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2")
"""What a proxy of the mesh offers first (ALPN). Where plain text is taken too, other TLS is none of the proxy's."""

TlsMode = Literal["ISTIO_MUTUAL", "DISABLE"]

_TLS = "envoy.extensions.transport_sockets.tls.v3"
_VERSIONS = {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}
_DOWNSTREAM_CIPHERS = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
]


def upstream_socket(
    mesh: Mesh, client: Pod, service: Service, port: ServicePort, subset: str, mode: TlsMode | None
) -> Json | None:
    """How a pod's proxy speaks to a Service: None is plain text. `mode` is the DestinationRule's; None is Istio's auto
    mTLS, which asks what the other side takes. The other side must be one of the Service's accounts.

    Raises MeshError where its workloads do not all take the same.
    """
    if mode == "DISABLE" or (mode is None and not _takes_tls(mesh, service, port)):
        return None
    identities = sorted({workload.identity for workload in mesh.registry.behind(service)})
    if not identities:
        raise ValueError(f"{service.host} has no workload in the mesh: nobody could be told from anybody")
    context = _common(mesh, client, ["istio", "h2"], [{"exact": identity} for identity in identities], _VERSIONS)
    sni = f"outbound_.{port.number}_.{subset}_.{service.host}"
    return _socket(typed(f"{_TLS}.UpstreamTlsContext", common_tls_context=context, sni=sni))


def downstream_socket(mesh: Mesh, pod: Pod) -> Json:
    """How a pod's proxy takes calls under mutual TLS: from anybody whom an authority of this trust domain knows. Who of
    them may call is authorization's."""
    versions = {**_VERSIONS, "cipher_suites": _DOWNSTREAM_CIPHERS}
    context = _common(mesh, pod, ["h2", "http/1.1"], [{"prefix": f"spiffe://{CLUSTER_DOMAIN}/"}], versions)
    return _socket(typed(f"{_TLS}.DownstreamTlsContext", common_tls_context=context, require_client_certificate=True))


def edge_socket(mesh: Mesh, least_tls: str) -> Json:
    """How the edge takes calls from outside. `least_tls` is Istio's name of a version."""
    context = {
        "tls_params": {
            "tls_minimum_protocol_version": least_tls.replace("TLSV", "TLSv"),
            "tls_maximum_protocol_version": "TLSv1_3",
        },
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificate_sds_secret_configs": [_secret(mesh, EDGE)],
    }
    return _socket(typed(f"{_TLS}.DownstreamTlsContext", common_tls_context=context))


def secrets(mesh: Mesh) -> dict[str, Json]:
    """Which files the names above stand for, all followed when another is renamed into their folder."""
    folder = mesh.certificates.absolute()
    found = {AUTHORITIES: {"validation_context": {"trusted_ca": {"filename": str(folder / "authorities.pem")}}}}
    watched = {"path": str(folder)}
    found[AUTHORITIES]["validation_context"]["watched_directory"] = watched
    for account in sorted({pod.workload.service_account for pod in mesh.pods if pod.workload.in_mesh}):
        file = {"filename": str(folder / f"{account}.pem")}
        found[_identity(account)] = {
            "tls_certificate": {"certificate_chain": file, "private_key": file, "watched_directory": watched}
        }
    if mesh.edge.certificate and mesh.edge.key:
        certificate, key = mesh.edge.certificate.absolute(), mesh.edge.key.absolute()
        found[EDGE] = {
            "tls_certificate": {
                "certificate_chain": {"filename": str(certificate)},
                "private_key": {"filename": str(key)},
                "watched_directory": {"path": str(certificate.parent)},
            }
        }
    return {name: typed(f"{_TLS}.Secret", name=name, **fields) for name, fields in found.items()}


def _takes_tls(mesh: Mesh, service: Service, port: ServicePort) -> bool:
    modes = {
        workload.name: effective(mesh.rules.peer_authentications, workload, port.target)
        for workload in mesh.registry.behind(service)
    }
    plain = [name for name, found in modes.items() if found.mode is Mode.DISABLE]
    if plain and len(plain) < len(modes):
        place = modes[plain[0]].place
        assert place is not None, "Istio's default is not DISABLE"
        text = f"of those behind {service.host} only {', '.join(plain)} would take plain text; say the same for all"
        raise MeshError([Problem(place, "spec", text)])
    return not plain


def _common(mesh: Mesh, pod: Pod, protocols: list[str], names: list[Json], versions: Json) -> Json:
    return {
        "tls_params": versions,
        "alpn_protocols": protocols,
        "tls_certificate_sds_secret_configs": [_secret(mesh, _identity(pod.workload.service_account))],
        "combined_validation_context": {
            "default_validation_context": {
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": name} for name in names]
            },
            "validation_context_sds_secret_config": _secret(mesh, AUTHORITIES),
        },
    }


def _identity(account: str) -> str:
    return f"identity-{account}"


def _secret(mesh: Mesh, name: str) -> Json:
    return {"name": name, "sds_config": CONFIG_SOURCE}


def _socket(context: Json) -> Json:
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}
