"""Which processes may get calls: the kubelet's part, by grpc.health.v1, asked of each one itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from libs.telemetry import logs

CHECK_EVERY_S = 0.25
"""While a process does not serve, and always where it knows no Watch: so does Triton."""
PROBE_EVERY_S = 5.0
HUNG_AFTER_S = 10.0
"""A process that is there, and does not answer a check for so long, gets no calls."""

_OPTIONS = (
    # What comes back is found soon, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A process that has another's address later is another.
    ("grpc.use_local_subchannel_pool", 1),
)
_REQUEST = pb.HealthCheckRequest()  # the empty name is the process
_SERVING = pb.HealthCheckResponse.SERVING

OnChange = Callable[[str, bool, str], None]
"""Called with an address, whether it serves now, and why not. Raises OSError where that could not be written."""


class Health:
    """Follows processes at their addresses, host:port, until `stop`.

    One that says that it does not serve, or whose connection ends, does not from that moment on; one that says that it
    does, does.
    """

    def __init__(self, on_change: OnChange) -> None:
        self._on_change = on_change
        self._serving: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def serving(self) -> frozenset[str]:
        return frozenset(self._serving)

    def follow(self, addresses: Iterable[str], believed: Iterable[str] = ()) -> None:
        """These and no others from now on. What is `believed` to serve does so until it was asked."""
        wanted = set(addresses)
        for address in self._tasks.keys() - wanted:
            self._tasks.pop(address).cancel()
            self._serving.discard(address)
        for address in wanted - self._tasks.keys():
            if address in believed:
                self._serving.add(address)
            self._tasks[address] = asyncio.create_task(self._follow(address))

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, address: str) -> None:
        async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while True:
                try:
                    await self._follow_while_it_serves(address, channel, stub)
                except OSError as error:
                    logs.error("health_not_told", error, address=address)
                await asyncio.sleep(CHECK_EVERY_S)

    async def _follow_while_it_serves(
        self, address: str, channel: grpc.aio.Channel, stub: health_pb2_grpc.HealthStub
    ) -> None:
        try:
            await _check(stub, within_s=HUNG_AFTER_S)
            self._set(address, True, "")
            await _until_it_ends(channel, stub)
        except _NotServingError as why:
            self._set(address, False, str(why))
        except grpc.aio.AioRpcError as error:
            self._set(address, False, f"{error.code().name}: {error.details()}"[:200])

    def _set(self, address: str, serves: bool, why: str) -> None:
        if serves == (address in self._serving):
            return
        (self._serving.add if serves else self._serving.discard)(address)
        try:
            self._on_change(address, serves, why)
        except OSError:
            # Nobody knows it yet: the next check tells it again.
            (self._serving.discard if serves else self._serving.add)(address)
            raise


class _NotServingError(Exception):
    """What a process says of itself."""


async def _check(stub: health_pb2_grpc.HealthStub, within_s: float) -> None:
    answer = await stub.Check(_REQUEST, timeout=within_s)  # type: ignore[attr-defined]
    if answer.status != _SERVING:
        raise _NotServingError("it says that it does not serve")


async def _until_it_ends(channel: grpc.aio.Channel, stub: health_pb2_grpc.HealthStub) -> None:
    """Raises what says that the process no longer serves: by Watch where it has one, and by a check now and then."""
    tasks = [asyncio.create_task(_watch(channel, stub)), asyncio.create_task(_probe(stub))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        # An open Watch would keep a server that stops waiting for its end.
        await asyncio.gather(*tasks, return_exceptions=True)


async def _watch(channel: grpc.aio.Channel, stub: health_pb2_grpc.HealthStub) -> None:
    watch = stub.Watch(_REQUEST)  # type: ignore[attr-defined]
    try:
        async for answer in watch:
            if answer.status != _SERVING:
                raise _NotServingError("it says that it does not serve")
        raise _NotServingError("it has ended its Watch")
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            raise
        await _keep_checking(channel, stub)
    finally:
        watch.cancel()


async def _keep_checking(channel: grpc.aio.Channel, stub: health_pb2_grpc.HealthStub) -> None:
    """In place of Watch."""
    lost = asyncio.create_task(channel.wait_for_state_change(grpc.ChannelConnectivity.READY))
    try:
        while True:
            done, _ = await asyncio.wait([lost], timeout=CHECK_EVERY_S)
            if done:
                raise _NotServingError("its connection has ended")
            await _check(stub, within_s=HUNG_AFTER_S)
    finally:
        lost.cancel()


async def _probe(stub: health_pb2_grpc.HealthStub) -> None:
    while True:
        await asyncio.sleep(PROBE_EVERY_S)
        await _check(stub, within_s=HUNG_AFTER_S)
