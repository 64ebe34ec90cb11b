"""Vectors of texts that come again: passages that answer one question answer others."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from .selection import Vectors

Embed = Callable[[Sequence[str]], Awaitable[Vectors]]


class RememberedVectors:
    """An `Embed` that asks another one for what it does not remember, `batch` texts at a time.

    Remembers the vectors of the `capacity` texts used last. `before_batch` may raise to stop the work between batches.
    """

    def __init__(self, embed: Embed, *, capacity: int, batch: int) -> None:
        self._embed = embed
        self._capacity = capacity
        self._batch = batch
        self._remembered: OrderedDict[str, Vectors] = OrderedDict()

    async def __call__(self, texts: Sequence[str], before_batch: Callable[[], None] = lambda: None) -> Vectors:
        found = {text: self._remembered[text] for text in texts if text in self._remembered}
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        for start in range(0, len(missing), self._batch):
            before_batch()
            part = missing[start : start + self._batch]
            found.update(zip(part, await self._embed(part), strict=True))
        for text, vector in found.items():
            self._remembered[text] = vector
            self._remembered.move_to_end(text)
        while len(self._remembered) > self._capacity:
            self._remembered.popitem(last=False)
        return np.array([found[text] for text in texts], np.float32)
