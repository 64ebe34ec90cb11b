"""HTTPRoute of a VirtualService: where calls go, and what is done with them on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tools.localmesh.problems import Place
from tools.localmesh.rules.faults import Fault
from tools.localmesh.rules.matches import Match, TextMatch


@dataclass(frozen=True)
class HeaderChanges:
    """`remove` comes first; `set` replaces, `add` adds beside what is there."""

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
    """`host` is a full name. `subset` "" is all of it; `port` None is its only one, or the one that was called.
    `weight` is the share beside other destinations."""

    host: str
    place: Place = field(compare=False)
    path: str = field(default="", compare=False)
    subset: str = ""
    port: int | None = None
    weight: int = 0
    headers: Headers = Headers()


@dataclass(frozen=True)
class Retries:
    """`attempts` 0 is none. `on`: words and codes of HTTP; () is Istio's default. `ignore_previous_hosts`: another
    try goes to another replica."""

    attempts: int
    place: Place | None = field(default=None, compare=False)
    path: str = field(default="", compare=False)
    per_try_timeout_s: float | None = None
    on: tuple[str, ...] = ()
    ignore_previous_hosts: bool = True
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
    """`uri` replaces what was matched: a prefix, or all of the path. "" leaves as it is."""

    uri: str = ""
    authority: str = ""


@dataclass(frozen=True)
class Delegate:
    """The VirtualService that says where calls go."""

    name: str
    namespace: str
    place: Place = field(compare=False)
    path: str = field(default="", compare=False)


@dataclass(frozen=True)
class HttpRoute:
    """Calls that one of `matches` matches (none: any call) go to `destinations` by weight, or get `direct_response`,
    or go where `delegate` says. `retries` None is Istio's default.

    After delegates are merged in, `place` is the root's entry and `delegate_place` the delegate's.
    """

    place: Place = field(compare=False)
    path: str = field(default="", compare=False)
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
