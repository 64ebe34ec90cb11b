"""Runs a command's calls, and turns what goes wrong into a line for the user and an exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc

import weft.client
from tools.cli.gateway import Access, AccessError, access

INTERRUPTED = 130


def run_call(
    call: Callable[[Access], Awaitable[int]], state: Path, address: str | None, token_file: Path | None
) -> int:
    """The exit code of `call`; 1 where there is no way to the gateway or the call fails; 130 on Ctrl-C."""

    async def run() -> int:
        return await call(access(state, address, token_file))

    try:
        return asyncio.run(run())
    except AccessError as error:
        print(f"weft: {error}", file=sys.stderr)
    except weft.client.CallError as error:
        told = _told(error, address)
        print(f"\nweft: {told}" if sys.stdout.isatty() else f"weft: {told}", file=sys.stderr)
    except UnicodeEncodeError:
        print("weft: an argument is not UTF-8, as all text of a call must be", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nweft: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 1


def _told(error: weft.client.CallError, address: str | None) -> str:
    if not error.reason and error.code is grpc.StatusCode.UNAVAILABLE:
        if address:
            return f"no gateway can be reached at {address}: is --address (or WEFT_ADDRESS) right?"
        return "the gateway cannot be reached: is the stack running (`weft status`)?"
    hints = {
        "COLLECTION_NOT_FOUND": "fill it with `weft ingest`, or name another with --collection",
        "TOKEN_EXPIRED": "`weft up` makes a new developer's token, `weft token` any other",
    }
    told = f"{error.message} ({error.reason or error.code.name}, request {error.request_id})"
    return f"{told}: {hints[error.reason]}" if error.reason in hints else told
