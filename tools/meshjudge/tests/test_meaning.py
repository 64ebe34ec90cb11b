"""What configurations mean does not depend on how they are put."""

from __future__ import annotations

from tools.meshjudge.meaning.proxy import edge_meaning


def test_servers_come_in_any_order() -> None:
    """Those of an edge; istiod lists them as it likes."""
    first, second = {"routes": ["all"], "tls": "none"}, {"routes": ["all"], "tls": "1.3"}
    told = edge_meaning({"8080": first, "8443": second})
    assert told == edge_meaning({"8443": second, "8080": first})
    assert list(told["edge routes"]) == ["8080 and 8443"]
