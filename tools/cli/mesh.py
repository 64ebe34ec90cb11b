"""`weft mesh explain`, `faults` and `status`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tools.cli.key import JsonOption
from tools.cli.stack import State, state_folder

WRONG = 2


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The mesh between the services: its rules, and drills.", no_args_is_help=True)
    for command in (explain, faults, status):
        group.command()(command)
    app.add_typer(group, name="mesh")


def explain(
    method: Annotated[str, typer.Argument(help="As weft.rag.v1.SearchService/Search.")],
    priority: Annotated[str, typer.Option(metavar="P", help="That the call has: low, normal or high.")] = "normal",
    as_json: JsonOption = False,
    state: State = None,
) -> None:
    """Show the way of a call through the mesh, and the file and line that each step comes from."""
    from tools.cli.mesh_explain import run_explain

    raise typer.Exit(run_explain(state_folder(state), method, priority, as_json=as_json))


def faults(
    action: Annotated[
        str, typer.Argument(metavar="[on|off]", help="`on` adds what mesh/faults says, `off` ends all.")
    ] = "",
    to: Annotated[str | None, typer.Option(metavar="SERVICE", help="Whose calls: inference, rag, triton ...")] = None,
    delay: Annotated[str | None, typer.Option(metavar="D", help="They begin so late: 1s, 250ms.")] = None,
    abort: Annotated[
        str | None, typer.Option(metavar="STATUS", help="They end at once: UNAVAILABLE (gRPC), or 503 (HTTP).")
    ] = None,
    percent: Annotated[float | None, typer.Option(metavar="N", help="Of 100 calls; all if not given.")] = None,
    state: State = None,
) -> None:
    """Put faults on the calls to a service, for a drill; in force when it returns. Without options: show what is on."""
    from tools.cli.mesh_faults import Wanted, run_faults, run_off, run_on, run_show

    wanted = Wanted(to, delay, abort, percent)
    folder = state_folder(state)
    if action not in ("", "on", "off"):
        _refuse(f"{action!r} is nothing to do with faults: write on or off, or options that begin a drill")
    if action and wanted != Wanted():
        _refuse(f"{action} takes no options: leave them, or leave {action}")
    if action:
        raise typer.Exit(run_on(folder) if action == "on" else run_off(folder))
    raise typer.Exit(run_show(folder) if wanted == Wanted() else run_faults(folder, wanted))


def status(as_json: JsonOption = False, state: State = None) -> None:
    """Show the rules in force, what is wrong with a file that was refused, pods, and certificates."""
    from tools.cli.mesh_status import run_status

    raise typer.Exit(run_status(state_folder(state), as_json=as_json))


def _refuse(why: str) -> None:
    print(f"weft: {why}", file=sys.stderr)
    raise typer.Exit(WRONG)
