import socket

import pytest

from libs.parts.processes import RunningPart
from tools.stack.part import Part, Stack, StackError
from tools.stack.ports import check_free, resolve_ports


def _never(stack: Stack) -> RunningPart:
    raise AssertionError


PARTS = (Part("door", 7700, _never), Part("redis", 7711, _never))


def test_a_chosen_port_comes_before_a_variable_and_both_before_the_default() -> None:
    """The offset moves defaults only."""
    environment = {"WEFT_PORT_DOOR": "8000", "WEFT_OTHER": "x"}
    assert resolve_ports(PARTS, environment={}) == {"door": 7700, "redis": 7711}
    assert resolve_ports(PARTS, offset=100, environment=environment) == {"door": 8000, "redis": 7811}
    assert resolve_ports(PARTS, chosen={"door": "9000"}, environment=environment) == {"door": 9000, "redis": 7711}


def test_zero_is_a_free_port() -> None:
    """Every 0 becomes another port on which nobody listens."""
    ports = resolve_ports(PARTS, chosen={"door": "0", "redis": "0"}, environment={})
    check_free(ports)
    assert len(set(ports.values()) - {0}) == 2


@pytest.mark.parametrize(
    ("environment", "offset", "told"),
    [
        ({"WEFT_PORT_DOOR": "http"}, 0, "WEFT_PORT_DOOR: 'http' is not a port"),
        ({"WEFT_PORT_DOOR": "65536"}, 0, "WEFT_PORT_DOOR: '65536' is not a port"),
        ({"WEFT_PORT_DORR": "1"}, 0, "WEFT_PORT_DORR: there is no part 'dorr'; parts are door, redis"),
        ({"WEFT_PORT_DOOR": "7711"}, 0, "door and redis have the same port 7711: change WEFT_PORT_REDIS"),
        ({}, 60_000, "--port-offset 60000: the port of door: '67700' is not a port"),
        ({}, -8000, "--port-offset -8000: the port of door: '-300' is not a port"),
    ],
)
def test_a_bad_setting_is_named(environment: dict[str, str], offset: int, told: str) -> None:
    """The error begins with the setting that is wrong."""
    with pytest.raises(StackError) as error:
        resolve_ports(PARTS, offset=offset, environment=environment)
    assert str(error.value).startswith(told)


def test_a_port_that_its_owner_shares_is_taken() -> None:
    """Also a listener with SO_REUSEPORT, as gRPC servers may set it, is found."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(StackError, match=f"port {port} of door is taken .*WEFT_PORT_DOOR"):
            check_free({"door": port})
    check_free({"door": port})
