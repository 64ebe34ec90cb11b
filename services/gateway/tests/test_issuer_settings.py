"""The issuers that a gateway is told of, and what is said of a mistake in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from libs.config.settings import SettingsError, read
from services.gateway.settings import GatewaySettings, IssuerSettings

FILE = {"issuer": "a", "audience": "weft", "jwks_file": "/keys/jwks.json"}
URL = {"issuer": "https://id.test/", "audience": "weft"}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads the settings of an environment that has these issuers."""
    others = {"LISTEN": "127.0.0.1:0", "CONTEXT_KEY_FILE": "/k", "REDIS_URL": "redis://h/0", "PLANS_FILE": "/p"}
    others |= {f"UPSTREAMS__{name}": "127.0.0.1:1" for name in ("RAG", "EMBEDDING", "INFERENCE")}

    def settings(issuers: str) -> tuple[IssuerSettings, ...]:
        for name, value in {**others, "ISSUERS": issuers}.items():
            monkeypatch.setenv(f"WEFT_GATEWAY_{name}", value)
        return read(GatewaySettings).issuers

    return settings


def test_issuers_are_read(said: Any) -> None:
    """A file, a URL, or discovery where neither is said; the claims have their usual names."""
    published = {**URL, "issuer": "b", "jwks_url": "https://id.test/keys", "tenant_claim": "org", "tenants": ["acme"]}
    by_file, by_url, discovered = said(json.dumps([FILE, published, URL]))
    assert (by_file.jwks_file, by_file.tenant_claim, by_file.scope_claim) == (
        Path("/keys/jwks.json"),
        "tenant",
        "scope",
    )
    assert by_file.tenants is None
    assert (by_url.jwks_url, by_url.tenant_claim, by_url.tenants) == ("https://id.test/keys", "org", {"acme"})
    assert (discovered.jwks_file, discovered.jwks_url) == (None, "")


@pytest.mark.parametrize(
    ("issuers", "told"),
    [
        ("weft", "is not JSON"),
        ("{}", "must be a JSON list of at least one issuer"),
        ("[]", "must be a JSON list of at least one issuer"),
        ("[1]", "issuer 1, it"),
        (json.dumps([FILE, {"issuer": "b"}]), "issuer 2, audience: field required"),
        (json.dumps([{**FILE, "jwks": "a"}]), "issuer 1, jwks: extra inputs"),
        (json.dumps([{**FILE, "jwks_url": "https://id.test"}]), "jwks_file or at jwks_url, not both"),
        (json.dumps([{**URL, "issuer": "http://id.test"}]), "want https"),
        (json.dumps([{**URL, "issuer": "weft-local"}]), "is not a URL"),
        (json.dumps([{**FILE, "audience": ""}]), "issuer 1, audience"),
        (json.dumps([{**FILE, "tenants": "acme"}]), "issuer 1, tenants"),
        (json.dumps([FILE, FILE]), "has an issuer twice"),
    ],
)
def test_a_mistake_is_named_with_its_place(said: Any, issuers: str, told: str) -> None:
    """By the variable, the issuer's place in the list, and its field."""
    with pytest.raises(SettingsError) as raised:
        said(issuers)
    (problem,) = raised.value.problems
    assert problem.startswith("WEFT_GATEWAY_ISSUERS=")
    assert told in problem
