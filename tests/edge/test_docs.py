"""Every line of docs/rest.md, run as it is written, against a whole stack. What is shown of answers is what comes."""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunningStack
from tests.edge.wire import TRAILERS, events, frames, kind
from tests.node import needs_node

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "rest.md").read_text()
DEFAULT_ADDRESS = "127.0.0.1:7700"
WITHIN_S = 120.0


@dataclass(frozen=True)
class Block:
    """A piece of code of the page: its language, its text, and the JSON that follows it, where some does."""

    language: str
    text: str
    shown: str = ""


BLOCKS = [
    Block(*found)
    for found in re.findall(r"^```(\w+)\n(.*?)^```$(?:\n```json\n(.*?)^```$)?", PAGE, re.MULTILINE | re.DOTALL)
]
SETTINGS, *SHELL = [block for block in BLOCKS if block.language == "sh"]


@dataclass(frozen=True)
class Ran:
    """What a block printed."""

    block: Block
    printed: str


@pytest.fixture(scope="module")
def checkout(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page's lines work, with what they have of a running stack."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / ".weft").symlink_to(stack.stack.state)
    return folder


@pytest.fixture(scope="module")
def ran(entry: str, checkout: Path) -> list[Ran]:
    """All shell blocks, in order."""
    return [Ran(block, run(checkout, entry, f"{SETTINGS.text}\n{block.text}")) for block in SHELL]


def run(checkout: Path, entry: str, script: str) -> str:
    """What a script prints; it fails the test where it does not exit with 0."""
    in_place = script.replace(DEFAULT_ADDRESS, entry)
    command = ["bash", "-e", "-o", "pipefail", "-c", in_place]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert done.returncode == 0, f"{in_place}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def shape(value: Any) -> Any:
    """The names in it."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value and isinstance(value[0], dict) and "@type" not in value[0] else []
    return type(value).__name__


def of(ran: list[Ran], part: str) -> str:
    """What the one block printed that has `part`."""
    (found,) = (each.printed for each in ran if part in each.block.text)
    return found


def test_every_block_is_run() -> None:
    """There is nothing on the page that no test below runs, but text, and a setting of mesh/edge.yaml."""
    assert {block.language for block in BLOCKS} == {"sh", "js", "yaml"}
    assert len(SHELL) >= 10


def test_what_is_shown_comes(ran: list[Ran]) -> None:
    """Under a call stands JSON of the same names as what the call prints; of an error, the very same."""
    shown = [each for each in ran if each.block.shown]
    assert len(shown) >= 5
    for each in shown:
        expected, actual = json.loads(each.block.shown), json.loads(each.printed)
        assert shape(actual) == shape(expected)
        if "code" in expected:
            assert actual == expected


def test_no_other_line_fails(ran: list[Ran]) -> None:
    """Whatever is not shown to fail is answered without an error."""
    for each in ran:
        if "code" not in each.block.shown:
            assert not each.printed.startswith('{"code"'), each


def test_search_and_answers(ran: list[Ran]) -> None:
    """The document is found; the answer is from it, and cited."""
    assert json.loads(of(ran, '"topK": 3'))["passages"][0]["documentId"] == "tides.md"
    answer = json.loads(of(ran, ":answer -H"))
    assert "new moon" in answer["text"]
    assert answer["citations"][0]["documentId"] == "tides.md"


def test_the_stream(ran: list[Ran]) -> None:
    """To its last event."""
    told = [kind(event) for event in events(of(ran, "rest:streamAnswer"))]
    assert (told[0], told[-1]) == ("passages", "done")


def test_the_other_calls(ran: list[Ran]) -> None:
    """Each line of the list prints what it is there for."""
    printed = of(ran, "/v1/budgets")
    names = ("collections", "documents", "models", "embeddings", "finishReason", "done", "rows", "budgets", "secretKey")
    for name in (*names, "keys"):
        assert f'"{name}":' in printed, name
    assert printed.endswith('{"documentCount":"0"}')


def test_the_description(ran: list[Ran]) -> None:
    """It needs no token."""
    assert json.loads(of(ran, "openapi.json"))["openapi"].startswith("3.1")


def test_grpc_web(ran: list[Ran]) -> None:
    """A message, and trailers."""
    (_, message), (flags, _) = frames(base64.b64decode(of(ran, "application/grpc-web+proto")))
    assert (b"local" in message, flags) == (True, TRAILERS)


@needs_node
def test_the_program_of_a_page(entry: str, checkout: Path) -> None:
    """It prints the answer as it comes, and knows its end."""
    (program,) = (block.text for block in BLOCKS if block.language == "js")
    (checkout / "ask.mjs").write_text(program)
    token = shlex.quote((checkout / ".weft/keys/developer.token").read_text().strip())
    printed = run(checkout, entry, f"TOKEN={token} WEFT=http://{DEFAULT_ADDRESS} node ask.mjs")
    assert re.search(r"\[[1-5]\]", printed)
