import stat
from pathlib import Path

import psutil
import pytest
import redis

from libs.parts.processes import PartError, RunningPart
from libs.parts.valkey import start_redis

PASSWORD = "pass-of-a-test"


def connect(part: RunningPart, password: str = PASSWORD) -> "redis.Redis":
    host, port = part.address.split(":")
    return redis.Redis(host, int(port), password=password, decode_responses=True)


def test_writes_survive_a_kill(tmp_path: Path) -> None:
    """With fsync "always" an answered write is there after kill -9 and a new start on the same folder."""
    first = start_redis(tmp_path / "data", password=PASSWORD, log=tmp_path / "log", fsync="always")
    connect(first).set("key", "value")
    first.process.kill()
    first.stop()
    second = start_redis(tmp_path / "data", password=PASSWORD, log=tmp_path / "log")
    try:
        assert connect(second).get("key") == "value"
    finally:
        second.stop()


def test_settings_and_secrecy(tmp_path: Path) -> None:
    """It syncs and evicts as asked, listens on loopback only, and the password is in no one's sight but the owner's."""
    part = start_redis(tmp_path / "data", password=PASSWORD, log=tmp_path / "log", fsync="everysec")
    try:
        config = connect(part).config_get("append*")
        assert (config["appendonly"], config["appendfsync"]) == ("yes", "everysec")
        assert connect(part).config_get("maxmemory-policy") == {"maxmemory-policy": "volatile-lfu"}
        with pytest.raises(redis.AuthenticationError):
            connect(part, password="wrong").ping()
        process = psutil.Process(part.pid)
        assert PASSWORD not in " ".join(process.cmdline()) + str(process.environ())
        assert {connection.laddr.ip for connection in process.net_connections()} == {"127.0.0.1"}
        assert stat.S_IMODE((tmp_path / "data/redis.conf").stat().st_mode) == 0o600
    finally:
        part.stop()


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """A port in use is a `PartError` that ends with the server's own words."""
    part = start_redis(tmp_path / "one", password=PASSWORD, log=tmp_path / "one.log")
    try:
        with pytest.raises(PartError, match="Address already in use"):
            start_redis(tmp_path / "two", int(part.address.split(":")[1]), password=PASSWORD, log=tmp_path / "two.log")
    finally:
        part.stop()


def test_a_password_that_would_change_the_configuration_is_refused(tmp_path: Path) -> None:
    """A password with a line break could add settings: it is refused by name before anything is written."""
    with pytest.raises(ValueError, match="password"):
        start_redis(tmp_path / "data", password="a\nport 1", log=tmp_path / "log")
    assert list(tmp_path.iterdir()) == []
