"""A service as a process: `run(name, Settings, build)` is all that its `__main__` does.

Import this before anything that imports grpc: gRPC reads its environment when it is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, TypeVar

from libs.auth.context import ContextKeyError
from libs.config.settings import ServiceSettings, SettingsError, load

if TYPE_CHECKING:
    from libs.rpc.server import Component

# With uvloop, gRPC's own event engine costs a quarter of a call's time and buys nothing; nobody forks.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# What gRPC has to tell in its own words, and not in JSON.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

S = TypeVar("S", bound=ServiceSettings)


def run(name: str, settings_class: type[S], build: Callable[[S], AbstractAsyncContextManager[Component]]) -> None:
    """Runs one service on uvloop until SIGTERM. Exits with 2 and says why where the settings are wrong.

    `build` raises SettingsError for what only it can find.
    """
    import uvloop

    from libs.rpc.server import ListenError, serve

    settings = load(settings_class)
    try:
        uvloop.run(serve(name, settings, lambda: build(settings)))
    except (ContextKeyError, ListenError, SettingsError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)
