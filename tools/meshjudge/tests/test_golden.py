"""The local translator against the golden summary of what istiod said."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.localmesh.components import add_component
from tools.localmesh.documents import read_documents, resource_files
from tools.localmesh.mesh import Mesh
from tools.localmesh.pods import Pod
from tools.localmesh.problems import MeshError
from tools.localmesh.rules.read import read_rules
from tools.localmesh.translate import translate
from tools.localmesh.workloads import Registry, read_registry
from tools.meshjudge import golden
from tools.meshjudge.cases import case_names, write_case
from tools.meshjudge.differences import EXPLAINED, differences
from tools.meshjudge.kustomized import with_component, write_objects
from tools.meshjudge.local import CERTIFICATES, PLAIN_EDGE, local_parts
from tools.meshjudge.refusals import REFUSALS
from tools.meshjudge.summary import LONG
from tools.meshjudge.world import world_pods

REMEDY = 'python -m tools.meshjudge --write --istiod "$(.ci/tool istiod)"'


@cache
def world() -> tuple[Registry, Sequence[Pod]]:
    registry = read_registry()
    return registry, world_pods(registry)


def _long(value: Any) -> set[str]:
    return {text for text in _texts(value) if len(text) > LONG}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def test_the_mesh_means_locally_what_it_means_to_istiod() -> None:
    """Of all of `mesh/`, to every workload."""
    told, needed = differences(local_parts(*world(), golden.MESH), golden.golden_mesh())
    assert told == [], f"where mesh/ has changed, and is meant so: {REMEDY}"
    assert needed == set(EXPLAINED), "an explanation that explains nothing goes"


def test_long_texts_are_taken_word_for_word() -> None:
    """The golden summary leaves out what nobody reads."""
    registry, pods = world()
    rules = read_rules(golden.MESH, registry)
    resources = translate(Mesh(registry, tuple(pods), rules, PLAIN_EDGE, CERTIFICATES))
    written = _long(list(yaml.safe_load_all((golden.MESH / "transcoding.yaml").read_text())))
    assert written
    assert _long([resources.listeners[name] for name in resources.listeners if name.startswith("edge|")]) == written


def test_faults_mean_locally_what_they_mean_to_istiod(tmp_path: Path) -> None:
    """Of `mesh/` with its faults component."""
    write_objects(with_component(resource_files(golden.MESH), golden.FAULTS), tmp_path)
    assert differences(local_parts(*world(), tmp_path), golden.golden_faults())[0] == []


def test_a_component_is_applied_as_kustomize_does() -> None:
    """The translator's way and the judge's make the same objects."""
    documents = read_documents(golden.MESH)
    add_component(golden.FAULTS, documents)
    ours = [document.root.plain() for document in documents]
    assert ours == with_component(resource_files(golden.MESH), golden.FAULTS)


@pytest.mark.parametrize("name", case_names())
def test_a_case_means_what_istiod_says_or_is_refused(name: str, tmp_path: Path) -> None:
    """Each means the same, or is refused with file, line and field where that is expected: always where istiod does."""
    write_case(name, tmp_path)
    theirs = golden.golden_case(name)
    if isinstance(theirs, str) or name in REFUSALS:
        with pytest.raises(MeshError) as refusal:
            local_parts(*world(), tmp_path)
        for problem in str(refusal.value).splitlines():
            assert re.match(rf".*/{name}\.yaml:[1-9][0-9]*: .+", problem)
    else:
        assert differences(local_parts(*world(), tmp_path), theirs)[0] == []


def test_every_refusal_is_of_a_case() -> None:
    """And of one that istiod takes: what it refuses needs no reason of ours."""
    assert REFUSALS.keys() <= set(case_names())
    assert [name for name in REFUSALS if isinstance(golden.golden_case(name), str)] == []


def test_every_case_has_a_golden_answer() -> None:
    """And there is none of a case that is no more."""
    written = set(golden.FOLDER.rglob("*.yaml"))
    assert written == {golden.mesh_file(), golden.faults_file(), *map(golden.case_file, case_names())}
