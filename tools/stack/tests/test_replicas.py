"""Which replicas a stack runs, what they are told, and where the mesh has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from libs.parts.processes import free_port
from tools.localmesh.drills import apply_written, drills, fault_of, set_drill, written_are_on
from tools.stack.mesh import prepare_mesh
from tools.stack.options import Options
from tools.stack.part import Declaration, Stack, StackError, declared_stack, load_declaration, start_waves
from tools.stack.parts import stand_in
from tools.stack.replicas import stack_replicas
from tools.stack.start import service_settings, set_by_the_stack

MODULE = "tools.stack.parts"


def declared(**options: object) -> Declaration:
    return load_declaration(f"{MODULE}?{Options(**options).query()}")  # type: ignore[arg-type]


def stack_of(folder: Path, **options: object) -> Stack:
    """With the secrets that services are told, and with ports from 7700 on in the order of the parts."""
    (folder / "keys").mkdir(exist_ok=True)
    for name in ("redis.password", "qdrant.key", "issuer.url"):
        (folder / "keys" / name).write_text(f"{name}\n")
    name = f"{MODULE}?{Options(**options).query()}"  # type: ignore[arg-type]
    parts = load_declaration(name).parts
    ports = {part.name: part.port or 7800 + number for number, part in enumerate(parts)}
    return declared_stack(name, folder, ports)


def addresses(stack: Stack) -> dict[str, str]:
    return {pod.name: pod.ip for pod in stack_replicas(stack).pods(stack)}


def services(declaration: Declaration) -> list[str]:
    return [part.name for part in declaration.parts if part.replica_of]


def test_the_manifests_say_how_many_there_are() -> None:
    """A Deployment without replicas has no part; the mesh stands in front, where the gateway was."""
    plain = declared()
    assert services(plain) == ["gateway", "rag", "embedding", "inference", "inference-gpu"]
    ports = {part.name: part.port for part in plain.parts}
    assert (plain.entry, ports["envoy"], ports["gateway"], ports["mesh"]) == ("envoy", 7700, 7705, 7706)


def test_a_scale_goes_before_the_manifests() -> None:
    """The first replica has the plain name; replicas of one Deployment answer for each other."""
    scaled = declared(scale={"rag": 3, "rag-canary": 1, "inference-gpu": 0})
    assert services(scaled) == ["gateway", "rag", "rag-2", "rag-3", "rag-canary", "embedding", "inference"]
    assert {part.replica_of for part in scaled.parts if part.name.startswith("rag-")} == {"rag", "rag-canary"}


def test_a_stack_begins_without_drills(tmp_path: Path) -> None:
    """One that was on when it was stopped would make its first calls fail, and could not be ended before."""
    stack = stack_of(tmp_path)
    stack = replace(stack, ports={**stack.ports, "envoy": free_port()})
    folder = stack.folder("mesh")
    folder.mkdir()
    set_drill(folder, "rag.weft.svc.cluster.local", fault_of(abort="UNAVAILABLE", percent=100))
    apply_written(folder)
    prepare_mesh(stack)
    assert (drills(folder), written_are_on(folder)) == ({}, False)


def test_without_a_mesh_each_service_is_there_once() -> None:
    """At its old address."""
    plain = declared(mesh=False)
    assert services(plain) == ["gateway", "rag", "embedding", "inference"]
    assert (plain.entry, {part.name: part.port for part in plain.parts}["gateway"]) == ("gateway", 7700)
    assert {"envoy", "mesh"}.isdisjoint(part.name for part in plain.parts)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"scale": {"infrence": 2}},
            "--scale: there is no Deployment 'infrence', did you mean 'inference'?; there are g",
        ),
        ({"scale": {"inference": 17}}, "--scale inference=17: give a number from 0 to 16"),
        ({"scale": {"rag": 0}}, "--scale: nothing would answer for rag; leave at least one of rag, rag-canary"),
        ({"scale": {"redis": 2}}, "--scale redis: it stays one: its data"),
        ({"scale": {"triton-gpu": 2}}, "--scale triton-gpu: it stays one: one Triton"),
        ({"scale": {"edge": 2}}, "--scale edge: it stays one: one Envoy"),
        ({"scale": {"issuer": 2}}, "--scale issuer: there is one issuer"),
        ({"zones": {"rag-2": "local/b"}}, "--zone: there is no replica 'rag-2'; replicas are gateway, rag,"),
        ({"zones": {"rag": "local"}}, "--zone rag=local: write REGION/ZONE"),
    ],
)
def test_what_cannot_be_meant_is_named(options: dict[str, object], told: str) -> None:
    """Before anything is started."""
    with pytest.raises(StackError) as error:
        declared(**options)
    assert str(error.value).startswith(told)


def test_in_the_mesh_each_replica_dials_its_own_proxy(tmp_path: Path) -> None:
    """At an address for each Service that its manifest names; the stores are dialled directly."""
    stack = stack_of(tmp_path, scale={"rag": 2})
    pods = addresses(stack)
    told = {part: service_settings(part, stack) for part in ("gateway", "rag-2")}
    dialled = [told["gateway"][f"UPSTREAMS__{name}"].split(":") for name in ("RAG", "EMBEDDING", "INFERENCE")]
    assert {host for host, _ in dialled} == {pods["gateway"]}
    assert len({port for _, port in dialled}) == 3
    assert told["rag-2"]["EMBEDDING_ADDRESS"].split(":") == [pods["rag-2"], dialled[1][1]]
    assert told["rag-2"]["QDRANT_ADDRESS"] == stack.address("qdrant")
    assert told["rag-2"]["LISTEN"] == stack.address("rag-2")
    assert told["rag-2"]["DRAIN_S"] == "1"


def test_without_a_mesh_services_dial_each_other(tmp_path: Path) -> None:
    """Every Service is the process behind it."""
    stack = stack_of(tmp_path, mesh=False)
    told = service_settings("gateway", stack)
    assert told["UPSTREAMS__RAG"] == stack.address("rag")
    assert service_settings("inference", stack)["TRITON_ADDRESS"] == stack.address("triton")
    assert "DRAIN_S" not in told


@pytest.mark.parametrize("service", ["gateway", "inference"])
def test_all_that_a_service_is_told_is_known(tmp_path: Path, service: str) -> None:
    """`weft config explain` says of these that `weft up` sets them."""
    assert set(service_settings(service, stack_of(tmp_path, mesh=False))) == set_by_the_stack(service)


def test_a_part_starts_after_those_that_it_dials() -> None:
    """Envoy comes first, then who is dialled; nobody waits in a circle."""
    waves = [{part.name for part in wave} for wave in start_waves(declared(scale={"inference": 2}).parts)]
    order = {name: number for number, wave in enumerate(waves) for name in wave}
    assert order["mesh"] < order["envoy"] < order["inference"] == order["inference-2"] < order["embedding"]
    assert order["embedding"] < order["rag"] < order["gateway"]


def test_pods_keep_their_addresses(tmp_path: Path) -> None:
    """However many others there are: a replica more or less changes no listener of another."""
    few, many = (addresses(stack_of(tmp_path, scale={"rag": count})) for count in (1, 16))
    assert {name: many[name] for name in few} == few
    assert len(set(many.values())) == len(many) == len(few) + 15


def test_one_triton_is_two_pods(tmp_path: Path) -> None:
    """Both Deployments of it are the same process."""
    stack = stack_of(tmp_path)
    apps = {pod.name: pod.app for pod in stack_replicas(stack).pods(stack)}
    assert apps["triton"] == apps["triton-gpu"] == stack.address("triton")
    assert apps["edge"] == ""


def test_a_stand_in_is_one_replica_more(tmp_path: Path) -> None:
    """With a pod, a name and a port of its own, in the stack that it knows itself in."""
    stack = stack_of(tmp_path)
    surged, part = stand_in(stack, "inference")
    assert (part.name, part.replica_of) == ("inference-2", "inference")
    assert surged.ports["inference-2"] not in stack.ports.values()
    assert addresses(surged).keys() - addresses(stack).keys() == {"inference-2"}
    assert service_settings("inference-2", surged)["LISTEN"] == surged.address("inference-2")
