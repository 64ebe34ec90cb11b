"""A Kubernetes API on loopback, just large enough for istiod: get, list and watch of objects that never change."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tools.meshjudge.kube_objects import Object

KINDS = {
    "configmaps": "ConfigMap",
    "customresourcedefinitions": "CustomResourceDefinition",
    "endpoints": "Endpoints",
    "endpointslices": "EndpointSlice",
    "ingresses": "Ingress",
    "ingressclasses": "IngressClass",
    "leases": "Lease",
    "mutatingwebhookconfigurations": "MutatingWebhookConfiguration",
    "namespaces": "Namespace",
    "nodes": "Node",
    "pods": "Pod",
    "secrets": "Secret",
    "serviceaccounts": "ServiceAccount",
    "services": "Service",
    "validatingwebhookconfigurations": "ValidatingWebhookConfiguration",
}
WAITING_CONNECTIONS = 128


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = WAITING_CONNECTIONS

    def __init__(self, objects: Sequence[Object]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects = objects
        self.ending = threading.Event()


@contextlib.contextmanager
def kube_api(objects: Sequence[Object]) -> Iterator[str]:
    """Serves the objects while the context lasts; answers the API's URL. What would change something is refused."""
    server = _Server(objects)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: istiod's own log tells what it misses."""

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        parts = [part for part in address.path.split("/") if part]
        if parts == ["version"]:
            self._answer(200, {"major": "1", "minor": "34", "gitVersion": "v1.34.0"})
            return
        if parts[:1] == ["api"]:
            version, resource = "v1", parts[2:]
        elif parts[:1] == ["apis"] and len(parts) > 2:
            version, resource = "/".join(parts[1:3]), parts[3:]
        else:
            self._answer(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": []})
            return
        if not resource:
            self._answer(200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": []})
            return
        self._resources(version, resource, parse_qs(address.query))

    def do_POST(self) -> None:
        """Leader elections, config maps and events: istiod goes on without."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._fail(403, "Forbidden")

    do_PUT = do_PATCH = do_DELETE = do_POST

    def _resources(self, version: str, resource: list[str], query: dict[str, list[str]]) -> None:
        namespace = None
        if resource[0] == "namespaces" and len(resource) > 2:
            namespace, resource = resource[1], resource[2:]
        kind = KINDS.get(resource[0], resource[0].rstrip("s").capitalize())
        found = [each for each in self.server.objects if each["kind"] == kind]
        found = [each for each in found if namespace is None or each["metadata"].get("namespace") == namespace]
        for selector in query.get("fieldSelector", ()):
            field, _, name = selector.partition("=")
            if field == "metadata.name":
                found = [each for each in found if each["metadata"]["name"] == name]
        if "as=PartialObjectMetadata" in self.headers.get("Accept", ""):
            version, kind = "meta.k8s.io/v1", "PartialObjectMetadata"
            found = [{"apiVersion": version, "kind": kind, "metadata": each["metadata"]} for each in found]
        if len(resource) > 1:
            named = [each for each in found if each["metadata"]["name"] == resource[1]]
            self._answer(200, named[0]) if named else self._fail(404, "NotFound")
        elif query.get("watch", [""])[0] in ("true", "1"):
            self._watch(found, {"apiVersion": version, "kind": kind}, query.get("sendInitialEvents") == ["true"])
        else:
            metadata = {"resourceVersion": "1"}
            self._answer(200, {"apiVersion": version, "kind": kind + "List", "metadata": metadata, "items": found})

    def _watch(self, objects: Sequence[Object], type_meta: Object, initial: bool) -> None:
        """Stays open without a word, after what is there was told if that was asked for."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            if initial:
                for each in objects:
                    self._event("ADDED", each)
                annotations = {"k8s.io/initial-events-end": "true"}
                self._event("BOOKMARK", {**type_meta, "metadata": {"resourceVersion": "1", "annotations": annotations}})
            self.server.ending.wait()

    def _event(self, kind: str, each: Object) -> None:
        line = (json.dumps({"type": kind, "object": each}) + "\n").encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.flush()

    def _fail(self, code: int, reason: str) -> None:
        self._answer(code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code})

    def _answer(self, code: int, said: Object) -> None:
        body = json.dumps(said).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
