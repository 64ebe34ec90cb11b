"""How each kind of part is started: the stores and Triton as `libs.parts` does it, the services with their settings."""

import dataclasses
import json
import os
import sys
from collections.abc import Callable

from libs.parts.processes import RunningPart, python_environment, start_part, wait_until
from libs.parts.qdrant import start_qdrant
from libs.parts.valkey import start_redis
from tools.stack.issuer import read_issuer
from tools.stack.part import AUDIENCE, Stack
from tools.stack.plans import plans_file

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
    return {setting: told(stack) for setting, told in set_by_the_stack(name).items()}


def set_by_the_stack(name: str) -> dict[str, Recipe]:
    """The settings that a service is told, and how each is made; they go before the environment's."""
    common: dict[str, Recipe] = {
        "LISTEN": _address(name),
        "CONTEXT_KEY_FILE": lambda stack: str(stack.folder("keys") / "context.key"),
        "REDIS_URL": lambda stack: f"redis://:{_secret('redis.password')(stack)}@{stack.address('redis')}/0",
    }
    if endpoint := os.environ.get(OTLP_ENDPOINT):
        common["OTLP_ENDPOINT"] = lambda stack: endpoint
    return common | _OWN_SETTINGS[name]


def _address(part: str) -> Recipe:
    return lambda stack: stack.address(part)


def _secret(file: str) -> Recipe:
    return lambda stack: (stack.folder("keys") / file).read_text().strip()


def _issuers(stack: Stack) -> str:
    keys = stack.folder("keys")
    return json.dumps([{"issuer": read_issuer(keys), "audience": AUDIENCE, "jwks_file": str(keys / "jwks.json")}])


def _tokenizer_file(stack: Stack) -> str:
    from libs.parts.triton import ensure_triton

    return str(ensure_triton().repository / "embed/1/tokenizer.json")


_OWN_SETTINGS: dict[str, dict[str, Recipe]] = {
    "gateway": {
        **{f"UPSTREAMS__{name.upper()}": _address(name) for name in ("rag", "embedding", "inference")},
        "ISSUERS": _issuers,
        "PLANS_FILE": lambda stack: str(plans_file(stack)),
    },
    "rag": {
        "QDRANT_ADDRESS": _address("qdrant"),
        "QDRANT_API_KEY": _secret("qdrant.key"),
        "EMBEDDING_ADDRESS": _address("embedding"),
        "INFERENCE_ADDRESS": _address("inference"),
        "TOKENIZER_FILE": _tokenizer_file,
    },
    "embedding": {"INFERENCE_ADDRESS": _address("inference"), "TOKENIZER_FILE": _tokenizer_file},
    "inference": {
        "TRITON_ADDRESS": _address("triton"),
        "MODEL_SLOTS": lambda stack: os.environ.get("WEFT_INFERENCE_MODEL_SLOTS", LOCAL_MODEL_SLOTS),
    },
}


def _ready_address(log: str) -> str | None:
    """From the line that a service writes when it answers."""
    for line in log.splitlines():
        if line.startswith("{") and '"ready"' in line:
            entry = json.loads(line)
            if entry.get("event") == "ready":
                return str(entry["address"])
    return None
