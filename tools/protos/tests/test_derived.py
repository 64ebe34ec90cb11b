"""What is derived from the contracts is what the contracts say."""

import shutil
from pathlib import Path

from tools.protos import derived
from tools.protos.generate import PROTO, STUBS, differences


def test_all_that_is_derived_is_fresh() -> None:
    """Nothing that is committed and derived from the contracts differs from what they say now."""
    assert derived.stale() == []


def test_a_changed_contract_makes_its_stubs_stale(tmp_path: Path) -> None:
    """The check that all is fresh can fail: a new field, a missing file and a left-over one are each told."""
    proto, stubs = tmp_path / "proto", tmp_path / "stubs"
    shutil.copytree(PROTO, proto)
    shutil.copytree(STUBS, stubs)
    usage = proto / "weft/common/v1/usage.proto"
    usage.write_text(usage.read_text().replace("int64 output_tokens = 2;", "int64 output_tokens = 3;"))
    (stubs / "weft/rag/v1/passage_pb2.py").unlink()
    (stubs / "weft/rag/v1/gone_pb2.py").write_text("")

    assert differences(proto, stubs) == [
        "left over: weft/rag/v1/gone_pb2.py",
        "missing: weft/rag/v1/passage_pb2.py",
        "stale: weft/common/v1/usage_pb2.py",
    ]
