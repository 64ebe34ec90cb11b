"""A real istiod, started from files: Kubernetes is a small API on loopback, Istio's objects are files of a folder."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from libs.parts.processes import PartError, RunningPart, free_port, start_part, wait_until
from tools.meshjudge.kube_api import kube_api
from tools.meshjudge.kube_objects import SYSTEM_NAMESPACE, Object

READY_WITHIN_S = 60.0
STARTS = 5
PORT_TAKEN = "address already in use"
ENVIRONMENT = {
    "POD_NAME": "istiod-local",
    "POD_NAMESPACE": SYSTEM_NAMESPACE,
    "CLUSTER_ID": "Kubernetes",
    "ENABLE_CA_SERVER": "false",
    "PILOT_CERT_PROVIDER": "none",
    "INJECTION_WEBHOOK_CONFIG_NAME": "",
    "VALIDATION_WEBHOOK_CONFIG_NAME": "",
    "PILOT_ENABLE_GATEWAY_API": "false",
    "PILOT_ENABLE_IP_AUTOALLOCATE": "false",
    "PILOT_DEBOUNCE_AFTER": "50ms",
    # Filters that only Istio's own build of Envoy has.
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "PILOT_ENABLE_ALPN_FILTER": "false",
}
MESH_CONFIG = {
    "trustDomain": "cluster.local",
    "rootNamespace": SYSTEM_NAMESPACE,
    "enableAutoMtls": True,
    "enablePrometheusMerge": False,
    "ingressControllerMode": "OFF",
    "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
    # So that a CUSTOM policy has somebody to ask.
    "extensionProviders": [
        {"name": "doorman", "envoyExtAuthzGrpc": {"service": "gateway.weft.svc.cluster.local", "port": 50051}}
    ],
}
COMPLAINTS = ("failed to validate", "discarding", "invalid config", "failed to parse", "parse error", "unknown field")

_ERROR = re.compile(r"^Error: (.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


class _PortTakenError(Exception):
    """Somebody was faster: ports are free only until another asks."""


class Refused(Exception):
    """istiod does not take the objects; the message is what it says of them."""


@contextlib.contextmanager
def istiod(binary: Path, objects: Sequence[Object], files: Sequence[Path], folder: Path) -> Iterator[str]:
    """Runs an istiod on the Kubernetes objects and the Istio files, as they are written; answers its xDS address.

    `folder` is empty and gets its settings and log. Raises Refused where it does not start for a file, or leaves out a
    part of one.
    """
    config = folder / "config"
    config.mkdir()
    for number, file in enumerate(files):
        shutil.copy(file, config / f"{number:03}-{file.name}")
    with kube_api(objects) as kubernetes:
        part, address = _start(binary, kubernetes, config, folder)
        try:
            if complaints := [line for line in part.written().splitlines() if _is_complaint(line)]:
                raise Refused("\n".join(complaints))
            yield address
        finally:
            part.stop(grace_s=2.0)


def _start(binary: Path, kubernetes: str, config: Path, folder: Path) -> tuple[RunningPart, str]:
    mesh_config = folder / "mesh.json"
    mesh_config.write_text(json.dumps({**MESH_CONFIG, "configSources": [{"address": f"fs://{config}"}]}))
    kubeconfig = folder / "kubeconfig.json"
    kubeconfig.write_text(json.dumps(_kubeconfig(kubernetes)))
    for _ in range(STARTS):
        with contextlib.suppress(_PortTakenError):
            return _start_once(binary, kubeconfig, mesh_config, folder)
    raise PartError(f"istiod found its ports taken {STARTS} times; see {folder / 'istiod.log'}")


def _start_once(binary: Path, kubeconfig: Path, mesh_config: Path, folder: Path) -> tuple[RunningPart, str]:
    grpc, http, monitoring = (f"127.0.0.1:{free_port()}" for _ in range(3))
    command = [str(binary), "discovery", "--registries=Kubernetes", "--clusterID=Kubernetes", "--domain=cluster.local"]
    command += [f"--kubeconfig={kubeconfig}", f"--meshConfig={mesh_config}", f"--networksConfig={folder / 'none'}"]
    command += [f"--grpcAddr={grpc}", f"--httpAddr={http}", f"--monitoringAddr={monitoring}"]
    command += ["--secureGRPCAddr=", "--httpsAddr=", "--ctrlz_port=0", "--shutdownDuration=0s"]
    log = folder / "istiod.log"
    part = start_part("istiod", command, log=log, environment=ENVIRONMENT, cwd=folder)
    try:
        wait_until(part, lambda: _is_ready(http), READY_WITHIN_S)
    except PartError:
        if not (error := _ERROR.search(part.written())):
            raise
        if PORT_TAKEN in error[1]:
            raise _PortTakenError from None
        # What it says of the rules, without the steps on the way there.
        raise Refused(" ".join(error[1].rpartition("configuration is invalid: ")[2].split())) from None
    return part, grpc


def _kubeconfig(url: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": url}}],
        "users": [{"name": "istiod", "user": {}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "istiod"}}],
        "current-context": "local",
    }


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/ready", timeout=2.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _is_complaint(line: str) -> bool:
    return any(word in line.lower() for word in COMPLAINTS)
