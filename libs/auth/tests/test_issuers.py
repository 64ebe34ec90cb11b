"""Several issuers beside each other: each is believed with its own keys, for what it may say."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from libs.auth.jwks import Jwks, published_jwks
from libs.auth.tests.signing import GOOD, KEYS, NOW_S, jwk, refusal, token
from libs.auth.tests.test_jwks import SOURCE, published
from libs.auth.verifier import Issuer, TokenVerifier
from libs.errors.errors import Reason, UnavailableError

PARTNER_KEY = ed25519.Ed25519PrivateKey.generate()


class Held:
    """Keys that a test changes. `next_keys` are those that are found when somebody looks again."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys: Jwks | None = published_jwks(published(*keys), SOURCE) if keys else None
        self.next_keys: Jwks | None = None
        self.looked = 0

    def current(self) -> Jwks:
        if self.keys is None:
            raise UnavailableError(Reason.DEPENDENCY_UNAVAILABLE, "gone", metadata={"dependency": "issuer"})
        return self.keys

    async def look_again(self) -> None:
        self.looked += 1
        self.keys = self.next_keys or self.keys


def ours(keys: Held | None = None, **more: Any) -> Issuer:
    return Issuer("weft-local", "weft", keys or Held(jwk("EdDSA", KEYS["EdDSA"], "EdDSA")), **more)


def partner(**more: Any) -> Issuer:
    return Issuer("https://partner.test/", "weft-partner", Held(jwk("EdDSA", PARTNER_KEY, "p")), **more)


def partners(kid: str = "p", key: Any = PARTNER_KEY, **claims: Any) -> str:
    theirs = {**GOOD, "iss": "https://partner.test/", "aud": "weft-partner", **claims}
    said = {name: value for name, value in theirs.items() if value is not None}
    return jwt.PyJWS().encode(json.dumps(said).encode(), key, "EdDSA", {"kid": kid})


async def test_every_issuer_is_believed() -> None:
    """Each with its own audience and its own key."""
    verifier = TokenVerifier([ours(), partner()])
    assert (await verifier.verify(token(), NOW_S)).subject == "alice"
    assert (await verifier.verify(partners(sub="bob"), NOW_S)).subject == "bob"


async def test_an_issuer_speaks_for_itself_only() -> None:
    """Another issuer's name, key id or audience makes no token good, whoever signed it."""
    verifier = TokenVerifier([ours(), partner()])
    for forged in (
        partners(iss="weft-local"),
        partners(iss="weft-local", aud="weft", kid="EdDSA"),
        partners(aud="weft"),
        partners(kid="EdDSA"),
        partners(kid="EdDSA", key=KEYS["EdDSA"]),
        partners(iss="https://partner.test"),
        partners(iss=["https://partner.test/"]),
        partners(iss=None),
    ):
        assert (await refusal(verifier, forged)).reason in (Reason.TOKEN_REFUSED, Reason.TOKEN_MALFORMED)


async def test_the_tenants_claim_is_the_issuers() -> None:
    """Where an issuer has another claim for it, that one is read, and named where it is missing."""
    verifier = TokenVerifier([partner(tenant_claim="org_id")])
    assert (await verifier.verify(partners(tenant="evil", org_id="globex"), NOW_S)).tenant == "globex"
    error = await refusal(verifier, partners())
    assert (error.reason, "the claim org_id" in error.message) == (Reason.TOKEN_REFUSED, True)


@pytest.mark.parametrize("said", ["rag.read rag.write", ["rag.read", "rag.write"]])
async def test_the_scopes_claim_is_the_issuers(said: object) -> None:
    """Where an issuer has another claim for them, that one is read, a text or a list, and named where it is missing."""
    verifier = TokenVerifier([partner(scope_claim="scp")])
    assert (await verifier.verify(partners(scp=said), NOW_S)).scopes == {"rag.read", "rag.write"}
    error = await refusal(verifier, partners())
    assert (error.reason, "the claim scp" in error.message) == (Reason.TOKEN_REFUSED, True)


async def test_an_issuer_speaks_for_its_tenants_only() -> None:
    """Where an issuer's tenants are told, its token for another one is refused."""
    verifier = TokenVerifier([partner(tenants=frozenset({"globex"}))])
    assert (await verifier.verify(partners(tenant="globex"), NOW_S)).tenant == "globex"
    assert (await refusal(verifier, partners(tenant="acme"))).reason is Reason.TOKEN_REFUSED


async def test_no_token_passes_for_an_api_key() -> None:
    """A subject like that of an API key is refused: usage is told by it."""
    error = await refusal(TokenVerifier([ours()]), token(sub="key:abc"))
    assert (error.reason, "sub" in error.message) == (Reason.TOKEN_REFUSED, True)


async def test_a_new_key_is_looked_for_once() -> None:
    """A kid that is not known makes its issuer's keys be looked at again; what is found then counts."""
    keys = Held(jwk("EdDSA", KEYS["EdDSA"], "EdDSA"))
    verifier = TokenVerifier([ours(keys)])
    assert (await refusal(verifier, token("ES256"))).reason is Reason.TOKEN_REFUSED
    keys.next_keys = published_jwks(published(jwk("ES256", KEYS["ES256"], "ES256")), SOURCE)
    assert await verifier.verify(token("ES256"), NOW_S)
    assert keys.looked == 2
    with pytest.raises(StopIteration):  # it waits for nothing
        verifier.verify(token("ES256"), NOW_S).send(None)
    assert keys.looked == 2


async def test_a_key_that_is_gone_takes_its_tokens_with_it() -> None:
    """Tokens that it verified are refused at once; those of the keys that stay are not verified again."""
    both = [jwk(name, KEYS[name], name) for name in ("EdDSA", "ES256")]
    keys = Held(*both)
    verifier = TokenVerifier([ours(keys)])
    for name in ("EdDSA", "ES256"):
        assert await verifier.verify(token(name), NOW_S)
    keys.keys = published_jwks(published(both[0]), SOURCE)
    assert await verifier.verify(token("EdDSA"), NOW_S)
    assert keys.looked == 0
    assert (await refusal(verifier, token("ES256"))).reason is Reason.TOKEN_REFUSED


async def test_a_key_that_was_replaced_under_its_kid_takes_its_tokens_with_it() -> None:
    """What counts is the key, not its name."""
    keys = Held(jwk("EdDSA", KEYS["EdDSA"], "EdDSA"))
    verifier = TokenVerifier([ours(keys)])
    assert await verifier.verify(token(), NOW_S)
    keys.keys = published_jwks(published(jwk("EdDSA", PARTNER_KEY, "EdDSA")), SOURCE)
    assert (await refusal(verifier, token())).reason is Reason.TOKEN_REFUSED


async def test_without_keys_nothing_is_told() -> None:
    """Where the keys cannot be had, a token is neither good nor bad, were it verified before."""
    keys = Held(jwk("EdDSA", KEYS["EdDSA"], "EdDSA"))
    verifier = TokenVerifier([ours(keys), partner()])
    assert await verifier.verify(token(), NOW_S)
    keys.keys = None
    with pytest.raises(UnavailableError):
        await verifier.verify(token(), NOW_S)
    assert await verifier.verify(partners(), NOW_S)


def test_an_issuer_is_there_once() -> None:
    """Two with one name are a ValueError."""
    with pytest.raises(ValueError, match="same name"):
        TokenVerifier([ours(), ours()])
