"""What an istiod gives to each proxy: asked by a client in an environment of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from libs.parts.cache import ensure
from libs.parts.install import base_python, install, lock_file, make_venv
from libs.parts.tether import tethered
from tools.localmesh.pods import Pod

CLIENT = Path(__file__).with_name("ads_client.py")
ISTIO_VERSION = "1.31.0"


class AskError(RuntimeError):
    """The client could not ask; the message says why."""


class Proxies:
    """The client, as long as it runs. Ask from one thread at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._line()

    def ask(self, address: str, pods: Sequence[Pod]) -> list[dict[str, Any]]:
        """Clusters, endpoints, listeners and routes of each pod's proxy, in Envoy's JSON. Raises AskError."""
        assert self._process.stdin is not None
        question = {"address": address, "nodes": [_node(pod) for pod in pods]}
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        said = self._line()
        if isinstance(said, dict):
            raise AskError(str(said["error"]))
        return list(said)

    def _line(self) -> Any:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise AskError(f"{CLIENT.name} ended with exit code {self._process.wait()}; see what it wrote above")
        return json.loads(line)


@contextlib.contextmanager
def proxies() -> Iterator[Proxies]:
    """Installs the client's environment if it is not there yet, and runs the client while the context lasts."""
    lock = lock_file("istiod")
    interpreter = f"{base_python()} {sys.version}"
    folder = ensure("istiod-client", [lock], lambda folder: install(make_venv(folder), lock), also=interpreter)
    command = [str(folder / "bin" / "python"), "-I", str(CLIENT)]
    with subprocess.Popen(tethered(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Proxies(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


def _node(pod: Pod) -> dict[str, Any]:
    """As a sidecar says who it is; a pod without a process of its own is a gateway."""
    workload = pod.workload
    region, _, zone = pod.zone.partition("/")
    kind = "sidecar" if pod.app else "router"
    namespace = workload.namespace
    return {
        "id": f"{kind}~{pod.ip}~{pod.name}.{namespace}~{namespace}.svc.cluster.local",
        "cluster": f"{workload.app}.{namespace}",
        "locality": {"region": region, "zone": zone},
        "metadata": {
            "NAMESPACE": namespace,
            "SERVICE_ACCOUNT": workload.service_account,
            "WORKLOAD_NAME": workload.name,
            "NAME": pod.name,
            "INSTANCE_IPS": pod.ip,
            "CLUSTER_ID": "Kubernetes",
            "ISTIO_VERSION": ISTIO_VERSION,
            "MESH_ID": "cluster.local",
            "INTERCEPTION_MODE": "REDIRECT",
            "LABELS": dict(workload.labels),
            "PROXY_CONFIG": {"discoveryAddress": "127.0.0.1:15010"},
        },
    }
