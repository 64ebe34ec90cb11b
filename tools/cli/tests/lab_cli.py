"""The command line over the small stack of `tools.stack.tests.lab`."""

import os

from tools.cli import stack
from tools.cli.__main__ import app

if __name__ == "__main__":
    stack.DECLARATION = f"tools.stack.tests.lab?{os.environ.get('LAB_OPTIONS', '')}"
    app(prog_name="weft")
