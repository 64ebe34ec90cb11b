"""The issuer's HTTP: discovery, keys and the token endpoint, on a few threads."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from libs.auth.keys import create_keys
from libs.auth.tokens import sign_token
from tools.issuer.clients import Client, ClientError, Clients
from tools.issuer.token_endpoint import TOKEN_TTL_S, Answer, token_answer

JWKS_PATH = "/jwks.json"
TOKEN_PATH = "/oauth/token"
DISCOVERY_PATHS = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")
MAX_BODY_BYTES = 16 << 10
MAX_CONNECTIONS = 32
PATIENCE_S = 5.0
"""A connection that is silent for so long is hung up on."""


def metadata(issuer: str) -> Mapping[str, object]:
    """What discovery tells: OpenID Connect Discovery 1.0 and RFC 8414, of an issuer without a login page."""
    return {
        "issuer": issuer,
        "token_endpoint": issuer + TOKEN_PATH,
        "jwks_uri": issuer + JWKS_PATH,
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }


class IssuerServer(ThreadingHTTPServer):
    """Signs tokens with the key in `keys`, a folder of `libs.auth.keys`, for the clients there."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, keys: Path, port: int, issuer: str, audience: str) -> None:
        """Raises KeyFileError where the keys cannot be used, OSError where the port is taken."""
        self.keys = create_keys(keys)
        self.clients = Clients(keys)
        self._audience = audience
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(("127.0.0.1", port), _Handler)
        self.issuer = issuer or f"http://127.0.0.1:{self.server_port}"
        self._signing_key = self.keys.signing_key_file.read_bytes()

    def sign(self, client: Client, scopes: tuple[str, ...]) -> str:
        """A token like those of `weft token`."""
        return sign_token(
            self._signing_key,
            self.keys.key_id,
            subject=client.client_id,
            tenant=client.tenant,
            scopes=scopes,
            ttl_s=TOKEN_TTL_S,
            issuer=self.issuer,
            audience=self._audience,
            now_s=time.time(),
        )

    def process_request(self, request: Any, client_address: Any) -> None:
        """Whoever comes when all threads are busy waits in the listener's queue."""
        self._slots.acquire()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that leaves is nothing to log; anything else is."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One request a connection."""

    server: IssuerServer
    timeout = PATIENCE_S

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in DISCOVERY_PATHS:
            self._send(Answer(200, metadata(self.server.issuer), {"cache-control": "no-cache"}))
        elif path == JWKS_PATH:
            keys = json.loads(self.server.keys.jwks_file.read_bytes())
            self._send(Answer(200, keys, {"cache-control": "no-cache"}))
        elif path == TOKEN_PATH:
            self._send(Answer(405, _error("invalid_request", "want POST"), {"allow": "POST"}))
        else:
            self._send(Answer(404, _error("not_found", f"look at {DISCOVERY_PATHS[0]}"), {}))

    def do_POST(self) -> None:
        if self.path.partition("?")[0] != TOKEN_PATH:
            self._send(Answer(404, _error("not_found", f"tokens are at {TOKEN_PATH}"), {}))
            return
        size = self.headers.get("content-length", "")
        if not (size.isascii() and size.isdigit() and len(size) < 10 and int(size) <= MAX_BODY_BYTES):
            told = _error("invalid_request", f"want a content-length of at most {MAX_BODY_BYTES}")
            self._send(Answer(413 if size.isdigit() else 411, told, {}))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(size))
        try:
            answer = token_answer(headers, body, self.server.clients, self.server.sign)
        except ClientError as error:
            print(f"clients: {error}", flush=True)
            answer = Answer(500, _error("server_error", "the clients cannot be read: see the issuer's log"), {})
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        body = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"content-type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "weft-issuer"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Without what follows the path: a caller may have put its secret there."""
        path = getattr(self, "path", "").partition("?")[0]
        print(json.dumps({"time": time.time(), "method": self.command, "path": path, "status": int(code)}), flush=True)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing else is logged."""


def _error(code: str, description: str) -> Mapping[str, object]:
    return {"error": code, "error_description": description}
