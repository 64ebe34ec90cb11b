"""The local issuer as its clients see it: a process of its own, standard clients, plain HTTP where they will not do."""

from __future__ import annotations

import base64
import json
import re
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import OAuth2Client

from libs.auth.key_sources import FileKeys
from libs.auth.keys import create_keys
from libs.auth.tokens import Principal
from libs.auth.verifier import Issuer, TokenVerifier
from libs.parts.processes import python_environment, start_part, wait_until
from tools.issuer.clients import Clients
from tools.issuer.server import DISCOVERY_PATHS, MAX_BODY_BYTES, MAX_CONNECTIONS

AUDIENCE = "weft-test"
SCOPES = ("rag.read", "rag.write")


@dataclass(frozen=True)
class Running:
    """An issuer under way, and a client of it."""

    url: str
    keys: Path
    clients: Clients
    secret: str
    log: Path

    def client(self, **options: Any) -> OAuth2Client:
        return OAuth2Client(**{"client_id": "worker", "client_secret": self.secret, "trust_env": False, **options})

    def found(self, path: str) -> Any:
        """A discovery document."""
        return httpx.get(self.url + path, trust_env=False).json()

    def post(self, content: str, **headers: str) -> httpx.Response:
        """A form, sent as it is."""
        sent = {"content-type": "application/x-www-form-urlencoded", **headers}
        return httpx.post(f"{self.url}/oauth/token", content=content, headers=sent, trust_env=False)

    def basic(self, secret: str | None = None) -> dict[str, str]:
        pair = f"worker:{self.secret if secret is None else secret}"
        return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("issuer")
    keys, log = folder / "keys", folder / "issuer.log"
    create_keys(keys)
    clients = Clients(keys)
    _, secret = clients.create("worker", tenant="acme", scopes=SCOPES, now_s=time.time())
    command = [sys.executable, "-m", "tools.issuer", "--keys", str(keys), "--port", "0", "--audience", AUDIENCE]
    part = start_part("issuer", command, log=log, environment=python_environment())
    port = wait_until(part, lambda: re.search(r"^ready (\d+)$", part.written(), re.MULTILINE), 30.0).group(1)
    yield Running(f"http://127.0.0.1:{port}", keys, clients, secret, log)
    assert part.stop() == 0


async def principal(issuer: Running, token: str) -> Principal:
    """Whom a gateway that trusts this issuer takes the token for."""
    keys = FileKeys(issuer.keys / "jwks.json")
    return await TokenVerifier([Issuer(issuer.url, AUDIENCE, keys)]).verify(token, time.time())


@pytest.mark.parametrize("way", ["client_secret_basic", "client_secret_post"])
async def test_a_standard_client_gets_a_token(issuer: Running, way: str) -> None:
    """It finds the token endpoint by discovery; its token is good at a gateway, with the scopes that it asked for."""
    for path in DISCOVERY_PATHS:
        found = issuer.found(path)
        assert (found["issuer"], way in found["token_endpoint_auth_methods_supported"]) == (issuer.url, True)
    client = issuer.client(token_endpoint_auth_method=way, scope="rag.read")
    token = client.fetch_token(found["token_endpoint"], grant_type="client_credentials")
    assert (token["token_type"], token["expires_in"], token["scope"]) == ("Bearer", 3600, "rag.read")
    told = await principal(issuer, token["access_token"])
    assert (told.subject, told.tenant, told.scopes) == ("worker", "acme", frozenset({"rag.read"}))
    assert abs(told.expire_time_s - time.time() - 3600) < 60


async def test_without_a_scope_all_are_granted(issuer: Running) -> None:
    """All that the client has."""
    token = issuer.client().fetch_token(f"{issuer.url}/oauth/token", grant_type="client_credentials")
    assert (await principal(issuer, token["access_token"])).scopes == set(SCOPES)


def test_the_keys_are_published(issuer: Running) -> None:
    """Where discovery says, and no private one."""
    found = issuer.found(DISCOVERY_PATHS[0])
    published = httpx.get(found["jwks_uri"], trust_env=False).json()
    assert published == json.loads((issuer.keys / "jwks.json").read_text())
    assert all("d" not in key for key in published["keys"])


def test_answers_with_tokens_are_kept_nowhere(issuer: Running) -> None:
    """Neither a token nor a refusal may stay in a cache (RFC 6749, section 5.1)."""
    for secret, status in ((issuer.secret, 200), ("wrong", 401)):
        answer = issuer.post("grant_type=client_credentials", **issuer.basic(secret))
        assert (answer.status_code, answer.headers["cache-control"]) == (status, "no-store")


def test_a_standard_client_is_told_what_is_wrong(issuer: Running) -> None:
    """A scope that it may not have, in the words of RFC 6749."""
    client = issuer.client(scope="rag.read keys.write")
    with pytest.raises(OAuthError) as raised:
        client.fetch_token(f"{issuer.url}/oauth/token", grant_type="client_credentials")
    assert raised.value.error == "invalid_scope"


@pytest.mark.parametrize(
    ("form", "secret", "status", "error"),
    [
        ("grant_type=client_credentials", "wrong", 401, "invalid_client"),
        ("grant_type=client_credentials", "", 401, "invalid_client"),
        ("grant_type=client_credentials", None, 401, "invalid_client"),
        ("grant_type=client_credentials&client_id=worker&client_secret=wrong", None, 401, "invalid_client"),
        ("grant_type=client_credentials&client_id=nobody&client_secret=x", None, 401, "invalid_client"),
        ("grant_type=client_credentials&client_secret=x", "right", 400, "invalid_request"),
        ("grant_type=client_credentials&client_id=other", "right", 400, "invalid_request"),
        ("grant_type=password&username=a&password=b", "right", 400, "unsupported_grant_type"),
        ("scope=rag.read", "right", 400, "invalid_request"),
        ("", "right", 400, "invalid_request"),
        ("grant_type=client_credentials&grant_type=client_credentials", "right", 400, "invalid_request"),
        ("grant_type=client_credentials&scope=rag.read&scope=rag.write", "right", 400, "invalid_request"),
        ("grant_type=client_credentials&scope=everything", "right", 400, "invalid_scope"),
        ("grant_type=client_credentials&scope=%22", "right", 400, "invalid_scope"),
        ("&".join(f"a{number}=1" for number in range(200)), "right", 400, "invalid_request"),
        ("grant_type=%ff", "right", 400, "invalid_request"),
    ],
)
def test_every_refusal_is_one_of_the_standards(
    issuer: Running, form: str, secret: str | None, status: int, error: str
) -> None:
    """Code and status are those of RFC 6749, section 5.2; who is not known is told how to say who it is."""
    headers = {} if secret is None else issuer.basic(None if secret == "right" else secret)
    answer = issuer.post(form, **headers)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json()["error_description"]
    assert answer.headers.get("www-authenticate", "").startswith("Basic") == (status == 401)


@pytest.mark.parametrize(
    "authorization", ["Bearer x", "Basic", "Basic !!!", "Basic " + base64.b64encode(b"a").decode()]
)
def test_a_header_that_names_no_client(issuer: Running, authorization: str) -> None:
    """Another scheme, or what cannot be read, is a client that is not known."""
    answer = issuer.post("grant_type=client_credentials", authorization=authorization)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_other_requests_are_refused(issuer: Running) -> None:
    """Another path or method, another media type, and a body that is too long or has no length."""
    url, json_type = f"{issuer.url}/oauth/token", {"content-type": "application/json"}
    assert httpx.get(url, trust_env=False).status_code == 405
    assert httpx.get(issuer.url, trust_env=False).status_code == 404
    assert httpx.post(issuer.url, trust_env=False).status_code == 404
    assert httpx.put(url, trust_env=False).status_code == 501
    assert issuer.post("{}", **json_type).json()["error"] == "invalid_request"
    assert issuer.post("a" * (MAX_BODY_BYTES + 1)).status_code == 413
    assert httpx.post(url, content=iter([b"a=b"]), trust_env=False).status_code == 411


async def test_a_revoked_client_gets_no_token(issuer: Running) -> None:
    """From the moment that it is revoked, and a new one gets one from the moment that it is made."""
    _, secret = issuer.clients.create("short", tenant="acme", scopes=["rag.read"], now_s=time.time())
    client = issuer.client(client_id="short", client_secret=secret)
    token = client.fetch_token(f"{issuer.url}/oauth/token", grant_type="client_credentials")
    assert (await principal(issuer, token["access_token"])).subject == "short"
    issuer.clients.revoke("short")
    with pytest.raises(OAuthError) as raised:
        client.fetch_token(f"{issuer.url}/oauth/token", grant_type="client_credentials")
    assert raised.value.error == "invalid_client"


def test_callers_who_say_nothing_do_not_keep_others_out(issuer: Running) -> None:
    """As many silent connections as are served at a time are hung up on, and then the next one is answered."""
    port = int(issuer.url.rpartition(":")[2])
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(MAX_CONNECTIONS)]
    answer = httpx.get(issuer.url + DISCOVERY_PATHS[0], trust_env=False, timeout=30)
    assert answer.status_code == 200
    for connection in silent:
        connection.close()


def test_no_secret_is_logged(issuer: Running) -> None:
    """Nor a token: also where a caller puts its secret into the URL."""
    httpx.post(f"{issuer.url}/oauth/token?client_secret={issuer.secret}", trust_env=False)
    answer = issuer.post("grant_type=client_credentials", **issuer.basic())
    log = issuer.log.read_text()
    assert '"path": "/oauth/token"' in log
    assert issuer.secret not in log
    assert issuer.basic()["authorization"][6:] not in log
    assert answer.json()["access_token"] not in log
