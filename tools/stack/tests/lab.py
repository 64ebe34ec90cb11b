"""A small stack of real processes for the tests: Redis, and two programs that do as they are told."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace

from libs.parts.cache import Progress
from libs.parts.processes import RunningPart, free_port, start_part, wait_until
from libs.parts.valkey import start_redis
from tools.stack.part import Declaration, Part, RestartPolicy, Stack

# Listens on its port, leaves a grandchild in a session of its own, and a shared-memory segment under its name.
PROGRAM = """
import os, socket, subprocess, sys, time
if os.path.exists(sys.argv[2]):
    sys.exit("told not to start")
open(f"/dev/shm/weft-lab-{os.getpid()}-segment", "w").close()
child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("grandchild", child.pid, flush=True)
while True:
    server.accept()[0].close()
"""


def _start_redis(stack: Stack) -> RunningPart:
    return start_redis(stack.folder("redis"), stack.ports["redis"], password="lab", log=stack.log("redis"))


def _start_program(name: str, stack: Stack) -> RunningPart:
    """A file `refuse-NAME` in the state folder keeps it from starting."""
    command = [sys.executable, "-c", PROGRAM, str(stack.ports[name]), str(stack.state / f"refuse-{name}")]
    part = start_part(name, command, log=stack.log(name), address=stack.address(name))
    wait_until(part, lambda: "grandchild" in part.written(), 10.0)
    return part


def _prepare(stack: Stack, progress: Progress) -> None:
    """Has nothing to set up, and takes its time as long as there is a file `slow` in the state folder."""
    progress("setting up the lab", 0.0)
    while (stack.state / "slow").exists():
        time.sleep(0.05)


def _first_use(stack: Stack, progress: Progress) -> None:
    progress("greeting the lab", 1.0)
    (stack.state / "greeted").touch()


def declare(options: str) -> Declaration:
    """With the option `twins`, two doors; with `stand-in`, one that another can stand in for."""
    doors = ("door", "door-2") if options == "twins" else ("door",)
    return Declaration(
        parts=(
            Part("redis", 17711, _start_redis),
            Part("worker", 17712, _starter("worker"), needs=("redis",), restart_note="the door stays"),
            *(
                Part(name, 17713 if name == "door" else 0, _starter(name), needs=("worker",), replica_of="door")
                for name in doors
            ),
        ),
        prepare=_prepare,
        first_use=_first_use,
        hints=lambda stack: f"The lab's door is at {stack.entry}.",
        entry="door",
        stand_in=_stand_in if options == "stand-in" else None,
        restarts=RestartPolicy(first_s=0.2, limit_s=0.8, healthy_after_s=5.0),
    )


def _stand_in(stack: Stack, replica_of: str) -> tuple[Stack, Part]:
    name = f"{replica_of}-2"
    part = Part(name, 0, _starter(name), replica_of=replica_of)
    return replace(stack, ports={**stack.ports, name: free_port()}), part


def _starter(name: str) -> Callable[[Stack], RunningPart]:
    return lambda stack: _start_program(name, stack)
