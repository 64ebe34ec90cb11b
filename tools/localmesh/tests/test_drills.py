import json
from pathlib import Path

import pytest

from tools.localmesh.drills import FILE, DrillError, clear_drills, drill_host, drills, fault_of, set_drill
from tools.localmesh.problems import MeshError
from tools.localmesh.rules.faults import Abort, Delay, Fault
from tools.localmesh.workloads import read_registry


def test_drills_are_kept_until_they_are_cleared(tmp_path: Path) -> None:
    """What was set is read back, by host, the last one of a host; after clearing there is none."""
    assert drills(tmp_path) == {}
    set_drill(tmp_path, "a", fault_of(delay_s=1.0, percent=100))
    set_drill(tmp_path, "b", fault_of(abort="UNAVAILABLE", percent=0.1))
    set_drill(tmp_path, "a", fault_of(delay_s=2.0, abort="INTERNAL", percent=10))
    assert drills(tmp_path) == {
        "a": Fault(delay=Delay(100_000, 2.0), abort=Abort(100_000, grpc_status=13)),
        "b": Fault(abort=Abort(1000, grpc_status=14)),
    }
    clear_drills(tmp_path)
    assert drills(tmp_path) == {}


@pytest.mark.parametrize(
    ("delay_s", "abort", "percent", "said"),
    [
        (None, None, 10, "needs a delay"),
        (0.0, None, 10, "delay of 0 s is not within"),
        (1e9, None, 10, "is not within 0.001 to 600"),
        (1.0, None, 0, "0 percent of the calls is not within"),
        (1.0, None, 101, "101 percent"),
        (None, "UNAVAILABEL", 10, "'UNAVAILABEL' is no gRPC status"),
        (None, "OK", 10, "'OK' is no gRPC status"),
    ],
)
def test_what_is_no_drill_is_refused(delay_s: float | None, abort: str | None, percent: float, said: str) -> None:
    """Each value out of its range is refused, with what the range is."""
    with pytest.raises(DrillError, match=said):
        fault_of(delay_s=delay_s, abort=abort, percent=percent)


def test_a_service_is_found_by_its_name_or_its_host() -> None:
    """Both are taken; another is refused with the nearest, and so is the edge, to which no calls go."""
    registry = read_registry()
    assert drill_host(registry, "inference") == drill_host(registry, "inference.weft.svc.cluster.local")
    with pytest.raises(DrillError, match="do you mean inference"):
        drill_host(registry, "inferense")
    for outside in ("edge", "redis", "qdrant"):
        with pytest.raises(DrillError, match="They go to embedding, gateway, inference, rag, triton, triton-gpu"):
            drill_host(registry, outside)


@pytest.mark.parametrize("content", ["{", "[]", '{"a": {"delay": {"share": 1}}}', '{"a": {"dealy": {}}}', '{"a": 1}'])
def test_a_spoilt_file_is_said(tmp_path: Path, content: str) -> None:
    """A file that is none of drills is an error that names it and says what to do."""
    (tmp_path / FILE).write_text(content)
    with pytest.raises(MeshError, match=r"drills\.json:1: is not a file of drills .* delete it"):
        drills(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"delay": {"share": 2_000_000, "fixed_s": 1}}, r"a\.delay\.share: 2000000 is not within 1 to 1000000"),
        ({"delay": {"share": 0, "fixed_s": 1}}, r"a\.delay\.share: 0 is not within"),
        ({"delay": {"share": 1.5, "fixed_s": 1}}, r"a\.delay\.share: 1\.5 is not within"),
        ({"delay": {"share": 1, "fixed_s": -1}}, r"a\.delay\.fixed_s: -1 is not within 0\.001 to 600 "),
        ({"delay": {"share": 1, "fixed_s": float("nan")}}, r"a\.delay\.fixed_s: nan is not within"),
        ({"abort": {"share": 1, "http_status": 200}}, r"a\.abort\.http_status: 200 is not within 400 to 599"),
        ({"abort": {"share": 1, "grpc_status": 17}}, r"a\.abort\.grpc_status: 17 is not within 1 to 16"),
        ({"abort": {"share": 1, "grpc_status": True}}, r"a\.abort\.grpc_status: True is not within"),
        ({"abort": {"share": 1}}, r"a\.abort: needs one of http_status and grpc_status"),
        ({}, "a: needs a delay, an abort, or both"),
    ],
)
def test_what_is_written_by_hand_is_held_to_the_same(tmp_path: Path, content: object, said: str) -> None:
    """A value that no command would have written is refused with the file, the field and what to do."""
    (tmp_path / FILE).write_text(json.dumps({"a": content}))
    with pytest.raises(MeshError, match=rf"drills\.json:1: {said}.*; mend it, or end all drills"):
        drills(tmp_path)
    clear_drills(tmp_path)
    assert drills(tmp_path) == {}
