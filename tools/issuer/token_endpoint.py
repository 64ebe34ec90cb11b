"""OAuth2's token endpoint for client credentials (RFC 6749, section 4.4). Knows no sockets."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote_plus

from tools.issuer.clients import Client, Clients

TOKEN_TTL_S = 3600
FORM = "application/x-www-form-urlencoded"

Sign = Callable[[Client, tuple[str, ...]], str]
"""A token of a client with these scopes, good for TOKEN_TTL_S."""


@dataclass(frozen=True)
class Answer:
    """Status, JSON object and headers of an answer."""

    status: int
    body: Mapping[str, object]
    headers: Mapping[str, str]


class _Refused(Exception):
    """`code` is one of RFC 6749, section 5.2."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.status = status


def token_answer(headers: Mapping[str, str], body: bytes, clients: Clients, sign: Sign) -> Answer:
    """Answers a POST to the token endpoint. `headers`: by their names in lower case."""
    kept_nowhere = {"cache-control": "no-store", "pragma": "no-cache"}
    try:
        form = _form(headers, body)
        client = _client(headers.get("authorization"), form, clients)
        scopes = _granted(form, client)
    except _Refused as refused:
        asks = {"www-authenticate": 'Basic realm="weft", charset="UTF-8"'} if refused.status == 401 else {}
        told = {"error": refused.code, "error_description": refused.description}
        return Answer(refused.status, told, {**kept_nowhere, **asks})
    token = {
        "access_token": sign(client, scopes),
        "token_type": "Bearer",
        "expires_in": TOKEN_TTL_S,
        "scope": " ".join(scopes),
    }
    return Answer(200, token, kept_nowhere)


def _form(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise _Refused("invalid_request", f"the body must be {FORM}")
    try:
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=100, errors="strict")
    except ValueError:
        raise _Refused("invalid_request", f"the body cannot be read as {FORM}") from None
    if twice := [name for name, values in fields.items() if len(values) > 1]:
        raise _Refused("invalid_request", f"{twice[0]} is there more than once")
    return {name: values[0] for name, values in fields.items() if values[0]}


def _client(authorization: str | None, form: Mapping[str, str], clients: Clients) -> Client:
    """Who asks: by client_secret_basic or client_secret_post, not both (RFC 6749, section 2.3)."""
    if authorization is not None:
        if "client_secret" in form:
            raise _Refused("invalid_request", "send the client's secret in one way only")
        client_id, secret = _basic(authorization)
        if form.get("client_id", client_id) != client_id:
            raise _Refused("invalid_request", "client_id is another one than in the header authorization")
    else:
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    client = clients.find(client_id)
    if client is None or not client.has_secret(secret):
        raise _Refused("invalid_client", "there is no such client with this secret", 401)
    return client


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError(scheme)
        client_id, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        if not colon:
            raise ValueError("no colon")
    except (ValueError, binascii.Error):
        raise _Refused(
            "invalid_client", "want the header `authorization: Basic <client_id:client_secret>`", 401
        ) from None
    return unquote_plus(client_id), unquote_plus(secret)


def _granted(form: Mapping[str, str], client: Client) -> tuple[str, ...]:
    """The scopes that are asked for, all of the client's where none is."""
    grant = form.get("grant_type")
    if grant is None:
        raise _Refused("invalid_request", "grant_type is missing")
    if grant != "client_credentials":
        raise _Refused("unsupported_grant_type", "want grant_type=client_credentials")
    wanted = tuple(dict.fromkeys(form.get("scope", "").split())) or client.scopes
    for scope in wanted:
        if scope not in client.scopes:
            raise _Refused("invalid_scope", "the client may not have all of these scopes")
    return wanted
