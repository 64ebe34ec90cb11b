"""Who gets through a real Envoy to a service, and who does not."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from libs.testing.eventually import eventually
from tools.localmesh.certificates import Pair, make_leaf, make_root
from tools.localmesh.envoy.tests.lab import Lab, call, channel, failure, lab, mode, policy, refused, security, stream

DENIED = grpc.StatusCode.PERMISSION_DENIED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
SPIFFE = "spiffe://cluster.local/ns/weft/sa"
HOUR_S = 3600.0


def source(account: str) -> str:
    return f"from: [{{source: {{principals: [cluster.local/ns/weft/sa/{account}]}}}}]"


def given_up(lab: Lab, why: str) -> bool:
    """Whether Envoy told that a call failed because the service was not trusted, for that reason."""
    lines = [line for line in lab.told() if line["event"] == "call_failed"]
    return any(why in line.get("upstream_failure", "").replace("_", " ") for line in lines)


async def test_pods_talk_under_mutual_tls(tmp_path: Path) -> None:
    """The service learns who called, and Envoy says nothing of calls that go well."""
    async with lab(tmp_path, security(tmp_path / "rules", mode("STRICT"))) as mesh, mesh.channel("friend") as friend:
        got = await call(friend)
    assert f"URI={SPIFFE}/friend" in got["x-forwarded-client-cert"]
    assert mesh.told() == []


async def test_a_message_of_64_mib_passes(tmp_path: Path) -> None:
    """Both proxies hand it on as it comes."""
    async with lab(tmp_path, security(tmp_path / "rules", mode("STRICT"))) as mesh, mesh.channel("friend") as friend:
        got = await call(friend, bytes(64 << 20), timeout_s=60.0)
    assert got["length"] == str(64 << 20)


async def test_plain_text_is_refused(tmp_path: Path) -> None:
    """Under STRICT nobody calls without TLS, and Envoy tells of who tried."""
    async with lab(tmp_path, security(tmp_path / "rules", mode("STRICT"))) as mesh:
        host, port = mesh.inbound
        async with channel(f"{host}:{port}") as direct:
            error = await failure(direct)
        await eventually(lambda: refused(mesh, "WRONG VERSION NUMBER"))
    assert error.code() is UNAVAILABLE


async def test_a_caller_without_a_certificate_is_refused(tmp_path: Path) -> None:
    """TLS alone is not enough."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    async with lab(tmp_path, security(tmp_path / "rules", mode("STRICT"))) as mesh:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            reader, _ = await asyncio.open_connection(*mesh.inbound, ssl=context)
            await reader.readexactly(1)
        await eventually(lambda: refused(mesh, "PEER DID NOT RETURN A CERTIFICATE"))


BAD: dict[str, tuple[Callable[[Pair], Pair], str]] = {
    "another authority": (
        lambda mine: make_leaf(f"{SPIFFE}/friend", make_root("elsewhere", time.time(), HOUR_S), time.time(), HOUR_S),
        "unable to get local issuer certificate",
    ),
    "another trust domain": (
        lambda mine: make_leaf("spiffe://elsewhere/ns/weft/sa/friend", mine, time.time(), HOUR_S),
        "SAN matcher",
    ),
    "expired": (
        lambda mine: make_leaf(f"{SPIFFE}/friend", mine, time.time() - 100.0, 50.0),
        "certificate has expired",
    ),
}


@pytest.mark.parametrize(("make", "why"), BAD.values(), ids=BAD)
async def test_a_caller_with_a_bad_certificate_is_refused(
    tmp_path: Path, make: Callable[[Pair], Pair], why: str
) -> None:
    """Whom no authority of the mesh knows, or not any more, or as somebody of elsewhere, gets no call through."""
    rules = security(tmp_path / "rules", mode("STRICT"))
    async with lab(tmp_path, rules, certificates={"friend": make}) as mesh:
        async with mesh.channel("friend") as friend, mesh.channel("stranger") as other:
            error = await failure(friend)
            await call(other)
        await eventually(lambda: refused(mesh, why))
    assert error.code() is UNAVAILABLE


@pytest.mark.parametrize(("make", "why"), BAD.values(), ids=BAD)
async def test_a_service_with_a_bad_certificate_gets_no_calls(
    tmp_path: Path, make: Callable[[Pair], Pair], why: str
) -> None:
    """A caller is as careful as a service."""
    rules = security(tmp_path / "rules", mode("STRICT"))
    async with lab(tmp_path, rules, certificates={"echo": make}) as mesh, mesh.channel("friend") as friend:
        error = await failure(friend)
        await eventually(lambda: given_up(mesh, why))
    assert error.code() is UNAVAILABLE


async def test_a_service_that_is_somebody_else_gets_no_calls(tmp_path: Path) -> None:
    """A certificate of the mesh is not enough: it must be one of the service's own accounts."""
    wrong: Callable[[Pair], Pair] = lambda mine: make_leaf(f"{SPIFFE}/stranger", mine, time.time(), HOUR_S)  # noqa: E731
    rules = security(tmp_path / "rules", mode("STRICT"))
    async with lab(tmp_path, rules, certificates={"echo": wrong}) as mesh, mesh.channel("friend") as friend:
        error = await failure(friend)
        await eventually(lambda: given_up(mesh, "SAN matcher"))
    assert error.code() is UNAVAILABLE


async def test_permissive_takes_both(tmp_path: Path) -> None:
    """Plain text has no name, mutual TLS has one; and a policy that wants a name lets only that one in."""
    rules = mode("PERMISSIVE") + policy(
        f"{{rules: [{{{source('friend')}}}, {{to: [{{operation: {{methods: [GET]}}}}]}}]}}"
    )
    async with lab(tmp_path, security(tmp_path / "rules", mode("PERMISSIVE"))) as mesh:
        host, port = mesh.inbound
        async with mesh.channel("friend") as friend, channel(f"{host}:{port}") as direct:
            named, nameless = await call(friend), await call(direct)
            await mesh.publish(security(tmp_path / "rules", rules))
            await call(friend)
            error = await failure(direct)
    assert f"URI={SPIFFE}/friend" in named["x-forwarded-client-cert"]
    assert "x-forwarded-client-cert" not in nameless
    assert error.code() is DENIED


async def test_disable_takes_plain_text_only(tmp_path: Path) -> None:
    """Callers do what the service takes: without a DestinationRule they too speak plain text then."""
    async with lab(tmp_path, security(tmp_path / "rules", mode("DISABLE"))) as mesh:
        host, port = mesh.inbound
        async with mesh.channel("friend") as friend, channel(f"{host}:{port}") as direct:
            named, nameless = await call(friend), await call(direct)
    assert "x-forwarded-client-cert" not in named
    assert "x-forwarded-client-cert" not in nameless


FRIEND = f"rules: [{{{source('friend')}}}]"
EVERYBODY = "{rules: [{}]}"
TABLE: dict[str, tuple[tuple[str, ...], bool, bool]] = {
    "no policy": ((), True, True),
    "one caller": ((f"{{{FRIEND}}}",), True, False),
    "nobody": (("{}",), False, False),
    "nobody, but one caller": (("{}", f"{{{FRIEND}}}"), True, False),
    "everybody": ((EVERYBODY,), True, True),
    "deny before allow": ((EVERYBODY, f"{{action: DENY, {FRIEND}}}"), False, True),
    "deny alone": ((f"{{action: DENY, {FRIEND}}}",), False, True),
    "deny whatever": ((EVERYBODY, "{action: DENY, rules: [{}]}"), False, False),
    "for another workload": (("{selector: {matchLabels: {app: friend}}, action: DENY, rules: [{}]}",), True, True),
    "for this workload": ((f"{{selector: {{matchLabels: {{app: echo}}}}, {FRIEND}}}",), True, False),
    "not one caller": (
        ("{rules: [{from: [{source: {notPrincipals: [cluster.local/ns/weft/sa/friend]}}]}]}",),
        False,
        True,
    ),
    "a pattern's start": (
        ("{rules: [{from: [{source: {principals: ['cluster.local/ns/weft/sa/fr*']}}]}]}",),
        True,
        False,
    ),
    "a pattern's end": (("{rules: [{from: [{source: {principals: ['*/sa/stranger']}}]}]}",), False, True),
    "anybody with a name": (("{rules: [{from: [{source: {principals: ['*']}}]}]}",), True, True),
    "a namespace": (("{rules: [{from: [{source: {namespaces: [weft]}}]}]}",), True, True),
    "another namespace": (("{rules: [{from: [{source: {namespaces: [we]}}]}]}",), False, False),
    "not a namespace": (("{rules: [{from: [{source: {notNamespaces: ['w*']}}]}]}",), False, False),
    "a path": (("{rules: [{to: [{operation: {paths: [/lab.Echo/Unary]}}]}]}",), True, True),
    "a start of a path": (("{rules: [{to: [{operation: {paths: ['/lab.*']}}]}]}",), True, True),
    "an end of a path": (("{rules: [{to: [{operation: {paths: ['*/Stream']}}]}]}",), False, False),
    "not a path": (("{rules: [{to: [{operation: {notPaths: [/lab.Echo/Unary]}}]}]}",), False, False),
    "a method": (("{rules: [{to: [{operation: {methods: [POST]}}]}]}",), True, True),
    "another method": (("{rules: [{to: [{operation: {methods: [GET]}}]}]}",), False, False),
    "one of two operations": (
        ("{rules: [{to: [{operation: {methods: [GET]}}, {operation: {paths: ['*']}}]}]}",),
        True,
        True,
    ),
    "all of an operation": (("{rules: [{to: [{operation: {methods: [GET], paths: ['*']}}]}]}",), False, False),
    "the pod's port": (("{rules: [{to: [{operation: {ports: ['50052']}}]}]}",), True, True),
    "the Service's port": (("{rules: [{to: [{operation: {ports: ['50051']}}]}]}",), False, False),
    "who and what": (
        (f"{{rules: [{{{source('friend')}, to: [{{operation: {{paths: [/lab.Echo/Stream]}}}}]}}]}}",),
        False,
        False,
    ),
    "a header": (("{rules: [{when: [{key: 'request.headers[who]', values: [friend]}]}]}",), True, False),
    "not a header": (("{rules: [{when: [{key: 'request.headers[who]', notValues: ['fr*']}]}]}",), False, True),
    "a header that is there": (("{rules: [{when: [{key: 'request.headers[who]', values: ['*']}]}]}",), True, True),
    "a header that is not": (("{rules: [{when: [{key: 'request.headers[x]', values: ['*']}]}]}",), False, False),
    "a principal as a condition": (
        ("{rules: [{when: [{key: source.principal, values: ['*/friend']}]}]}",),
        True,
        False,
    ),
    "a namespace as a condition": (("{rules: [{when: [{key: source.namespace, values: [weft]}]}]}",), True, True),
    "a port as a condition": (
        ("{rules: [{when: [{key: destination.port, notValues: ['50052']}]}]}",),
        False,
        False,
    ),
    "a server's name": (
        ("{rules: [{when: [{key: connection.sni, values: [outbound_.50051_._.echo.weft.svc.cluster.local]}]}]}",),
        True,
        True,
    ),
    "all of the conditions": (
        (
            "{rules: [{when: [{key: 'request.headers[who]', values: ['*']},"
            " {key: source.principal, values: ['*/friend']}]}]}",
        ),
        True,
        False,
    ),
}
"""Specs of policies, and whether the first caller passes, and the second."""


async def test_authorization_by_a_real_envoy(tmp_path: Path) -> None:
    """Each policy lets in whom it says, nobody else, and says PERMISSION_DENIED to the rest."""
    found = {}
    async with lab(tmp_path, security(tmp_path / "rules", mode("STRICT"))) as mesh:
        async with mesh.channel("friend") as friend, mesh.channel("stranger") as stranger:
            for name, (specs, _, _) in TABLE.items():
                policies = "".join(policy(spec, f"number-{number}") for number, spec in enumerate(specs))
                await mesh.publish(security(tmp_path / "rules", mode("STRICT") + policies))
                found[name] = (specs, await _passes(friend, "friend"), await _passes(stranger, "stranger"))
        listeners = mesh.statistic("lds.update_success")
    denied = [line for line in mesh.told() if line["details"].startswith("rbac_access_denied")]
    assert found == TABLE
    assert {line["peer"] for line in denied} == {f"{SPIFFE}/friend", f"{SPIFFE}/stranger"}
    assert listeners == 1, "a change of authorization is no change of listeners"


async def _passes(channel: grpc.aio.Channel, who: str) -> bool:
    try:
        await call(channel, metadata={"who": who})
    except grpc.aio.AioRpcError as error:
        assert error.code() is DENIED, error
        return False
    return True


async def test_a_stream_outlives_a_change_of_authorization(tmp_path: Path) -> None:
    """Who is let in stays; new calls are another matter."""
    async with lab(tmp_path, security(tmp_path / "rules", mode("STRICT"))) as mesh, mesh.channel("friend") as friend:
        ticking = stream(friend)
        assert await ticking.read() == b"tick"
        await mesh.publish(security(tmp_path / "rules", mode("STRICT") + policy(f"{{action: DENY, {FRIEND}}}")))
        error = await failure(friend)
        ticks = [await ticking.read() for _ in range(20)]
        ticking.cancel()
    assert error.code() is DENIED
    assert ticks == [b"tick"] * 20
