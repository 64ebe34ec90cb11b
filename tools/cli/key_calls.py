"""Behind `weft key`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

import weft.client
from tools.cli.calling import run_call
from tools.cli.gateway import Access
from tools.cli.tables import print_table
from weft.gateway.v1 import key_service_pb2 as pb

NO_KEYS = "There are no API keys: `weft key create` makes one."
PAGE = 1000
COLUMNS = ("ID", "STATE", "ENDS (UTC)", "LAST USED (UTC)", "PLAN", "SCOPES", "DESCRIPTION")


@dataclass(frozen=True)
class Wanted:
    """What a key is to be. `ttl_s`: None: until it is revoked."""

    scopes: tuple[str, ...]
    plan: str
    ttl_s: int | None
    description: str


def run_create(wanted: Wanted, state: Path, address: str | None, token_file: Path | None, *, as_json: bool) -> int:
    """Prints the key alone on standard output, so that it can be sent to a file. Answers the exit code."""

    async def call(access: Access) -> int:
        request = pb.CreateKeyRequest(description=wanted.description, scopes=wanted.scopes, plan=wanted.plan)
        if wanted.ttl_s is not None:
            request.ttl.CopyFrom(Duration(seconds=wanted.ttl_s))
        async with access.connect() as client:
            made = await client.keys.CreateKey(request)
        if as_json:
            _print(made)
            return 0
        print(made.secret_key)
        key_id = made.key.key_id
        print(f"This is shown once. `weft key revoke {key_id}` ends it.", file=sys.stderr)
        return 0

    return run_call(call, state, address, token_file)


def run_list(state: Path, address: str | None, token_file: Path | None, *, as_json: bool) -> int:
    """Answers the exit code."""

    async def call(access: Access) -> int:
        async with access.connect() as client:
            keys = [key async for key in _keys(client)]
        if as_json:
            _print(pb.ListKeysResponse(keys=keys))
        elif keys:
            now_s = time.time()
            print_table(COLUMNS, [key_row(key, now_s) for key in keys])
        else:
            print(NO_KEYS)
        return 0

    return run_call(call, state, address, token_file)


def run_revoke(key_id: str, state: Path, address: str | None, token_file: Path | None, *, as_json: bool) -> int:
    """Answers the exit code."""

    async def call(access: Access) -> int:
        async with access.connect() as client:
            ended = await client.keys.RevokeKey(pb.RevokeKeyRequest(key_id=key_id))
        if as_json:
            _print(ended)
        else:
            print(f"{key_id} is revoked; within 5 seconds it is refused everywhere.")
        return 0

    return run_call(call, state, address, token_file)


def key_row(key: pb.Key, now_s: float) -> tuple[str, ...]:
    """As COLUMNS name them."""
    last_use = _shown(key.last_use_time) if key.HasField("last_use_time") else "never"
    ends = _shown(key.expire_time) if key.HasField("expire_time") else "never"
    return (key.key_id, _state(key, now_s), ends, last_use, key.plan, " ".join(key.scopes), key.description)


async def _keys(client: weft.client.Client) -> AsyncIterator[pb.Key]:
    token = ""
    while True:
        page = await client.keys.ListKeys(pb.ListKeysRequest(page_size=PAGE, page_token=token))
        for key in page.keys:
            yield key
        token = page.next_page_token
        if not token:
            return


def _state(key: pb.Key, now_s: float) -> str:
    if key.HasField("revoke_time"):
        return "revoked"
    return "expired" if key.HasField("expire_time") and key.expire_time.ToSeconds() <= now_s else "good"


def _shown(time: Timestamp) -> str:
    return datetime.fromtimestamp(time.ToSeconds(), UTC).strftime("%Y-%m-%d %H:%M")


def _print(message: Message) -> None:
    fields = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    print(json.dumps(fields, indent=2, ensure_ascii=False))
