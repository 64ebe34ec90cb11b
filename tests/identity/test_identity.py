"""Tokens of the stack's own issuer, and API keys, from a user's command line to the methods behind the gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client

import weft.client
from libs.testing.eventually import eventually
from tests.commands import run_weft
from tests.conftest import RunningStack
from tools.stack.issuer import CLIENT, SECRET_FILE
from tools.stack.setup import QUESTION, SAMPLE_COLLECTION, TENANT
from tools.stack.tokens import all_scopes
from weft.gateway.v1 import identity_service_pb2
from weft.inference.v1 import model_service_pb2


def told(stack: RunningStack, *arguments: str) -> str:
    """What a command prints that does well."""
    done = run_weft(stack.stack.state, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def client_secret(stack: RunningStack) -> str:
    return (stack.stack.folder("keys") / SECRET_FILE).read_text().strip()


async def fetched(stack: RunningStack, client_id: str, secret: str, **options: Any) -> dict[str, Any]:
    """A token as a standard client gets it: the issuer's address is all that it is told."""
    issuer = f"http://{stack.stack.address('issuer')}"
    async with AsyncOAuth2Client(client_id, secret, trust_env=False, **options) as client:
        found = (await client.request("GET", f"{issuer}/.well-known/openid-configuration", withhold_token=True)).json()
        token: dict[str, Any] = await client.fetch_token(found["token_endpoint"], grant_type="client_credentials")
    return token


async def who_am_i(stack: RunningStack, credential: str) -> Any:
    async with weft.client.connect(stack.address, token=credential) as client:
        return await client.identity.WhoAmI(identity_service_pb2.WhoAmIRequest())


async def reason(stack: RunningStack, credential: str) -> str:
    """Why a credential is refused; empty where it is not."""
    try:
        await who_am_i(stack, credential)
    except weft.client.CallError as error:
        return error.reason
    return ""


async def test_the_developers_client_is_the_developer(stack: RunningStack) -> None:
    """Its token is good at the gateway from the start: of the developer's tenant, with every scope."""
    token = await fetched(stack, CLIENT, client_secret(stack))
    answer = await who_am_i(stack, token["access_token"])
    assert (answer.principal, answer.tenant, tuple(answer.scopes)) == (CLIENT, TENANT, all_scopes())


async def test_a_client_that_is_made_on_the_command_line(stack: RunningStack) -> None:
    """It gets tokens of its tenant and scopes at once, and none when it is revoked."""
    made = json.loads(
        told(stack, "client", "create", "report", "--tenant", "acme", "--scope", "inference.read", "--json")
    )
    token = await fetched(stack, made["client_id"], made["client_secret"], scope="inference.read")
    answer = await who_am_i(stack, token["access_token"])
    assert (answer.principal, answer.tenant, list(answer.scopes)) == ("report", "acme", ["inference.read"])
    async with weft.client.connect(stack.address, token=token["access_token"]) as client:
        assert (await client.models.ListModels(model_service_pb2.ListModelsRequest())).models
    assert "report" in told(stack, "client", "list")
    told(stack, "client", "revoke", "report")
    with pytest.raises(OAuthError, match="invalid_client"):
        await fetched(stack, made["client_id"], made["client_secret"])


async def test_a_key_that_is_made_on_the_command_line(stack: RunningStack, tmp_path: Path) -> None:
    """It answers a question in place of a token, is listed as used, and soon of no use when it is revoked."""
    key_file = tmp_path / "report.key"
    key_file.write_text(told(stack, "key", "create", "--scope", "rag.read", "--ttl", "1h", "--description", "report"))
    asked = told(stack, "ask", "--token-file", str(key_file), "--collection", SAMPLE_COLLECTION, QUESTION)
    assert "\nSources:\n[1]" in asked
    key = key_file.read_text().strip()
    key_id = key.split("_")[2]
    assert (await who_am_i(stack, key)).principal == f"key:{key_id}"
    keys = json.loads(told(stack, "key", "list", "--json"))["keys"]
    (listed,) = [each for each in keys if each["key_id"] == key_id]
    assert (listed["key_id"], listed["description"], listed["scopes"]) == (key_id, "report", ["rag.read"])
    assert listed["last_use_time"]
    assert f"{key_id}  good" in told(stack, "key", "list")
    told(stack, "key", "revoke", key_id)
    assert await eventually(lambda: reason(stack, key)) == "TOKEN_REFUSED"
    assert f"{key_id}  revoked" in told(stack, "key", "list")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("key", "create", "--scope", "everything"), "everything is not one (SCOPE_MISSING"),
        (("key", "create", "--scope", "rag.read", "--plan", "none"), "no plan 'none' (PLAN_UNKNOWN"),
        (("key", "create", "--scope", "rag.read", "--ttl", "1y"), "--ttl '1y' is not a duration"),
        (("key", "create", "--scope", "rag.read", "--ttl", "9999d"), "ttl: "),
        (("key", "revoke", "abc"), "there is no API key abc (KEY_NOT_FOUND"),
        (("client", "create", "a b", "--scope", "rag.read"), "'a b' is not a client's name"),
        (("client", "create", "a", "--scope", "everything"), "no method needs the scope 'everything'"),
        (("client", "create", CLIENT, "--scope", "rag.read"), f"there is a client '{CLIENT}' already"),
        (("client", "revoke", "nobody"), "there is no client 'nobody'"),
    ],
)
def test_a_mistake_is_told_in_a_line(stack: RunningStack, arguments: tuple[str, ...], expected: str) -> None:
    """With what would be right, and exit code 1."""
    done = run_weft(stack.stack.state, *arguments)
    assert (done.returncode, expected in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr
