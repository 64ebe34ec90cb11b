"""HTTPRoute of a VirtualService: where calls go, and what is done with them on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tools.localmesh.nodes import Node
from tools.localmesh.problems import Place
from tools.localmesh.rules.faults import Fault
from tools.localmesh.rules.matches import Match, TextMatch


@dataclass(frozen=True)
class HeaderChanges:
    """`set` replaces, `add` adds beside what is there, `remove` comes last."""

    set: Mapping[str, str] = field(default_factory=dict)
    add: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()


@dataclass(frozen=True)
class Headers:
    """Changes on the way there and back."""

    request: HeaderChanges = HeaderChanges()
    response: HeaderChanges = HeaderChanges()


@dataclass(frozen=True)
class Destination:
    """`host` is a full name. `subset` "" is all of it, `port` None the port that was called. `weight` None is not
    written: it is then the only destination, or gets nothing."""

    host: str
    place: Place = field(compare=False)
    subset: str = ""
    port: int | None = None
    weight: int | None = None
    headers: Headers = Headers()


@dataclass(frozen=True)
class Retries:
    """`attempts` 0 is none. `on` None is Istio's default; `ignore_previous_hosts` None too."""

    attempts: int
    place: Place = field(compare=False)
    per_try_timeout_s: float | None = None
    on: tuple[str, ...] | None = None
    ignore_previous_hosts: bool | None = None
    remote_localities: bool = False
    backoff_s: float | None = None


@dataclass(frozen=True)
class Timeout:
    """Of a whole call, with its retries."""

    seconds: float
    place: Place = field(compare=False)


@dataclass(frozen=True)
class CorsPolicy:
    """Which web pages may call. `forward_unmatched`: a preflight from another page goes on to the service."""

    allow_origins: tuple[TextMatch, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age_s: int | None = None
    allow_credentials: bool | None = None
    forward_unmatched: bool = True


@dataclass(frozen=True)
class DirectResponse:
    """An answer without any service."""

    status: int
    body: str | None = None


@dataclass(frozen=True)
class Rewrite:
    """`uri` replaces what the match matched (a prefix, or all)."""

    uri: str = ""
    authority: str = ""


@dataclass(frozen=True)
class Delegate:
    """The VirtualService that says where calls go."""

    name: str
    namespace: str
    place: Place = field(compare=False)


@dataclass(frozen=True)
class HttpRoute:
    """Calls that one of `matches` matches (none: any call) go to `destinations` by weight, or get `direct_response`,
    or go where `delegate` says. `retries` None is Istio's default. `place` is the root's where a delegate was merged
    in, `delegate_place` that of the delegate's own entry."""

    place: Place = field(compare=False)
    name: str = ""
    matches: tuple[Match, ...] = ()
    destinations: tuple[Destination, ...] = ()
    timeout: Timeout | None = None
    retries: Retries | None = None
    fault: Fault | None = None
    headers: Headers | None = None
    cors_policy: CorsPolicy | None = None
    direct_response: DirectResponse | None = None
    rewrite: Rewrite | None = None
    delegate: Delegate | None = None
    delegate_place: Place | None = field(default=None, compare=False)


def read_http_route(node: Node, namespace: str) -> HttpRoute:
    """`namespace` is the VirtualService's. Raises MeshError."""
    raise NotImplementedError
