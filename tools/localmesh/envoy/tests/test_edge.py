"""Calls from outside, through a real Envoy's edge."""

from __future__ import annotations

import asyncio
import datetime
import http.client
import ipaddress
import ssl
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from libs.config.files import write_whole
from libs.parts.processes import free_port
from libs.testing.eventually import eventually
from tools.localmesh.envoy.listeners import edge as edge_listener
from tools.localmesh.envoy.tests.lab import UNARY, Lab, a_mesh, call, channel, failure, lab, mode, policy, security
from tools.localmesh.mesh import Edge
from tools.localmesh.problems import MeshError

EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: weft}
spec:
  selector: {app: edge}
  servers:
    - port: {number: 8080, name: plain, protocol: HTTP2}
      hosts: ["*"]
    - port: {number: 8443, name: https, protocol: HTTPS}
      hosts: ["*"]
      tls: {mode: SIMPLE, credentialName: edge, minProtocolVersion: TLSV1_3}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: weft}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
    - name: hello
      match: [{uri: {exact: /hello}}]
      directResponse: {status: 200, body: {string: hello}}
    - name: echo
      headers: {request: {remove: [priority]}}
      route: [{destination: {host: echo.weft.svc.cluster.local, port: {number: 50051}}}]
---
"""
FILTERS = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: filters, namespace: weft}
spec:
  workloadSelector: {labels: {app: edge}}
  configPatches:
    - applyTo: HTTP_FILTER
      match:
        context: GATEWAY
        listener:
          filterChain:
            filter:
              name: envoy.filters.network.http_connection_manager
              subFilter: {name: envoy.filters.http.router}
      patch:
        operation: INSERT_BEFORE
        value:
          name: envoy.filters.http.header_mutation
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
            mutations: {request_mutations: [{append: {header: {key: inserted, value: "yes"}}}]}
    - applyTo: NETWORK_FILTER
      match:
        context: GATEWAY
        listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}
      patch:
        operation: MERGE
        value:
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
            preserve_external_request_id: true
---
"""  # noqa: E501


def plain() -> Edge:
    return Edge(f"127.0.0.1:{free_port()}")


def get(listen: str, path: str, context: ssl.SSLContext | None = None) -> tuple[int, bytes]:
    """By HTTP/1.1."""
    host, _, port = listen.rpartition(":")
    kind = http.client.HTTPSConnection(host, int(port), context=context, timeout=10.0) if context else None
    connection = kind or http.client.HTTPConnection(host, int(port), timeout=10.0)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


async def listening(mesh: Lab) -> str:
    """Where the edge listens, when it does."""
    host, _, port = mesh.mesh.edge.listen.rpartition(":")

    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return False
        writer.close()
        return True

    await eventually(listens)
    return mesh.mesh.edge.listen


async def test_one_port_speaks_both_versions_of_http(tmp_path: Path) -> None:
    """Without TLS where there is no certificate: HTTP/2 as gRPC begins it, and HTTP/1.1."""
    async with lab(tmp_path, security(tmp_path / "rules", EDGE + mode("STRICT")), edge=plain()) as mesh:
        listen = await listening(mesh)
        async with channel(listen) as outside:
            got = await call(outside)
        answer = await asyncio.to_thread(get, listen, "/hello")
    assert "URI=spiffe://cluster.local/ns/weft/sa/edge" in got["x-forwarded-client-cert"]
    assert answer == (200, b"hello")


async def test_nobody_outside_speaks_for_the_mesh(tmp_path: Path) -> None:
    """Neither a name, nor a priority, nor a header of Envoy's own comes in, however near the caller is."""
    claims = {
        "x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/weft/sa/gateway",
        "priority": "high",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-max-retries": "9",
        "x-envoy-internal": "true",
    }
    rules = security(tmp_path / "rules", EDGE + mode("STRICT"))
    async with lab(tmp_path, rules, edge=plain()) as mesh, channel(await listening(mesh)) as outside:
        got = await call(outside, metadata=claims)
    assert "sa/gateway" not in got["x-forwarded-client-cert"]
    assert {name for name in claims if name in got} == {"x-forwarded-client-cert"}


async def test_filters_are_inserted_and_fields_merged(tmp_path: Path) -> None:
    """As an EnvoyFilter says."""
    rules = security(tmp_path / "rules", EDGE + FILTERS)
    async with lab(tmp_path, rules, edge=plain()) as mesh, channel(await listening(mesh)) as outside:
        got = await call(outside, metadata={"x-request-id": "mine"})
    assert (got["inserted"], got["x-request-id"]) == ("yes", "mine")


AT_THE_EDGE = {
    "nobody": ("", False),
    "everybody": ("rules: [{}]", True),
    "the Gateway's port": ("rules: [{to: [{operation: {ports: ['8080']}}]}]", True),
    "another port": ("rules: [{to: [{operation: {ports: ['8443']}}]}]", False),
    "deny a path": (f"action: DENY, rules: [{{to: [{{operation: {{paths: [{UNARY}]}}}}]}}]", False),
    "deny another port": ("action: DENY, rules: [{to: [{operation: {ports: ['8443']}}]}]", True),
    "somebody with a name": ("rules: [{from: [{source: {principals: ['*']}}]}]", False),
}
"""Specs of a policy for the edge (none: the one that lets nobody in), and whether a caller passes."""


async def test_authorization_holds_at_the_edge_too(tmp_path: Path) -> None:
    """Ports are the Gateway's, wherever a laptop listens; nobody outside has a name."""
    everybody = policy("{selector: {matchLabels: {app: echo}}, rules: [{}]}", "echo")
    found = {}
    rules = security(tmp_path / "rules", EDGE)
    async with lab(tmp_path, rules, edge=plain()) as mesh, channel(await listening(mesh)) as outside:
        for name, (spec, _) in AT_THE_EDGE.items():
            own = policy(f"{{selector: {{matchLabels: {{app: edge}}}}, {spec}}}" if spec else "{}", "edge")
            await mesh.publish(security(tmp_path / "rules", EDGE + everybody + own))
            found[name] = (spec, await _passes(outside))
    assert found == AT_THE_EDGE


async def _passes(outside: grpc.aio.Channel) -> bool:
    try:
        await call(outside)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED, error
        return False
    return True


async def test_tls_with_a_certificate_that_is_replaced(tmp_path: Path) -> None:
    """1.3 and no less, for both versions of HTTP; another certificate is taken up as soon as it is there."""
    certificate, key = tmp_path / "cert" / "tls.crt", tmp_path / "cert" / "tls.key"
    certificate.parent.mkdir()
    first = _self_signed(certificate, key)
    edge = Edge(f"127.0.0.1:{free_port()}", certificate, key)
    async with lab(tmp_path, security(tmp_path / "rules", EDGE + mode("STRICT")), edge=edge) as mesh:
        listen = await listening(mesh)
        context = ssl.create_default_context(cadata=first.decode())
        answer = await asyncio.to_thread(get, listen, "/hello", context)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            await asyncio.to_thread(get, listen, "/hello", context)
        async with grpc.aio.secure_channel(listen, grpc.ssl_channel_credentials(first)) as outside:
            await call(outside)
        async with channel(listen) as outside:
            error = await failure(outside)
        second = _self_signed(certificate, key)
        await eventually(lambda: asyncio.to_thread(_is_taken, listen, second))
    assert answer == (200, b"hello")
    assert error.code() is grpc.StatusCode.UNAVAILABLE


def _is_taken(listen: str, certificate: bytes) -> bool:
    try:
        return get(listen, "/hello", ssl.create_default_context(cadata=certificate.decode())) == (200, b"hello")
    except ssl.SSLError:
        return False


def _self_signed(certificate: Path, key: Path) -> bytes:
    """For this machine, written as somebody would who replaces both: the certificate last."""
    made = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(made.public_key())
    builder = builder.serial_number(x509.random_serial_number()).add_extension(address, critical=False)
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(hours=1))
    pem = builder.sign(made, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    encoding, plain_key = serialization.Encoding.PEM, serialization.NoEncryption()
    write_whole(key, made.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain_key))
    write_whole(certificate, pem)
    return pem


@pytest.mark.parametrize("certificate", [None, Path("tls.crt")])
def test_the_gateway_must_have_the_server_that_is_wanted(tmp_path: Path, certificate: Path | None) -> None:
    """One with TLS where there is a certificate, one without where there is none."""
    rules = security(tmp_path, EDGE)
    (gateway,) = rules.gateways
    left = tuple(server for server in gateway.servers if server.https is (certificate is None))
    mesh = replace(a_mesh(tmp_path, rules), edge=Edge("127.0.0.1:1", certificate, certificate))
    with pytest.raises(MeshError, match="has 0 servers of the kind wanted"):
        edge_listener(mesh, mesh.pods[-1], replace(gateway, servers=left))


def test_two_envoy_filters_for_the_edge_are_refused(tmp_path: Path) -> None:
    """In which order their filters are, files do not tell."""
    rules = security(tmp_path, EDGE + FILTERS + FILTERS.replace("name: filters", "name: others"))
    mesh = a_mesh(tmp_path, rules)
    with pytest.raises(MeshError, match=r"others and filters .* are both for edge; make them one"):
        edge_listener(mesh, mesh.pods[-1], rules.gateways[0])
