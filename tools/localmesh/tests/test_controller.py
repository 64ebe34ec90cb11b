"""What changes while calls go on: rules, drills, and mistakes in them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from libs.parts.envoy import LOG
from libs.parts.processes import free_port, python_environment
from libs.testing.eventually import eventually
from tools.localmesh.drills import apply_written, clear_drills, drill_host, fault_of, set_drill
from tools.localmesh.tests.lab import STREAM, Lab, call, load, running_lab

PODS = [("gateway-0", "gateway"), ("rag-0", "rag"), ("rag-1", "rag-canary")]
METRICS = f"127.0.0.1:{free_port()}"


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with running_lab(tmp_path, PODS, "--metrics", METRICS) as lab:
        yield lab


@pytest.fixture
async def channel(lab: Lab) -> AsyncIterator[grpc.aio.Channel]:
    """From the gateway to rag."""
    async with grpc.aio.insecure_channel(lab.outbound("gateway-0", "rag")) as channel:
        yield channel


async def failure(channel: grpc.aio.Channel) -> grpc.StatusCode | None:
    """With what a call ends."""
    try:
        await call(channel)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


async def goes_through(channel: grpc.aio.Channel) -> bool:
    """Whether a call does."""
    return await failure(channel) is None


async def test_changes_take_effect_and_an_open_stream_lives_on(lab: Lab, channel: grpc.aio.Channel) -> None:
    """Shares, authorization, clusters and endpoints that change concern new calls at once, and no open stream."""
    assert await call(channel) == "rag-0"
    stream: Any = channel.stream_stream(STREAM)()
    said = 0

    async def lives_on() -> None:
        nonlocal said
        said += 1
        await stream.write(str(said).encode())
        assert await stream.read() == f"rag-0 {said}".encode()

    async def led_to(name: str) -> bool:
        return await call(channel) == name

    await lives_on()
    lab.rewrite("routing.yaml", "subset: stable", "subset: canary")
    await eventually(lambda: led_to("rag-1"))
    await lives_on()
    lab.rewrite("authorization.yaml", "sa/gateway", "sa/embedding")
    assert await eventually(lambda: failure(channel)) is grpc.StatusCode.PERMISSION_DENIED
    await lives_on()
    lab.rewrite("authorization.yaml", "sa/embedding", "sa/gateway")
    await eventually(lambda: goes_through(channel))
    published = lab.status().published
    lab.rewrite("traffic.yaml", "connectTimeout: 1s", "connectTimeout: 2s")
    lab.rewrite("traffic.yaml", "name: stable, labels: {version: stable}", "name: stable, labels: {app: rag}")
    await lab.published(published + 1)
    await lives_on()
    await lab.backends["rag-0"].health_says(False)
    await lab.ready("gateway-0", "rag-1")
    await lives_on()


async def test_a_mistake_leaves_the_old_rules_and_is_told_until_it_is_mended(
    lab: Lab, channel: grpc.aio.Channel
) -> None:
    """Two mistakes are told together, with file, line and field, in the status, a metric and the log; Envoy's files
    stay byte for byte, and calls go on. When both are mended, that is told too."""

    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(lab.paths.xds.rglob("*.json"))}

    before = files()
    async with load(channel) as made:
        lab.rewrite("routing.yaml", "weight: 100", "weihgt: 100")
        lab.rewrite("identity.yaml", "mode: STRICT", "mode: STRIKT")
        await eventually(lambda: len(lab.status().problems) == 2)
        told = {problem.file.rpartition("/")[2]: problem for problem in lab.status().problems}
        weight = (lab.paths.rules / "routing.yaml").read_text().splitlines()[told["routing.yaml"].line - 1]
        assert "weihgt" in weight
        assert told["routing.yaml"].field == "spec.http[0].route[0].weihgt"
        assert told["identity.yaml"].field == "spec.mtls.mode"
        assert "STRIKT" in told["identity.yaml"].message
        assert lab.status().rules == "refused"
        assert metric("weft_mesh_rules_refused") == 1
        assert files() == before
        lab.rewrite("routing.yaml", "weihgt: 100", "weight: 100")
        await eventually(lambda: len(lab.status().problems) == 1)
        lab.rewrite("identity.yaml", "mode: STRIKT", "mode: STRICT")
        await eventually(lambda: lab.status().rules == "in force")
    assert metric("weft_mesh_rules_refused") == 0
    assert files() == before
    assert not made.failures
    controller = lab.controller
    assert controller
    await eventually(lambda: '"rules_mended"' in controller.written())


async def test_what_envoy_does_not_take_is_told_in_its_words(lab: Lab, channel: grpc.aio.Channel) -> None:
    """Rules that Envoy itself rejects are told like a mistake, and what was there before is there again; also when its
    log has been emptied meanwhile."""
    before = {path: path.read_bytes() for path in lab.paths.xds.rglob("*.json")}
    for _ in range(2):
        lab.rewrite("transcoding.yaml", "max_request_bytes: 8388608", "max_request_bytes: 0")
        await eventually(lambda: lab.status().problems)
        [problem] = lab.status().problems
        assert problem.text.startswith("Envoy does not take what the rules make: ")
        assert "MaxRequestBytes" in problem.text
        assert {path: path.read_bytes() for path in lab.paths.xds.rglob("*.json")} == before
        assert await call(channel) == "rag-0"
        lab.rewrite("transcoding.yaml", "max_request_bytes: 0", "max_request_bytes: 8388608")
        await eventually(lambda: not lab.status().problems)
        os.truncate(lab.paths.envoy / LOG, 0)


async def test_a_drill_is_followed_and_ends(lab: Lab, channel: grpc.aio.Channel) -> None:
    """A fault for a drill is on every call as soon as it is set, and gone as soon as it is cleared."""
    state = lab.paths.state
    set_drill(state, drill_host(lab.registry, "rag"), fault_of(abort="DATA_LOSS", percent=100))
    assert await eventually(lambda: failure(channel)) is grpc.StatusCode.DATA_LOSS
    await eventually(lambda: lab.status().drills == ("rag.weft.svc.cluster.local",))
    clear_drills(state)
    await eventually(lambda: goes_through(channel))


async def test_the_written_faults_are_followed_and_end(lab: Lab, channel: grpc.aio.Channel) -> None:
    """The component `faults` is applied as written while somebody asks for it; a mistake in it is told as its own."""
    file = lab.paths.rules / "faults/kustomization.yaml"
    written = file.read_text()
    file.write_text(written.replace("value: 0.1", "value: 100").replace("fixedDelay: 1s", "fixedDelay: 1ms"))
    assert await goes_through(channel)
    apply_written(lab.paths.state)
    assert await eventually(lambda: failure(channel)) is grpc.StatusCode.UNAVAILABLE
    file.write_text(written.replace("rag-routing", "rug-routing"))
    await eventually(
        lambda: [problem.text for problem in lab.status().problems] == ["there is no VirtualService rug-routing"]
    )
    assert lab.status().problems[0].file.endswith("faults/kustomization.yaml")
    assert await failure(channel) is grpc.StatusCode.UNAVAILABLE
    clear_drills(lab.paths.state)
    await eventually(lambda: goes_through(channel))


@pytest.mark.timeout(300)
async def test_fifty_changes_under_load_fail_no_call(lab: Lab, channel: grpc.aio.Channel) -> None:
    """Subsets that come, get all calls, and go, fifty times in a row: no call meets a hole."""
    async with load(channel) as made:
        for number in range(50):
            published = lab.status().published
            old, new = (f"s{number - 1}" if number else "stable"), f"s{number}"
            lab.rewrite("traffic.yaml", f"name: {old}, labels: {{version: ", f"name: {new}, labels: {{version: ")
            lab.rewrite("routing.yaml", f"subset: {old}}}", f"subset: {new}}}")
            await lab.published(published + 1)
    assert made.failures == []
    assert made.answers["rag-0"] > 500


async def test_spoilt_rules_are_nothing_to_start_with(tmp_path: Path) -> None:
    """Without rules that were in force, the process ends with the problems, all of them, and with code 1."""
    async with running_lab(tmp_path, [("gateway-0", "gateway")]) as lab:
        assert lab.controller
        await asyncio.to_thread(lab.controller.stop)
        lab.rewrite("routing.yaml", "weight: 100", "weight: many")
        command = [sys.executable, "-m", "tools.localmesh", "--state", str(tmp_path / "new"), "--edge", lab.edge]
        command += ["--rules", str(lab.paths.rules), "--base", str(lab.paths.base)]
        ended = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, env=python_environment(), timeout=30
        )
        assert ended.returncode == 1
        assert (
            "routing.yaml:" in ended.stderr and "spec.http[0].route[0].weight: must be a whole number" in ended.stderr
        )


def metric(name: str) -> float:
    text = urllib.request.urlopen(f"http://{METRICS}/metrics", timeout=10).read().decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))
