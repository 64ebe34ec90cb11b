from models.embed.encoder.batches import runs


def test_every_text_is_in_one_run() -> None:
    """Each position is run once, shortest text first."""
    lengths = [7, 200, 3, 90, 256, 12, 3]
    order = [position for run in runs(lengths, 512) for position in run]
    assert sorted(order) == list(range(7))
    assert [lengths[position] for position in order] == sorted(lengths)


def test_runs_are_bounded() -> None:
    """No run exceeds its tokens once padded, unless it is a single text that does so alone."""
    lengths = [*range(1, 120), 700]
    for run in runs(lengths, 512):
        assert len(run) == 1 or max(lengths[position] for position in run) * len(run) <= 512


def test_long_and_short_texts_do_not_share_a_run() -> None:
    """A text is not padded to much more than twice its length."""
    assert list(runs([10, 11, 100], 512)) == [[0, 1], [2]]


def test_no_texts_need_no_run() -> None:
    """An empty batch runs nothing."""
    assert list(runs([], 512)) == []
