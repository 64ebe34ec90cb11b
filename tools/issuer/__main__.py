"""A local stack's issuer of tokens: python -m tools.issuer --keys DIR [--port N] [--issuer URL]."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from libs.auth.keys import KeyFileError
from tools.issuer.server import IssuerServer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.issuer", description="OAuth2 client credentials, locally.")
    parser.add_argument("--keys", required=True, type=Path, metavar="DIR", help="folder of the stack's keys")
    parser.add_argument(
        "--port", type=int, default=7704, help="on 127.0.0.1; 0 takes a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--issuer", default="", metavar="URL", help="the `iss` of its tokens; its own address if not given"
    )
    parser.add_argument("--audience", default="weft", help="the `aud` of its tokens (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        server = IssuerServer(arguments.keys, arguments.port, arguments.issuer, arguments.audience)
    except (KeyFileError, OSError) as error:
        print(f"issuer: {error}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, _end)
    print(f"ready {server.server_port}", flush=True)
    with server:
        server.serve_forever()
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
