"""What the gateway makes of the contracts when it starts."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from libs.config.settings import SettingsError
from libs.contracts.policies import methods
from services.gateway.settings import Upstreams
from services.gateway.wiring import forwarded_methods

EMBED = methods()["/weft.embedding.v1.EmbeddingService/Embed"]
UPSTREAMS = dict.fromkeys(Upstreams.model_fields, "127.0.0.1:1")


def test_every_contract_is_served() -> None:
    """Every method is the gateway's own or has a setting for where it is served; no setting is of no use."""
    forwarded = forwarded_methods(methods(), UPSTREAMS)
    assert {method.served_by for method in forwarded} == UPSTREAMS.keys()
    assert {method.path for method in methods().values()} - {method.path for method in forwarded} == {
        method.path for method in methods().values() if method.served_by == "gateway"
    }


def test_a_contract_that_nobody_serves_is_told_at_the_start() -> None:
    """A contract that names an unknown component is an error that names the setting to add."""
    strange = replace(EMBED, served_by="vision")
    with pytest.raises(SettingsError, match=r"Embed.*WEFT_GATEWAY_UPSTREAMS__VISION"):
        forwarded_methods(MappingProxyType({strange.path: strange}), UPSTREAMS)


def test_no_public_method_is_forwarded() -> None:
    """A service behind the gateway answers nobody without a tenant: a contract that wants that is told at the start."""
    public = replace(EMBED, public=True, scopes=())
    with pytest.raises(SettingsError, match=r"Embed is public"):
        forwarded_methods(MappingProxyType({public.path: public}), UPSTREAMS)
