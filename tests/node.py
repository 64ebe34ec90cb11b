"""What the programs of pages are run with: Node, where `.ci/run` or a person names its modules."""

from __future__ import annotations

import os

import pytest

NODE_MODULES = os.environ.get("WEFT_NODE_MODULES", "")
needs_node = pytest.mark.skipif(
    not NODE_MODULES,
    reason="WEFT_NODE_MODULES does not name a node_modules folder with @grpc/grpc-js and @grpc/proto-loader",
)
