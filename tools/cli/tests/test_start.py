"""The command line's start is not to pay for what only some commands use."""

import subprocess
import sys

from libs.parts.processes import python_environment

COSTLY = ("grpc", "opentelemetry", "prometheus_client", "pydantic", "tools.stack.start", "yaml")
PROGRAM = "import sys, tools.cli.__main__; print(*(name for name in sys.argv[1:] if name in sys.modules))"


def test_the_command_line_starts_with_little() -> None:
    """`weft --help` loads no gRPC, no metrics, no settings and no YAML."""
    command = [sys.executable, "-P", "-c", PROGRAM, *COSTLY]
    done = subprocess.run(command, env=python_environment(), capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
