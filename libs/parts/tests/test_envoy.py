import contextlib
import http.client
import json
import os
import signal
import socket
import stat
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from libs.parts.envoy import AdminError, EnvoyPart, ask_admin, start_envoy
from libs.parts.processes import PartError, free_port

ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

LIMIT = "envoy.resource_monitors.global_downstream_max_connections"
LIMIT_OF_100 = {
    "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3"
    ".DownstreamConnectionsConfig",
    "max_active_downstream_connections": 100,
}


def bootstrap(folder: Path, port: int, upstream: int) -> Path:
    """Of an Envoy that listens on a loopback port and hands everything on to another."""
    manager = {
        "@type": MANAGER,
        "stat_prefix": "in",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "0s"}}],
                }
            ]
        },
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}
    cluster = {
        "name": "app",
        "load_assignment": {
            "cluster_name": "app",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    listens = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    content = {
        "admin": {"address": {"pipe": {"path": "admin.sock"}}},
        "overload_manager": {"resource_monitors": [{"name": LIMIT, "typed_config": LIMIT_OF_100}]},
        "static_resources": {
            "listeners": [{"name": "in", "address": listens, "filter_chains": [chain]}],
            "clusters": [cluster],
        },
    }
    path = folder / "bootstrap.json"
    path.write_text(json.dumps(content))
    return path


def started(tmp_path: Path, port: int = 0, upstream: int = 1) -> EnvoyPart:
    tmp_path.mkdir(exist_ok=True)
    return start_envoy(bootstrap(tmp_path, port or free_port(), upstream), tmp_path / "envoy", log=tmp_path / "log")


def test_it_is_asked_in_a_folder_of_any_depth_by_its_owner_alone(tmp_path: Path) -> None:
    """The admin interface answers where a socket's path would be too long, in a folder that others cannot enter."""
    deep = tmp_path / ("deep" * 30)
    part = started(deep)
    try:
        assert ask_admin(part.folder, "GET", "/ready") == b"LIVE\n"
        assert stat.S_IMODE((deep / "envoy").stat().st_mode) == 0o700
        assert not part.written()
    finally:
        part.stop()
    with pytest.raises(AdminError, match="does not answer"):
        ask_admin(part.folder, "GET", "/ready")


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """An address in use is a `PartError` that names it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PartError, match=rf"the address 127\.0\.0\.1:{port} is taken"):
            started(tmp_path, port)


def test_a_configuration_that_is_none_is_said(tmp_path: Path) -> None:
    """A bootstrap that Envoy does not take is a `PartError` with Envoy's own words."""
    (tmp_path / "bootstrap.json").write_text('{"no_such_field": 1}')
    with pytest.raises(PartError, match="no_such_field"):
        start_envoy(tmp_path / "bootstrap.json", tmp_path / "envoy", log=tmp_path / "log")


def test_it_starts_again_where_it_was_killed(tmp_path: Path) -> None:
    """After kill -9 the folder, with the socket that is left there, serves the next."""
    first = started(tmp_path)
    os.kill(first.pid, signal.SIGKILL)
    first.stop()
    second = started(tmp_path)
    try:
        assert ask_admin(second.folder, "GET", "/ready") == b"LIVE\n"
    finally:
        second.stop()


def test_a_stop_lets_calls_in_flight_end(tmp_path: Path) -> None:
    """Callers are sent away when Envoy is stopped; a call that is under way gets its answer; then Envoy ends."""
    asked, answer = threading.Event(), threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/slow":
                asked.set()
                assert answer.wait(20)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"late")

        def log_message(self, format: str, *args: object) -> None:
            """Not to the test's output."""

    port, bodies = free_port(), []

    def call() -> None:
        bodies.append(urllib.request.urlopen(f"http://127.0.0.1:{port}/slow", timeout=30).read())

    def sends_callers_away() -> bool:
        kept = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with contextlib.closing(kept):
            kept.request("GET", "/fast")
            return kept.getresponse().headers["connection"] == "close"

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        part = started(tmp_path, port, server.server_port)
        calling = threading.Thread(target=call)
        calling.start()
        assert asked.wait(10)
        stopping = threading.Thread(target=part.stop, args=(30.0,))
        stopping.start()
        deadline = time.monotonic() + 10
        while not sends_callers_away():
            assert time.monotonic() < deadline, "nobody is sent away"
        assert part.running()
        answer.set()
        calling.join(20)
        stopping.join(20)
        server.shutdown()
    assert bodies == [b"late"]
    assert not part.running()
