from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tools.localmesh.envoy.sources import resource_file
from tools.localmesh.mesh import Json, typed
from tools.localmesh.publish import Publisher
from tools.localmesh.translate import Resources

ROUTES = "envoy.config.route.v3.RouteConfiguration"
CLUSTER = "envoy.config.cluster.v3.Cluster"
ENDPOINTS = "envoy.config.endpoint.v3.ClusterLoadAssignment"


def resources(*names: str, timeout: str = "1s") -> Resources:
    """A cluster, its endpoints and its routes for each name."""

    def each(kind: str, key: str = "name", **fields: object) -> dict[str, Json]:
        return {name: typed(kind, **{key: name, **fields}) for name in names}

    routes = each(ROUTES)
    routes[names[-1]]["timeout"] = timeout
    return Resources({}, each(CLUSTER), routes, each(ENDPOINTS, "cluster_name"), {})


def written(xds: Path) -> dict[str, tuple[int, bytes]]:
    """What is in the folder, and which file it is."""
    return {path.name: (path.stat().st_ino, path.read_bytes()) for path in xds.rglob("*.json")}


async def test_only_what_is_different_is_written(tmp_path: Path) -> None:
    """One route that changes is one file that is replaced; the same again is none."""
    xds = tmp_path / "xds"
    publisher = Publisher(xds, tmp_path / "envoy")
    first, second = resources("a|1", "b|2"), resources("a|1", "b|2", timeout="2s")
    assert await publisher.publish(first, lambda: first.endpoints)
    before = written(xds)
    assert not await publisher.publish(first, lambda: first.endpoints)
    assert written(xds) == before
    assert await publisher.publish(second, lambda: second.endpoints)
    after = written(xds)
    assert [path for path in after if after[path] != before.get(path)] == [resource_file(xds, "rds", "b|2").name]


async def test_what_is_no_more_leaves_no_file(tmp_path: Path) -> None:
    """Files of resources that are gone are removed, and nothing but the files of the others is left."""
    xds = tmp_path / "xds"
    publisher = Publisher(xds, tmp_path / "envoy")
    both, one = resources("a|1", "b|2"), resources("a|1")
    await publisher.publish(both, lambda: both.endpoints)
    await publisher.publish(one, lambda: one.endpoints)
    assert {path for path in xds.rglob("*") if path.is_file()} == {
        resource_file(xds, "cds"),
        resource_file(xds, "lds"),
        resource_file(xds, "rds", "a|1"),
        resource_file(xds, "eds", "a|1"),
    }


async def test_the_next_publisher_knows_what_is_there(tmp_path: Path) -> None:
    """What is in the folder counts as published, so that a controller that starts again makes no hole."""
    xds = tmp_path / "xds"
    first = resources("a|1", "b|2")
    await Publisher(xds, tmp_path / "envoy").publish(first, lambda: first.endpoints)
    again = Publisher(xds, tmp_path / "envoy")
    assert again.published == first
    assert not await again.publish(first, lambda: first.endpoints)


async def test_what_failed_leaves_nothing(tmp_path: Path) -> None:
    """Files that a change which did not come about has made are gone, and those that it replaced are back."""
    xds = tmp_path / "xds"
    publisher = Publisher(xds, tmp_path / "envoy")
    first = resources("a|1")
    await publisher.publish(first, lambda: first.endpoints)
    before = {path: path.read_bytes() for path in xds.rglob("*.json")}
    secrets = {"new": typed("envoy.extensions.transport_sockets.tls.v3.Secret", name="new")}

    def fail() -> dict[str, Json]:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        await publisher.publish(replace(resources("a|1", "b|2"), secrets=secrets), fail)
    assert {path: path.read_bytes() for path in xds.rglob("*.json")} == before
    assert publisher.content(resource_file(xds, "sds", "new")) is None


async def test_clusters_come_before_and_go_after_what_leads_to_them(tmp_path: Path) -> None:
    """While routes change, the old clusters and the new ones are both there."""
    xds = tmp_path / "xds"
    seen: list[tuple[list[str], bool]] = []

    def look() -> None:
        content = publisher.content(resource_file(xds, "cds")) or b'{"resources": []}'
        names = [cluster["name"] for cluster in json.loads(content)["resources"]]
        seen.append((names, publisher.content(resource_file(xds, "rds", "b|2")) is not None))

    publisher = Publisher(xds, tmp_path / "envoy", look)
    old, new = resources("a|1"), resources("b|2")
    await publisher.publish(old, lambda: old.endpoints)
    seen.clear()
    await publisher.publish(new, lambda: new.endpoints)
    assert next(names for names, led in seen if led) == ["a|1", "b|2"]
    assert seen[-1] == (["b|2"], True)


async def test_nobody_else_reads_the_files(tmp_path: Path) -> None:
    """They are their owner's."""
    xds = tmp_path / "xds"
    first = resources("a|1")
    await Publisher(xds, tmp_path / "envoy").publish(first, lambda: first.endpoints)
    assert {path.stat().st_mode & 0o777 for path in xds.rglob("*.json")} == {0o600}
