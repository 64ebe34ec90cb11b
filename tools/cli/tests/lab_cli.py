"""The command line over the small stack of `tools.stack.tests.lab`."""

from tools.cli import stack
from tools.cli.__main__ import app

if __name__ == "__main__":
    stack.DECLARATION = "tools.stack.tests.lab"
    app(prog_name="weft")
