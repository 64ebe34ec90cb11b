"""What Gateway is read into, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.localmesh.rules.gateways import Gateway, read_gateway
from tools.localmesh.rules.tests.written import documents, refusal, written


def read(folder: Path, *texts: str) -> list[Gateway]:
    return [read_gateway(document) for document in documents(folder, *texts)]


GATEWAY = """
selector: {istio: edge}
servers:
  - port: {number: 8080, name: plain, protocol: HTTP2}
    hosts: ["*"]
  - port: {number: 8443, name: https, protocol: HTTPS}
    hosts: ["*"]
    tls: {mode: SIMPLE, credentialName: edge, minProtocolVersion: TLSV1_3}
"""


def test_a_gateway_is_read_whole(tmp_path: Path) -> None:
    """Its servers in order, with TLS where it is written."""
    (found,) = read(tmp_path, written("Gateway", GATEWAY))
    servers = [(one.number, one.name, one.https, one.hosts, one.least_tls, one.place.line) for one in found.servers]
    assert servers == [(8080, "plain", False, ("*",), "TLSV1_2", 7), (8443, "https", True, ("*",), "TLSV1_3", 9)]
    assert found.selects("weft", {"istio": "edge", "app": "edge"})
    assert not found.selects("weft", {"app": "edge"})


GATEWAYS: dict[tuple[str, str], str] = {
    ("mode: SIMPLE", "mode: MUTUAL"): "11: spec.servers[1].tls.mode: 'MUTUAL' is not supported",
    ("mode: SIMPLE", "mode: PASSTHROUGH"): "11: spec.servers[1].tls.mode: 'PASSTHROUGH' is not supported",
    ("credentialName: edge", "serverCertificate: a"): "spec.servers[1].tls.serverCertificate: is not supported here",
    ("TLSV1_3", "TLSV1_1"): "minProtocolVersion: 'TLSV1_1' is not supported",
    ("protocol: HTTP2", "protocol: TCP"): "7: spec.servers[0].port.protocol: 'TCP' is not supported",
    ("protocol: HTTP2", "protocol: HTTPS"): "7: spec.servers[0]: HTTPS needs tls",
    ("protocol: HTTPS", "protocol: HTTP"): "11: spec.servers[1].tls: HTTP has no tls",
    ('hosts: ["*"]', "hosts: [a.example]"): '8: spec.servers[0].hosts[0]: only "*" is supported',
    ('hosts: ["*"]', "hosts: []"): "8: spec.servers[0].hosts: must not be empty",
    ("8443", "8080"): "9: spec.servers[1]: another server has the number 8080 too",
    ("name: https", "name: plain"): "9: spec.servers[1]: another server has the name plain too",
    ("{istio: edge}", "{}"): "5: spec.selector: selects every workload",
    ("mode: SIMPLE", "mode: SIMPLE, httpsRedirect: true"): "tls.httpsRedirect: is not supported here",
}  # fmt: skip


@pytest.mark.parametrize("change", GATEWAYS, ids=lambda change: change[1])
def test_what_a_gateway_may_not_say_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    """By line and field, with what is wrong."""
    (found,) = refusal(tmp_path, read, written("Gateway", GATEWAY.replace(*change)))
    assert GATEWAYS[change] in found
