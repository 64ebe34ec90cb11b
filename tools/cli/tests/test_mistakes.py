"""What a user reads who gets a command wrong: one line that says what to do, and an exit code."""

from pathlib import Path

from typer.testing import CliRunner

from tools.cli.__main__ import app

TOKEN = "e30.e30.e30"


def weft(*arguments: str) -> tuple[int, str]:
    """The exit code and the standard error of a command."""
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.stderr


def ask(tmp_path: Path, question: str, token: str = TOKEN) -> tuple[int, str]:
    """Of a gateway that is not there."""
    (tmp_path / "token").write_text(token)
    return weft("ask", question, "--address", "127.0.0.1:1", "--token-file", str(tmp_path / "token"))


def test_a_gateway_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error has the address that was given."""
    expected = "weft: no gateway can be reached at 127.0.0.1:1: is --address (or WEFT_ADDRESS) right?\n"
    assert ask(tmp_path, "Who?") == (1, expected)


def test_a_question_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """With a line, not a traceback."""
    assert ask(tmp_path, "Who\udcff?") == (1, "weft: an argument is not UTF-8, as all text of a call must be\n")


def test_a_file_that_is_no_token_is_named(tmp_path: Path) -> None:
    """Before it is sent anywhere."""
    code, told = ask(tmp_path, "Who?", token="two lines\nof text")
    assert (code, told.startswith(f"weft: {tmp_path}/token does not hold a token")) == (1, True)


def test_an_api_key_does_for_a_token(tmp_path: Path) -> None:
    """A file with one is taken."""
    key = f"weft_acme_eu.1_{'a' * 16}_{'B' * 43}\n"
    code, told = ask(tmp_path, "Who?", token=key)
    assert (code, told.startswith("weft: no gateway can be reached")) == (1, True)


def test_logs_of_a_stack_that_never_ran_are_missed(tmp_path: Path) -> None:
    """`logs` of a folder without any says so and fails."""
    expected = f"weft: there are no logs in {tmp_path} yet: `weft up` makes them\n"
    assert weft("logs", "--state", str(tmp_path)) == (1, expected)
