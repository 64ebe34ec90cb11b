"""The typed Python client of Weft.

import weft.client
from weft.rag.v1 import search_service_pb2 as rag

async with weft.client.connect("127.0.0.1:7700", token=token) as client:
    found = await client.search.Search(rag.SearchRequest(collection="guides", query="How do I begin?"))
"""

from weft.client.connection import Client, connect
from weft.client.errors import CallError, FieldViolation

__all__ = ["CallError", "Client", "FieldViolation", "connect"]
