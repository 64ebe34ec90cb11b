"""Keeps Envoy at what the files say, rules, workloads, replicas and drills, and at which pods serve."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Sequence

from libs.config.files import write_whole
from libs.telemetry import logs
from tools.localmesh.authority import Authority, identities
from tools.localmesh.documents import KUSTOMIZATION
from tools.localmesh.envoy.bootstrap import bootstrap
from tools.localmesh.health import Health
from tools.localmesh.mesh import Edge, Json, Mesh
from tools.localmesh.nodes import shown
from tools.localmesh.pods import HOME_ZONE, Pod
from tools.localmesh.problems import MeshError, Place, Problem
from tools.localmesh.publish import Publisher, RejectedError, SlowError
from tools.localmesh.serve import Server
from tools.localmesh.state import Paths, keep, read_mesh
from tools.localmesh.told import Board, read_status
from tools.localmesh.translate import translate, translate_endpoints
from tools.localmesh.watch import Stamps, changes, stamps

ASK_ENVOY_EVERY_S = 1.0
READ_AGAIN_TIMES = 20
ENVOY_TAKES_WITHIN_S = 2.0


class Controller:
    """`await start()`, then `await follow()` until it is cancelled, then `await stop()`."""

    def __init__(self, paths: Paths, edge: Edge, certificate_ttl_s: float) -> None:
        self._paths = paths
        self._edge = edge
        for folder in (paths.state, paths.xds, paths.envoy):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._authority = Authority(paths.state / "authority", paths.certificates, ttl_s=certificate_ttl_s)
        self._board = Board(paths, edge)
        self._health = Health(self._on_health)
        self._publisher = Publisher(paths.xds, paths.envoy, self._on_change)
        self._server = Server(paths.xds, paths.envoy, self._publisher.content)
        self._envoy_is_slow = False
        self._someone_is_ready = asyncio.Event()
        self._known: Stamps = {}
        self._read_at: Stamps = {}
        before = read_status(paths.state)
        self._ready_before = before.ready if before else ()
        # What calls may follow: while another mesh is being put in force, both.
        self._live: list[tuple[Mesh, frozenset[str]]] = []

    async def start(self) -> None:
        """Makes everything for Envoy. Raises MeshError, with nothing changed, where the files cannot be used; but where
        an Envoy runs, the rules that were in force last go on, and the problems are told."""
        self._known = self._look()
        await self._server.start()
        if await self._publisher.envoy_is_up():
            await self._publisher.news()  # of before: that was told before
            problems = await self._reload()
            if not self._live:
                await self._go_on_with_kept(problems)
                return
        else:
            await self._put_in_force(await asyncio.to_thread(self._read))
            await asyncio.to_thread(self._keep)
        write_whole(self._paths.bootstrap, json.dumps(bootstrap(HOME_ZONE), indent=1))

    async def follow(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_files())
            group.create_task(self._follow_certificates())
            group.create_task(self._follow_envoy())
            group.create_task(self._tell_who_is_ready())

    async def stop(self) -> None:
        """Envoy keeps what it has."""
        await self._health.stop()
        await self._server.stop()

    def _on_change(self) -> None:
        self._server.changed()

    async def _follow_files(self) -> None:
        paths = self._paths
        await self._try_again()
        async for known in changes((paths.rules, paths.base), paths.followed, self._known):
            self._known = known
            await self._reload()
            await self._try_again()

    async def _try_again(self) -> None:
        """While Envoy is no more than slow; the files are read anew each time."""
        while self._envoy_is_slow:
            await self._reload()

    async def _reload(self) -> Sequence[Problem]:
        """Puts the files in force, or tells why not: the problems."""
        problems: Sequence[Problem] = ()
        self._envoy_is_slow = False
        try:
            await self._put_in_force(await asyncio.to_thread(self._read))
            await asyncio.to_thread(self._keep)
        except MeshError as error:
            problems = error.problems
        except RejectedError as error:
            problems = [self._rejected(str(error))]
        except SlowError as error:
            self._envoy_is_slow = True
            problems = [self._problem(f"{error}: the rules are tried again until it has; see `weft logs envoy`")]
        except Exception as error:  # a mistake in the translator leaves the old rules too
            logs.error("translation_failed", error)
            problems = [self._problem(f"the translator fails: {type(error).__name__}: {error}")]
        if problems:
            self._board.refused(problems)
        return problems

    async def _go_on_with_kept(self, problems: Sequence[Problem]) -> None:
        """Health and certificates are followed while the files are mended. What cannot be read leaves Envoy alone."""
        try:
            await self._put_in_force(await asyncio.to_thread(read_mesh, self._paths.kept, self._edge))
        except (MeshError, RejectedError, SlowError) as error:
            logs.error("nothing_was_kept", error)
        self._board.refused(problems)

    def _keep(self) -> None:
        """For a controller that is started when the files are spoilt."""
        try:
            keep(self._paths, lambda: self._look() == self._read_at)
        except OSError as error:
            logs.error("rules_not_kept", error)

    async def _put_in_force(self, mesh: Mesh) -> None:
        before = list(self._live)
        # Another controller found them so, a moment ago or long: calls go on until this one has asked.
        believed = {pod.app for pod in mesh.pods if pod.name in self._ready_before} if not before else ()
        resources = await asyncio.to_thread(translate, mesh)
        self._renew(mesh)
        pods = [pod for live, _ in before for pod in live.pods]
        self._health.follow(_apps([*pods, *mesh.pods]), believed)
        self._live = [*before, (mesh, frozenset(resources.clusters))]
        try:
            published = await self._publisher.publish(resources, self._endpoints)
        except BaseException:
            self._live = before
            self._publisher.publish_endpoints(self._endpoints())
            raise
        self._live = self._live[-1:]
        self._health.follow(_apps(mesh.pods))
        self._board.in_force(published, mesh.drills)
        self._tell_who_left(mesh)

    def _on_health(self, address: str, serves: bool, why: str) -> None:
        self._publisher.publish_endpoints(self._endpoints())
        for mesh, _ in self._live[-1:]:
            names = [pod.name for pod in mesh.pods if pod.app == address]
            logs.info("pod_serves" if serves else "pod_left", pods=names, address=address, why=why)
            self._tell_who_left(mesh)

    def _tell_who_left(self, mesh: Mesh) -> None:
        """At once; who came is told when Envoy knows of them, because then they get calls."""
        self._board.ready(mesh.pods, self._ready(mesh) & frozenset(self._board.status.ready))
        self._someone_is_ready.set()

    async def _tell_who_is_ready(self) -> None:
        while True:
            await self._someone_is_ready.wait()
            self._someone_is_ready.clear()
            await self._server.endpoints_taken(ENVOY_TAKES_WITHIN_S)
            for mesh, _ in self._live[-1:]:
                self._board.ready(mesh.pods, self._ready(mesh))

    def _endpoints(self) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for mesh, clusters in self._live:
            found |= translate_endpoints(mesh.with_ready(self._ready(mesh)), clusters)
        return found

    def _ready(self, mesh: Mesh) -> frozenset[str]:
        return frozenset(pod.name for pod in mesh.pods if pod.app in self._health.serving)

    async def _follow_certificates(self) -> None:
        while True:
            look_at = self._renew(self._live[-1][0]) if self._live else time.time() + ASK_ENVOY_EVERY_S
            await asyncio.sleep(max(0.1, look_at - time.time()))

    def _renew(self, mesh: Mesh) -> float:
        """Certificates for all who need one, before Envoy is told to use them; when to look again, in Unix seconds."""
        pods = (pod.workload for pod in mesh.pods)
        return self._authority.renew(identities(pods), time.time())

    async def _follow_envoy(self) -> None:
        """Tells what an Envoy that was started later does not take of what is there."""
        while True:
            await asyncio.sleep(ASK_ENVOY_EVERY_S)
            if words := await self._publisher.news():
                self._board.refused([self._rejected(words)])

    def _read(self) -> Mesh:
        """The files as they are, and were at one moment: what changes while it is read is read again."""
        for _ in range(READ_AGAIN_TIMES):
            before = self._look()
            try:
                mesh: Mesh | MeshError = read_mesh(self._paths, self._edge)
            except MeshError as error:
                mesh = error
            if self._look() == before:
                self._read_at = before
                break
        if isinstance(mesh, MeshError):
            raise mesh
        return mesh

    def _look(self) -> Stamps:
        return stamps((self._paths.rules, self._paths.base), self._paths.followed)

    def _rejected(self, words: str) -> Problem:
        return self._problem(f"Envoy does not take what the rules make: {words}")

    def _problem(self, text: str) -> Problem:
        """Of all the rules together."""
        return Problem(Place(shown(self._paths.rules / KUSTOMIZATION), 1), "", text)


def _apps(pods: Iterable[Pod]) -> set[str]:
    return {pod.app for pod in pods if pod.app}
