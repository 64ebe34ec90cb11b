"""A fuzzer that calls every method as one tenant with another's identifiers, through every door of the gateway.

Two strangers make the same calls. One names what the owner has, the other what nobody has, of the same form and
length. What they are told must be the same, up to the names that they gave.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

import weft.client
from libs.auth.context import CallContext, read_context_key, seal
from libs.contracts import headers
from libs.contracts.policies import methods
from tests.conftest import RunningStack
from tests.isolation.strangers import Caller, Told, ask, door, metadata_of, request_of
from tools.stack.tokens import all_scopes
from weft.embedding.v1 import embedding_service_pb2
from weft.gateway.v1 import key_service_pb2, usage_service_pb2
from weft.rag.v1 import collection_service_pb2, document_pb2, document_service_pb2, search_service_pb2

SEED = 20
CALLS = 2400
CANARY = "Heliotrope 7 Quinault"
SCOPES = frozenset(scope for scope in all_scopes() if not scope.startswith("operator."))
OWN = {
    path
    for path, method in methods().items()
    if path.startswith("/weft.") and SCOPES.issuperset(method.scopes) and method.name != "RevokeKey"
}
"""Methods of ours that strangers may call, and that have an answer to what they ask: they have no key to revoke."""
ALIVE = {"/inference.GRPCInferenceService/ModelStatistics", "/weft.gateway.v1.UsageService/QueryUsage"}
"""What these tell moves by itself: counts of everybody's calls, and work that a failed call had begun, or had not yet.
How the calls end is compared here, and a stranger's usage below."""


@dataclass(frozen=True)
class World:
    """The gateway, what the owner has and what nobody has, by kind."""

    stack: RunningStack
    channel: Any
    theirs: Mapping[str, str]
    missing: Mapping[str, str]

    def strangers(self) -> tuple[Caller, Caller]:
        """Two new tenants with every scope but the operator's: one asks for what the owner has, one for the rest."""
        key = read_context_key(self.stack.stack.folder("keys") / "context.key")
        suffix, deadline_s = uuid.uuid4().hex[:8], time.time() + 600

        def stranger(tenant: str, names: Mapping[str, str]) -> Caller:
            context = CallContext(names["tenant"], "tests", names["request"], names["request"], "normal", deadline_s)
            return Caller(tenant, self.stack.token(SCOPES, tenant=tenant), names, seal(context, key))

        return stranger(f"eve-{suffix}", self.theirs), stranger(f"dan-{suffix}", self.missing)


KEPT = 4
"""So many characters begin a name and its twin: ties are told in the order of names, which is to be that of both."""


def twin(name: str, seed: str) -> str:
    """Another name of the same form: letters for letters, digits for digits. A UUID stays one of its version."""
    digest = hashlib.sha256(f"{seed}{name}".encode()).digest()
    made = ""
    for place, letter in enumerate(name):
        number = digest[place % len(digest)]
        of_its_version = len(name) == 36 and name.count("-") == 4 and place in (14, 19)
        if place < KEPT or of_its_version:
            made += letter
        elif letter.isdigit():
            made += "0123456789"[number % 10]
        elif "a" <= letter <= "f":
            made += "abcdef"[number % 6]
        elif letter.islower():
            made += "ghijklmnopqrstuvwxyz"[number % 20]
        elif letter.isupper():
            made += "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[number % 26]
        else:
            made += letter
    return made


def ingest(names: Mapping[str, str], document: str) -> document_service_pb2.IngestDocumentRequest:
    return document_service_pb2.IngestDocumentRequest(
        collection=names["collection"],
        document_id=document,
        media_type=document_pb2.MEDIA_TYPE_PLAIN,
        content=f"The plan is to open a bakery on the moon in spring. Its name is {CANARY}.".encode(),
        request_id=names["request"] if document == names["document"] else "",
    )


def asked_by_the_owner(names: Mapping[str, str]) -> dict[str, Any]:
    """Requests whose answers are kept."""
    return {
        "/weft.rag.v1.SearchService/Search": search_service_pb2.SearchRequest(
            collection=names["collection"], query="What is the plan?"
        ),
        "/weft.embedding.v1.EmbeddingService/Embed": embedding_service_pb2.EmbedRequest(texts=[f"{CANARY}?"]),
    }


async def own(client: weft.client.Client, suffix: str) -> dict[str, str]:
    """Fills the owner's tenant, and tells its identifiers by their kind."""
    names = {
        "tenant": f"owner-{suffix}",
        "collection": f"secrets-{suffix}",
        "document": f"plan-{suffix}",
        "request": str(uuid.UUID(hashlib.md5(suffix.encode(), usedforsecurity=False).hexdigest(), version=4)),
    }
    for collection in (names["collection"], f"another-{suffix}"):
        await client.collections.CreateCollection(collection_service_pb2.CreateCollectionRequest(collection=collection))
    ingested = await client.documents.IngestDocument(ingest(names, names["document"]))
    await client.documents.IngestDocument(ingest(names, f"other-{suffix}"))
    names["version"] = ingested.document.version_id
    key = await client.keys.CreateKey(key_service_pb2.CreateKeyRequest(scopes=["rag.read"]))
    await client.keys.CreateKey(key_service_pb2.CreateKeyRequest(scopes=["rag.read"]))
    names["key"] = key.key.key_id
    collections = await client.collections.ListCollections(collection_service_pb2.ListCollectionsRequest(page_size=1))
    documents = await client.documents.ListDocuments(
        document_service_pb2.ListDocumentsRequest(collection=names["collection"], page_size=1)
    )
    keys = await client.keys.ListKeys(key_service_pb2.ListKeysRequest(page_size=1))
    names["collections_page"] = collections.next_page_token
    names["documents_page"] = documents.next_page_token
    names["keys_page"] = keys.next_page_token
    asked = asked_by_the_owner(names)
    await client.search.Search(asked["/weft.rag.v1.SearchService/Search"])
    await client.embeddings.Embed(asked["/weft.embedding.v1.EmbeddingService/Embed"])
    return names


def of_nobody(names: Mapping[str, str]) -> dict[str, str]:
    """Identifiers of the same forms that nobody has; a page token of them is one of a list that never was."""
    return {
        kind: _strange_page(name) if kind.endswith("_page") else twin(name, "nobody") for kind, name in names.items()
    }


def _strange_page(token: str) -> str:
    """A token that no list gave, with letters, digits and other characters where `token` has them: what is refused for
    its form alone would tell the two apart."""
    data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for number in itertools.count():
        mark = hashlib.sha256(f"{number}{token}".encode()).digest()[:8]
        made = base64.urlsafe_b64encode(mark + data[8:]).decode().rstrip("=")
        if [letter.isalnum() for letter in made] == [letter.isalnum() for letter in token]:
            return made
    raise AssertionError("there is always one")


@pytest.fixture(scope="module")
async def world(stack: RunningStack) -> AsyncIterator[World]:
    """An owner with all kinds of things."""
    suffix = uuid.uuid4().hex[:8]
    async with weft.client.connect(stack.address, token=stack.token(tenant=f"owner-{suffix}")) as client:
        theirs = await own(client, suffix)
    async with grpc.aio.insecure_channel(stack.address) as channel:
        yield World(stack, channel, theirs, of_nobody(theirs))


async def test_what_is_the_owners_is_for_strangers_not_there(world: World) -> None:
    """Every method, filled with the owner's identifiers, tells what it tells of identifiers that nobody has."""
    chance = random.Random(SEED)
    doors = [door(method) for _, method in sorted(methods().items()) for _ in range(3 if method.path in OWN else 1)]
    strangers = world.strangers()
    different: list[str] = []
    outcomes: Counter[str] = Counter()
    answered: set[str] = set()
    for number in range(CALLS // 2):
        if number % len(doors) == 0:
            chance.shuffle(doors)
        asked = doors[number % len(doors)]
        seed = chance.random()
        told = []
        for caller in strangers:
            same = random.Random(seed)
            request = request_of(asked, caller.names, same)
            metadata = metadata_of(caller, same)
            answer = await ask(world.channel, asked, request.SerializeToString(), metadata, caller)
            assert CANARY.encode() not in answer.raw, (asked.method.path, request)
            told.append(answer)
        outcomes[told[0].code] += 1
        if told[0].code == "OK":
            answered.add(asked.method.path)
        if asked.method.path in ALIVE:
            told = [Told(answer.code, "", "", "", (), b"") for answer in told]
        if told[0] != told[1]:
            different.append(f"{asked.method.path}\n{request}\n{[name for name, _ in metadata]}\n{told[0]}\n{told[1]}")

    assert not different, "\n\n".join(different)
    assert sorted(OWN - answered) == [], "no request for these was good enough to be answered"
    assert outcomes["DEADLINE_EXCEEDED"] == outcomes["UNKNOWN"] == 0, outcomes


async def test_a_strangers_usage_is_its_own(world: World) -> None:
    """Whoever it claims to be: who used nothing is told of nothing."""
    request = usage_service_pb2.QueryUsageRequest(group_by=[usage_service_pb2.USAGE_DIMENSION_KEY])
    query = door(methods()["/weft.gateway.v1.UsageService/QueryUsage"])
    for stranger in world.strangers():
        for number in range(20):
            metadata = metadata_of(stranger, random.Random(number), credential=stranger.token)
            told = await ask(world.channel, query, request.SerializeToString(), metadata, stranger)
            assert (told.code, told.messages) == ("OK", ('{"currencyCode": "USD"}',))


@pytest.mark.parametrize("path", asked_by_the_owner({"collection": "x"}))
async def test_an_answer_that_is_kept_for_the_owner_is_kept_for_it_alone(world: World, path: str) -> None:
    """A stranger who sends the very bytes that the owner sent is told what it would be told of nothing."""
    told = []
    for caller in world.strangers():
        body = asked_by_the_owner(caller.names)[path].SerializeToString(deterministic=True)
        metadata = ((headers.AUTHORIZATION, f"Bearer {caller.token}"),)
        told.append(await ask(world.channel, door(methods()[path]), body, metadata, caller))

    assert told[0] == told[1]
    if told[0].code == "OK":
        assert f"{headers.CACHE}: 'miss'" in told[0].headers
