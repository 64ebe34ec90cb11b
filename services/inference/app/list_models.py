"""Tells which models there are."""

from __future__ import annotations

from collections.abc import Sequence

from services.inference.domain.models import Model
from services.inference.ports import ModelCatalogue


class ListModels:
    """Models by name, a page at a time."""

    def __init__(self, catalogue: ModelCatalogue) -> None:
        self._catalogue = catalogue

    async def __call__(self, *, after: str, limit: int) -> tuple[Sequence[Model], bool]:
        """The first `limit` models whose names come after `after`, and whether there are more."""
        found = [model for model in await self._catalogue.models() if model.name > after]
        return found[:limit], len(found) > limit
