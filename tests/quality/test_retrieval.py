"""How well a search through the gateway finds what answers a question."""

from __future__ import annotations

import weft.client
from libs.testing.pyfaq import answerable
from tests.quality.conftest import COLLECTION
from weft.rag.v1 import search_service_pb2

LEAST_RECALL_AT_5 = 0.84
LEAST_MRR = 0.75


async def test_hybrid_search_finds_the_gold_passage(faq: weft.client.Client) -> None:
    """Of 50 real questions, the answering passage is among the first five for 84%, at a mean reciprocal rank of .75."""
    ranks: list[int | None] = []
    for question in answerable():
        request = search_service_pb2.SearchRequest(collection=COLLECTION, query=question.text, top_k=50)
        found = list(dict.fromkeys(passage.document_id for passage in (await faq.search.Search(request)).passages))
        ranks.append(found.index(question.gold) + 1 if question.gold in found else None)

    recall_at_5 = sum(rank is not None and rank <= 5 for rank in ranks) / len(ranks)
    mrr = sum(1 / rank for rank in ranks if rank is not None) / len(ranks)
    print(f"hybrid search, {len(ranks)} questions: recall@5 {recall_at_5:.3f}, MRR {mrr:.3f}")
    assert recall_at_5 >= LEAST_RECALL_AT_5
    assert mrr >= LEAST_MRR
