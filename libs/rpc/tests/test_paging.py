"""Page tokens and sizes."""

import pytest

from libs.errors.errors import InvalidArgumentError, Reason
from libs.rpc.paging import page_position, page_size_of, page_token


def test_a_token_gives_its_position_back() -> None:
    """Whatever a position is made of, the list that gave the token reads it."""
    for position in ("a", "name/with: signs", "größe", "x" * 500):
        assert page_position(page_token(position, "List", ["acme"]), "List", ["acme"]) == position


def test_no_token_is_the_first_page() -> None:
    """An empty token begins the list."""
    assert page_position("", "List", ["acme"]) == ""


@pytest.mark.parametrize(
    ("method", "filters"), [("Other", ["acme"]), ("List", ["globex"]), ("List", ["ac", "me"]), ("List", [])]
)
def test_a_token_is_bound_to_its_list(method: str, filters: list[str]) -> None:
    """A token of another method, or with other filters, is refused by name."""
    with pytest.raises(InvalidArgumentError) as caught:
        page_position(page_token("a", "List", ["acme"]), method, filters)
    assert caught.value.reason is Reason.PAGE_TOKEN_INVALID
    assert [violation.field for violation in caught.value.violations] == ["page_token"]


@pytest.mark.parametrize("token", ["x", "not base64!", "AAAA", "é", "AAAAAAAAAAD_", page_token("a", "List")[:-1]])
def test_garbage_is_no_token(token: str) -> None:
    """What no list has given is refused, never an internal error."""
    with pytest.raises(InvalidArgumentError) as caught:
        page_position(token, "List")
    assert caught.value.reason is Reason.PAGE_TOKEN_INVALID


def test_page_sizes_are_coerced() -> None:
    """0 is the default, and too much is the maximum."""
    assert [page_size_of(size) for size in (0, 1, 500, 501, 2**31 - 1)] == [50, 1, 500, 500, 500]
    assert [page_size_of(size, default=10, maximum=20) for size in (0, 30)] == [10, 20]
