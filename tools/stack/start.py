"""How each kind of part is started: the stores and Triton as `libs.parts` does it, the services with their settings."""

import dataclasses
import json
import os
import sys
from collections.abc import Callable

from libs.parts.processes import RunningPart, python_environment, start_part, wait_until
from libs.parts.qdrant import start_qdrant
from libs.parts.valkey import start_redis
from tools.stack.part import LOOPBACK, Stack
from tools.stack.plans import plans_file

SERVICE_READY_WITHIN_S = 60.0
OTLP_ENDPOINT = "WEFT_OTLP_ENDPOINT"  # turns traces on in all services


def start_redis_part(stack: Stack) -> RunningPart:
    password = (stack.folder("keys") / "redis.password").read_text().strip()
    return start_redis(stack.folder("redis"), stack.ports["redis"], password=password, log=stack.log("redis"))


def start_qdrant_part(stack: Stack) -> RunningPart:
    api_key = (stack.folder("keys") / "qdrant.key").read_text().strip()
    return start_qdrant(stack.folder("qdrant"), stack.ports["qdrant"], log=stack.log("qdrant"), api_key=api_key)


def start_triton_part(stack: Stack) -> RunningPart:
    from libs.parts.triton import ensure_triton, start_triton  # brings in gRPC

    return start_triton(ensure_triton(), stack.ports["triton"], log=stack.log("triton"))


def start_service(name: str) -> Callable[[Stack], RunningPart]:
    """A service of this project; ready when its log says so."""

    def start(stack: Stack) -> RunningPart:
        prefix = f"WEFT_{name.upper()}_"
        settings = {prefix + setting: value for setting, value in service_settings(name, stack).items()}
        part = start_part(
            name,
            [sys.executable, "-P", "-m", f"services.{name}"],
            log=stack.log(name),
            address=stack.address(name),
            environment=python_environment() | settings,
        )
        address = wait_until(part, lambda: _ready_address(part.written()), SERVICE_READY_WITHIN_S)
        return dataclasses.replace(part, address=address)

    return start


def service_settings(name: str, stack: Stack) -> dict[str, str]:
    """What a service is told, by the names of its settings without their prefix."""
    keys = stack.folder("keys")
    password = (keys / "redis.password").read_text().strip()
    common = {
        "LISTEN": f"{LOOPBACK}:{stack.ports[name]}",
        "CONTEXT_KEY_FILE": str(keys / "context.key"),
        "REDIS_URL": f"redis://:{password}@{stack.address('redis')}/0",
    }
    if endpoint := os.environ.get(OTLP_ENDPOINT):
        common["OTLP_ENDPOINT"] = endpoint
    return common | _OWN_SETTINGS[name](stack)


def _gateway(stack: Stack) -> dict[str, str]:
    upstreams = {f"UPSTREAMS__{name.upper()}": stack.address(name) for name in ("rag", "embedding", "inference")}
    jwks = str(stack.folder("keys") / "jwks.json")
    return {**upstreams, "JWKS_FILE": jwks, "PLANS_FILE": str(plans_file(stack))}


def _rag(stack: Stack) -> dict[str, str]:
    return {
        "QDRANT_ADDRESS": stack.address("qdrant"),
        "QDRANT_API_KEY": (stack.folder("keys") / "qdrant.key").read_text().strip(),
        "EMBEDDING_ADDRESS": stack.address("embedding"),
        "INFERENCE_ADDRESS": stack.address("inference"),
        "TOKENIZER_FILE": _tokenizer_file(),
    }


def _embedding(stack: Stack) -> dict[str, str]:
    return {"INFERENCE_ADDRESS": stack.address("inference"), "TOKENIZER_FILE": _tokenizer_file()}


def _inference(stack: Stack) -> dict[str, str]:
    return {"TRITON_ADDRESS": stack.address("triton")}


_OWN_SETTINGS: dict[str, Callable[[Stack], dict[str, str]]] = {
    "gateway": _gateway,
    "rag": _rag,
    "embedding": _embedding,
    "inference": _inference,
}


def _tokenizer_file() -> str:
    from libs.parts.triton import ensure_triton

    return str(ensure_triton().repository / "embed/1/tokenizer.json")


def _ready_address(log: str) -> str | None:
    """From the line that a service writes when it answers."""
    for line in log.splitlines():
        if line.startswith("{") and '"ready"' in line:
            entry = json.loads(line)
            if entry.get("event") == "ready":
                return str(entry["address"])
    return None
