"""The parts of a Weft stack: the services as `k8s/base` has them, what they need, and the mesh between them."""

from __future__ import annotations

import os
from dataclasses import replace

from libs.parts.processes import free_port
from tools.localmesh.problems import MeshError
from tools.localmesh.workloads import read_registry
from tools.stack import setup
from tools.stack.mesh import as_pod, called
from tools.stack.options import Options, check_together, read_options
from tools.stack.part import Declaration, Part, Stack, StackError, load_declaration
from tools.stack.replicas import EDGE, Replica, Replicas, replica_name, replicas, stack_replicas
from tools.stack.start import (
    start_envoy_part,
    start_issuer_part,
    start_mesh_part,
    start_qdrant_part,
    start_redis_part,
    start_service,
    start_triton_part,
)

ENTRY_PORT = 7700
_PORTS = {"gateway": 7705, "rag": 7701, "embedding": 7702, "inference": 7703, "inference-gpu": 7707}
"""Of other replicas any free one."""

_RAG = ("weft.rag.v1.DocumentService", "weft.rag.v1.SearchService", "weft.rag.v1.AnswerService")
_EMBEDDING = ("weft.embedding.v1.EmbeddingService",)
_INFERENCE = ("weft.inference.v1.GenerationService", "inference.GRPCInferenceService")
_HEALTH = {
    # It may still have to reach a service that is back: only then does a call go through.
    "gateway": ("", *_RAG, *_EMBEDDING, *_INFERENCE),
    "rag": ("", *_RAG),
    "embedding": ("", *_EMBEDDING),
    "inference": ("", *_INFERENCE),
}
_STORES = {"gateway": ("redis",), "rag": ("redis", "qdrant"), "embedding": ("redis",), "inference": ("redis",)}
_CLOSING_S = 4.0


def declare(text: str) -> Declaration:
    """By `Options.query`. Raises StackError for options that cannot be meant."""
    options = read_options(text)
    check_together(options)
    try:
        found = replicas(read_registry(), options)
    except MeshError as error:
        raise StackError(f"the manifests cannot be used:\n{error}") from None
    entry = EDGE if options.mesh else "gateway"
    fixed = (
        *(_mesh_parts() if options.mesh else ()),
        Part("issuer", 7704, start_issuer_part),
        Part("triton", 7710, start_triton_part, health=("",)),
        Part("redis", 7711, start_redis_part),
        Part("qdrant", 7712, start_qdrant_part),
    )
    return Declaration(
        parts=(*(_service(replica, found, options) for replica in found.of_services()), *fixed),
        prepare=setup.prepare,
        first_use=setup.first_use,
        hints=setup.hints,
        entry=entry,
        certificate=options.tls_certificate,
        stand_in=stand_in if options.mesh else None,
        others=frozenset({EDGE, "mesh", *(workload.name for workload in found.registry.workloads)}),
    )


def stand_in(stack: Stack, replica_of: str) -> tuple[Stack, Part]:
    """One more replica of a Deployment, on any free port; a pod of the mesh while it runs."""
    module, _, text = stack.declaration.partition("?")
    options = read_options(text)
    count = sum(replica.workload.name == replica_of for replica in stack_replicas(stack).all)
    name = replica_name(replica_of, count)
    more = replace(options, scale={**options.scale, replica_of: count + 1})
    surged = replace(stack, declaration=f"{module}?{more.query()}", ports={**stack.ports, name: free_port()})
    (part,) = (part for part in load_declaration(surged.declaration).parts if part.name == name)
    return surged, replace(part, start=as_pod(part.start, without=stack))


def _mesh_parts() -> tuple[Part, ...]:
    return (
        Part(
            EDGE,
            ENTRY_PORT,
            start_envoy_part,
            needs=("mesh",),
            restart_note="what is still open through it at the end of its drain is cut",
        ),
        Part("mesh", 7706, start_mesh_part, restart_note="calls go on, by the rules that Envoy has"),
    )


def _service(replica: Replica, found: Replicas, options: Options) -> Part:
    app = replica.workload.app
    peers = [part for service, _ in found.registry.dialled_by(replica.workload) for part in found.behind(service)]
    entry = not options.mesh and app == "gateway"
    return Part(
        replica.part,
        ENTRY_PORT if entry else _PORTS.get(replica.part, 0),
        start_service(replica.part),
        needs=(*_STORES[app], *((EDGE,) if options.mesh else ()), *dict.fromkeys(peers)),
        health=_HEALTH[app],
        replica_of=replica.workload.name,
        unseen=called(replica.pod) if options.mesh else lambda stack: "",
        stop_within_s=_seconds(app, "GRACE_S", 10.0) + _seconds(app, "DRAIN_S", 1.0) + _CLOSING_S,
    )


def _seconds(app: str, setting: str, default: float) -> float:
    """As the environment has it for a service; what is no number, the service itself refuses."""
    try:
        return float(os.environ.get(f"WEFT_{app.upper()}_{setting}", default))
    except ValueError:
        return default
