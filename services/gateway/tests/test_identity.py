"""Who is let in, and what it is told of itself."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from libs.contracts import headers
from services.gateway.tests.signers import SCOPES, SIGNERS, Signer
from services.gateway.tests.world import Failure, Gateway, failure_of
from weft.gateway.v1 import identity_service_pb2 as pb
from weft.gateway.v1 import identity_service_pb2_grpc

EMBED = "/weft.embedding.v1.EmbeddingService/Embed"


def who_am_i(gateway: Gateway, token: str | None) -> Any:
    metadata = () if token is None else ((headers.AUTHORIZATION, f"Bearer {token}"),)
    return identity_service_pb2_grpc.IdentityServiceStub(gateway.channel).WhoAmI(pb.WhoAmIRequest(), metadata=metadata)


async def refusal(gateway: Gateway, token: str | None) -> Failure:
    failure = await failure_of(who_am_i(gateway, token))
    assert failure.code == "UNAUTHENTICATED"
    return failure


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
async def test_tokens_of_every_allowed_algorithm_are_taken(gateway: Gateway, algorithm: str) -> None:
    """A caller with a good token learns what the token says of it."""
    expire_time_s = int(time.time()) + 100
    answer = await who_am_i(gateway, SIGNERS[algorithm].token(sub="lee", tenant="globex", exp=expire_time_s))
    assert (answer.principal, answer.tenant, list(answer.scopes)) == ("lee", "globex", sorted(SCOPES))
    assert answer.expire_time.seconds == expire_time_s


async def test_no_token(gateway: Gateway) -> None:
    """A call without a token is told which header to send."""
    failure = await refusal(gateway, None)
    assert failure.reason == "TOKEN_MISSING"
    assert "authorization: Bearer" in failure.details


async def test_an_expired_token(gateway: Gateway) -> None:
    """The caller is told since when its token is of no use."""
    failure = await refusal(gateway, SIGNERS["EdDSA"].token(exp=1_700_000_000))
    assert (failure.reason, failure.metadata) == ("TOKEN_EXPIRED", {"expire_time": "2023-11-14T22:13:20Z"})


async def test_a_token_signed_with_another_key(gateway: Gateway) -> None:
    """A stranger's key is refused, also under the name of a known one."""
    stranger = ed25519.Ed25519PrivateKey.generate()
    for kid in ("ed", "strange"):
        assert (await refusal(gateway, Signer(kid, "EdDSA", stranger).token())).reason == "TOKEN_REFUSED"


async def test_a_token_without_a_signature(gateway: Gateway) -> None:
    """`alg: none` is no algorithm, whatever the claims say and whatever key is named."""
    claims = jwt.decode(SIGNERS["EdDSA"].token(), options={"verify_signature": False})
    token = jwt.encode(claims, "", "none", {"kid": "ed"})
    assert (await refusal(gateway, token)).reason == "TOKEN_MALFORMED"


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_public_key_is_no_shared_secret(gateway: Gateway) -> None:
    """A token signed with HS256 and the bytes of a public key, which everybody has, is refused."""
    claims = jwt.decode(SIGNERS["EdDSA"].token(), options={"verify_signature": False})
    raw = SIGNERS["EdDSA"].private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert (await refusal(gateway, jwt.encode(claims, raw, "HS256", {"kid": "ed"}))).reason == "TOKEN_MALFORMED"


async def test_an_algorithm_that_is_not_the_keys(gateway: Gateway) -> None:
    """A key verifies its own algorithm only: the token's word for it does not count."""
    token = Signer("rs", "ES256", SIGNERS["ES256"].private).token()
    assert (await refusal(gateway, token)).reason == "TOKEN_REFUSED"


@pytest.mark.parametrize("token", ["x", "a.b.c", "...", "e30.e30.", "A" * 30_000])
async def test_a_malformed_token(gateway: Gateway, token: str) -> None:
    """What is no JWT is told so."""
    assert (await refusal(gateway, token)).reason == "TOKEN_MALFORMED"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.test"},
        {"aud": "other"},
        {"sub": None},
        {"tenant": None},
        {"exp": None},
        {"tenant": "a/b"},
        {"nbf": 4_000_000_000},
    ],
)
async def test_claims_that_are_not_for_this_gateway(gateway: Gateway, claims: dict[str, Any]) -> None:
    """Another issuer or audience, missing claims, and a token for later are refused."""
    assert (await refusal(gateway, SIGNERS["EdDSA"].token(**claims))).reason == "TOKEN_REFUSED"


async def test_a_missing_scope_is_named(gateway: Gateway) -> None:
    """A known caller that may not is told which scope its token lacks for which method; nothing reaches the service."""
    metadata = gateway.bearer(scope="rag.read inference.read")
    failure = await failure_of(gateway.channel.unary_unary(EMBED)(b"", metadata=metadata))
    assert (failure.code, failure.reason) == ("PERMISSION_DENIED", "SCOPE_MISSING")
    assert failure.metadata == {"scope": "embedding.embed", "method": EMBED}
    assert gateway.seen.contexts == []


async def test_a_bad_header_is_named(gateway: Gateway) -> None:
    """A header that cannot be meant is INVALID_ARGUMENT, and the answer carries an id that can be used."""
    metadata = (*gateway.bearer(), (headers.REQUEST_ID, "not one"))
    failure = await failure_of(gateway.channel.unary_unary(EMBED)(b"", metadata=metadata))
    assert (failure.code, failure.reason) == ("INVALID_ARGUMENT", "HEADER_INVALID")
    assert failure.metadata == {"header": headers.REQUEST_ID}
    assert " " not in failure.trailers[headers.REQUEST_ID]


async def test_the_gateways_own_methods_check_their_bodies(gateway: Gateway) -> None:
    """A garbage body is refused by the gateway where the method is its own."""
    call = gateway.channel.unary_unary("/weft.gateway.v1.IdentityService/WhoAmI")(b"\xff", metadata=gateway.bearer())
    failure = await failure_of(call)
    assert (failure.code, failure.reason) == ("INVALID_ARGUMENT", "MESSAGE_MALFORMED")


async def test_a_gateways_token_is_of_no_use_behind_it(gateway: Gateway) -> None:
    """An inner service that is called past the gateway refuses, whatever token comes along."""
    async with grpc.aio.insecure_channel(gateway.upstreams["embedding"]) as channel:
        past = replace(gateway, channel=channel)
        failure = await failure_of(past.channel.unary_unary(EMBED)(b"", metadata=gateway.bearer()))
    assert (failure.code, failure.reason) == ("UNAUTHENTICATED", "CONTEXT_REFUSED")
