"""Hands resources to Envoy, and keeps them as files, in an order in which no call ever meets a hole."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from libs.parts.envoy import ADMIN_TIMEOUT_S, LOG, AdminError, AdminTimeoutError, ask_admin
from tools.localmesh.envoy.sources import Kind, resource_file
from tools.localmesh.mesh import Json
from tools.localmesh.translate import Resources

TAKEN_WITHIN_S = 10.0
POLL_S = 0.01
_REJECTED = re.compile(r"REST config for \S+ rejected: (.*?)(?=^\[\d{4}-|\Z)", re.DOTALL | re.MULTILINE)
"""In Envoy's log, up to its next entry."""


class RejectedError(Exception):
    """Envoy does not take what it was given; the message is what it says. What was there before is there again."""


class SlowError(Exception):
    """Envoy has neither taken nor rejected what it was given in time; the message is how long that was. What was there
    before is there again."""


class Publisher:
    """The xDS folder, and the Envoy that is given what is there.

    Every file has one version, a hash of its content, by which Envoy tells what it has taken. A file whose content
    stays is not touched. What is in the folder when this is made counts as published.
    """

    def __init__(self, xds: Path, envoy: Path, on_change: Callable[[], None] = lambda: None) -> None:
        """`envoy` is Envoy's working folder (`libs.parts.envoy`). `on_change` is called when a file is another."""
        self._on_change = on_change
        self._folder = xds
        self._envoy = envoy
        self._log = envoy / LOG
        self._log_seen = 0
        self._rejections_seen = 0
        # What Envoy rejects is told to whoever made it.
        self._one_at_a_time = asyncio.Lock()
        for kind in ("rds", "eds", "sds"):
            (xds / kind).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._written = {path: path.read_bytes() for path in xds.rglob("*.json")}
        self.published = self._read()

    async def publish(self, new: Resources, endpoints_now: Callable[[], Mapping[str, Json]]) -> bool:
        """Puts all of `new` in place of what is published; whether anything was different.

        Endpoints, which are asked for when they are written, and clusters come first, and are warm before routes and
        listeners lead calls to them; what nothing leads to any more goes last. Waits for nothing while Envoy is not up:
        it will find the files. Raises RejectedError and SlowError, and then has put back what was there.
        """
        async with self._one_at_a_time:
            return await self._publish(new, endpoints_now)

    async def _publish(self, new: Resources, endpoints_now: Callable[[], Mapping[str, Json]]) -> bool:
        await self._news()
        old, before = self.published, dict(self._written)
        try:
            self._write_each("sds", new.secrets)
            self.publish_endpoints(endpoints_now())
            await self._settle([self._write_all("cds", {**old.clusters, **new.clusters})])
            await self._settle(self._write_each("rds", new.routes))
            await self._settle([self._write_all("lds", new.listeners)])
        except BaseException:
            self._put_back(before)
            raise
        self._write_all("cds", new.clusters)
        self._forget(new)
        self.published = new
        return self._written != before

    async def news(self) -> str:
        """What Envoy says of what it has rejected since it was last asked; "" where it has not, or does not answer.
        Waits for a `publish` that is under way."""
        async with self._one_at_a_time:
            with contextlib.suppress(SlowError):
                return await self._news()
            return ""

    async def _news(self) -> str:
        stats = await self._stats("update_rejected$")
        count = 0 if stats is None else _total(stats, ".update_rejected")
        words = self._words()
        more, self._rejections_seen = count > self._rejections_seen, count
        return (words or "its log says why") if more else ""

    async def envoy_is_up(self) -> bool:
        try:
            return await self._stats("server.live") is not None
        except SlowError:
            return True

    def publish_endpoints(self, endpoints: Mapping[str, Json]) -> None:
        """Endpoints alone, at once; may be called while `publish` waits."""
        self._write_each("eds", endpoints)

    def content(self, path: Path) -> bytes | None:
        """What a file of the folder holds; None where there is none."""
        return self._written.get(path)

    def _write_all(self, kind: Kind, resources: Mapping[str, Json]) -> tuple[str, str] | None:
        return self._write(kind, "", list(resources.values()))

    def _write_each(self, kind: Kind, resources: Mapping[str, Json]) -> list[tuple[str, str] | None]:
        return [self._write(kind, name, [resource]) for name, resource in resources.items()]

    def _write(self, kind: Kind, name: str, resources: list[Json]) -> tuple[str, str] | None:
        """Replaces the file, where that changes it: the end of the name of the statistic that tells Envoy's version of
        it, and which version that will be."""
        version = hashlib.sha256(json.dumps(resources, sort_keys=True).encode()).hexdigest()[:16]
        path = resource_file(self._folder, kind, name)
        content = json.dumps({"version_info": version, "resources": resources}, indent=1).encode()
        if self._written.get(path) == content:
            return None
        _replace(path, content)
        self._written[path] = content
        self._on_change()
        # In the name of a statistic Envoy writes _ for each colon.
        return f".{kind}.{name.replace(':', '_')}.version_text" if name else f".{kind}.version_text", version

    async def _settle(self, written: Iterable[tuple[str, str] | None]) -> None:
        """Waits until Envoy has taken these files, and has warmed what they name. Raises as `publish` does."""
        wanted = [entry for entry in written if entry]
        deadline = time.monotonic() + TAKEN_WITHIN_S
        while wanted:
            stats = await self._stats("(version_text|warming.*|update_rejected)$")
            if stats is None:
                return
            if _total(stats, ".update_rejected") > self._rejections_seen:
                raise RejectedError(await self._news())
            if not _total(stats, "warming_clusters") + _total(stats, "total_listeners_warming"):
                wanted = [(name, version) for name, version in wanted if not _is_at(stats, name, version)]
            if wanted and time.monotonic() > deadline:
                raise SlowError(f"Envoy has not answered within {TAKEN_WITHIN_S:g} s")
            await asyncio.sleep(POLL_S)

    def _put_back(self, before: Mapping[Path, bytes]) -> None:
        for path, content in before.items():
            if self._written.get(path) != content:
                _replace(path, content)
        for path in self._written.keys() - before.keys():
            path.unlink(missing_ok=True)
        self._written = dict(before)
        self._on_change()

    def _forget(self, new: Resources) -> None:
        """Removes the files of what is no more."""
        kept = {resource_file(self._folder, "rds", name) for name in new.routes}
        kept |= {resource_file(self._folder, "eds", name) for name in new.endpoints}
        kept |= {resource_file(self._folder, "sds", name) for name in new.secrets}
        for path in [path for path in self._written if path.parent != self._folder and path not in kept]:
            path.unlink(missing_ok=True)
            del self._written[path]

    async def _stats(self, pattern: str) -> dict[str, str] | None:
        """None while Envoy is not up. Raises SlowError."""
        try:
            answer = await asyncio.to_thread(ask_admin, self._envoy, "GET", f"/stats?filter={quote(pattern)}")
        except AdminTimeoutError:
            raise SlowError(f"Envoy has not answered within {ADMIN_TIMEOUT_S:g} s") from None
        except AdminError:
            return None
        text = answer.decode()
        return {name: value.strip('"') for name, _, value in (line.rpartition(": ") for line in text.splitlines())}

    def _words(self) -> str:
        """What Envoy's log says of rejections since this was last asked."""
        try:
            with self._log.open("rb") as log:
                # It is emptied when it gets long.
                log.seek(self._log_seen if self._log_seen <= os.fstat(log.fileno()).st_size else 0)
                text = log.read().decode(errors="replace")
                self._log_seen = log.tell()
        except OSError:
            return ""
        found = (" ".join(words.split()) for words in _REJECTED.findall(text))
        return "; ".join(dict.fromkeys(found))

    def _read(self) -> Resources:
        """What the folder holds."""

        def found(kind: Kind, key: Callable[[Path, Json], str]) -> dict[str, Json]:
            paths = [path for path in self._written if path.parent.name == kind or path.name == f"{kind}.json"]
            entries = [(path, one) for path in paths for one in json.loads(self._written[path])["resources"]]
            return {key(path, one): one for path, one in entries}

        by_name: Callable[[Path, Json], str] = lambda path, one: str(one["name"])  # noqa: E731
        by_file: Callable[[Path, Json], str] = lambda path, one: unquote(path.stem)  # noqa: E731
        return Resources(
            found("lds", by_name),
            found("cds", by_name),
            found("rds", by_name),
            found("eds", by_file),
            found("sds", by_name),
        )


def _replace(path: Path, content: bytes) -> None:
    """By rename: whole, or not at all. Not synced: what a crash of the machine leaves is written anew."""
    partial = path.with_suffix(".partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    partial.replace(path)


def _total(stats: Mapping[str, str], ending: str) -> int:
    return sum(int(value) for name, value in stats.items() if name.endswith(ending))


def _is_at(stats: Mapping[str, str], ending: str, version: str) -> bool:
    """Whether every subscription to the file has this version. One that nobody has yet is none to wait for."""
    return all(value == version for name, value in stats.items() if name.endswith(ending))
