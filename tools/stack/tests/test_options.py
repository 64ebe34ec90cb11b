"""What `weft up` is told about the kind of stack is kept whole, and what does not go together is refused."""

from pathlib import Path

import pytest

from tools.stack.options import Options, check_together, read_options
from tools.stack.part import StackError

FILE = Path("/a b/ü,?&x.pem")


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(mesh=False),
        Options(rules=FILE, scale={"inference": 3, "rag-canary": 0}, zones={"inference-2": "local/b"}),
        Options(tls_certificate=FILE, tls_key=Path("/key.pem")),
    ],
)
def test_options_are_read_as_they_were_written(options: Options) -> None:
    """Whatever characters their values have."""
    assert read_options(options.query()) == options


def test_what_is_default_is_not_said() -> None:
    """The plain declaration is the plain stack's."""
    assert Options().query() == ""


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (Options(mesh=False, scale={"rag": 2}), "--scale does not go with --no-mesh"),
        (Options(mesh=False, zones={"rag": "local/b"}), "--zone does not go with --no-mesh"),
        (Options(mesh=False, rules=FILE), "--rules does not go with --no-mesh"),
        (Options(mesh=False, tls_certificate=FILE, tls_key=FILE), "--tls-certificate does not go with --no-mesh"),
        (Options(tls_certificate=FILE), "--tls-key is missing"),
        (Options(tls_key=FILE), "--tls-certificate is missing"),
    ],
)
def test_what_does_not_go_together_is_named(options: Options, told: str) -> None:
    """With the option that is too much, or missing."""
    with pytest.raises(StackError) as error:
        check_together(options)
    assert str(error.value).startswith(told)
