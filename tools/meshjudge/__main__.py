"""`python -m tools.meshjudge` asks a real istiod what `mesh/` and each case mean, and istioctl what is wrong with them.

`--check` tells where the golden summary is not what istiod says, and exits with 1; `--write` makes it so.
"""

import argparse
import sys
from pathlib import Path

from tools.meshjudge.judge import check, write


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.meshjudge", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 where something is not as it should be"
    )
    what.add_argument("--write", action="store_true", help="rewrite the golden summary")
    parser.add_argument("--istiod", type=Path, required=True, help="what `.ci/tool istiod` prints")
    parser.add_argument("--istioctl", type=Path, help="what `.ci/tool istioctl` prints; with --check it is asked too")
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.istiod)
        return 0
    found = check(arguments.istiod, arguments.istioctl)
    print("\n".join(found) or "the golden summary is what istiod says")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
