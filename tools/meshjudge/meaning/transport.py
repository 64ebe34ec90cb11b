"""What a connection is secured with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.meshjudge.meaning.message import UnreadError, compact, reading, type_of
from tools.meshjudge.meaning.values import text_match

PLAIN_TEXT = "plain text"
UPSTREAM_VERSIONS = ("TLSv1_2", "TLSv1_2")
DOWNSTREAM_VERSIONS = ("TLSv1_2", "TLSv1_3")
"""Envoy's own, where none are said."""
OWN, AUTHORITIES, GATEWAYS = "the workload's own", "the mesh's", "what the Gateway names"
"""What secrets are, whatever they are called."""


def upstream(socket: dict[str, Any] | None) -> Any:
    """How a cluster dials."""
    return _transport(socket, UPSTREAM_VERSIONS)


def downstream(socket: dict[str, Any] | None) -> Any:
    """How a listener is dialled."""
    return _transport(socket, DOWNSTREAM_VERSIONS)


def with_secrets(value: Any, called: Mapping[str, str]) -> Any:
    """A meaning with its secrets called by what they are, which is how both sides can be compared."""
    if isinstance(value, list):
        return [with_secrets(each, called) for each in value]
    if not isinstance(value, dict):
        return value
    found = {name: with_secrets(each, called) for name, each in value.items()}
    if "certificate" in found:
        found["certificate"] = " ".join(called.get(name, name) for name in found["certificate"])
    if "authorities" in found:
        found["authorities"] = called.get(found["authorities"], found["authorities"])
    return found


def _transport(socket: dict[str, Any] | None, versions: tuple[str, str]) -> Any:
    if socket is None:
        return PLAIN_TEXT
    with reading("TransportSocket", socket) as message:
        message.take("name")
        config = message.take("typed_config")
    kind = type_of(config)
    if kind == "RawBuffer":
        return PLAIN_TEXT
    if kind == "ProxyProtocolUpstreamTransport":
        with reading(kind, config) as message:
            version = message.take("config", {}).get("version", "V1")
            return {
                "after": f"a line of PROXY {version}",
                "then": _transport(message.take("transport_socket"), versions),
            }
    if kind not in ("UpstreamTlsContext", "DownstreamTlsContext"):
        raise UnreadError(f"a transport socket that is not read: {kind}")
    with reading(kind, config) as message:
        found = _common(message.take("common_tls_context", {}), versions)
        asks = message.take("require_client_certificate", False)
        return compact(**found, needs_client_certificate=asks, sni=message.take("sni"))


def _common(fields: dict[str, Any], defaults: tuple[str, str]) -> dict[str, Any]:
    with reading("CommonTlsContext", fields) as message:
        with reading("TlsParameters", message.take("tls_params")) as parameters:
            least = parameters.take("tls_minimum_protocol_version", "TLS_AUTO")
            most = parameters.take("tls_maximum_protocol_version", "TLS_AUTO")
        own = [_secret(each) for each in message.take("tls_certificate_sds_secret_configs", ())]
        authorities, names = _validation(message)
    least, most = (
        default if said == "TLS_AUTO" else said for said, default in zip((least, most), defaults, strict=True)
    )
    return {
        "tls": f"{least} to {most}".replace("TLSv1_", "1."),
        "certificate": own,
        "peer": sorted(names) or ("any name" if authorities else "not looked at"),
        "authorities": authorities,
    }


def _secret(fields: dict[str, Any]) -> str:
    with reading("SecretSource", fields) as message:
        return str(message.take("name"))


def _validation(message: Any) -> tuple[str | None, list[str]]:
    """The secret with the authorities that know the peer, and the names that it may have."""
    if message.has("combined_validation_context"):
        with reading("CombinedValidationContext", message.take("combined_validation_context")) as combined:
            authorities = _secret(combined.take("validation_context_sds_secret_config"))
            return authorities, _names(combined.take("default_validation_context", {}))
    if message.has("validation_context_sds_secret_config"):
        return _secret(message.take("validation_context_sds_secret_config")), []
    if message.has("validation_context"):
        raise UnreadError("CommonTlsContext.validation_context")
    return None, []


def _names(fields: dict[str, Any]) -> list[str]:
    with reading("CertificateValidationContext", fields) as message:
        # The deprecated list has no type: a name of any type counts.
        found = [text_match(each) for each in message.take("match_subject_alt_names", ())]
        for each in message.take("match_typed_subject_alt_names", ()):
            with reading("SubjectAltNameMatcher", each) as one:
                if (kind := one.take("san_type")) != "URI":
                    raise UnreadError(f"SubjectAltNameMatcher.san_type: {kind}")
                found.append(text_match(one.take("matcher")))
    return found
