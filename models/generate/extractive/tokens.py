"""The extractive generator's own tokenizer: what it streams is what it counts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .sampling import SamplingParameters

_TOKEN = re.compile(r" ?[^\W\d_]{1,12}| ?\d{1,3}| ?[^\w\s]|.", re.DOTALL)


@dataclass(frozen=True)
class Generated:
    """The tokens to send, the last one cut short where a stop string begins in it, and why they end: stop or length."""

    tokens: Sequence[str]
    finish_reason: str


def tokenize(text: str) -> list[str]:
    """Pieces that together are the text, each with the space before it, as language models' tokenizers cut them.

    A piece is a word (a long one is cut after each 12 letters), up to 3 digits or one sign: `" [12]"` is three tokens.
    """
    return _TOKEN.findall(text)


def count_tokens(text: str) -> int:
    """As many as `tokenize` makes."""
    return sum(1 for _ in _TOKEN.finditer(text))


def limit(text: str, sampling: SamplingParameters, *, at_most: int) -> Generated:
    """Ends the text where a token by token generation under these parameters, of `at_most` tokens, would have ended."""
    tokens = tokenize(text)
    kept = tokens[: min(sampling.max_tokens, at_most)]
    produced = "".join(kept)
    ends = [(at + len(stop), at) for stop in sampling.stop if (at := produced.find(stop)) >= 0]
    if not ends:
        return Generated(kept, "stop" if len(kept) == len(tokens) else "length")
    after, before = min(ends)
    end = after if sampling.include_stop_str_in_output else before
    return Generated(_cut(kept, end), "stop")


def _cut(tokens: Sequence[str], characters: int) -> list[str]:
    cut: list[str] = []
    for token in tokens:
        if characters <= 0:
            break
        cut.append(token[:characters])
        characters -= len(token)
    return cut
