"""A stack's supervisor, as `tools.stack.launch` starts it under a guardian. Its leash is its standard input."""

import argparse
import os
import sys
from pathlib import Path

from tools.stack.guardian import end_children, remove_shared_memory, remove_sockets
from tools.stack.leash import Leash
from tools.stack.part import declared_stack, load_declaration
from tools.stack.snapshot import PartSnapshot, Snapshot, process_start, write_snapshot
from tools.stack.supervisor import Board, Supervisor


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.stack", description=__doc__)
    parser.add_argument("state", type=Path)
    parser.add_argument("declaration", help="what load_declaration takes")
    parser.add_argument("ports", nargs="+", metavar="PART=PORT")
    arguments = parser.parse_args()
    leash = Leash(sys.stdin.fileno())
    ports = {name: int(port) for name, port in (pair.split("=") for pair in arguments.ports)}
    stack = declared_stack(arguments.declaration, arguments.state, ports)
    declaration = load_declaration(arguments.declaration)
    snapshot = Snapshot(
        os.getpid(),
        process_start(os.getpid()),
        arguments.declaration,
        entry=stack.entry,
        certificate=str(stack.certificate or ""),
        parts=tuple(
            PartSnapshot(part.name, stack.address(part.name), health=part.health, replica_of=part.replica_of)
            for part in declaration.parts
        ),
    )
    write_snapshot(stack.state, snapshot)
    return 0 if Supervisor(stack, declaration, Board(stack, snapshot), leash).run() else 1


if __name__ == "__main__":
    code = main()
    # The guardian does this too, unless it was killed. Threads that still start a part are not waited for.
    end_children()
    remove_shared_memory()
    remove_sockets(sys.argv[1])
    sys.stdout.flush()
    os._exit(code)
