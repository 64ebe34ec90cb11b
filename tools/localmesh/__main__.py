"""The controller of a local mesh: python -m tools.localmesh --state DIR --edge HOST:PORT [--rules DIR] [--base DIR]."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from libs.config.settings import SettingsError
from libs.parts.install import REPOSITORY_ROOT
from tools.localmesh.mesh import Edge
from tools.localmesh.problems import MeshError
from tools.localmesh.run import run
from tools.localmesh.state import Paths
from tools.localmesh.workloads import BASE

CERTIFICATE_TTL_S = 3600.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.localmesh", description="Keeps Envoy at what the files say.")
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="its folder; pods.json is there")
    parser.add_argument("--rules", type=Path, default=REPOSITORY_ROOT / "mesh", metavar="DIR", help="Istio's YAML")
    parser.add_argument("--base", type=Path, default=BASE, metavar="DIR", help="the workloads")
    parser.add_argument("--edge", required=True, metavar="HOST:PORT", help="where callers dial")
    parser.add_argument("--edge-certificate", type=Path, metavar="FILE", help="PEM; then the edge speaks TLS")
    parser.add_argument("--edge-key", type=Path, metavar="FILE", help="PEM")
    parser.add_argument("--metrics", default="", metavar="HOST:PORT", help="where /metrics is; nowhere if not given")
    parser.add_argument("--certificate-ttl", type=float, default=CERTIFICATE_TTL_S, metavar="SECONDS")
    arguments = parser.parse_args()
    if (arguments.edge_certificate is None) != (arguments.edge_key is None):
        parser.error("--edge-certificate and --edge-key go together")
    edge = Edge(arguments.edge, arguments.edge_certificate, arguments.edge_key)
    paths = Paths(arguments.state.absolute(), arguments.rules, arguments.base)
    try:
        asyncio.run(run(paths, edge, arguments.certificate_ttl, arguments.metrics))
    except (MeshError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
