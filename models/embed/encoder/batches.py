"""Which texts to run together. Standard library only."""

from collections.abc import Iterator, Sequence

SLACK_TOKENS = 8  # very short texts may share a run although one is more than twice as long as another


def runs(lengths: Sequence[int], run_tokens: int) -> Iterator[list[int]]:
    """Splits the positions of `lengths`, shortest text first, into runs that pad little.

    Each run holds texts of at most about twice the length of its shortest, and at most `run_tokens` tokens once all are
    padded to the longest; a text longer than that runs alone. Every position is in exactly one run.
    """
    run: list[int] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[position]
        too_many = length * (len(run) + 1) > run_tokens
        if run and (too_many or length > 2 * lengths[run[0]] + SLACK_TOKENS):
            yield run
            run = []
        run.append(position)
    if run:
        yield run
