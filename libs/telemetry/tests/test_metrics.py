"""Metrics are counted once a process, and read over HTTP."""

from __future__ import annotations

import socket
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from libs.config.settings import SettingsError
from libs.telemetry import metrics


def read(address: str, path: str = "/metrics") -> list[str]:
    with urlopen(f"http://{address}{path}", timeout=10) as answer:
        lines: list[str] = answer.read().decode().splitlines()
        return lines


def test_metrics_are_read_over_http() -> None:
    """What was counted stands under its name and labels, and so does the memory of the process."""
    metrics.counter("weft_lab_refusals_total", "Calls refused.", ("reason",)).labels(reason="late").inc(3)
    metrics.gauge("weft_lab_open", "Calls open.").set(2)
    with metrics.serve("127.0.0.1:0") as address:
        lines = read(address)
    assert 'weft_lab_refusals_total{reason="late"} 3.0' in lines
    assert "weft_lab_open 2.0" in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)
    assert not any("_created" in line for line in lines)


def test_the_same_name_is_the_same_metric() -> None:
    """Who asks again counts on; other labels under a name that is taken are a mistake in the program."""
    metrics.counter("weft_lab_twice_total", "Twice.").inc()
    metrics.counter("weft_lab_twice_total", "Twice.").inc()
    assert metrics.value("weft_lab_twice_total") == 2
    with pytest.raises(ValueError, match="weft_lab_twice_total is there already"):
        metrics.counter("weft_lab_twice_total", "Twice.", ("reason",))
    with pytest.raises(ValueError, match="weft_lab_twice_total is there already"):
        metrics.gauge("weft_lab_twice_total", "Twice.")


def test_what_never_was_is_nothing() -> None:
    """A sample that was never counted reads 0."""
    assert metrics.value("weft_lab_never_total", reason="none") == 0


def test_only_metrics_are_there() -> None:
    """Another path is 404, and the next reader is answered all the same; afterwards nobody listens."""
    with metrics.serve("127.0.0.1:0") as address:
        with pytest.raises(HTTPError, match="404"):
            read(address, "/")
        assert read(address, "/metrics?x=1")
    host, _, port = address.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), 5)


def test_no_address_is_no_server() -> None:
    """Empty: nothing listens."""
    with metrics.serve("") as address:
        assert address == ""


def test_a_taken_address_is_a_wrong_setting() -> None:
    """The message names the setting and the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        told = f"METRICS_LISTEN={address}: cannot listen there"
        with pytest.raises(SettingsError, match=told), metrics.serve(address):
            pass
