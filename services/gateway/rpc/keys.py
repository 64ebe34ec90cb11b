"""weft.gateway.v1.KeyService: makes, lists and revokes API keys."""

from __future__ import annotations

import hashlib
import time

from google.protobuf.timestamp_pb2 import Timestamp

from libs.auth.tokens import Principal
from libs.rpc.paging import page_position, page_size_of, page_token
from libs.rpc.running import Context
from services.gateway.app.keys import CreateKey, Wanted
from services.gateway.domain.api_keys import ApiKey
from services.gateway.ports import ApiKeys, KeyRequest
from services.gateway.rpc.guard import running_principal
from weft.gateway.v1 import key_service_pb2 as pb
from weft.gateway.v1 import key_service_pb2_grpc

CREATE = "/weft.gateway.v1.KeyService/CreateKey"

_LIST = "ListKeys"
_PAGE = 100
_LARGEST_PAGE = 1000


class KeyServicer(key_service_pb2_grpc.KeyServiceServicer):
    """Keeps the API keys of the calling tenant."""

    def __init__(self, create: CreateKey, keys: ApiKeys) -> None:
        self._create = create
        self._keys = keys

    async def CreateKey(self, request: pb.CreateKeyRequest, context: Context) -> pb.CreateKeyResponse:
        maker = running_principal.get()
        ttl_s = request.ttl.ToMilliseconds() / 1000 if request.HasField("ttl") else None
        wanted = Wanted(request.description, tuple(request.scopes), request.plan, ttl_s)
        key, secret = await self._create(maker, wanted, _key_request(maker, request), CREATE, time.time())
        return pb.CreateKeyResponse(key=to_key(key), secret_key=secret)

    async def ListKeys(self, request: pb.ListKeysRequest, context: Context) -> pb.ListKeysResponse:
        tenant = running_principal.get().tenant
        size = page_size_of(request.page_size, _PAGE, _LARGEST_PAGE)
        after = page_position(request.page_token, _LIST, (tenant,))
        found = await self._keys.keys(tenant, after=after, limit=size + 1, now_s=time.time())
        page = found[:size]
        more = page_token(page[-1].key_id, _LIST, (tenant,)) if len(found) > size else ""
        return pb.ListKeysResponse(keys=map(to_key, page), next_page_token=more)

    async def RevokeKey(self, request: pb.RevokeKeyRequest, context: Context) -> pb.RevokeKeyResponse:
        tenant = running_principal.get().tenant
        return pb.RevokeKeyResponse(key=to_key(await self._keys.revoke(tenant, request.key_id, time.time())))


def to_key(key: ApiKey) -> pb.Key:
    """As the contract has it: a time that is not is unset."""
    return pb.Key(
        key_id=key.key_id,
        description=key.description,
        scopes=key.scopes,
        plan=key.plan,
        create_time=_time(key.create_time_s),
        expire_time=_time(key.expire_time_s),
        revoke_time=_time(key.revoke_time_s),
        last_use_time=_time(key.last_use_time_s),
    )


def _key_request(maker: Principal, request: pb.CreateKeyRequest) -> KeyRequest:
    """The digest is of the maker too: another caller who learns the id does not get the secret."""
    if not request.request_id:
        return KeyRequest()
    asked = pb.CreateKeyRequest()
    asked.CopyFrom(request)
    asked.ClearField("request_id")
    body = f"{maker.subject}\n".encode() + asked.SerializeToString(deterministic=True)
    return KeyRequest(request.request_id, hashlib.sha256(body).hexdigest())


def _time(seconds: float) -> Timestamp | None:
    if not seconds:
        return None
    time = Timestamp()
    time.FromMilliseconds(round(seconds * 1000))
    return time
