"""`python -m tools.protos` rewrites all that is derived from the contracts; `--check` only tells what is stale."""

import argparse
import sys

from tools.protos import derived


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.protos", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when something is stale")
    if parser.parse_args().check:
        stale = derived.stale()
        print("\n".join(stale) or "all that is derived from the contracts is fresh")
        return 1 if stale else 0
    derived.rewrite()
    return 0


if __name__ == "__main__":
    sys.exit(main())
