"""How each kind of part is started: the stores, Triton and Envoy as `libs.parts` does it, the services with their
settings."""

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from libs.parts.processes import RunningPart, python_environment, start_part, wait_until
from libs.parts.qdrant import start_qdrant
from libs.parts.valkey import start_redis
from tools.localmesh.pods import outbound_address
from tools.localmesh.workloads import BASE, Registry, Service, ServicePort, Workload, read_registry
from tools.stack.issuer import read_issuer
from tools.stack.mesh import FOLDER, has_mesh, rules_folder
from tools.stack.options import stack_options
from tools.stack.part import AUDIENCE, Stack
from tools.stack.plans import plans_file
from tools.stack.replicas import Replica, stack_replicas

MESH_DRAIN_S = "1"
"""Seconds from NOT_SERVING to the stop of a replica: by then nobody chooses it any more."""
MESH_READY_WITHIN_S = 30.0
CERTIFICATE_TTL = "WEFT_MESH_CERTIFICATE_TTL_S"  # of the mesh's certificates, in place of the controller's own
SERVICE_READY_WITHIN_S = 60.0
ISSUER_READY_WITHIN_S = 30.0
Recipe = Callable[[Stack], str]
OTLP_ENDPOINT = "WEFT_OTLP_ENDPOINT"  # turns traces on in all services
LOCAL_MODEL_SLOTS = "generate=3"
"""The extractive model shares two cores with all the rest: what more at a time wins nothing and makes each one slow."""


def start_redis_part(stack: Stack) -> RunningPart:
    password = (stack.folder("keys") / "redis.password").read_text().strip()
    return start_redis(stack.folder("redis"), stack.ports["redis"], password=password, log=stack.log("redis"))


def start_qdrant_part(stack: Stack) -> RunningPart:
    api_key = (stack.folder("keys") / "qdrant.key").read_text().strip()
    return start_qdrant(stack.folder("qdrant"), stack.ports["qdrant"], log=stack.log("qdrant"), api_key=api_key)


def start_triton_part(stack: Stack) -> RunningPart:
    from libs.parts.triton import ensure_triton, start_triton  # brings in gRPC

    return start_triton(ensure_triton(), stack.ports["triton"], log=stack.log("triton"))


def start_issuer_part(stack: Stack) -> RunningPart:
    """The OAuth2 token endpoint; ready when it listens."""
    keys = stack.folder("keys")
    options = {"--keys": str(keys), "--port": str(stack.ports["issuer"]), "--issuer": read_issuer(keys)}
    command = [sys.executable, "-P", "-m", "tools.issuer", *(word for option in options.items() for word in option)]
    log, address = stack.log("issuer"), stack.address("issuer")
    part = start_part("issuer", command, log=log, address=address, environment=python_environment())
    wait_until(part, lambda: "ready " in part.written(), ISSUER_READY_WITHIN_S)
    return part


def start_mesh_part(stack: Stack) -> RunningPart:
    """The mesh's controller; ready when Envoy's files are written."""
    options = stack_options(stack)
    said = {
        "--state": stack.folder(FOLDER),
        "--rules": rules_folder(stack),
        "--base": BASE,
        "--edge": stack.entry,
        "--metrics": stack.address("mesh"),
    }
    if ttl_s := os.environ.get(CERTIFICATE_TTL):
        said["--certificate-ttl"] = ttl_s
    if options.tls_certificate and options.tls_key:
        said |= {"--edge-certificate": options.tls_certificate, "--edge-key": options.tls_key}
    command = [
        sys.executable,
        "-P",
        "-m",
        "tools.localmesh",
        *(str(word) for option in said.items() for word in option),
    ]
    log, address = stack.log("mesh"), stack.address("mesh")
    part = start_part("mesh", command, log=log, address=address, environment=python_environment())
    wait_until(part, lambda: _ready_entry(part.written()), MESH_READY_WITHIN_S)
    return part


def start_envoy_part(stack: Stack) -> RunningPart:
    from libs.parts.envoy import start_envoy

    folder = stack.folder(FOLDER)
    return start_envoy(folder / "bootstrap.json", folder / "envoy", log=stack.log("envoy"), address=stack.entry)


def start_service(part_name: str) -> Callable[[Stack], RunningPart]:
    """A replica of a service of this project; ready when its log says so."""

    def start(stack: Stack) -> RunningPart:
        app = stack_replicas(stack).of(part_name).workload.app
        settings = {_prefix(app) + setting: value for setting, value in service_settings(part_name, stack).items()}
        part = start_part(
            part_name,
            [sys.executable, "-P", "-m", f"services.{app}"],
            log=stack.log(part_name),
            address=stack.address(part_name),
            environment=python_environment() | settings,
        )
        entry = wait_until(part, lambda: _ready_entry(part.written()), SERVICE_READY_WITHIN_S)
        return dataclasses.replace(part, address=str(entry["address"]))

    return start


def service_settings(part: str, stack: Stack) -> dict[str, str]:
    """What a replica is told, by the names of its service's settings without their prefix."""
    replica = stack_replicas(stack).of(part)
    own = {setting: told(stack) for setting, told in _OWN_SETTINGS[replica.workload.app].items()}
    settings = _common(stack) | own | _peers(stack, replica) | {"LISTEN": stack.address(part)}
    if has_mesh(stack):
        settings["DRAIN_S"] = os.environ.get(f"{_prefix(replica.workload.app)}DRAIN_S", MESH_DRAIN_S)
    return settings


def set_by_the_stack(service: str) -> frozenset[str]:
    """The settings that a service is told; they go before the environment's."""
    registry = read_registry()
    peers = _peer_settings(registry, registry.workload(service))
    otlp = {"OTLP_ENDPOINT"} if os.environ.get(OTLP_ENDPOINT) else set()
    return frozenset({"LISTEN", "CONTEXT_KEY_FILE", "REDIS_URL", *_OWN_SETTINGS[service], *peers, *otlp})


def _common(stack: Stack) -> dict[str, str]:
    password = (stack.folder("keys") / "redis.password").read_text().strip()
    told = {
        "CONTEXT_KEY_FILE": str(stack.folder("keys") / "context.key"),
        "REDIS_URL": f"redis://:{password}@{stack.address('redis')}/0",
    }
    if endpoint := os.environ.get(OTLP_ENDPOINT):
        told["OTLP_ENDPOINT"] = endpoint
    return told


def _peers(stack: Stack, replica: Replica) -> dict[str, str]:
    """What the manifest says is a Service's address: its own way to it in the mesh, else the process."""
    found = stack_replicas(stack)
    told = {}
    for setting, (service, port) in _peer_settings(found.registry, replica.workload).items():
        if has_mesh(stack) and found.registry.is_in_mesh(service):
            host, number = outbound_address(found.registry, found.pod(stack, replica.part), service, port)
            told[setting] = f"{host}:{number}"
        else:
            told[setting] = stack.address(found.behind(service)[0])
    return told


def _peer_settings(registry: Registry, workload: Workload) -> dict[str, tuple[Service, ServicePort]]:
    """The settings whose values in the manifest are HOST:PORT of a Service."""
    prefix = _prefix(workload.app)
    return {name.removeprefix(prefix): address for name, address in registry.addresses(workload).items()}


def _prefix(app: str) -> str:
    return f"WEFT_{app.upper()}_"


def _secret(file: str) -> Recipe:
    return lambda stack: (stack.folder("keys") / file).read_text().strip()


def _issuers(stack: Stack) -> str:
    keys = stack.folder("keys")
    return json.dumps([{"issuer": read_issuer(keys), "audience": AUDIENCE, "jwks_file": str(keys / "jwks.json")}])


def _tokenizer_file(stack: Stack) -> str:
    from libs.parts.triton import ensure_triton

    return str(ensure_triton().repository / "embed/1/tokenizer.json")


_OWN_SETTINGS: dict[str, dict[str, Recipe]] = {
    "gateway": {"ISSUERS": _issuers, "PLANS_FILE": lambda stack: str(plans_file(stack))},
    "rag": {"QDRANT_API_KEY": _secret("qdrant.key"), "TOKENIZER_FILE": _tokenizer_file},
    "embedding": {"TOKENIZER_FILE": _tokenizer_file},
    "inference": {"MODEL_SLOTS": lambda stack: os.environ.get("WEFT_INFERENCE_MODEL_SLOTS", LOCAL_MODEL_SLOTS)},
}


def _ready_entry(log: str) -> dict[str, Any] | None:
    """The line that a program of this project writes when it answers."""
    for line in log.splitlines():
        if line.startswith("{") and '"ready"' in line:
            entry: dict[str, Any] = json.loads(line)
            if entry.get("event") == "ready":
                return entry
    return None
