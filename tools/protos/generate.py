"""Stubs from contracts: generates what `libs/contracts/stubs` holds from `proto/`, and tells where the two differ."""

from __future__ import annotations

import filecmp
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

import mypy_protobuf.main  # noqa: F401  the plugins below run it; imported here so that Pants sees it
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"
STUBS = ROOT / "libs" / "contracts" / "stubs"

_OUTPUTS = (("python", ""), ("grpc_python", ""), ("mypy", "quiet:"), ("mypy_grpc", "quiet:"))
_PLUGIN = """#!{python}
import sys
sys.path[:0] = {path!r}
from mypy_protobuf.main import {entry} as run
run()
"""


def generate(proto: Path, out: Path) -> None:
    """Writes the stubs of every .proto file under `proto` to `out`. Raises RuntimeError when protoc refuses one.

    Those under google/ have none: their modules are those of googleapis-common-protos.
    """
    sources = sorted(str(path.relative_to(proto)) for path in proto.rglob("*.proto"))
    sources = [source for source in sources if not source.startswith("google/")]
    well_known = resources.files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        plugins = []
        for name, entry in (("protoc-gen-mypy", "main"), ("protoc-gen-mypy_grpc", "grpc")):
            plugin = Path(folder, name)
            plugin.write_text(_PLUGIN.format(python=sys.executable, path=sys.path, entry=entry))
            plugin.chmod(0o755)
            plugins.append(f"--plugin={name}={plugin}")
        outputs = [f"--{kind}_out={option}{out}" for kind, option in _OUTPUTS]
        command = ["protoc", f"--proto_path={proto}", f"--proto_path={well_known}", *plugins, *outputs, *sources]
        if protoc.main(command) != 0:
            raise RuntimeError(f"protoc refused a file under {proto}; its message is above")


def differences(proto: Path, committed: Path) -> list[str]:
    """What must change in `committed` to be the stubs of `proto`, a line a file; empty when nothing."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(proto, fresh)
        want, have = _stub_files(fresh), _stub_files(committed)
        found = [f"left over: {name}" for name in sorted(have - want)]
        found += [f"missing: {name}" for name in sorted(want - have)]
        both = sorted(want & have)
        return found + [
            f"stale: {name}" for name in both if not filecmp.cmp(fresh / name, committed / name, shallow=False)
        ]


def replace(proto: Path, committed: Path) -> None:
    """Makes `committed` the stubs of `proto`; whatever protoc refuses leaves it as it was."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(proto, fresh)
        for name in _stub_files(committed):
            (committed / name).unlink()
        shutil.copytree(fresh, committed, dirs_exist_ok=True)


def _stub_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*_pb2*.py*") if "__pycache__" not in path.parts}
