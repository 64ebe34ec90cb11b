"""A stack's settings file is read again while it runs, and a spoilt one changes nothing but what is told of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import weft.client
from libs.config.files import write_whole
from libs.testing.eventually import eventually
from tests.commands import run_weft
from tests.conftest import RunningStack
from tools.stack.plans import plans_file
from weft.gateway.v1 import identity_service_pb2, settings_service_pb2

TENANT = "reloaded"


@dataclass(frozen=True)
class SettingsFile:
    """A stack's settings file, and what stood in it before the test."""

    path: Path
    before: str

    def add(self, lines: str) -> None:
        write_whole(self.path, self.before + lines)

    def restore(self) -> None:
        write_whole(self.path, self.before)


@pytest.fixture
def file(stack: RunningStack) -> Iterator[SettingsFile]:
    """It is as it was afterwards."""
    path = plans_file(stack.stack)
    found = SettingsFile(path, path.read_text())
    yield found
    found.restore()


def told_settings(stack: RunningStack) -> Any:
    return json.loads(run_weft(stack.stack.state, "status", "--json").stdout)["settings"]


async def settings(client: weft.client.Client) -> settings_service_pb2.GetSettingsResponse:
    response = await client.settings.GetSettings(settings_service_pb2.GetSettingsRequest())
    assert isinstance(response, settings_service_pb2.GetSettingsResponse)
    return response


async def refusal(client: weft.client.Client) -> str:
    """The reason of a call's refusal; empty where it is answered."""
    try:
        await client.identity.WhoAmI(identity_service_pb2.WhoAmIRequest())
    except weft.client.CallError as error:
        return error.reason
    return ""


async def test_a_new_limit_is_in_force_without_a_restart(stack: RunningStack, file: SettingsFile) -> None:
    """A tenant that had none is refused after its first call; when the line goes, it is let in again."""
    async with weft.client.connect(stack.address, token=stack.token(tenant=TENANT)) as client:
        assert await refusal(client) == ""
        version = (await settings(client)).version
        file.add(f"tenants: {{{TENANT}: {{limits: {{groups: {{read: {{hour: 1}}}}}}}}}}\n")
        await eventually(lambda: refused(client), within_s=30.0)
        file.restore()

        async def let_in() -> bool:
            return await refusal(client) == ""

        await eventually(let_in, within_s=30.0)
        assert (await settings(client)).version == version


async def refused(client: weft.client.Client) -> bool:
    return await refusal(client) == "RATE_LIMITED"


async def test_a_spoilt_file_is_told_by_status(stack: RunningStack, file: SettingsFile) -> None:
    """`weft status` names the version in force, and what is wrong with the file as it is now, until it is right."""
    async with weft.client.connect(stack.address, token=stack.token(tenant=TENANT)) as client:
        version = (await settings(client)).version
        file.add("tenants:\n  reloaded: {plan: tets}\n")
        told = await eventually(lambda: problems(client), within_s=30.0)
        line = len(file.before.splitlines()) + 2
        assert told == [f"plans.yaml:{line}: tenants.reloaded.plan: there is no plan 'tets'; did you mean 'tests'?"]
        state = told_settings(stack)
        assert (state["file"], state["version"], state["problems"]) == (str(file.path), version, told)
        shown = run_weft(stack.stack.state, "status").stdout
        assert f"Settings {version} of {file.path}, in force since " in shown
        assert told[0] in shown
        assert await refusal(client) == ""
        file.restore()
        await eventually(lambda: no_problems(client), within_s=30.0)
    assert told_settings(stack)["problems"] == []


async def problems(client: weft.client.Client) -> list[str]:
    return list((await settings(client)).problems)


async def no_problems(client: weft.client.Client) -> bool:
    return not await problems(client)
