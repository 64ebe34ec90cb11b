"""A local Qdrant: python -m tools.qdrantlocal --data DIR [--port N]. An API key is taken from the environment."""

import argparse
import os
import sys
from pathlib import Path

import uvloop

from tools.qdrantlocal.front import serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.qdrantlocal", description="Qdrant's gRPC API, locally.")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="folder of the collections")
    parser.add_argument(
        "--port", type=int, default=6334, help="on 127.0.0.1; 0 takes a free one (default: %(default)s)"
    )
    arguments = parser.parse_args()
    api_key = os.environ.get("WEFT_QDRANT_LOCAL_API_KEY", "")
    sys.exit(uvloop.run(serve(str(arguments.data.absolute()), arguments.port, api_key)))


if __name__ == "__main__":
    main()
