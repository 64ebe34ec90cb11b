"""Every line of the README, run as it is written, against a whole stack.

The folder in which the lines run has what a checkout has: `./weft`, `proto`, `docs`, and in `.weft` the state of a
running stack. Only the gateway's port is another. What starts a stack, and what runs these tests, is not run again.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from libs.parts.processes import python_environment
from tests.conftest import RunningStack
from tests.node import NODE_MODULES, needs_node

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
DEFAULT_ADDRESS = "127.0.0.1:7700"
STARTS_OR_TESTS = {"./weft up", "./pants test ::"}
GRPCURL = os.environ.get("WEFT_GRPCURL") or shutil.which("grpcurl") or ""
WITHIN_S = 120.0


@dataclass(frozen=True)
class Block:
    """A piece of code of the README: its language, and its text."""

    language: str
    text: str


BLOCKS = [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)]
COMMANDS = [
    line
    for block in BLOCKS
    if block.language == "sh"
    for line in block.text.replace("\\\n", "").splitlines()
    if line not in STARTS_OR_TESTS
]


@pytest.fixture(scope="module")
def checkout(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's lines work."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("README.md", "docs", "proto"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".weft").symlink_to(stack.stack.state)
    weft = folder / "weft"
    weft.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tools.cli "$@"\n')
    weft.chmod(0o755)
    return folder


def run(checkout: Path, stack: RunningStack, command: list[str]) -> str:
    """What a command prints; it fails the test where it does not exit with 0."""
    environment = {**os.environ, **python_environment(), "WEFT_STATE": str(stack.stack.state)}
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def with_address(text: str, stack: RunningStack) -> str:
    """The text, with the gateway's port as it is here."""
    return text.replace(DEFAULT_ADDRESS, stack.address)


def test_no_line_is_left_out() -> None:
    """Every line of a shell block is one that the tests below run."""
    assert [line for line in COMMANDS if not line.startswith(("./weft ", "grpcurl ", "curl "))] == []
    assert {block.language for block in BLOCKS} == {"sh", "python", "js"}


def test_the_weft_lines(checkout: Path, stack: RunningStack) -> None:
    """Each line works, in order: answers cite their sources, and what is not in a collection is not found."""
    lines = [line for line in COMMANDS if line.startswith("./weft")]
    printed = {line: run(checkout, stack, ["bash", "-c", with_address(line, stack)]) for line in lines}

    assert len(lines) >= 5
    for line, text in printed.items():
        assert text.strip(), line
        if line.startswith("./weft ask"):
            assert ("Not found in this collection." in text) == ("Everest" in line), text
            assert ("\nSources:\n[" in text) == ("Everest" not in line), text


@pytest.mark.skipif(not GRPCURL, reason="grpcurl is missing: WEFT_GRPCURL names none and PATH has none")
def test_the_grpcurl_lines(checkout: Path, stack: RunningStack) -> None:
    """Listing, describing and calling work through the gateway's reflection."""
    lines = [line for line in COMMANDS if line.startswith("grpcurl")]
    in_place = [with_address(line, stack).replace("grpcurl", shlex.quote(GRPCURL), 1) for line in lines]
    printed = [run(checkout, stack, ["bash", "-c", line]) for line in in_place]

    assert len(printed) == 3
    assert "weft.rag.v1.AnswerService" in printed[0]
    assert "rpc Search (" in printed[1]
    assert '"passages"' in printed[2]


def test_the_curl_lines(checkout: Path, stack: RunningStack) -> None:
    """Who calls, and an answer that streams to its end."""
    lines = [with_address(line, stack) for line in COMMANDS if line.startswith("curl")]
    who, answer = (run(checkout, stack, ["bash", "-c", line]) for line in lines)

    assert '"tenant":"local"' in who.replace(": ", ":")
    events = [json.loads(line.removeprefix("data: ")) for line in answer.splitlines() if line.startswith("data: ")]
    assert "passages" in events[0]
    assert events[-1]["done"]["outcome"] == "ANSWER_OUTCOME_ANSWERED"


def test_the_python_programs(checkout: Path, stack: RunningStack) -> None:
    """Both programs work: a streamed answer with its citations, and a vector through an unmodified tritonclient."""
    programs = [block.text for block in BLOCKS if block.language == "python"]
    answer, vector = (run(checkout, stack, [sys.executable, "-c", with_address(text, stack)]) for text in programs)

    assert re.search(r"\[[1-5]\]", answer)
    assert vector == "(1, 384)\n"


@needs_node
def test_the_node_program(checkout: Path, stack: RunningStack) -> None:
    """A language that loads the contracts at run time streams the same answer."""
    (program,) = (block.text for block in BLOCKS if block.language == "js")
    (checkout / "node_modules").symlink_to(NODE_MODULES)
    (checkout / "ask.mjs").write_text(with_address(program, stack))

    assert re.search(r"\[[1-5]\]", run(checkout, stack, ["node", "ask.mjs"]))
